"""HybridPlan: which pairs are in which batch. PURE: a batch is a function of (seed, step) and of the data.

Hybrid batches (Elmahdy, Lin, Ahmad 2024, arXiv 2408.10536): every *batch* is mono (all pairs in one language) or
cross (in every pair the query's language differs from the passage's), and `mixing_ratio` is the share that is mono.
A third kind, align, holds translations without queries, for languages that have nothing else. A corpus or groups go in,
`BatchSpec`s come out: `stream` turns them into tokens, `HybridBatchSampler` into rows for other trainers.
"""

import copy
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hybridtune.config.checks import without_end
from hybridtune.config.names import ENDING, ORIGINS
from hybridtune.data.corpus import Corpus
from hybridtune.data.plan_states import PlanStates
from hybridtune.data.sampling import Draws, Kind, SecondQueries, language_columns, make_cells, usable_pairs
from hybridtune.data.schedule import Schedule, Shape
from hybridtune.data.segments import Segment
from hybridtune.data.weights import make_weights, named_pairs, pair_name
from hybridtune.errors import InputError
from hybridtune.metrics.arrays import Float64, Int32, Int64
from hybridtune.storage.files import write_atomically

FILE = "plan.json"
QUESTION_KINDS: tuple[Kind, ...] = ("mono", "cross")  # of batches of queries and passages
_PAIRS_A_STEP = 100  # what a step costs beside its pairs, as pairs
_PURPOSES = ((1, 3), (2, 4), (6, 7))  # seeds of the shares and queues of mono, cross and align batches


@dataclass(frozen=True)
class BatchSpec:
    """One global batch of B pairs, all of one kind.

    Attributes:
        step: its number in the training, from 0.
        kind: ``mono``, ``cross`` or ``align``.
        groups: [B] row of the group in the corpus; no two of one answer set, of a plan that ignores these no two alike.
        languages: [B, 2] columns of the two languages. Of a mono or cross pair: the query's and the passage's, the
            texts ``corpus.queries[group, first]`` and ``corpus.passages[group, second]``. Of an align pair: the one
            that the teacher reads and the other, both passages: ``corpus.passages[group, first]`` and ``[.., second]``.
        second_queries: [B] column of another language that each query is asked in too, -1 for none; None: the plan asks
            none twice.

    Example: see `HybridPlan`.
    """

    step: int
    kind: Kind
    groups: Int32
    languages: Int32
    second_queries: Int32 | None = None


