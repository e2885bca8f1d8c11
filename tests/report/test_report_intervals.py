import dataclasses

import numpy as np
import pytest
from made_study import STEPS

from hybridtune.metrics.per_query import read_per_query
from hybridtune.metrics.resampling import bootstrap_means, interval
from hybridtune.report.intervals import count_units, difference_intervals, intervals

BALANCED = "balanced/AP"
NAMES = ["mono/AP", "cross/AP", "multi/AP", "multi/rank_distance"]


def trial(folder, number):
    return read_per_query(
        folder / "trials" / f"{number:04d}" / "fit" / f"checkpoint_{STEPS[-1]:07d}" / "per_query.parquet"
    )


def cells(values, rows):
    names = [f"{x}>{y}" for x, y in zip(values.query_language[rows], values.pool_language[rows], strict=True)]
    return np.unique(names, return_inverse=True)[1]


def test_documents_are_drawn_as_a_whole(finished_study):
    """The naive twin draws documents with replacement and takes the means over cells anew."""
    values = trial(finished_study, 1)
    values = dataclasses.replace(values, document=np.array([f"d{topic // 4}" for topic in values.topic]))
    assert count_units(values, "cross/AP", "document") == 3
    found = intervals(values, ["cross/AP"], "document", seed=5, draws=60)["cross/AP"]
    random, means = np.random.default_rng([5, 1]), []
    for drawn in random.integers(3, size=(60, 3)):
        rows = np.concatenate(
            [np.flatnonzero((values.setting == "cross") & (values.document == f"d{one}")) for one in drawn]
        )
        of, ap = cells(values, rows), values.measures["AP"][rows]
        means.append(np.mean([ap[of == one].mean() for one in range(of.max() + 1)]))
    assert found == pytest.approx(tuple(np.percentile(means, [2.5, 97.5])), abs=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_an_interval_is_that_of_the_evidence_room(finished_study, name):
    values = trial(finished_study, 1)
    setting, measure = name.split("/")
    rows = np.flatnonzero((values.setting == setting) & ~np.isnan(values.measures[measure]))
    topic = np.unique(values.topic[rows], return_inverse=True)[1]
    expected = interval(bootstrap_means(values.measures[measure][rows], topic, cells(values, rows), 500, 3))
    assert intervals(values, [name], "topic", seed=3, draws=500)[name] == pytest.approx(expected, abs=1e-12)


def test_the_three_settings_of_balanced_ap_are_drawn_together(finished_study):
    values = trial(finished_study, 1)
    low, high = intervals(values, [BALANCED], "topic", seed=3, draws=40)[BALANCED]
    random = np.random.default_rng([3, 1])
    means = []
    for _ in range(40):
        drawn = random.integers(12, size=12)
        settings = []
        for setting in ("mono", "cross", "multi"):
            rows = np.concatenate(
                [np.flatnonzero((values.setting == setting) & (values.topic == one)) for one in drawn]
            )
            of = cells(values, rows)
            ap = values.measures["AP"][rows]
            settings.append(np.mean([ap[of == one].mean() for one in range(of.max() + 1)]))
        means.append(3 / sum(1 / mean for mean in settings))
    assert (low, high) == pytest.approx(tuple(np.percentile(means, [2.5, 97.5])), abs=1e-12)


def test_the_interval_of_a_group_is_that_of_its_rankings(finished_study):
    values = trial(finished_study, 1)
    language = str(values.query_language[0])
    of_language = (values.query_language == language) | (values.pool_language == language)
    alone = intervals(values.part(of_language), ["cross/AP"], "topic", draws=50)["cross/AP"]
    names = [f"cross/AP@{language}", f"balanced/AP@{language}"]
    found = intervals(values, names, "topic", draws=50)
    assert found[names[0]] == pytest.approx(alone, abs=1e-12)
    balanced = intervals(values.part(of_language), ["balanced/AP"], "topic", draws=50)["balanced/AP"]
    assert found[names[1]] == pytest.approx(balanced, abs=1e-12)
    assert found[names[0]] != intervals(values, ["cross/AP"], "topic", draws=50)["cross/AP"]


def test_what_is_not_defined_has_no_interval(finished_study):
    values = trial(finished_study, 1)
    assert intervals(values, ["mono/rank_distance", "multi/PEER", "mono/none"], "topic") == {}
    one = np.flatnonzero(values.topic == 0)
    few = values.part(one)
    assert intervals(few, [*NAMES, BALANCED], "topic") == {}
    assert count_units(values, BALANCED, "topic") == 12


def test_a_difference_is_paired(finished_study):
    one, other = trial(finished_study, 0), trial(finished_study, 1)
    names = [*NAMES, BALANCED]
    assert difference_intervals(one, one, names, "topic") == dict.fromkeys(names, (0.0, 0.0))
    found, turned = (difference_intervals(*pair, names, "topic") for pair in ((one, other), (other, one)))
    for name in names:
        low, high = found[name]
        assert low < high
        assert turned[name] == pytest.approx((-high, -low))


def test_models_on_other_benchmarks_are_not_paired(finished_study):
    dev, test = trial(finished_study, 0), read_per_query(finished_study / "best" / "per_query.parquet")
    assert difference_intervals(dev, test, NAMES, "topic") == {}
