"""What a callback hears of running trainings, and that it hears when nobody watches them any more."""

from types import SimpleNamespace

import pytest
from ray.exceptions import ActorUnavailableError, OutOfMemoryError

from hybridtune.callbacks import StudyCallback
from hybridtune.study import reported as module
from hybridtune.study.reported import reported
from hybridtune.train.incidents import Loss, Replaced
from hybridtune.train.pace import Pace


class Heard(StudyCallback):
    def __init__(self):
        self.all = []

    def on_message(self, text):
        self.all.append(text)

    def on_step(self, trial, step, loss, pairs_per_second):
        self.all.append((trial, step))

    def on_workers_lost(self, trial, step, goes_on_from, reason):
        self.all.append((trial, step, goes_on_from, reason))

    def on_replaced(self, trial, what):
        self.all.append((trial, what))


_UNAVAILABLE = "its process does not answer: it was killed, or its machine is gone"
JOB = SimpleNamespace(monitor="a handle", study=None)


@pytest.fixture
def heard(monkeypatch):
    monkeypatch.setattr(module, "every", lambda seconds, call: module.contextlib.nullcontext())
    return Heard()


def test_what_was_before_is_known_and_what_is_new_is_told_in_its_order(heard, monkeypatch):
    events = [Loss("0000", 5, 4, "before")]
    monkeypatch.setattr(module, "read_incidents", lambda monitor, known: events[known:])
    monkeypatch.setattr(module, "read_paces", lambda monitor: {"0001": Pace(7, 0.5, 10.0)})
    with reported(heard, "search", JOB):
        events += [Loss("0001", 7, 4, "killed"), Replaced("0001", "an evaluator died")]
    assert heard.all == [("0001", 7), ("0001", 7, 4, "killed"), ("0001", "an evaluator died")]


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (OutOfMemoryError("low"), "Ray ended it, since the memory of its machine was nearly used up"),
        (ActorUnavailableError("its node is gone", None), _UNAVAILABLE),
    ],
)
def test_a_monitor_that_died_is_told_once_and_ends_nothing(heard, monkeypatch, error, why):
    asked = []

    def dead(*arguments):
        asked.append(arguments)
        raise error

    monkeypatch.setattr(module, "read_incidents", dead)
    with reported(heard, "search", JOB):
        pass
    assert heard.all == [f"the trainings' monitor died ({why}): their pace, and workers that die, are told no more"]
    assert len(asked) == 1


def test_an_actor_of_the_callbacks_that_died_is_not_the_monitor(heard, monkeypatch):
    def dead(*arguments):
        raise ActorUnavailableError("its node is gone", None)

    monkeypatch.setattr(heard, "on_step", dead)
    monkeypatch.setattr(module, "read_incidents", lambda monitor, known: [])
    monkeypatch.setattr(module, "read_paces", lambda monitor: {"0001": Pace(7, 0.5, 10.0)})
    with pytest.raises(ActorUnavailableError), reported(heard, "search", JOB):
        pass
    assert heard.all == []
