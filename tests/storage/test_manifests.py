"""What was sealed is whole, or is told by the name of the file that is not."""

import contextlib
import json
import os
import re
from pathlib import Path

import pytest
from damaging import WAYS
from object_store import use_memory_store

from hybridtune.errors import HybridtuneError, InputError
from hybridtune.storage import files
from hybridtune.storage.copies import ensure_local, publish
from hybridtune.storage.manifests import MANIFEST, check_whole, damage, rewrite, seal

FILES = {"weights": b"w" * 5000, "deep/er/tokens.npy": b"12345678"}


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "made"
    for name, content in FILES.items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_bytes(content)
    seal(made)
    return made


def test_a_manifest_has_the_size_and_the_digest_of_every_file(folder):
    found = json.loads((folder / MANIFEST).read_text())
    assert found["format"] == 1
    assert {name: one["bytes"] for name, one in found["files"].items()} == {n: len(c) for n, c in FILES.items()}
    digest = "ef797c8118f02dfb649607dd5d3f8c7623048c9c063d532cc95c5ed7a898a64f"  # of 12345678, by sha256sum
    assert found["files"]["deep/er/tokens.npy"]["sha256"] == digest


def test_a_whole_folder_stays_whole_whatever_comes_into_it_later(folder):
    assert damage(folder) is None
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.onnx").write_bytes(b"later")
    assert damage(folder) is None
    seal(folder)
    assert "onnx/model.onnx" in (folder / MANIFEST).read_text()


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
@pytest.mark.parametrize("way", WAYS)
def test_any_damage_is_told_by_the_files_name(folder, name, way):
    WAYS[way](folder / name)
    told = damage(folder)
    assert told is not None
    assert told.startswith(name)
    with pytest.raises(InputError, match=f"{folder} is damaged: {name}.*; do this$"):
        check_whole(folder, "do this")


def test_sizes_alone_miss_a_byte_and_see_the_rest(folder):
    WAYS["flip"](folder / "weights")
    assert damage(folder, sizes_only=True) is None
    assert damage(folder) == "weights holds other bytes than were written"
    WAYS["truncate"](folder / "weights")
    assert damage(folder, sizes_only=True) == "weights has 2,500 bytes, and 5,000 were written"


def test_only_the_named_files_are_looked_at(folder):
    WAYS["flip"](folder / "weights")
    assert damage(folder, ["deep/er/tokens.npy", "none of these"]) is None
    assert damage(folder, ["weights"]) is not None


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"format": 2, "files": {}}',
        '{"format": 1, "files": []}',
        '{"format": 1, "files": {"a": 3}}',
        '{"format": 1, "files": {"a": {"bytes": "1", "sha256": ""}}}',
        '{"format": 1, "files": {"../a": {"bytes": 1, "sha256": ""}}}',
        '{"format": 1, "files": {"/etc/passwd": {"bytes": 1, "sha256": ""}}}',
    ],
)
def test_a_manifest_that_is_none_is_damage(folder, content):
    (folder / MANIFEST).write_text(content)
    assert damage(folder).startswith(f"{MANIFEST} cannot be read (")


def test_a_folder_that_a_cut_left_without_its_manifest_is_not_whole(tmp_path):
    (tmp_path / "weights").write_bytes(b"w")
    assert damage(tmp_path) == f"{MANIFEST} is missing"
    assert damage(tmp_path / "nowhere") == f"{MANIFEST} is missing"


def test_a_file_is_on_the_disk_before_its_name_and_the_name_before_the_call_returns(tmp_path, monkeypatch):
    steps, replace = [], os.replace
    monkeypatch.setattr(os, "fsync", lambda opened: steps.append(str(Path(f"/proc/self/fd/{opened}").readlink())))
    monkeypatch.setattr(Path, "replace", lambda self, to: (steps.append("rename"), replace(self, to)))
    file = tmp_path / "record.json"
    files.write_atomically(file, "{}")
    first, *rest = (step.rpartition("/")[2] for step in steps)
    assert re.fullmatch(r"\.[0-9a-f]{32}\.tmp", first)
    assert rest == ["rename", tmp_path.name]
    assert file.read_text() == "{}"


def test_all_of_a_folder_is_on_the_disk_before_its_manifest(tmp_path, monkeypatch):
    steps = []
    monkeypatch.setattr(os, "fsync", lambda opened: steps.append(str(Path(f"/proc/self/fd/{opened}").readlink())))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a").write_bytes(b"a")
    seal(tmp_path)
    names = [step.removeprefix(str(tmp_path)) for step in steps]
    assert {"", "/sub", "/sub/a"} == {*names[:3]}
    assert re.fullmatch(r"/\.[0-9a-f]{32}\.tmp", names[3])


def test_a_disk_that_fails_to_flush_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    file = tmp_path / "record.json"
    files.write_atomically(file, "old")

    def fails(opened):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="Input/output"):
        files.write_atomically(file, "new")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("way", ["truncate", "delete"])
@pytest.mark.parametrize("remote", [False, True])
def test_what_was_published_and_is_damaged_is_sent_again(folder, tmp_path, monkeypatch, way, remote):
    memory = use_memory_store(monkeypatch)
    monkeypatch.setenv("HYBRIDTUNE_CACHE", str(tmp_path / "cache"))
    under = "memory://b/store" if remote else str(tmp_path / "shared")
    location = publish(folder, under)
    if remote:
        (key,) = [key for key in memory.objects if key.endswith("weights")]
        memory.objects[key] = memory.objects[key][:3]
        if way == "delete":
            del memory.objects[key]
    else:
        WAYS[way](files.local_path(location) / "weights")
    assert publish(folder, under) == location
    assert (ensure_local(location) / "weights").read_bytes() == FILES["weights"]


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_that_is_damaged_is_fetched_again_and_one_that_is_damaged_there_is_refused(
    folder, tmp_path, monkeypatch, way
):
    memory = use_memory_store(monkeypatch)
    monkeypatch.setenv("HYBRIDTUNE_CACHE", str(tmp_path / "cache"))
    location = publish(folder, "memory://b/store")
    copy = ensure_local(location)
    WAYS[way](copy / "weights")
    assert ensure_local(location) == copy
    assert damage(copy) is None
    WAYS[way](copy / "weights")
    (key,) = [key for key in memory.objects if key.endswith("weights")]
    memory.objects[key] = b"v" * 5000
    with pytest.raises(HybridtuneError, match=r"memory://b/store/.* is damaged: weights holds other bytes"):
        ensure_local(location)
    assert not copy.exists()


@pytest.mark.parametrize("writes", [0, 1, 2, 3])
def test_a_file_that_is_written_anew_leaves_the_folder_whole_whenever_that_ends(folder, monkeypatch, writes):
    left = [writes]

    def write_some(file, content):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        files.write_atomically(file, content)

    monkeypatch.setattr("hybridtune.storage.manifests.write_atomically", write_some)
    with contextlib.suppress(KeyboardInterrupt):
        rewrite(folder, "weights", "other")
    assert damage(folder) is None
    assert (folder / "weights").read_bytes() == (FILES["weights"] if writes < 2 else b"other")
    (folder / "weights").write_bytes(b"xxxxx")
    assert (damage(folder) is None) == (writes in (1, 2))


def test_a_file_of_a_folder_without_a_manifest_is_written_and_no_manifest_made(tmp_path):
    rewrite(tmp_path, "card.md", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["card.md"]
