"""Scores between the steps and beside them: when each acts, what it holds, and that none is lost."""

import threading
from types import SimpleNamespace

import pytest
import torch
from small_study import small_study

from hybridtune.errors import FitError
from hybridtune.metrics.metrics import Scores
from hybridtune.train import scoring as module
from hybridtune.train.checkpoint import Snapshot
from hybridtune.train.progress import Progress
from hybridtune.train.scoring import ScoreCalls, Scoring


class Kept:
    """Stands in for the checkpoints of a training."""

    def __init__(self, folder):
        self.folder, self.steps = folder, []

    def at(self, step):
        return str(self.folder / f"{step}")

    def add(self, step, write):
        (self.folder / f"{step}").mkdir()
        self.steps.append(step)
        return write(self.folder / f"{step}")


def study_of(scores="beside", search=(), **mix):
    train = {"batch_size": 8, "max_steps": 12, "eval_steps": 4, "scores": scores}
    return small_study(train=train, mix=mix, search=dict(search))


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Makes the scoring of a worker whose scores wait for ``go`` and give the values told; and what it reported."""
    monkeypatch.setattr(module, "write_shares", lambda study, file: None)
    monkeypatch.setattr(module, "read_shares", lambda location: {})

    def make(study, answers=(True,) * 3, values=(0.1, 0.2, 0.3), alone=True, go=None, told=None):
        coming, answers, reports = iter(values), iter(answers), []

        def score(weights, file):
            if go is not None:
                go.wait()
            value = next(coming)
            if isinstance(value, Exception):
                raise value
            metrics = {study.search.objective[0]: value, "weight": float(weights["w"][0])}
            return Scores(metrics, {}, {}, {}, {}, {})

        def report(metrics):
            reports.append(metrics)
            if told is not None:
                told.set()
            return next(answers)

        seconds = iter(range(100))
        clock = SimpleNamespace(metrics=lambda: {"score_seconds": float(next(seconds))})
        calls = ScoreCalls(score, report, lambda line, stacks: None)
        return Scoring(study, Kept(tmp_path), clock, calls, alone), reports

    return make


def taken(step):
    """What the training hands over after a step: its weights are its number."""
    weights = {"w": torch.tensor([float(step)])}
    return Snapshot(weights, {}, weights), {"step": step, "loss": 1.0, "realised_ratio": 0.5}


def after(scoring, progress, step):
    """The progress after the steps of a training to its next score, and that score."""
    progress = scoring.settle(progress)
    if not scoring.stopped:
        snapshot, metrics = taken(step)
        progress = scoring.score(snapshot, progress, metrics)
    return progress


def test_between_the_steps_a_score_acts_at_once(made):
    scoring, reports = made(study_of("between"), answers=(True, False))
    with scoring:
        progress = after(scoring, Progress(), 4)
        assert (progress.step, scoring.stopped) == (4, False)
        progress = after(scoring, progress, 8)
    assert (progress.step, scoring.stopped) == (8, True)
    assert [report["step"] for report in reports] == [4, 8]


def test_beside_the_steps_a_score_is_of_the_weights_it_began_with_and_acts_at_the_next_one(made):
    go = threading.Event()
    scoring, reports = made(study_of(), answers=(True, False), go=go, alone=False)
    with scoring:
        progress = after(scoring, Progress(), 4)
        assert (progress.step, scoring.is_over(), reports) == (0, False, [])  # the steps go on
        go.set()
        progress = after(scoring, progress, 8)
        assert (progress.step, scoring.stopped) == (4, False)
        progress = after(scoring, progress, 12)
    assert (progress.step, scoring.stopped) == (8, True)
    assert [(report["step"], report["weight"]) for report in reports] == [(4, 4.0), (8, 8.0)]  # none at 12


def test_the_last_score_is_waited_for_and_patience_counts_all(made):
    scoring, reports = made(study_of(), values=(0.3, 0.2, 0.4))
    with scoring:
        progress = Progress()
        for step in (4, 8, 12):
            progress = after(scoring, progress, step)
    assert progress.ended
    assert scoring.stopped
    assert [report["best_step"] for report in reports] == [4, 4, 12]
    assert [report["score_seconds"] for report in reports] == [0.0, 1.0, 2.0]  # as each began; of the last, its end


def test_a_single_worker_ends_as_soon_as_it_is_told(made):
    told = threading.Event()
    scoring, _ = made(study_of(), answers=(False,), told=told)
    with scoring:
        progress = after(scoring, Progress(), 4)
        told.wait()
        while not scoring.is_over():  # the thread has one statement left
            pass
        assert scoring.settle(progress).step == 4
    assert scoring.stopped


def test_a_score_that_fails_is_told_where_it_is_waited_for(made):
    scoring, reports = made(study_of(), values=(FitError("no room"),))
    with scoring:
        progress = after(scoring, Progress(), 4)
        with pytest.raises(FitError, match="no room"):
            after(scoring, progress, 8)
    assert reports == []


def test_a_score_is_not_lost_where_the_steps_behind_it_fail(made):
    go = threading.Event()
    scoring, reports = made(study_of(), go=go)

    def train():
        with scoring:
            after(scoring, Progress(), 4)
            go.set()
            raise FitError("the loss is nan")

    with pytest.raises(FitError, match="the loss is nan"):
        train()
    assert [report["step"] for report in reports] == [4]


def test_other_ranks_count_their_steps(tmp_path):
    scoring = Scoring(study_of(), Kept(tmp_path), None, None, alone=False)
    with scoring:
        assert after(scoring, Progress(), 4).step == 4
    assert not scoring.stopped


RUNGS = {"arms": "none", "fidelities": [{"steps": 4, "keep": 0.5}]}


@pytest.mark.parametrize(
    ("study", "beside"),
    [
        (study_of(), [4, 8]),
        (study_of("between"), []),
        (study_of(schedule="learned"), []),
        (study_of(search=RUNGS), [8]),
    ],
)
def test_what_the_next_steps_depend_on_is_waited_for(study, beside, tmp_path):
    scoring = Scoring(study, Kept(tmp_path), None, None, alone=True)
    assert [step for step in (4, 8, 12) if scoring.is_beside(step)] == beside
