"""A worker that hangs is told, its stacks kept, and its training goes on from the checkpoint to the same end."""

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.ray

HOOK = """
import pathlib, threading
import torch
import torch.nn.functional as F

CALLS, MARK = [], pathlib.Path(__file__).with_name("hung")

def loss(queries, columns, own, hidden, temperature):
    CALLS.append(1)
    if len(CALLS) == 7 and not MARK.exists():
        MARK.touch()
        threading.Event().wait()
    return F.cross_entropy((queries @ columns.T / temperature).masked_fill(hidden, -torch.inf), own)
"""


def test_a_worker_that_hangs_is_ended_and_goes_on(tmp_path):
    (tmp_path / "hanging.py").write_text(HOOK, encoding="utf-8")
    settings = {"loss": "hanging:loss", "hang_timeout": 3, "max_steps": 8, "eval_steps": 4}
    given = [word for name, value in settings.items() for word in ("--set", f"train.{name}={value}")]
    command = [sys.executable, "-m", "hybridtune", "train", "search_spaces/newsroom.yaml", *given]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (line,) = (line for line in (done.stdout + done.stderr).splitlines() if "going on from step 4" in line)
    assert "rank 0 made no step for 3 s behind step 6" in line
    events = [json.loads(line) for line in (tmp_path / "out" / "events.jsonl").read_text("utf-8").splitlines()]
    (lost,) = (event for event in events if event["kind"] == "workers lost")
    assert 4 <= lost["step"] <= 6  # its pace is posted once a second
    assert lost["repeated"] == lost["step"] - 4
    (stack,) = (tmp_path / "out").rglob("stacks/rank_0_6.txt")
    assert "hanging.py" in stack.read_text(encoding="utf-8")
