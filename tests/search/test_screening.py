"""The screening before a search: its points, what of them the search begins with, and how it goes on after a stop."""

import json
import random
import warnings
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import optuna
import pytest
from pydantic import ValidationError
from small_study import small_study

from hybridtune.config.study import Study
from hybridtune.config.validation import check
from hybridtune.errors import FitError, InputError
from hybridtune.search import screening as screening_run
from hybridtune.search.arms import contestants
from hybridtune.search.optuna_search import searcher
from hybridtune.search.screened import kept, kept_starts, screened_study, screened_trials
from hybridtune.search.screening import run_screening, screened_points
from hybridtune.search.study import run_search
from hybridtune.search.trial import trial_name, trial_values
from hybridtune.search.trial_log import TrialLog
from hybridtune.storage.screening_rows import SCREENING, Screening, read_screened, read_screening, write_screening
from hybridtune.storage.trial_rows import ENDED, TrialRow, read_rows
from hybridtune.train.job_queue import FitJob

GOAL = "balanced/AP"
GOALS = {GOAL: "max"}
FEW = {"layers": 1, "trials": 5, "keep": 2}


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def study_of(screening=FEW, seed=3, train=None, **search):
    given = {"trials": 4, "storage": "journal", "screening": screening, **search}
    return small_study(seed=seed, train={"max_steps": 12, "eval_steps": 4, **(train or {})}, search=given)


def of_arm(points, arm):
    return [one for one in points if one["arm"] == arm]


def test_the_points_are_a_function_of_the_seed_alone():
    points = screened_points(study_of())
    random.seed(1)
    np.random.seed(1)
    assert screened_points(study_of()) == points
    other = screened_points(study_of(seed=4))
    assert [trial_values(one) for one in of_arm(other, "tuned")] != [
        trial_values(one) for one in of_arm(points, "tuned")
    ]
    assert len(points) == screened_trials(study_of()) == 20
    assert screened_trials(study_of(None)) == 0


def test_arms_take_turns_and_begin_as_their_search_does():
    study = study_of(points=[{"temperature": 0.03}, {"mixing_ratio": 0.25, "temperature": 0.04}])
    points = screened_points(study)
    assert [one["arm"] for one in points] == ["mono-only", "half-half", "cross-only", "tuned"] * 5
    assert [trial_name(one) for one in points] == [f"screened-{number:04d}" for number in range(20)]
    assert [one["number"] for one in points] == list(range(20))
    for arm, ratio in (("mono-only", 1.0), ("half-half", 0.5), ("cross-only", 0.0)):
        own = of_arm(points, arm)
        assert [one["proposed"] for one in own] == ["file"] + ["random"] * 4
        assert {one["mix.mixing_ratio"] for one in own} == {ratio}
        assert own[0]["train.temperature"] == study.train.temperature
    own = of_arm(points, "tuned")
    assert [one["proposed"] for one in own] == ["point"] * 2 + ["random"] * 3
    assert (own[0]["train.temperature"], own[1]["mix.mixing_ratio"]) == (0.03, 0.25)


@pytest.mark.parametrize("seed", range(5))
def test_points_are_in_their_ranges_and_all_different(seed):
    space = {
        "mixing_ratio": {"uniform": [0.2, 0.8], "step": 0.1},
        "lora_rank": {"choice": [0, 4]},
        "lora_alpha": {"loguniform": [1.0, 8.0], "when": {"lora_rank": [4]}},
    }
    study = study_of({"layers": 1, "trials": 12, "keep": 3}, seed, space=space, arms="none")
    points = [trial_values(one) for one in screened_points(study)]
    assert len(points) == len({json.dumps(one, sort_keys=True) for one in points}) == 12
    for one in points:
        assert study.search.space["mix.mixing_ratio"].allows(one["mix.mixing_ratio"])
        assert ("train.lora_alpha" in one) == (one["train.lora_rank"] == 4)
        study.with_values(one)


def test_a_small_space_ends_the_points_of_its_arm():
    space = {"mixing_ratio": {"uniform": [0.0, 1.0]}, "batch_size": {"choice": [8, 16, 32]}}
    points = screened_points(study_of(space=space))
    assert [len(of_arm(points, arm)) for arm in ("mono-only", "half-half", "cross-only", "tuned")] == [3, 3, 3, 5]
    alone = screened_points(study_of(space={"mixing_ratio": {"uniform": [0.0, 1.0]}}))
    assert [one["arm"] for one in alone] == ["mono-only", "half-half", "cross-only", *["tuned"] * 5]


