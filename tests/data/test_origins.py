"""Native, translated and bitext pairs, and pairs held out: what is drawn of them, and what the table of a plan says."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
from handmade import BOTH, PARALLEL, WITH_BITEXT, by_pair, corpus_of, plan, refusal, shares
from hypothesis import given
from hypothesis import strategies as st

from hybridtune.config.names import ORIGINS
from hybridtune.data.corpus import Corpus


def rows(count, first, queries, passages, **more):
    """Rows of the native format, no two of one text."""
    return [
        {
            "group_id": f"{first}{n}",
            "queries": {language: f"query {first} {n} {language}" for language in queries},
            "passages": {language: f"passage {first} {n} {language}" for language in passages},
            **more,
        }
        for n in range(count)
    ]


TRANSLATED = {"translated": {"queries": {"sw": "en"}, "passages": {"sw": "en"}}}
MADE = Corpus.from_groups(
    [
        *rows(30, "a", ["en", "sw"], ["en", "sw"]),
        *rows(20, "b", ["en", "sw"], ["en", "sw"], **TRANSLATED),
        *rows(10, "c", ["en"], ["en", "sw"], translated={"passages": {"sw": "en"}}),
        *rows(12, "d", [], ["en", "sw"]),
        *rows(5, "e", [], ["en", "sw"], translated={"passages": {"sw": "en"}}),
    ]
)
EN, SW = 0, 1


def origins_drawn(one, steps=300):
    """Rows by (kind, pair of codes, origin)."""
    found = Counter()
    for batch in one.batches(0, steps):
        origins = one.corpus.origins(batch.groups, batch.languages, aligned=batch.kind == "align")
        for pair, origin in zip(batch.languages.tolist(), origins.tolist(), strict=True):
            found[batch.kind, "-".join(one.corpus.languages[x] for x in pair), ORIGINS[origin]] += 1
    return found


def test_a_pair_is_translated_where_its_query_or_passage_is():
    assert MADE.languages == ("en", "sw")
    assert MADE.pair_counts().tolist() == [[60, 60], [50, 50]]
    assert MADE.pair_counts(native=True).tolist() == [[60, 30], [30, 30]]
    assert int(MADE.bitext().sum()) == 17
    columns = np.array([EN, SW])
    groups = np.arange(77, dtype=np.int32)
    aligned = [ORIGINS[n] for n in MADE.origins(groups, columns, aligned=True).tolist()]
    assert Counter(aligned) == {"native": 30, "translated": 35, "bitext": 12}
    assert aligned[30] == aligned[72] == "translated"  # also where there is no query
    asked = MADE.origins(groups[:60], np.array([EN, EN]), aligned=False)
    assert not asked.any()


def test_a_language_over_its_limit_has_no_translated_text():
    limited = Corpus.from_groups(rows(9, "a", ["en", "sw"], ["en", "sw"], **TRANSLATED), {"sw": 4})
    assert limited.translated_queries.sum(axis=0).tolist() == [0, 4]
    assert limited.translated_passages.sum(axis=0).tolist() == [0, 4]


def test_what_is_saved_is_what_is_opened(tmp_path):
    MADE.save(tmp_path)
    opened = Corpus.open(tmp_path)
    assert (opened.translated_queries == MADE.translated_queries).all()
    assert (opened.translated_passages == MADE.translated_passages).all()


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0, 3.0])
def test_a_translated_pair_counts_as_if_it_stood_there_so_many_times(weight):
    found = origins_drawn(plan(MADE, translated_weight=weight, mixing_ratio=0.0), 600)
    native, translated = {"en-sw": 30, "sw-en": 30}, {"en-sw": 30, "sw-en": 20}
    total = sum(native.values()) + weight * sum(translated.values())
    for pair in native:
        assert found["cross", pair, "native"] / 2400 == pytest.approx(native[pair] / total, abs=0.01)
        assert found["cross", pair, "translated"] / 2400 == pytest.approx(weight * translated[pair] / total, abs=0.01)
    assert weight or not any(origin == "translated" for _, _, origin in found)


@pytest.mark.parametrize("weight", [0.0, 0.5, 4.0])
def test_bitext_has_a_weight_among_align_batches_alone(weight):
    one = plan(MADE, bitext_weight=weight, align_share=0.5)
    found, plain = origins_drawn(one), origins_drawn(plan(MADE, align_share=0.5))
    aligned = {origin: found["align", "en-sw", origin] for origin in ORIGINS}
    sizes = {"native": 30, "translated": 35, "bitext": 12 * weight}
    for origin, size in sizes.items():
        assert aligned[origin] / sum(aligned.values()) == pytest.approx(size / sum(sizes.values()), abs=0.01)
    others = [{key: n for key, n in drawn.items() if key[0] != "align"} for drawn in (found, plain)]
    assert others[0] == others[1]


@given(
    weight=st.sampled_from([0.0, 0.3, 2.0]),
    bitext=st.sampled_from([0.0, 0.5, 1.0]),
    size=st.integers(1, 30),
    seed=st.integers(0, 99),
    cross_batch=st.sampled_from(["mixed", "single_pair"]),
)
def test_weights_of_origins_keep_the_promises_of_batches(weight, bitext, size, seed, cross_batch):
    options = {"translated_weight": weight, "bitext_weight": bitext, "align_share": 0.3, "cross_batch": cross_batch}
    one = plan(MADE, batch_size=size, seed=seed, **options)
    whole = list(one.batches(0, 20))
    for batch in whole:
        first = MADE.passages if batch.kind == "align" else MADE.queries
        assert (first[batch.groups, batch.languages[:, 0]] >= 0).all()
        assert (MADE.passages[batch.groups, batch.languages[:, 1]] >= 0).all()
        assert len(set(batch.groups.tolist())) == size
        drawn = set(MADE.origins(batch.groups, batch.languages, aligned=batch.kind == "align").tolist())
        assert weight or ORIGINS.index("translated") not in drawn
        assert bitext or ORIGINS.index("bitext") not in drawn
    for one_batch, other in zip(one.batches(7, 20), whole[7:], strict=True):
        assert (one_batch.groups == other.groups).all()
    assert abs(sum(batch.kind == "align" for batch in whole) - 6) < 1


def test_batches_are_the_same_whatever_origins_weigh_where_all_is_native():
    for corpus in (PARALLEL, corpus_of((40, BOTH, BOTH, 0))):
        plain, weighted = (plan(corpus, seed=3, align_share=0.3, translated_weight=w) for w in (1.0, 7.0))
        for one, other in zip(plain.batches(0, 60), weighted.batches(0, 60), strict=True):
            assert (one.groups == other.groups).all()
            assert (one.languages == other.languages).all()


def test_the_table_tells_origins_apart_where_there_are_any():
    one = plan(MADE, align_share=0.3, translated_weight=0.5)
    drawn, table = origins_drawn(one, 50), one.table(50)
    assert {(row["kind"], row["pair"], row["origin"]): row["pairs"] for row in table} == drawn
    for row in table:
        assert row["groups"] <= row["pairs"]
    assert all("origin" not in row for row in plan(PARALLEL, align_share=0.3).table(20))
    assert all("origin" not in row for row in plan(WITH_BITEXT).table(20))  # no batch draws from the bitext
    assert {row["origin"] for row in plan(WITH_BITEXT, align_share=0.3).table(20)} == {"native", "bitext"}


def test_origins_and_data_sets_are_parts_of_one_pair():
    groups = [*rows(10, "a", ["en", "sw"], ["en", "sw"]), *rows(10, "b", ["en", "sw"], ["en", "sw"], **TRANSLATED)]
    corpus = Corpus.from_groups(groups)
    corpus = dataclasses.replace(corpus, sources=np.arange(20, dtype=np.int32) % 2)
    one = plan(corpus, mixing_ratio=0.0, data_weights={"news": 1.0, "faq": 3.0}, translated_weight=0.5)
    table = one.table(400)
    total = sum(row["pairs"] for row in table)
    shares = {(row["data_set"], row["origin"]): 0.0 for row in table}
    for row in table:
        shares[row["data_set"], row["origin"]] += row["pairs"] / total
    assert shares == pytest.approx(
        {
            ("news", "native"): 1 / 6,
            ("news", "translated"): 0.5 / 6,
            ("faq", "native"): 3 / 6,
            ("faq", "translated"): 1.5 / 6,
        },
        abs=0.01,
    )


@given(
    held=st.sets(st.sampled_from(["de", "en", "de-en", "en-de"]), max_size=3),
    cross_batch=st.sampled_from(["mixed", "single_pair"]),
    seed=st.integers(0, 99),
)
def test_a_weight_of_0_is_never_drawn(held, cross_batch, seed):
    options = {"weights": dict.fromkeys(held, 0.0), "cross_batch": cross_batch, "seed": seed}
    names = {name if "-" in name else f"{name}-{name}" for name in held}
    if {"de-en", "en-de"} <= names or {"de-de", "en-en"} <= names:
        assert "hold out, and mixing_ratio 0.5 asks for" in refusal(PARALLEL, **options)
        return
    one = plan(PARALLEL, **options)
    assert set(by_pair(shares(one, 40))) == {"de-de", "en-en", "de-en", "en-de"} - names
    assert set(one.held_out_pairs) == names
    assert one.idle_weights == ()


@pytest.mark.parametrize("cross_batch", ["mixed", "single_pair"])
@pytest.mark.parametrize("teacher_languages", [(), ("en",), ("de",)])
def test_an_unseen_pair_is_in_no_kind_of_batch_in_no_direction(cross_batch, teacher_languages):
    three = ["de", "en", "fr"]
    corpus = corpus_of((40, three, three, 0))
    options = {"cross_batch": cross_batch, "align_share": 0.4, "teacher_languages": teacher_languages}
    found = by_pair(shares(plan(corpus, unseen_pairs=["de-en"], **options)))
    assert not {"de-en", "en-de"} & set(found)
    assert {"de-de", "en-en", "fr-fr", "de-fr", "fr-de", "en-fr", "fr-en"} <= set(found)
    assert by_pair(shares(plan(corpus, **options))).keys() > found.keys()
    assert set(plan(corpus, unseen_pairs=["en-de"], **options).held_out_pairs) == {"de-en", "en-de"}


def test_data_sets_of_weight_0_are_never_drawn():
    corpus = corpus_of((30, BOTH, BOTH, 0), (30, BOTH, BOTH, 1), (30, ["fr"], ["fr"], 1))
    found = shares(plan(corpus, data_weights={"a": 1.0, "b": 0.0}))
    assert {data_set for _, _, data_set in found} == {0}
    assert plan(corpus, data_weights={"a": 1.0, "b": 0.0}).held_out_pairs == ("fr-fr",)


def test_what_cannot_be_held_out():
    assert refusal(PARALLEL, unseen_pairs=["de-de"]) == (
        "data.unseen_pairs: de-de is one language; name two, like en-de (data.language_limits: {de: 0} leaves a "
        "language out of the training)"
    )
    assert refusal(PARALLEL, unseen_pairs=["de-enn"]) == (
        "data.unseen_pairs: the training data has no language or language pair 'de-enn'; did you mean 'de-en'?"
    )
    assert refusal(PARALLEL, unseen_pairs=["de-en"]) == (
        "the training data has no cross pair but for those that weights of 0 or data.unseen_pairs hold out, and "
        "mixing_ratio 0.5 asks for cross batches: set mix.mixing_ratio to 1 or add such pairs"
    )
    assert refusal(PARALLEL, data_weights={"a": 0.0, "b": 0.0}).startswith(
        "the training data has no mono pair but for those that weights of 0 or data.unseen_pairs hold out, and"
    )
    assert refusal(WITH_BITEXT, align_share=0.5, unseen_pairs=["en-de", "sw-en", "sw-yo"], mixing_ratio=1.0) == (
        "the training data has no group with passages in two languages but for those that weights of 0 or "
        "data.unseen_pairs hold out, and align_share 0.5 asks for align batches: set mix.align_share to 0 or add "
        "translations"
    )


def test_weights_of_0_without_a_pair_change_nothing_and_are_named():
    corpus = corpus_of((9, BOTH, BOTH, 0), (9, ["fr"], ["fr"], 0))
    assert plan(corpus, weights={"fr-de": 0.0, "de-en": 0.0, "fr": 2.0}).idle_weights == ("fr-de",)
