"""The job API as its client sees it: what is uploaded, what is shown, when a cluster counts as lost."""

import logging
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from hybridtune.errors import HybridtuneError, InputError
from hybridtune.launch import jobs
from hybridtune.launch.jobs import JobState, LostError

LOG = ["one\n", "two\nthree\n", "four\n"]


class Cluster:
    """A client whose log breaks off after so many pieces, a connection after the other."""

    def __init__(self, *breaks, ends="SUCCEEDED", code=0, unknown=False):
        self.breaks, self.ends, self.code, self.unknown = list(breaks), ends, code, unknown
        self.status, self.connections, self.stopped, self.asked = "RUNNING", 0, [], None

    def connect(self):
        self.connections += 1
        return self

    async def tail_job_logs(self, name):
        if self.unknown:
            raise RuntimeError(f"Request failed with status code 404: Job {name} does not exist.")
        until = self.breaks.pop(0) if self.breaks else len(LOG)
        for piece in LOG[:until]:
            yield piece
        if until < len(LOG):
            raise ConnectionError("broken pipe")
        self.status = self.ends

    def get_job_info(self, name):
        if self.unknown:
            raise RuntimeError(f"Job {name} does not exist")
        code = self.code if self.status != "RUNNING" else None
        return SimpleNamespace(status=SimpleNamespace(value=self.status), message=None, driver_exit_code=code)

    def stop_job(self, name):
        self.stopped.append(name)
        self.status = "STOPPED"

    def submit_job(self, **asked):
        self.asked = asked


@pytest.mark.parametrize("breaks", [(), (0,), (1,), (2, 1), (1, 0, 2)])
def test_every_piece_is_shown_once_whatever_breaks(breaks):
    shown, cluster = [], Cluster(*breaks)
    state = jobs.follow(cluster.connect, "a", shown.append)
    assert "".join(shown) == "".join(LOG)
    assert state == JobState("SUCCEEDED", "", 0)
    assert state.ended
    assert cluster.connections == len(breaks) + 1


def test_a_job_that_fails_tells_its_exit_code():
    cluster = Cluster(ends="FAILED", code=2)
    assert jobs.follow(cluster.connect, "a", str) == JobState("FAILED", "", 2)


def test_a_head_that_does_not_know_the_job_is_lost_at_once():
    with pytest.raises(LostError, match="does not know it"):
        jobs.follow(Cluster(unknown=True).connect, "a", str)


def test_no_answer_for_too_long_is_lost():
    def connect():
        raise InputError("nobody there")

    with pytest.raises(LostError, match="nobody there"):
        jobs.follow(connect, "a", str, patience=0)


def test_ctrl_c_while_following_is_the_callers():
    def connect():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        jobs.follow(connect, "a", str)


def test_stop_waits_for_the_end_and_stops_only_what_runs():
    cluster = Cluster()
    assert jobs.stop(cluster, "a").status == "STOPPED"
    assert jobs.stop(cluster, "a").status == "STOPPED"
    assert cluster.stopped == ["a"]


def test_a_job_that_does_not_stop_is_told():
    cluster = Cluster()
    cluster.stop_job = lambda name: None
    with pytest.raises(HybridtuneError, match="still runs after 0 s"):
        jobs.stop(cluster, "a", patience=0)


def test_a_job_takes_its_folder_its_modules_and_no_more(tmp_path):
    cluster = Cluster()
    jobs.submit(cluster, "a", "python x.py", tmp_path, [tmp_path / "m"], {"X": "1"}, {"study": "s"})
    runtime = cluster.asked.pop("runtime_env")
    assert cluster.asked == {"entrypoint": "python x.py", "submission_id": "a", "metadata": {"study": "s"}}
    assert (runtime["working_dir"], runtime["py_modules"]) == (str(tmp_path), [str(tmp_path / "m")])
    assert runtime["env_vars"]["RAY_JOB_STOP_SIGNAL"] == "SIGINT"  # so that the study closes in good order
    assert runtime["env_vars"]["X"] == "1"


def test_what_a_cluster_says_against_a_job_is_one_line():
    cluster = Cluster()

    def refuse(**asked):
        raise RuntimeError("Request failed\nwith status 500")

    cluster.submit_job = refuse
    with pytest.raises(HybridtuneError) as error:
        jobs.submit(cluster, "a", "x", Path(), [], {}, {})
    assert str(error.value) == "job a: the cluster did not take it: Request failed with status 500"


def test_a_head_that_is_not_all_up_is_asked_again():
    cluster, answers = Cluster(), ["No available agent to submit job, please try again later."]

    def busy(**asked):
        if answers:
            raise RuntimeError(answers.pop())
        cluster.asked = asked

    cluster.submit_job = busy
    jobs.submit(cluster, "a", "x", Path(), [], {}, {})
    assert cluster.asked["submission_id"] == "a"
    answers.append("No available agent")
    with pytest.raises(HybridtuneError, match="No available agent"):
        jobs.submit(cluster, "a", "x", Path(), [], {}, {}, patience=-1)


@pytest.fixture
def token_free(monkeypatch, tmp_path):
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_nobody_at_the_address_is_one_line(token_free):
    with pytest.raises(InputError, match=r"^--address http://127.0.0.1:9: no Ray dashboard answers there.*$"):
        jobs.connect("http://127.0.0.1:9")


def test_what_ray_prints_of_a_connection_is_not_shown(token_free, monkeypatch, capfd):
    def client(address, headers):
        builder = logging.getLogger("ray.client_builder")
        builder.addHandler(logging.StreamHandler(sys.__stderr__))  # as Ray's own, made at its import
        builder.info("Passing the following kwargs to ray.init() on the server: logging_level")
        builder.handlers.pop()
        print("SIGTERM handler is not set because current thread is not the main thread.")
        print("SIGTERM handler is not set because current thread is not the main thread.", file=sys.stderr)
        return "connected"

    monkeypatch.setattr("ray.job_submission.JobSubmissionClient", client)
    monkeypatch.setattr(logging.getLogger("ray.client_builder"), "propagate", False)
    assert jobs.connect("ray://127.0.0.1:10001") == "connected"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("where", ["RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "file", None])
def test_the_token_is_the_one_that_ray_would_take(token_free, monkeypatch, where):
    file = token_free / (".ray/auth_token" if where == "file" else "elsewhere")
    file.parent.mkdir(exist_ok=True)
    if where is not None:
        file.write_text("secret\n")
    if where == "RAY_AUTH_TOKEN":
        monkeypatch.setenv(where, "secret")
    if where == "RAY_AUTH_TOKEN_PATH":
        monkeypatch.setenv(where, str(file))
    assert jobs._own_token() == (None if where is None else "secret")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert jobs._own_token() is None
