"""The folder that a command is called in may be a stranger's: nothing in it is imported, here or in Ray's workers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import hybridtune

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]

ROOT = str(Path(hybridtune.__file__).parents[1])
MODULES = ("torch", "numpy", "ray", "click", "optuna", "wandb", "transformers", "psutil", "fsspec", "usercustomize")
LOSS = """
import torch
import torch.nn.functional as F


def mine(queries, columns, own, hidden, temperature):
    open({marker!r}, "w").close()
    cosines = queries @ columns.T
    return F.cross_entropy((cosines / temperature).masked_fill(hidden, -torch.inf), own)
"""


@pytest.fixture
def trap(tmp_path):
    """A folder with modules of the names that are imported, each of which leaves a trace."""
    folder = tmp_path / "trap"
    folder.mkdir()
    for name in (*MODULES, "hybridtune"):
        trace = f"open({str(tmp_path / 'trace')!r}, 'a').write({name!r})\nraise ImportError('sprung')\n"
        (folder / f"{name}.py").write_text(trace)
    return folder


def environment(tmp_path, *paths):
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    kept |= {"HYBRIDTUNE_CACHE": str(tmp_path / "cache"), "PYTHONPATH": os.pathsep.join(paths)}
    return kept


def test_a_study_imports_its_owners_hook_and_nothing_of_the_current_folder(trap, tmp_path, no_ray, small_tree):
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "my_loss.py").write_text(LOSS.format(marker=str(tmp_path / "called")))
    tree = small_tree()
    tree["train"] |= {"loss": "my_loss:mine", "max_steps": 4}
    (trap / "study.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "hybridtune", "train", "study.yaml", "--out", str(tmp_path / "out")],
        cwd=trap,
        env=environment(tmp_path, ROOT, str(hooks)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "called").exists()  # in a worker
    assert not (tmp_path / "trace").exists()
    assert (tmp_path / "out" / "best" / "model.safetensors").is_file()


def test_an_empty_entry_of_the_search_path_is_not_the_current_folder(trap, tmp_path):
    """The modules that start the command are found by then; what it imports later is not of that folder."""
    (trap / "hybridtune.py").unlink()
    (trap / "click.py").unlink()
    done = subprocess.run(
        [sys.executable, "-P", "-m", "hybridtune", "status", "nowhere"],
        cwd=trap,
        env=environment(tmp_path, ROOT, ""),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "is no study folder" in done.stderr) == (2, True), done.stderr
    assert not (tmp_path / "trace").exists()
