import itertools
import os

import pytest
import torch

from hybridtune.config.fields import Resources
from hybridtune.errors import InputError
from hybridtune.runtime import local
from hybridtune.runtime.local import capacity
from hybridtune.runtime.resources import WORKER_OVERHEAD

EVALUATOR = 0.25  # of `evaluate`


def machine(monkeypatch, cores, gpus=0):
    monkeypatch.setattr(local, "cores", lambda: cores)
    monkeypatch.setattr(local, "gpus", lambda: gpus)


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
        trial = resources.workers * (resources.cpus_per_worker + WORKER_OVERHEAD)
        assert offered.cpus >= offered.concurrent_trials * trial + offered.evaluators * EVALUATOR
        assert offered.concurrent_trials == (
            resources.concurrent_trials or max(1, cores // (resources.workers * resources.cpus_per_worker))
        )
        assert offered.evaluators == (resources.evaluators or cores)


def test_only_the_cores_this_process_may_use_count(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    assert capacity(Resources()).concurrent_trials == 1


def test_without_a_driver_the_gpus_are_those_that_torch_finds():
    assert local.gpus() == torch.cuda.device_count()


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


AUTO = {"workers": "auto", "cpus_per_worker": "auto", "gpus_per_worker": "auto"}


@pytest.mark.parametrize(
    ("cores", "gpus", "batch", "given", "worked_out", "at_once"),
    [
        (8, 0, 32, {}, (1, 8, 0), 1),
        (8, 0, 32, {"concurrent_trials": 4}, (1, 2, 0), 4),
        (8, 0, 32, {"cpus_per_worker": 2}, (1, 2, 0), 4),
        (16, 4, 32, {}, (4, 4, 1), 1),
        (16, 4, 30, {}, (3, 5, 1), 1),  # the workers share the batch evenly
        (16, 4, 7, {}, (1, 4, 1), 4),
        (16, 4, 32, {"workers": 2}, (2, 4, 1), 2),
        (16, 4, 32, {"gpus_per_worker": 0.5}, (8, 2, 0.5), 1),
        (2, 4, 32, {}, (4, 1, 1), 1),  # never fewer than one CPU
    ],
)
def test_auto_becomes_numbers_that_stay_the_same(monkeypatch, cores, gpus, batch, given, worked_out, at_once):
    machine(monkeypatch, cores, gpus)
    offered = capacity(Resources(**AUTO | given), batch)
    found = offered.resources
    assert (found.workers, found.cpus_per_worker, found.gpus_per_worker) == worked_out
    assert offered.concurrent_trials == at_once
    assert capacity(found) == offered


def test_gpus_of_another_kind_are_refused(monkeypatch):
    machine(monkeypatch, 8, 1)
    monkeypatch.setattr(local, "accelerator_type", lambda: "A10G")
    assert capacity(Resources(gpus_per_worker=1.0, accelerator_type="A10G")).gpus == 1
    with pytest.raises(InputError, match=r"accelerator_type H100: this machine has A10G; write null"):
        capacity(Resources(gpus_per_worker=1.0, accelerator_type="H100"))
