"""The folder that a command is called in may be a stranger's: nothing in it is imported, here or in Ray's workers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import hybridtune

pytestmark = pytest.mark.ray

ROOT = str(Path(hybridtune.__file__).parents[1])
MODULES = ("torch", "numpy", "click", "optuna", "wandb", "transformers", "psutil", "fsspec", "usercustomize")
LOOK = """
import sys
from hybridtune.config.fields import Resources
from hybridtune.runtime.local import capacity, local_cluster

with local_cluster(capacity(Resources(workers=1)), dashboard=False):
    import json, ray

    @ray.remote(num_cpus=0)
    def look():
        import os, sys, numpy, psutil, my_hook
        return os.getcwd(), sys.path, my_hook.__file__

    print(json.dumps(ray.get(look.remote())), file=sys.__stdout__)
"""


@pytest.fixture
def trap(tmp_path):
    """A folder with modules of the names that are imported, each of which leaves a trace."""
    folder = tmp_path / "trap"
    folder.mkdir()
    for name in MODULES:
        trace = f"open({str(tmp_path / 'trace')!r}, 'a').write({name!r})\nraise ImportError('sprung')\n"
        (folder / f"{name}.py").write_text(trace)
    return folder


def call(folder, *words, paths):
    """Runs Python in a folder, with these search paths."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    kept |= {"PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.run(
        [sys.executable, "-P", *words], cwd=folder, env=kept, capture_output=True, text=True, check=False
    )


def test_workers_find_a_hook_on_the_search_path_and_nothing_of_the_current_folder(trap, tmp_path, no_ray):
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "my_hook.py").write_text("")
    done = call(trap, "-c", LOOK, paths=[ROOT, str(hooks)])
    assert done.returncode == 0, done.stderr
    folder, searched, hook = json.loads(done.stdout)
    assert folder == str(trap)  # relative paths of a study start there, in a worker too
    assert hook == str(hooks / "my_hook.py")
    assert not {"", str(trap)} & {*searched}
    assert not (tmp_path / "trace").exists()


def test_an_empty_entry_of_the_search_path_is_not_the_current_folder(trap, tmp_path):
    """The modules that start the command are found by then; what it imports later is not of that folder."""
    (trap / "click.py").unlink()
    done = call(trap, "-m", "hybridtune", "status", "nowhere", paths=[ROOT, ""])
    assert (done.returncode, "is no study folder" in done.stderr) == (2, True), done.stderr
    assert not (tmp_path / "trace").exists()
