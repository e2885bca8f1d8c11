import json

import pytest

from hybridtune.metrics.breakdown import group_means, pair_table
from hybridtune.metrics.metrics import Scores

LANGUAGES = ("en", "de", "sw", "zh-Hans")


def scores_of(languages=LANGUAGES):
    """mono AP .9 .8 .5 .4; cross AP .1 x index of the query language + .01 x passage language; multi half of mono."""
    mono = {name: {"queries": 10, "AP": ap} for name, ap in zip(LANGUAGES, (0.9, 0.8, 0.5, 0.4), strict=True)}
    mono = {name: mono[name] for name in languages}
    multi = {name: {"queries": 10, "AP": row["AP"] / 2, "rank_distance": 3.0} for name, row in mono.items()}
    cross = {
        f"{x}-{y}": {"queries": 5, "AP": 0.1 * i + 0.01 * j}
        for i, x in enumerate(languages)
        for j, y in enumerate(languages)
        if x != y
    }
    return Scores(
        metrics={},
        per_language={"mono": mono, "multi": multi},
        per_pair=cross | {f"{name}-{name}": row for name, row in mono.items()},
        counts={"passages_per_language": dict.fromkeys(languages, 7)},
        outranked={},
    )


TRAINED = {"en-en": 100, "en-de": 40, "en-zh-Hans": 3, "fr-en": 7, "sw-sw": 0}


def test_a_row_for_every_pair_with_its_training_pairs():
    table = pair_table(scores_of(), TRAINED)
    assert len(table) == 4 + 12 + 4
    rows = {(row["setting"], row["pair"]): row for row in table}
    assert rows["mono", "en-en"] == {
        "setting": "mono",
        "pair": "en-en",
        "AP": 0.9,
        "rank_distance": None,
        "queries": 10,
        "training_pairs": 100,
    }
    pairs = {key: row["training_pairs"] for key, row in rows.items()}
    assert pairs["cross", "en-de"] == 40
    assert pairs["cross", "de-en"] == 0  # the other direction is another pair
    assert pairs["cross", "en-zh-Hans"] == 3
    assert pairs["mono", "sw-sw"] == 0
    assert pairs["multi", "en"] == 100 + 40 + 3 + 7
    assert pairs["multi", "zh-Hans"] == 3
    assert pairs["multi", "sw"] == 0
    assert [row["setting"] for row in table] == ["mono"] * 4 + ["cross"] * 12 + ["multi"] * 4
    assert {tuple(row) for row in table} == {tuple(table[0])}


def test_training_pairs_that_are_not_known_are_not_shown():
    assert all("training_pairs" not in row for row in pair_table(scores_of(), None))
    assert set(group_means(scores_of(), None, ["sw"])) == {"rich", "low-resource"}
    assert group_means(scores_of(), None, []) == {}


def test_group_means_by_hand():
    groups = group_means(scores_of(), TRAINED, ["sw", "zh-Hans"])
    crossed = ["low-resource-seen", "low-resource-unseen"]
    assert list(groups) == ["seen", "unseen", "unseen-pairs", "rich", "low-resource", *crossed]
    mean = pytest.approx((0.1 + 0.13 + 0.3 + 0.31) / 4)  # de-en, de-zh-Hans, zh-Hans-en, zh-Hans-de
    assert groups["unseen-pairs"] == {"cross": {"rows": 4, "queries": 20, "AP": mean}}
    # Seen in mono: en, de, zh-Hans (each on some side of a pair); sw is not, its only entry is 0.
    assert groups["seen"]["mono"] == {"rows": 3, "queries": 30, "AP": pytest.approx((0.9 + 0.8 + 0.4) / 3)}
    assert groups["unseen"]["mono"] == {"rows": 1, "queries": 10, "AP": 0.5}
    assert groups["seen"]["multi"]["AP"] == pytest.approx((0.9 + 0.8 + 0.4) / 6)
    assert groups["seen"]["multi"]["rank_distance"] == 3.0
    # Seen in cross: en-de (.01) and en-zh-Hans (.03) alone.
    assert groups["seen"]["cross"] == {"rows": 2, "queries": 10, "AP": pytest.approx(0.02)}
    assert groups["unseen"]["cross"]["rows"] == 10
    # Rich: both sides of en, de: en-de .01, de-en .1.
    assert groups["rich"]["cross"] == {"rows": 2, "queries": 10, "AP": pytest.approx(0.055)}
    assert groups["low-resource"]["cross"]["rows"] == 10
    assert groups["low-resource"]["mono"]["AP"] == pytest.approx(0.45)
    assert json.loads(json.dumps(groups)) == groups


def test_groups_without_a_row_are_absent():
    everything = {f"{x}-{y}": 1 for x in LANGUAGES for y in LANGUAGES}
    assert "unseen" not in group_means(scores_of(), everything, [])
    nothing = group_means(scores_of(), {}, ["sw"])
    assert "seen" not in nothing
    assert nothing["unseen"]["cross"]["rows"] == 12
    alone = group_means(scores_of(("sw",)), {}, ["sw"])
    assert set(alone) == {"unseen", "low-resource", "low-resource-unseen"}
    assert "cross" not in alone["low-resource"]
    assert group_means(scores_of(), None, ["ha"]).keys() == {"rich"}


def test_a_measure_is_over_the_rows_that_define_it():
    scores = scores_of()
    del scores.per_language["multi"]["de"]["rank_distance"]
    scores.per_language["multi"]["en"]["rank_distance"] = 5.0
    assert group_means(scores, None, ["sw", "zh-Hans"])["rich"]["multi"]["rank_distance"] == 5.0


def test_pairs_of_languages_that_the_benchmark_lacks():
    # pt-BR is not in the benchmark; nor is it en-something.
    trained = {"pt-BR-de": 4, "zh-Hans-zh-Hant": 2}
    rows = {(row["setting"], row["pair"]): row["training_pairs"] for row in pair_table(scores_of(), trained)}
    assert rows["multi", "de"] == 4
    assert rows["multi", "zh-Hans"] == 2
    assert rows["multi", "en"] == 0
