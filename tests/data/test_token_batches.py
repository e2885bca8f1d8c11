"""The task of the stream, without Ray: the plan and a store in, token batches out."""

import itertools
import pickle
from collections import Counter

import numpy as np
import pytest
from handmade import token_store
from stream_rows import stream_rows

from hybridtune.data import stream
from hybridtune.data.corpus import Corpus
from hybridtune.data.plan import HybridPlan
from hybridtune.data.readers.native import Group
from hybridtune.data.stream import _batches

SIZE, STEPS = 8, 40


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store whose text number n has the ids n, n + 1, ...; a third of the groups is bitext."""
    groups = []
    for i in range(60):
        texts = {x: f"{i} {x}" for x in ("de", "en", "sw")[: 2 + i % 2]}
        hard = {"en": [f"hard {j}" for j in range(i % 4)]}
        margins = {"en": [i + j / 8 if j != 1 else None for j in range(i % 4)]} if i % 5 else {}
        groups.append(Group(str(i), "", {} if i % 3 == 0 else texts, texts, hard, margins))
    return token_store(tmp_path_factory.mktemp("store"), groups, lambda n: range(n, n + n % 5 + 1))[0]


def plan_of(store, align=0.3):
    return HybridPlan(store.corpus(), batch_size=SIZE, seed=3, align_share=align)


def served(plan, store, start=0, stop=STEPS, rows=slice(0, SIZE), negatives=2):
    tables = stream_rows(plan, store, start, stop, rows, negatives)
    return [table.num_rows for table in tables], [batch for table in tables for batch in _batches(table)]


def texts_of(batch):
    """Token ids of the queries, passages and hard negatives of a batch."""
    rows, size = np.split(batch.ids, np.cumsum(batch.lengths)[:-1]), len(batch.answer_sets)
    rows = [ids.tolist() for ids in rows]
    return rows[:size], rows[size : 2 * size], rows[2 * size :]


def naive(plan, store, spec, most):
    """A global batch from the definition: rows of ids of queries, passages and negatives; and of each negative its
    answer set, its pair and its margin."""
    corpus = plan.corpus
    side = corpus.passages if spec.kind == "align" else corpus.queries
    queries = [side[group, x] for group, (x, _) in zip(spec.groups, spec.languages, strict=True)]
    passages = [corpus.passages[group, y] for group, (_, y) in zip(spec.groups, spec.languages, strict=True)]
    negatives, of_negatives = [], []
    draws = np.random.default_rng((plan.seed, 5, spec.step)).random(SIZE)
    for row, (group, (_, y), draw) in enumerate(zip(spec.groups, spec.languages, draws, strict=True)):
        has = np.flatnonzero(corpus.negative_cells == group * len(corpus.languages) + y)
        for turn in range(min(most, len(has)) if spec.kind != "align" else 0):
            place = has[(int(draw * len(has)) + turn) % len(has)]
            negatives.append(corpus.negative_texts[place])
            of_negatives.append((corpus.negative_answer_sets[place], row, corpus.negative_margins[place]))
    texts = [[store.tokens(n).tolist() for n in numbers] for numbers in (queries, passages, negatives)]
    return texts, np.array(of_negatives).reshape(-1, 3)


@pytest.mark.parametrize("workers", [1, 2])
def test_all_kinds_of_batches_are_those_of_the_plan(store, workers):
    plan = plan_of(store)
    width = SIZE // workers
    slices = [served(plan, store, rows=slice(r * width, (r + 1) * width))[1] for r in range(workers)]
    scored = unscored = 0
    for spec, *parts in zip(plan.batches(0, STEPS), *slices, strict=True):
        rows, of_negatives = naive(plan, store, spec, 2)
        for side, expected in enumerate(rows):
            assert [ids for part in parts for ids in texts_of(part)[side]] == expected
        given = []
        for rank, part in enumerate(parts):
            count = len(texts_of(part)[2])
            whole = (part.negative_answer_sets, part.negative_rows + rank * width, part.negative_margins)
            given.append(np.stack([values[:count] for values in whole], axis=1))
            assert np.isnan(part.negative_margins[count:]).all()
            assert ((part.negative_rows >= 0) & (part.negative_rows < width)).all()
            scored += int(np.count_nonzero(~np.isnan(part.negative_margins)))
            unscored += int(np.count_nonzero(np.isnan(part.negative_margins[:count])))
        np.testing.assert_array_equal(np.concatenate(given), of_negatives)
        assert {len(part.negative_answer_sets) for part in parts} == {2 * width}
        assert {(part.step, part.kind) for part in parts} == {(spec.step, spec.kind)}
        assert np.concatenate([part.languages for part in parts]).tolist() == spec.languages.tolist()
        assert (
            np.concatenate([part.answer_sets for part in parts]).tolist()
            == plan.corpus.answer_sets[spec.groups].tolist()
        )
        for part in parts:  # text number n begins with the id n; a teacher reads the first texts of align batches
            first = [ids[0] for ids in texts_of(part)[0]]
            read = first if spec.kind == "align" else [-1] * width
            assert part.taught.tolist() == read + [-1] * (len(part.lengths) - width)
    assert {batch.kind for batch in slices[0]} == {"mono", "cross", "align"}
    assert min(scored, unscored) > STEPS / 2


@pytest.mark.parametrize("languages", [(), ("en",)])
def test_a_teacher_that_scores_reads_the_texts_in_its_languages(store, languages):
    """Text number n begins with the id n."""
    options = {"align_share": 0.3, "teacher_languages": languages, "scored_by_teacher": True}
    plan = HybridPlan(store.corpus(), batch_size=SIZE, seed=3, **options)
    corpus, unread = plan.corpus, 0
    for spec, batch in zip(plan.batches(0, STEPS), served(plan, store)[1], strict=True):
        queries, passages, negatives = ([ids[0] for ids in side] for side in texts_of(batch))
        read = batch.taught.tolist()
        if spec.kind == "align":
            assert read == queries + [-1] * SIZE
            continue
        if not languages:
            assert read == queries + passages + negatives
            continue
        en = corpus.languages.index("en")
        expected = [side[spec.groups, en].tolist() for side in (corpus.queries, corpus.passages)]
        assert [read[:SIZE], read[SIZE : 2 * SIZE]] == expected
        assert read[2 * SIZE :] == negatives  # all negatives of this store are in English
        unread += read.count(-1)
    assert not unread  # every group has both languages


@pytest.mark.parametrize("workers", [1, 2])
def test_second_queries_come_last_in_the_language_that_the_plan_drew(store, workers):
    """Text number n begins with the id n."""
    options = {"align_share": 0.3, "scored_by_teacher": True, "second_queries": True}
    plan = HybridPlan(store.corpus(), batch_size=SIZE, seed=3, **options)
    once = HybridPlan(store.corpus(), batch_size=SIZE, seed=3, align_share=0.3)
    width, seen = SIZE // workers, 0
    slices = [served(plan, store, rows=slice(r * width, (r + 1) * width))[1] for r in range(workers)]
    for spec, plain, *parts in zip(plan.batches(0, STEPS), once.batches(0, STEPS), *slices, strict=True):
        assert (spec.kind, spec.groups.tolist(), spec.languages.tolist()) == (
            plain.kind,
            plain.groups.tolist(),
            plain.languages.tolist(),
        )
        assert plain.second_queries is None
        twice = np.flatnonzero(spec.second_queries >= 0)
        expected = plan.corpus.queries[spec.groups[twice], spec.second_queries[twice]].tolist()
        found, rows = [], []
        for rank, part in enumerate(parts):
            count = int(part.asked_twice.sum())
            texts = [ids[0] for ids in np.split(part.ids, np.cumsum(part.lengths)[:-1])]
            found += texts[len(texts) - count :]
            rows += (np.flatnonzero(part.asked_twice) + rank * width).tolist()
            assert part.taught[len(texts) - count :].tolist() == [-1] * count
        assert (found, rows) == (expected, twice.tolist())
        seen += len(found)
    assert seen > STEPS


def test_runs_grow_from_one_step_to_a_row(store, monkeypatch):
    monkeypatch.setattr(stream, "ROW_BYTES", 6.1 * 2 * SIZE * 4 * store.mean_length)
    tables = stream_rows(plan_of(store), store, 3, 30, slice(0, SIZE), 1)
    assert [table.num_rows for table in tables] == [1] * len(tables)
    runs = [[batch.step for batch in _batches(table)] for table in tables]
    assert [len(run) for run in runs] == [1, 2, 4, 6, 6, 6, 2]
    assert list(itertools.chain(*runs)) == list(range(3, 30))


def test_the_metric_has_the_pairs_of_the_plan_by_kind_and_languages(store, monkeypatch):
    counted = Counter()

    class Recorded:
        def __init__(self, name, description, tag_keys):
            assert (name, tag_keys) == ("hybridtune_pairs", ("kind", "languages"))

        def inc(self, value, tags):
            counted[tags["kind"], tags["languages"]] += value

    monkeypatch.setattr("ray.util.metrics.Counter", Recorded)
    for rows in (slice(0, SIZE // 2), slice(SIZE // 2, SIZE)):
        served(plan_of(store), store, rows=rows)
    expected = Counter()
    for row in plan_of(store).table(STEPS):
        expected[row["kind"], row["pair"]] += row["pairs"]
    assert counted == expected
    assert {kind for kind, _ in counted} == {"mono", "cross", "align"}


def test_the_plan_travels_without_its_corpus(store):
    plan = plan_of(store)
    light = plan.without_corpus()
    assert not any(isinstance(value, Corpus) for value in vars(light).values())
    light = pickle.loads(pickle.dumps(light))
    light.corpus = store.corpus()
    assert plan.corpus is not light.corpus
    for one, same in zip(plan.batches(0, 5), light.batches(0, 5), strict=True):
        assert (one.kind, one.groups.tolist()) == (same.kind, same.groups.tolist())


def test_without_negatives_there_is_no_room_for_any(store):
    _, batches = served(plan_of(store, align=0.0), store, stop=4, negatives=0)
    assert [len(batch.negative_answer_sets) for batch in batches] == [0] * 4
    assert [len(batch.lengths) for batch in batches] == [2 * SIZE] * 4
