"""The end of a head on this machine: by the numbers of its own processes, and of nobody else's."""

import subprocess
import sys

import psutil
import pytest

from hybridtune.launch.local_head import Head, stop_head
from hybridtune.runtime.processes import start_time

# A head whose job has a session of its own.
HEAD = """
import subprocess, sys
sleep = [sys.executable, "-c", "import signal; signal.pause()"]
children = [subprocess.Popen(sleep), subprocess.Popen(sleep, start_new_session=True)]
print(*(child.pid for child in children), flush=True)
children[0].wait()
"""


@pytest.fixture
def head(tmp_path):
    """A process that leads a session, its two children, and the record of it as a head."""
    (tmp_path / "head").mkdir()
    command = [sys.executable, "-c", HEAD, f"--temp-dir={tmp_path / 'head'}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        children = [psutil.Process(int(pid)) for pid in process.stdout.readline().split()]
        yield Head(process.pid, start_time(process.pid), str(tmp_path / "head"), "", ""), children
        for child in [psutil.Process(process.pid), *children] if process.poll() is None else children:
            if child.is_running():
                child.kill()


@pytest.mark.slow
def test_a_head_ends_with_its_nodes_and_its_jobs_and_leaves_nothing(head, tmp_path):
    found, children = head
    assert found.alive
    stop_head(found)
    assert not found.alive
    assert [start_time(child.pid) for child in children] == [None, None]
    assert list(tmp_path.iterdir()) == []


def test_a_node_of_a_head_that_was_lost_ends_and_nobody_else_of_its_session(head, tmp_path):
    found, children = head
    lost = Head(found.pid, "0.00", found.folder, "", "")
    assert not lost.alive
    stop_head(lost)  # by its command, which names the folder
    assert not found.alive
    assert [start_time(child.pid) for child in children] == [None, None]


@pytest.mark.parametrize("birth", [True, False, None])
def test_a_process_with_another_command_is_left_alone(head, tmp_path, birth):
    """Its number, and even its start, may be those of a record."""
    found, children = head
    started = {True: found.start_time, False: "0.00", None: None}[birth]
    other = Head(found.pid, started, str(tmp_path / "another"), "", "")
    assert not other.alive
    stop_head(other)
    assert found.alive
    assert all(child.is_running() for child in children)
