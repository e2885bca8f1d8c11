"""The texts to translate: of each group and side, the source language and the languages that it lacks."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from hybridtune.config.fields import language_pair
from hybridtune.config.languages import language_code
from hybridtune.data.readers.native import Group
from hybridtune.errors import InputError
from hybridtune.translate.cache import Direction, text_digest

Side = Literal["queries", "passages"]
_WINDOW_CHARACTERS = 64  # a token of a batch: a window holds about 16 batches, to be sorted by length


class Wish(NamedTuple):
    """A text of a group that is to be translated."""

    side: Side
    direction: Direction
    text: str


@dataclass(frozen=True)
class Wanted:
    """The languages asked for: every one that a group lacks is translated from the first of its sources that it has."""

    sides: tuple[Side, ...]
    sources: Mapping[str, tuple[str, ...]]  # by target language; none: the only language that a group has there

    def of(self, group: Group, missed: Counter[str]) -> Iterator[Wish]:
        """Yield the texts of a group to translate; count in ``missed`` those that cannot be, by reason."""
        for side in self.sides:
            texts: Mapping[str, str] = getattr(group, side)
            by_machine = group.translated.get(side, {})
            native = [language for language in texts if language not in by_machine]
            for target, sources in self.sources.items():
                if target in texts or not texts:
                    continue
                source = next((language for language in sources or native[:1] if language in native), None)
                if not sources and len(native) > 1:
                    missed[f"{side}: in several languages, of which --from or --pairs names none"] += 1
                elif source is None:
                    named = " or ".join(sources) or "any language that is not translated itself"
                    missed[f"{side}: none in {named}"] += 1
                else:
                    yield Wish(side, Direction(source, target), texts[source])


def parse_wanted(side: str, to: str | None, source: str | None, pairs: str | None) -> Wanted:
    """Return what ``--side``, ``--to``, ``--from`` and ``--pairs`` ask for.

    Example:
        >>> parse_wanted("both", None, None, "en-sw,de-sw,en-ha").sources
        {'sw': ('en', 'de'), 'ha': ('en',)}
    """
    sides: tuple[Side, ...] = ("queries", "passages") if side == "both" else (side,)  # type: ignore[assignment]
    if (to is None) == (pairs is None):
        raise InputError("give --to LANGUAGES (and --from), or --pairs like en-sw,en-ha; one of the two")
    if pairs is not None and source is not None:
        raise InputError("--from goes with --to; --pairs names both languages of each pair")
    sources: dict[str, tuple[str, ...]] = {}
    if pairs is not None:
        for pair in _parts(pairs):
            first, second = _pair(pair)
            sources[second] = (*sources.get(second, ()), first)
    else:
        given = (language_code(source, "--from"),) if source is not None else ()
        sources = {language_code(code, "--to"): given for code in _parts(to or "")}
    if source is not None and any(target in named for target, named in sources.items()):
        raise InputError(f"--from {source} is among --to {to}: nothing is translated into its own language")
    if not sources:
        raise InputError("--to names no language: give codes like sw,ha")
    return Wanted(sides, sources)


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _pair(pair: str) -> tuple[str, str]:
    try:
        first, second = language_pair(pair)
    except ValueError as error:
        raise InputError(f"--pairs {pair}: {error}") from None
    if first == second:
        raise InputError(f"--pairs {pair}: a pair is two languages, like en-sw or en-zh-Hant")
    return first, second


@dataclass
class Windows:
    """The distinct texts to translate, direction by direction, in windows that are batched as a whole.

    What is in a window depends on the groups alone, never on what is cached: an interrupted run goes on with the very
    batches that it left.
    """

    characters: int  # of a window
    missed: Counter[str] = field(default_factory=Counter)  # texts that cannot be translated, by reason
    asked: int = 0  # texts, equal ones counted each time
    windows: list["Window"] = field(default_factory=list)
    _open: dict[Direction, tuple[list[str], int]] = field(default_factory=dict)
    _seen: dict[Direction, set[bytes]] = field(default_factory=dict)

    def add(self, wish: Wish) -> None:
        """Take a text, unless an equal one is there."""
        self.asked += 1
        seen = self._seen.setdefault(wish.direction, set())
        digest = text_digest(wish.text)
        if digest in seen:
            return
        seen.add(digest)
        texts, size = self._open.get(wish.direction, ([], 0))
        texts.append(wish.text)
        size += len(wish.text)
        self._open[wish.direction] = (texts, size)
        if size >= self.characters:
            self._close(wish.direction)

    def _close(self, direction: Direction) -> None:
        texts, _ = self._open.pop(direction)
        self.windows.append(Window(len(self.windows), direction, texts))

    def finish(self) -> list["Window"]:
        """Return all windows."""
        for direction in list(self._open):
            self._close(direction)
        return self.windows


class Window(NamedTuple):
    """Texts of one direction that are sorted by length and cut into batches together."""

    number: int
    direction: Direction
    texts: Sequence[str]


def gather(groups: Iterable[Group], wanted: Wanted, batch_tokens: int) -> Windows:
    """Return the windows of all texts of some groups that are to be translated."""
    windows = Windows(_WINDOW_CHARACTERS * batch_tokens)
    for group in groups:
        for wish in wanted.of(group, windows.missed):
            windows.add(wish)
    windows.finish()
    return windows
