"""One writer a folder: the second is refused and told of the first; what is left of one that is gone is taken over."""

import dataclasses
import json
import multiprocessing
import os
import re
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack

import pytest
from object_store import KEYS, use_memory_store

from hybridtune.errors import HybridtuneError, InputError
from hybridtune.storage import writer_lock
from hybridtune.storage.files import exists, join, read_file, write_file
from hybridtune.storage.writer_lock import LAUNCH, STALE_SECONDS, WRITER, TakenOverError, acquire, read_holder
from hybridtune.study import one_writer as holding
from hybridtune.study.one_writer import one_writer

OTHER = {"key": "theirs", "pid": 77, "start_time": "1.00", "host": "node-7", "system": "node 7's", "since": 1.7e9}
URL = "memory://bucket/study"


@pytest.fixture
def local(tmp_path, monkeypatch):
    """A folder, as its location, and a function that makes its lock look that many seconds older."""
    monkeypatch.setattr(writer_lock, "SETTLE_SECONDS", 0.0)

    def aged(seconds):
        file = tmp_path / WRITER
        os.utime(file, (file.stat().st_mtime - seconds,) * 2)

    return str(tmp_path), aged


@pytest.fixture
def url(monkeypatch):
    """The same in an object store."""
    monkeypatch.setattr(writer_lock, "SETTLE_SECONDS", 0.0)
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    store = use_memory_store(monkeypatch)

    def aged(seconds):
        store.times[f"bucket/study/{WRITER}"] -= seconds

    return URL, aged


@pytest.fixture(params=["local", "url"])
def place(request):
    return request.getfixturevalue(request.param)


def left(location, **changes):
    write_file(join(location, WRITER), json.dumps({**OTHER, **changes}).encode())


def taken(location, messages=None):
    with one_writer(location, (messages if messages is not None else []).append):
        return json.loads(read_file(join(location, WRITER)))


def refused(location, *words):
    before = read_file(join(location, WRITER))
    with pytest.raises(InputError) as error, one_writer(location, print):
        pass
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)
    assert read_file(join(location, WRITER)) == before


def test_the_second_is_told_who_holds_it_where_and_since_when(place):
    location, _ = place
    with one_writer(location, print):
        refused(location, f"--out {location}: is in use by process {os.getpid()} on {socket.gethostname()}, since 20")
        with one_writer(location, print, name=LAUNCH):  # a launch has a lock of its own
            pass
    assert not exists(join(location, WRITER))
    taken(location)


def test_a_holder_on_another_host_keeps_it_while_it_renews_it_and_loses_it_after_the_bound(place):
    location, aged = place
    left(location)
    refused(location, "process 77 on node-7, since 2023-11-14 22:13:20 UTC", f"goes on {STALE_SECONDS:.0f} s after")
    aged(STALE_SECONDS - 10)
    refused(location, "process 77 on node-7")
    aged(20)
    messages = []
    assert taken(location, messages)["pid"] == os.getpid()
    assert messages == [
        f"--out {location}: was left by process 77 on node-7, since 2023-11-14 22:13:20 UTC, which is gone; taken over"
    ]


def test_a_holder_of_this_host_is_gone_with_its_process_at_once(place):
    location, _ = place
    child = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    here = writer_lock._this_process()
    left(location, pid=int(child.stdout), system=here.system, start_time="1.00")
    assert read_holder(location)[1] is False
    taken(location)
    left(location, pid=os.getppid(), system=here.system, start_time=writer_lock.start_time(os.getppid()))
    assert read_holder(location)[1] is True
    refused(location, f"process {os.getppid()} on node-7")
    left(location, pid=os.getppid(), system=here.system, start_time="1.00")  # its number was given again
    taken(location)


def test_a_lock_that_this_process_could_not_remove_is_no_holder(place):
    location, _ = place
    lock = acquire(location, WRITER, "here")
    content = read_file(lock.file)
    lock.release()
    write_file(lock.file, content)
    taken(location)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"[" * 100_000, b'{"pid": "x"}', b"\xff", b'{"pid":1e999}']
)
def test_a_damaged_lock_counts_as_held_until_it_is_old(place, content):
    location, aged = place
    write_file(join(location, WRITER), content)
    refused(location, "an unknown host")
    aged(STALE_SECONDS + 1)
    taken(location)


