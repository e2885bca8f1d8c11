"""Refused writes: which errors are one, how they are told, and that other errors stay what they are."""

import errno
import os
from pathlib import Path

import pytest
from safetensors import SafetensorError

from hybridtune.errors import InputError, StorageError
from hybridtune.storage.refused import refusal, refusals_told


@pytest.mark.parametrize(
    ("code", "words"),
    [(errno.ENOSPC, "no space left"), (errno.EDQUOT, "quota exceeded"), (errno.EROFS, "read-only file system")],
)
def test_a_refused_write_is_told_by_file_and_reason(tmp_path, code, words):
    file = str(tmp_path / "none" / "trials.jsonl")
    told = f"trials.jsonl: cannot be written: .*{words}.* bytes free"
    with pytest.raises(StorageError, match=told), refusals_told("elsewhere"):
        raise OSError(code, os.strerror(code), file)


def test_an_error_without_a_file_is_told_by_the_place(tmp_path):
    line = refusal(OSError(errno.ENOSPC, "no space"), tmp_path)
    assert line is not None
    assert line.startswith(f"{tmp_path}: cannot be written: no space left on device (")
    remote = refusal(OSError(errno.ENOSPC, "no space"), "s3://bucket/study")
    assert remote == "s3://bucket/study: cannot be written: no space left on device; make room there"


def test_what_a_library_of_rust_says_and_what_another_error_hides(tmp_path):
    rust = SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    assert "no space left" in str(refusal(rust, tmp_path))
    hidden = RuntimeError("the search failed")
    hidden.__cause__ = OSError(errno.EROFS, "read-only")
    assert "read-only" in str(refusal(hidden, tmp_path))


@pytest.mark.parametrize("error", [OSError(errno.ENOENT, "none"), ValueError("(os error 2)"), InputError("wrong")])
def test_other_errors_stay_what_they_are(error):
    assert refusal(error) is None
    with pytest.raises(type(error)), refusals_told("study"):
        raise error


def test_a_device_that_is_full():
    told = "/dev/full: cannot be written: no space left on device"
    with pytest.raises(StorageError, match=told), refusals_told("/dev/full"):
        Path("/dev/full").write_text("a line", encoding="utf-8")