class HybridPlan:
    """The batches of a training, by step.

    Args:
        groups: the texts there are: a `Corpus`, or what `Corpus.from_groups` takes (rows of the native format, or the
            path of a file, folder or glob of them).
        mixing_ratio: share of the question-passage batches (all but the align ones) that are mono, in [0, 1]; realised
            within one batch over the first n, for every n. A schedule starts from it.
        sampling_exponent: languages (mono) and ordered language pairs (cross, align) are drawn with probability
            ~ size^s; 0 uniform, 1 by size.
        batch_size: B, pairs in the global batch.
        seed: two plans of one seed and one corpus are equal.
        cross_batch: ``mixed``: every row of a cross batch has its own language pair (the paper's);
            ``single_pair``: one pair a batch.
        schedule: how the mixing ratio changes; ``linear``, ``cosine`` and ``step`` need ``final_ratio`` and ``steps``,
            ``learned`` needs `with_segments`.
        final_ratio: the mixing ratio at the end and beyond it, in [0, 1].
        step_at: share of the training after which ``step`` changes the ratio.
        steps: length of the training that the schedule runs over.
        weights: factor on how often a language (``de``) or ordered pair (``en-de``) is drawn; 0: never.
        unseen_pairs: pairs that are never drawn, in neither direction and in no kind of batch.
        data_weights: of every data set, by name, in the order of the corpus' ``sources``: it counts as if it occurred
            so many times; none: all alike.
        translated_weight: a pair that a machine translated counts as if it occurred so many times.
        bitext_weight: and so do groups without a query, among the align batches.
        align_share: share of all batches that are align batches, in [0, 1).
        teacher_languages: languages that the teacher reads; none: all, and of two translations the one in the language
            with more mono pairs.
        scored_by_teacher: whether a teacher reads the mono and cross batches too.
        second_queries: whether the queries of mono and cross batches are asked in a second language too, where the
            group has one; never one whose pair with the first query's or the passage's language is held out.
        answer_sets: ``apart``: no batch holds two groups of one answer set; ``ignored``: every group counts as an
            answer set of its own.

    Attributes:
        corpus: the texts; a batch names them by their rows and columns. Its answer sets are those of the batches.
        teacher_columns: of the teacher's languages.
        left_out: languages with too few groups for a mono batch.
        left_out_pairs: of ``single_pair``: language pairs with too few groups for a cross batch.
        held_out_pairs: pairs that the data has and that weights of 0, or ``unseen_pairs``, leave out.
        idle_weights: keys of ``weights`` that change nothing: their pair is not drawn, or it is 0 and not in the data.

    Raises:
        InputError: a kind of batch that is requested and cannot be made, or a language that is not in the data.

    Example:
        >>> rows = [
        ...     {"group_id": n, "queries": {"en": f"Who {n}?"}, "passages": {"en": f"She {n}.", "de": f"Sie {n}."}}
        ...     for n in "abcdefgh"
        ... ]
        >>> plan = HybridPlan(rows, mixing_ratio=0.5, batch_size=4, seed=1)
        >>> for batch in plan.batches(0, 2):
        ...     print(batch.kind, [rows[row]["group_id"] for row in batch.groups])
        mono ['a', 'g', 'b', 'e']
        cross ['f', 'g', 'c', 'h']
        >>> [(row["pair"], row["pairs"]) for row in plan.table(steps=10)]
        [('en-en', 20), ('en-de', 20)]
    """

    def __init__(
        self,
        groups: Corpus | str | Path | Iterable[Mapping[str, Any]],
        *,
        mixing_ratio: float = 0.5,
        sampling_exponent: float = 0.5,
        batch_size: int = 32,
        seed: int = 0,
        cross_batch: Literal["mixed", "single_pair"] = "mixed",
        schedule: Shape = "constant",
        final_ratio: float | None = None,
        step_at: float = 0.5,
        steps: int = 1,
        weights: Mapping[str, float] | None = None,
        unseen_pairs: Sequence[str] = (),
        data_weights: Mapping[str, float] | None = None,
        translated_weight: float = 1.0,
        bitext_weight: float = 1.0,
        align_share: float = 0.0,
        teacher_languages: Sequence[str] = (),
        scored_by_teacher: bool = False,
        second_queries: bool = False,
        answer_sets: Literal["apart", "ignored"] = "apart",
    ) -> None:
        self._ignores_answer_sets = answer_sets == "ignored"
        corpus = groups if isinstance(groups, Corpus) else Corpus.from_groups(groups)
        self.corpus = corpus = self._as_drawn(corpus)
        self.batch_size = batch_size
        self.seed = seed
        self._mixing_ratio = mixing_ratio
        self.single_pair = cross_batch == "single_pair"
        self.data_sets = tuple(data_weights or ())
        self.align_share = align_share
        self.teacher_columns = language_columns(corpus, teacher_languages)
        self.scored_by_teacher = scored_by_teacher
        self._align = Schedule(align_share, _phase(seed, 8))
        self.segments: tuple[Segment, ...] = ()
        self._weights: dict[int, dict[Kind, Float64]] = {}  # by the step from which they hold
        ratios = {"mixing_ratio": mixing_ratio}
        if schedule in ENDING:
            if final_ratio is None:
                raise InputError(without_end(schedule))
            ratios["final_ratio"] = final_ratio
        length = max(1, steps - self._align.count(steps))  # the schedule runs over the question-passage batches
        self._mono = Schedule(
            mixing_ratio, _phase(seed, 0), shape=schedule, end=final_ratio or 0.0, batches=length, step_at=step_at
        )
        factors = make_weights(
            corpus.languages,
            weights or {},
            unseen_pairs,
            tuple((data_weights or {}).values()),
            translated_weight,
            bitext_weight,
        )
        self._second = SecondQueries(corpus.languages, factors, seed) if second_queries else None
        usable = usable_pairs(corpus, batch_size, ratios, self.single_pair, align_share, teacher_languages, factors)
        self.left_out = tuple(corpus.languages[x] for x, y in usable.left_out if x == y)
        self.left_out_pairs = tuple(pair_name(corpus.languages, pair) for pair in usable.left_out if pair[0] != pair[1])
        self.held_out_pairs = tuple(pair_name(corpus.languages, pair) for pair in usable.held_out)
        drawn = {pair for pairs in usable.kinds.values() for pair in pairs}
        named = named_pairs(corpus.languages, weights or {}, "mix.weights")
        self.idle_weights = tuple(
            name for name, pair in named.items() if pair not in (drawn if factors.pairs[pair] else usable.held_out)
        )
        self._cells = {
            kind: make_cells(corpus, pairs, kind == "align", sampling_exponent, factors)
            for kind, pairs in usable.kinds.items()
        }
        self._origins = ORIGINS if _has_origins(corpus, align_share) else ORIGINS[:1]

    def with_segments(self, segments: Sequence[Segment]) -> "HybridPlan":
        """Return this plan with the mixing ratio and the pair weights of segments, in order; its own come before them.

        Visits to the groups and the draws of pairs go on from one segment to the next. The last one has no end.
        """
        plan = copy.copy(self)
        plan.segments = tuple(segments)
        changes = [(one.start - self.align_batches(one.start), one.mixing_ratio) for one in segments]
        plan._mono = Schedule(self._mixing_ratio, _phase(self.seed, 0), shape="learned", changes=changes)
        plan._weights = {one.start: self._segment_weights(one) for one in segments}
        return plan

    def without_corpus(self) -> "HybridPlan":
        """Return this plan as it travels to another process, which has the corpus in its own memory."""
        plan = copy.copy(self)
        del plan.corpus
        return plan

    def with_corpus(self, corpus: Corpus) -> "HybridPlan":
        """Return this plan with its own corpus, read again."""
        plan = copy.copy(self)
        plan.corpus = self._as_drawn(corpus)
        return plan

    def _as_drawn(self, corpus: Corpus) -> Corpus:
        return corpus.without_answer_sets() if self._ignores_answer_sets else corpus

    def languages(self, kind: Kind) -> set[str]:
        """Return the languages that batches of a kind can hold, on either side."""
        return {self.corpus.languages[column] for column in np.unique(self._cells[kind].pairs)}

    def kind(self, step: int) -> Kind:
        """Return the kind of the batch of a step, in O(1)."""
        if self.align_batches(step + 1) > self.align_batches(step):
            return "align"
        return "mono" if self.mono_batches(step + 1) > self.mono_batches(step) else "cross"

    def align_batches(self, steps: int) -> int:
        """Count the align batches among the first ``steps``: within 1 of ``steps * align_share``."""
        return self._align.count(steps)

    def mono_batches(self, steps: int) -> int:
        """Count the mono batches among the first ``steps``: within 1 of what the ratio, or its schedule, requests."""
        return self._mono.count(steps - self.align_batches(steps))

    def requested_ratio(self, steps: int) -> float:
        """Return the mean mixing ratio requested over the first ``steps >= 1`` steps; 0 if all are align batches."""
        others = steps - self.align_batches(steps)
        return self._mono.mean(others) if others else 0.0

    def realised_ratio(self, steps: int) -> float:
        """Return the share of mono batches in the question-passage batches of ``steps >= 1`` steps; 0 without any."""
        return self.mono_batches(steps) / max(1, steps - self.align_batches(steps))

    def batches(self, start: int, stop: int, states: PlanStates | None = None) -> Iterator[BatchSpec]:
        """Yield the batches of steps [start, stop), in order.

        The visits to the groups are replayed from step 0 (1 to 6 microseconds a pair), or from the latest of the
        ``states`` before the start, so any start gives the batches that an uninterrupted run would have seen.
        """
        draws, first = self._draws(), 0
        found = states.before(start, self._digest) if states is not None else None
        if found is not None:
            first, arrays = found
            for name, of_kind in draws.items():
                of_kind.restore({key.partition(".")[2]: arrays[key] for key in arrays if key.startswith(f"{name}.")})
        for step, kind, groups, cells in self._replay(draws, stop, first, states):
            if step >= start:
                drawn = draws[kind].cells
                languages = drawn.pairs[drawn.pair_of[cells]]
                second = None if self._second is None else self._second.draw(self.corpus, step, kind, groups, languages)
                yield BatchSpec(step, kind, groups, languages, second)

    def table(self, steps: int) -> list[dict[str, Any]]:
        """Count what ``steps`` steps hold: one row per kind, language pair, data set and origin.

        Returns:
            rows ``{"kind", "pair": "en-de", "data_set": "news", "origin": "native", "batches", "pairs", "groups",
            "epochs"}``: batches that hold such a pair, pairs seen, distinct groups among them, and pairs seen per pair
            of the corpus that may be drawn. ``data_set``, a name in ``data_weights``, is there only if there are
            several; ``origin``, ``native``, ``translated`` or ``bitext``, only if not all pairs are native.
        """
        draws = self._draws()
        sizes = {kind: len(drawn.cells.pairs) * self._parts for kind, drawn in draws.items()}
        tallies = {kind: np.zeros((4, size), np.int64) for kind, size in sizes.items()}
        for _, kind, groups, cells in self._replay(draws, steps):
            counts = self._count(draws[kind], groups, cells)
            tallies[kind][0] += counts > 0
            tallies[kind][1] += counts
        for kind, drawn in draws.items():
            for cell in range(len(drawn.cells.sizes)):
                members = drawn.queues.members(cell)
                visited = members[drawn.queues.visited(cell)]
                tallies[kind][2] += self._count(drawn, visited, np.full(len(visited), cell))
                tallies[kind][3] += self._count(drawn, members, np.full(len(members), cell))
        return [
            {
                "kind": kind,
                **self._row_names(draws[kind], key),
                "batches": batches,
                "pairs": pairs,
                "groups": visited,
                "epochs": round(pairs / in_corpus, 3),
            }
            for kind, tally in tallies.items()
            for key, (batches, pairs, visited, in_corpus) in enumerate(tally.T.tolist())
            if pairs
        ]

    @property
    def _parts(self) -> int:
        """The rows of the table that a pair may have: one for each data set and origin."""
        return max(1, len(self.data_sets)) * len(self._origins)

    def _row_names(self, draws: Draws, key: int) -> dict[str, str]:
        """Return what a row of the table counts, by its index: that of the pair, then data set, then origin."""
        pair, part = divmod(key, self._parts)
        data_set, origin = divmod(part, len(self._origins))
        names = {"pair": pair_name(self.corpus.languages, draws.cells.pairs[pair])}
        if len(self.data_sets) > 1:
            names["data_set"] = self.data_sets[data_set]
        return names | ({"origin": self._origins[origin]} if len(self._origins) > 1 else {})

    def _count(self, draws: Draws, groups: Int32, cells: Int64) -> Int64:
        """Count rows by the pair of their cell, the data set of their group and their origin, see `_row_names`."""
        drawn = draws.cells
        keys = drawn.pair_of[cells]
        if len(self.data_sets) > 1:
            keys = keys * len(self.data_sets) + self.corpus.sources[groups]
        if len(self._origins) > 1:
            origins = self.corpus.origins(groups, drawn.pairs[drawn.pair_of[cells]], aligned=drawn.aligned)
            keys = keys * len(self._origins) + origins
        counts: Int64 = np.bincount(keys, minlength=len(drawn.pairs) * self._parts)
        return counts

    def _draws(self) -> dict[Kind, Draws]:
        return {
            kind: Draws(self.corpus, cells, _uniform(self.seed, shares), (self.seed, queues))
            for (kind, cells), (shares, queues) in zip(self._cells.items(), _PURPOSES, strict=True)
        }

    def _segment_weights(self, segment: Segment) -> dict[Kind, Float64]:
        """Return how often a segment draws each pair of mono and of cross batches, up to a factor: [P] each."""
        found: dict[Kind, Float64] = {}
        for kind in QUESTION_KINDS:
            cells = self._cells[kind]
            names = [pair_name(self.corpus.languages, pair) for pair in cells.pairs]
            found[kind] = cells.weights * np.array([segment.weights.get(name, 1.0) for name in names])
        return found

    def _digest(self, step: int) -> str:
        """Return a digest of all that the state before a step follows from, beside the texts."""
        digest, schedule = hashlib.sha256(self.corpus.answer_sets.tobytes()), sorted(vars(self._mono).items())
        so_far = [
            (one.start, one.mixing_ratio, sorted(one.weights.items())) for one in self.segments if one.start < step
        ]
        settings = (self.seed, self.batch_size, self.single_pair, self.align_share, self._mixing_ratio)
        digest.update(repr((settings, so_far if self.segments else schedule)).encode())
        for kind, cells in self._cells.items():
            digest.update(repr((kind, cells.aligned, list(cells.parts_of))).encode())
            for values in (cells.pairs, cells.weights, cells.pair_of, cells.sizes, cells.parts):
                digest.update(values.tobytes())
        return digest.hexdigest()[:16]

    def _replay(
        self, draws: Mapping[Kind, Draws], stop: int, first: int = 0, states: PlanStates | None = None
    ) -> Iterator[tuple[int, Kind, Int32, Int64]]:
        """Yield step, kind, groups [B] and their cells [B] of steps [first, stop); the draws are as before the first.

        States that are due are added on the way.
        """
        size = self.batch_size
        align = self.align_batches(first)  # such batches so far
        mono = self.mono_batches(first)
        for start in sorted(self._weights):
            for kind, weights in self._weights[start].items() if start < first else ():
                draws[kind].weigh(weights)
        for step in range(first, stop):
            if states is not None and step > first and states.is_due(step):
                found = {f"{kind}.{name}": one for kind, drawn in draws.items() for name, one in drawn.state().items()}
                states.add(step, self._digest(step), found)
            for kind, weights in self._weights.get(step, {}).items():
                draws[kind].weigh(weights)
            others = step - align
            if self._align.count(step + 1) > align:
                yield step, "align", *draws["align"].batch(align * size, size, mixed=True)
                align += 1
            elif self._mono.count(others + 1) > mono:
                yield step, "mono", *draws["mono"].batch(mono, size, mixed=False)
                mono += 1
            elif self.single_pair:
                yield step, "cross", *draws["cross"].batch(others - mono, size, mixed=False)
            else:
                yield step, "cross", *draws["cross"].batch((others - mono) * size, size, mixed=True)