def rows_of(study, value=lambda number: number / 100, status="done"):
    """All points of a screening as rows, with scores by their number."""
    return [
        TrialRow(
            trial_name(one),
            one["number"],
            one["arm"],
            trial_values(one),
            {GOAL: value(one["number"]), "multi/rank_distance": value(one["number"]), "step": 12},
            status,
            proposed=one["proposed"],
        )
        for one in screened_points(study)
    ]


def numbers(found):
    return {arm: [row.number for row in rows] for arm, rows in found.items()}


def test_the_best_of_what_was_drawn_is_kept_in_each_arm():
    rows = rows_of(study_of())
    assert numbers(kept(study_of(), rows)) == {
        "mono-only": [16, 12],
        "half-half": [17, 13],
        "cross-only": [18, 14],
        "tuned": [19, 15],
    }
    falling = rows_of(study_of(), lambda number: -number)
    assert numbers(kept(study_of(), falling))["mono-only"] == [4, 8]  # not 0, which has the file's values
    assert numbers(kept(study_of(), falling))["tuned"] == [3, 7]
    less = study_of(objective="multi/rank_distance")
    assert numbers(kept(less, rows))["tuned"] == [3, 7]
    equal = rows_of(study_of(), lambda number: 0.5)
    assert numbers(kept(study_of(), equal))["half-half"] == [5, 9]


def test_what_ended_comes_before_what_was_stopped_and_failures_are_nothing():
    study = study_of(arms="none")
    rows = rows_of(study)
    rows[4].status = "failed"
    rows[3].status, rows[3].metrics["step"] = "stopped early", 8
    rows[2].status, rows[2].metrics["step"] = "stopped early", 4
    assert numbers(kept(study, rows)) == {"tuned": [1, 0]}
    rows[1].status, rows[1].metrics = "done", {}
    assert numbers(kept(study, rows)) == {"tuned": [0, 3]}
    rows[0].status = "cut off"
    assert numbers(kept(study, rows)) == {"tuned": [3, 2]}
    assert numbers(kept(study, [])) == {"tuned": []}


def test_a_drawn_point_that_the_search_begins_with_anyway_is_not_kept():
    study = study_of(
        space={"mixing_ratio": {"uniform": [0.0, 1.0]}, "batch_size": {"choice": [8, 32]}}, arms="searched"
    )
    rows = rows_of(study)
    twin = replace(rows[0], id="screened-0099", number=99, proposed="random", metrics={GOAL: 0.99, "step": 12})
    assert [row.number for row in kept(study, [*rows, twin])["mono-only"]] == [4]


def end_screening(study, folder):
    (folder / SCREENING).mkdir()
    rows = rows_of(study)
    (folder / SCREENING / ENDED).write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows))
    chosen = {arm: {row.id: row.values for row in some} for arm, some in kept(study, rows).items()}
    write_screening(folder, Screening(1, 2, chosen))
    return {row.number: row for row in rows}


@pytest.mark.parametrize("cut", [0, 1, 5, 9, 15])
def test_the_search_of_each_arm_begins_with_them_wherever_it_was_cut_off(tmp_path, cut):
    study = study_of(sampler="random")
    rows = end_screening(study, tmp_path)
    found, configs = searcher(study, GOALS, tmp_path, set()), []
    for n in range(16):
        if n == cut:
            found = searcher(study, GOALS, tmp_path, set(range(n)))  # the trials before have ended
        configs.append(found.suggest(f"t{n}"))
    assert found.suggest("more") == "FINISHED"
    for arm, (best, second) in {"mono-only": (16, 12), "half-half": (17, 13), "cross-only": (18, 14)}.items():
        own = of_arm(configs, arm)
        assert [one["proposed"] for one in own] == ["file", "screened", "screened", "random"]
        assert [trial_values(one) for one in own[1:3]] == [rows[best].values, rows[second].values]
    own = of_arm(configs, "tuned")
    assert [one["proposed"] for one in own] == ["screened", "screened", "random", "random"]
    assert [trial_values(one) for one in own[:2]] == [rows[19].values, rows[15].values]


