"""Groups that are written come back from the reader as they were, in each form of the native format."""

import gzip
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hybridtune.data.readers.files import SUFFIXES
from hybridtune.data.readers.native import Group, parse_group
from hybridtune.data.readers.sources import find_sources, read_groups
from hybridtune.errors import InputError
from hybridtune.prepare import writer
from hybridtune.prepare.writer import group_row, output_file, write_groups

NAMES = ["new.jsonl", "new.jsonl.gz", "new.parquet"]
CODES = ["en", "sw", "zh-TW", "ru-Latn"]
GROUPS = [
    Group("q1", "article 3", {"en": "Who won?", "sw": "Nani alishinda?"}, {"en": "The final\nended ...", "de": "“Ü”"}),
    Group("q2", "", {"en": "Why?"}, {"en": "So."}, {"en": ["no", "né"], "de": ["nein"]}),
    Group("b7", "", {}, {"en": "The bridge.", "yo": "Afárá náà."}),
]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
SIDE = st.dictionaries(st.sampled_from(CODES), TEXT, max_size=3)


def read(file):
    return [group for source in find_sources([str(file)]) for group in read_groups(source)]


def test_every_suffix_of_the_native_format_can_be_written():
    assert {"".join(name.partition(".")[1:]) for name in NAMES} == set(SUFFIXES)


@pytest.mark.parametrize("name", NAMES)
def test_groups_come_back_as_they_were(tmp_path, name):
    assert write_groups(iter(GROUPS), tmp_path / name) == len(GROUPS)
    assert read(tmp_path / name) == GROUPS
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sides=st.lists(st.tuples(SIDE, SIDE.filter(lambda side: len(side) > 1)), max_size=5))
@pytest.mark.parametrize("name", NAMES)
def test_any_text_comes_back(tmp_path, name, sides):
    groups = [Group(f"g{number}", "", *both) for number, both in enumerate(sides)]
    write_groups(groups, tmp_path / name)
    assert read(tmp_path / name) == groups


@pytest.mark.parametrize("name", NAMES)
def test_equal_groups_are_equal_bytes(tmp_path, name):
    for folder in ("one", "two"):
        write_groups(GROUPS, tmp_path / folder / name)
    assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_packed_lines_have_neither_name_nor_time(tmp_path):
    write_groups(GROUPS, tmp_path / "a.jsonl")
    write_groups(GROUPS, tmp_path / "a.jsonl.gz")
    packed = (tmp_path / "a.jsonl.gz").read_bytes()
    assert packed[3:8] == bytes(5)
    assert gzip.decompress(packed) == (tmp_path / "a.jsonl").read_bytes()


def test_a_line_has_no_empty_fields_and_readable_letters(tmp_path):
    write_groups(GROUPS, tmp_path / "a.jsonl")
    lines = (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()
    assert list(json.loads(lines[0])) == ["group_id", "document_id", "queries", "passages"]
    assert list(json.loads(lines[1])) == ["group_id", "queries", "passages", "negatives"]
    assert json.loads(lines[2])["queries"] == {}
    assert "Afárá" in lines[2]


def test_a_row_is_the_group_again():
    assert [parse_group(group_row(group), "row") for group in GROUPS] == GROUPS


def test_parquet_is_written_in_row_groups(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "ROWS_AT_ONCE", 2)
    write_groups(GROUPS, tmp_path / "a.parquet")
    import pyarrow.parquet as pq

    assert pq.ParquetFile(tmp_path / "a.parquet").num_row_groups == 2
    assert read(tmp_path / "a.parquet") == GROUPS


@pytest.mark.parametrize("name", NAMES)
def test_an_error_in_the_middle_leaves_the_file_that_was_there(tmp_path, name):
    (tmp_path / name).write_text("old")

    def broken():
        yield GROUPS[0]
        raise InputError("line 2 is wrong")

    with pytest.raises(InputError, match="line 2"):
        write_groups(broken(), tmp_path / name)
    assert (tmp_path / name).read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_a_file_that_cannot_be_written_is_refused_in_a_line(tmp_path):
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "read.jsonl").write_text('{"group_id": "1", "queries": {"en": "a"}, "passages": {"en": "b"}}\n')
    sources = find_sources([str(tmp_path / "read.jsonl")])
    refused = {
        "pairs.csv": "--out pairs.csv: groups are written as .jsonl, .jsonl.gz, .parquet; name the file so",
        str(tmp_path / "folder.jsonl"): "is a folder; name a file in it",
        str(tmp_path / "read.jsonl"): "is the file that is read; give another name",
        "s3://bucket/pairs.jsonl": "give a file of this machine",
    }
    for out, expected in refused.items():
        with pytest.raises(InputError) as caught:
            output_file(out, sources)
        assert expected in str(caught.value)
        assert "\n" not in str(caught.value)
    assert output_file(str(tmp_path / "new.jsonl"), sources) == tmp_path / "new.jsonl"