def _has_origins(corpus: Corpus, align_share: float) -> bool:
    """Return whether batches may hold a pair that is not native."""
    translated = bool(corpus.translated_queries.any() or corpus.translated_passages.any())
    return translated or (align_share > 0 and bool(corpus.bitext().any()))


def _uniform(seed: int, purpose: int) -> float:
    return float(np.random.default_rng((seed, purpose)).random())


def _phase(seed: int, purpose: int) -> float:
    return int(_uniform(seed, purpose) * 2**20) / 2**20  # a short binary fraction keeps the sums of a schedule short


def describe(plan: HybridPlan, steps: int, most_pairs: int | None = None) -> dict[str, Any]:
    """Describe what ``steps >= 1`` steps of a plan hold, requested and realised.

    Args:
        plan: the plan.
        steps: of the training.
        most_pairs: that are drawn for the table; None: all. Where they are fewer than there are, ``table_steps`` says
            of how many first steps the table is.

    Returns:
        ``{"steps", "batch_size", "requested_ratio", "realised_ratio", "requested_align_share", "realised_align_share",
        "left_out_of_mono": [languages], "left_out_of_cross": [pairs], "table": [rows of HybridPlan.table]}``. The
        ratios are means over the steps, and of the question-passage batches alone. A plan with segments also has
        ``"segments"``, the plain values of those that begin within the steps.
    """
    segments = [asdict(one) for one in plan.segments if one.start < steps]
    drawn = steps if most_pairs is None else min(steps, max(1, most_pairs // max(plan.batch_size, _PAIRS_A_STEP)))
    return {
        "steps": steps,
        "batch_size": plan.batch_size,
        "requested_ratio": plan.requested_ratio(steps),
        "realised_ratio": plan.realised_ratio(steps),
        "requested_align_share": plan.align_share,
        "realised_align_share": plan.align_batches(steps) / steps,
        "left_out_of_mono": list(plan.left_out),
        "left_out_of_cross": list(plan.left_out_pairs),
        **({"segments": segments} if segments else {}),
        **({"table_steps": drawn} if drawn < steps else {}),
        "table": plan.table(drawn),
    }


def write_plan(plan: HybridPlan, steps: int, folder: Path) -> None:
    """Write `describe` to ``plan.json`` in a folder; all batches are drawn, in about 0.5 us a pair."""
    described = describe(plan, steps)
    lists = {name: described.pop(name) for name in ("segments", "table") if name in described}
    text = json.dumps(described, indent=1)[:-2]
    for name, rows in lists.items():  # a line a row
        lines = ",\n  ".join(json.dumps(row) for row in rows)
        text += f',\n "{name}": [\n  {lines}\n ]'
    write_atomically(folder / FILE, f"{text}\n}}\n")


def distinct_pairs(rows: list[dict[str, Any]]) -> dict[str, int]:
    """Count distinct question-passage pairs in the rows of a table, by "query language-passage language"."""
    found: Counter[str] = Counter()
    for row in rows:
        if row["kind"] != "align":
            found[row["pair"]] += row["groups"]
    return dict(found)
