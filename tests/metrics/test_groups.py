"""Groups of languages: their names, their means, and the rankings that a test of them is over."""

import dataclasses
import json

import numpy as np
import pytest

from hybridtune.errors import InputError
from hybridtune.metrics.breakdown import score_measures
from hybridtune.metrics.groups import Grouping
from hybridtune.metrics.metrics import Ranked, per_query, score
from hybridtune.metrics.per_query import read_per_query, write_per_query
from hybridtune.metrics.selection import grouping_of, languages_of, rankings_of
from hybridtune.metrics.significance import compare, paired_by_unit

LANGUAGES = ["de", "en", "sw", "zh-Hans"]
GROUPING = Grouping({"en-en": 9, "en-de": 4, "de-en": 0}, ("sw",))
ROWS = [("mono", (x, x)) for x in LANGUAGES] + [("cross", (x, y)) for x in LANGUAGES for y in LANGUAGES if x != y]


def held(group, grouping=GROUPING):
    rule = grouping.rule(group, LANGUAGES)
    return {(setting, *sides) for setting, sides in ROWS if rule(setting, sides)}


def test_groups_by_name_and_one_by_one():
    everything = {(setting, *sides) for setting, sides in ROWS}
    assert held("") == everything
    assert held("unseen") == everything - held("seen")
    assert held("seen") == {("mono", "en", "en"), ("mono", "de", "de"), ("cross", "en", "de")}
    assert held("low-resource") == held("sw") == {row for row in everything if "sw" in row}
    assert held("rich") == everything - held("sw")
    assert held("low-resource-seen") == set()
    assert held("low-resource-unseen") == held("sw")
    assert held("unseen-pairs") == {("cross", "de", "en")}  # sw and zh-Hans are not seen at all
    more = Grouping({"en-en": 9, "en-sw": 4}, ("sw",))
    assert held("low-resource-seen", more) == {("mono", "sw", "sw"), ("cross", "en", "sw")}
    assert held("low-resource-unseen", more) == held("sw") - held("low-resource-seen", more)
    assert held("unseen-pairs", more) == {("cross", "sw", "en")}
    assert held("en-sw") == {("cross", "en", "sw")}
    assert held("en-zh-Hans+zh-Hans-en") == {("cross", "en", "zh-Hans"), ("cross", "zh-Hans", "en")}
    assert held("de+zh-Hans") == held("de") | held("zh-Hans")
    assert held("de+en-sw") == held("de") | held("en-sw")


@pytest.mark.parametrize(
    ("group", "message"),
    [
        (
            "nope",
            "no group 'nope'; there are: seen, unseen, unseen-pairs, rich, low-resource, low-resource-seen, "
            "low-resource-unseen; languages: de, en, sw, zh-Hans; pairs",
        ),
        ("sw+fr", "no group 'fr'"),
        ("en-fr", "no group 'en-fr'"),
        ("sw-sw", "no group 'sw-sw'"),
        ("low_resource", "no group 'low_resource'"),
        ("sw+", "no group ''"),
    ],
)
def test_a_group_that_there_is_not_is_one_line(group, message):
    with pytest.raises(InputError, match=message) as error:
        held(group)
    assert "\n" not in str(error.value)


def test_a_group_by_facts_that_are_not_known():
    with pytest.raises(InputError, match="the group unseen needs training pairs, which are not known here"):
        held("unseen", Grouping(None, ("sw",)))
    with pytest.raises(InputError, match="the group low-resource-seen needs training pairs, which are not known here"):
        held("low-resource-seen", Grouping(None, ("sw",)))
    for group in ("rich", "low-resource-unseen"):
        with pytest.raises(InputError, match=f"the group {group} needs low-resource languages, and none are named"):
            held(group, Grouping({}))


def ranked(seed, questions=6):
    """Questions in four languages, each with its four answers; random ranks."""
    queries = np.arange(4 * questions)
    counts = np.random.default_rng(seed).integers(0, 30, (16 * questions, 4))
    sizes = np.full(4, 999)
    return Ranked(counts, np.repeat(queries, 4), np.tile(np.arange(4), len(queries)), queries % 4, LANGUAGES, sizes)