def test_points_of_the_file_come_before_those_of_the_screening(tmp_path):
    study = study_of(points=[{"mixing_ratio": 0.25, "temperature": 0.04}], arms="none")
    end_screening(study, tmp_path)
    found = searcher(study, GOALS, tmp_path, set())
    proposed = [found.suggest(f"t{n}")["proposed"] for n in range(4)]
    assert proposed == ["point", "screened", "screened", "random"]


def test_without_a_screening_nothing_changes(tmp_path):
    assert kept_starts(study_of(None), tmp_path) == {}
    found = searcher(study_of(None), GOALS, tmp_path, set())
    assert [found.suggest(f"t{n}")["proposed"] for n in range(5)] == ["file", "file", "file", "random", "random"]


def test_a_damaged_end_is_named(tmp_path):
    (tmp_path / "screening.json").write_text("{")
    with pytest.raises(InputError, match=r"screening\.json is no JSON: .*; without the file the study screens again"):
        read_screening(tmp_path)


class Trainer:
    """In place of Tune: trains the configurations that the proposer gives, up to so many; `trained` are their names."""

    def __init__(self, monkeypatch, folder, most=99, failing=(), seconds=1.0):
        self.trained, self.options, self._folder = [], [], folder
        self._most, self._failing, self._seconds = most, failing, seconds
        monkeypatch.setattr(screening_run, "run_trials", self._run)

    def _run(self, job, proposer, folder, *, callbacks, stop, **options):
        self.options.append({**options, "job": job, "stop": stop})
        (log,) = callbacks
        assert folder == self._folder / SCREENING
        while (config := proposer.suggest("")) != "FINISHED" and len(self.trained) < self._most:
            trial, name = (
                SimpleNamespace(config=config, error_file=None, run_metadata=SimpleNamespace()),
                trial_name(config),
            )
            log.on_trial_start(0, [], trial)
            self.trained.append(name)
            (folder / "trials" / name / "fit" / "checkpoint_0000012").mkdir(parents=True, exist_ok=True)
            score = {GOAL: config["number"] / 100, "step": 12, "best_step": 12, "ended": 1.0, "final": 0.0}
            log.on_trial_result(0, [], trial, score)
            if name in self._failing:
                log.on_trial_error(0, [], trial)
                continue
            log.on_trial_result(0, [], trial, {**score, "final": 1.0})
            log.on_trial_complete(0, [], trial)


def job_of(study, folder):
    trials = folder / SCREENING / "trials"
    return FitJob(screened_study(study), "store", "source", None, str(trials), home=str(trials))


def screen(study, folder):
    run_screening(study, job_of(study, folder), 2, folder, 2, lambda rows, row: None)


def test_a_screening_ends_with_its_points_and_without_its_checkpoints(tmp_path, monkeypatch):
    study, ran = study_of(), Trainer(monkeypatch, tmp_path, failing=["screened-0019"])
    screen(study, tmp_path)
    assert ran.trained == [f"screened-{number:04d}" for number in range(20)]
    ended = read_screening(tmp_path)
    assert (ended.layers, ended.of) == (1, 2)
    assert {arm: list(points) for arm, points in ended.kept.items()}["tuned"] == ["screened-0015", "screened-0011"]
    by_id = {row.id: row for row in read_screened(tmp_path)}
    assert all(by_id[name].values == values for points in ended.kept.values() for name, values in points.items())
    assert by_id["screened-0019"].status == "failed"
    assert not list(tmp_path.rglob("checkpoint_*"))
    assert (tmp_path / SCREENING / "trials" / "screened-0000" / "metrics.jsonl").is_file()
    assert contestants(study, read_rows(tmp_path)) == {}  # none of them is a trial of the study
    assert not (tmp_path / ENDED).exists()


@pytest.mark.parametrize("cut", [0, 1, 7, 19])
def test_a_screening_that_was_cut_off_ends_as_an_undisturbed_one(tmp_path, monkeypatch, cut):
    study = study_of()
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
    Trainer(monkeypatch, whole)
    screen(study, whole)
    first = Trainer(monkeypatch, parts, most=cut)
    with pytest.raises(FitError, match=f"{cut} of 20 trainings of the screening ended; to finish the others"):
        screen(study, parts)
    assert read_screening(parts) is None
    then = Trainer(monkeypatch, parts)
    screen(study, parts)
    assert first.trained + then.trained == [f"screened-{number:04d}" for number in range(20)]
    assert read_screening(parts) == read_screening(whole)


