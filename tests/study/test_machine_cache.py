"""What the cache holds, and what a prune takes away: nothing that may be read, nothing that is elsewhere."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from hybridtune.callbacks import StudyCallback
from hybridtune.data.store import FORMAT_VERSION
from hybridtune.errors import InputError
from hybridtune.runtime.processes import start_time
from hybridtune.runtime.sessions import mark_session, remove_session
from hybridtune.storage.files import locked
from hybridtune.storage.manifests import seal
from hybridtune.study.cache import Rules, list_cache, parse_size, prune_cache
from hybridtune.study.one_writer import one_writer

DAY = 86_400.0
A, B, C, D, E, F = (letter * 64 for letter in "abcdef")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HYBRIDTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


def put(path, days=0.0, size=1000, **files):
    """A folder that was last used so many days ago, of so many bytes beside its files."""
    path.mkdir(parents=True)
    (path / "tokens.npy").write_bytes(b"0" * size)
    for name, content in files.items():
        (path / f"{name}.json").write_text(json.dumps(content))
    if "store" in files or "teacher" in files:
        seal(path)
    when = time.time() - days * DAY
    for one in (*path.iterdir(), path):
        os.utime(one, (when, when))
    return path


def ended():
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def kinds():
    return {entry.path.name: (entry.kind, entry.unread, entry.busy) for entry in list_cache()}


def pruned(dry_run=False, **rules):
    result = prune_cache(Rules(**rules), StudyCallback(), dry_run)
    return {entry["path"].rpartition("/")[2] for entry in result["removed"]}


def test_an_empty_cache_or_none_has_nothing(cache):
    assert list_cache() == []
    cache.rmdir()
    assert list_cache() == []
    assert pruned(older_than=0.001, most=0) == set()


def test_everything_is_listed_with_what_it_is(cache):
    put(cache / A, store={"format": FORMAT_VERSION})
    put(cache / B, store={"format": FORMAT_VERSION - 1})
    put(cache / C, teacher={})
    put(cache / D)
    (put(cache / F, store={"format": FORMAT_VERSION}) / "tokens.npy").write_bytes(b"0")
    put(cache / f"{E}.building")
    put(cache / "fetched" / "f")
    put(cache / "studies" / "news-0")
    put(cache / "leaks")
    (cache / f"{A}.lock").touch()
    (cache / "notes.txt").write_text("mine")
    assert kinds() == {
        A: ("token store", "", False),
        B: ("token store", f"of format {FORMAT_VERSION - 1}; this version reads {FORMAT_VERSION}", False),
        C: ("teacher's vectors", "", False),
        D: ("fetched folder", "", False),
        F: ("token store", "tokens.npy has 1 bytes, and 1,000 were written", False),
        f"{E}.building": ("half-written", "its process has ended", False),
        "f": ("fetched file", "", False),
        "news-0": ("study at a URL", "", False),
        "leaks": ("searches for leaks", "", False),
        "notes.txt": ("unknown", "", False),
    }


def test_only_what_nothing_reads_goes_by_itself(cache):
    put(cache / A, days=400, store={"format": FORMAT_VERSION})
    put(cache / B, store={"format": 1})
    put(cache / f"{C}.building")
    put(cache / "fetched" / "d.fetching")
    put(cache / "ctranslate2" / "e-int8.partial")
    put(cache / "outgoing" / f"{ended()}-1.00-abc")
    put(cache / "outgoing" / f"{os.getpid()}-{start_time(os.getpid())}-def")
    gone = {B, f"{C}.building", "d.fetching", "e-int8.partial"}
    found = pruned(dry_run=True)
    assert found > gone
    assert len(found) == 5
    assert len(list_cache()) == 7  # nothing went
    assert pruned() == found
    assert {entry.path.name for entry in list_cache()} == {A, f"{os.getpid()}-{start_time(os.getpid())}-def"}


def test_what_is_old_goes_and_what_is_nobodys_stays(cache):
    put(cache / A, days=40, store={"format": FORMAT_VERSION})
    put(cache / B, days=20, store={"format": FORMAT_VERSION})
    put(cache / "studies" / "news-0", days=90)
    put(cache / "mine", days=90)
    assert pruned(older_than=30 * DAY) == {A}
    assert pruned(older_than=30 * DAY, studies=True) == {"news-0"}
    assert {entry.path.name for entry in list_cache()} == {B, "mine"}


def test_the_least_recently_used_goes_until_the_rest_fits(cache):
    for days, name in ((3, A), (2, B), (1, C)):
        put(cache / name, days=days)
    assert pruned(most=3000) == set()
    assert pruned(most=2999) == {A}
    assert pruned(most=2000, older_than=1.5 * DAY) == {B}
    assert pruned(most=0) == {C}


@contextmanager
def nobody():
    yield


@pytest.mark.parametrize("at_work", [True, False])
def test_what_a_process_is_at_stays(cache, at_work):
    put(cache / f"{A}.building")
    put(cache / B, days=9)
    home = put(cache / "studies" / "news-0", days=9)
    (cache / f"{B}.lock").touch()
    with (
        locked(cache / f"{A}.lock") if at_work else nobody(),
        locked(cache / f"{B}.lock") if at_work else nobody(),
        one_writer(str(home), print) if at_work else nobody(),
    ):
        os.utime(home, (1, 1))
        assert pruned(older_than=DAY, studies=True) == (set() if at_work else {f"{A}.building", B, "news-0"})


def test_no_link_is_followed_and_nothing_outside_is_removed(cache, tmp_path):
    precious = put(tmp_path / "precious", days=90)
    (cache / A).symlink_to(precious)
    put(cache / B, days=90)
    (cache / B / "link").symlink_to(precious)
    os.utime(cache / B / "link", (1, 1), follow_symlinks=False)
    os.utime(cache / B, (1, 1))
    (cache / "fetched").symlink_to(precious)
    assert pruned(older_than=DAY, most=0, studies=True) == {B}
    assert (precious / "tokens.npy").stat().st_size == 1000
    assert (cache / A).is_symlink()
    assert (cache / "fetched").is_symlink()


def session(tmp_path, name, **owner):
    """A session's folder of Ray's, of this process unless it says otherwise."""
    folder = tmp_path / "temporary" / "ray" / f"session_{name}"
    (folder / "logs").mkdir(parents=True)
    mark_session(folder)
    file = folder / "hybridtune.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | owner))
    return folder


def test_sessions_of_runs_that_were_killed_are_found_and_others_left(cache, tmp_path):
    killed = session(tmp_path, "1", pid=ended())
    again = session(tmp_path, "2", start_time="1.00")  # another process has its number
    running, elsewhere = session(tmp_path, "3"), session(tmp_path, "4", host="another", pid=1)
    of_others = session(tmp_path, "5")
    (of_others / "hybridtune.json").unlink()
    (killed.parent / "session_latest").symlink_to(killed)
    with (killed / "raylet.log").open("w") as log:
        left = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=log)
    link = killed.parent / "session_6"
    link.symlink_to(killed)
    found = {entry.path: entry.busy for entry in list_cache()}
    assert found == {killed: False, again: False, running: True, elsewhere: True}
    assert pruned() == {"session_1", "session_2"}
    assert left.wait() == -signal.SIGKILL  # what still ran of it
    assert {path.name for path in killed.parent.iterdir()} == {"session_3", "session_4", "session_5", "session_6"}


def test_the_link_to_another_session_stays(tmp_path):
    one, other = session(tmp_path, "1"), session(tmp_path, "2")
    latest = one.parent / "session_latest"
    latest.symlink_to(other)
    remove_session(one)
    assert (one.exists(), latest.is_symlink()) == (False, True)
    remove_session(other)
    assert list(one.parent.iterdir()) == []


def test_the_commands_tell_in_one_table(call, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "temporary"))
    cache = tmp_path / "cache"  # of `call`
    put(cache / A, days=3, size=2_000_000, store={"format": 1})
    code, out, err = call("cache", "list")
    head, *lines = out.splitlines()
    assert (code, err) == (0, "")
    assert head.rstrip() == f"{cache}: 1 entry, 2.0 MB"
    assert "token store" in out
    assert len(lines) >= 2
    code, out, _ = call("cache", "prune", "--dry-run")
    assert (code, out.splitlines()[0].rstrip()) == (0, "1 entry would be removed, 2.0 MB; 0 B left")
    freed = sum(file.stat().st_size for file in (cache / A).iterdir())
    code, out, _ = call("cache", "prune", "--older-than", "30d", "--max-size", "1GB", "--json")
    result = json.loads(out)
    assert (code, result["freed"], result["left"], result["dry_run"]) == (0, freed, 0, False)
    assert not (cache / A).exists()
    for wrong in (("--older-than", "old"), ("--max-size", "big")):
        code, out, err = call("cache", "prune", *wrong)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert err.startswith(f"hybridtune: {wrong[0]}")


@pytest.mark.parametrize(("text", "size"), [("1B", 1), ("20KB", 20_000), ("1.5GB", 1_500_000_000), ("2TB", 2 * 10**12)])
def test_sizes_are_written_with_their_unit(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "20", "GB", "-1GB", "1 GB", "20G"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(InputError, match=r"--max-size .*: is no size; write it like 500MB or 20GB"):
        parse_size(text)
