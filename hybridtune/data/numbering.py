"""Which of many texts stood there before: found by their digests, on disk, in memory that hardly grows."""

import hashlib
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hybridtune.data.answer_sets import AnswerSets
from hybridtune.data.arrays import CHUNK, ArrayFile, forget, scratch_array
from hybridtune.data.readers.native import Group
from hybridtune.data.text_key import text_key
from hybridtune.errors import InputError
from hybridtune.metrics.arrays import Bool, Int32

Digests = npt.NDArray[np.void]

_DIGEST = np.dtype([("high", np.uint64), ("low", np.uint64)])
_RECORD = np.dtype([*_DIGEST.descr, ("place", np.int32)])
_AT_ONCE = 4096  # places written between two calls of `forget`
_PARTS = 64  # files, once there is more than a chunk; one of them at a time is read into memory


def digests(texts: Iterable[bytes]) -> Digests:
    """[n] 128 bits of BLAKE2b of each text: any two of n that differ are told apart, but for n^2 in 2^129 cases."""
    joined = b"".join([hashlib.blake2b(text, digest_size=16).digest() for text in texts])
    return np.frombuffer(joined, _DIGEST)


class Distinct:
    """Finds for each of n digests the first that is equal to it.

    Args:
        folder: made here; takes 24 bytes a digest where there are many.
    """

    def __init__(self, folder: Path) -> None:
        self.count = 0
        folder.mkdir()
        self._firsts = folder / "firsts.npy"
        self._paths = [folder / str(part) for part in range(_PARTS)]
        self._waiting: list[npt.NDArray[np.void]] = []
        self._spilled = False

    def add(self, found: Digests) -> None:
        """Take the next digests; the n-th of all has place n."""
        records = np.empty(len(found), _RECORD)
        records["high"], records["low"] = found["high"], found["low"]
        records["place"] = np.arange(self.count, self.count + len(found))
        self.count += len(found)
        self._waiting.append(records)
        if sum(map(len, self._waiting)) > CHUNK:
            self._spill()

    def firsts(self) -> Int32:
        """Look for them all.

        Returns:
            [n] the place of the first digest that equals the one at each place: its own where there is none before;
            to write to, and mapped from a file in the folder.
        """
        first = scratch_array(self._firsts, self.count, None)
        for records in self._parts():
            order = np.lexsort((records["low"], records["high"]))  # stable: equal ones stay in the order of places
            high, low, places = (records[name][order] for name in ("high", "low", "place"))
            again = np.zeros(len(order), bool)
            again[1:] = (high[1:] == high[:-1]) & (low[1:] == low[:-1])
            of_run = places[np.flatnonzero(~again)]  # a run of equal digests: the first place
            runs = np.cumsum(~again) - 1
            repeated = np.flatnonzero(again)
            repeated = repeated[np.argsort(places[repeated])]  # by place: what is written together lies together
            for start in range(0, len(repeated), _AT_ONCE):
                some = repeated[start : start + _AT_ONCE]
                first[places[some]] = of_run[runs[some]]
                forget(first)
        return first

    def _spill(self) -> None:
        """Write what waits to files, equal digests to the same one."""
        records = np.concatenate([np.empty(0, _RECORD), *self._waiting])
        parts = (records["high"] % _PARTS).astype(np.uint8)
        records = records[np.argsort(parts, kind="stable")]
        ends = np.cumsum(np.bincount(parts, minlength=_PARTS)).tolist()
        for path, start, end in zip(self._paths, [0, *ends[:-1]], ends, strict=True):
            with path.open("ab") as file:
                file.write(records[start:end].tobytes())
        self._waiting, self._spilled = [], True

    def _parts(self) -> Iterator[npt.NDArray[np.void]]:
        if not self._spilled:
            yield np.concatenate([np.empty(0, _RECORD), *self._waiting])
            return
        self._spill()
        for path in self._paths:
            yield np.fromfile(path, _RECORD)
            path.unlink()


BLOCK_TEXTS = 8192  # of a block, about; the unit that Ray Data hands to a tokenising actor

_TEXTS = pa.schema([("is_query", pa.bool_()), ("text", pa.large_string())])


class TextPart(NamedTuple):
    """The texts of one block: an Arrow file of (is_query, text), and which of them stand in no block before."""

    path: Path
    new: Bool


class _Tables(NamedTuple):
    """A block: [g, 4] group, column, query and passage of each cell; [n, 3] group, column and text of the negatives."""

    groups: range
    cells: Int32
    negatives: Int32


