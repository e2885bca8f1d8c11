import functools
import itertools
from collections import Counter

import numpy as np
import pytest
from handmade import refusal
from hypothesis import given
from hypothesis import strategies as st

from hybridtune.data.corpus import Corpus
from hybridtune.data.plan import HybridPlan
from hybridtune.data.readers.native import Group
from hybridtune.errors import InputError

RATIOS = (0.0, 0.3, 0.5, 1.0)

plan = functools.partial(HybridPlan, batch_size=4)


def corpus_of(*sizes, shared=0):
    """Languages a, b, ..: mono groups of each, then ``shared`` groups that have them all; no two share a text."""
    languages = [f"{chr(97 + i)}a" for i in range(len(sizes))]
    spoken = [[language] for language, size in zip(languages, sizes, strict=True) for _ in range(size)]
    spoken += [languages] * shared
    return Corpus.from_groups((numbered(i, codes) for i, codes in enumerate(spoken)))


def numbered(name, languages):
    return Group(str(name), "", {x: f"q{name}{x}" for x in languages}, {x: f"p{name}{x}" for x in languages})


@st.composite
def uneven_corpora(draw):
    """Groups with texts missing on either side, some texts shared between groups and languages."""
    codes = st.sets(st.sampled_from(["de", "en", "sw"]))
    groups = []
    for name in range(draw(st.integers(4, 24))):
        passages = {x: draw(st.sampled_from([f"p{name}{x}", f"s{name % 5}"])) for x in sorted(draw(codes))}
        queries = {
            x: draw(st.sampled_from([f"q{name}{x}", f"s{name % 4}", f" s{name % 4}"])) for x in sorted(draw(codes))
        }
        groups.append(Group(str(name), "", queries, passages))
    return Corpus.from_groups([*groups, numbered("last", ["de"])])


def batches(one, start=0, stop=30):
    return [(b.step, b.kind, b.groups.tolist(), b.languages.tolist()) for b in one.batches(start, stop)]


def check_batch(corpus, batch, size, single_pair):
    """All that a batch promises."""
    assert len(batch.groups) == len(batch.languages) == size
    x, y = batch.languages.T
    if batch.kind == "mono":
        assert len({*x.tolist(), *y.tolist()}) == 1
    else:
        assert (x != y).all()
        assert not single_pair or len({tuple(pair) for pair in batch.languages.tolist()}) == 1
    texts = corpus.passages[batch.groups, y]
    assert (corpus.queries[batch.groups, x] >= 0).all()
    assert (texts >= 0).all()
    assert len(set(texts.tolist())) == size
    assert len(set(corpus.answer_sets[batch.groups].tolist())) == size
    for side in (corpus.queries, corpus.passages):  # in no language has a group a text that another of the batch has
        held = [number for group in batch.groups for number in {*side[group].tolist()} - {-1}]
        assert len(set(held)) == len(held)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("ratio", RATIOS)
def test_the_ratio_is_realised_within_one_batch_over_every_window(ratio, seed):
    one = plan(corpus_of(4, 4, shared=4), mixing_ratio=ratio, seed=seed)
    mono = [one.kind(step) == "mono" for step in range(120)]
    counts = np.concatenate([[0], np.cumsum(mono)])
    assert [one.mono_batches(steps) for steps in range(121)] == counts.tolist()
    for start, stop in itertools.combinations(range(121), 2):
        assert abs(counts[stop] - counts[start] - ratio * (stop - start)) < 1 + 1e-9
    if ratio in (0.0, 1.0):
        assert mono == [bool(ratio)] * 120


CORPUS = corpus_of(6, 9, 4, shared=5)


@pytest.mark.parametrize("cross_batch", ["mixed", "single_pair"])
@pytest.mark.parametrize("ratio", RATIOS)
def test_batches_keep_their_promises(ratio, cross_batch):
    for exponent, seed in itertools.product((0.0, 0.5, 1.0), range(3)):
        one = plan(CORPUS, mixing_ratio=ratio, sampling_exponent=exponent, seed=seed, cross_batch=cross_batch)
        for step, batch in enumerate(one.batches(0, 40)):
            assert (batch.step, batch.kind) == (step, one.kind(step))
            check_batch(CORPUS, batch, 4, cross_batch == "single_pair")


