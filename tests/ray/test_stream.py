import importlib
import itertools
import threading

import numpy as np
import pytest

from hybridtune.data.plan import HybridPlan
from hybridtune.data.stream import token_batches

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

SIZE = 8
MOST = 2  # hard negatives of a pair in the newsroom file
STEPS = 20  # more than one row of the pipeline, which grow from one step


def plan_of(store, ratio):
    return HybridPlan(store.corpus(), mixing_ratio=ratio, sampling_exponent=0.5, batch_size=SIZE, seed=5)


def texts_of(batch):
    """Token ids of the queries, passages and hard negatives of a batch."""
    rows, size = np.split(batch.ids, np.cumsum(batch.lengths)[:-1]), len(batch.answer_sets)
    rows = [ids.tolist() for ids in rows]
    return rows[:size], rows[size : 2 * size], rows[2 * size :]


def streamed(plan, store, *, start=0, stop=STEPS, workers=1, negatives=5):
    """The global batches, put together from the slices of all workers."""
    slices = [
        list(token_batches(plan, store.path, start=start, stop=stop, rank=rank, workers=workers, negatives=negatives))
        for rank in range(workers)
    ]
    assert {len(batches) for batches in slices} == {stop - start}
    for of_step in zip(*slices, strict=True):
        assert {len(part.answer_sets) for part in of_step} == {SIZE // workers}
        queries, passages, negatives_of = zip(*map(texts_of, of_step), strict=True)
        assert len({(part.step, part.kind) for part in of_step}) == 1  # all workers hold one batch
        assert {len(part.negative_answer_sets) for part in of_step} == {SIZE // workers * min(negatives, MOST)}
        yield {
            "step": of_step[0].step,
            "kind": of_step[0].kind,
            "queries": [*itertools.chain(*queries)],
            "passages": [*itertools.chain(*passages)],
            "answer_sets": np.concatenate([part.answer_sets for part in of_step]).tolist(),
            "languages": np.concatenate([part.languages for part in of_step]).tolist(),
            "negatives": [*itertools.chain(*negatives_of)],
            "negative_answer_sets": [
                int(c)
                for part, texts in zip(of_step, negatives_of, strict=True)
                for c in part.negative_answer_sets[: len(texts)]
            ],
        }


def planned(plan, store, start=0, stop=STEPS, negatives=5):
    """The same from the plan and the store, row by row."""
    corpus = plan.corpus
    for spec in plan.batches(start, stop):
        rows = list(zip(spec.groups.tolist(), spec.languages.tolist(), strict=True))
        draws = np.random.default_rng((plan.seed, 5, spec.step)).random(SIZE)
        hard = []
        for (group, (_, y)), draw in zip(rows, draws, strict=True):
            has = np.flatnonzero(corpus.negative_cells == group * len(corpus.languages) + y)
            hard += [has[(int(draw * len(has)) + turn) % len(has)] for turn in range(min(negatives, len(has)))]
        yield {
            "step": spec.step,
            "kind": spec.kind,
            "queries": [store.tokens(plan.corpus.queries[group, x]).tolist() for group, (x, _) in rows],
            "passages": [store.tokens(plan.corpus.passages[group, y]).tolist() for group, (_, y) in rows],
            "answer_sets": [int(plan.corpus.answer_sets[group]) for group, _ in rows],
            "languages": [pair for _, pair in rows],
            "negatives": [store.tokens(corpus.negative_texts[place]).tolist() for place in hard],
            "negative_answer_sets": [int(corpus.negative_answer_sets[place]) for place in hard],
        }


@pytest.mark.parametrize(("ratio", "workers"), [(0.0, 2), (0.3, 2), (0.5, 1), (0.5, 2), (1.0, 2)])
def test_slices_make_up_the_planned_batches_and_each_is_of_one_kind(small_store, ratio, workers):
    plan = plan_of(small_store, ratio)
    batches = list(streamed(plan, small_store, workers=workers))
    assert batches == list(planned(plan, small_store))
    for batch in batches:
        assert {"mono" if x == y else "cross" for x, y in batch["languages"]} == {batch["kind"]}
        assert len(set(batch["answer_sets"])) == SIZE
    assert len({len(batch["negatives"]) for batch in batches}) > 3  # some pairs have none, some one, some two
    mono = sum(batch["kind"] == "mono" for batch in batches)
    assert abs(mono - ratio * STEPS) <= 1


def test_rows_that_are_slow_to_come_out_are_not_overtaken(small_store, monkeypatch):
    """Ray makes batches of blocks in threads: the third here waits until a later one is made, or no more can be."""
    module = importlib.import_module("ray.data._internal.block_batching.util")
    overtaken, made, real = threading.Event(), itertools.count(), module._format_batch

    def held(batch, *given, **named):
        number = next(made)
        if number == 2:
            overtaken.wait(5)
        elif number > 2:
            overtaken.set()
        return real(batch, *given, **named)

    monkeypatch.setattr(module, "_format_batch", held)
    plan = plan_of(small_store, 0.5)
    batches = token_batches(plan, small_store.path, start=0, stop=STEPS, rank=0, workers=1)
    assert [batch.step for batch in batches] == list(range(STEPS))
    assert overtaken.is_set()  # it was made after a later one, and yet came before it


def test_a_later_start_gives_the_tail(small_store):
    plan = plan_of(small_store, 0.5)
    tail = list(streamed(plan, small_store, start=7, workers=2))
    assert [batch["step"] for batch in tail] == list(range(7, STEPS))
    assert tail == list(planned(plan, small_store))[7:]


@pytest.mark.parametrize("negatives", [0, 1])
def test_fewer_negatives_leave_the_rest_of_the_batches_as_it_is(small_store, negatives):
    plan = plan_of(small_store, 0.5)
    batches = list(streamed(plan, small_store, stop=6, negatives=negatives))
    assert batches == list(planned(plan, small_store, stop=6, negatives=negatives))
    assert any(batch["negatives"] for batch in batches) == bool(negatives)


def test_a_batch_is_its_ids_cut_by_its_lengths(small_store):
    for batch in token_batches(
        plan_of(small_store, 0.5), small_store.path, start=0, stop=3, rank=0, workers=1, negatives=1
    ):
        assert batch.lengths.sum() == len(batch.ids)
        assert batch.lengths.min() > 0
        assert {batch.ids.dtype, batch.lengths.dtype, batch.answer_sets.dtype} == {np.dtype(np.int32)}
        assert len(batch.lengths) > 2 * SIZE  # hard negatives follow the queries and passages


def test_an_abandoned_stream_gives_its_resources_back(small_store):
    import ray

    share = 1 / 16  # of a CPU: what else holds some, like a test that has only just ended, holds quarters

    def wait_until(held):  # it takes the cluster a moment to say so; the test's time limit ends a wait in vain
        task = ray.remote(num_cpus=0)(lambda: None)
        while (ray.available_resources().get("CPU", 0.0) % 0.25 != 0) is not held:
            ray.get(task.remote())

    plan = plan_of(small_store, 0.5)
    stream = token_batches(plan, small_store.path, start=0, stop=10**6, rank=0, workers=1, num_cpus=share)
    assert [next(stream).step for _ in range(3)] == [0, 1, 2]
    wait_until(held=True)
    stream.close()
    wait_until(held=False)


def test_ray_shows_a_stream_by_its_training_and_its_operators(small_store):
    import ray
    from ray.data._internal.stats import get_or_create_stats_actor

    plan, name = plan_of(small_store, 0.5), "trial 3"
    assert list(token_batches(plan, small_store.path, start=0, stop=2, rank=0, workers=2, name=name))
    shown = ray.get(get_or_create_stats_actor().get_datasets.remote(ray.get_runtime_context().get_job_id()))
    (operators,) = [entry["operators"] for of, entry in shown.items() if of.startswith(f"{name}, worker 0_")]
    names = [operator["name"] for operator in operators.values()]
    assert names == ["Input", "MapBatches(PlanBatches)->MapBatches(GatherTokens)"]  # one task


def test_no_steps_are_no_batches(small_store):
    assert not list(token_batches(plan_of(small_store, 0.5), small_store.path, start=7, stop=7, rank=0, workers=1))
