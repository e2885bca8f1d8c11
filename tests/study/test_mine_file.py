"""The file of `hybridtune mine`: the one that was read, with negatives."""

import gzip
import json

import pytest

from hybridtune.data.readers.native import Group
from hybridtune.data.readers.sources import find_sources, read_groups
from hybridtune.errors import InputError
from hybridtune.study.mine import with_mined, write_with_negatives

ROWS = [
    {"group_id": "1", "extra": [1, {"ü": None}], "queries": {"en": "who"}, "passages": {"en": "Zoë"}},
    {"group_id": "2", "negatives": {"en": ["old"]}, "queries": {"en": "why"}, "passages": {"en": "so"}},
]


@pytest.mark.parametrize("name", ["new.jsonl", "new.jsonl.gz"])
def test_the_written_file_is_the_read_one_with_negatives(tmp_path, name):
    path = tmp_path / name
    write_with_negatives(iter(ROWS), {"1": {"negatives": {"en": ["né", "no"]}}}, path)
    data = gzip.decompress(path.read_bytes()) if name.endswith(".gz") else path.read_bytes()
    written = [json.loads(line) for line in data.decode().splitlines()]
    assert written == [ROWS[0] | {"negatives": {"en": ["né", "no"]}}, ROWS[1] | {"negatives": {}}]
    assert [list(row)[:2] for row in written] == [["group_id", "extra"], ["group_id", "negatives"]]
    assert "Zoë" in data.decode()
    assert list(tmp_path.iterdir()) == [path]
    groups = [group for source in find_sources([str(path)]) for group in read_groups(source)]
    assert groups[0].negatives == {"en": ["né", "no"]}
    before = path.read_bytes()
    write_with_negatives(ROWS, {"1": {"negatives": {"en": ["né", "no"]}}}, path)
    assert path.read_bytes() == before


def test_a_file_that_could_not_be_written_whole_leaves_the_old_one(tmp_path):
    path = tmp_path / "new.jsonl"
    path.write_text("old")

    def broken():
        yield ROWS[0]
        raise InputError("line 2 is wrong")

    with pytest.raises(InputError, match="line 2"):
        write_with_negatives(broken(), {}, path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_mined_negatives_have_no_margin_and_those_of_the_file_keep_theirs(tmp_path):
    texts = {"queries": {"en": "why"}, "passages": {"en": "so", "de": "da"}}
    own = {"negatives": {"en": ["a", "b", "a"], "de": ["c"]}, "margins": {"en": [None, 2.5, 1.0]}}
    group = Group("1", "", *texts.values(), **own)
    more = with_mined(group, {"en": ["b", "new"], "de": ["d"]})
    assert more == {"negatives": {"de": ["c", "d"], "en": ["a", "b", "new"]}, "margins": {"en": [1.0, 2.5, None]}}
    assert with_mined(group._replace(margins={}), {}) == {"negatives": {"de": ["c"], "en": ["a", "b"]}}
    path = tmp_path / "new.jsonl"
    write_with_negatives([{"group_id": "1", **texts, **own}, {"group_id": "2", **texts, **own}], {"1": more}, path)
    first, second = [one for source in find_sources([str(path)]) for one in read_groups(source)]
    assert [*first.scored_negatives("en")] == [("a", 1.0), ("b", 2.5), ("new", None)]
    assert [*first.scored_negatives("de")] == [("c", None), ("d", None)]
    assert (second.negatives, second.margins) == ({}, {})