@given(
    corpus=uneven_corpora(),
    ratio=st.sampled_from(RATIOS),
    exponent=st.floats(0, 1),
    size=st.integers(1, 6),
    cross_batch=st.sampled_from(["mixed", "single_pair"]),
    seed=st.integers(0, 99),
)
def test_batches_of_any_corpus_keep_their_promises_or_are_refused(corpus, ratio, exponent, size, cross_batch, seed):
    options = {"mixing_ratio": ratio, "sampling_exponent": exponent, "seed": seed, "cross_batch": cross_batch}
    try:
        one = plan(corpus, batch_size=size, **options)
    except InputError:
        assert not possible(corpus, ratio, size, cross_batch)
        return
    assert possible(corpus, ratio, size, cross_batch)
    for batch in one.batches(0, 25):
        check_batch(corpus, batch, size, cross_batch == "single_pair")


def possible(corpus, ratio, size, cross_batch):
    """Whether every kind asked for has ``size`` answer sets to draw from, by looking at all groups and pairs."""
    answer_sets = {}
    for group, answer_set in enumerate(corpus.answer_sets.tolist()):
        for x, y in np.ndindex(len(corpus.languages), len(corpus.languages)):
            if corpus.queries[group, x] >= 0 and corpus.passages[group, y] >= 0:
                answer_sets.setdefault((x, y), set()).add(answer_set)
    mono = [found for (x, y), found in answer_sets.items() if x == y]
    cross = [found for (x, y), found in answer_sets.items() if x != y]
    cross = [set().union(*cross)] if cross_batch == "mixed" else cross
    return all(
        not asked or any(len(found) >= size for found in sets)
        for asked, sets in ((ratio > 0, mono), (ratio < 1, cross))
    )


def test_a_large_answer_set_does_not_starve_the_others():
    """Every batch needs both small answer sets again, long before the large one has been gone through."""
    groups = [Group(str(i), "", {"en": f"q{i}"}, {"en": "same" if i < 5 else f"p{i}"}) for i in range(7)]
    corpus = Corpus.from_groups(groups)
    seen = Counter()
    for batch in plan(corpus, mixing_ratio=1.0, batch_size=3).batches(0, 50):
        check_batch(corpus, batch, 3, False)
        seen.update(batch.groups.tolist())
    assert [seen[group] for group in range(7)] == [10] * 5 + [50] * 2


@pytest.mark.parametrize(("groups", "size"), [(12, 4), (13, 5), (7, 7), (9, 2)])
def test_no_group_repeats_before_all_were_visited(groups, size):
    one = plan(corpus_of(groups), mixing_ratio=1.0, batch_size=size)
    visits = [group for batch in one.batches(0, 40) for group in batch.groups.tolist()]
    counts = dict.fromkeys(range(groups), 0)
    for visit in visits:
        counts[visit] += 1
        assert max(counts.values()) - min(counts.values()) <= 1


def test_epochs_of_whole_batches_are_permutations_that_differ():
    one = plan(corpus_of(12), mixing_ratio=1.0)
    visits = [group for batch in one.batches(0, 30) for group in batch.groups.tolist()]
    epochs = [visits[i : i + 12] for i in range(0, len(visits), 12)]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == len(epochs)


@pytest.mark.parametrize("cross_batch", ["mixed", "single_pair"])
def test_one_seed_gives_one_plan(cross_batch):
    options = {"cross_batch": cross_batch}
    assert batches(plan(CORPUS, **options)) == batches(plan(CORPUS, **options))
    assert batches(plan(CORPUS, **options)) != batches(plan(CORPUS, **options, seed=1))


@pytest.mark.parametrize("cross_batch", ["mixed", "single_pair"])
@pytest.mark.parametrize("ratio", RATIOS)
def test_any_start_gives_the_tail_of_the_whole(ratio, cross_batch):
    one = plan(CORPUS, mixing_ratio=ratio, cross_batch=cross_batch)
    whole = batches(one)
    for start in range(31):
        assert batches(one, start) == whole[start:]


def shares(exponent, kind):
    one = plan(corpus_of(40, 10, shared=10), mixing_ratio=float(kind == "mono"), sampling_exponent=exponent)
    rows = [tuple(pair) for batch in one.batches(0, 400) for pair in batch.languages.tolist()]
    return {pair: count / len(rows) for pair, count in Counter(rows).items()}


def test_the_sampling_exponent_sets_the_shares_of_languages():
    assert shares(0.0, "mono") == pytest.approx({(0, 0): 1 / 2, (1, 1): 1 / 2}, abs=0.01)
    assert shares(1.0, "mono") == pytest.approx({(0, 0): 50 / 70, (1, 1): 20 / 70}, abs=0.01)
    assert shares(0.5, "mono")[0, 0] == pytest.approx(50**0.5 / (50**0.5 + 20**0.5), abs=0.01)


