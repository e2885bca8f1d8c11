"""Batches whose answer sets are ignored: groups that answer each other meet, as each other's negatives."""

import numpy as np
import pytest
from handmade import refusal, token_store
from stream_rows import stream_rows

from hybridtune.data.corpus import Corpus
from hybridtune.data.plan import HybridPlan
from hybridtune.data.readers.native import Group
from hybridtune.data.stream import _batches

SIZE, STEPS = 4, 30


def groups_of(shared):
    """Eighteen groups of two languages, three with each passage if they are shared; a negative answers another."""
    return [
        Group(
            str(i),
            "",
            {x: f"q{i}{x}" for x in ("de", "en")},
            {x: f"p{i // 3 if shared else i}{x}" for x in ("de", "en")},
            {"en": [f"p{(i // 3 + 1) % 6 if shared else 90 + i}en"]},
        )
        for i in range(18)
    ]


def batches(plan):
    return [(b.kind, b.groups.tolist(), b.languages.tolist()) for b in plan.batches(0, STEPS)]


@pytest.mark.parametrize("cross_batch", ["mixed", "single_pair"])
def test_groups_of_one_answer_set_meet_and_no_group_stands_twice(cross_batch):
    corpus = Corpus.from_groups(groups_of(True))
    for kept, met in (("apart", False), ("ignored", True)):
        plan = HybridPlan(corpus, batch_size=SIZE, cross_batch=cross_batch, answer_sets=kept)
        found = [corpus.answer_sets[batch.groups] for batch in plan.batches(0, STEPS)]
        assert any(len(set(sets.tolist())) < SIZE for sets in found) == met
        assert all(len(set(batch.groups.tolist())) == SIZE for batch in plan.batches(0, STEPS))


def test_without_anything_to_ignore_the_batches_are_the_same():
    corpus = Corpus.from_groups(groups_of(False))
    assert batches(HybridPlan(corpus, batch_size=SIZE)) == batches(
        HybridPlan(corpus, batch_size=SIZE, answer_sets="ignored")
    )


def test_a_batch_may_be_as_large_as_the_groups_are_many():
    corpus = Corpus.from_groups(groups_of(True))
    assert "larger than the 6 distinct groups in the largest language" in refusal(corpus, batch_size=7)
    assert "larger than the 18 distinct groups" in refusal(corpus, batch_size=19, answer_sets="ignored")
    (batch,) = HybridPlan(corpus, batch_size=18, mixing_ratio=1.0, answer_sets="ignored").batches(0, 1)
    assert sorted(batch.groups.tolist()) == list(range(18))


def test_a_worker_is_told_of_no_other_answer_set_and_of_no_negative_that_answers(tmp_path):
    store, *_ = token_store(tmp_path, groups_of(True), lambda n: [n])
    for kept in ("apart", "ignored"):
        plan = HybridPlan(store.corpus(), batch_size=SIZE, answer_sets=kept)
        rows = slice(SIZE // 2, SIZE)
        tables = stream_rows(plan, store, 0, STEPS, rows, 1)
        served = [batch for table in tables for batch in _batches(table)]
        negatives = np.concatenate([one.negative_answer_sets for one in served])
        assert (negatives >= 0).any() == (kept == "apart")
        for spec, one in zip(plan.batches(0, STEPS), served, strict=True):
            own = spec.groups[rows] if kept == "ignored" else store.corpus().answer_sets[spec.groups[rows]]
            assert one.answer_sets.tolist() == own.tolist()


def test_a_plan_without_its_corpus_is_the_same_with_it_again():
    corpus = Corpus.from_groups(groups_of(True))
    for kept in ("apart", "ignored"):
        plan = HybridPlan(corpus, batch_size=SIZE, answer_sets=kept)
        light = plan.without_corpus()
        assert not hasattr(light, "corpus")
        assert batches(light.with_corpus(corpus)) == batches(plan)
