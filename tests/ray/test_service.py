import dataclasses
from collections import defaultdict
from statistics import fmean

import numpy as np
import pytest
import ray
import torch
from embedding import embedded_sides

from hybridtune.errors import FitError
from hybridtune.evaluate.benchmark import load_benchmark, score_vectors
from hybridtune.evaluate.service import EvaluatorService, Placement
from hybridtune.metrics.groups import Grouping
from hybridtune.metrics.per_query import read_per_query
from hybridtune.metrics.scores import pair_scores
from hybridtune.metrics.selection import grouping_of
from hybridtune.model.encoder import DualEncoder, load_encoder
from hybridtune.study.contestants import draw_sample

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def benchmark(small_study):
    return load_benchmark(small_study.benchmarks.dev)


@pytest.fixture(scope="module")
def model(small_study, small_store, tiny_source):
    return load_encoder(tiny_source, small_study.encoder, small_store.tokenizer().pad_id).eval()


@pytest.fixture(scope="module")
def started(small_study, small_store, tiny_source):
    """Starts a service of actors at such placements."""

    def start(benchmark, *placements):
        return EvaluatorService(benchmark, str(small_store.path), tiny_source, small_study.encoder, placements)

    return start


@pytest.fixture(scope="module")
def free(ray_here):
    """CPUs that nothing holds before the services start."""
    return ray.available_resources()["CPU"]


@pytest.fixture(scope="module")
def services(started, free, benchmark):
    """By number of actors; one of the two is told where to sit and what to hold."""
    held = Placement(node=ray.get_runtime_context().get_node_id(), resources={"CPU": 0.5})
    return {1: started(benchmark, Placement()), 2: started(ray.put(benchmark), held, Placement())}


def arrays_of(model):
    return {key: value.numpy() for key, value in model.plain_state().items()}


def other_weights(model, seed):
    """Weights that are not those the actors were started with."""
    noise = np.random.default_rng(seed)
    return {
        key: value + noise.normal(0, 0.05, value.shape).astype(np.float32) if value.dtype == np.float32 else value
        for key, value in arrays_of(model).items()
    }


def naive_ranks(model, tokenizer, encoder, benchmark):
    """{(setting, query, pool language or ''): (ranks of the relevant passages, size of the pool)}, by sorting."""
    queries, passages = embedded_sides(model, tokenizer, encoder, benchmark)
    ids = [text.text_id for text in benchmark.passages]
    relevant = defaultdict(set)
    for query, passage in zip(benchmark.relevance.query_index, benchmark.relevance.passage_index, strict=True):
        relevant[int(query)].add(int(passage))
    found = {}
    for q, query in enumerate(benchmark.queries):
        every = torch.arange(len(ids))
        scores = pair_scores(queries, passages, torch.full_like(every, q), every).tolist()
        for pool in ["", *sorted({text.language for text in benchmark.passages})]:
            members = [p for p, text in enumerate(benchmark.passages) if pool in ("", text.language)]
            by_id = sorted(members, key=lambda p: ids[p], reverse=True)
            ranked = sorted(by_id, key=lambda p: -scores[p])
            ranks = [rank for rank, p in enumerate(ranked, 1) if p in relevant[q]]
            setting = "multi" if not pool else "mono" if pool == query.language else "cross"
            if ranks:
                found[setting, q, pool] = ranks
    return found


def naive_metrics(ranks, benchmark):
    """Means over queries, then over languages (mono, multi) or ordered pairs (cross)."""
    measures = {
        "AP": lambda r: fmean(place / rank for place, rank in enumerate(r, 1)),
        "RR": lambda r: 1 / r[0],
        "nDCG@10": lambda r: (
            sum(1 / np.log2(rank + 1) for rank in r if rank <= 10)
            / sum(1 / np.log2(place + 1) for place in range(1, min(len(r), 10) + 1))
        ),
        "R@1": lambda r: sum(rank <= 1 for rank in r) / len(r),
        "R@10": lambda r: sum(rank <= 10 for rank in r) / len(r),
        "rank_distance": lambda r: r[-1] - r[0],
    }
    metrics = {}
    for name, measure in measures.items():
        cells = defaultdict(list)
        for (setting, q, pool), of_query in ranks.items():
            cells[setting, benchmark.queries[q].language, pool].append(measure(of_query))
        for setting in ("mono", "cross", "multi"):
            metrics[f"{setting}/{name}"] = fmean(fmean(v) for key, v in cells.items() if key[0] == setting)
    metrics["balanced/AP"] = 3 / sum(1 / metrics[f"{setting}/AP"] for setting in ("mono", "cross", "multi"))
    return {key: value for key, value in metrics.items() if key not in ("mono/rank_distance", "cross/rank_distance")}


def test_the_number_of_actors_changes_nothing(services, model):
    for seed in (1, 2):
        weights = other_weights(model, seed)
        one, two = (dataclasses.asdict(services[actors].score(weights)) for actors in (1, 2))
        assert one == two


def test_scores_are_those_of_a_full_sort(services, model, small_study, small_store, tiny_source, benchmark):
    weights = other_weights(model, 1)
    same = load_encoder(tiny_source, small_study.encoder, model.pad_id).eval()
    same.backbone.load_state_dict({key: torch.tensor(value) for key, value in weights.items()})
    ranks = naive_ranks(same, small_store.tokenizer(), small_study.encoder, benchmark)
    expected = naive_metrics(ranks, benchmark)
    scores = services[2].score(weights)
    assert {key: scores.metrics[key] for key in expected} == pytest.approx(expected, rel=1e-12)
    assert 0 < expected["multi/AP"] < 1
    assert scores.counts["queries"] == {
        setting: len({q for kind, q, _ in ranks if kind == setting}) for setting in ("mono", "cross", "multi")
    }
    assert scores.counts["passages"] == len(benchmark.passages)


