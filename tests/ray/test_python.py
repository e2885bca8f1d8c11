"""A study from Python, as a notebook runs one: no file, no terminal, a callback that sees it all."""

import dataclasses
import json

import pandas as pd
import pytest

from hybridtune import DualEncoder, evaluate_model, read_trials, run_study
from hybridtune.data.store import existing_store, recipe, store_root
from hybridtune.report import requested_vs_realised
from hybridtune.report.record import read_record
from hybridtune.study.leak_guard import dropped_groups

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
    assert list(table.index) == [
        "tuned",
        "tuned, centred",
        "tuned, centred, scores standardised",
        "start",
        "start, centred",
        "start, centred together",
        "start, shifted",
        "start, centred, scores standardised",
    ]
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


def test_a_pair_that_is_held_out_is_never_drawn_and_called_unseen(searched_here):
    result, seen = searched_here
    record = read_record(result.folder)
    pairs = {row["pair"] for trial in record.trials for row in trial.plan["table"]}
    assert {"en-en", "de-de", "en-es", "es-de"} <= pairs
    assert not {"en-de", "de-en"} & pairs
    assert any(text.startswith("held out, though the data has them: de-en, en-de ") for text in seen.messages)
    table = requested_vs_realised.requested_vs_realised(record)
    assert ["0 (held out)", "0 drawn"] in [list(row[1:]) for row in table.rows]
    scores = json.loads((result.model / "scores.json").read_text(encoding="utf-8"))["dev"]
    trained = {row["pair"]: row["training_pairs"] for row in scores["pairs"] if row["setting"] == "cross"}
    assert trained["en-de"] == trained["de-en"] == 0
    assert scores["groups"]["unseen-pairs"]["cross"]["rows"] >= 2


def test_translated_pairs_are_told_apart(searched_here):
    result, _ = searched_here
    record = read_record(result.folder)
    assert record.best.pairs_of("translated").total() > 0
    assert set(record.best.pairs_of("native")).isdisjoint(record.best.pairs_of("translated"))
    assert "origin" in requested_vs_realised.training_pairs(record).columns
    assert "translated)" in (result.model / "README.md").read_text(encoding="utf-8")


def test_a_group_that_leaks_is_dropped_and_the_model_never_saw_it(searched_here):
    result, seen = searched_here
    assert dropped_groups(result.study, result.folder) == {"leaked"}
    assert any("the 1 groups that hold them are left out" in text for text in seen.messages)
    made_of = recipe(result.study.data, result.study.encoder)
    assert existing_store(store_root(result.study.data), made_of) is None
    store = existing_store(store_root(result.study.data), dataclasses.replace(made_of, dropped=frozenset({"leaked"})))
    assert len(store.corpus().sources) == sum(1 for _ in made_of.groups()) - 1


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
