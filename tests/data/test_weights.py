from collections import Counter

import numpy as np
import pytest
from handmade import BOTH, PARALLEL, by_pair, corpus_of, plan, shares

from hybridtune.errors import InputError


@pytest.mark.parametrize("weight", [0.5, 1.0, 4.0])
def test_a_data_set_counts_as_if_it_stood_there_so_many_times(weight):
    corpus = corpus_of((30, BOTH, BOTH, 0), (20, ["de"], ["de"], 1), (10, BOTH, ["en"], 1))
    found = shares(plan(corpus, data_weights={"a": 1.0, "b": weight}))
    mono = {key: share for key, share in found.items() if key[0] == "mono"}
    sizes = {("de", 0): 30, ("de", 1): weight * 20, ("en", 0): 30, ("en", 1): weight * 10}
    for (_, (language, _), data_set), share in mono.items():
        assert share == pytest.approx(0.5 * sizes[language, data_set] / sum(sizes.values()), abs=0.01)
    cross = {("de", "en", 0): 30, ("en", "de", 0): 30, ("de", "en", 1): weight * 10}
    for (kind, pair, data_set), share in found.items():
        if kind == "cross":
            assert share == pytest.approx(0.5 * cross[(*pair, data_set)] / sum(cross.values()), abs=0.01)


def test_the_data_sets_of_a_pair_are_drawn_evenly_and_each_in_fresh_permutations():
    one = plan(
        corpus_of((12, ["en"], ["en"], 0), (7, ["en"], ["en"], 1)), mixing_ratio=1.0, data_weights={"a": 1.0, "b": 3.0}
    )
    groups = np.concatenate([batch.groups for batch in one.batches(0, 300)])
    second = one.corpus.sources[groups] == 1
    drawn = np.cumsum(second)
    assert np.abs(drawn - np.arange(1, len(drawn) + 1) * 21 / 33).max() < 3
    for data_set, size in ((0, 12), (1, 7)):
        visits = groups[second == data_set].tolist()
        counts = Counter(dict.fromkeys(visits, 0))
        for group in visits:
            counts[group] += 1
            assert max(counts.values()) - min(counts.values()) <= 1
        assert len(counts) == size
        assert visits[:size] != visits[size : 2 * size]


def test_a_data_set_that_runs_out_within_a_batch_is_stood_in_for_by_its_own_pair():
    corpus = corpus_of((2, ["en"], ["en"], 0), (9, ["en"], ["en"], 1), (9, ["de"], ["de"], 0))
    one = plan(corpus, mixing_ratio=1.0, batch_size=8, data_weights={"a": 1000.0, "b": 1.0})
    assert one.left_out == ()
    for batch in one.batches(0, 30):
        assert len(set(batch.languages.ravel().tolist())) == 1
        assert len(set(batch.groups.tolist())) == 8


def test_weights_of_languages_and_ordered_pairs_are_factors():
    found = by_pair(shares(plan(PARALLEL, weights={"de": 3.0, "en-de": 0.25})))
    assert found == pytest.approx({"de-de": 3 / 8, "en-en": 1 / 8, "de-en": 4 / 10, "en-de": 1 / 10}, abs=0.01)


def test_names_of_weights_are_read_against_the_languages_of_the_data():
    corpus = corpus_of((9, ["zh-Hant", "en", "zh"], ["zh-Hant", "en", "zh"], 0))
    weights = {"zh-Hant": 2.0, "zh-Hant-en": 3.0, "zh-zh-Hant": 5.0, "en-en": 7.0}
    found = by_pair(shares(plan(corpus, weights=weights), 2000))
    assert found["zh-Hant-zh-Hant"] == pytest.approx(0.5 * 2 / 10, abs=0.01)
    assert found["en-en"] == pytest.approx(0.5 * 7 / 10, abs=0.01)
    assert found["zh-Hant-en"] == pytest.approx(0.5 * 3 / 12, abs=0.01)
    assert found["zh-zh-Hant"] == pytest.approx(0.5 * 5 / 12, abs=0.01)


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        ({"dd": 2.0}, "mix.weights: the training data has no language or language pair 'dd'; did you mean 'de'?"),
        (
            {"en-dd": 2.0},
            "mix.weights: the training data has no language or language pair 'en-dd'; did you mean 'en-de'?",
        ),
        ({"fr": 2.0}, "mix.weights: the training data has no language or language pair 'fr'; known here: de, en"),
        ({"de": 2.0, "de-de": 3.0}, "mix.weights: de-de is given twice; name one language or pair once"),
    ],
)
def test_names_of_weights_that_mean_nothing(weights, told):
    with pytest.raises(InputError) as caught:
        plan(PARALLEL, weights=weights)
    assert str(caught.value) == told


def test_weights_that_are_never_drawn_from_are_named():
    corpus = corpus_of((9, ["en"], ["en"], 0), (9, ["en"], ["de"], 0), (2, ["de"], ["de"], 0))
    one = plan(corpus, weights={"de": 2.0, "en-de": 3.0, "de-en": 4.0})
    assert one.idle_weights == ("de", "de-en")
