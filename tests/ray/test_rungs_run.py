"""A search with rungs, a race and a constraint on Ray: what goes on is the training that it would have been without."""

import json

import pytest

from hybridtune import run_study
from hybridtune.config.study import Study

pytestmark = [pytest.mark.ray, pytest.mark.timeout(500)]

ALONE = {"concurrent_trials": 1, "evaluators": 1, "cpus_per_worker": 1}
NEVER = {"method": "paired", "alpha": 1e-9}  # its shares are kept, and it stops nothing


@pytest.fixture(scope="module")
def with_rungs(search_tree, shared_ray, tmp_path_factory):
    search = {
        **search_tree["search"],
        "sampler": "random",
        "fidelities": [{"steps": 8, "keep": 0.3}],
        "early_stopping": NEVER,
        "constraints": ["multi/rank_distance <= 100000"],
    }
    study = Study(**{**search_tree, "search": search}, resources=ALONE)
    return run_study(study, tmp_path_factory.mktemp("rungs") / "s")


def reports(result, name):
    lines = (result.folder / "trials" / name / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_the_best_goes_on_and_the_others_end_at_the_rung(with_rungs):
    table = with_rungs.trials
    at_rung = {name: reports(with_rungs, name)[1]["balanced/AP"] for name in table.index}
    (best,) = (name for name, value in at_rung.items() if value == max(at_rung.values()))
    assert {name: table["status"][name] for name in table.index} == {
        name: "done" if name == best else "stopped early" for name in table.index
    }
    assert [one["step"] for one in reports(with_rungs, best)] == [4, 8, 12, 16, 20, 24]
    assert all(len(reports(with_rungs, name)) == 2 for name in table.index if name != best)
    assert with_rungs.best.id == best


def test_it_is_the_training_that_it_would_have_been(with_rungs, searched_here):
    """The study without rungs proposes the same values: it draws them at random, by the same seed."""
    whole, best = searched_here[0], with_rungs.best.id
    assert with_rungs.best.values == {name: whole.trials[name][best] for name in with_rungs.best.values}
    figures = [
        [{name: value for name, value in one.items() if "/" in name} for one in reports(result, best)]
        for result in (with_rungs, whole)
    ]
    assert figures[0] == figures[1]


def test_shares_are_kept_at_every_score_and_the_constraint_is_judged(with_rungs):
    kept = sorted(file.stem for file in (with_rungs.folder / "trials" / with_rungs.best.id / "unit_shares").iterdir())
    assert kept == [f"{step:07d}" for step in (4, 8, 12, 16, 20, 24)]
    assert with_rungs.result["constraints"].startswith(
        f"{with_rungs.best.label} meets search.constraints: multi/rank_d"
    )
