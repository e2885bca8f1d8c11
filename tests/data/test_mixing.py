import json
import pickle

import numpy as np
import pytest
from handmade import BOTH, PARALLEL, WITH_BITEXT, corpus_of, plan, refusal, shares
from hypothesis import given
from hypothesis import strategies as st

from hybridtune.data.plan import describe, distinct_pairs, write_plan

SCHEDULES = ("constant", "linear", "cosine", "step")


@given(
    schedule=st.sampled_from(SCHEDULES),
    start=st.floats(0, 1),
    end=st.floats(0, 1),
    align=st.floats(0, 0.99),
    steps=st.integers(1, 10**7),
    seed=st.integers(0, 2**31 - 1),
    place=st.floats(0, 1.5),
)
def test_kinds_and_counts_agree_at_every_step(schedule, start, end, align, steps, seed, place):
    options = {"schedule": schedule, "final_ratio": end, "align_share": align, "steps": steps}
    one = plan(WITH_BITEXT, mixing_ratio=start, seed=seed, **options)
    n = int(place * steps)
    aligned, mono = one.align_batches(n + 1) - one.align_batches(n), one.mono_batches(n + 1) - one.mono_batches(n)
    assert (aligned, mono) == {"align": (1, 0), "mono": (0, 1), "cross": (0, 0)}[one.kind(n)]
    assert abs(one.align_batches(n) - n * align) < 1 + 1e-6
    others = n - one.align_batches(n)
    if n:
        assert abs(one.mono_batches(n) - others * one.requested_ratio(n)) < 1 + 1e-6


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(("start", "end"), [(1.0, 0.0), (0.0, 1.0), (0.2, 0.6)])
def test_a_schedule_goes_from_its_start_to_its_end(schedule, start, end):
    one = plan(PARALLEL, mixing_ratio=start, schedule=schedule, final_ratio=end, steps=400)
    kinds = [batch.kind for batch in one.batches(0, 500)]
    assert kinds == [one.kind(step) for step in range(500)]
    mono = [np.mean([kind == "mono" for kind in kinds[i : i + 20]]) for i in range(0, 500, 20)]
    last = start if schedule == "constant" else end
    assert (mono[0], mono[19]) == pytest.approx((start, last), abs=0.06)
    assert mono[20:] == pytest.approx([last] * 5, abs=0.06)  # beyond the training
    if schedule == "step":
        assert mono[:20] == pytest.approx([start] * 10 + [end] * 10, abs=0.06)
    else:
        assert (np.diff(mono) * np.sign(end - start) >= -0.06).all()
    assert one.requested_ratio(400) == pytest.approx(start if schedule == "constant" else (start + end) / 2)
    assert one.realised_ratio(400) == kinds[:400].count("mono") / 400


def test_a_schedule_needs_an_end_and_the_batches_of_both_ends():
    assert refusal(PARALLEL, schedule="linear", steps=9) == (
        "mix.schedule linear needs a mixing ratio to end with: set mix.final_ratio (0 to 1), or mix.schedule to "
        "constant"
    )
    mono_only = corpus_of((9, ["en"], ["en"], 0))
    assert refusal(mono_only, schedule="linear", steps=9, mixing_ratio=1.0, final_ratio=0.5) == (
        "the training data has no cross pair, and final_ratio 0.5 asks for cross batches: set mix.final_ratio to 1 or "
        "add such pairs"
    )
    assert refusal(mono_only, schedule="linear", steps=9, mixing_ratio=0.2, final_ratio=0.5) == (
        "the training data has no cross pair, and mixing_ratio 0.2 and final_ratio 0.5 ask for cross batches: set "
        "mix.mixing_ratio and mix.final_ratio to 1 or add such pairs"
    )


