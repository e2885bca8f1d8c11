"""What stays behind of a run: nothing of one that ended, and of one that was killed a folder that is found."""

import os
import signal
import subprocess
import sys

import pytest
from test_run import descendants, gone

from hybridtune.callbacks import StudyCallback
from hybridtune.study.cache import SESSION, Rules, list_cache, prune_cache

pytestmark = [pytest.mark.ray, pytest.mark.timeout(280)]

# Ray with a worker in the middle of a task that ends by itself never.
RUN = """
import sys, threading
from hybridtune.config.fields import Resources
from hybridtune.runtime.local import capacity, local_cluster
with local_cluster(capacity(Resources()), dashboard=True):
    import ray

    @ray.remote
    def wait():
        threading.Event().wait()

    wait.remote()
    ray.get(ray.remote(lambda: 0).remote())
    sys.__stdout__.write("up\\n")
    sys.__stdout__.flush()
    sys.stdin.readline()
"""


@pytest.fixture
def started(no_ray, monkeypatch):
    """A run that Ray is up for."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout.readline() == "up\n"
    yield process
    if process.poll() is None:
        process.kill()
    process.wait()


def sessions():
    return {entry.path: entry.busy for entry in list_cache() if entry.kind == SESSION}


def of(process):
    return [path for path in sessions() if path.name.endswith(f"_{process.pid}")]


def test_a_run_that_ended_leaves_no_session(started):
    (session,) = of(started)
    assert sessions()[session]
    started.communicate("\n")
    assert started.returncode == 0
    assert not session.exists()


def test_of_a_run_that_was_killed_no_process_stays_and_its_session_is_found(started):
    (session,) = of(started)
    began = descendants(started.pid)
    assert len(began) > 3
    os.kill(started.pid, signal.SIGKILL)
    started.wait()
    assert [pid for pid in began if not gone(pid)] == []
    assert not sessions()[session]
    prune_cache(Rules(), StudyCallback())
    assert not session.exists()