class Numbering:
    """Numbers the texts of groups and joins the groups that share a passage, or a query in one language.

    Args:
        folder: an empty one. `finish` leaves there one ``.npy`` file a field of `Corpus` and, under ``texts``, the
            texts; what else is there in between is taken away.
        limits: most groups a language may have; what is over the limit is left out in the order of the groups.
        keep_texts: write the texts too.
    """

    def __init__(self, folder: Path, limits: Mapping[str, int], keep_texts: bool = False) -> None:
        self.texts = 0  # distinct ones; known when it is finished
        self.parts: list[TextPart] = []
        self._folder, self._work = folder, folder / "work"
        self._work.mkdir()
        self._text_folder = folder / "texts" if keep_texts else None
        if self._text_folder:
            self._text_folder.mkdir()
        self._limits, self._seen = limits, dict.fromkeys(limits, 0)
        self._columns: dict[str, int] = {}
        self._known, self._known_ids = Distinct(self._work / "digests"), Distinct(self._work / "groups")
        self._id_file = (self._work / "ids").open("w+", encoding="utf-8")
        self._cell_file, self._negative_file = ((self._work / name).open("w+b") for name in ("cells", "negatives"))
        self._sources = ArrayFile(folder / "sources.npy", np.int32)
        self._blocks: list[tuple[int, int, int, int]] = []  # groups, cells, negatives and texts up to its end
        self._begin()

    def _begin(self) -> None:
        """An empty block."""
        self._ids: list[str] = []
        self._of: list[int] = []
        self._cells: list[int] = []
        self._negatives: list[int] = []
        self._places: dict[bytes, int] = {}  # what makes a text this text -> its place among those of all blocks
        self._texts: list[tuple[bool, str]] = []  # the first spelling of each

    def add(self, group: Group, source: int = 0) -> None:
        """Take the next group, and the entry of ``data.train`` that it comes from."""
        row = self._known_ids.count + len(self._ids)
        self._ids.append(group.group_id)
        self._of.append(source)
        queries, passages = group.queries, group.passages
        for language in sorted({*queries, *passages}):
            if language in self._seen:
                self._seen[language] += 1
                if self._seen[language] > self._limits[language]:
                    continue
            column = self._columns.setdefault(language, len(self._columns))
            query = self._place(queries[language], language) if language in queries else -1
            passage = -1
            if language in passages:
                passage = self._place(passages[language])
                for place in dict.fromkeys(map(self._place, group.negatives.get(language, ()))):
                    self._negatives += (row, column, place)
            self._cells += (row, column, query, passage)
        if len(self._places) >= BLOCK_TEXTS or len(self._ids) >= BLOCK_TEXTS:
            self._end()

    def _place(self, text: str, query_language: str | None = None) -> int:
        """Return the place of a query of a language, or of a passage, which is one text in all languages."""
        side = "p" if query_language is None else f"q{query_language}"
        found = self._places.setdefault(f"{side}\0{text_key(text)}".encode(), self._known.count + len(self._places))
        if len(self._texts) < len(self._places):
            self._texts.append((query_language is not None, text))
        return found

    def _end(self) -> None:
        """Write the block away."""
        if self._text_folder:
            path = self._text_folder / f"part-{len(self._blocks):05d}.arrow"
            sides, texts = zip(*self._texts, strict=True) if self._texts else ((), ())
            with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, _TEXTS) as writer:
                writer.write_table(pa.table({"is_query": list(sides), "text": list(texts)}, _TEXTS))
        self._known.add(digests(self._places))
        self._known_ids.add(digests(name.encode() for name in self._ids))
        self._id_file.writelines(f"{name!r}\n" for name in self._ids)
        self._sources.append(np.array(self._of, np.int32))
        groups, cells, negatives, texts_before = self._blocks[-1] if self._blocks else (0, 0, 0, 0)
        self._cell_file.write(np.array(self._cells, np.int32).tobytes())
        self._negative_file.write(np.array(self._negatives, np.int32).tobytes())
        self._blocks.append(
            (
                groups + len(self._ids),
                cells + len(self._cells) // 4,
                negatives + len(self._negatives) // 3,
                texts_before + len(self._places),
            )
        )
        self._begin()

    def finish(self) -> None:
        """Write the tables of the corpus.

        Raises:
            InputError: no text at all, or a group_id that stands twice.
        """
        self._end()
        self._sources.close()
        self._no_group_twice()
        if not self._columns:
            raise InputError("the training data holds no text: every language is limited to 0")
        numbers = self._number_texts()
        holders, answer_sets = self._answer_sets(numbers)
        names = sorted(self._columns)
        np.save(self._folder / "languages.npy", np.array(names))
        with ArrayFile(self._folder / "answer_sets.npy", np.int32) as file:
            for start in range(0, len(answer_sets), CHUNK):
                file.append(answer_sets[start : start + CHUNK])
                forget(answer_sets)
        order = np.argsort(np.argsort(list(self._columns))).astype(np.int32)  # column -> its place by the name
        self._write_cells(numbers, order)
        self._write_negatives(numbers, order, holders, answer_sets)
        for open_file in (self._cell_file, self._negative_file, self._id_file):
            open_file.close()
        shutil.rmtree(self._work)

    def _no_group_twice(self) -> None:
        firsts = self._known_ids.firsts()
        for start in range(0, len(firsts), CHUNK):
            places = np.arange(start, min(start + CHUNK, len(firsts)), dtype=np.int32)
            again = places[firsts[places] != places]
            if len(again):
                self._id_file.seek(0)
                name = next(islice(self._id_file, int(again[0]), None)).rstrip("\n")
                raise InputError(f"group_id {name} stands twice: one line holds a whole group")
            forget(firsts)

    def _number_texts(self) -> Int32:
        """[places] the number of every text; fills ``parts``."""
        numbers = self._known.firsts()
        start = 0
        for number, (*_, end) in enumerate(self._blocks):
            first = numbers[start:end].copy()
            new = first == np.arange(start, end, dtype=np.int32)
            numbers[start:end][new] = np.arange(self.texts, self.texts + new.sum(), dtype=np.int32)
            numbers[start:end][~new] = numbers[first[~new]]  # those before the block have their numbers by now
            forget(numbers)
            self.texts += int(new.sum())
            start = end
            if self._text_folder:
                self.parts.append(TextPart(self._text_folder / f"part-{number:05d}.arrow", new))
        return numbers

    def _answer_sets(self, numbers: Int32) -> tuple[Int32, Int32]:
        """Join the groups that share a text.

        Returns:
            [texts] the first group that has it, as a passage or as a query; -1 of one that is a hard negative only.
            [G] the answer set of every group.
        """
        holders = scratch_array(self._work / "holders.npy", self.texts, -1)
        answer_sets = AnswerSets(self._known_ids.count, self._work / "answer_sets.npy")
        for block in self._tables():
            held = block.cells[:, 2:] >= 0  # [g, 2] queries and passages; no query has the number of a passage
            texts, groups = numbers[block.cells[:, 2:][held]], np.repeat(block.cells[:, 0], held.sum(axis=1))
            different, at = np.unique(texts, return_index=True)
            fresh = holders[different] < 0
            holders[different[fresh]] = groups[at[fresh]]
            shared = holders[texts] != groups
            answer_sets.join(holders[texts[shared]], groups[shared])
            forget(holders)
            forget(numbers)
        return holders, answer_sets.names()

    def _write_cells(self, numbers: Int32, order: Int32) -> None:
        with (
            ArrayFile(self._folder / "queries.npy", np.int32, len(order)) as queries,
            ArrayFile(self._folder / "passages.npy", np.int32, len(order)) as passages,
        ):
            for block in self._tables():
                rows, columns = block.cells[:, 0] - block.groups.start, order[block.cells[:, 1]]
                for file, places in ((queries, block.cells[:, 2]), (passages, block.cells[:, 3])):
                    table = np.full((len(block.groups), len(order)), -1, np.int32)  # [g, L]
                    table[rows, columns] = np.where(places >= 0, numbers[places], -1)
                    file.append(table)
                forget(numbers)

    def _write_negatives(self, numbers: Int32, order: Int32, holders: Int32, answer_sets: Int32) -> None:
        with (
            ArrayFile(self._folder / "negative_cells.npy", np.int64) as cells,
            ArrayFile(self._folder / "negative_texts.npy", np.int32) as texts,
            ArrayFile(self._folder / "negative_answer_sets.npy", np.int32) as of_texts,
        ):
            for block in self._tables():
                groups, columns, places = block.negatives.T
                number = numbers[places]
                holder = holders[number]
                answer_set = np.where(holder >= 0, answer_sets[holder], -1)
                kept = answer_set != answer_sets[groups]  # a text of the group's own answer set answers its queries
                cells.append((groups.astype(np.int64) * len(order) + order[columns])[kept])
                texts.append(number[kept])
                of_texts.append(answer_set[kept])
                for array in (numbers, holders, answer_sets):
                    forget(array)

    def _tables(self) -> Iterator[_Tables]:
        """The blocks again, in order."""
        self._cell_file.seek(0)
        self._negative_file.seek(0)
        before = (0, 0, 0, 0)
        for block in self._blocks:
            cells = np.frombuffer(self._cell_file.read((block[1] - before[1]) * 16), np.int32).reshape(-1, 4)
            negatives = np.frombuffer(self._negative_file.read((block[2] - before[2]) * 12), np.int32).reshape(-1, 3)
            yield _Tables(range(before[0], block[0]), cells, negatives)
            before = block


def read_texts(parts: Sequence[TextPart]) -> Iterator[tuple[bool, str]]:
    """(is_query, text) of every distinct text, in the order of the numbers."""
    for part in parts:
        with pa.memory_map(str(part.path)) as source:
            table = pa.ipc.open_file(source).read_all().filter(pa.array(part.new))
            yield from zip(table.column("is_query").to_pylist(), table.column("text").to_pylist(), strict=True)
