"""`python -m hybridtune.cli.driver`: `hybridtune` as the driver of a RayJob, which wrong input ends for good.

KubeRay starts a cluster anew after every exit code but 0 (backoffLimit), and that one would refuse the same input. A
job that was stopped is not started again and counts as no success: so this driver stops its own job.
"""

import contextlib
import json
import os
import sys

from hybridtune.cli.main import main
from hybridtune.errors import HybridtuneError
from hybridtune.launch import jobs
from hybridtune.launch.kuberay import REFUSED
from hybridtune.runtime.ray_private import JOB_CONFIG, JOB_ID


def drive() -> None:
    """Run the command line; where it refuses its input, stop the job that runs it before the exit with code 2."""
    try:
        main()
    except SystemExit as end:
        if end.code == 2:
            print(REFUSED, file=sys.stderr, flush=True)
            with contextlib.suppress(HybridtuneError, KeyboardInterrupt):  # Ctrl-C is how a job is stopped
                _stop_own_job()
        raise


def _stop_own_job() -> None:
    """Stop the Ray job that this process is the driver of; do nothing where it is none."""
    submission = json.loads(os.environ.get(JOB_CONFIG, "{}")).get("metadata", {}).get(JOB_ID)
    if submission is not None:
        jobs.stop(jobs.connect("auto"), submission)


if __name__ == "__main__":
    drive()
