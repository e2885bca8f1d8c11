"""The evaluator service: Ray actors that live as long as the study and score any weights handed to them.

Each actor holds the encoder's structure and its shard of every benchmark, tokenised once. A score is three rounds:
encode the shards; score the relevant pairs; count what outranks them. Vectors stay in the object store, and what
comes back to the caller is one number a relevant pair and one count a pair and language.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import ray
import torch

from hybridtune.config import Encoder
from hybridtune.data.tokenizer import Tokenizer
from hybridtune.evaluate.benchmark import Benchmark, Relevance
from hybridtune.evaluate.encoding import Vectors, embed_by_length
from hybridtune.evaluate.metrics import Ranked, Scores, per_query, score
from hybridtune.evaluate.per_query import topic_numbers, write_per_query
from hybridtune.evaluate.ranks import RankCounter, pair_scores
from hybridtune.model.encoder import load_encoder

State = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Shard:
    """An actor's part of a benchmark: every n-th query and passage, tokenised."""

    queries: list[npt.NDArray[np.int32]]
    passages: list[npt.NDArray[np.int32]]


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
        started = []
        for place in range(actors):
            texts = {
                key: ([t.text for t in b.queries[place::actors]], [t.text for t in b.passages[place::actors]])
                for key, b in benchmarks.items()
            }
            actor = ray.remote(Evaluator).options(name=f"{name}/{place}", num_cpus=0.25)
            started.append(actor.remote(source, encoder, tokenizer, texts, relevance, place, actors))
        ray.get([actor.ready.remote() for actor in started])
        return cls(started, relevance)

    @classmethod
    def connect(cls, name: str) -> "EvaluatorService":
        """The service that some process of this job has started under the name."""
        first = ray.get_actor(f"{name}/0")
        relevance, actors = ray.get(first.about.remote())
        return cls([first, *(ray.get_actor(f"{name}/{place}") for place in range(1, actors))], relevance)

    def score(self, state: State, benchmark: str, per_query_file: Path | None = None) -> Scores:
        """All metrics of an encoder with these weights on a benchmark, exactly, at full depth.

        Args:
            state: see ``rank``.
            benchmark: the name it was started under.
            per_query_file: takes the values of every ranking, for ``hybridtune compare``.
        """
        ranked = self.rank(state, benchmark)
        columns = per_query(ranked)
        if per_query_file is not None:
            judged = self._relevance[benchmark]
            topics = topic_numbers(judged.query_index, judged.passage_index, len(judged.query_ids))
            about = {"benchmark": judged.name, "benchmark_digest": judged.digest}
            write_per_query(per_query_file, columns, judged.query_ids, judged.languages, topics, about)
        return score(ranked, columns)

    def rank(self, state: State, benchmark: str) -> Ranked:
        """The relevant pairs of a benchmark and what outranks them under these weights.

        Args:
            state: ``backbone.state_dict()`` as numpy arrays.
            benchmark: the name it was started under.
        """
        relevance = self._relevance[benchmark]
        weights = ray.put(dict(state))
        encoded = [actor.encode.options(num_returns=2).remote(benchmark, weights) for actor in self._actors]
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
    """One shard of every benchmark, and an encoder to put weights into."""

    def __init__(
        self,
        source: str,
        encoder: Encoder,
        tokenizer: Tokenizer,
        texts: Mapping[str, tuple[list[str], list[str]]],
        relevance: Mapping[str, Relevance],
        place: int,
        actors: int,
    ) -> None:
        torch.set_num_threads(1)
        gpus = torch.cuda.device_count()
        self.device = torch.device("cuda", place % gpus) if gpus else torch.device("cpu")
        self.model = load_encoder(source, encoder, tokenizer.pad_id).to(self.device).eval()
        self.relevance, self.place, self.actors = relevance, place, actors
        self.shards = {
            key: Shard(
                _tokens(tokenizer, queries, encoder.query_prefix, encoder.query_length),
                _tokens(tokenizer, passages, encoder.passage_prefix, encoder.passage_length),
            )
            for key, (queries, passages) in texts.items()
        }

    def ready(self) -> bool:
        """Answers once everything is loaded and tokenised."""
        return True

    def about(self) -> tuple[Mapping[str, Relevance], int]:
        """What a client needs to know of the service."""
        return self.relevance, self.actors

    def encode(self, benchmark: str, weights: State) -> tuple[Vectors, Vectors]:
        """Vectors of this shard's queries and passages under the weights."""
        self.model.backbone.load_state_dict({key: torch.tensor(value) for key, value in weights.items()})
        shard = self.shards[benchmark]
        return embed_by_length(self.model, shard.queries), embed_by_length(self.model, shard.passages)

    def score_pairs(self, benchmark: str, passages: Vectors, *queries: Vectors) -> tuple[Any, Any]:
        """Rows of the relevant pairs whose passage is in this shard, and their scores."""
        judged = self.relevance[benchmark]
        rows = np.flatnonzero(judged.passage_index % self.actors == self.place)
        scores = pair_scores(
            self._stacked(queries),
            self._tensor(passages),
            self._tensor(judged.query_index[rows]),
            self._tensor(judged.passage_index[rows] // self.actors),
        )
        return rows, scores.cpu().numpy()

    def count(self, benchmark: str, scores: Any, passages: Vectors, *queries: Vectors) -> Any:
        """[R, L] how many passages of this shard outrank each relevant pair, by their language."""
        judged = self.relevance[benchmark]
        mine = slice(self.place, None, self.actors)
        counter = RankCounter(
            self._tensor(judged.query_index),
            self._tensor(scores),
            self._tensor(judged.order[judged.passage_index]),
            len(judged.languages),
        )
        counter.add(
            self._stacked(queries),
            self._tensor(passages),
            self._tensor(judged.order[mine]),
            self._tensor(judged.passage_language[mine]),
        )
        return counter.counts.cpu().numpy()

    def _stacked(self, shards: Sequence[Vectors]) -> torch.Tensor:
        """[Q, D] all queries in the benchmark's order, from the actors' stripes."""
        stacked = np.empty((sum(map(len, shards)), shards[0].shape[1]), np.float32)
        for place, shard in enumerate(shards):
            stacked[place :: self.actors] = shard
        return self._tensor(stacked)

    def _tensor(self, array: npt.NDArray[Any]) -> torch.Tensor:
        return torch.tensor(array, device=self.device)


def _tokens(tokenizer: Tokenizer, texts: list[str], prefix: str, length: int) -> list[npt.NDArray[np.int32]]:
    return [np.array(ids, np.int32) for ids in tokenizer.encode(texts, prefix, length)]


def evaluators_for(given: int | None, gpus: int) -> int:
    """How many actors: as given, else one per GPU, else one per core."""
    return given or gpus or os.cpu_count() or 1
