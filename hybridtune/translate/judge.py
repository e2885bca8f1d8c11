"""The refusal of translations, by reason: by the checks of each text and by its agreement with the source."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from hybridtune.callbacks import phase
from hybridtune.translate.agreement import AgreementName, Measure, Thresholds, describe
from hybridtune.translate.cache import Direction, text_digest
from hybridtune.translate.checks import Checks
from hybridtune.translate.translator import Translator
from hybridtune.translate.wanted import Window, Windows, Wish

# Of texts and the languages that they should be in: the other language that each is in, if any.
Mistaken = Callable[[Sequence[str], Sequence[str]], Sequence[str | None]]

_EXAMPLES = 3  # a reason
_SHOWN = 200  # characters of a text in an example


@dataclass
class Verdicts:
    """The translations that are refused, counted by direction and reason, with examples."""

    counts: dict[Direction, Counter[str]] = field(default_factory=dict)
    examples: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    agreement: dict[Direction, list[float]] = field(default_factory=dict)  # of all that were measured
    _refused: set[tuple[Direction, bytes]] = field(default_factory=set)

    def refuse(self, direction: Direction, source: str, translation: str, reason: str) -> None:
        """Count a translation as refused."""
        self._refused.add((direction, text_digest(source)))
        self.count(direction, source, translation, reason)

    def count(self, direction: Direction, source: str, translation: str, reason: str) -> None:
        """Count a translation as left out."""
        self.counts.setdefault(direction, Counter())[reason] += 1
        shown = self.examples.setdefault(reason, [])
        if len(shown) < _EXAMPLES:
            shown.append({"direction": str(direction), "source": source[:_SHOWN], "translation": translation[:_SHOWN]})

    def accepts(self, direction: Direction, source: str) -> bool:
        """Return whether the translation of a text is not refused."""
        return (direction, text_digest(source)) not in self._refused

    def report(self) -> dict[str, Any]:
        """Return the counts and examples for the report."""
        total: Counter[str] = sum(self.counts.values(), Counter())
        by_direction = {str(direction): dict(found) for direction, found in sorted(self.counts.items())}
        return {"dropped": dict(total), "dropped_by_direction": by_direction, "examples": self.examples}


def judge(translator: Translator, windows: Sequence[Window], checks: Checks, mistaken: Mistaken) -> Verdicts:
    """Check the translations of all windows."""
    verdicts = Verdicts()
    for window in _followed(translator, windows, "checking"):
        for source, translation in zip(window.texts, translator.of(window), strict=True):
            if reason := checks.reason(source, translation):
                verdicts.refuse(window.direction, source, translation.text, reason)
        pairs = list(_accepted(translator, window, verdicts))
        found = mistaken([translation for _, translation in pairs], [window.direction.target] * len(pairs))
        for (source, text), language in zip(pairs, found, strict=True):
            if language is not None:
                verdicts.refuse(window.direction, source, text, "wrong language")
    return verdicts


def judge_agreement(
    translator: Translator,
    windows: Sequence[Window],
    verdicts: Verdicts,
    name: AgreementName,
    measure: Measure,
    thresholds: Thresholds,
) -> None:
    """Measure how far the accepted translations agree with their sources, and refuse those below the thresholds."""
    if name == "back":
        back = Windows(max((sum(map(len, window.texts)) for window in windows), default=1))
        for window in windows:
            for _, translation in _accepted(translator, window, verdicts):
                back.add(Wish("passages", Direction(window.direction.target, window.direction.source), translation))
        translator.translate(back.finish(), "translating back")
    for window in _followed(translator, windows, f"measuring the agreement ({name})"):
        pairs = list(_accepted(translator, window, verdicts))
        sources, translations = [source for source, _ in pairs], [translation for _, translation in pairs]
        compared = translations if name == "similarity" else _backs(translator, window.direction, translations)
        values = measure(sources, compared)
        verdicts.agreement.setdefault(window.direction, []).extend(values)
        least = thresholds.least(window.direction)
        for (source, translation), value in zip(pairs, values, strict=True):
            if least is not None and value < least:
                verdicts.refuse(window.direction, source, translation, f"{name} below {least:g}")


def agreement_report(verdicts: Verdicts) -> dict[str, Any]:
    """Return quantiles of the agreement by direction."""
    return describe(verdicts.agreement)


def _followed(translator: Translator, windows: Sequence[Window], what: str) -> Iterator[Window]:
    """Yield windows, and report the texts of those that were worked on."""
    done, total = 0, sum(len(window.texts) for window in windows)
    with phase(translator.callback, what, "texts") as progress:
        progress(0, total)
        for window in windows:
            yield window
            done += len(window.texts)
            progress(done, total)


def _accepted(translator: Translator, window: Window, verdicts: Verdicts) -> Iterator[tuple[str, str]]:
    for source, translation in zip(window.texts, translator.of(window), strict=True):
        if verdicts.accepts(window.direction, source):
            yield source, translation.text


def _backs(translator: Translator, direction: Direction, translations: Sequence[str]) -> list[str]:
    back = Direction(direction.target, direction.source)
    found = [translator.cache.get(back, text) for text in translations]
    return [translation.text if translation is not None else "" for translation in found]
