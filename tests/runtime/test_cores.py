"""The cores of this process, by its affinity and its quota."""

import os

import pytest

from hybridtune.runtime import resources as module
from hybridtune.runtime.resources import cores


@pytest.mark.parametrize(("quota", "found"), [(None, 8), (0.25, 1), (1.0, 1), (2.9, 2), (64.0, 8)])
def test_whole_cores_of_what_the_quota_and_the_affinity_leave(monkeypatch, quota, found):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(module, "cpu_quota", lambda: quota)
    assert cores() == found
