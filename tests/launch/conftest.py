"""A launch on a cluster that is not there."""

import json
import os
import re

import pytest
from click.testing import CliRunner
from launch_world import CLUSTERS, World
from stand_ins import Recorded

from hybridtune.cli.main import cli
from hybridtune.launch import launcher


@pytest.fixture
def world(tmp_path, monkeypatch):
    made = World(tmp_path)
    monkeypatch.setattr(launcher, "RAY", [str(made.program)])
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("HYBRIDTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return made


@pytest.fixture
def kubectl(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return Recorded(tmp_path, "kubectl")


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """The file of a cloud, filled in, and what it mounts."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("constraints.txt", ".ray/auth_token"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    file = tmp_path / "aws.yaml"
    file.write_text(re.sub(r"YOUR_\w+", "x", (CLUSTERS / "aws.yaml").read_text()))
    return file


@pytest.fixture
def launch(world, cluster, study_file, tmp_path):
    """Calls launch with a study that has a file of its own."""
    rows = "".join(
        json.dumps({"group_id": f"{n}", "queries": {"en": f"q {n}", "de": f"f {n}"}, "passages": {"en": f"p {n}"}})
        + "\n"
        for n in range(20)
    )
    (tmp_path / "train.jsonl").write_text(rows)
    study = study_file(data={"train": "train.jsonl"}, search={"trials": 5, "arms": "none"})

    def call(*options, out=str(world.place), to="here"):
        places = [*(["--out", out] if out else []), *(["--fetch-to", to] if to else [])]
        return CliRunner().invoke(cli, ["launch", str(cluster), str(study), *places, *options])

    return call
