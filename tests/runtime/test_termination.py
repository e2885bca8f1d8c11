"""SIGTERM ends a command like Ctrl-C: one line, its own exit code, the handler put back."""

import signal
import subprocess
import sys
import threading

import pytest

from hybridtune.runtime.termination import Terminated, sigterm_raises, was_terminated

COMMAND = """
import signal, sys
import click
from hybridtune.cli import main

@main.cli.command()
@click.argument("name")
def wait(name):
    signal.raise_signal(signal.Signals[name])

sys.argv = ["hybridtune", "wait", sys.argv[1]]
main.main()
"""


@pytest.mark.parametrize(
    ("name", "code", "told"), [("SIGTERM", 143, "ended by SIGTERM"), ("SIGINT", 130, "interrupted")]
)
def test_a_command_that_is_ended_says_how_to_go_on(name, code, told):
    start = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell may have ignored it
    done = subprocess.run([sys.executable, "-c", start + COMMAND, name], capture_output=True, text=True, check=False)
    assert done.returncode == code
    line = f"hybridtune: {told}; what was done is kept in --out: the same command with the same --out goes on\n"
    assert done.stderr.lstrip() == line


def test_the_handler_can_be_set_again_and_is_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with sigterm_raises() as set_handler:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as `ray.init` sets its own
        set_handler()
        with pytest.raises(Terminated):
            signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_sigterm_is_known_though_a_library_raises_another_interrupt():
    """Ray answers a signal that comes while it waits by a KeyboardInterrupt of its own."""
    with sigterm_raises():
        assert not was_terminated(KeyboardInterrupt())
        with pytest.raises(Terminated):
            signal.raise_signal(signal.SIGTERM)
        assert was_terminated(KeyboardInterrupt())
    with sigterm_raises():
        assert not was_terminated(KeyboardInterrupt())


def test_a_thread_sets_no_handler():
    seen = []

    def run():
        with sigterm_raises() as set_handler:
            set_handler()
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]