def test_the_sampling_exponent_sets_the_shares_of_cross_pairs():
    spoken = [(["aa"], ["ba"])] * 30 + [(["ba"], ["aa"])] * 10
    groups = [
        Group(str(i), "", dict.fromkeys(xs, f"q{i}"), dict.fromkeys(ys, f"p{i}")) for i, (xs, ys) in enumerate(spoken)
    ]
    corpus = Corpus.from_groups(groups)
    for exponent, first in ((0.0, 1 / 2), (1.0, 3 / 4)):
        one = plan(corpus, mixing_ratio=0.0, sampling_exponent=exponent)
        rows = [tuple(pair) for batch in one.batches(0, 400) for pair in batch.languages.tolist()]
        assert rows.count((0, 1)) / len(rows) == pytest.approx(first, abs=0.01)


def test_a_small_language_is_left_out_of_mono_and_named():
    one = plan(corpus_of(8, 2, shared=1), mixing_ratio=1.0)
    assert one.left_out == ("ba",)
    assert all((batch.languages == 0).all() for batch in one.batches(0, 20))
    large = plan(corpus_of(8, 3, shared=1), mixing_ratio=1.0)
    assert large.left_out == ()
    assert {batch.languages[0, 0] for batch in large.batches(0, 20)} == {0, 1}


def test_a_language_whose_groups_share_one_text_is_small():
    groups = [numbered(i, ["en"]) for i in range(4)]
    groups += [Group(f"s{i}", "", {"sw": f"q{i}"}, {"sw": "the same"}) for i in range(9)]
    assert plan(Corpus.from_groups(groups), mixing_ratio=1.0).left_out == ("sw",)


def test_a_batch_larger_than_every_language():
    assert refusal(corpus_of(3, 2, shared=2), batch_size=6) == (
        "train.batch_size 6 is larger than the 5 distinct groups in the largest language: no mono batch can be made "
        "and mixing_ratio is 0.5; use a batch of at most 2"
    )
    assert plan(corpus_of(3, 2, shared=2), batch_size=2).batch_size == 2
    assert refusal(corpus_of(3, 2, shared=2), batch_size=6, mixing_ratio=1.0).endswith("use a batch of at most 5")


def test_a_batch_larger_than_the_cross_groups():
    corpus = corpus_of(9, 9, shared=3)
    assert refusal(corpus) == (
        "train.batch_size 4 is larger than the 3 distinct cross groups: no cross batch can be made and mixing_ratio "
        "is 0.5; use a batch of at most 3"
    )
    assert "larger than the 3 distinct groups in the largest language pair" in refusal(
        corpus, cross_batch="single_pair"
    )
    assert plan(corpus, mixing_ratio=1.0).batch_size == 4
    assert plan(corpus, batch_size=3).batch_size == 3


def test_no_cross_pair_while_cross_batches_are_asked_for():
    corpus = corpus_of(9, 9)
    assert refusal(corpus, mixing_ratio=0.9) == (
        "the training data has no cross pair, and mixing_ratio 0.9 asks for cross batches: set mix.mixing_ratio to 1 "
        "or add such pairs"
    )
    assert {batch.kind for batch in plan(corpus, mixing_ratio=1.0).batches(0, 9)} == {"mono"}


def test_no_mono_pair_while_mono_batches_are_asked_for():
    groups = [Group(str(i), "", {"en": f"q{i}"}, {"de": f"p{i}"}) for i in range(9)]
    corpus = Corpus.from_groups(groups)
    assert refusal(corpus, mixing_ratio=0.1) == (
        "the training data has no mono pair, and mixing_ratio 0.1 asks for mono batches: set mix.mixing_ratio to 0 "
        "or add such pairs"
    )
    assert {batch.kind for batch in plan(corpus, mixing_ratio=0.0).batches(0, 9)} == {"cross"}


def test_a_language_of_queries_alone_gives_no_mono_batch():
    groups = [Group(str(i), "", {"en": f"q{i}", "sw": f"s{i}"}, {"en": f"p{i}"}) for i in range(9)]
    one = plan(Corpus.from_groups(groups))
    pairs = {(b.kind, *pair) for b in one.batches(0, 20) for pair in map(tuple, b.languages.tolist())}
    assert pairs == {("mono", 0, 0), ("cross", 1, 0)}
    assert one.left_out == ()
