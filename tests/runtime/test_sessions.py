"""The session folder of a Ray that a run starts: gone after one that ended well, left after one that failed."""

import json
import os
from types import SimpleNamespace

import pytest
import ray
from ray._common.utils import get_default_ray_temp_dir

from hybridtune.config.fields import Resources
from hybridtune.runtime import local, watch
from hybridtune.runtime.local import capacity, local_cluster
from hybridtune.runtime.sessions import marked_sessions, sessions_folder


@pytest.fixture
def session(tmp_path, monkeypatch):
    """The folder of the session that the next `ray.init` would make; none is started."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    folder = tmp_path / "ray" / "session_1"

    def init(**options):
        (folder / "logs").mkdir(parents=True)
        return SimpleNamespace(address_info={"session_dir": str(folder)}, dashboard_url="")

    def shutdown():
        assert folder.is_dir(), "Ray's processes still write there"

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", shutdown)
    monkeypatch.setattr(local, "gpus", lambda: 0)
    monkeypatch.setattr(watch, "_addresses", list)  # no process is there to be looked after
    return folder


def run(error=None):
    with local_cluster(capacity(Resources())):
        if error is not None:
            raise error
        return [(path.name, runs) for path, runs in marked_sessions()]


def test_a_session_is_marked_while_it_runs_and_gone_after_it(session):
    assert run() == [("session_1", True)]
    assert not session.exists()
    assert list(session.parent.iterdir()) == []


def test_ctrl_c_leaves_no_session(session):
    with pytest.raises(KeyboardInterrupt):
        run(KeyboardInterrupt())
    assert not session.exists()


def test_a_run_that_failed_leaves_its_logs(session):
    with pytest.raises(RuntimeError):
        run(RuntimeError("told to fail"))
    assert (session / "logs").is_dir()
    assert json.loads((session / "hybridtune.json").read_text())["pid"] == os.getpid()


@pytest.mark.parametrize("variables", [{}, {"TMPDIR": "/one"}, {"TMPDIR": "/one", "RAY_TMPDIR": "/two"}])
def test_sessions_are_looked_for_where_ray_makes_them(variables, monkeypatch):
    for name in ("TMPDIR", "RAY_TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert str(sessions_folder()) == get_default_ray_temp_dir()
