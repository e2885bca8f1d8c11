"""What waits for a training, reads or tokenises (trials, controllers, queues, monitors, streams) needs no torch."""

import subprocess
import sys

import pytest

UNPICKLED = (
    "search.trial",
    "train.fit",
    "train.group_runner",
    "train.rendezvous",
    "train.job_queue",
    "train.pace",
    "train.teaching",
    "data.stream",
    "data.store",
    "evaluate.encode",
    "evaluate.benchmark",
)
HEAVY = ("torch", "transformers", "optuna", "scipy")


@pytest.mark.slow
def test_what_such_a_process_unpickles_imports_nothing_heavy():
    imports = "".join(f"import hybridtune.{module}\n" for module in UNPICKLED)
    code = f"import sys\n{imports}print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
