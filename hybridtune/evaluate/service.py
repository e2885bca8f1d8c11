"""The evaluator service: Ray actors that live as long as their owner and score any weights handed to them.

Each actor holds the encoder's structure and its shard of a benchmark, tokenised once. A score is three rounds:
encode the shards; score the relevant pairs; count what outranks them. Vectors stay in the object store, where they can
be moved and ranked again, and what comes back to the caller is one number a relevant pair and one count a pair and
language.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import ray
import torch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from hybridtune.config.fields import Encoder
from hybridtune.data.readers.records import Text
from hybridtune.data.store import TokenStore
from hybridtune.errors import FitError, HybridtuneError
from hybridtune.evaluate.benchmark import Benchmark
from hybridtune.evaluate.relevance import Relevance
from hybridtune.metrics.arrays import Float32, Int32, Int64
from hybridtune.metrics.breakdown import score_measures
from hybridtune.metrics.groups import Grouping
from hybridtune.metrics.measures import MEASURES
from hybridtune.metrics.metrics import Ranked, Scores
from hybridtune.metrics.ranks import RankCounter
from hybridtune.metrics.scores import pair_scores
from hybridtune.metrics.standard import Moments, standard_of, thresholds
from hybridtune.model.encoder import load_encoder
from hybridtune.model.language_vectors import LanguageVectors
from hybridtune.runtime.device_memory import is_out_of_memory, memory_of, share_memory
from hybridtune.storage.copies import ensure_local
from hybridtune.storage.files import is_remote

State = Mapping[str, npt.NDArray[Any]]


def deal(blocks: Sequence[Int64], actors: int) -> list[list[Int64]]:
    """Deal whole blocks to actors, the largest first, each to the actor with the fewest texts."""
    dealt: list[list[Int64]] = [[] for _ in range(actors)]
    for block in sorted(blocks, key=len, reverse=True):
        min(dealt, key=lambda own: sum(map(len, own))).append(block)
    return dealt


@dataclass(frozen=True)
class Placement:
    """The node, device and resources of an evaluator.

    Attributes:
        node: id of the Ray node; None: any that has the resources.
        device: of torch, among the visible ones.
        visible: value of CUDA_VISIBLE_DEVICES that goes with ``device``; None: as Ray sets it.
        resources: held by the actor, like ``{"CPU": 1}``; none where it works while a training waits for it.
    """

    node: str | None = None
    device: str = "cpu"
    visible: str | None = None
    resources: Mapping[str, float] = field(default_factory=dict)

    def options(self) -> dict[str, Any]:
        """Return the options of the actor."""
        left = dict(self.resources)
        options: dict[str, Any] = {"num_cpus": left.pop("CPU", 0), "num_gpus": left.pop("GPU", 0), "resources": left}
        if self.node is not None:
            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(self.node, soft=False)
        return options


@dataclass(frozen=True)
class Vectors:
    """The vectors of a benchmark under one encoder, in the object store: references to each actor's part."""

    queries: Sequence[Any]
    passages: Sequence[Any]