def test_what_a_lock_says_cannot_steer_a_terminal(place):
    location, _ = place
    left(location, host="\x1b[2Jevil\n" + "x" * 9999)
    with pytest.raises(InputError) as error:
        acquire(location, WRITER, "here")
    assert "\x1b" not in str(error.value)
    assert len(str(error.value)) < 800


def test_of_several_at_once_one_has_it(local):
    location, aged = local
    left(location)
    aged(STALE_SECONDS + 1)
    begin, results = threading.Barrier(8), []

    def take():
        begin.wait()
        try:
            results.append(acquire(location, WRITER, "here"))
        except InputError as error:
            results.append(str(error))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    locks = [one for one in results if not isinstance(one, str)]
    assert len(locks) == 1
    assert json.loads(read_file(locks[0].file))["key"] == locks[0].holder.key


def _hold(folder, held, end):
    with one_writer(folder, print):
        held.set()
        end.wait(60)


def test_two_processes(tmp_path):
    context = multiprocessing.get_context("spawn")
    held, end = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(str(tmp_path), held, end))
    other.start()
    try:
        assert held.wait(60)
        refused(str(tmp_path), f"process {other.pid} on")
        other.kill()  # and no lock is removed
        other.join()
        assert (tmp_path / WRITER).exists()
        taken(str(tmp_path))
    finally:
        other.kill()


def test_a_rival_at_a_url_that_wrote_later_wins(monkeypatch, url):
    """An object store has no exclusive writing: both wrote, and both look again."""
    location, _ = url
    monkeypatch.setattr(writer_lock.time, "sleep", lambda seconds: left(location))
    with pytest.raises(InputError, match=r"process 77 on node-7.* has just begun to write there"):
        acquire(location, WRITER, "--out x")


def test_a_heartbeat_makes_the_lock_young_again_and_one_that_was_removed_anew(place):
    location, aged = place
    lock = acquire(location, WRITER, "here")
    before = writer_lock._written(lock.file, 0)
    aged(60)
    lock.renew()
    assert writer_lock._written(lock.file, 0) >= before
    writer_lock.files.remove(lock.file)
    lock.renew()
    assert json.loads(read_file(lock.file)) == dataclasses.asdict(lock.holder)
    lock.release()
    assert not exists(lock.file)


def test_who_was_taken_over_from_touches_nothing_and_ends(place, monkeypatch):
    location, _ = place
    monkeypatch.setattr(holding, "BEAT_SECONDS", 0.01)
    messages = []

    def lose_it():
        with one_writer(location, messages.append):
            left(location)
            threading.Event().wait(60)

    with pytest.raises(HybridtuneError, match=r"process 77 on node-7.* has taken the folder over") as error:
        lose_it()
    assert messages == [str(error.value)]
    assert json.loads(read_file(join(location, WRITER))) == OTHER
    with pytest.raises(InputError):
        taken(location)


def test_a_lock_that_is_not_ours_is_not_renewed(place):
    location, _ = place
    lock = acquire(location, WRITER, "here")
    left(location)
    with pytest.raises(TakenOverError, match="process 77"):
        lock.renew()
    lock.release()
    assert json.loads(read_file(lock.file)) == OTHER


def test_a_storage_that_does_not_answer_ends_nothing(place, monkeypatch):
    location, _ = place
    monkeypatch.setattr(holding, "BEAT_SECONDS", 0.01)
    tried = threading.Semaphore(0)

    def fail(lock):
        tried.release()
        raise OSError("no answer")

    monkeypatch.setattr(writer_lock.Lock, "renew", fail)
    with one_writer(location, print):
        assert all(tried.acquire(timeout=60) for _ in range(3))


def test_a_folder_that_cannot_be_locked_is_told_in_one_line(tmp_path):
    with pytest.raises(InputError, match=re.escape(f"--out {tmp_path / 'none'}: cannot be used")), ExitStack() as held:
        held.enter_context(one_writer(str(tmp_path / "none"), print))
