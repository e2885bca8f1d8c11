"""The cores of this process, by made control group files of either version."""

import os

import pytest

from hybridtune.runtime import resources as module
from hybridtune.runtime.resources import cores, cpu_quota


def made(root, groups, files):
    """A file system with /proc/self/cgroup and files below /sys/fs/cgroup."""
    for name, text in {"proc/self/cgroup": groups, **{f"sys/fs/cgroup/{key}": files[key] for key in files}}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{text}\n")
    return root


V1 = "12:cpuset:/\n4:cpu,cpuacct:{}\n1:name=systemd:/x\n0::/"


def quota_files(folder, quota, period=100_000):
    """Those of a group of version 1."""
    return {f"{folder}/cpu.cfs_quota_us": quota, f"{folder}/cpu.cfs_period_us": period}


@pytest.mark.parametrize(
    ("groups", "files", "quota"),
    [
        ("0::/", {"cpu.max": "150000 100000"}, 1.5),  # a container of version 2
        ("0::/", {"cpu.max": "max 100000"}, None),
        ("0::/", {}, None),
        ("0::/a/b", {"a/b/cpu.max": "max 100000", "a/cpu.max": "200000 100000"}, 2.0),  # of a group above
        ("0::/a/b", {"a/b/cpu.max": "50000 100000", "a/cpu.max": "200000 100000"}, 0.5),
        ("0::/a/b", {"cpu.max": "300000 100000"}, 3.0),  # its own group is mounted as the uppermost
        ("0::/../other", {"cpu.max": "300000 100000", "other/cpu.max": "100000 100000"}, 3.0),
        ("0::/", {"cpu.max": "what"}, None),
        (V1.format("/"), quota_files("cpu,cpuacct", 250_000), 2.5),
        (V1.format("/"), quota_files("cpu", -1), None),
        (V1.format("/docker/ab"), quota_files("cpu", 100_000, 50_000), 2.0),
        (V1.format("/a/b"), quota_files("cpu/a/b", 400_000) | quota_files("cpu/a", 300_000), 3.0),
        (V1.format("/a"), quota_files("memory/a", 100_000), None),
    ],
)
def test_a_quota_is_that_of_the_group_or_of_one_above(tmp_path, groups, files, quota):
    assert cpu_quota(made(tmp_path, groups, files)) == quota


def test_without_control_groups_there_is_no_quota(tmp_path):
    assert cpu_quota(tmp_path) is None


@pytest.mark.parametrize(("quota", "found"), [(None, 8), (0.25, 1), (1.0, 1), (2.9, 2), (64.0, 8)])
def test_whole_cores_of_what_the_quota_and_the_affinity_leave(monkeypatch, quota, found):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(module, "cpu_quota", lambda: quota)
    assert cores() == found
