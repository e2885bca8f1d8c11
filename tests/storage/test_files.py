"""Places: names, one copy a machine, and what is told when a place cannot be used."""

import os
import subprocess
import sys
import threading
import time

import pytest
from object_store import KEYS, s3_server, use_memory_store

from hybridtune.data.readers.sources import find_sources, read_groups
from hybridtune.errors import InputError
from hybridtune.storage import files as places
from hybridtune.storage.copies import ensure_local, publish
from hybridtune.storage.files import (
    check_location,
    download,
    exists,
    join,
    list_files,
    list_names,
    read_file,
    remove,
    upload,
)
from hybridtune.storage.manifests import MANIFEST


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HYBRIDTUNE_CACHE", str(tmp_path / "cache"))
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    return tmp_path / "cache"


@pytest.fixture
def memory(monkeypatch):
    return use_memory_store(monkeypatch)


@pytest.fixture(scope="module")
def s3():
    with s3_server() as url:
        yield url


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "made"
    for name, content in {"a.txt": "a", "sub/b.txt": "bb", "sub/deep/c d.bin": "ccc", "empty": ""}.items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text(content)
    return made


def content_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_names_of_places():
    url = "s3://b/p?endpoint_override=http://h:1/x&scheme=http"
    assert join(url, "q", "r s") == "s3://b/p/q/r%20s?endpoint_override=http://h:1/x&scheme=http"
    assert places.base_name(join(url, "r s")) == "r s"
    assert places.with_name(join(url, "q"), "z") == join(url, "z")
    assert places.with_name("/a/b", "c") == join("/a", "c") == join("file:///a", "c") == "/a/c"
    assert join("gs://b/", "x") == "gs://b/x"
    assert [places.is_remote(place) for place in ("s3://b", "gs://b/c", "abfs://c@a/x", "/x", "x", "file:///x")] == [
        *[True] * 3,
        *[False] * 3,
    ]
    assert str(places.local_path("file:///a%20b/c")) == "/a b/c"


def kinds(kind, s3, tmp_path):
    return {"s3": s3("study one"), "file": f"file://{tmp_path}/there", "path": str(tmp_path / "there")}[kind]


@pytest.mark.parametrize("kind", ["s3", "file", "path"])
def test_what_is_sent_is_listed_read_fetched_and_removed(kind, s3, tmp_path, folder):
    place = kinds(kind, s3, tmp_path).replace(" ", "%20")
    assert list_names(place) == []
    assert not exists(place)
    check_location(place, "--out")
    assert list_names(place) == []
    upload(folder, place, ["a.txt"])
    assert list_names(place) == ["a.txt", "empty", "sub"]
    assert list_names(join(place, "sub")) == ["b.txt", "deep"]
    assert {name: size for name, (size, _) in list_files(place).items()} == {
        "a.txt": 1,
        "empty": 0,
        "sub/b.txt": 2,
        "sub/deep/c d.bin": 3,
    }
    assert read_file(join(place, "sub", "deep", "c d.bin")) == b"ccc"
    assert read_file(join(place, "no")) is None
    if kind != "s3":  # where there are no folders
        with pytest.raises(InputError, match="sub: cannot be read: is a directory"):
            read_file(join(place, "sub"))
    download(place, tmp_path / "copy")
    assert content_of(tmp_path / "copy") == content_of(folder)
    download(place, tmp_path / "part", exclude=lambda name: name.startswith("sub/"))
    assert sorted(content_of(tmp_path / "part")) == ["a.txt", "empty"]
    download(join(place, "a.txt"), tmp_path / "one" / "file")
    assert (tmp_path / "one" / "file").read_text() == "a"
    remove(join(place, "sub", "b.txt"))
    assert not exists(join(place, "sub", "b.txt"))
    remove(place)
    remove(place)
    assert not exists(place)
    with pytest.raises(FileNotFoundError):
        download(place, tmp_path / "gone")


def test_a_large_file_comes_back_as_it_went(s3, tmp_path):
    file = tmp_path / "large"
    file.write_bytes(os.urandom(12_000_000))  # several parts of an upload
    upload(file, s3("large"))
    assert ensure_local(s3("large")).read_bytes() == file.read_bytes()


def test_the_last_files_follow_all_others_and_do_not_come_after_a_failure(memory, folder):
    for left in range(4):
        memory.fail_after = left
        with pytest.raises(OSError, match="told to fail"):
            upload(folder, f"memory://b/{left}", ["sub/b.txt", "a.txt"])
        assert not exists(f"memory://b/{left}/a.txt")
        assert exists(f"memory://b/{left}/sub/b.txt") == (left == 3)
        memory.changes = 0


def test_a_fetch_brings_again_only_what_changed(memory, folder, tmp_path):
    upload(folder, "memory://b/x")
    download("memory://b/x", tmp_path / "copy")
    memory.reads = 0
    (folder / "a.txt").write_text("z")  # of the same size
    upload(folder / "a.txt", "memory://b/x/a.txt")
    download("memory://b/x", tmp_path / "copy")
    assert memory.reads == 1
    assert content_of(tmp_path / "copy") == content_of(folder)


