"""`python -m hybridtune.cli.driver`: `hybridtune` as the driver of a RayJob, which wrong input ends for good.

KubeRay starts a cluster anew after every exit code but 0 (backoffLimit), and that one would refuse the same input. A
job that was stopped is not started again and counts as no success: so this driver stops its own job.
"""

import contextlib
import json
import os
import sys
import time

from hybridtune.cli.main import main
from hybridtune.errors import HybridtuneError, InUseError
from hybridtune.launch import jobs
from hybridtune.launch.kuberay import DRIVER, REFUSED
from hybridtune.runtime.ray_private import JOB_CONFIG, JOB_ID
from hybridtune.storage.writer_lock import STALE_SECONDS

_WAITED = "HYBRIDTUNE_DRIVER_WAITED"  # in the environment of a driver that has waited for the one before it


def drive() -> None:
    """Run the command line; where it refuses its input, stop the job that runs it before the exit with code 2.

    A place that is in use is refused only after a wait: the driver before this one held it, and its cluster was lost.
    """
    try:
        main()
    except SystemExit as end:
        if end.code == 2:
            with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C is how a job is stopped
                if isinstance(end.__context__, InUseError) and _WAITED not in os.environ:
                    _wait_and_run_again()
                print(REFUSED, file=sys.stderr, flush=True)
                with contextlib.suppress(HybridtuneError):
                    _stop_own_job()
        raise


def _wait_and_run_again() -> None:
    """Replace this process by another that runs the same command, once the lock of a lost driver has grown old."""
    print(f"waiting {STALE_SECONDS:.0f} s: a driver that was lost may have been there", file=sys.stderr, flush=True)
    time.sleep(STALE_SECONDS)
    os.environ[_WAITED] = "1"
    os.execv(sys.executable, [sys.executable, "-P", "-m", DRIVER, *sys.argv[1:]])  # nosec B606 # no shell, as it was


def _stop_own_job() -> None:
    """Stop the Ray job that this process is the driver of; do nothing where it is none."""
    submission = json.loads(os.environ.get(JOB_CONFIG, "{}")).get("metadata", {}).get(JOB_ID)
    if submission is not None:
        jobs.stop(jobs.connect("auto"), submission)


if __name__ == "__main__":
    drive()
