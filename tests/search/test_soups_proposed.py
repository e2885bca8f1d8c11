"""Which soups are scored: the grid, then all alike, then what a sampler makes of the scores before."""

import pytest
from small_study import small_study

from hybridtune.search.soups import next_soup, soup_grid, soups_wanted
from hybridtune.storage.soup_rows import SoupRow
from hybridtune.storage.trial_rows import TrialRow

GOAL = "balanced/AP"


def members(**values):
    named = {name.replace("_", "-"): value for name, value in values.items()}
    return {name: TrialRow(f"{n:04d}", n, name, {}, {GOAL: v}, "done") for n, (name, v) in enumerate(named.items())}


def soups_by(score, study, who, mode="max"):
    """All soups of a study, scored by a function of their shares."""
    rows = []
    while len(rows) < soups_wanted(study):
        weights, proposed = next_soup(study, {GOAL: mode}, who, rows)
        row = SoupRow(f"{len(rows):04d}", weights, dict.fromkeys(weights, "0"), {}, "d", proposed, {})
        rows.append(SoupRow(**{**vars(row), "metrics": {GOAL: score(row.shares)}}))
    return rows


@pytest.mark.parametrize("count", [0, 1, 5])
def test_the_grid_is_even_and_leaves_out_its_ends(count):
    grid = soup_grid(small_study(search={"soups": count}))
    shares = [point["cross-only"] / sum(point.values()) for point in grid]
    assert shares == [n / (count + 1) for n in range(1, count + 1)]
    assert all(float(weight).is_integer() for point in grid for weight in point.values())


@pytest.mark.parametrize("sampler", ["tpe", "gp", "random", "nsga2"])
def test_every_sampler_proposes_weights_that_can_be_written_down(sampler):
    study = small_study(search={"soups": 1, "soup_trials": 5, "sampler": sampler, "arms": "rerun"})
    who = members(tuned=0.5, mono_only=0.4, half_half=0.45, cross_only=0.3)
    rows = soups_by(lambda shares: sum(shares.values()) - shares.get("tuned", 0) ** 2, study, who)
    assert [row.proposed for row in rows] == ["grid", "equal", *["sampler"] * 4]
    for row in rows[2:]:
        assert set(row.weights) <= set(who)
        assert all(0 < weight <= 1 and round(weight, 3) == weight for weight in row.weights.values())
    assert len({tuple(row.weights.items()) for row in rows}) == len(rows)


@pytest.mark.parametrize(("mode", "sign"), [("max", 1), ("min", -1)])
def test_a_sampler_that_learns_comes_nearer_to_the_best_shares_than_the_grid_and_all_alike(mode, sign):
    """The score peaks where tuned has .7 and half-half .3 of the weights, off the grid and off the middle."""
    peak = {"tuned": 0.7, "half-half": 0.3}

    def score(shares):
        return -sign * sum((shares.get(name, 0.0) - peak.get(name, 0.0)) ** 2 for name in who)

    who = members(tuned=0.0, mono_only=0.0, half_half=0.0, cross_only=0.0)
    for name, row in who.items():
        row.metrics[GOAL] = score({name: 1.0})
    rows = soups_by(score, small_study(search={"soups": 3, "soup_trials": 25}), who, mode)
    values = {
        kind: [sign * row.metrics[GOAL] for row in rows if row.proposed == kind]
        for kind in ("grid", "equal", "sampler")
    }
    own = [sign * row.metrics[GOAL] for row in who.values()]
    assert max(values["sampler"]) > max([*values["grid"], *values["equal"], *own])
    assert max(values["sampler"]) > -0.1
