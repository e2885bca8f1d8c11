from collections import defaultdict
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridtune.errors import InputError
from hybridtune.metrics import negatives
from hybridtune.metrics.negatives import Passages, Retrieved, choose_negatives

# Passage i is of group i, but d of group 0 (its other language) and f of group 1; groups 4 and 0 are one answer set.
IDS = ["a", "b", "c", "g", "e", "d", "f"]
PASSAGES = Passages(
    ids=IDS,
    group=np.array([0, 1, 2, 3, 4, 0, 1]),
    text=np.array([0, 1, 2, 3, 4, 5, 6]),
    answer_set=np.array([0, 1, 2, 3, 0]),
)


def retrieved(*lists, group=0, positive=1.0):
    """Lists of (id, score) of one group's queries."""
    width = max(map(len, lists))
    passages, scores = np.full((len(lists), width), -1), np.full((len(lists), width), -np.inf, np.float32)
    for row, entries in enumerate(lists):
        for rank, (name, score) in enumerate(entries):
            passages[row, rank], scores[row, rank] = IDS.index(name), score
    positives = np.broadcast_to(np.array(positive, np.float32), len(lists))
    return Retrieved(np.full(len(lists), group), positives, passages, scores)


def chosen(lists, group=0, **settings):
    mined = choose_negatives(PASSAGES, {"en": lists}, **{"n": 9, "margin": 0.9} | settings)
    assert all(not names for other, names in enumerate(mined.negatives) if other != group)
    return mined.negatives[group].get("en"), asdict(mined.counts["en"])


def counts(**given):
    rules = dict.fromkeys(("same_group", "same_answers", "in_skip", "too_close"), 0)
    return {"groups": 1, "short": 1} | rules | given


def test_passages_of_the_group_are_skipped():
    lists = retrieved([("a", 0.8), ("b", 0.7), ("d", 0.6), ("c", 0.5)])
    assert chosen(lists) == (["b", "c"], counts(candidates=4, same_group=2, chosen=2))


def test_passages_of_a_group_that_shares_a_text_are_skipped():
    assert chosen(retrieved([("e", 0.8), ("b", 0.7)])) == (["b"], counts(candidates=2, same_answers=1, chosen=1))
    one_answer_set = retrieved([("a", 0.8), ("d", 0.7), ("b", 0.6)], group=4)
    assert chosen(one_answer_set, group=4) == (["b"], counts(candidates=3, same_answers=2, chosen=1))


def test_candidates_near_the_positive_are_skipped():
    lists = retrieved([("b", 0.75), ("c", 0.5), ("g", 0.25)], positive=1.0)
    assert chosen(lists, margin=0.5) == (["c", "g"], counts(candidates=3, too_close=1, chosen=2))  # at it: kept
    assert chosen(lists, margin=0.75)[0] == ["b", "c", "g"]
    beyond = retrieved([("b", 1.25), ("c", 1.0)])
    assert chosen(beyond, margin=1.0) == (["c"], counts(candidates=2, too_close=1, chosen=1))


def test_the_first_ranks_are_skipped():
    lists = retrieved([("a", 0.8), ("b", 0.7), ("c", 0.6)])
    expected = counts(candidates=3, same_group=1, in_skip=1, chosen=1)
    assert chosen(lists, skip=2) == (["c"], expected)


def test_a_candidate_must_pass_for_every_query_that_retrieves_it():
    lists = retrieved([("b", 0.8), ("c", 0.4)], [("g", 0.45), ("b", 0.44), ("c", 0.42)], positive=[0.8, 0.5])
    # b: too close for the first query only. g, c: the highest score decides the order.
    assert chosen(lists) == (["g", "c"], counts(candidates=3, too_close=1, chosen=2))
    # g is first in the second list and so in the skip, as b is in the first.
    assert chosen(lists, skip=1) == (["c"], counts(candidates=3, in_skip=2, chosen=1))


def test_the_hardest_n_are_chosen_and_ties_go_to_the_greater_id():
    lists = retrieved([("f", 0.5), ("b", 0.5), ("g", 0.5), ("c", 0.6)])
    assert chosen(lists, n=3) == (["c", "g", "f"], counts(candidates=4, chosen=3, short=0))
    assert chosen(lists, n=4)[1]["short"] == 0
    assert chosen(lists, n=5)[1]["short"] == 1


def test_one_text_is_chosen_once():
    lists = retrieved([("b", 0.5), ("c", 0.6), ("g", 0.4)])
    twice = Passages(IDS, PASSAGES.group, np.array([0, 1, 1, 3, 4, 5, 6]), np.array([0, 1, 1, 3, 0]))
    mined = choose_negatives(twice, {"en": lists}, 2)
    assert mined.negatives[0] == {"en": ["c", "g"]}


