"""A place for results is checked before anything is written there."""

import pytest

from hybridtune.errors import InputError
from hybridtune.storage.places import check_name, check_out

LONG = "x" * 256


@pytest.mark.parametrize("place", ["new", "new/deeper", ".", "folder", "s3://bucket/study", "y" * 255])
def test_a_place_where_a_folder_is_or_can_be_made_passes_and_nothing_is_made(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    check_out(place)
    check_out(f"file://{tmp_path}/new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("file", "is a file; name a folder"),
        ("file/study", "is a file; name a folder"),
        ("broken", "is a file; name a folder"),
        (LONG, "a name has at most 255 bytes, a path 4000"),
        (f"new/{LONG}/study", "a name has at most 255 bytes, a path 4000"),
        ("é" * 128, "a name has at most 255 bytes, a path 4000"),
        ("a/" * 2001, "a name has at most 255 bytes, a path 4000"),
        ("a\0b", "holds a NUL character, which no file system takes"),
    ],
)
def test_any_other_place_is_refused_in_one_line(place, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "broken").symlink_to("nowhere")
    with pytest.raises(InputError) as refused:
        check_out(place)
    assert str(refused.value).startswith("--out ")
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_names_in_a_url_are_left_to_what_opens_it():
    check_name(f"s3://bucket/{LONG}", "--out")
    with pytest.raises(InputError, match=r"^STUDY x{20}\.\.\.: a name has at most 255 bytes"):
        check_name(LONG, "STUDY")
