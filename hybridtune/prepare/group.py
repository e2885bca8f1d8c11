"""`hybridtune data group`: rows of training data made groups of translations, counted before and after, and written."""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hybridtune.callbacks import StudyCallback, phase
from hybridtune.config.fields import DataSet
from hybridtune.data.readers.files import Source
from hybridtune.data.readers.native import Group
from hybridtune.data.readers.notes import Notes
from hybridtune.data.readers.sources import find_sources, read_groups
from hybridtune.data.text_key import text_key
from hybridtune.prepare.alignment import read_alignment
from hybridtune.prepare.grouping import Borrowed, Groups, Sets, by_id, by_pairs_of_ids, by_text, into_groups
from hybridtune.prepare.rows import Rows, count_pairs, spool_rows
from hybridtune.prepare.writer import open_groups, output_file

if TYPE_CHECKING:
    from hybridtune.prepare.mining import Mining  # it imports torch, for which only mining should wait

Way = Literal["id", "text", "alignment", "mining"]

_AT_ONCE = 1 << 12  # groups between two reports of progress
_SHOWN = 60  # characters of a text in an example
WAYS: Mapping[str, Callable[[Rows], Sets]] = {
    "id": by_id,
    "text": by_text,
    "none": lambda rows: Sets(np.arange(len(rows), dtype=np.int32)),  # every row stays as it is
}


@dataclass(frozen=True)
class Given:
    """The further input of a way of grouping."""

    alignment: Path | None = None
    mining: "Mining | None" = None


def compare_ways(data_sets: Sequence[DataSet], mining: "Mining | None", callback: StudyCallback) -> dict[str, Any]:
    """Return what every way would give, mining where there is something to mine by; nothing is written.

    ``best`` is the way with most pairs, of equals the first of id, text, mining; None where no way joins anything.
    """
    with spooled(find_sources(data_sets), callback) as rows:
        as_read, ways = compared(rows)
        found: dict[str, Any] = {"rows": len(rows), "languages": list(rows.languages), "as read": as_read}
        if mining is not None:
            from hybridtune.prepare.mining import mine

            whole, found["pairs"] = mine(rows, mining, callback)
            ways["mining"] = _about(whole, by_text(whole))
        return {**found, "ways": ways, "best": best_way(as_read, ways)}


def compared(rows: Rows) -> tuple[dict[str, int], dict[str, dict[str, Any]]]:
    """Return the counts of the rows as they are, and by id and by text what they would become."""
    return _counts(rows), {way: _about(rows, WAYS[way](rows)) for way in ("id", "text")}


