"""The evaluator service: Ray actors that live as long as the study and score any weights handed to them.

Each actor holds the encoder's structure and its shard of every benchmark, tokenised once. A score is three rounds:
encode the shards; score the relevant pairs; count what outranks them. Vectors stay in the object store, and what
comes back to the caller is one number a relevant pair and one count a pair and language.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import ray
import torch

from hybridtune.config import Encoder
from hybridtune.data.benchmark_rows import Text
from hybridtune.data.tokenizer import Tokenizer
from hybridtune.evaluate.benchmark import Benchmark, Relevance
from hybridtune.evaluate.encoding import Vectors, embed_by_length
from hybridtune.evaluate.metrics import Ranked, Scores, per_query, score
from hybridtune.evaluate.per_query import topic_numbers, write_per_query
from hybridtune.evaluate.ranks import RankCounter, pair_scores
from hybridtune.model.encoder import load_encoder

State = Mapping[str, npt.NDArray[Any]]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """Some blocks of the queries or passages of a benchmark: what one actor encodes.

    Attributes:
        rows: [n] positions in the benchmark, block after block.
        blocks: the texts or token rows of each block; encoded together, whatever the number of actors.
    """

    rows: Int64
    blocks: list[list[Any]]


def parts(texts: Sequence[Text], blocks: Sequence[Int64], actors: int) -> list[Part]:
    """The texts of each actor: whole blocks, the largest first, each to whom has least."""
    given: list[list[Int64]] = [[] for _ in range(actors)]
    for block in sorted(blocks, key=len, reverse=True):
        min(given, key=lambda of_one: sum(map(len, of_one))).append(block)
    return [
        Part(np.concatenate([np.zeros(0, np.int64), *own]), [[texts[i].text for i in block] for block in own])
        for own in given
    ]


class EvaluatorService:
    """Scores encoder weights on benchmarks; a handle that any process of the cluster can get by name.

    Args:
        actors: the evaluator actors.
        relevance: per benchmark, what answers what.
    """

    def __init__(self, actors: Sequence[Any], relevance: Mapping[str, Relevance]) -> None:
        self._actors = list(actors)
        self._relevance = dict(relevance)

    @classmethod
    def start(
        cls,
        name: str,
        benchmarks: Mapping[str, Benchmark],
        *,
        source: str,
        encoder: Encoder,
        tokenizer: Tokenizer,
        actors: int,
    ) -> "EvaluatorService":
        """Start the actors and hand them their shards.

        Args:
            name: what `connect` asks for; one service of a name at a time.
            benchmarks: by the name they are scored under (``dev``, ``test``).
            source: model folder or hub name with the encoder's structure.
            encoder: pooling, prefixes, lengths.
            tokenizer: the encoder's.
            actors: how many; each uses one thread, or a GPU where there is one. They hold no share of it: a
                training waits while it is scored, so its GPU is free.
        """
        relevance = {key: benchmark.relevance for key, benchmark in benchmarks.items()}
        queries = {key: parts(b.queries, b.query_blocks, actors) for key, b in benchmarks.items()}
        passages = {key: parts(b.passages, b.passage_blocks, actors) for key, b in benchmarks.items()}
        query_rows = {key: [part.rows for part in of_all] for key, of_all in queries.items()}
        started = []
        for place in range(actors):
            own = {key: (queries[key][place], passages[key][place]) for key in benchmarks}
            actor = ray.remote(Evaluator).options(name=f"{name}/{place}", num_cpus=0.25)
            started.append(actor.remote(source, encoder, tokenizer, own, relevance, query_rows, place))
        ray.get([actor.ready.remote() for actor in started])
        return cls(started, relevance)

    @classmethod
    def connect(cls, name: str) -> "EvaluatorService":
        """The service that some process of this job has started under the name."""
        first = ray.get_actor(f"{name}/0")
        relevance, actors = ray.get(first.about.remote())
        return cls([first, *(ray.get_actor(f"{name}/{place}") for place in range(1, actors))], relevance)

    def score(
        self, state: State, benchmark: str, per_query_file: Path | None = None, pooling: str | None = None
    ) -> Scores:
        """All metrics of an encoder with these weights on a benchmark, exactly, at full depth.

        Args:
            state: see ``rank``.
            benchmark: the name it was started under.
            per_query_file: takes the values of every ranking, for ``hybridtune compare``.
            pooling: see ``rank``.
        """
        ranked = self.rank(state, benchmark, pooling)
        columns = per_query(ranked)
        if per_query_file is not None:
            judged = self._relevance[benchmark]
            topics = topic_numbers(judged.query_index, judged.passage_index, len(judged.query_ids))
            about = {"benchmark": judged.name, "benchmark_digest": judged.digest}
            write_per_query(per_query_file, columns, judged.query_ids, judged.languages, topics, about)
        return score(ranked, columns)

    def rank(self, state: State, benchmark: str, pooling: str | None = None) -> Ranked:
        """The relevant pairs of a benchmark and what outranks them under these weights.

        Args:
            state: ``backbone.state_dict()`` as numpy arrays.
            benchmark: the name it was started under.
            pooling: ``mean`` or ``cls``; None: what the service was started with.
        """
        relevance = self._relevance[benchmark]
        weights = ray.put(dict(state))
        encoded = [actor.encode.options(num_returns=2).remote(benchmark, weights, pooling) for actor in self._actors]
        queries = [query_vectors for query_vectors, _ in encoded]
        partial = [
            actor.score_pairs.remote(benchmark, passages, *queries)
            for actor, (_, passages) in zip(self._actors, encoded, strict=True)
        ]
        scores = np.zeros(len(relevance.query_index), np.float32)  # [R]
        for rows, values in ray.get(partial):
            scores[rows] = values
        shared = ray.put(scores)
        counting = [
            actor.count.remote(benchmark, shared, passages, *queries)
            for actor, (_, passages) in zip(self._actors, encoded, strict=True)
        ]
        counts = np.sum(ray.get(counting), axis=0)  # [R, L]
        return Ranked(
            counts=counts,
            query_index=relevance.query_index,
            passage_language=relevance.passage_language[relevance.passage_index],
            query_language=relevance.query_language,
            languages=relevance.languages,
            passages=np.bincount(relevance.passage_language, minlength=len(relevance.languages)),
            grades=relevance.grades,
        )


class Evaluator:
    """A part of every benchmark, and an encoder to put weights into."""

    def __init__(
        self,
        source: str,
        encoder: Encoder,
        tokenizer: Tokenizer,
        own: Mapping[str, tuple[Part, Part]],
        relevance: Mapping[str, Relevance],
        query_rows: Mapping[str, Sequence[Int64]],
        place: int,
    ) -> None:
        torch.set_num_threads(1)
        gpus = torch.cuda.device_count()
        self.device = torch.device("cuda", place % gpus) if gpus else torch.device("cpu")
        self.model = load_encoder(source, encoder, tokenizer.pad_id).to(self.device).eval()
        self.pooling = self.model.pooling
        self.relevance, self.query_rows = relevance, query_rows
        self.queries = {
            key: _tokens(tokenizer, queries, encoder.query_prefix, encoder.query_length)
            for key, (queries, _) in own.items()
        }
        self.passages = {
            key: _tokens(tokenizer, passages, encoder.passage_prefix, encoder.passage_length)
            for key, (_, passages) in own.items()
        }

    def ready(self) -> bool:
        """Answers once everything is loaded and tokenised."""
        return True

    def about(self) -> tuple[Mapping[str, Relevance], int]:
        """What a client needs to know of the service: the relevance, and how many actors there are."""
        return self.relevance, len(next(iter(self.query_rows.values())))

    def encode(self, benchmark: str, weights: State, pooling: str | None = None) -> tuple[Vectors, Vectors]:
        """Vectors of this actor's queries and passages under the weights."""
        self.model.pooling = pooling or self.pooling
        self.model.backbone.load_state_dict({key: torch.tensor(value) for key, value in weights.items()})
        return self._embed(self.queries[benchmark]), self._embed(self.passages[benchmark])

    def score_pairs(self, benchmark: str, passages: Vectors, *queries: Vectors) -> tuple[Any, Any]:
        """Rows of the relevant pairs whose passage is in this actor's part, and their scores."""
        judged, own = self.relevance[benchmark], self.passages[benchmark].rows
        local = np.full(len(judged.passage_language), -1)  # [P] row of the passage in this part
        local[own] = np.arange(len(own))
        rows = np.flatnonzero(local[judged.passage_index] >= 0)
        scores = pair_scores(
            self._stacked(benchmark, queries),
            self._tensor(passages),
            self._tensor(judged.query_index[rows]),
            self._tensor(local[judged.passage_index[rows]]),
        )
        return rows, scores.cpu().numpy()

    def count(self, benchmark: str, scores: Any, passages: Vectors, *queries: Vectors) -> Any:
        """[R, L] how many passages of this actor's part outrank each relevant pair, by their language."""
        judged, own = self.relevance[benchmark], self.passages[benchmark].rows
        counter = RankCounter(
            self._tensor(judged.query_index),
            self._tensor(scores),
            self._tensor(judged.order[judged.passage_index]),
            len(judged.languages),
        )
        counter.add(
            self._stacked(benchmark, queries),
            self._tensor(passages),
            self._tensor(judged.order[own]),
            self._tensor(judged.passage_language[own]),
        )
        return counter.counts.cpu().numpy()

    def _embed(self, part: Part) -> Vectors:
        none = np.zeros((0, self.model.backbone.config.hidden_size), np.float32)
        return np.concatenate([none, *(embed_by_length(self.model, block) for block in part.blocks)])

    def _stacked(self, benchmark: str, vectors: Sequence[Vectors]) -> torch.Tensor:
        """[Q, D] all queries in the benchmark's order, from the actors' parts."""
        stacked = np.empty((sum(map(len, vectors)), vectors[0].shape[1]), np.float32)
        for rows, of_one in zip(self.query_rows[benchmark], vectors, strict=True):
            stacked[rows] = of_one
        return self._tensor(stacked)

    def _tensor(self, array: npt.NDArray[Any]) -> torch.Tensor:
        return torch.tensor(array, device=self.device)


def _tokens(tokenizer: Tokenizer, part: Part, prefix: str, length: int) -> Part:
    """The part with token rows for its texts."""
    encoded = [tokenizer.encode(texts, prefix, length) for texts in part.blocks]
    return Part(part.rows, [[np.array(ids, np.int32) for ids in block] for block in encoded])