def test_groups_of_languages_are_scored_and_kept(services, model, benchmark, tmp_path, monkeypatch):
    service, language = services[1], benchmark.relevance.languages[0]
    grouping = Grouping({f"{language}-{language}": 1}, (language,))
    monkeypatch.setattr(service, "grouping", grouping)
    file = tmp_path / "per_query.parquet"
    scores = service.score(other_weights(model, 1), file, measures=("AP", "AP@low-resource", "AP@seen"))
    means = scores.per_language["mono"][language]["AP"], scores.per_language["multi"][language]["AP"]
    assert (scores.metrics["mono/AP@low-resource"], scores.metrics["multi/AP@low-resource"]) == pytest.approx(means)
    assert "cross/AP@low-resource" in scores.metrics
    assert "cross/AP@seen" not in scores.metrics  # no training pair of two languages
    kept = read_per_query(file)
    assert grouping_of([kept]) == grouping
    assert set(kept.document) == set(benchmark.relevance.documents)


def test_ones_own_vectors_score_as_the_service_does(services, model, benchmark, small_study, tiny_source):
    settings = small_study.encoder.model_dump(exclude={"name", "tiny"})
    encoder = DualEncoder.load(tiny_source, **settings)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the actors

    def vectors(encode, texts, blocks):
        found = np.zeros((len(texts), encoder.width), np.float32)
        for block in blocks:  # encoded together, as the service does: the last bits depend on it
            found[block] = encode([texts[row].text for row in block])
        return found

    queries = vectors(encoder.encode_queries, benchmark.queries, benchmark.query_blocks)
    passages = vectors(encoder.encode_passages, benchmark.passages, benchmark.passage_blocks)
    torch.set_num_threads(threads)
    assert score_vectors(benchmark, queries, passages) == services[2].score(arrays_of(model))


def test_centred_vectors_score_as_by_hand_whatever_the_number_of_actors(
    services, model, benchmark, small_store, small_study, tiny_source
):
    weights, sample = other_weights(model, 1), draw_sample(small_store.corpus(), seed=0, most=9)
    found = {}
    for actors, service in services.items():
        vectors, blocks = service.encode(weights), service.embed_stored(weights, sample.blocks())
        centred = service.move(vectors, sample.fit(blocks))
        standardised = service.score_vectors(centred, standardised=True)
        found[actors] = service.score_vectors(centred), service.score_vectors(vectors), standardised, blocks
    assert found[1][:3] == found[2][:3]
    assert all(np.array_equal(a, b) for a, b in zip(found[1][3], found[2][3], strict=True))
    centred, plain, standardised, _ = found[2]
    assert plain == services[2].score(weights)  # centring leaves the vectors that it was made from
    same = load_encoder(tiny_source, small_study.encoder, model.pad_id).eval()
    same.load_plain_state({key: torch.tensor(value) for key, value in weights.items()})
    sides = embedded_sides(same, small_store.tokenizer(), small_study.encoder, benchmark)
    moved = []
    for numbers, texts, vectors in zip(
        (sample.queries, sample.passages), (benchmark.queries, benchmark.passages), sides, strict=True
    ):
        means = {
            language: same.embed_by_length([small_store.tokens(number) for number in of]).mean(0)
            for language, of in numbers.items()
        }
        taken = np.array([means.get(name, np.mean(list(means.values()), axis=0)) for name in texts.languages])
        left = vectors.numpy() - taken
        moved.append(left / np.linalg.norm(left, axis=1, keepdims=True))
    expected = score_vectors(benchmark, *moved)
    assert centred.metrics == pytest.approx(expected.metrics, rel=1e-4)
    expected = score_vectors(benchmark, *moved, standardised=True)
    assert standardised.metrics == pytest.approx(expected.metrics, rel=1e-4)
    assert standardised.metrics["mono/AP"] == centred.metrics["mono/AP"]
    assert standardised.metrics["multi/AP"] != pytest.approx(centred.metrics["multi/AP"], rel=1e-2)
    assert centred.metrics["multi/AP"] != pytest.approx(plain.metrics["multi/AP"], rel=1e-2)


def test_other_weights_give_other_scores(services, model):
    one, other = (services[2].score(other_weights(model, seed)).metrics for seed in (1, 2))
    assert one != other


def test_a_score_without_room_on_a_device_is_told_in_the_words_of_its_actor(services, model):
    """Torch names weights that the encoder lacks: that error stands in for the one of a device that is full."""
    full = {**arrays_of(model), "CUDA out of memory": np.zeros(1, np.float32)}
    for score in (services[2].score, lambda state: services[2].embed_stored(state, [np.arange(2)])):
        with pytest.raises(FitError, match="out of memory at a score on the memory of cpu: ") as told:
            score(full)
        assert type(told.value) is FitError
        assert told.value.__cause__ is not None  # of this process alone: a worker frees those that wait for it


def test_actors_sit_where_they_are_told_and_hold_what_they_are_told(services, free):
    for service in services.values():
        service.ready()
    assert ray.available_resources()["CPU"] == free - 0.5


def test_a_node_that_is_gone_is_told(started, benchmark, model):
    service = started(benchmark, Placement(node="a" * 56))
    with pytest.raises(ray.exceptions.ActorUnschedulableError):
        service.score(other_weights(model, 1))


def test_a_score_tells_of_a_lost_actor(services, model):
    """The last test here: the service has no second actor any more."""
    service = services.pop(2)
    service.ready()
    ray.kill(service.actors[1])
    with pytest.raises(ray.exceptions.RayActorError):
        service.score(other_weights(model, 1))
