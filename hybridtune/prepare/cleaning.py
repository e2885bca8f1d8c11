"""The cleaning of rows: what is changed in their texts, and which texts are dropped for what reason.

Rows are cleaned in blocks, each by itself, in this process or in another. A text that is dropped leaves its row; a row
without a pair that is left goes. `duplicates` finds rows that say what others say.
"""

import io
import json
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from hybridtune.config.languages import language_code
from hybridtune.data.language_id import CHARACTERS, mistaken, unknown
from hybridtune.data.readers.files import Source
from hybridtune.data.readers.languages import SCRIPTS
from hybridtune.data.readers.native import Group, parse_group
from hybridtune.data.readers.notes import Notes
from hybridtune.data.readers.sources import group_rows
from hybridtune.data.scripts import Scripts, count_scripts
from hybridtune.data.text_key import text_key
from hybridtune.errors import InputError
from hybridtune.model.tokenizer import Tokenizer
from hybridtune.prepare.clean_text import INVISIBLE, UNICODE, WHITE_SPACE, clean_text
from hybridtune.prepare.duplicates import Signatures, signatures

RULES = 1  # of what is changed and dropped: raise it with any change, and no part of an earlier run is taken up
DUPLICATE, NEAR = "duplicate", "near-duplicate"
EMPTY, LONG, TOKENS = "empty", "too-long", "too-many-tokens"
SCRIPT, LANGUAGE = "wrong-script", "wrong-language"
SAME, COPY, NEGATIVE = "passage-is-query", "query-in-passage", "negative-is-passage"
CHANGES = (UNICODE, INVISIBLE, WHITE_SPACE)
REASONS = (EMPTY, LONG, TOKENS, SCRIPT, LANGUAGE, SAME, COPY, NEGATIVE, DUPLICATE, NEAR)
MUST = (EMPTY, SAME, NEGATIVE)  # a row with such a text cannot be written, or teaches nothing

LONGEST = 20_000  # characters
EXAMPLES = 3  # of a reason
_OWN_SCRIPT = 0.1  # of a text's letters; with fewer in its language's script, it is written in a wrong one
_LETTERS = 10  # of a text, to say so
_COPIED = 30  # bytes of a query; a shorter one stands in its passage by right
_SHOWN = 80
_ANY_LENGTH = 1 << 24  # tokens


@dataclass(frozen=True)
class Rules:
    """The rules by which texts are dropped.

    Attributes:
        keep: the reasons of `REASONS` for which nothing is.
        longest: characters of a text.
        tokenizer: of an encoder; None: tokens are not counted.
        tokens: that the encoder reads of a text.
    """

    keep: frozenset[str] = frozenset()
    longest: int = LONGEST
    tokenizer: Tokenizer | None = None
    tokens: int = 0


class Example(NamedTuple):
    """A text that was changed or dropped, and where it stands."""

    where: str
    language: str
    text: str
    note: str = ""


@dataclass
class Tally:
    """Counts of what was changed and dropped, by reason.

    Attributes:
        read: rows.
        texts: texts that were changed or dropped.
        rows: rows that were dropped.
        examples: the first ones of every reason.
        languages: the languages of the texts.
    """

    read: int = 0
    texts: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[Example]] = field(default_factory=dict)
    languages: set[str] = field(default_factory=set)

    def note(self, reason: str, where: str, language: str, text: str, note: str = "") -> None:
        """Count a text, and keep it as an example of the first ones."""
        self.texts[reason] += 1
        kept = self.examples.setdefault(reason, [])
        if len(kept) < EXAMPLES:
            shown = " ".join(text.split())
            kept.append(Example(where, language, shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 1]}…", note))

    def add(self, other: "Tally") -> None:
        """Add what happened to later rows."""
        self.read += other.read
        self.texts.update(other.texts)
        self.rows.update(other.rows)
        self.languages |= other.languages
        for reason, examples in other.examples.items():
            kept = self.examples.setdefault(reason, [])
            kept.extend(examples[: EXAMPLES - len(kept)])

    def unknown(self) -> list[str]:
        """Return the languages of which nothing can be said."""
        return unknown(self.languages)


