"""Queues of groups to be drawn: those of every cell, in seeded permutations, epoch after epoch.

A batch costs a few numpy calls while every row can have the next group in line; from the first row on that cannot,
the rest of the batch goes row by row.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybridtune.metrics.arrays import Bool, Int32, Int64

_NEAR = 16  # groups passed over one by one before whole blocks are
_BLOCK = 4096
_FEW = 16  # a cell with less than this part of all groups has few


class Queues:
    """The groups of every cell, epoch after epoch: each a fresh permutation, none repeats before all were visited.

    All waiting groups are in one array, every cell in a stretch of its own: a group that is taken leaves it, and one
    that is passed over (its answer set is in the batch already) stays before those after it.

    Args:
        members: finds the groups of a cell, ascending.
        sizes: [C] groups of every cell, at least one.
        pair_of: [C] the pair of every cell; cells of one pair are neighbours and replace each other before others do.
        answer_sets: [G] no batch holds two groups of one answer set.
        seeds: of every cell's permutations; the epoch is added.
    """

    def __init__(
        self,
        members: Callable[[int], Int32],
        sizes: Int64,
        pair_of: Int64,
        answer_sets: Int32,
        seeds: Sequence[tuple[int, ...]],
    ) -> None:
        self._find, self._sizes, self._pair_of, self._seeds = members, sizes, pair_of, seeds
        self._answer_sets = answer_sets
        self._few: dict[int, Int32] = {}  # members of small cells
        self._ends = np.cumsum(sizes)
        self._heads = self._ends.copy()  # nothing waits before the first epoch
        self._new = self._ends.copy()  # what waits before this index was never taken
        self._epochs = [0] * len(sizes)
        self._waiting = np.zeros(int(sizes.sum()), np.int32)
        self._scratch = np.empty(len(answer_sets), np.int32)  # by answer set; holds what was last written, no more
        # An item of a memoryview is an int, in a third of the time that numpy takes for its own kind of number.
        self._waiting_items, self._answer_set_items = self._waiting.data, answer_sets.data

    def take(self, wanted: Int64) -> tuple[Int32, Int64]:
        """Take the next group of every wanted cell [B] whose answer set is not in the batch yet: [B] groups, [B] cells.

        Where a cell has no such group left, another cell replaces it.
        """
        if (wanted == wanted[0]).all():
            alone = self._alone(int(wanted[0]), len(wanted))
            if alone is not None:
                return alone, wanted
        indices = self._heads[wanted] + earlier_equals(wanted)
        inside = indices < self._ends[wanted]
        groups = self._waiting[np.where(inside, indices, 0)]  # [B]
        answer_sets = self._answer_sets[groups]
        good = inside & self._firsts(answer_sets)
        if good.all():
            self._heads += np.bincount(wanted, minlength=len(self._heads))
            return groups, wanted
        return self._repair(int(np.argmin(good)), wanted, groups, answer_sets, inside)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all that the next groups follow from, beside the data and the seeds."""
        epochs = np.array(self._epochs, np.int64)
        return {"waiting": self._waiting, "heads": self._heads, "new": self._new, "epochs": epochs}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a `state`."""
        self._waiting, self._heads = state["waiting"].copy(), state["heads"].copy()
        self._new, self._epochs = state["new"].copy(), state["epochs"].tolist()
        self._waiting_items = self._waiting.data

    def visited(self, cell: int) -> Bool:
        """Return which of a cell's members were taken at least once."""
        if not self._epochs[cell]:
            return np.zeros(self._sizes[cell], bool)
        return np.isin(self.members(cell), self._waiting[self._heads[cell] : self._new[cell]], invert=True)

    def members(self, cell: int) -> Int32:
        """Return the groups of a cell, ascending; those of small cells are cached: to find them takes a full scan."""
        if cell in self._few:
            return self._few[cell]
        members = self._find(cell)
        if len(members) * _FEW < len(self._answer_sets):
            self._few[cell] = members
        return members

    def _firsts(self, answer_sets: Int32) -> Bool:
        """Return [n] whether an answer set occurs for the first time in a list [n]."""
        indices = np.arange(len(answer_sets), dtype=np.int32)
        self._scratch[answer_sets[::-1]] = indices[::-1]  # of equal ones, the first is written last
        firsts: Bool = self._scratch[answer_sets] == indices
        return firsts

    def _alone(self, cell: int, size: int) -> Int32 | None:
        """Take a whole batch [B] from one cell; None if the next groups in line are not enough for it."""
        head, end, reach = int(self._heads[cell]), int(self._ends[cell]), size + _NEAR
        while True:
            groups = self._waiting[head : min(head + reach, end)]
            taken = np.flatnonzero(self._firsts(self._answer_sets[groups]))[:size]
            if len(taken) == size:
                batch = groups[taken]
                self._close(_Line(cell, head, (head + taken).tolist()))
                return batch
            if head + reach >= end:
                return None
            reach *= 2

    def _repair(
        self, first: int, wanted: Int64, groups: Int32, answer_sets: Int32, inside: Bool
    ) -> tuple[Int32, Int64]:
        """Take the rows from ``first`` on again, one by one: its group is not the next in its cell's line."""
        cells, own, in_line = wanted.tolist(), answer_sets.tolist(), inside.tolist()
        used = set(own[:first])
        lines: dict[int, _Line] = {}  # of the cells of which a group was passed over
        rows: list[int] = []
        changed: list[tuple[int, int]] = []  # group and cell of each of these rows
        for row in range(first, len(cells)):
            cell = cells[row]
            line = lines.get(cell)
            if line is None:
                if in_line[row] and own[row] not in used:
                    used.add(own[row])
                    continue
                line = lines[cell] = self._line(cell, cells[:row])
            group = self._next(line, used)
            if group < 0:
                group, cell = self._from_another_cell(lines, cells, row, used)
            rows.append(row)
            changed.append((group, cell))
        counts = np.bincount(wanted, minlength=len(self._heads))
        counts[list(lines)] = 0
        self._heads += counts
        for line in lines.values():
            self._close(line)
        taken = wanted.copy()
        groups[rows], taken[rows] = np.array(changed).T
        return groups, taken

    def _from_another_cell(
        self, lines: dict[int, "_Line"], cells: list[int], row: int, used: set[int]
    ) -> tuple[int, int]:
        """Take a group from another cell for a row that finds none in its own: the pair's other cells come first."""
        own = cells[row]
        first, after = (int(np.searchsorted(self._pair_of, self._pair_of[own], side)) for side in ("left", "right"))
        for cell in (*range(own + 1, after), *range(first, own), *range(after, len(self._pair_of)), *range(first)):
            if cell not in lines:
                lines[cell] = self._line(cell, cells[:row])
            group = self._next(lines[cell], used)
            if group >= 0:
                return group, cell
        raise AssertionError("fewer answer sets than rows in a batch")  # the plan has counted them

    def _line(self, cell: int, before: list[int]) -> "_Line":
        """Begin a cell's line after the rows ``before``, of which those of the cell took what came next in it."""
        self._heads[cell] += before.count(cell)
        return _Line(cell, int(self._heads[cell]), [])

    def _next(self, line: "_Line", used: set[int]) -> int:
        """Take the first waiting group whose answer set is not in ``used`` (it is added); -1 if there is none."""
        end = int(self._ends[line.cell])
        while True:
            index, near = line.index, line.index + _NEAR
            while index < end:
                group = self._waiting_items[index]
                answer_set = self._answer_set_items[group]
                if answer_set not in used:
                    used.add(answer_set)
                    line.taken.append(index)
                    line.index = index + 1
                    return group
                index = index + 1 if index < near else self._free_index(index, end, used)
            line.index = end
            if not self._renew(line):
                return -1

    def _free_index(self, start: int, end: int, used: set[int]) -> int:
        """Find the first index from ``start`` on whose answer set is not in ``used``; ``end`` if there is none."""
        held = np.fromiter(used, np.int64, len(used))
        for first in range(start, end, _BLOCK):
            answer_sets = self._answer_sets[self._waiting[first : min(first + _BLOCK, end)]]
            self._scratch[answer_sets] = 0
            self._scratch[held] = 1
            free = np.flatnonzero(self._scratch[answer_sets] == 0)
            if len(free):
                return first + int(free[0])
        return end

    def _renew(self, line: "_Line") -> bool:
        """Append the next epoch to what still waits; return False if all groups wait already."""
        cell = line.cell
        epoch, end = self._epochs[cell], int(self._ends[cell])
        start = end - int(self._sizes[cell])
        if self._heads[cell] == start and not line.taken:
            return False
        order = np.random.default_rng((*self._seeds[cell], epoch)).permutation(self.members(cell))
        self._close(line)
        left = self._waiting[self._heads[cell] : end].copy()
        line.index = start + len(left)
        new = start + max(0, int(self._new[cell] - self._heads[cell])) if epoch else end
        self._waiting[start : line.index] = left
        self._waiting[line.index : end] = order[np.isin(order, left, invert=True)] if len(left) else order
        self._heads[cell], self._new[cell], self._epochs[cell] = start, new, epoch + 1
        return True

    def _close(self, line: "_Line") -> None:
        """Close the gaps that the taken groups left in a line."""
        if not line.taken:
            return
        cell, head, after = line.cell, int(self._heads[line.cell]), line.taken[-1] + 1
        passed = after - head - len(line.taken)
        self._heads[cell] = after - passed
        if passed:
            keep = np.ones(after - head, bool)
            keep[np.array(line.taken) - head] = False
            self._waiting[after - passed : after] = self._waiting[head:after][keep]
            if self._new[cell] < after:  # of what was passed over, what was never taken comes first
                self._new[cell] = after - passed + int(np.count_nonzero(keep[: max(0, int(self._new[cell]) - head)]))
        line.taken = []


@dataclass
class _Line:
    """A cell while a batch looks through it: the next index to look at, and the indices taken after the head."""

    cell: int
    index: int
    taken: list[int]


def earlier_equals(values: Int64) -> Int64:
    """Count [B] for each value, a small whole number, the equal ones before it: 4 7 4 4 gives 0 0 1 2."""
    rows = np.arange(len(values))
    small = values.astype(np.uint16) if values.max() < 2**16 else values  # numpy sorts uint16 by radix
    order = np.argsort(small, kind="stable")
    ordered = values[order]
    first = np.where(np.concatenate([[True], ordered[1:] != ordered[:-1]]), rows, 0)
    counts = np.empty(len(values), np.int64)
    counts[order] = rows - np.maximum.accumulate(first)
    return counts
