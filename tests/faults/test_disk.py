"""A disk that is full, a folder that is read-only, a quota that is used up: told once, and the study goes on later."""

import subprocess
import time

import pytest
from fault_runs import Place

SIZE = 40  # MB, of which a study leaves the most


@pytest.fixture
def small_disk(fault_cache, undisturbed, tmp_path):
    """A place on a file system of its own, of `SIZE` MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}m", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"a file system of its own cannot be mounted here: {mounted.stderr.strip()}")
    yield Place(folder / "hurt", fault_cache)
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(file):
    """Write until there is no room left."""
    with file.open("wb", buffering=0) as sink:
        try:
            while True:
                sink.write(bytes(4096))
        except OSError:
            return


def test_a_full_disk(small_disk, judge):
    place = small_disk
    run = place.start_to(18)
    ballast = place.folder.parent / "ballast"
    fill(ballast)
    place.release()
    assert run.end() == 1, run.text
    told = run.line(r"^hybridtune: \S+: cannot be written: no space left on device \([\d,]+ bytes free\)")
    assert "Traceback" not in run.text, run.text
    ballast.unlink()
    again = place.finish()
    judge("full disk", "its file system filled in step 6 of trial 1", place, told, place.began, again.code)


def test_a_folder_that_becomes_read_only(place, judge):
    run = place.start_to(18)
    checkpoints = place.out / "trials" / "0001" / "fit"
    bound = subprocess.run(["mount", "--bind", checkpoints, checkpoints], capture_output=True, text=True, check=False)
    if bound.returncode:
        run.kill("hybridtune")
        pytest.skip(f"a folder cannot be mounted again here: {bound.stderr.strip()}")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", checkpoints], check=True)
        place.release()
        assert run.end() == 1, run.text
    finally:
        subprocess.run(["umount", "--lazy", checkpoints], check=True)
    told = run.line(r"^hybridtune: \S+: cannot be written: read-only file system")
    assert "Traceback" not in run.text, run.text
    again = place.finish()
    judge("read-only folder", "remounted in step 6 of trial 1", place, told, place.began, again.code)


def test_a_quota(place, judge):
    run = place.start_to(18)
    run.hurt_at = time.time()
    place.release("import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))")
    code = run.end()
    told = run.line("a worker died .*File too large.* going on from step 4")
    assert "Traceback" not in run.text, run.text
    judge("quota", "RLIMIT_FSIZE of 1,000 bytes in a worker", place, told, run.hurt_at, code)