class EvaluatorService:
    """Scores encoder weights on a benchmark. The actors start at once and load on their own; a score waits for that.

    Args:
        benchmark: best as the reference of one that lies in the object store.
        store: location of a token store whose tokenizer is the encoder's.
        source: model folder, its location or hub name, with the encoder's structure.
        encoder: pooling, prefixes, lengths.
        placements: of the actors; each uses one thread, or its device.
        grouping: by which measures of a group are taken.
    """

    def __init__(
        self,
        benchmark: "Benchmark | ray.ObjectRef[Benchmark]",
        store: str,
        source: str,
        encoder: Encoder,
        placements: Sequence[Placement],
        grouping: Grouping | None = None,
    ) -> None:
        self.grouping = grouping or Grouping()
        shared = benchmark if isinstance(benchmark, ray.ObjectRef) else ray.put(benchmark)
        evaluator = ray.remote(Evaluator)
        self.actors = [
            evaluator.options(**placement.options()).remote(
                store, source, encoder, shared, index, len(placements), placement
            )
            for index, placement in enumerate(placements)
        ]
        self._known: Relevance | None = None

    def ready(self) -> Relevance:
        """Return the benchmark's relevance, once all actors have loaded."""
        if self._known is None:
            first, *others = self.actors
            known, *_ = ray.get([first.relevance.remote(), *(actor.ready.remote() for actor in others)])
            self._known = known
        return self._known

    def score(
        self,
        state: State,
        per_query_file: Path | None = None,
        pooling: str | None = None,
        measures: Sequence[str] = MEASURES,
    ) -> Scores:
        """Return all metrics of an encoder with these weights on the benchmark, exactly, at full depth.

        Args:
            state: see ``encode``. pooling: see ``encode``.
            per_query_file: takes the values of every ranking, for ``hybridtune compare``.
            measures: ir_measures names, or one's own; of a group like ``AP@low-resource``.

        Raises:
            InputError: a group that there is not.
            FitError: the device of an actor has no room.
            ray.exceptions.RayActorError: an actor died.
            ray.exceptions.ActorUnschedulableError: the node of its placement is gone.
        """
        return self.score_vectors(self.encode(state, pooling), per_query_file, measures)

    def score_vectors(
        self,
        vectors: Vectors,
        per_query_file: Path | None = None,
        measures: Sequence[str] = MEASURES,
        about: Mapping[str, str] | None = None,
        standardised: bool = False,
    ) -> Scores:
        """Return the same of encoded texts, with scores as they are or standardised, see `metrics.standard`.

        ``about`` is written with the values, see `write_per_query`.
        """
        columns, scores = score_measures(self.rank(vectors, standardised), measures, self.grouping)
        if per_query_file is not None:
            self.ready().write_per_query(per_query_file, columns, **self.grouping.about(), **(about or {}))
        return scores

    def encode(self, state: State, pooling: str | None = None) -> Vectors:
        """Encode the benchmark; returns at once.

        Args:
            state: of ``DualEncoder.plain_state``, as numpy arrays.
            pooling: one of `POOLINGS`; None: what the service was started with.
        """
        self.ready()
        weights = ray.put(dict(state))
        parts = [actor.encode.options(num_returns=2).remote(weights, pooling) for actor in self.actors]
        return Vectors([queries for queries, _ in parts], [passages for _, passages in parts])

    def embed_stored(self, state: State, blocks: Sequence[Int64], pooling: str | None = None) -> list[Float32]:
        """Return the vectors [n, D] of blocks of texts [n] of the token store, by their numbers.

        A block is encoded by one actor, so that its vectors do not depend on how many there are. ``state`` and
        ``pooling`` are those of ``encode``.
        """
        weights, count = ray.put(dict(state)), len(self.actors)
        dealt = [blocks[index::count] for index in range(count)]
        calls = [
            actor.embed_stored.remote(weights, own, pooling) for actor, own in zip(self.actors, dealt, strict=True)
        ]
        found: list[Any] = [None] * len(blocks)
        for index, vectors in enumerate(_get(calls)):
            found[index::count] = vectors
        return found

    def move(self, vectors: Vectors, fitted: LanguageVectors) -> Vectors:
        """Move the queries and the passages, by side and language; returns at once."""
        shared = ray.put(fitted)
        parts = [
            actor.move.options(num_returns=2).remote(shared, *own)
            for actor, *own in zip(self.actors, vectors.queries, vectors.passages, strict=True)
        ]
        return Vectors([moved for moved, _ in parts], [moved for _, moved in parts])

    def rank(self, vectors: Vectors, standardised: bool = False) -> Ranked:
        """Return the relevant pairs of the benchmark and what outranks them, by its encoded texts."""
        relevance, queries = self.ready(), vectors.queries
        parts = list(zip(self.actors, vectors.passages, strict=True))
        scores = np.zeros(len(relevance.query_index), np.float32)  # [R]
        for rows, values in _get([actor.score_pairs.remote(passages, *queries) for actor, passages in parts]):
            scores[rows] = values
        shared, against = ray.put(scores), None
        if standardised:
            moments = [actor.moments.remote(passages) for actor, passages in parts]
            against = self.actors[0].thresholds.remote(shared, len(moments), *moments, *queries)
        counting = [actor.count.remote(shared, against, passages, *queries) for actor, passages in parts]
        counts = np.sum(_get(counting), axis=0)  # [R, L]
        sizes = np.bincount(relevance.passage_language, minlength=len(relevance.languages))
        return relevance.ranked(counts, scores, sizes, None if against is None else _get(against))


