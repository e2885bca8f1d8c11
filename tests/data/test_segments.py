"""Segments of a plan: each has its own ratio and weights, and what was drawn before it stays as it was."""

import itertools
import json
import pickle
from collections import Counter
from dataclasses import asdict, replace

import numpy as np
import pytest
from handmade import BOTH, PARALLEL, corpus_of, plan
from hypothesis import given
from hypothesis import strategies as st

from hybridtune.data.plan import describe, write_plan
from hybridtune.data.segments import DevScores, Segment, read_segments

PAIRS = ("de-de", "en-en", "de-en", "en-de")
weights = st.dictionaries(st.sampled_from(PAIRS), st.floats(0.5, 2.0))


@st.composite
def segments(draw, most=4):
    """Segments of up to 12 steps each, the first from step 0."""
    lengths = draw(st.lists(st.integers(1, 12), min_size=1, max_size=most))
    starts = [0, *itertools.accumulate(lengths)][: len(lengths)]
    return [Segment(start, draw(st.floats(0.05, 0.95)), draw(weights)) for start in starts]


def batches(one, start=0, stop=40):
    return [(b.step, b.kind, b.groups.tolist(), b.languages.tolist()) for b in one.batches(start, stop)]


options = st.fixed_dictionaries(
    {
        "align_share": st.sampled_from([0.0, 0.4]),
        "cross_batch": st.sampled_from(["mixed", "single_pair"]),
        "seed": st.integers(0, 99),
    }
)


@given(segments(), options)
def test_the_ratio_is_realised_within_one_batch_of_the_integral_of_all_segments(made, options):
    one = plan(PARALLEL, schedule="learned", **options).with_segments(made)
    requested, mono = 0.0, 0
    for step in range(80):
        kind = one.kind(step)
        if kind != "align":
            requested += next(segment.mixing_ratio for segment in reversed(made) if segment.start <= step)
            mono += kind == "mono"
        others = step + 1 - one.align_batches(step + 1)
        assert one.mono_batches(step + 1) == mono
        assert abs(mono - requested) < 1 + 1e-6
        assert one.requested_ratio(step + 1) * others == pytest.approx(requested, abs=1e-6)


@given(segments(), options, st.integers(0, 40))
def test_a_start_within_any_segment_gives_the_tail_of_the_whole(made, options, start):
    one = plan(PARALLEL, schedule="learned", **options).with_segments(made)
    assert batches(one, start) == batches(one)[start:]
    assert [kind for _, kind, *_ in batches(one)] == [one.kind(step) for step in range(40)]


@given(segments(), options)
def test_what_was_drawn_does_not_depend_on_what_comes_later(made, options):
    """The batches of a step are a function of the seed, the step and the segments up to it."""
    first = plan(PARALLEL, schedule="learned", **options)
    for count in range(1, len(made)):
        end = made[count].start
        assert batches(first.with_segments(made[:count]), 0, end) == batches(first.with_segments(made), 0, end)


def test_one_segment_without_weights_is_the_constant_ratio():
    one = plan(PARALLEL, mixing_ratio=0.3, schedule="learned").with_segments([Segment(0, 0.3)])
    assert batches(one) == batches(plan(PARALLEL, mixing_ratio=0.3))


@given(segments(), st.sampled_from([4, 5, 7]))
def test_no_group_repeats_before_all_were_visited_whatever_the_segments(made, size):
    corpus = corpus_of((23, ["de"], ["de"], 0), (8, BOTH, BOTH, 0))
    one = plan(corpus, schedule="learned", batch_size=size, sampling_exponent=0.0).with_segments(made)
    visits = {"de": Counter(dict.fromkeys(range(31), 0)), "en": Counter(dict.fromkeys(range(23, 31), 0))}
    for batch in one.batches(0, 50):
        if batch.kind == "mono":
            seen = visits[corpus.languages[batch.languages[0, 0]]]
            seen.update(batch.groups.tolist())
            # Where an epoch ends within a batch, a group of the old one may wait behind some of the new.
            assert max(seen.values()) - min(seen.values()) <= 1 + (len(seen) % size > 0)