def best_way(as_read: Mapping[str, int], ways: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Return the way that gives most pairs, of equals the first; None where none joins anything."""
    best = max(ways, key=lambda way: ways[way]["mono"] + ways[way]["cross"])
    return best if ways[best]["groups"] < as_read["groups"] else None


def group(data_sets: Sequence[DataSet], way: Way, out: str, given: Given, callback: StudyCallback) -> dict[str, Any]:
    """Write the groups that rows become one way; return the counts before and after, and what could not be joined.

    Raises:
        InputError: the data, the alignment or the encoder cannot be read, or ``out`` not be written.
    """
    sources = find_sources(data_sets)
    file = output_file(out, sources)
    with spooled(sources, callback) as rows:
        if way == "mining" and given.mining is not None:
            from hybridtune.prepare.mining import mine

            whole, pairs = mine(rows, given.mining, callback)
            return {"by": way, "pairs": pairs, **write_sets(whole, by_text(whole), file, callback, rows)}
        if way == "alignment" and given.alignment is not None:
            aligned, notice = read_alignment(given.alignment, rows)
            if notice:
                callback.on_message(notice)
            sets = by_pairs_of_ids(rows, aligned)
        else:
            sets = WAYS[way](rows)
        return {"by": way, **write_sets(rows, sets, file, callback)}


@contextmanager
def spooled(sources: Sequence[Source], callback: StudyCallback) -> Iterator[Rows]:
    """Read the rows of all files once, and report how; their texts lie in a folder that is removed at the end."""
    notes = Notes()
    groups = (group for source in sources for group in read_groups(source, notes))
    with tempfile.TemporaryDirectory(prefix="hybridtune-") as folder:
        with phase(callback, "reading", "rows") as progress:
            rows = spool_rows(groups, Path(folder), progress)
        for line in notes.lines():
            callback.on_message(line)
        yield rows


def write_sets(
    rows: Rows, sets: Sets, file: Path, callback: StudyCallback, as_read: Rows | None = None
) -> dict[str, Any]:
    """Write the groups of sets to a file; return the counts before and after, and what could not be joined.

    ``as_read`` are the rows before mining gave them texts.
    """
    groups = into_groups(rows, sets.of)
    left_out: Counter[str] = Counter()
    with phase(callback, "writing", "groups") as progress, open_groups(file) as write:
        progress(0, groups.count)
        for number, group in enumerate(gather(rows, groups, left_out), 1):
            write(group)
            if number % _AT_ONCE == 0 or number == groups.count:
                progress(number, groups.count)
    return {
        "file": str(file),
        "rows": len(rows),
        "as read": _counts(as_read or rows),
        "grouped": _about(rows, sets, groups),
        "left_out": dict(left_out),
    }


def _about(rows: Rows, sets: Sets, groups: Groups | None = None) -> dict[str, Any]:
    """Return the counts of the groups that sets become, and examples of what is not clear in them."""
    groups = into_groups(rows, sets.of) if groups is None else groups
    return {
        **_counts(rows, groups),
        "unclear": sets.unclear,
        "unclear_examples": [brief(next(iter(rows.spool.read(row).passages.values()))) for row in sets.examples],
        "split": groups.split,
        "split_examples": [rows.spool.read(row).group_id for row in groups.examples],
    }


def _counts(rows: Rows, groups: Groups | None = None) -> dict[str, int]:
    """Count groups and their pairs, of the rows as they are or of the groups that they become."""
    of, is_query, column, count = rows.row, rows.is_query, rows.column, len(rows)
    if groups is not None:
        more = np.array([(group, *text) for group, text in groups.added], np.int32).reshape(-1, 4)
        of, count = np.concatenate([groups.of[rows.row], more[:, 0]]), groups.count
        is_query = np.concatenate([is_query, more[:, 1] == 1])
        column = np.concatenate([column, more[:, 2]])
    pairs = count_pairs(of, is_query, column, len(rows.languages))
    mono = int(pairs.diagonal().sum())
    return {"groups": count, "mono": mono, "cross": int(pairs.sum()) - mono}


def brief(text: str) -> str:
    """Return a text as an example of a message shows it, in one short line."""
    shown = " ".join(text.split())
    return shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 1]}…"


def gather(rows: Rows, groups: Groups, left_out: Counter[str]) -> Iterator[Group]:
    """Put the texts of every group together, in the order of their first rows; count what is left out by reason.

    Of the rows of a group the first one names it; a name that an earlier group has gets ``#2``, ``#3``, ...
    """
    names = _Names(rows)
    order = np.argsort(groups.of, kind="stable")  # rows by group
    borrowed = _borrowed(rows, groups)
    for number, members in groupby(order.tolist(), lambda row: int(groups.of[row])):
        chosen = list(members)
        held = [rows.spool.read(row) for row in chosen]
        if len(held) == 1 and number not in borrowed:
            yield held[0]._replace(group_id=names.next(chosen[0], held[0].group_id))
            continue
        others = [_only(rows.spool.read(text.row), text, rows.languages) for text in borrowed.get(number, ())]
        yield merged(names.next(chosen[0], held[0].group_id), held, others, left_out)


def _borrowed(rows: Rows, groups: Groups) -> dict[int, list[Borrowed]]:
    """Return by group the texts that come from other rows than its own."""
    found: dict[int, list[Borrowed]] = {}
    for group, text in groups.added:
        found.setdefault(group, []).append(text)
    cells = np.flatnonzero(rows.origin != rows.row)
    columns = (groups.of[rows.row[cells]], rows.is_query[cells], rows.column[cells], rows.origin[cells])
    for group, *cell in zip(*(values.tolist() for values in columns), strict=True):
        found.setdefault(group, []).append(Borrowed(*cell))
    return found


class _Names:
    """The names of groups: the id of the first row, numbered where an earlier group has it."""

    def __init__(self, rows: Rows) -> None:
        self._ids, self._marked = rows.ids, rows.marked
        self._given = np.zeros(int(rows.ids.max(initial=-1)) + 1, np.int32)

    def next(self, row: int, name: str) -> str:
        number = self._ids[row]
        self._given[number] += 1
        if self._given[number] == 1:
            return name
        while f"{name}#{self._given[number]}" in self._marked:  # an id of the data
            self._given[number] += 1
        return f"{name}#{self._given[number]}"


def _only(group: Group, text: Borrowed, languages: Sequence[str]) -> Group:
    """Return a group with one of its texts, and what it says of it."""
    side, language = "queries" if text.is_query else "passages", languages[text.column]
    by = group.translated.get(side, {}).get(language)
    texts = {language: getattr(group, side)[language]}
    found = Group("", "", texts, {}) if text.is_query else Group("", "", {}, texts)
    return found if by is None else found._replace(translated={side: {language: by}}, translation=group.translation)


def merged(name: str, rows: Sequence[Group], others: Sequence[Group], left_out: Counter[str]) -> Group:
    """Put rows together, and the texts of ``others`` behind them: of a language and side the first text is kept."""
    sides: dict[str, dict[str, str]] = {"queries": {}, "passages": {}}
    translated: dict[str, dict[str, str]] = {}
    translation: dict[str, str] = {}
    negatives: dict[str, dict[str, str]] = {}  # by language: key -> text
    margins: dict[str, dict[str, float]] = {}  # by language: key -> margin
    for row in (*rows, *others):
        for side, texts in sides.items():
            for language, text in getattr(row, side).items():
                by = row.translated.get(side, {}).get(language)
                if language not in texts and by is not None:
                    translated.setdefault(side, {})[language] = by
                    translation = translation or dict(row.translation)
                texts.setdefault(language, text)
        for language in row.negatives:
            kept = negatives.setdefault(language, {})
            for text, margin in row.scored_negatives(language):
                kept.setdefault(text_key(text), text)
                if margin is not None:  # over the group's passage too: its rows contradict each other in no language
                    margins.setdefault(language, {}).setdefault(text_key(text), margin)
    answers = {text_key(text) for text in sides["passages"].values()} if negatives else set()
    for kept in negatives.values():
        for key in kept.keys() & answers:
            del kept[key]
            left_out["hard negatives that are a passage of their group"] += 1
    documents = dict.fromkeys(row.document_id for row in rows if row.document_id)
    if len(documents) > 1:
        left_out["further documents of a group"] += len(documents) - 1
    return Group(
        name,
        next(iter(documents), ""),
        dict(sorted(sides["queries"].items())),
        dict(sorted(sides["passages"].items())),
        {language: list(kept.values()) for language, kept in sorted(negatives.items()) if kept},
        {
            language: [scored.get(key) for key in negatives[language]]
            for language, scored in sorted(margins.items())
            if not scored.keys().isdisjoint(negatives[language])
        },
        translated,
        translation,
    )