@given(
    weights=st.lists(st.floats(0.01, 100), min_size=2, max_size=2),
    size=st.integers(1, 40),
    seed=st.integers(0, 99),
    align=st.sampled_from([0.0, 0.4]),
    cross_batch=st.sampled_from(["mixed", "single_pair"]),
)
def test_batches_of_weighted_data_keep_their_promises(weights, size, seed, align, cross_batch):
    options = {
        "data_weights": dict(zip("ab", weights, strict=True)),
        "align_share": align,
        "cross_batch": cross_batch,
        "seed": seed,
    }
    one = plan(WITH_BITEXT, batch_size=size, **options)
    corpus, whole = one.corpus, list(one.batches(0, 25))
    for batch in whole:
        x, y = batch.languages.T
        first = corpus.passages if batch.kind == "align" else corpus.queries
        assert (first[batch.groups, x] >= 0).all()
        assert (corpus.passages[batch.groups, y] >= 0).all()
        assert len(set(corpus.answer_sets[batch.groups].tolist())) == size
        assert (x == y).all() if batch.kind == "mono" else (x != y).all()
        assert len(set(map(tuple, batch.languages.tolist()))) == 1 or batch.kind != "mono"
    for start in (1, 13, 24):
        tail = list(pickle.loads(pickle.dumps(one)).batches(start, 25))
        for one_batch, other in zip(tail, whole[start:], strict=True):
            assert (one_batch.step, one_batch.kind) == (other.step, other.kind)
            assert (one_batch.groups == other.groups).all()
            assert (one_batch.languages == other.languages).all()


@pytest.mark.parametrize("share", [0.0, 0.25, 0.9])
def test_align_batches_have_their_share_of_all_batches(share):
    one = plan(WITH_BITEXT, align_share=share)
    kinds = [batch.kind for batch in one.batches(0, 200)]
    for n in range(201):
        assert abs(kinds[:n].count("align") - share * n) < 1 + 1e-9
        others = n - kinds[:n].count("align")
        assert abs(kinds[:n].count("mono") - 0.5 * others) < 1 + 1e-9
    assert one.realised_ratio(200) == kinds.count("mono") / (200 - kinds.count("align"))


@pytest.mark.parametrize(
    ("teacher_languages", "pairs"),
    [
        ((), {"de-en", "en-sw", "sw-yo"}),  # of two, the one with more mono pairs; de before en: 40 each
        (("en",), {"en-de", "en-sw"}),
        (("sw",), {"sw-en", "sw-yo"}),
        (("yo", "en", "sw"), {"en-de", "en-sw", "sw-yo"}),
    ],
)
def test_the_teacher_reads_the_first_language_of_an_align_pair(teacher_languages, pairs):
    one = plan(WITH_BITEXT, align_share=0.5, teacher_languages=teacher_languages)
    found = {key: share for key, share in shares(one).items() if key[0] == "align"}
    assert {"-".join(pair) for _, pair, _ in found} == pairs
    assert one.languages("align") == {language for pair in pairs for language in pair.split("-")}
    sizes = {"de-en": 40, "en-de": 40, "en-sw": 50, "sw-en": 50, "sw-yo": 20}
    for (_, pair, _), share in found.items():
        assert share == pytest.approx(0.5 * sizes["-".join(pair)] / sum(sizes[p] for p in pairs), abs=0.01)


def test_align_batches_that_cannot_be_made():
    apart = corpus_of((9, ["en"], ["en"], 0), (9, ["de", "en"], ["de"], 0))
    assert refusal(apart, align_share=0.5) == (
        "the training data has no group with passages in two languages, and align_share 0.5 asks for align batches: "
        "set mix.align_share to 0 or add translations"
    )
    assert refusal(WITH_BITEXT, align_share=0.5, teacher_languages=["enn"]) == (
        "train.teacher_languages: the training data has no text in 'enn'; did you mean 'en'?"
    )
    lonely = corpus_of((9, BOTH, ["de"], 0), (9, ["en"], ["en"], 0), (3, [], ["sw", "yo"], 0))
    message = refusal(lonely, align_share=0.5, teacher_languages=["de", "en"])
    assert "with one of them in train.teacher_languages (de, en), and align_share" in message
    assert refusal(lonely, align_share=0.5) == (
        "train.batch_size 4 is larger than the 3 distinct groups of translations: no align batch can be made and "
        "align_share is 0.5; use a batch of at most 3"
    )


def test_small_pairs_are_left_out_of_single_pair_batches_and_named():
    corpus = corpus_of((9, BOTH, BOTH, 0), (2, ["sw"], ["en"], 0))
    one = plan(corpus, cross_batch="single_pair")
    assert one.left_out_pairs == ("sw-en",)
    assert plan(corpus).left_out_pairs == ()