class Block(NamedTuple):
    """The rows of a block that are left, with what it takes to find duplicates of them in other blocks."""

    texts: bytes  # of the rows, as JSON: who looks for duplicates reads none of them
    signatures: Signatures
    tally: Tally

    def rows(self) -> list[tuple[str, Group]]:
        """Return the rows, each with its ``file:line``."""
        return [(where, Group(*group)) for where, *group in json.loads(self.texts)]

    def to_bytes(self) -> bytes:
        """Return the block for a file, from which nothing but arrays and texts is read again."""
        sink, tally = io.BytesIO(), _json({**vars(self.tally), "languages": sorted(self.tally.languages)})
        arrays: dict[str, Any] = self.signatures._asdict()
        arrays |= {"texts": np.frombuffer(self.texts, np.uint8), "tally": np.frombuffer(tally, np.uint8)}
        np.savez(sink, **arrays)
        return sink.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> "Block":
        """Read what `to_bytes` wrote. Raises InputError for anything else."""
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as found:
                said = json.loads(found["tally"].tobytes())
                parts = Signatures(*(found[name] for name in Signatures._fields))
                texts = found["texts"].tobytes()
            examples = {reason: [Example(*one) for one in some] for reason, some in said["examples"].items()}
            counts = Counter(said["texts"]), Counter(said["rows"])
            return cls(texts, parts, Tally(said["read"], *counts, examples, set(said["languages"])))
        except (ValueError, KeyError, TypeError, AttributeError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"a part of an interrupted cleaning is damaged ({error}); clean again") from None


