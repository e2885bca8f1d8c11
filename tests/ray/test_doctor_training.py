"""`hybridtune doctor` starts a Ray of its own and trains, which is what a study does first."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.ray


def test_the_training_of_the_doctor_ends_and_leaves_no_folder(no_ray, tmp_path):
    command = [str(Path(sys.executable).with_name("hybridtune")), "doctor", "--json"]
    environment = os.environ | {"TMPDIR": str(tmp_path), "RAY_TMPDIR": "/tmp"}  # paths of Ray's sockets must be short
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    *_, last = json.loads(done.stdout)["findings"]
    assert (last["name"], last["state"]) == ("training", "ok"), done.stderr
    assert last["found"].startswith("Ray started, 8 steps and a score: ")
    assert list(tmp_path.glob("hybridtune-doctor-*")) == []
