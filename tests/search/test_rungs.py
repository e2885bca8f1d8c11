"""Rungs: which trials go on, what waits, and what the sampler learns of those that wait."""

import json
import warnings
from types import SimpleNamespace

import optuna
import pytest
from optuna.trial import TrialState
from ray.tune.schedulers import TrialScheduler
from small_study import small_study

from hybridtune.config.study import Study
from hybridtune.config.validation import check
from hybridtune.errors import InputError
from hybridtune.search.arms import stops_early
from hybridtune.search.optuna_search import searcher
from hybridtune.search.rungs import PAUSED, going_on, is_paused, rung_steps
from hybridtune.search.samplers import check_search
from hybridtune.search.stopping import scheduler, settle
from hybridtune.search.trial_log import TrialLog, objective_scores
from hybridtune.storage.optuna_storage import load_optuna_study
from hybridtune.storage.trial_rows import ENDED, TrialRow, read_rows, rewrite_status

GOAL = "balanced/AP"
RUNGS = [{"steps": 3, "keep": 0.5}, {"steps": 6, "keep": 0.34}]
STOP, ON = TrialScheduler.STOP, TrialScheduler.CONTINUE


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def study_of(rungs=RUNGS, objective=GOAL, **search):
    given = {"fidelities": rungs, "objective": objective, "trials": 6, "storage": "journal", **search}
    return small_study(train={"max_steps": 12, "eval_steps": 3}, search=given)


def row(number, arm="tuned", status="paused", proposed="sampler"):
    return TrialRow(f"{number:04d}", number, arm, {}, {}, status, proposed=proposed)


def ids(rows):
    return [one.number for one in rows]


def test_the_best_share_of_each_arm_goes_on_rounded_up():
    rows = [row(n, "tuned" if n < 5 else "half-half") for n in range(8)]
    scores = {one.id: {3: one.number / 10} for one in rows}
    study = study_of()
    assert ids(going_on(study, rows, scores, 0)) == list(range(8))
    assert ids(going_on(study, rows, scores, 1)) == [2, 3, 4, 6, 7]  # 3 of 5, 2 of 3
    later = {name: {**some, 6: 1 - some[3]} for name, some in scores.items()}
    assert ids(going_on(study, rows, later, 2)) == [2, 3, 6]  # of those that went on, by the later score
    fewer = study_of(objective="multi/rank_distance")
    assert ids(going_on(fewer, rows, scores, 1)) == [0, 1, 2, 5, 6]


def test_equals_go_on_by_number_and_the_files_values_always():
    rows = [row(0), row(1), row(2), row(3, proposed="file")]
    assert ids(going_on(study_of(), rows, {one.id: {3: 0.5} for one in rows}, 1)) == [0, 1, 3]
    scores = {one.id: {3: 0.5} for one in rows} | {"0001": {}}  # stopped early before the rung
    assert ids(going_on(study_of(), rows, scores, 1)) == [0, 2, 3]
    assert going_on(study_of(), [], {}, 2) == []


def test_what_waits_has_come_to_the_rung_and_not_failed():
    assert is_paused(row(0), 3, {3: 0.1})
    assert is_paused(row(0, status="running"), 3, {6: 0.1})  # cut off after it went on
    assert not is_paused(row(0), 6, {3: 0.1})
    assert not is_paused(row(0, status="failed"), 3, {3: 0.1})
    assert not is_paused(row(0), None, {3: 0.1})
    assert rung_steps(study_of()) == [3, 6, None]
    assert rung_steps(study_of([])) == [None]


@pytest.mark.parametrize(
    ("rungs", "objective", "mistake"),
    [
        ([{"steps": 4}], GOAL, "search.fidelities.0.steps 4: no score is taken there; give a multiple of the 3 steps"),
        ([{"steps": 12}], GOAL, r"search.fidelities.0.steps 12: is not between 0 and 12 \(train.max_steps\)"),
        ([{"steps": 6}, {"steps": 3}], GOAL, r"search.fidelities.1.steps 3: is not between 6 and 12"),
        ([{"steps": 3}], [GOAL, "mono/AP"], "search.fidelities: go by one objective, not by 2"),
        ([{"steps": 3, "keep": 1.0}], GOAL, "search.fidelities.0.keep: "),
    ],
)
def test_what_makes_no_rung_is_refused(rungs, objective, mistake):
    tree = study_of([]).model_dump()
    tree["search"] |= {"fidelities": rungs, "objective": objective}
    with pytest.raises(InputError, match=mistake):
        check(Study, tree, "study.yaml")


