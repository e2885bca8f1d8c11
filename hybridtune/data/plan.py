"""HybridPlan: which pairs stand in which batch. PURE: a batch is a function of (seed, step) and of the data.

Hybrid batches (Elmahdy, Lin, Ahmad 2024, arXiv 2408.10536): every *batch* is mono (all pairs in one language) or
cross (in every pair the query's language differs from the passage's), and `mixing_ratio` is the share that is mono.
"""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from hybridtune.data.corpus import Corpus
from hybridtune.errors import InputError

Kind = Literal["mono", "cross"]
Pair = tuple[int, int]  # columns of the query's and of the passage's language
_GOLDEN = 0.6180339887498949  # multiples of it, modulo 1, fill [0, 1) as evenly as any sequence can


@dataclass(frozen=True)
class BatchSpec:
    """One global batch of B pairs, all of one kind.

    Attributes:
        step: its place in the training, from 0.
        kind: ``mono`` or ``cross``.
        groups: [B] row of the group in the corpus; no two of one cluster.
        languages: [B, 2] columns of the query's and of the passage's language.
    """

    step: int
    kind: Kind
    groups: npt.NDArray[np.int32]
    languages: npt.NDArray[np.int32]


class HybridPlan:
    """The batches of a training, by step.

    Args:
        corpus: the texts there are.
        mixing_ratio: share of batches that are mono, in [0, 1]; realised within one batch over any run of steps.
        sampling_exponent: languages (mono) and ordered language pairs (cross) are drawn with probability
            ~ size^s; 0 uniform, 1 by size.
        batch_size: B, pairs in the global batch.
        seed: two plans of one seed and one corpus are equal.
        cross_batch: ``mixed``: every row of a cross batch has its own language pair (the paper's);
            ``single_pair``: one pair a batch.

    Raises:
        InputError: a kind of batch that is asked for and cannot be made.
    """

    def __init__(
        self,
        corpus: Corpus,
        *,
        mixing_ratio: float,
        sampling_exponent: float,
        batch_size: int,
        seed: int,
        cross_batch: Literal["mixed", "single_pair"] = "mixed",
    ) -> None:
        self.corpus = corpus
        self.mixing_ratio = mixing_ratio
        self.batch_size = batch_size
        self.seed = seed
        self.single_pair = cross_batch == "single_pair"
        members = {pair: groups for pair, groups in _pair_members(corpus).items() if len(groups)}
        cross = {pair: groups for pair, groups in members.items() if pair[0] != pair[1]}
        fits = {pair: _clusters(corpus, groups) >= batch_size for pair, groups in members.items()}
        self.left_out = tuple(corpus.languages[x] for x, y in members if x == y and not fits[x, y])
        self._mono = {pair: g for pair, g in members.items() if pair[0] == pair[1] and fits[pair]}
        self._cross = {pair: g for pair, g in cross.items() if fits[pair]} if self.single_pair else cross
        if mixing_ratio > 0 and not self._mono:
            raise InputError(self._too_large("mono", {p: g for p, g in members.items() if p[0] == p[1]}))
        all_cross = np.concatenate([*self._cross.values(), np.zeros(0, np.int32)]).astype(np.int32)
        if mixing_ratio < 1 and (not self._cross or _clusters(corpus, all_cross) < batch_size):
            raise InputError(self._too_large("cross", cross))
        self._mono_share = _Shares(self._mono, sampling_exponent, _uniform(seed, 1))
        self._cross_share = _Shares(self._cross, sampling_exponent, _uniform(seed, 2))
        self._phase = int(_uniform(seed, 0) * 2**20) / 2**20  # short binary fraction: ratios 0 and 1 stay exact

    def _too_large(self, kind: Kind, members: dict[Pair, npt.NDArray[np.int32]]) -> str:
        if not members:
            return (
                f"the training data has no {kind} pair, and mixing_ratio {self.mixing_ratio} asks for {kind} "
                f"batches: {'set mix.mixing_ratio to 1' if kind == 'cross' else 'set mix.mixing_ratio to 0'} "
                "or add such pairs"
            )
        if kind == "cross" and not self.single_pair:
            most, unit = (
                _clusters(self.corpus, np.concatenate(list(members.values()))),
                "distinct cross groups",
            )
        else:
            most = max(_clusters(self.corpus, groups) for groups in members.values())
            unit = "distinct groups in the largest " + ("language" if kind == "mono" else "language pair")
        return (
            f"train.batch_size {self.batch_size} is larger than the {most} {unit}: no {kind} batch can be made "
            f"and mixing_ratio is {self.mixing_ratio}; use a batch of at most {most}"
        )

    def kind(self, step: int) -> Kind:
        """The kind of the batch of a step, in O(1)."""
        return "mono" if self.mono_batches(step + 1) > self.mono_batches(step) else "cross"

    def mono_batches(self, steps: int) -> int:
        """How many of the first ``steps`` batches are mono: within 1 of ``steps * mixing_ratio``."""
        return int(steps * self.mixing_ratio + self._phase)

    def batches(self, start: int, stop: int) -> Iterator[BatchSpec]:
        """The batches of steps [start, stop), in order.

        The visits to the groups are replayed from step 0 (about 2 microseconds a pair), so any start gives the
        batches that an uninterrupted run would have seen.
        """
        mono = {pair: _Queue(groups, (self.seed, 3, *pair)) for pair, groups in self._mono.items()}
        cross = {pair: _Queue(groups, (self.seed, 4, *pair)) for pair, groups in self._cross.items()}
        rows = 0  # language pairs drawn so far for cross batches
        for step in range(stop):
            kind = self.kind(step)
            if kind == "mono":
                pairs = [self._mono_share.draw(self.mono_batches(step))] * self.batch_size
            elif self.single_pair:
                pairs = [self._cross_share.draw(step - self.mono_batches(step))] * self.batch_size
            else:
                pairs = [self._cross_share.draw(rows + i) for i in range(self.batch_size)]
                rows += self.batch_size
            spec = self._fill(step, kind, pairs, mono if kind == "mono" else cross)
            if step >= start:
                yield spec

    def _fill(self, step: int, kind: Kind, pairs: list[Pair], queues: dict[Pair, "_Queue"]) -> BatchSpec:
        """Take the next group of every pair whose cluster the batch does not hold yet."""
        used: set[int] = set()
        groups, languages = [], []
        for pair in pairs:
            group = queues[pair].take(self.corpus.clusters, used)
            if group is None:  # a small pair drawn more often than it has groups: the next pair stands in
                order = list(queues)
                after = order.index(pair)
                for pair in order[after + 1 :] + order[:after]:
                    group = queues[pair].take(self.corpus.clusters, used)
                    if group is not None:
                        break
            assert group is not None  # the constructor saw at least B clusters
            groups.append(group)
            languages.append(pair)
        return BatchSpec(step, kind, np.array(groups, np.int32), np.array(languages, np.int32))

    def table(self, steps: int) -> list[dict[str, object]]:
        """What ``steps`` steps hold: one row a kind and language pair.

        Returns:
            rows ``{"kind", "pair": "en-de", "batches", "pairs", "groups", "epochs"}``: batches that hold such a
            pair, pairs seen, distinct groups among them, and pairs seen per pair there is.
        """
        batches: Counter[tuple[Kind, Pair]] = Counter()
        pairs: Counter[tuple[Kind, Pair]] = Counter()
        groups: dict[tuple[Kind, Pair], set[int]] = {}
        for spec in self.batches(0, steps):
            keys = [(spec.kind, (int(x), int(y))) for x, y in spec.languages]
            batches.update(set(keys))
            pairs.update(keys)
            for key, group in zip(keys, spec.groups.tolist(), strict=True):
                groups.setdefault(key, set()).add(group)
        members = {**self._mono, **self._cross}
        name = self.corpus.languages
        return [
            {
                "kind": kind,
                "pair": f"{name[x]}-{name[y]}",
                "batches": batches[kind, (x, y)],
                "pairs": seen,
                "groups": len(groups[kind, (x, y)]),
                "epochs": round(seen / len(members[x, y]), 3),
            }
            for (kind, (x, y)), seen in sorted(pairs.items(), key=lambda item: (item[0][0] == "cross", item[0][1]))
        ]


