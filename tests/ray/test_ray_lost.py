"""A raylet or a head that is killed ends the run that waits for it, and is told by name."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.ray

WAITS = """
import os, signal, sys
import psutil, ray
from hybridtune.errors import RayLostError
from hybridtune.runtime.local import Capacity, local_cluster
from hybridtune.config.fields import Resources

try:
    with local_cluster(Capacity(Resources(), 1, 1, 1, 0), dashboard=False):
        (one,) = (child for child in psutil.Process().children(recursive=True) if child.name() == sys.argv[1])
        one.kill()
        ray.get(ray.remote(lambda: signal.pause()).remote())
except RayLostError as error:
    print(error)
    os._exit(7)
"""


@pytest.mark.parametrize(
    ("process", "told"), [("raylet", "the raylet of this machine"), ("gcs_server", "the head of the")]
)
def test_a_lost_process_of_ray_is_told_and_ends_the_run(process, told):
    done = subprocess.run(
        [sys.executable, "-c", WAITS, process], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode in (7, 1)  # the main thread came back from Ray, or the watch ended it
    line = done.stdout if done.returncode == 7 else done.stderr
    assert told in line, done
    assert "the same command with the same --out goes on" in line
