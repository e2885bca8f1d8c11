"""What a search takes up from an earlier run: Optuna's database and the trials that ended, nothing else."""

import json
import pickle
from dataclasses import asdict

import optuna
import pytest
from optuna.trial import TrialState
from small_study import small_study

from hybridtune.search.optuna_search import searcher
from hybridtune.search.space import from_optuna
from hybridtune.search.stopping import settle
from hybridtune.search.study import chosen, run_search
from hybridtune.search.trial import trial_name, trial_values
from hybridtune.storage.optuna_storage import load_optuna_study
from hybridtune.storage.trial_rows import TrialRow
from hybridtune.train.job_queue import FitJob

GOALS = {"balanced/AP": "max"}


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def study_of(**search):
    return small_study(search=search)


def begin(study, folder, ended=(), trials=5):
    """A run of the search: its searcher, and the values of its first trials."""
    found = searcher(study, GOALS, folder, set(ended))
    return found, [found.suggest(f"trial-{n}") for n in range(trials)]


def end(searcher, place, value, step=12, best=None):
    result = {"balanced/AP": value, "step": step, "training_iteration": 1, "final": 0.0}
    searcher.on_trial_result(f"trial-{place}", result)
    result = {**result, "balanced/AP": value if best is None else best, "training_iteration": 2, "final": 1.0}
    searcher.on_trial_result(f"trial-{place}", result)
    searcher.on_trial_complete(f"trial-{place}", result)


def in_database(folder):
    return optuna.load_study(study_name="small", storage=f"sqlite:///{folder / 'optuna.db'}").trials


def test_a_new_study_gives_each_arm_its_turn(tmp_path):
    _, configs = begin(study_of(), tmp_path)
    assert [config["arm"] for config in configs] == ["mono-only", "half-half", "cross-only", "tuned", "mono-only"]
    assert [config["mix.mixing_ratio"] for config in configs[:3]] == [1.0, 0.5, 0.0]
    assert [trial_name(config) for config in configs] == ["0000", "0001", "0002", "0003", "0004"]
    for trial, config in zip(in_database(tmp_path), configs, strict=True):
        assert from_optuna(trial.params).items() <= trial_values(config).items()
        assert ("mixing_ratio" in trial.params) == (config["arm"] == "tuned")
        assert trial.user_attrs == {"arm": config["arm"], "proposed": config["proposed"]}


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_study_that_was_cut_off_anywhere_goes_on_with_the_arm_whose_turn_it_is(tmp_path, cut):
    study = study_of(trials=3, storage="journal")
    _, before = begin(study, tmp_path, trials=cut)
    found, after = begin(study, tmp_path, ended=range(cut), trials=12 - cut)
    assert [config["arm"] for config in before + after] == ["mono-only", "half-half", "cross-only", "tuned"] * 3
    assert found.suggest("one too many") == "FINISHED"


def test_trials_that_were_begun_come_first_and_keep_number_and_values(tmp_path):
    study = study_of()
    searcher, configs = begin(study, tmp_path)
    end(searcher, 1, 0.4)
    _, resumed = begin(study, tmp_path, ended=[1], trials=6)
    assert resumed[:4] == [configs[0], *configs[2:]]
    assert [config["number"] for config in resumed[4:]] == [5, 6]
    states = {trial.number: trial.state for trial in in_database(tmp_path)}
    assert states == dict.fromkeys(range(7), TrialState.RUNNING) | {1: TrialState.COMPLETE}


def test_a_resumed_search_proposes_no_values_again(tmp_path):
    study = study_of(arms="none")
    _, configs = begin(study, tmp_path, trials=3)
    _, resumed = begin(study, tmp_path, ended=[0, 1, 2], trials=3)
    ratios = [config["mix.mixing_ratio"] for config in configs + resumed]
    assert len(set(ratios)) == 6
    assert [config["number"] for config in resumed] == [3, 4, 5]


def test_a_resumed_trial_ends_in_the_database_as_if_nothing_had_happened(tmp_path):
    study = study_of()
    searcher, _ = begin(study, tmp_path, trials=1)
    searcher.on_trial_result("trial-0", {"balanced/AP": 0.2, "step": 6, "training_iteration": 1, "final": 0.0})
    searcher, _ = begin(study, tmp_path, trials=1)
    end(searcher, 0, 0.3)
    (trial, *_) = in_database(tmp_path)
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 0.3)
    assert trial.intermediate_values == {6: 0.2, 12: 0.3}  # by step of the training


