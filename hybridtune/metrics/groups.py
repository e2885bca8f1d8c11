"""PURE. Groups of languages and of ordered pairs: trained on or not, low-resource or rich, or named one by one.

`breakdown` takes means over them, `selection` finds their rankings for tests and intervals; a name like
``multi/AP@unseen`` is a metric of one.
"""

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from hybridtune.config.languages import readings
from hybridtune.errors import InputError

GROUPED_BY = ("training_pairs", "low_resource")  # what a file of per-query values says of its groups
Sides = tuple[str, str]  # language of the query, of the passage; one language twice in mono and multi
Rule = Callable[[str, Sides], bool]  # whether a group holds a row, by its setting and languages
_BY_PAIRS = ("seen", "unseen", "unseen-pairs", "low-resource-seen", "low-resource-unseen")  # of training
_BY_LANGUAGES = ("rich", "low-resource", "low-resource-seen", "low-resource-unseen")  # that are low-resource

# Where a pair may be cut: before a primary language code. "zh-Hans-en" is zh-Hans and en.
_CUT = re.compile(r"-(?=[a-z]{2,3}(?:-|$))")


def everything(setting: str, sides: Sides) -> bool:
    """Return True: the group of all languages and pairs."""
    return True


@dataclass(frozen=True)
class Grouping:
    """The facts by which languages and pairs are grouped.

    ``training_pairs`` are counted by "query language-passage language"; None: not known.
    """

    training_pairs: Mapping[str, int] | None = None
    low_resource: tuple[str, ...] = ()

    def rules(self, languages: Collection[str]) -> dict[str, Rule]:
        """Return the groups that can be told, by name.

        ``seen`` and ``unseen``, where training pairs are known: in mono and multi a language is seen if any training
        pair has it on either side; a cross pair is seen if that pair, in that direction, has training pairs, whatever
        its languages have elsewhere. ``unseen-pairs`` are the unseen cross pairs of two seen languages.
        ``low-resource`` and ``rich``, where such languages are given: a cross pair is low-resource if either side is.
        With both facts also ``low-resource-seen`` and ``low-resource-unseen``. ``languages`` are the benchmark's.
        """
        trained, low = pairs_by_sides(self.training_pairs or {}, languages), set(self.low_resource)

        def seen(setting: str, sides: Sides) -> bool:
            return (trained.get(sides, 0) if setting == "cross" else touching(sides[0], trained)) > 0

        def unseen_pairs(setting: str, sides: Sides) -> bool:
            return setting == "cross" and not trained.get(sides, 0) and all(touching(side, trained) for side in sides)

        known = self.training_pairs is not None
        found: dict[str, Rule] = {}
        if known:
            found = {"seen": seen, "unseen": lambda setting, sides: not seen(setting, sides)}
            found["unseen-pairs"] = unseen_pairs
        if low:
            found["rich"] = lambda setting, sides: low.isdisjoint(sides)
            found["low-resource"] = lambda setting, sides: not low.isdisjoint(sides)
        if known and low:
            found["low-resource-seen"] = lambda setting, sides: not low.isdisjoint(sides) and seen(setting, sides)
            found["low-resource-unseen"] = lambda setting, sides: not (low.isdisjoint(sides) or seen(setting, sides))
        return found

    def rule(self, group: str, languages: Collection[str]) -> Rule:
        """Return a group by its name, or of languages and pairs joined by ``+``, like ``sw+ha`` or ``en-sw+sw-en``.

        A language holds its rows of mono and multi, and the cross pairs that have it on either side; a pair holds its
        row of cross alone. The empty name holds everything.

        Raises:
            InputError: no such group, language or pair.
        """
        if not group:
            return everything
        named = self.rules(languages)
        if group in named:
            return named[group]
        if self.training_pairs is None and group in _BY_PAIRS:
            raise InputError(
                f"the group {group} needs training pairs, which are not known here; name languages or pairs"
            )
        if group in _BY_LANGUAGES:
            raise InputError(
                f"the group {group} needs low-resource languages, and none are named: low_resource of a study, or "
                "--set low_resource=[sw,ha] of evaluate"
            )
        parts = [_written(part, languages) for part in group.split("+")]
        spoken = set(parts) & set(languages)
        pairs = {part: sides_of(part, languages) for part in parts if part not in spoken}
        for part, sides in pairs.items():
            if len(part.split("-")) < 2 or not set(sides) <= set(languages) or sides[0] == sides[1]:
                raise InputError(
                    f"no group {part!r}; there are: {', '.join(named) or 'none by name'}; languages: "
                    f"{', '.join(sorted(languages))}; pairs like {'-'.join(sorted(languages)[:2])}; several joined by +"
                )
        chosen = set(pairs.values())
        return lambda setting, sides: not spoken.isdisjoint(sides) or (setting == "cross" and sides in chosen)

    def about(self) -> dict[str, str]:
        """Return the facts as a file of per-query values keeps them."""
        known = {} if self.training_pairs is None else {"training_pairs": json.dumps(dict(self.training_pairs))}
        return {**known, "low_resource": json.dumps(self.low_resource)}


def _written(part: str, languages: Collection[str]) -> str:
    """Return the name of a language or a pair in the codes that the benchmark has, whatever its spelling."""
    if part in languages:
        return part
    known = (codes for codes in readings(part) if set(codes) <= set(languages))
    return "-".join(next(known, (part,)))


def pairs_by_sides(training_pairs: Mapping[str, int], languages: Collection[str]) -> dict[Sides, int]:
    """Return counts of pairs by their two languages."""
    return {sides_of(pair, languages): count for pair, count in training_pairs.items()}


def touching(language: str, trained: Mapping[Sides, int]) -> int:
    """Count the training pairs that have the language on either side."""
    return sum(count for sides, count in trained.items() if language in sides)


def fewer_than(pairs: int, training_pairs: Mapping[str, int], languages: Collection[str]) -> tuple[str, ...]:
    """Return which languages have fewer training pairs than so many, with the language on either side."""
    trained = pairs_by_sides(training_pairs, languages)
    return tuple(language for language in sorted(languages) if touching(language, trained) < pairs)


def sides_of(pair: str, languages: Collection[str]) -> Sides:
    """Return the two languages of a pair; where codes with hyphens leave it open, those that the benchmark has."""
    cuts = [(pair[: found.start()], pair[found.end() :]) for found in _CUT.finditer(pair)]
    known = [sides for sides in cuts if set(sides) <= set(languages)]
    return (known or cuts or [(pair, pair)])[0]
