"""Ctrl-C and SIGTERM during a search, also where Python drops the exception."""

import signal
import sys
import threading

import pytest

from hybridtune.runtime.termination import Terminated, sigterm_raises
from hybridtune.search.interrupt import Interrupts


@pytest.fixture(autouse=True)
def _ctrl_c_raises():
    """Take back what a shell sets for what it starts in the background: Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class SignalledAtItsEnd:
    """Gets a signal in its destructor, where no exception comes out."""

    def __init__(self, number):
        self.number = number

    def __del__(self):
        signal.raise_signal(self.number)


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
def test_a_signal_that_a_destructor_swallows_ends_the_search_at_the_next_step(monkeypatch, number, expected):
    dropped = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: dropped.append(what.exc_type))
    interrupts = Interrupts()
    with sigterm_raises(), interrupts.noted():
        interrupts.on_step_begin(1, [])
        SignalledAtItsEnd(number)
        assert dropped == [expected]
        with pytest.raises(expected) as raised:
            interrupts.on_step_begin(2, [])
        assert raised.type is expected


def test_ctrl_c_raises_at_once_and_the_handler_is_put_back():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), Interrupts().noted():
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_where_ctrl_c_is_ignored_it_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    interrupts = Interrupts()
    with interrupts.noted():
        signal.raise_signal(signal.SIGINT)
        interrupts.on_step_begin(1, [])
    assert interrupts.lost is None


def test_a_search_in_a_thread_leaves_the_handler_alone():
    seen = []

    def search():
        with Interrupts().noted():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=search)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT)]
