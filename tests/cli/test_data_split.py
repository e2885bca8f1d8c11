"""`hybridtune data split` and `hybridtune data check` through the command line."""

import json

import pytest
from cli_calls import files

from hybridtune.config.fields import Holdout
from hybridtune.data.holdout import Cut
from hybridtune.data.readers.sources import parse_groups

ROWS = [
    {
        "group_id": f"{number}",
        "document_id": f"article {number // 3}",
        "queries": {"en": f"Where is the old bridge number {number}?", "de": f"Wo ist die alte Brücke {number}?"},
        "passages": {"en": f"The bridge number {number} stands beside the school and the market of that town."},
    }
    for number in range(120)
]


@pytest.mark.parametrize("share", ["documents", "groups"])
def test_the_three_files_are_the_parts_of_the_holdout(call, groups_file, tmp_path, share):
    file, out = groups_file(ROWS), tmp_path / "parts"
    code, printed, _ = call("data", "split", file, f"--{share}", "0.2", "--seed", "3", "--out", out, "--json")
    assert code == 0
    parts = {part: list(parse_groups(out / f"{part}.jsonl")) for part in ("train", "dev", "test")}
    assert json.loads(printed)["groups"] == {part: len(groups) for part, groups in parts.items()}
    cut = Cut(Holdout(**{share: 0.2}, seed=3), lambda: parse_groups(file))
    assert (parts["dev"], parts["test"]) == (cut.parts["dev"], cut.parts["test"])
    assert sorted(int(group.group_id) for groups in parts.values() for group in groups) == list(range(120))
    if share == "documents":
        documents = [{group.document_id for group in groups} for groups in parts.values()]
        assert sum(map(len, documents)) == len(set.union(*documents)) == 40
    first = {name: (out / f"{name}.jsonl").read_bytes() for name in parts}
    assert call("data", "split", file, f"--{share}", "0.2", "--seed", "3", "--out", out)[0] == 0
    assert {name: (out / f"{name}.jsonl").read_bytes() for name in parts} == first


def test_the_parts_of_a_split_do_not_leak_and_copies_do(call, groups_file, tmp_path):
    out = tmp_path / "parts"
    assert call("data", "split", groups_file(ROWS), "--documents", "0.2", "--out", out)[0] == 0
    code, printed, _ = call("data", "check", out / "dev.jsonl", "--benchmark", out / "dev.jsonl", "--json")
    found, groups = json.loads(printed), len((out / "dev.jsonl").read_text().splitlines())
    assert code == 1
    assert found["benchmarks"][str(out / "dev.jsonl")]["found"] == {"queries": 2 * groups, "passages": groups}
    assert len(found["groups"]) == groups
    code, printed, _ = call("data", "check", out / "dev.jsonl", "--benchmark", out / "dev.jsonl")
    assert code == 1
    assert f"of {2 * groups:,} queries" in printed
    other = groups_file([{"group_id": "1", "queries": {"en": "Why do birds sing?"}, "passages": {"en": "For joy."}}])
    code, printed, _ = call("data", "check", other, "--benchmark", out / "dev.jsonl")
    assert code == 0
    assert "no text of a benchmark stands in the data" in printed


WRONG = {
    "no share": (["split", "{file}", "--out", "o"], "give one share: --documents 0.1, or --groups 0.1"),
    "two shares": (["split", "{file}", "--documents", "0.1", "--groups", "0.1", "--out", "o"], "give one share"),
    "too much": (["split", "{file}", "--documents", "0.5", "--out", "o"], "documents: input should be less than 0.5"),
    "a file": (["split", "{file}", "--documents", "0.1", "--out", "{file}"], "is a file; name a folder"),
    "an empty part": (["split", "{file}", "--documents", "0.000001", "--out", "o"], "falls into the dev part"),
    "no data": (["split", "none.jsonl", "--groups", "0.1", "--out", "o"], "none.jsonl: does not exist"),
    "no benchmark": (["check", "{file}", "--benchmark", "none.jsonl"], "none.jsonl: does not exist"),
    "no training data": (["check", "none.jsonl", "--benchmark", "{file}"], "none.jsonl: does not exist"),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_a_mistake_is_one_line_and_nothing_is_written(call, groups_file, tmp_path, mistake):
    file = groups_file(ROWS)
    before = files(tmp_path)
    arguments, expected = WRONG[mistake]
    code, _, err = call("data", *(argument.format(file=file) for argument in arguments))
    assert code == 2
    assert err.count("\n") == 1
    assert expected in err
    assert files(tmp_path) == before
