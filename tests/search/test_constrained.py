"""Constraints in Optuna: stored with every trial, aimed at by each sampler that can, refused for those that cannot."""

import json
import warnings
from dataclasses import asdict

import optuna
import pytest
from optuna.trial import TrialState
from small_study import small_study

from hybridtune.config.fields import BenchmarkSource
from hybridtune.config.study import dump_study
from hybridtune.errors import InputError
from hybridtune.evaluate.benchmark import load_benchmark
from hybridtune.search.arms import contestants, reference
from hybridtune.search.constrained import constraints_of
from hybridtune.search.optuna_search import searcher
from hybridtune.search.samplers import check_search
from hybridtune.search.space import check_metric
from hybridtune.search.stopping import settle
from hybridtune.search.study import chosen
from hybridtune.storage.optuna_storage import load_optuna_study
from hybridtune.storage.trial_rows import ENDED, TrialRow

ONE = {"balanced/AP": "max"}
SPACE = {
    "mixing_ratio": {"uniform": [0.0, 1.0]},
    "temperature": {"loguniform": [0.01, 0.2]},
    "sampling_exponent": {"uniform": [0.0, 1.0]},
}


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # experimental samplers
        yield


def study_of(sampler="tpe", arms="none", constraints=("mono/AP >= 0.6",), **search):
    given = {"sampler": sampler, "arms": arms, "space": SPACE, "constraints": list(constraints), "storage": "journal"}
    return small_study(search={"trials": 40, "early_stopping": None, **given, **search})


def scores(config):
    """The goal falls with the ratio, and mono/AP rises with it: the best that meets the constraint lies at its edge."""
    ratio = config["mix.mixing_ratio"]
    return {"balanced/AP": 1 - ratio, "mono/AP": ratio, "multi/AP": 0.5}


def run(study, folder, trials):
    folder.mkdir(exist_ok=True)
    found, configs = searcher(study, ONE, folder, set()), []
    for n in range(trials):
        config = found.suggest(f"t{n}")
        found.on_trial_complete(f"t{n}", {**scores(config), "step": 6, "final": 1.0})
        configs.append(config)
    return configs


@pytest.mark.parametrize("sampler", ["tpe", "gp", "nsga2", "nsga3"])
def test_a_sampler_aims_at_the_trials_that_meet_the_constraint(tmp_path, sampler):
    trials = {"gp": 10, "tpe": 24}.get(sampler, 40)  # generations take many
    study = study_of(sampler)
    check_search(study)

    def meeting(some, folder):
        late = run(some, tmp_path / folder, trials)[trials // 2 :]
        return sum(scores(config)["mono/AP"] >= 0.6 for config in late) / len(late)

    assert meeting(study, "with") > meeting(study_of(sampler, constraints=()), "without")


def test_optuna_keeps_what_each_trial_misses_at_its_end(tmp_path):
    study = study_of(arms="searched", constraints=["mono/AP >= half-half - 0.1", "multi/AP >= 0.4"])
    configs = run(study, tmp_path, 8)
    optuna_study = load_optuna_study(study, tmp_path)
    for trial, config in zip(optuna_study.trials, configs, strict=True):
        edge = 0.4 if trial.number else 0.0  # mono-only ends before any half-half
        expected = (edge - config["mix.mixing_ratio"]) / edge if edge else 0.0
        assert list(trial.constraints.values()) == [pytest.approx(expected), pytest.approx(-0.25)]
        assert trial.user_attrs["mono/AP"] == config["mix.mixing_ratio"]
    assert not any(x > 0 for x in optuna_study.best_trial.constraints.values())
    again = constraints_of(study, optuna_study.trials)  # for a proposal now: the first is judged too
    assert again[0]["mono/AP >= half-half - 0.1"] == pytest.approx(-1.5)
    assert again == constraints_of(study, load_optuna_study(study, tmp_path).trials)


def test_a_trial_that_the_budget_cut_off_after_its_last_score_has_its_constraints(tmp_path):
    study = study_of()
    searcher(study, ONE, tmp_path, set()).suggest("t0")
    optuna_study = load_optuna_study(study, tmp_path)
    row = TrialRow("0000", 0, "tuned", {}, {"balanced/AP": 0.5, "mono/AP": 0.3}, "done")
    settle(study, optuna_study, [row], ["balanced/AP"])
    (trial,) = load_optuna_study(study, tmp_path).trials
    assert trial.state == TrialState.COMPLETE
    assert list(trial.constraints.values()) == [pytest.approx(0.5)]


def test_what_cannot_heed_constraints_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"sampler cmaes: heeds no search.constraints; choose tpe, gp, nsga2 or nsga3"):
        check_search(study_of("cmaes"))
    check_search(study_of("random"))
    with pytest.raises(InputError, match=r"search.warm_start: the trials of an earlier study do not say whether"):
        check_search(study_of(warm_start=str(tmp_path)))
    dev = load_benchmark(BenchmarkSource(path="newsroom:dev"))
    with pytest.raises(InputError, match=r"search.constraints: unknown metric 'mono/MAP'"):
        check_metric("mono/MAP", dev, "search.constraints")


def row(number, arm, goal, mono):
    ratio = {"mono-only": 1.0, "half-half": 0.5, "cross-only": 0.0}.get(arm, 0.3)
    metrics = {"balanced/AP": goal, "mono/AP": mono, "multi/AP": 0.5}
    return TrialRow(f"{number:04d}", number, arm, {"mix.mixing_ratio": ratio}, metrics, "done")


ROWS = [
    row(0, "half-half", 0.5, 0.70),
    row(1, "cross-only", 0.6, 0.50),
    row(2, "mono-only", 0.4, 0.80),
    row(3, "tuned", 0.9, 0.60),
    row(4, "tuned", 0.7, 0.69),
]


def test_the_best_and_the_contestants_meet_the_constraints(tmp_path):
    study = study_of(arms="searched", constraints=["mono/AP >= half-half - 0.05"])
    (tmp_path / "study.yaml").write_text(dump_study(study), encoding="utf-8")
    (tmp_path / ENDED).write_text("".join(json.dumps(asdict(one)) + "\n" for one in ROWS), encoding="utf-8")
    found = chosen(study, ONE, tmp_path)
    assert (found.best.id, found.front) == ("0004", ["0004"])
    assert contestants(study, ROWS)["tuned"].id == "0004"
    assert contestants(study, ROWS)["cross-only"].id == "0001"  # none of its arm meets them: the nearest
    assert reference(study, ROWS).arm == "half-half"  # the strongest of those that meet them
    nothing = study_of(arms="searched", constraints=["mono/AP >= half-half + 0.5"])
    assert chosen(nothing, ONE, tmp_path).best.id == "0002"  # the nearest of all