def test_weights_set_how_often_a_segment_draws_its_pairs_and_none_that_is_left_out():
    corpus = corpus_of((40, ["de", "en", "sw"], ["de", "en", "sw"], 0))
    first = plan(corpus, schedule="learned", weights={"sw": 0.0, "en-sw": 0.0}, unseen_pairs=["de-sw"])
    high = {"de-de": 3.0, "en-de": 2.0, "sw-sw": 9.0, "sw-de": 9.0}
    one = first.with_segments([Segment(0, 0.5), Segment(400, 0.5, high)])
    for start, mono, cross in ((0, 0.5, 1 / 3), (400, 0.75, 0.5)):
        drawn = {"mono": Counter(), "cross": Counter()}
        for batch in one.batches(start, start + 400):
            pairs = ["-".join(one.corpus.languages[x] for x in pair) for pair in batch.languages.tolist()]
            drawn[batch.kind].update(pairs)
        assert set(drawn["mono"]) == {"de-de", "en-en"}
        assert set(drawn["cross"]) == {"de-en", "en-de", "sw-en"}
        assert drawn["mono"]["de-de"] / drawn["mono"].total() == pytest.approx(mono, abs=0.02)
        assert drawn["cross"]["en-de"] / drawn["cross"].total() == pytest.approx(cross, abs=0.02)


@given(segments(), options)
def test_the_table_counts_what_the_segments_drew(made, options):
    one = plan(PARALLEL, schedule="learned", **options).with_segments(made)
    counted = Counter()
    for batch in one.batches(0, 40):
        names = ["-".join(one.corpus.languages[x] for x in pair) for pair in batch.languages.tolist()]
        counted.update((batch.kind, name) for name in names)
    assert {(row["kind"], row["pair"]): row["pairs"] for row in one.table(40)} == dict(counted)


def test_segments_are_written_beside_the_table_and_read_back(tmp_path):
    scores = DevScores({"mono": 0.8, "cross": 0.5, "multi": 0.4}, {"de-en": 0.5})
    made = (Segment(0, 0.5), Segment(20, 0.25, {"de-en": 1.5}, scores), Segment(40, 0.125, {}, scores))
    one = plan(PARALLEL, schedule="learned").with_segments(made)
    write_plan(one, 40, tmp_path)
    written = json.loads((tmp_path / "plan.json").read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(describe(one, 40)))
    assert written["requested_ratio"] == pytest.approx(0.375)
    assert abs(written["realised_ratio"] - 0.375) <= 1 / 40
    assert read_segments(written["segments"]) == made[:2]  # the third begins after these steps
    assert read_segments(json.loads(json.dumps([asdict(segment) for segment in made]))) == made
    assert "segments" not in describe(plan(PARALLEL), 40)


def test_a_plan_with_segments_travels_and_leaves_the_one_it_was_made_of():
    first = plan(PARALLEL, schedule="learned")
    one = first.with_segments([Segment(0, 0.9, {"de-de": 2.0}), Segment(7, 0.1)])
    assert batches(pickle.loads(pickle.dumps(one))) == batches(one)
    assert batches(first) == batches(plan(PARALLEL))
    assert first.segments == ()


def test_a_change_between_align_batches_alone_leaves_the_counts_whole():
    one = plan(PARALLEL, schedule="learned", align_share=0.9).with_segments(
        [replace(Segment(0, 0.5), start=start, mixing_ratio=ratio) for start, ratio in enumerate([0.1, 0.9] * 4)]
    )
    kinds = [one.kind(step) for step in range(400)]
    assert np.abs(np.diff([one.mono_batches(step) for step in range(401)])).max() == 1
    assert kinds.count("mono") / (400 - kinds.count("align")) == pytest.approx(0.9, abs=0.05)
