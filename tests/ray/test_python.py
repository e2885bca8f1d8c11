"""A study from Python, as a notebook runs one: no file, no terminal, a callback that sees it all."""

import pandas as pd
import pytest

from hybridtune import DualEncoder, evaluate_model, read_trials, run_study

pytestmark = [pytest.mark.ray, pytest.mark.timeout(280)]


def test_the_result_names_the_best_trial_and_holds_the_table(searched_here):
    result, seen = searched_here
    table = result.trials
    assert list(table.index) == ["0000", "0001", "0002"]
    assert set(table["status"]) == {"done"}
    assert result.best.metrics["balanced/AP"] == table["balanced/AP"].max() == table["balanced/AP"][result.best.id]
    assert list(result.best.values.values()) == [table[name][result.best.id] for name in result.best.values]
    pd.testing.assert_frame_equal(read_trials(result.folder), table)
    assert DualEncoder.load(result.model).encode_queries(["habari"]).shape == (1, 32)
    assert seen.results == [result.result]


def test_without_a_test_benchmark_the_contestants_meet_on_dev(searched_here):
    result, seen = searched_here
    table = result.contestants
    assert result.result["contestant_scores"]["benchmark"] == "dev"
    assert list(table.index) == ["tuned", "start", "start, centred"]
    assert table["trial"]["tuned"] == result.best.id
    for metric in ("mono/AP", "multi/AP", "balanced/AP"):
        assert table[metric]["tuned"] == pytest.approx(result.best.metrics[metric], rel=1e-12)
        assert table[metric]["start"] != table[metric]["tuned"]
    assert ("scoring the contestants", True) in seen.phases


def test_a_callback_sees_trials_scores_and_steps(searched_here):
    result, seen = searched_here
    for row in result.trials.itertuples():
        assert seen.trials[row.Index] == ["running"] * 7 + ["done"]
        assert list(seen.scores[row.Index]) == [4, 8, 12, 16, 20, 24]
        assert result.trials["balanced/AP"][row.Index] == max(seen.scores[row.Index].values())
    assert ("tokenising", True) in seen.phases
    assert {trial for trial, *_ in seen.steps} <= set(result.trials.index)
    assert seen.steps
    assert all(0 < step <= 24 and loss > 0 and rate > 0 for _, step, loss, rate in seen.steps)
    assert any(text.startswith("3 trials, ") for text in seen.messages)


def test_its_model_scores_on_a_benchmark_as_it_did(shared_ray, searched_here):
    result, _ = searched_here
    scores = evaluate_model(
        result.folder, "newsroom:dev", measures=["AP"], benchmark__documents=[0, 5], resources__evaluators=1
    )
    assert scores.metrics["multi/AP"] == pytest.approx(result.best.metrics["multi/AP"], abs=1e-4)
    assert (result.folder / "evaluations").is_dir()


def test_a_study_that_has_ended_gives_its_result_again(searched_here):
    result, _ = searched_here
    again = run_study(result.study, result.folder)
    assert again.result == result.result
