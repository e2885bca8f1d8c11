"""When a trial is stopped: by the real rules of Tune, over our steps, through interruptions."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from small_study import small_study

from hybridtune.config.fields import BenchmarkSource
from hybridtune.errors import InputError
from hybridtune.evaluate.benchmark import load_benchmark
from hybridtune.search.space import check_stopping
from hybridtune.search.stopping import scheduler
from hybridtune.storage.trial_rows import TrialRow, write_running

STEPS, EVERY = 27, 3
BOTH = pytest.mark.parametrize("method", ["asha", "median"])


def study_of(objective="balanced/AP", **stopping):
    search = {"objective": objective, "early_stopping": stopping, "trials": 9}
    return small_study(train={"max_steps": STEPS, "eval_steps": EVERY}, search=search)


class Search:
    """Hands reports to a rule as Tune does; keeps no report of a trial that was stopped."""

    def __init__(self, rule, run=1):
        self.rule, self.run, self.trials, self.stopped = rule, run, {}, set()
        self.controller = SimpleNamespace(get_live_trials=lambda: [SimpleNamespace(status=Trial.PENDING)])

    def report(self, number, step, value, metric="balanced/AP", arm="tuned", proposed="sampler", final=0.0):
        """The decision: "STOP" or "CONTINUE"."""
        trial = self.trials.get(number)
        if trial is None:  # Tune gives a trial another id in every run
            config = {"number": number, "arm": arm, "proposed": proposed, "temperature": 0.1}
            trial = self.trials[number] = SimpleNamespace(trial_id=f"run{self.run}-{number}", config=config)
            self.rule.on_trial_add(self.controller, trial)
        result = {"step": step, metric: value, "ended": float(step >= STEPS), "final": final}
        decision = self.rule.on_trial_result(self.controller, trial, result)
        if decision == TrialScheduler.STOP:
            self.stopped.add(number)
        if decision == TrialScheduler.STOP or final:
            self.rule.on_trial_complete(self.controller, trial, result)
        return decision


def arm_of(number):
    return "half-half" if number % 3 == 0 else "tuned"


def write(folder, reports):
    """The rows and ``metrics.jsonl`` of the trials: reports as (number, step, value); of two arms in turn."""
    numbers = sorted({number for number, *_ in reports})
    rows = [TrialRow(f"{number:04d}", number, arm_of(number), {}) for number in numbers]
    folder.mkdir(parents=True, exist_ok=True)
    write_running(folder, rows)
    for number, step, value in reports:
        trial = folder / "trials" / f"{number:04d}"
        trial.mkdir(parents=True, exist_ok=True)
        with (trial / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"step": step, "balanced/AP": value}) + "\n")


@BOTH
def test_the_worst_is_stopped_at_its_first_score_and_one_with_the_files_values_never(method):
    search = Search(scheduler(study_of(method=method)))
    for number, value in enumerate([0.5, 0.6, 0.7, 0.8]):
        assert search.report(number, EVERY, value) == "CONTINUE"
    for step in range(EVERY, STEPS + 1, EVERY):
        assert search.report(4, step, 0.1, proposed="file") == "CONTINUE"
    assert search.report(4, STEPS, 0.1, final=1.0) == "CONTINUE"
    assert search.report(5, EVERY, 0.2) == "STOP"


@BOTH
def test_less_of_a_distance_is_better(method):
    goal = "multi/rank_distance"
    search = Search(scheduler(study_of(goal, method=method)))
    for number in range(3):
        search.report(number, EVERY, 30.0 - number, metric=goal)  # each better than the one before
    assert not search.stopped
    assert search.report(3, EVERY, 99.0, metric=goal) == "STOP"
    assert search.report(4, EVERY, 9.0, metric=goal) == "CONTINUE"


@BOTH
def test_a_named_metric_decides_not_the_objective(method):
    search = Search(scheduler(study_of(["mono/AP", "cross/AP"], method=method, metric="multi/AP")))
    for number in range(3):
        assert search.report(number, EVERY, 0.5 + number, metric="multi/AP") == "CONTINUE"
    assert search.report(3, EVERY, 0.1, metric="multi/AP") == "STOP"


@BOTH
def test_a_trial_that_has_come_to_its_end_is_not_stopped(method):
    search = Search(scheduler(study_of(method=method)))
    for number in range(4):
        search.report(number, EVERY, 0.5 + number / 10)
    for number in range(4):
        search.report(number, STEPS, 0.5 + number / 10)
    assert search.report(9, STEPS, 0.0) == "CONTINUE"  # its best checkpoint is still to come
    assert search.report(9, STEPS, 0.0, final=1.0) == "CONTINUE"


def test_the_median_rule_waits_for_trials_and_never_pauses_one():
    search = Search(scheduler(study_of(method="median", min_trials=3)))
    decisions = [search.report(number, EVERY, 0.9 - number / 10) for number in range(5)]
    assert decisions == ["CONTINUE"] * 3 + ["STOP"] * 2


def test_nothing_is_stopped_before_the_grace(tmp_path):
    search = Search(scheduler(study_of(method="median", grace_steps=2 * EVERY)))
    assert {search.report(number, EVERY, 0.9 - number / 10) for number in range(6)} == {"CONTINUE"}
    assert search.report(0, 2 * EVERY, 0.9) == "CONTINUE"


def test_a_first_score_beyond_the_last_step_is_no_error():
    study = study_of()
    study = study.model_copy(update={"train": study.train.model_copy(update={"eval_steps": 10 * STEPS})})
    assert Search(scheduler(study)).report(0, STEPS, 0.1) == "CONTINUE"
    assert (
        scheduler(study.model_copy(update={"search": study.search.model_copy(update={"early_stopping": None})})) is None
    )


@BOTH
@pytest.mark.parametrize("seed", range(12))
def test_a_study_that_was_cut_off_goes_on_to_the_same_decisions(method, seed, tmp_path):
    """Reports in any order, cut anywhere: what comes after is decided as if nothing had happened."""
    random = np.random.default_rng(seed)
    study = study_of(method=method, reduction_factor=2.0)
    whole = Search(scheduler(study, tmp_path))
    steps, told, decided = dict.fromkeys(range(15), 0), [], []
    while len(told) < 120:
        going = [number for number in steps if number not in whole.stopped and steps[number] < STEPS]
        if not going:
            break
        number = int(random.choice(going))
        steps[number] += EVERY
        told.append((number, steps[number], float(random.random())))
        decided.append(whole.report(*told[-1], arm=arm_of(number), proposed="file" if number == 0 else "sampler"))
    cut = len(told) // 2
    write(tmp_path, told[:cut])
    second = Search(scheduler(study, tmp_path), run=2)
    again = [
        second.report(*one, arm=arm_of(one[0]), proposed="file" if one[0] == 0 else "sampler") for one in told[cut:]
    ]
    assert again == decided[cut:]
    assert "STOP" in decided


@BOTH
def test_without_the_earlier_scores_a_bad_trial_would_go_on(method, tmp_path):
    assert Search(scheduler(study_of(method=method))).report(10, EVERY, 0.1) == "CONTINUE"
    write(tmp_path, [(number, EVERY, 0.5) for number in (1, 2, 4, 5)])
    with (tmp_path / "trials" / "0004" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "balan')  # killed while it wrote
    assert Search(scheduler(study_of(method=method), tmp_path)).report(10, EVERY, 0.1) == "STOP"


@BOTH
def test_a_trial_is_measured_by_its_own_arm_alone(method):
    search = Search(scheduler(study_of(method=method)))
    for number in range(4):
        search.report(number, EVERY, 0.9)
    for number in range(4, 8):
        assert search.report(number, EVERY, 0.1 + number / 100, arm="mono-only") == "CONTINUE"
    assert search.report(8, EVERY, 0.05, arm="mono-only") == "STOP"


def test_a_rerun_after_the_search_stops_nobody(tmp_path):
    write(tmp_path, [(number, EVERY, 0.5) for number in (1, 2, 4, 5)])
    rows = [TrialRow(f"{n:04d}", n, "tuned", {}, proposed="rerun") for n in (1, 2, 4, 5)]
    write_running(tmp_path, rows)
    assert Search(scheduler(study_of(), tmp_path)).report(10, EVERY, 0.1) == "CONTINUE"


@pytest.mark.parametrize(
    ("trials", "arms", "stops"), [(7, "searched", False), (8, "searched", True), (7, "none", False)]
)
def test_small_arms_are_not_stopped_early(trials, arms, stops):
    study = small_study(search={"trials": trials, "arms": arms})
    assert (scheduler(study) is not None) is stops


@pytest.fixture
def benchmark(groups_file):
    row = {"group_id": "1", "queries": {"en": "q"}, "passages": {"en": "p"}}
    return load_benchmark(BenchmarkSource(path=str(groups_file([row]))))


@pytest.mark.parametrize(
    ("stopping", "told"),
    [
        ({"metric": "mono/MAP"}, "search.early_stopping.metric: unknown metric 'mono/MAP'; known: mono/AP"),
        ({"metric": "cross/AP"}, "search.early_stopping.metric cross/AP: the benchmark"),
        ({"grace_steps": STEPS}, f"grace_steps {STEPS}: a trial has train.max_steps {STEPS} steps, so none would be"),
    ],
)
def test_what_could_stop_nothing_is_told(stopping, told, benchmark):
    with pytest.raises(InputError) as caught:
        check_stopping(study_of("mono/AP", **stopping), benchmark)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_can_stop_trials_is_fine(benchmark):
    check_stopping(study_of("mono/AP", metric="mono/nDCG@10", grace_steps=STEPS - 1), benchmark)
    study = study_of("cross/AP")  # the objective is checked elsewhere
    check_stopping(study, benchmark)
