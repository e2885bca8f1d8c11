"""A study that was cut off goes on where its folder was moved to, and its model is evaluated there."""

import signal

import pytest
from conftest import Seen

from hybridtune import evaluate_model, run_study
from hybridtune.config.study import Study
from hybridtune.storage.trial_rows import read_rows

pytestmark = [pytest.mark.ray, pytest.mark.timeout(280)]


class Interrupting(Seen):
    """Presses Ctrl-C at the second score of the second trial."""

    def on_score(self, trial, step, metrics):
        super().on_score(trial, step, metrics)
        if (trial, step) == ("0001", 8):
            signal.raise_signal(signal.SIGINT)


def without_times(metrics):
    return {name: value for name, value in metrics.items() if not name.endswith("_seconds") and name != "data_wait"}


def values_of(folder):
    """What the trials of a study came to, by their ids."""
    return {row.id: (row.status, row.values, without_times(row.metrics), row.checkpoint) for row in read_rows(folder)}


def mentions(folder, place):
    """The records of a study folder that name a place; Tune's own files, which nothing reads again, are none."""
    tunes = (
        "*.pkl",
        "experiment_state-*",
        "search_gen_state-*",
        "searcher-state-*",
        "params.*",
        "result.json.*",
        "error.*",
    )
    files = [file for file in folder.rglob("*") if file.is_file() and not any(map(file.match, tunes))]
    return [str(file.relative_to(folder)) for file in files if str(place).encode() in file.read_bytes()]


def test_a_study_that_was_cut_off_and_moved_comes_to_the_values_of_one_that_was_not(
    shared_ray, search_tree, searched_here, tmp_path
):
    study = Study(**search_tree, resources={"concurrent_trials": 1, "evaluators": 1, "cpus_per_worker": 1})
    before, after = tmp_path / "before", tmp_path / "elsewhere" / "after"
    with pytest.raises(KeyboardInterrupt):
        run_study(study, before, [Interrupting()])
    assert [row.status for row in read_rows(before, running=True)] == ["done", "running"]
    after.parent.mkdir()
    before.rename(after)
    seen = Seen()
    result = run_study(study, after, [seen])
    assert next(iter(seen.scores["0001"])) > 8  # from its last checkpoint
    assert "0000" not in seen.scores
    assert values_of(after) == values_of(searched_here[0].folder)
    assert (result.folder, result.model) == (after, after / "best")
    assert not before.exists()
    named = {name for name in mentions(after, tmp_path) if name not in ("ray.log", "report.html", "environment.json")}
    assert named == set()
    scores = evaluate_model(
        after, "newsroom:dev", measures=["AP"], benchmark__documents=[0, 5], resources__evaluators=1
    )
    assert scores.metrics["multi/AP"] == pytest.approx(result.best.metrics["multi/AP"], abs=1e-4)