def test_early_stopping_has_arms_of_its_own_size(tmp_path, monkeypatch):
    few, many = (
        study_of(trials=12),
        study_of({"layers": 1, "trials": 9, "keep": 2}, arms="none", fidelities=[{"steps": 4}]),
    )
    for study, stops in ((few, False), (many, True)):
        folder = tmp_path / str(stops)
        folder.mkdir()
        ran = Trainer(monkeypatch, folder)
        screen(study, folder)
        assert (ran.options[0]["scheduler"] is not None) == stops
    assert screened_study(many).search.fidelities == []


def test_its_steps_count_against_the_budget(tmp_path, monkeypatch):
    study = study_of(step_budget=12 * 6)
    ran = Trainer(monkeypatch, tmp_path, most=6)
    with pytest.raises(FitError, match=r"6 of 20 trainings .* within the budget; to go on, with a larger budget"):
        screen(study, tmp_path)
    assert ran.options[0]["stop"].steps_left == 72
    with pytest.raises(
        FitError, match=r"search.step_budget 72 is used up: the trials trained 72 steps, all of them in"
    ):
        run_search(job_of(study, tmp_path), GOALS, tmp_path, 1, lambda rows, row: None)
    with pytest.raises(FitError, match="6 of 20"):  # with the same budget it goes no further
        screen(study, tmp_path)
    assert len(ran.trained) == 6
    larger = study_of(step_budget=12 * 24)
    Trainer(monkeypatch, tmp_path)
    screen(larger, tmp_path)
    assert len(read_screened(tmp_path)) == 20


def test_the_search_has_what_the_screening_left_of_the_budget(tmp_path, monkeypatch):
    study = study_of(step_budget=12 * 22)
    end_screening(study, tmp_path)
    limits = []

    def run_trials(*arguments, stop, **options):
        limits.append(stop.steps_left)

    monkeypatch.setattr("hybridtune.search.study.run_trials", run_trials)
    with pytest.raises(FitError, match="0 of 16 trials ended"):
        run_search(replace(job_of(study, tmp_path), study=study), GOALS, tmp_path, 1, lambda rows, row: None)
    assert limits == [12 * 2]


@pytest.mark.parametrize(
    ("sections", "mistake"),
    [
        ({"search": {"screening": {**FEW, "keep": 4}}}, "keep 4: is not below the 4 points that are drawn for an arm"),
        ({"search": {"screening": FEW, "trials": 2}}, "keep 2: the search of an arm has room for 1, search.trials 2"),
        ({"search": {"screening": FEW, "objective": [GOAL, "mono/AP"]}}, "screening: goes by one objective, not by 2"),
        ({"search": {"screening": FEW, "sampler": "grid", "arms": "rerun"}}, "search.sampler grid tries every"),
        ({"search": {"screening": FEW, "space": {}}}, "search.space is empty"),
        ({"search": {"screening": FEW}, "train": {"freeze_layers": 1}}, "layers 1: train.freeze_layers 1 leaves none"),
        ({"search": {"screening": {"layers": 0}}}, "search.screening.layers"),
        ({"search": {"screening": {"trials": 5}}}, "search.screening.layers"),
    ],
)
def test_what_makes_no_screening_is_refused(sections, mistake):
    tree = {"name": "small", "data": {"train": "newsroom:train"}, "benchmarks": {"dev": {"path": "newsroom:dev"}}}
    with pytest.raises(InputError, match=mistake):
        check(Study, tree | sections, "study.yaml")


def test_a_searched_number_of_frozen_layers_is_refused_too():
    space = {"mixing_ratio": {"uniform": [0.0, 1.0]}, "freeze_layers": {"int": [0, 3]}}
    with pytest.raises(
        ValidationError, match=r"layers 3: train\.freeze_layers 3 leaves none of them .* give at least 4"
    ):
        study_of({**FEW, "layers": 3}, space=space)
    study_of({**FEW, "layers": 4}, space=space)


def test_a_log_of_the_screening_knows_the_rows_of_its_folder(tmp_path):
    study = study_of()
    end_screening(study, tmp_path)
    assert len(TrialLog(tmp_path / SCREENING).rows) == 20
    assert TrialLog(tmp_path).rows == {}
