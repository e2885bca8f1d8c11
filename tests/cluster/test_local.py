import inspect
import itertools
import os

import pytest

from hybridtune.cluster import local
from hybridtune.cluster.local import capacity
from hybridtune.config import Resources
from hybridtune.data.stream import token_batches
from hybridtune.errors import InputError

STREAM_TASK = inspect.signature(token_batches).parameters["num_cpus"].default
EVALUATOR = 0.25  # EvaluatorService.start
TRIAL = 0.01  # run_search: a trial itself only waits


def machine(monkeypatch, cores, gpus=0):
    monkeypatch.setattr(local, "cores", lambda: cores)
    monkeypatch.setattr(local, "_gpus", lambda: gpus)


@pytest.mark.parametrize("cores", [1, 2, 4, 64])
def test_ray_is_told_of_enough_cpus_for_all_that_runs_at_once(monkeypatch, cores):
    machine(monkeypatch, cores)
    given = {
        "workers": [1, 2, 4],
        "cpus_per_worker": [1, 2],
        "concurrent_trials": [None, 1, 3],
        "evaluators": [None, 1, 5],
    }
    for values in itertools.product(*given.values()):
        resources = Resources(**dict(zip(given, values, strict=True)))
        offered = capacity(resources)
        trial = TRIAL + resources.workers * (resources.cpus_per_worker + STREAM_TASK)
        assert offered.cpus >= offered.concurrent_trials * trial + offered.evaluators * EVALUATOR
        assert offered.concurrent_trials == (
            resources.concurrent_trials or max(1, cores // (resources.workers * resources.cpus_per_worker))
        )
        assert offered.evaluators == (resources.evaluators or cores)


def test_only_the_cores_this_process_may_use_count(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    assert capacity(Resources()).concurrent_trials == 1


def test_gpus_bound_the_trials_at_once(monkeypatch):
    machine(monkeypatch, 16, gpus=4)
    assert capacity(Resources(workers=2, gpus_per_worker=1)).concurrent_trials == 2
    assert capacity(Resources(workers=1, gpus_per_worker=0.5)).concurrent_trials == 8
    assert capacity(Resources(workers=4, gpus_per_worker=1)).concurrent_trials == 1
    offered = capacity(Resources(workers=2, gpus_per_worker=1))
    assert (offered.gpus, offered.evaluators) == (4, 4)


@pytest.mark.parametrize(("workers", "each", "gpus"), [(1, 1.0, 0), (2, 1.0, 1), (3, 0.5, 1), (1, 0.5, 0)])
def test_more_gpus_than_there_are_is_an_input_error(monkeypatch, workers, each, gpus):
    machine(monkeypatch, 8, gpus)
    with pytest.raises(InputError, match=rf"needs {workers * each:g} GPUs and this machine has {gpus}; lower workers"):
        capacity(Resources(workers=workers, gpus_per_worker=each))
