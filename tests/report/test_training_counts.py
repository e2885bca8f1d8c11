"""Tables of the report on training: origins of pairs, pairs held out, values of trainings after the search."""

import json

import pytest

from hybridtune.report import requested_vs_realised, search_charts, tables
from hybridtune.report.page import page
from hybridtune.report.record import read_record


@pytest.fixture
def told_apart(study_copy):
    """A study whose best trial has drawn translated pairs and bitext, and nothing of en-sw."""
    plan = study_copy / "trials" / read_record(study_copy).best.id / "plan.json"
    content = json.loads(plan.read_text(encoding="utf-8"))
    rows = [row | {"origin": "native"} for row in content["table"] if row["pair"] not in ("en-sw", "sw-en")]
    rows += [{**rows[0], "kind": "mono", "pair": "sw-sw", "origin": "translated", "pairs": 10, "groups": 7}]
    rows += [{**rows[0], "kind": "align", "pair": "en-de", "origin": "bitext", "pairs": 5, "groups": 4}]
    plan.write_text(json.dumps({**content, "table": rows}), encoding="utf-8")
    file = study_copy / "study.yaml"
    text = file.read_text(encoding="utf-8").replace("unseen_pairs: []", "unseen_pairs: [en-sw]")
    file.write_text(text.replace("translated_weight: 1.0", "translated_weight: 0.5"), encoding="utf-8")
    return read_record(study_copy)


def test_origins_are_told_apart_in_the_tables_of_training_pairs(told_apart):
    pairs = requested_vs_realised.training_pairs(told_apart)
    assert pairs.columns[:3] == ["pair", "kind", "origin"]
    assert [row[:3] for row in pairs.rows[-2:]] == [["sw-sw", "mono", "translated"], ["en-de", "align", "bitext"]]
    languages = requested_vs_realised.languages(told_apart)
    places = [languages.columns.index(name) for name in ("translated", "bitext")]
    assert {row[0]: [row[place] for place in places] for row in languages.rows} == {
        "de": [0, 4],
        "en": [0, 4],
        "sw": [7, 0],
    }
    rows = {row[0]: row[1:] for row in requested_vs_realised.requested_vs_realised(told_apart).rows}
    assert rows[f"pairs by origin, {told_apart.best.label}"] == [
        "translated weight 0.5, bitext weight 1",
        "168 native, 10 translated, 5 bitext",
    ]


def test_held_out_pairs_are_told_with_what_was_drawn_of_them(told_apart):
    rows = {row[0]: row[1:] for row in requested_vs_realised.requested_vs_realised(told_apart).rows}
    name = f"pairs of en-sw, in either direction, {told_apart.best.label}"
    assert rows[name] == ["0 (held out)", "0 drawn"]
    told_apart.best.plan["table"][0].update(pair="sw-en", pairs=3)
    rows = {row[0]: row[1:] for row in requested_vs_realised.requested_vs_realised(told_apart).rows}
    assert rows[name] == ["0 (held out)", "3 drawn"]


def test_a_study_of_native_pairs_has_no_column_of_origins(finished_study):
    record = read_record(finished_study)
    assert "origin" not in requested_vs_realised.training_pairs(record).columns
    assert "translated" not in requested_vs_realised.languages(record).columns
    rows = [row[0] for row in requested_vs_realised.requested_vs_realised(record).rows]
    assert not any(str(name).startswith("pairs") for name in rows)


def test_a_training_after_the_search_shows_the_values_of_the_study_file(study_copy):
    """file-half-half is given its mixing ratio alone: its temperature is the file's."""
    lines = (study_copy / "trials.jsonl").read_text(encoding="utf-8").splitlines()
    row = json.loads(lines[1])
    row |= {"id": "file-half-half", "proposed": "rerun", "values": {"mix.mixing_ratio": 0.5}}
    text = "\n".join([*lines, json.dumps(row), ""])
    (study_copy / "trials.jsonl").write_text(text, encoding="utf-8")
    record = read_record(study_copy)
    (place,) = [i for i, trial in enumerate(record.trials) if trial.id == "file-half-half"]
    table = tables.all_trials(record)
    assert table.rows[place][table.columns.index("temperature")] == record.study.train.temperature
    assert search_charts.parallel(record).rows[place][-1] == record.study.train.temperature


@pytest.mark.parametrize("name", ["requested_ratio", "realised_ratio", "steps", "batch_size", "table"])
@pytest.mark.parametrize("value", [None, "many"])
def test_a_plan_that_is_none_is_told_and_its_counts_are_left_out(study_copy, name, value):
    best = read_record(study_copy).best
    file = study_copy / "trials" / best.id / "plan.json"
    plan = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**plan, name: value}), encoding="utf-8")
    record = read_record(study_copy)
    assert record.best.plan is None
    assert f"{file}: '{name}' is missing, or is not what a plan has there; the counts" in " ".join(record.notes)
    assert "There is no best trial with its plan" in page(record)