def test_a_sampler_with_a_state_of_its_own_is_refused():
    with pytest.raises(InputError, match=r"nsga2: cannot learn from trials that wait at a rung"):
        check_search(study_of(sampler="nsga2", arms="none"))
    for name in ("tpe", "gp", "random"):
        check_search(study_of(sampler=name))


def report(rule, number, step, ended=0.0, final=0.0):
    trial = SimpleNamespace(
        config={"number": number, "arm": "tuned", "proposed": "sampler"}, run_metadata=SimpleNamespace()
    )
    return rule.on_trial_result(None, trial, {"step": step, GOAL: 0.5, "ended": ended, "final": final})


def test_a_run_ends_at_the_rung_but_not_where_the_training_does():
    study = study_of()
    rule = scheduler(study, pause_at=6)
    assert [report(rule, 0, step) for step in (3, 6)] == [ON, STOP]
    assert report(rule, 1, 9) == STOP  # it came further before the study was cut off
    assert report(rule, 2, 6, ended=1.0) == ON  # patience: its last report is still to come
    assert report(rule, 2, 6, ended=1.0, final=1.0) == ON
    assert scheduler(study) is None
    assert not stops_early(study_of(trials=20))
    assert stops_early(study_of(early_stopping={"method": "paired"}))


def run(study, folder, numbers, stage, at_step):
    """One stage, as Tune drives it: each trial reports at the rung, or at its end; the searcher's configurations."""
    pause_at = rung_steps(study)[stage]
    only = set(numbers) if stage else None
    ended = {one.number for one in read_rows(folder)} if not stage else set()
    found, log, configs = searcher(study, {GOAL: "max"}, folder, ended, pause_at, only), TrialLog(folder, pause_at), []
    for n in range(len(numbers)):
        config = found.suggest(f"t{n}")
        trial = SimpleNamespace(config=config, run_metadata=SimpleNamespace())
        result = {
            "step": at_step,
            "best_step": at_step,
            GOAL: config["number"] / 10 + stage,
            "ended": 0.0,
            "final": 0.0,
        }
        log.on_trial_start(0, [], trial)
        found.on_trial_result(f"t{n}", result)
        log.on_trial_result(0, [], trial, result)
        if pause_at is None:
            result = {**result, "ended": 1.0, "final": 1.0}
            log.on_trial_result(0, [], trial, result)
        found.on_trial_complete(f"t{n}", result)
        log.on_trial_complete(0, [], trial)
        configs.append(config)
    assert stage == 0 or found.suggest("more") == "FINISHED"
    return configs


def test_trials_wait_go_on_with_their_values_and_end(tmp_path):
    study = study_of([RUNGS[0]], arms="none")
    first = run(study, tmp_path, range(6), 0, 3)
    rows = read_rows(tmp_path)
    assert {one.status for one in rows} == {"paused"}
    optuna_study = load_optuna_study(study, tmp_path)
    assert {trial.state for trial in optuna_study.trials} == {TrialState.RUNNING}
    assert [trial.user_attrs[PAUSED] for trial in optuna_study.trials] == [3] * 6
    through = ids(going_on(study, rows, objective_scores(study, tmp_path, rows), 1))
    assert through == [3, 4, 5]
    assert run(study, tmp_path, through, 1, 12) == first[3:]
    assert [one.status for one in read_rows(tmp_path)] == ["paused"] * 3 + ["done"] * 3
    rewrite_status(tmp_path, {"0000", "0001", "0002"}, "stopped early")
    settle(study, load_optuna_study(study, tmp_path), read_rows(tmp_path), [GOAL])
    states = [trial.state for trial in load_optuna_study(study, tmp_path).trials]
    assert states == [TrialState.PRUNED] * 3 + [TrialState.COMPLETE] * 3
    assert [one.status for one in read_rows(tmp_path)] == ["stopped early"] * 3 + ["done"] * 3


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_the_sampler_learns_from_trials_that_wait(tmp_path, sampler):
    study = study_of([RUNGS[0]], arms="none", sampler=sampler, trials=8)
    configs = run(study, tmp_path, range(8), 0, 3)
    assert [config["proposed"] for config in configs] == ["random"] * 2 + ["sampler"] * 6


def test_rows_keep_their_order_and_the_rest_when_a_status_changes(tmp_path):
    rows = [row(0), row(1, status="done")]
    (tmp_path / ENDED).write_text("".join(json.dumps(vars(one)) + "\n" for one in rows), encoding="utf-8")
    rewrite_status(tmp_path, {"0000"}, "out of budget")
    assert read_rows(tmp_path) == [row(0, status="out of budget"), rows[1]]
    rewrite_status(tmp_path / "none", [], "done")
    assert not (tmp_path / "none").exists()
