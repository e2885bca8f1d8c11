"""A study from Python, as a notebook runs one: no file, no terminal, a callback that sees it all."""

import pandas as pd
import pytest

from hybridtune import DualEncoder, Study, StudyCallback, evaluate_model, read_trials, run_study

pytestmark = [pytest.mark.ray, pytest.mark.timeout(280)]


class Seen(StudyCallback):
    def __init__(self):
        self.messages, self.trials, self.scores, self.steps, self.phases, self.results = [], {}, {}, [], [], []

    def on_message(self, text):
        self.messages.append(text)

    def on_phase_end(self, phase, completed):
        self.phases.append((phase, completed))

    def on_trial(self, row, rows):
        self.trials.setdefault(row.id, []).append(row.status)

    def on_score(self, trial, step, metrics):
        self.scores.setdefault(trial, {})[step] = metrics["balanced/AP"]

    def on_step(self, trial, step, loss, pairs_per_second):
        self.steps.append((trial, step, loss, pairs_per_second))

    def on_study_end(self, result):
        self.results.append(result)


@pytest.fixture(scope="module")
def ran(no_ray, small_tree, tmp_path_factory):
    train = {"batch_size": 8, "max_steps": 300, "eval_steps": 150, "learning_rate": 1e-3}
    search = {
        "trials": 2,
        "baselines": False,
        "early_stopping": None,
        "space": {"mix.mixing_ratio": {"uniform": [0.2, 0.8]}},
    }
    seen = Seen()
    return run_study(
        Study(**small_tree(train=train, search=search)), tmp_path_factory.mktemp("out") / "s", [seen]
    ), seen


def test_the_result_names_the_best_trial_and_holds_the_table(ran):
    result, seen = ran
    table = result.trials
    assert list(table.index) == ["0000", "0001"]
    assert set(table["status"]) == {"done"}
    assert result.best.metrics["balanced/AP"] == table["balanced/AP"].max() == table["balanced/AP"][result.best.id]
    assert list(result.best.values.values()) == [table[name][result.best.id] for name in result.best.values]
    pd.testing.assert_frame_equal(read_trials(result.folder), table)
    assert DualEncoder.load(result.model).encode_queries(["habari"]).shape == (1, 32)
    assert seen.results == [result.result]


def test_a_callback_sees_trials_scores_and_steps(ran):
    result, seen = ran
    for row in result.trials.itertuples():
        assert seen.trials[row.Index] == ["running"] * 3 + ["done"]
        assert list(seen.scores[row.Index]) == [150, 300]
        assert result.trials["balanced/AP"][row.Index] == max(seen.scores[row.Index].values())
    assert ("tokenising", True) in seen.phases
    assert {trial for trial, *_ in seen.steps} <= set(result.trials.index)
    assert seen.steps
    assert all(0 < step <= 300 and loss > 0 and rate > 0 for _, step, loss, rate in seen.steps)
    assert any(text.startswith("2 trials, ") for text in seen.messages)


def test_its_model_scores_on_a_benchmark_as_it_did(ran):
    result, _ = ran
    scores = evaluate_model(result.folder, "newsroom:dev", measures=["AP"], benchmark__documents=[0, 5])
    assert scores.metrics["multi/AP"] == pytest.approx(result.best.metrics["multi/AP"], abs=1e-4)
    assert (result.folder / "evaluations").is_dir()


def test_a_study_that_has_ended_gives_its_result_again(ran):
    result, _ = ran
    again = run_study(result.study, result.folder)
    assert again.result == result.result
