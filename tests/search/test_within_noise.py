"""When the search of an arm ends since more of it would gain less than noise, and that it stays ended."""

import json
import warnings

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState, create_trial
from small_study import small_study

from hybridtune.config.study import Study
from hybridtune.config.validation import check
from hybridtune.errors import InputError
from hybridtune.search.optuna_search import searcher
from hybridtune.search.racing import keep_shares
from hybridtune.search.study import _endings
from hybridtune.search.within_noise import Ending, ending, ending_line, kept_endings
from hybridtune.storage.optuna_storage import load_optuna_study
from hybridtune.train.shares import shares_metric

GOAL = "multi/AP"
UNITS = 50


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def study_of(rule=True, **search):
    space = {"mixing_ratio": {"uniform": [0.0, 1.0]}, "temperature": {"loguniform": [0.01, 0.2]}}
    given = {"objective": GOAL, "stop_within_noise": rule, "trials": 20, "space": space, "arms": "none"}
    return small_study(search={"early_stopping": None, "storage": "journal", **given, **search})


def shares(number, value, noise):
    random = np.random.default_rng(number)
    return ((value + random.normal(0, noise, UNITS)) / UNITS)[:, None].astype(np.float32)


def trials_of(folder, values, noise=0.05, stopped=()):
    found = []
    for number, value in enumerate(values):
        keep_shares(folder / "trials" / f"{number:04d}", 3, shares(number, value, noise))
        over = {"state": TrialState.PRUNED} if number in stopped else {"value": value}
        found.append(create_trial(**over, intermediate_values={3: value}))
        found[-1].number = number
    return found


FLAT = [0.1, 0.3, 0.2, 0.4, 0.35, 0.501, 0.5, 0.502, 0.5, 0.501]
RISING = [0.1, 0.3, 0.2, 0.4, 0.35, 0.3, 0.5, 0.4, 0.45, 0.6]


def test_it_ends_where_the_later_trials_differ_by_less_than_noise(tmp_path):
    study = study_of()
    why = ending(study, tmp_path, trials_of(tmp_path, FLAT))
    assert (why.trials, why.ahead) == (10, 5)
    assert 0 < why.gain < why.noise
    assert "paired bootstrap of its two best over 50 units" in why.by
    assert ending(study, tmp_path, trials_of(tmp_path, FLAT, noise=1e-4)) is None  # the queries tell them apart
    assert ending(study, tmp_path, trials_of(tmp_path, RISING)) is None
    assert ending(study, tmp_path, trials_of(tmp_path, FLAT[:9])) is None  # too few
    assert ending(study_of(False), tmp_path, trials_of(tmp_path, FLAT)) is None


def test_trials_that_were_stopped_count_and_failed_ones_do_not(tmp_path):
    study, found = study_of(), trials_of(tmp_path, FLAT, stopped=(0, 6))
    assert ending(study, tmp_path, found).trials == 10
    failed = create_trial(state=TrialState.FAIL)
    assert ending(study, tmp_path, [*found[:9], failed]) is None


def test_measured_seeds_come_before_the_documents(tmp_path):
    figures = {"metrics": {GOAL: {"spread": 0.01}}}
    (tmp_path / "repeats.json").write_text(json.dumps({"contestants": {"tuned": figures}}), encoding="utf-8")
    why = ending(study_of(), tmp_path, trials_of(tmp_path, FLAT, noise=1e-4))
    assert why.noise == pytest.approx(0.01 * 2**0.5)
    assert why.by == "the spread over seeds"


def test_an_arm_that_ended_gets_no_more_trials_and_stays_ended(tmp_path):
    study = study_of({"ahead": 5, "min_trials": 10}, arms="searched")

    def run(found, first):
        configs = []
        for n in range(first, 100):
            config = found.suggest(f"t{n}")
            if config == "FINISHED":
                return configs
            configs.append(config)
            number = config["number"]
            value = FLAT[-1] if config["arm"] == "tuned" else 0.9 * number  # the others rise and rise
            keep_shares(tmp_path / "trials" / f"{number:04d}", 3, shares(number, value, 0.05))
            found.on_trial_complete(f"t{n}", {GOAL: value, "step": 3, "final": 1.0})
        raise AssertionError("it never ended")

    configs = run(searcher(study, {GOAL: "max"}, tmp_path, set()), 0)
    counts = {arm: sum(one["arm"] == arm for one in configs) for arm in ("tuned", "half-half", "mono-only")}
    assert counts == {"tuned": 10, "half-half": 20, "mono-only": 20}
    assert list(kept_endings(load_optuna_study(study, tmp_path))) == ["tuned"]
    lines, left_out = _endings(study, tmp_path)
    assert left_out == 10
    assert lines[0].startswith("tuned: ended after 10 of 20 trials (search.stop_within_noise): 5 more are expected to")
    again = searcher(study, {GOAL: "max"}, tmp_path, {config["number"] for config in configs})
    assert again.suggest("more") == "FINISHED"


def test_the_line_has_both_figures():
    line = ending_line("tuned", 30, Ending(12, 5, 0.00123, 0.0045, "the spread over seeds"))
    assert line.endswith("5 more are expected to gain 0.0012, less than the noise 0.0045 by the spread over seeds")


def test_true_stands_for_the_defaults_and_shares_are_asked_for():
    assert study_of().search.stop_within_noise.ahead == 5
    assert study_of(False).search.stop_within_noise is None
    assert shares_metric(study_of()) == GOAL
    assert shares_metric(study_of(False)) is None


@pytest.mark.parametrize(
    ("search", "mistake"),
    [
        ({"objective": [GOAL, "mono/AP"]}, "search.stop_within_noise: goes by one objective, not by 2"),
        (
            {"early_stopping": {"method": "paired", "metric": "mono/AP"}},
            "search.early_stopping.metric mono/AP: with search.stop_within_noise",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(search, mistake):
    tree = study_of().model_dump()
    tree["search"] |= search
    with pytest.raises(InputError, match=mistake):
        check(Study, tree, "study.yaml")
