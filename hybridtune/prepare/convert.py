"""`hybridtune data convert`: training data of any known format, written as groups."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from hybridtune.callbacks import StudyCallback, phase
from hybridtune.config.fields import DataSet
from hybridtune.data.readers.files import Source
from hybridtune.data.readers.native import Group
from hybridtune.data.readers.notes import Notes
from hybridtune.data.readers.sources import find_sources, located_groups
from hybridtune.errors import InputError
from hybridtune.prepare.writer import output_file, write_groups

_AT_ONCE = 1 << 14  # groups between two reports of progress


def convert(data_sets: Sequence[DataSet], out: str, callback: StudyCallback) -> dict[str, Any]:
    """Read data of any format, check them, and write them as groups.

    Returns:
        ``{"file", "formats", "rows", "groups", "queries": {language: texts}, "passages": {...}, "left_out": {reason:
        number}}``; a row may be several groups, one a relevant passage.

    Raises:
        InputError: the data cannot be read or hold no group, or the file cannot be written.
    """
    sources = find_sources(data_sets)
    file = output_file(out, sources)
    notes, counts = Notes(), _Counts()
    with phase(callback, "converting", "groups") as progress:
        progress(0, 1)  # how many there are is known at the end

        def counted() -> Iterator[Group]:
            for source in sources:
                for where, group in located_groups(source, notes):
                    counts.add(source, where, group)
                    if counts.groups % _AT_ONCE == 0:
                        progress(counts.groups, counts.groups)
                    yield group
            if not counts.groups:
                raise InputError(f"{', '.join(one.path for one in data_sets)}: there is no group in it")

        write_groups(counted(), file)
        progress(counts.groups, counts.groups)
    return {
        "file": str(file),
        "formats": notes.formats(),
        "rows": counts.rows,
        "groups": counts.groups,
        "queries": dict(sorted(counts.queries.items())),
        "passages": dict(sorted(counts.passages.items())),
        "left_out": notes.left_out(),
    }


class _Counts:
    """The numbers of what was read. Groups of one row stand one after the other."""

    def __init__(self) -> None:
        self.rows = self.groups = 0
        self.queries: Counter[str] = Counter()
        self.passages: Counter[str] = Counter()
        self._last = ("", "")

    def add(self, source: Source, where: str, group: Group) -> None:
        self.groups += 1
        self.rows += (source.name, where) != self._last
        self._last = (source.name, where)
        self.queries.update([*group.queries])
        self.passages.update([*group.passages])
