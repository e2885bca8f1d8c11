"""The second language that a query is asked in: a function of seed, step and row, and never one that is held out."""

from collections import Counter

import numpy as np
import pytest
from handmade import corpus_of, plan

ALL = ["de", "en", "sw", "yo"]
CORPUS = corpus_of((30, ALL, ALL, 0), (10, ["en", "sw"], ["en", "sw"], 0), (8, ["de"], ALL, 0))
DE, EN, SW, YO = range(4)


def drawn(steps=200, **options):
    one = plan(CORPUS, second_queries=True, batch_size=8, **options)
    for batch in one.batches(0, steps):
        for group, (x, y), second in zip(batch.groups, batch.languages, batch.second_queries, strict=True):
            yield batch.kind, int(group), int(x), int(y), int(second)


def test_every_query_that_has_others_is_asked_in_one_of_them_all_alike_often():
    counts = Counter()
    for _, group, x, _, second in drawn():
        others = [z for z in range(4) if z != x and CORPUS.queries[group, z] >= 0]
        assert (second in others) if others else second == -1
        if len(others) == 3:
            counts[x, second] += 1
    for x in range(4):
        of_x = [counts[x, z] for z in range(4) if z != x]
        assert min(of_x) > 0.7 * max(of_x) > 0


def test_a_batch_from_the_middle_draws_as_it_does_in_a_run_from_the_start():
    one = plan(CORPUS, second_queries=True, batch_size=8)
    whole = list(one.batches(0, 30))
    for start in (1, 17):
        for batch, same in zip(one.batches(start, 30), whole[start:], strict=True):
            assert batch.second_queries.tolist() == same.second_queries.tolist()
    other = plan(CORPUS, second_queries=True, batch_size=8, seed=9)
    assert any(
        one.second_queries.tolist() != two.second_queries.tolist()
        for one, two in zip(whole, other.batches(0, 30), strict=True)
    )


@pytest.mark.parametrize("options", [{"unseen_pairs": ["en-sw"]}, {"weights": {"en-sw": 0.0}}])
def test_pairs_that_are_held_out_are_never_made_by_the_second_query(options):
    seen = list(drawn(**options))
    assert not [row for row in seen if {row[2], row[4]} == {EN, SW}]  # the two queries
    assert not [row for row in seen if (row[4], row[3]) == (EN, SW)]  # the second query and the passage
    if "unseen_pairs" in options:
        assert not [row for row in seen if (row[4], row[3]) == (SW, EN)]
    assert any(row[4] >= 0 for row in seen)


def test_align_batches_ask_nothing():
    found = list(drawn(align_share=0.5))
    assert {row[4] for row in found if row[0] == "align"} == {-1}
    assert any(row[4] >= 0 for row in found if row[0] != "align")


def test_queries_of_a_machine_stay_out_where_its_pairs_do():
    translated = CORPUS.translated_queries.copy()
    translated[:, YO] = True
    corpus = corpus_of((30, ALL, ALL, 0))
    object.__setattr__(corpus, "translated_queries", translated[:30])
    for weight, has in ((0.0, False), (1.0, True)):
        one = plan(corpus, second_queries=True, batch_size=8, translated_weight=weight)
        seconds = np.concatenate([batch.second_queries for batch in one.batches(0, 50)])
        assert (YO in seconds) is has
