"""The watch over Ray's processes, by sockets in place of Ray's: what is gone, and how block and process end."""

import contextlib
import errno
import itertools
import signal
import socket
import subprocess
import sys
import threading

import psutil
import pytest

from hybridtune.errors import InputError, RayLostError
from hybridtune.runtime import watch
from hybridtune.runtime.watch import ray_watched


@pytest.fixture
def raylet(tmp_path, monkeypatch):
    """A raylet and a head that take connections until they are closed."""
    unix, head = socket.socket(socket.AF_UNIX), socket.create_server(("127.0.0.1", 0))
    unix.bind(str(tmp_path / "raylet"))
    unix.listen()
    monkeypatch.setattr(
        watch,
        "_addresses",
        lambda: [
            ("the raylet", socket.AF_UNIX, str(tmp_path / "raylet")),
            ("the head", socket.AF_INET, head.getsockname()),
        ],
    )
    monkeypatch.setattr(watch, "SECONDS_BETWEEN_LOOKS", 0.01)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    with unix, head:
        yield unix, head
    signal.signal(signal.SIGINT, before)


def watched(block):
    with ray_watched() as watching:
        watching.begin()
        try:
            block(watching)
        finally:
            watching.leave()


@pytest.mark.parametrize(("which", "what"), [(0, "the raylet is gone"), (1, "the head is gone")])
def test_what_waits_is_interrupted_and_told_what_is_gone(raylet, which, what):
    def wait(watching):
        raylet[which].close()
        threading.Event().wait(60)

    with pytest.raises(RayLostError, match=f"{what} .*goes on"):
        watched(wait)


def test_the_error_that_the_loss_raised_is_told_as_the_loss(raylet):
    def fail(watching):
        raylet[0].close()
        raise ConnectionError("what Ray says of it")

    with pytest.raises(RayLostError, match="the raylet is gone"):
        watched(fail)


def test_one_refusal_alone_is_no_loss(raylet, monkeypatch):
    looks, enough = itertools.count(1), threading.Event()

    def gone(watching):  # every other look is refused
        number = next(looks)
        if number > 6:
            enough.set()
        return "the raylet is gone" * (number % 2)

    def wait(watching):
        assert enough.wait(30)
        assert watching.line == ""
        monkeypatch.undo()

    monkeypatch.setattr(watch.Watch, "gone", gone)
    watched(wait)


def test_a_busy_process_is_not_gone(raylet):
    def fill(watching):
        with contextlib.ExitStack() as held:
            full = False
            while not full:  # nobody takes these connections
                one = held.enter_context(socket.socket(socket.AF_UNIX))
                one.setblocking(False)
                full = one.connect_ex(raylet[0].getsockname()) == errno.EAGAIN
            assert watching.gone() == ""

    watched(fill)


@pytest.mark.parametrize("error", [InputError("wrong"), KeyboardInterrupt()])
def test_other_errors_and_an_interrupt_stay_what_they_are(raylet, error):
    def fail(watching):
        raise error

    with pytest.raises(type(error)):
        watched(fail)


def test_what_goes_behind_the_end_is_meant_to(raylet):
    def leave(watching):
        watching.leave()
        raylet[0].close()
        assert watching.gone()
        watching.end()
        assert watching.line == ""

    watched(leave)


STUCK = """
import signal, socket, subprocess, sys, threading
from hybridtune.runtime import watch
signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in the background of a shell: nothing ends the main thread
watch.GRACE = watch.SECONDS_BETWEEN_LOOKS = 0.05
watch._addresses = lambda: [("the raylet", socket.AF_UNIX, "/nowhere")]
child = subprocess.Popen([sys.executable, "-c", "import threading; threading.Event().wait(600)"])
print(child.pid, flush=True)
with watch.ray_watched(lambda line: print("noted:", line, flush=True)) as watching:
    watching.begin()
    threading.Event().wait(600)
"""


def wait_for_end(pid: int) -> None:
    """Wait for a process that was killed: it is there for a moment, and as a zombie where nobody asks for its end."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for _ in range(600):
            if process.status() == psutil.STATUS_ZOMBIE:
                return
            with contextlib.suppress(psutil.TimeoutExpired):
                process.wait(timeout=0.1)
                return
        raise AssertionError(f"process {pid} is still {process.status()}")


def test_a_main_thread_that_never_comes_back_is_ended_with_what_it_started():
    done = subprocess.run([sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=60, check=False)
    child, noted = done.stdout.splitlines()
    assert done.returncode == 1
    assert "the raylet is gone" in noted
    assert done.stderr.startswith("hybridtune: the raylet is gone")
    assert "the same command with the same --out goes on" in done.stderr
    wait_for_end(int(child))