class Evaluator:
    """A part of a benchmark, and an encoder to put weights into."""

    def __init__(
        self,
        store: str,
        source: str,
        encoder: Encoder,
        benchmark: Benchmark,
        index: int,
        actors: int,
        placement: Placement,
    ) -> None:
        torch.set_num_threads(1)
        if placement.visible is not None:  # before CUDA looks
            os.environ["CUDA_VISIBLE_DEVICES"] = placement.visible
        self.device = torch.device(placement.device)
        self.store = TokenStore.open(ensure_local(store))
        tokenizer = self.store.tokenizer()
        local = str(ensure_local(source)) if is_remote(source) else source
        self.model = load_encoder(local, encoder, tokenizer.pad_id).to(self.device).eval()
        self.pooling = self.model.pooling
        self.judged = benchmark.relevance
        queries = deal(benchmark.query_blocks, actors)
        passages = deal(benchmark.passage_blocks, actors)[index]
        self.query_rows, self.passage_rows = [_rows(blocks) for blocks in queries], _rows(passages)
        self.own_queries = self.query_rows[index]

        def tokenise(texts: Sequence[Text], blocks: Sequence[Int64], prefix: str, length: int) -> list[list[Int32]]:
            rows = [tokenizer.encode([texts[i].text for i in block], prefix, length) for block in blocks]
            return [[np.array(ids, np.int32) for ids in block] for block in rows]

        self.queries = tokenise(benchmark.queries, queries[index], encoder.query_prefix, encoder.query_length)
        self.passages = tokenise(benchmark.passages, passages, encoder.passage_prefix, encoder.passage_length)

    def ready(self) -> bool:
        """Answer once everything is loaded and tokenised."""
        return True

    def relevance(self) -> Relevance:
        """Return the benchmark's relevance, once this actor is ready."""
        return self.judged

    def encode(self, weights: State, pooling: str | None = None) -> tuple[Float32, Float32]:
        """Return the vectors of this actor's queries and passages under the weights."""
        with self._device_shared():
            self._load(weights, pooling)
            return self._embed(self.queries), self._embed(self.passages)

    def embed_stored(self, weights: State, blocks: Sequence[Int64], pooling: str | None = None) -> list[Float32]:
        """Return the vectors of blocks of texts of the token store under the weights."""
        with self._device_shared():
            self._load(weights, pooling)
            taken = [self.store.take(numbers) for numbers in blocks]
            return [*self.model.embed_blocks(np.split(ids, np.cumsum(lengths)[:-1]) for ids, lengths in taken)]

    def move(self, fitted: LanguageVectors, queries: Float32, passages: Float32) -> tuple[Float32, Float32]:
        """Return this actor's queries and passages, moved."""
        judged, names = self.judged, np.array(self.judged.languages)
        asked = names[judged.query_language[self.own_queries]].tolist()
        answered = names[judged.passage_language[self.passage_rows]].tolist()
        return fitted.move("queries", queries, asked), fitted.move("passages", passages, answered)

    def score_pairs(self, passages: Float32, *queries: Float32) -> tuple[Any, Any]:
        """Return the rows of the relevant pairs whose passage is in this actor's part, and their scores."""
        judged, own = self.judged, self.passage_rows
        local = np.full(len(judged.passage_language), -1)  # [P] row of the passage in this part
        local[own] = np.arange(len(own))
        rows = np.flatnonzero(local[judged.passage_index] >= 0)
        arrays = passages, judged.query_index[rows], local[judged.passage_index[rows]]
        with self._device_shared():
            return rows, pair_scores(self._stacked(queries), *map(self._tensor, arrays)).cpu().numpy()

    def moments(self, passages: Float32) -> list[Moments]:
        """Return the moments of this actor's part, one a language."""
        language = self.judged.passage_language[self.passage_rows]
        return [Moments.of(passages[language == code]) for code in range(len(self.judged.languages))]

    def thresholds(self, scores: Any, parts: int, *given: Any) -> Int64:
        """Return `metrics.standard.thresholds` of the relevant pairs: ``given`` are all parts' moments, and queries."""
        pools = list(given[0])
        for more in given[1:parts]:
            pools = [pool + other for pool, other in zip(pools, more, strict=True)]
        judged = self.judged
        standard = standard_of(self._in_order(given[parts:]), pools)
        of_pairs = judged.order[judged.passage_index], judged.passage_language[judged.passage_index]
        return thresholds(standard, judged.query_index, scores, *of_pairs)

    def count(self, scores: Any, against: Int64 | None, passages: Float32, *queries: Float32) -> Any:
        """Count the passages of this actor's part that outrank each relevant pair, by their language: [R, L]."""
        judged, own = self.judged, self.passage_rows
        with self._device_shared():
            query_index, order = map(self._tensor, (judged.query_index, judged.order[judged.passage_index]))
            wanted = None if against is None else self._tensor(against)
            counter = RankCounter(query_index, self._tensor(scores), order, len(judged.languages), wanted)
            pool = passages, judged.order[own], judged.passage_language[own]
            counter.add(self._stacked(queries), *map(self._tensor, pool))
            return counter.counts.cpu().numpy()

    @contextlib.contextmanager
    def _device_shared(self) -> Iterator[None]:
        """Say what to set where the device has no room for the block, and leave nothing of it to this process."""
        try:
            yield
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise FitError(
                f"out of memory at a score on {memory_of(self.device)}: where a training keeps its weights and moments "
                "on the same device, lessen them by train.embeddings=frozen, train.lora_rank=16 or "
                "resources.sharding=fsdp; and see that nothing else uses the device"
            ) from None
        finally:
            share_memory(self.device)

    def _load(self, weights: State, pooling: str | None) -> None:
        self.model.pooling = pooling or self.pooling
        self.model.load_plain_state({key: torch.tensor(value) for key, value in weights.items()})

    def _embed(self, blocks: list[list[Int32]]) -> Float32:
        none = np.zeros((0, self.model.width), np.float32)
        return np.concatenate([none, *self.model.embed_blocks(blocks)])

    def _stacked(self, vectors: Sequence[Float32]) -> torch.Tensor:
        return self._tensor(self._in_order(vectors))

    def _in_order(self, vectors: Sequence[Float32]) -> Float32:
        """Return all queries [Q, D] in the benchmark's order, from the actors' parts."""
        stacked = np.empty((sum(map(len, vectors)), vectors[0].shape[1]), np.float32)
        for rows, part in zip(self.query_rows, vectors, strict=True):
            stacked[rows] = part
        return stacked

    def _tensor(self, array: Any) -> torch.Tensor:
        return torch.tensor(array, device=self.device)


def _get(references: Any) -> Any:
    """Return what actors have worked out; what they raise on purpose is raised here, as it is."""
    try:
        return ray.get(references)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, HybridtuneError):
            raise error.cause from error  # which says that it is of this process alone, and not of a whole group
        raise


def _rows(blocks: Sequence[Int64]) -> Int64:
    return np.concatenate([np.zeros(0, np.int64), *blocks])
