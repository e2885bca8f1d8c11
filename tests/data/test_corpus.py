import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybridtune.data.corpus import survey
from hybridtune.data.formats import Group
from hybridtune.errors import InputError


def group(name, queries, passages):
    return Group(name, "", queries, passages)


TEXTS = st.dictionaries(st.sampled_from(["de", "en", "sw"]), st.sampled_from("abcdef"), max_size=3)
GROUPS = st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=8).map(
    lambda rows: [group(str(i), *texts) for i, texts in enumerate(rows)]
)


def test_texts_are_numbered_in_the_order_they_are_first_seen():
    seen = []
    corpus = survey(
        [
            group("1", {"sw": "q1", "en": "q2"}, {"en": "p1"}),
            group("2", {"en": "p1"}, {"en": "p2", "de": "p1"}),  # p1 is a query here: another text than the passage
            group("3", {"sw": "q1"}, {"sw": "p2"}),
        ],
        {},
        lambda is_query, text: seen.append((is_query, text)),
    )
    assert seen == [(True, "q2"), (False, "p1"), (True, "q1"), (True, "p1"), (False, "p2")]
    assert corpus.languages == ("de", "en", "sw")
    assert corpus.queries.tolist() == [[-1, 0, 2], [-1, 3, -1], [-1, -1, 2]]
    assert corpus.passages.tolist() == [[-1, 1, -1], [1, 4, -1], [-1, -1, 4]]


@settings(max_examples=60)
@given(GROUPS)
def test_every_number_leads_back_to_its_text(groups):
    seen = []
    if not any(one.queries or one.passages for one in groups):
        return
    corpus = survey(groups, {}, lambda is_query, text: seen.append((is_query, text)))
    assert len(set(seen)) == len(seen)
    for row, one in enumerate(groups):
        for is_query, table, texts in ((True, corpus.queries, one.queries), (False, corpus.passages, one.passages)):
            found = {x: seen[n] for x, n in zip(corpus.languages, table[row], strict=True) if n >= 0}
            assert found == {language: (is_query, text) for language, text in texts.items()}


@settings(max_examples=60)
@given(GROUPS)
def test_clusters_are_what_shared_passage_texts_connect(groups):
    if not any(one.queries or one.passages for one in groups):
        return
    reach = np.array([[bool({*a.passages.values()} & {*b.passages.values()}) for b in groups] for a in groups])
    reach |= np.eye(len(groups), dtype=bool)
    for _ in groups:  # the transitive closure, by squaring
        reach = reach @ reach
    clusters = survey(groups, {}).clusters
    assert (clusters[:, None] == clusters[None, :]).tolist() == reach.tolist()


def test_clusters_join_across_languages_and_through_a_chain():
    corpus = survey(
        [
            group("1", {}, {"en": "a"}),
            group("2", {}, {"en": "b"}),
            group("3", {"en": "a"}, {"en": "c"}),  # a query text joins nothing
            group("4", {}, {"de": "b", "en": "d"}),
            group("5", {}, {"sw": "d", "de": "a"}),
        ],
        {},
    )
    assert corpus.clusters.tolist() == [0, 0, 2, 0, 0]


@settings(max_examples=60)
@given(GROUPS)
def test_pair_counts_equal_counting_one_by_one(groups):
    if not any(one.queries or one.passages for one in groups):
        return
    corpus = survey(groups, {})
    naive = [
        [sum(x in g.queries and y in g.passages for g in groups) for y in corpus.languages] for x in corpus.languages
    ]
    assert corpus.pair_counts().tolist() == naive


def test_language_limits_keep_the_first_groups():
    groups = [group(str(i), {"en": f"q{i}"}, {"en": f"p{i}", "sw": f"s{i}"}) for i in range(4)]
    groups[0] = group("0", {"en": "q0"}, {"en": "p0"})
    corpus = survey(groups, {"sw": 2})
    assert (corpus.passages[:, 1] >= 0).tolist() == [False, True, True, False]
    assert (corpus.queries[:, 0] >= 0).all()
    assert survey(groups, {"sw": 0}).languages == ("en",)
    assert survey(groups, {"sw": 9, "de": 1}).pair_counts().tolist() == survey(groups, {}).pair_counts().tolist()


def test_a_text_over_the_limit_joins_no_cluster():
    groups = [group("1", {}, {"en": "a"}), group("2", {}, {"en": "b", "sw": "a"})]
    assert survey(groups, {}).clusters.tolist() == [0, 0]
    assert survey(groups, {"sw": 0}).clusters.tolist() == [0, 1]


def test_a_group_may_not_stand_twice():
    with pytest.raises(InputError, match=r"^group_id '1' stands twice: one line holds a whole group$"):
        survey([group("1", {}, {"en": "a"}), group("1", {"en": "q"}, {})], {})


@pytest.mark.parametrize(("groups", "limits"), [([], {}), ([group("1", {"en": "q"}, {"en": "p"})], {"en": 0})])
def test_data_without_any_text(groups, limits):
    with pytest.raises(InputError, match=r"^the training data holds no text"):
        survey(groups, limits)
