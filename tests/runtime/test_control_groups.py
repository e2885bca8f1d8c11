"""What control groups leave this process, by made files of either version."""

import pytest

from hybridtune.runtime.control_groups import cpu_quota, memory_left


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


def memory_files(folder, limit, used, files=0):
    """Those of a group of version 2."""
    inside = f"{folder}/" if folder else ""
    return {f"{inside}memory.max": limit, f"{inside}memory.current": used,
            f"{inside}memory.stat": f"anon 5\ninactive_file {files}"}  # fmt: skip


V1_MEMORY = {"memory/a/memory.limit_in_bytes": 900, "memory/a/memory.usage_in_bytes": 500,
             "memory/a/memory.stat": "inactive_file 1\ntotal_inactive_file 100"}  # fmt: skip


@pytest.mark.parametrize(
    ("groups", "files", "left"),
    [
        ("0::/", memory_files("", 1000, 400), (600, 1000)),
        ("0::/", memory_files("", 1000, 400, 150), (750, 1000)),  # the system takes that of files when it is needed
        ("0::/", memory_files("", "max", 400), None),
        ("0::/a/b", memory_files("a/b", 1000, 100) | memory_files("a", 2000, 1900), (100, 2000)),
        ("0::/", memory_files("", 1000, 1100), (0, 1000)),
        ("5:memory:/a", V1_MEMORY, (500, 900)),
        ("5:memory:/a", V1_MEMORY | {"memory/a/memory.limit_in_bytes": 2**63 - 4096}, None),
        ("5:cpu:/a", V1_MEMORY, None),
        ("0::/", {}, None),
    ],
)
def test_memory_is_what_the_tightest_group_has_left(tmp_path, groups, files, left):
    assert memory_left(made(tmp_path, groups, files)) == left


def test_without_control_groups_there_is_no_bound(tmp_path):
    assert (cpu_quota(tmp_path), memory_left(tmp_path)) == (None, None)
