"""The watch over a worker from inside: what is counted, by which limit, and what is told of a hang."""

import threading

import pytest

from hybridtune.train import hang
from hybridtune.train.hang import HangWatch, stacks


@pytest.fixture
def clock(monkeypatch):
    """The time, which a test sets; the watch looks at once."""
    now = [0.0]
    monkeypatch.setattr(hang.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(hang, "SECONDS_BETWEEN_LOOKS", 0.001)
    return now


class Told:
    def __init__(self):
        self.came, self.lines = threading.Event(), []

    def __call__(self, line, stacks):
        self.lines.append((line, stacks))
        self.came.set()


def looked(watch):
    """Waits until the watch has looked twice since now."""
    seen, limit = threading.Semaphore(0), watch.limit
    watch.limit = lambda phase: (seen.release(), limit(phase))[1]
    for _ in range(2):
        assert seen.acquire(timeout=30)
    watch.limit = limit


def test_a_step_may_take_ten_times_the_slowest_and_a_minute_at_least(clock):
    watch = HangWatch(None, Told())
    assert watch.limit("step") == hang.FIRST
    watch.begin("step")
    clock[0] = 2.0
    watch.step_done(1)
    assert watch.limit("step") == 60.0
    clock[0] = 12.0
    watch.step_done(2)
    assert watch.limit("step") == 100.0
    assert watch.limit("score") == hang.FIRST
    with watch.score():
        clock[0] = 112.0
    assert (watch.limit("step"), watch.limit("score")) == (100.0, 1000.0)


def test_a_limit_of_ones_own_is_that_of_a_step_but_the_first(clock):
    watch = HangWatch(5.0, Told())
    assert watch.limit("step") == hang.FIRST
    watch.begin("step")
    clock[0] = 50.0
    watch.step_done(1)
    assert watch.limit("step") == 5.0


def test_a_hang_is_told_with_the_step_before_it_and_the_stacks(clock):
    told = Told()
    with HangWatch(5.0, told) as watch:
        watch.begin("step")
        watch.step_done(47)
        looked(watch)
        assert not told.lines
        clock[0] = 6.0
        assert told.came.wait(30)
    ((line, found),) = told.lines
    assert line == "made no step for 5 s behind step 47"
    assert "test_a_hang_is_told_with_the_step_before_it_and_the_stacks" in found


def test_a_score_that_never_ends_is_told(clock):
    told = Told()
    with HangWatch(5.0, told) as watch, watch.score():
        clock[0] = hang.FIRST + 1
        assert told.came.wait(30)
    assert told.lines[0][0] == f"did not end a score in {hang.FIRST:.0f} s behind step 0"


def test_what_waits_for_others_does_not_hang(clock):
    told = Told()
    with HangWatch(5.0, told) as watch:
        watch.begin("step")
        watch.step_done(1)
        watch.rest()
        clock[0] = 10_000.0
        watch.begin("step")
        looked(watch)
    assert not told.lines


def test_py_spy_adds_what_it_sees(tmp_path, monkeypatch):
    spy = tmp_path / "py-spy"
    spy.write_text("#!/bin/sh\necho native frames of $4\n", encoding="utf-8")
    spy.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert "native frames of" in stacks()