class _Shares:
    """Draws pairs with probability ~ size^s, as evenly as possible: the n-th draw is a function of n."""

    def __init__(self, members: dict[Pair, npt.NDArray[np.int32]], exponent: float, phase: float) -> None:
        self._pairs = list(members)
        weights = np.array([len(groups) for groups in members.values()], np.float64) ** exponent
        self._ends = np.cumsum(weights) / max(weights.sum(), 1e-300)
        self._phase = phase

    def draw(self, n: int) -> Pair:
        """The n-th pair, n from 0."""
        place = (self._phase + n * _GOLDEN) % 1.0
        return self._pairs[min(int(np.searchsorted(self._ends, place, "right")), len(self._pairs) - 1)]


class _Queue:
    """The groups of one pair, epoch after epoch, each a fresh permutation; none repeats before all were visited."""

    def __init__(self, groups: npt.NDArray[np.int32], seed: tuple[int, ...]) -> None:
        self._groups, self._seed, self._epoch = groups, seed, 0
        self._waiting: deque[int] = deque()

    def take(self, clusters: npt.NDArray[np.int32], used: set[int]) -> int | None:
        """The first waiting group whose cluster is not in ``used`` (it is added); None if there is none."""
        for _ in range(2):  # what waits, then the next epoch behind it
            for place, group in enumerate(self._waiting):
                cluster = int(clusters[group])
                if cluster not in used:
                    del self._waiting[place]
                    used.add(cluster)
                    return group
            if len(self._waiting) < len(self._groups):  # what still waits from the epoch before keeps its place
                order = np.random.default_rng((*self._seed, self._epoch)).permutation(self._groups)
                waiting = set(self._waiting)
                self._waiting.extend(group for group in order.tolist() if group not in waiting)
                self._epoch += 1
        return None


def _pair_members(corpus: Corpus) -> dict[Pair, npt.NDArray[np.int32]]:
    """The groups that have the pair, for every ordered pair of language columns."""
    has_query, has_passage = corpus.queries >= 0, corpus.passages >= 0
    columns = range(len(corpus.languages))
    return {
        (x, y): np.flatnonzero(has_query[:, x] & has_passage[:, y]).astype(np.int32) for x in columns for y in columns
    }


def _clusters(corpus: Corpus, groups: npt.NDArray[np.int32]) -> int:
    return len(np.unique(corpus.clusters[groups]))


def _uniform(seed: int, purpose: int) -> float:
    return float(np.random.default_rng((seed, purpose)).random())