@pytest.mark.parametrize("name", ["weights", "f" * 64])
def test_at_hand_fetches_once_however_many_ask(memory, folder, name):
    upload(folder, f"memory://b/{name}")
    found = []
    asking = [threading.Thread(target=lambda: found.append(ensure_local(f"memory://b/{name}"))) for _ in range(6)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert len(set(found)) == 1
    assert len(found) == 6
    assert memory.reads == 4
    assert content_of(found[0]) == content_of(folder)


def test_at_hand_is_never_stale_and_expires(memory, folder, cache):
    upload(folder, "memory://b/encoder")
    before = ensure_local("memory://b/encoder")
    (folder / "a.txt").write_text("z")
    upload(folder, "memory://b/encoder")
    after = ensure_local("memory://b/encoder")
    assert (before / "a.txt").read_text() == "a"
    assert (after / "a.txt").read_text() == "z"
    old = time.time() - 25 * 3600
    os.utime(before, (old, old))
    upload(folder, "memory://b/other")
    ensure_local("memory://b/other")
    assert not before.exists()
    assert after.exists()


def test_a_fetch_that_failed_is_fetched_anew(memory, folder, monkeypatch):
    upload(folder, "memory://b/x")
    kept = memory.objects.pop("b/x/sub/b.txt")
    memory.objects["b/x/sub/b.txt"] = kept
    opening = memory.open_input_stream
    monkeypatch.setattr(memory, "open_input_stream", lambda path: 1 / 0 if path.endswith("b.txt") else opening(path))
    with pytest.raises(ZeroDivisionError):
        ensure_local("memory://b/x")
    monkeypatch.setattr(memory, "open_input_stream", opening)
    assert content_of(ensure_local("memory://b/x")) == content_of(folder)


def test_what_a_machine_has_built_itself_is_not_fetched(memory, cache):
    address = "a1" * 32
    (cache / address).mkdir(parents=True)
    assert ensure_local(f"memory://b/store/{address}") == cache / address
    assert memory.reads == 0


@pytest.mark.parametrize("local", [True, False])
def test_what_is_published_is_sent_once_and_named_by_its_content(memory, folder, tmp_path, local):
    under = str(tmp_path / "shared") if local else "memory://b/store"
    place = publish(folder, under)
    changes = memory.changes
    assert publish(folder, under) == place
    assert memory.changes == changes
    copied = content_of(ensure_local(place))
    assert {name: text for name, text in copied.items() if name != MANIFEST} == content_of(folder)
    (folder / "a.txt").write_text("z")
    assert publish(folder, under) != place
    addressed = folder.rename(tmp_path / ("b2" * 32))
    assert publish(addressed, under) == join(under, "b2" * 32)


def test_a_half_published_folder_is_sent_again(memory, folder):
    memory.fail_after = 2
    with pytest.raises(OSError, match="told to fail"):
        publish(folder, "memory://b/store")
    memory.fail_after = None
    copied = content_of(ensure_local(publish(folder, "memory://b/store")))
    assert {name: text for name, text in copied.items() if name != MANIFEST} == content_of(folder)


@pytest.mark.slow
def test_a_place_that_cannot_be_used_is_told_in_one_line(s3, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with_key = s3("x").replace("s3://", "s3://key:secret@")
    for place, told in {
        "bla://b/x": "unknown kind of storage; known: s3://, gs://",
        s3("x", bucket="nobody"): "there is no such bucket",
        "s3://b/x?endpoint_override=http://127.0.0.1:1&scheme=http&region=us-east-1": "it cannot be reached",
        str(tmp_path / "file"): "cannot be used",
        "/proc/nothing": "cannot be used",
        with_key: "holds a key",
    }.items():
        with pytest.raises(InputError) as caught:
            check_location(place, "--out")
        assert told in str(caught.value)
        assert str(caught.value).startswith("--out")
        assert "\n" not in str(caught.value)
        assert "secret" not in str(caught.value)


def test_training_data_is_read_from_a_bucket(s3, groups_file, monkeypatch):
    texts = {"queries": {"en": "a query"}, "passages": {"en": "a passage", "sw": "kifungu"}}
    upload(groups_file([{"group_id": f"g{n}", **texts} for n in (1, 2)], "one.jsonl.gz"), s3("data/one.jsonl.gz"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3("x").partition("endpoint_override=")[2].partition("&")[0])
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for place in (s3("data/one.jsonl.gz"), s3("data"), "s3://bucket/data/*.gz", "s3://bucket/data"):
        found = find_sources([place])
        assert [group.group_id for source in found for group in read_groups(source)] == ["g1", "g2"]


HELD = """
import sys, threading
from hybridtune.storage.files import locked
from pathlib import Path
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    threading.Event().wait()
"""


def test_a_lock_is_free_when_its_holder_was_killed(tmp_path):
    held = subprocess.Popen([sys.executable, "-c", HELD, str(tmp_path / "lock")], stdout=subprocess.PIPE, text=True)
    assert held.stdout.readline() == "held\n"
    held.kill()
    held.wait()
    with places.locked(tmp_path / "lock"):
        pass