@pytest.mark.parametrize("cross_batch", ["mixed", "single_pair"])
@pytest.mark.parametrize("data_weights", [{}, {"a": 1.0}, {"a": 1.0, "b": 1.0}, {"a": 1.0, "b": 2.5}])
def test_the_table_counts_kinds_pairs_and_data_sets(data_weights, cross_batch):
    one = plan(WITH_BITEXT, align_share=0.3, data_weights=data_weights, cross_batch=cross_batch)
    seen, rows = list(one.batches(0, 41)), one.table(41)
    assert sum(row["pairs"] for row in rows) == 41 * 4
    assert sum(row["pairs"] for row in rows if row["kind"] == "mono") == one.mono_batches(41) * 4
    if len(data_weights) < 2 and cross_batch == "single_pair":
        assert sum(row["batches"] for row in rows if row["kind"] != "align") == 41 - one.align_batches(41)
    assert len({(row["kind"], row["pair"], row.get("data_set"), row["origin"]) for row in rows}) == len(rows)
    for row in rows:
        assert ("data_set" in row) == (len(data_weights) > 1)
        pair = [one.corpus.languages.index(code) for code in row["pair"].split("-")]
        assert row["kind"] == "align" or (pair[0] == pair[1]) == (row["kind"] == "mono")
        sources = {"ab".index(row["data_set"])} if "data_set" in row else {0, 1}
        bitext = (one.corpus.queries < 0).all(axis=1) == (row["origin"] == "bitext")
        visited = [
            (batch.step, group)
            for batch in seen
            for group, columns in zip(batch.groups.tolist(), batch.languages.tolist(), strict=True)
            if batch.kind == row["kind"] and columns == pair and one.corpus.sources[group] in sources and bitext[group]
        ]
        first = one.corpus.passages if row["kind"] == "align" else one.corpus.queries
        there = (
            (first[:, pair[0]] >= 0)
            & (one.corpus.passages[:, pair[1]] >= 0)
            & np.isin(one.corpus.sources, [*sources])
            & bitext
        )
        assert row["pairs"] == len(visited)
        assert row["groups"] == len({group for _, group in visited})
        assert row["batches"] == len({step for step, _ in visited})
        assert row["epochs"] == round(len(visited) / there.sum(), 3)


def test_the_table_of_a_long_training_counts_its_first_steps_and_says_so():
    one, steps = plan(WITH_BITEXT, align_share=0.3, mixing_ratio=0.8), 10**7
    long = describe(one, steps, most_pairs=400)
    assert (long["steps"], long["table_steps"], long["table"]) == (steps, 4, one.table(4))
    assert (long["requested_ratio"], long["realised_ratio"]) == (one.requested_ratio(steps), one.realised_ratio(steps))
    assert describe(one, 4, most_pairs=400) == describe(one, 4)


def test_the_written_plan_is_the_described_one(tmp_path):
    one = plan(WITH_BITEXT, align_share=0.3, data_weights={"a": 1.0, "b": 2.0}, mixing_ratio=0.8)
    write_plan(one, 50, tmp_path)
    written = json.loads((tmp_path / "plan.json").read_text(encoding="utf-8"))
    assert written == describe(one, 50)
    assert (written["requested_ratio"], written["requested_align_share"], written["steps"]) == (0.8, 0.3, 50)
    assert written["realised_ratio"] == one.realised_ratio(50)
    assert written["realised_align_share"] == one.align_batches(50) / 50
    pairs = distinct_pairs(written["table"])
    assert pairs["de-en"] == sum(
        row["groups"] for row in written["table"] if row["pair"] == "de-en" and row["kind"] == "cross"
    )
    assert "sw-yo" not in pairs


def test_a_plan_holds_nothing_per_group():
    """It travels to every worker; what it needs of the groups it finds in the corpus."""
    sizes = []
    for count in (100, 5000):
        one = plan(corpus_of((count, BOTH, BOTH, 0)), align_share=0.5)
        one.corpus = None
        sizes.append(len(pickle.dumps(one)))
    assert sizes[0] == sizes[1]