def _json(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode("utf-8", "surrogatepass")  # a file's name may have halves


class RowRead(NamedTuple):
    """A row without its empty texts, which no group has: the languages of these, and the group if a pair is left."""

    group: Group | None
    empty: tuple[str, ...]


def read_rows(source: Source, notes: Notes) -> Iterator[tuple[str, RowRead]]:
    """Read the rows of a file, each with its ``file:line``; that a row has empty texts is no error."""
    for where, row in group_rows(source, notes):
        yield where, _without_empty(row, where)


def _without_empty(row: Any, where: str) -> RowRead:
    sides = {side: row.get(side) for side in ("queries", "passages")} if isinstance(row, dict) else {}
    blank = {
        (side, language)
        for side, texts in sides.items()
        for language, text in (texts.items() if isinstance(texts, dict) else ())
        if text is None or (isinstance(text, str) and not text.strip())
    }
    if not blank:
        return RowRead(parse_group(row, where), ())
    empty = tuple(language_code(language, where) for _, language in sorted(blank))
    left = {
        side: {language: text for language, text in (texts or {}).items() if (side, language) not in blank}
        for side, texts in sides.items()
    }
    if not left["passages"] or (not left["queries"] and len(left["passages"]) < 2):
        return RowRead(None, empty)
    translated = {
        side: {language: of for language, of in (texts or {}).items() if (side, language) not in blank}
        for side, texts in (row.get("translated") or {}).items()
    }
    margins = row.get("margins")
    if isinstance(margins, dict):  # those over a passage that is empty go with it
        margins = {language: over for language, over in margins.items() if ("passages", language) not in blank}
    return RowRead(parse_group({**row, **left, "translated": translated, "margins": margins}, where), empty)


def clean_block(read: Sequence[tuple[str, RowRead]], rules: Rules) -> Block:
    """Clean rows, each with its ``file:line``."""
    tally = Tally(len(read))
    for where, (group, empty) in read:
        for language in empty:
            tally.note(EMPTY, where, language, "")
        if group is None:
            tally.rows[EMPTY] += 1
    rows = [(where, row.group) for where, row in read if row.group is not None]
    texts = dict.fromkeys(pair for _, group in rows for pair in _texts(group))
    cleaned = {text: clean_text(text) for _, text in texts}
    said = dict.fromkeys((language, cleaned[text][0]) for language, text in texts)
    faults = _faults(list(said), rules)
    tally.languages.update(language for language, _ in said)
    left = []
    for where, group in rows:
        if _is_sound(group, cleaned, faults):
            left.append((where, group))
            continue
        row = _Row(where, group, cleaned, faults, rules, tally)
        if row.cleaned is not None:
            left.append((where, row.cleaned))
    found = signatures([group for _, group in left])
    return Block(_json([(where, *group) for where, group in left]), found, tally)


def _is_sound(
    group: Group,
    cleaned: Mapping[str, tuple[str, tuple[str, ...]]],
    faults: Mapping[tuple[str, str], tuple[str, str]],
) -> bool:
    """Return whether nothing of a row is changed or dropped, which is so of nearly all."""
    texts = [*_texts(group)]
    if group.negatives or any(cleaned[text][1] or (language, text) in faults for language, text in texts):
        return False
    return not any(_copied(query, passage) for query in group.queries.values() for passage in group.passages.values())


def _texts(group: Group) -> Iterator[tuple[str, str]]:
    """Yield language and text of all texts of a row."""
    yield from group.queries.items()
    yield from group.passages.items()
    for language, texts in group.negatives.items():
        yield from ((language, text) for text in texts)


def _faults(texts: Sequence[tuple[str, str]], rules: Rules) -> dict[tuple[str, str], tuple[str, str]]:
    """Return of the texts, given by language, for what reason each is to be dropped, and a note on it."""
    found: dict[tuple[str, str], tuple[str, str]] = {}
    scripts = count_scripts([text[:CHARACTERS] for _, text in texts])
    checks: tuple[tuple[str, _Check], ...] = (
        (EMPTY, _empty),
        (LONG, _long),
        (TOKENS, _many_tokens),
        (SCRIPT, _wrong_scripts),
        (LANGUAGE, _wrong_languages),
    )
    for reason, check in checks:
        if reason not in rules.keep:
            rows = [row for row, text in enumerate(texts) if text not in found]
            left = [texts[row] for row in rows]
            notes = check(left, rules, scripts if len(rows) == len(texts) else scripts.take(rows))
            found.update({text: (reason, note) for text, note in zip(left, notes, strict=True) if note is not None})
    return found


_Check = Callable[[Sequence[tuple[str, str]], Rules, Scripts], list[str | None]]


def _empty(texts: Sequence[tuple[str, str]], rules: Rules, scripts: Scripts) -> list[str | None]:
    return [None if text else "" for _, text in texts]


def _long(texts: Sequence[tuple[str, str]], rules: Rules, scripts: Scripts) -> list[str | None]:
    return [f"{len(text):,} characters" if len(text) > rules.longest else None for _, text in texts]


def _many_tokens(texts: Sequence[tuple[str, str]], rules: Rules, scripts: Scripts) -> list[str | None]:
    if rules.tokenizer is None:
        return [None] * len(texts)
    _, counts = rules.tokenizer.encode_flat([text for _, text in texts], "", _ANY_LENGTH)
    return [f"{count:,} tokens" if count > rules.tokens else None for count in counts.tolist()]


def _wrong_scripts(texts: Sequence[tuple[str, str]], rules: Rules, scripts: Scripts) -> list[str | None]:
    notes: list[str | None] = [None] * len(texts)
    rows_of: dict[tuple[str, ...], list[int]] = {}
    for row, (language, _) in enumerate(texts):
        first, *rest = language.split("-")
        if first in SCRIPTS and not any(len(part) == 4 and part.isalpha() for part in rest):
            rows_of.setdefault(SCRIPTS[first], []).append(row)
    letters = scripts.letters.sum(axis=1)
    for own, rows in rows_of.items():
        wrong = (letters[rows] >= _LETTERS) & (scripts.shares(own)[rows] < _OWN_SCRIPT)
        for row in np.array(rows)[wrong].tolist():
            notes[row] = scripts.names[int(scripts.letters[row].argmax())]
    return notes


def _wrong_languages(texts: Sequence[tuple[str, str]], rules: Rules, scripts: Scripts) -> list[str | None]:
    return mistaken([text for _, text in texts], [language for language, _ in texts], scripts)


class _Row:
    """One row while it is cleaned; ``cleaned`` is what is left of it, None where there is no pair in it."""

    def __init__(
        self,
        where: str,
        group: Group,
        cleaned: Mapping[str, tuple[str, tuple[str, ...]]],
        faults: Mapping[tuple[str, str], tuple[str, str]],
        rules: Rules,
        tally: Tally,
    ) -> None:
        self._where, self._texts, self._faults, self._rules, self._tally = where, cleaned, faults, rules, tally
        self._first = ""  # the reason for which the first text was dropped
        queries = self._sound(group.queries.items())
        passages = self._answers(self._sound(group.passages.items()), queries)
        if passages and (queries or len(passages) > 1):
            negatives, margins = self._negatives(group, passages)
            left = group._replace(queries=queries, passages=passages, negatives=negatives, margins=margins)
            self.cleaned: Group | None = _with_provenance(left)
        else:
            self.cleaned = None
            tally.rows[self._first] += 1

    def _drop(self, reason: str, language: str, text: str, note: str = "") -> None:
        self._first = self._first or reason
        self._tally.note(reason, self._where, language, text, note)

    def _sound(self, texts: Iterable[tuple[str, str]]) -> dict[str, str]:
        """Return texts as they are after cleaning, without those that have a fault."""
        return dict(self._cleaned(texts))

    def _cleaned(self, texts: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
        for language, text in texts:
            clean, changes = self._texts[text]
            for change in changes:
                self._tally.note(change, self._where, language, text)
            fault = self._faults.get((language, clean))
            if fault is None:
                yield language, clean
            else:
                self._drop(fault[0], language, text, fault[1])

    def _answers(self, passages: dict[str, str], queries: Mapping[str, str]) -> dict[str, str]:
        """Return the passages that are no copy of a query."""
        found = {}
        for language, passage in passages.items():
            reason = next((reason for query in queries.values() if (reason := _copied(query, passage))), None)
            if reason is None or reason in self._rules.keep:
                found[language] = passage
            else:
                self._drop(reason, language, passage)
        return found

    def _negatives(
        self, group: Group, passages: Mapping[str, str]
    ) -> tuple[dict[str, list[str]], dict[str, list[float | None]]]:
        """Return the negatives that are left, and their margins where the passage is left too."""
        found: dict[str, list[str]] = {}
        margins: dict[str, list[float | None]] = {}
        answers = {text_key(text) for text in passages.values()} if group.negatives else set()
        for language in group.negatives:
            for text, margin in group.scored_negatives(language):
                for _, clean in self._cleaned([(language, text)]):
                    if text_key(clean) in answers:
                        self._drop(NEGATIVE, language, clean)
                        continue
                    found.setdefault(language, []).append(clean)
                    if language in group.margins and language in passages:
                        margins.setdefault(language, []).append(margin)
        return found, margins


def _copied(query: str, passage: str) -> str | None:
    """Return the reason for which a passage is no answer to a query: it is, or holds, the query itself."""
    asked, answer = query.casefold(), passage.casefold()
    if asked == answer:
        return SAME
    return COPY if asked in answer and len(query.encode()) >= _COPIED else None


def _with_provenance(group: Group) -> Group:
    """Return the group without what it says of texts that are not left."""
    if not group.translated:
        return group
    translated: dict[str, Any] = {}
    for side, texts in (("queries", group.queries), ("passages", group.passages)):
        left = {language: of for language, of in group.translated.get(side, {}).items() if language in texts}
        if left:
            translated[side] = left
    translation = dict(group.translation) if translated else {}
    return group._replace(translated=translated, translation=translation)
