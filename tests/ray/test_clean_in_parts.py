"""Cleaning with Ray Data: the same bytes as in one process, and errors of the rows as they are told there."""

import pytest

from hybridtune.callbacks import StudyCallback
from hybridtune.config.fields import DataSet
from hybridtune.errors import InputError
from hybridtune.prepare import parts as parts_module
from hybridtune.prepare.clean import clean
from hybridtune.prepare.cleaning import Rules

pytestmark = pytest.mark.ray


def rows(first, last):
    said = (
        '{{"group_id": "{0}", "queries": {{"en": "What is {0}?"}}, "passages": {{"en": "It is  the number {1}."}}}}\n'
    )
    return "".join(said.format(number, number % 50 if number % 9 else "") for number in range(first, last))


def test_few_rows_and_many_are_cleaned_alike(tmp_path, monkeypatch, ray_here):
    (tmp_path / "b.jsonl").write_text(rows(0, 300))
    (tmp_path / "a.jsonl").write_text(rows(200, 420).replace('"group_id": "', '"group_id": "a'))
    monkeypatch.setattr(parts_module, "ROWS", 64)
    data_sets = [DataSet(path=str(tmp_path / name)) for name in ("b.jsonl", "a.jsonl")]

    def run(name, few):
        monkeypatch.setattr(parts_module, "FEW", few)
        result = clean(data_sets, str(tmp_path / name), Rules(), StudyCallback())
        return (tmp_path / name).read_bytes(), {**result, "file": "", "report": ""}

    here = run("here.jsonl", 1000)
    assert run("there.jsonl", 0) == here
    assert here[1]["rows"] == 520
    assert here[1]["dropped"]["duplicate"]["rows"] == 100

    with (tmp_path / "a.jsonl").open("a") as file:
        file.write("no JSON\n")
    with pytest.raises(InputError, match=r"a\.jsonl:221: broken JSON: "):
        run("broken.jsonl", 0)
    assert sorted(file.name for file in tmp_path.iterdir() if "broken" in file.name) == []