def test_a_trial_is_worth_its_best_checkpoint(tmp_path):
    searcher, _ = begin(study_of(), tmp_path, trials=1)
    end(searcher, 0, 0.3, best=0.5)
    (trial, *_) = in_database(tmp_path)
    assert (trial.value, trial.intermediate_values) == (0.5, {12: 0.3})


@pytest.mark.parametrize("storage", ["sqlite", "journal"])
def test_a_trial_that_the_budget_cut_off_is_complete_when_a_larger_one_lets_it_end(tmp_path, storage):
    study = study_of(storage=storage)
    searcher, configs = begin(study, tmp_path, trials=2)
    end(searcher, 0, 0.3)
    searcher.on_trial_result("trial-1", {"balanced/AP": 0.2, "step": 6, "training_iteration": 1, "final": 0.0})
    cut = TrialRow("0001", 1, "half-half", {}, {"balanced/AP": 0.2}, "out of budget")
    settle(study, load_optuna_study(study, tmp_path), [cut], list(GOALS))
    searcher, resumed = begin(study, tmp_path, ended={0}, trials=1)
    assert resumed == configs[1:]
    end(searcher, 0, 0.7)
    trial = load_optuna_study(study, tmp_path).trials[1]
    assert (trial.state, trial.value, trial.intermediate_values) == (TrialState.COMPLETE, 0.7, {6: 0.2, 12: 0.7})


@pytest.mark.parametrize("failed", [False, True])
def test_a_trial_without_a_row_is_taken_up_though_the_database_holds_its_end(tmp_path, failed):
    study = study_of()
    searcher, configs = begin(study, tmp_path, trials=2)
    if failed:
        searcher.on_trial_complete("trial-0", error=True)
    else:
        end(searcher, 0, 0.3)
    searcher, resumed = begin(study, tmp_path, trials=2)
    assert resumed == configs
    end(searcher, 0, 0.9)
    assert in_database(tmp_path)[0].state == (TrialState.FAIL if failed else TrialState.COMPLETE)
    assert in_database(tmp_path)[0].value == (None if failed else 0.3)


@pytest.mark.parametrize("asked", [False, True], ids=["waiting", "without values"])
def test_a_trial_cut_off_before_it_had_values_gets_them(tmp_path, asked):
    study = study_of()
    found, configs = begin(study, tmp_path, trials=1)
    found._enqueue()
    if asked:
        found._ot_study.ask()
    travelled = pickle.loads(pickle.dumps(searcher(study, GOALS, tmp_path, set())))  # as Tune does
    resumed = [travelled.suggest(f"trial-{n}") for n in range(3)]
    assert resumed[0] == configs[0]
    assert (resumed[1]["number"], resumed[1]["arm"], resumed[1]["mix.mixing_ratio"]) == (1, "half-half", 0.5)
    assert from_optuna(in_database(tmp_path)[1].params).items() <= trial_values(resumed[1]).items()
    assert (resumed[2]["number"], resumed[2]["arm"]) == (2, "cross-only")


def test_trials_that_are_settled_are_ranked_and_not_run_again(tmp_path):
    study = study_of(trials=1)
    rows = [
        TrialRow(
            id=f"{number:04d}",
            number=number,
            arm=name,
            values={"mix.mixing_ratio": ratio},
            metrics={"step": 12, "loss": 0.3, "balanced/AP": value},
            status="done",
            checkpoint=f"trials/{number:04d}/fit/checkpoint_0000012",
            seconds=3.0,
        )
        for number, (name, ratio, value) in enumerate(
            [("mono-only", 1.0, 0.3), ("half-half", 0.5, 0.5), ("cross-only", 0.0, 0.4), ("tuned", 0.3, 0.45)]
        )
    ]
    (tmp_path / "trials.jsonl").write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows), encoding="utf-8")
    job = FitJob(study, "store", "source", None, str(tmp_path / "trials"))
    run_search(job, GOALS, tmp_path, 1, lambda rows, changed: None)
    found = chosen(study, GOALS, tmp_path)
    assert (found.best.id, found.front, len(found.rows)) == ("0001", ["0001"], 4)
    assert found.best.checkpoint == "trials/0001/fit/checkpoint_0000012"