def values(folder, seed, **about):
    found, path = ranked(seed), folder / f"{seed}.parquet"
    ids, topics = [f"q{n}" for n in range(24)], np.arange(24) // 4
    write_per_query(path, per_query(found), ids, LANGUAGES, topics, {"benchmark_digest": "d", **about})
    return read_per_query(path)


@pytest.mark.parametrize("group", ["unseen", "low-resource", "de+sw", "en-sw+sw-en"])
def test_a_mean_of_a_group_is_the_mean_of_its_rows(group):
    columns, scores = score_measures(ranked(1), ["AP", f"AP@{group}", f"rank_distance@{group}"], GROUPING)
    plain = score(ranked(1), columns)
    rule = GROUPING.rule(group, LANGUAGES)
    settings = {}
    for setting in ("mono", "cross", "multi"):
        table = plain.per_pair if setting == "cross" else plain.per_language[setting]
        rows = [
            table[f"{x}-{y}" if setting == "cross" else x]["AP"]
            for x in LANGUAGES
            for y in LANGUAGES
            if (x != y if setting == "cross" else x == y) and rule(setting, (x, y))
        ]
        if rows:
            settings[setting] = np.mean(rows)
    names = {f"{setting}/AP@{group}": value for setting, value in settings.items()}
    if len(settings) == 3:
        names[f"balanced/AP@{group}"] = 3 / sum(1 / value for value in settings.values())
        rows = [plain.per_language["multi"][x]["rank_distance"] for x in LANGUAGES if rule("multi", (x, x))]
        names[f"multi/rank_distance@{group}"] = np.mean(rows)
    added = {name: value for name, value in scores.metrics.items() if name not in plain.metrics}
    assert added == {name: pytest.approx(value) for name, value in names.items()}


@pytest.mark.parametrize("metric", ["cross/AP", "mono/AP", "balanced/AP", "multi/rank_distance"])
def test_the_test_of_a_group_is_that_of_its_rankings_alone(tmp_path, metric):
    about = GROUPING.about()
    a, b = (values(tmp_path, seed, **about) for seed in (1, 2))
    rule = GROUPING.rule("low-resource", LANGUAGES)
    rows = np.any([rankings_of(a, setting, rule) for setting in ("mono", "cross", "multi")], axis=0)
    alone = paired_by_unit(a.part(rows), b.part(rows), metric, "topic")
    assert paired_by_unit(a, b, f"{metric}@low-resource", "topic") == alone
    assert paired_by_unit(a, b, metric, "topic") != alone
    setting, measure = metric.split("/")
    if setting != "balanced":
        (row,) = (one for one in compare(a, b, [f"{measure}@sw"], draws=20).differences if one.setting == setting)
        assert (row.measure, row.p, row.rankings) == (
            f"{measure}@sw",
            alone[0],
            int((rows & (a.setting == setting)).sum()),
        )
        _, scores = score_measures(ranked(2), [f"{measure}@sw"], GROUPING)
        assert row.b == pytest.approx(scores.metrics[f"{metric}@sw"])


def test_groups_of_two_files_are_made_by_what_either_knows(tmp_path):
    plain, trained = values(tmp_path, 1), values(tmp_path, 2, **GROUPING.about())
    assert grouping_of([plain, trained]) == Grouping({"en-en": 9, "en-de": 4}, ("sw",))
    more = {"training_pairs": json.dumps({"sw-sw": 1, "en-en": 2}), "low_resource": "[]"}
    other = dataclasses.replace(plain, about=more)
    assert set(grouping_of([trained, other]).training_pairs) == {"en-en", "en-de", "sw-sw"}
    assert languages_of(plain) == set(LANGUAGES)
    other = dataclasses.replace(plain, about={"low_resource": '["de"]'})
    with pytest.raises(InputError, match=r"other low-resource languages \(sw and de\); name the languages, like AP@sw"):
        grouping_of([trained, other])
    with pytest.raises(InputError, match="needs training pairs"):
        compare(plain, plain, ["AP@unseen"])
    with pytest.raises(InputError, match="no group 'fr'"):
        compare(plain, plain, ["AP@fr"])