def test_a_group_without_a_passage_in_the_language_gets_none():
    assert chosen(retrieved([("b", 0.5)], positive=np.nan)) == (None, counts(groups=0, short=0, candidates=0, chosen=0))
    one_of_two = retrieved([("b", 0.5)], [("c", 0.4)], positive=[np.nan, 1])
    assert chosen(one_of_two)[0] == ["c"]


def test_languages_are_chosen_apart():
    mined = choose_negatives(PASSAGES, {"en": retrieved([("b", 0.5)]), "de": retrieved([("c", 0.4), ("f", 0.3)])}, 1)
    assert mined.negatives[0] == {"de": ["c"], "en": ["b"]}
    assert [mined.counts[language].chosen for language in ("de", "en")] == [1, 1]


@pytest.mark.parametrize("wrong", [{"n": 0}, {"margin": 0.0}, {"margin": 1.01}, {"margin": np.nan}, {"skip": -1}])
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        choose_negatives(PASSAGES, {}, **{"n": 1} | wrong)


def test_a_repeated_id_is_refused():
    with pytest.raises(InputError, match="'a' occurs twice"):
        choose_negatives(Passages(["a", "a"], np.zeros(2, int), np.arange(2), np.zeros(1, int)), {}, 1)


def naive(passages, rows, n, margin, skip):
    """The twin: group by group, candidate by candidate."""
    fates, scores = defaultdict(dict), defaultdict(dict)
    for q, group in enumerate(rows.group.tolist()):
        if np.isnan(rows.positive[q]):
            continue
        fates[group]
        for rank, (p, score) in enumerate(zip(rows.passages[q].tolist(), rows.scores[q].tolist(), strict=True)):
            if p < 0:
                continue
            source = passages.group[p]
            fate = 0
            if source == group:
                fate = -4
            elif passages.answer_set[source] == passages.answer_set[group]:
                fate = -3
            elif rank < skip:
                fate = -2
            elif score > margin * float(rows.positive[q]):
                fate = -1
            fates[group][p] = min(fates[group].get(p, 0), fate)
            scores[group][p] = max(scores[group].get(p, -np.inf), score)
    found, short = [{} for _ in passages.answer_set], 0
    for group, of_group in fates.items():
        passing = sorted((p for p, fate in of_group.items() if not fate), key=passages.ids.__getitem__, reverse=True)
        texts = {}
        for p in sorted(passing, key=lambda p: -scores[group][p]):
            texts.setdefault(passages.text[p], passages.ids[p])
        names = list(texts.values())[:n]
        short += len(names) < n
        if names:
            found[group]["en"] = names
    every = [fate for of_group in fates.values() for fate in of_group.values()]
    return found, [len(fates), len(every), *(every.count(fate) for fate in (-4, -3, -2, -1)), short]


@given(
    seed=st.integers(0, 2**32),
    n=st.integers(1, 4),
    margin=st.sampled_from([0.5, 0.8, 1.0]),
    skip=st.integers(0, 2),
    entries=st.sampled_from([1, 20, 2**21]),
)
def test_choice_equals_the_naive_one(seed, n, margin, skip, entries):
    random = np.random.default_rng(seed)
    groups, queries, k = random.integers(1, 8), random.integers(0, 20), random.integers(1, 8)
    p = groups * 3
    passages = Passages(
        ids=[f"p{number}" for number in random.permutation(p)],
        group=random.integers(groups, size=p),
        text=random.integers(p, size=p),
        answer_set=random.integers(groups, size=groups),
    )
    listed = np.array([random.permutation(p)[: p // 2 + 1] for _ in range(queries)], int).reshape(queries, p // 2 + 1)[
        :, :k
    ]
    listed[random.random(listed.shape) < 0.1] = -1
    scores = np.sort(random.integers(0, 9, listed.shape))[:, ::-1].astype(np.float32) / 8
    positive = random.choice([1.0, 0.75, np.nan], queries).astype(np.float32)
    rows = Retrieved(random.integers(groups, size=queries), positive, listed, scores)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(negatives, "CHUNK_ENTRIES", entries)
        mined = choose_negatives(passages, {"en": rows}, n, margin, skip)
    found, numbers = naive(passages, rows, n, margin, skip)
    assert mined.negatives == found
    counted = asdict(mined.counts["en"])
    assert counted.pop("chosen") == sum(len(names["en"]) for names in found if names)
    assert list(counted.values()) == numbers
