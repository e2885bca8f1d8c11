"""`hybridtune init`: from anybody's pairs to a study that runs."""

import json

import pytest
from cli_calls import files
from help_centre import help_centre, write_help_centre

from hybridtune.config.study import load_study


@pytest.fixture
def flat(groups_file):
    """Rows as groups of one pair, with the id of the translation that they are of."""

    def write(rows, name="pairs.jsonl"):
        sides = (("queries", "question"), ("passages", "answer"))
        groups = [{"group_id": row["id"]} | {side: {row["language"]: row[key]} for side, key in sides} for row in rows]
        return groups_file(groups, name)

    return write


def test_a_help_centre_becomes_a_study_that_passes_its_checks(call, tmp_path):
    code, out, _ = call("init", write_help_centre(tmp_path / "pairs.csv"))
    assert code == 0
    assert (
        "600 rows, 600 of them clean, 300 groups (rows of one id are one group): 600 mono and 1,120 cross pairs" in out
    )
    assert out.endswith("next:  hybridtune run study.yaml\n")
    study = load_study("study.yaml")
    assert study.train.batch_size == 32
    assert study.data.holdout.groups == 0.1
    assert study.low_resource == ["ha", "sw"]
    assert set(study.search.space) == {"mix.mixing_ratio", "train.temperature", "train.learning_rate"}
    code, out, _ = call("run", "study.yaml", "--dry-run", "--json")
    plan = json.loads(out)
    assert code == 0
    assert plan["plan"]["left_out_of_mono"] == ["ha", "sw"]
    assert "texts of the benchmarks in the training data" not in out


def test_every_line_of_the_study_file_is_explained(call, flat, tmp_path):
    assert call("init", flat(help_centre()))[0] == 0
    lines = (tmp_path / "here" / "study.yaml").read_text(encoding="utf-8").splitlines()
    sections = [line for line in lines if line and line == line.rstrip(":").strip() + ":"]
    assert [line for line in lines if line and "#" not in line] == sections
    assert sections == ["data:", "encoder:", "mix:", "train:", "resources:", "search:"]
    (ha,) = [line for line in lines if line.startswith("#   ha")]
    assert ha.split(maxsplit=1)[1].split() == (
        ["ha", "8", "mono", "80", "cross", "too", "small", "for", "mono", "batches:", "only", "in", "cross", "batches"]
    )


def test_languages_that_are_too_small_and_cross_nothing_are_told(call, flat):
    rows = [row | {"id": f"{row['id']}-{row['language']}"} for row in help_centre()]
    code, out, _ = call("init", flat(rows), "--json")
    found = json.loads(out)
    assert code == 0
    assert found["by"] is None
    assert (found["too_small"], found["batch_size"]) == (["ha"], 16)
    remarks = {row["language"]: row["remark"] for row in found["languages"]}
    too_small = {"ha": "too small for mono batches: scored, but not trained on"}
    assert remarks == dict.fromkeys(["de", "en", "es", "fr", "sw"], "") | too_small
    study = load_study("study.yaml")
    assert (study.mix.mixing_ratio, study.search.arms, study.search.objective) == (1.0, "none", ["multi/AP"])
    assert call("run", "study.yaml", "--dry-run")[0] == 0


def test_rows_that_teach_nothing_are_left_out_and_told(call, flat, tmp_path):
    rows = list(help_centre())
    spoiled = [rows[0], rows[1] | {"answer": rows[1]["question"]}]
    code, out, _ = call("init", flat([*rows, *spoiled]), "--json")
    found = json.loads(out)
    assert code == 0
    assert {reason: about["rows"] for reason, about in found["cleaning"]["dropped"].items()} == {
        "passage-is-query": 1,
        "duplicate": 1,
    }
    assert found["grouped"]["mono"] == 600
    report = tmp_path / "here" / "study.groups.jsonl.report.json"
    assert json.loads(report.read_text(encoding="utf-8")) == found["cleaning"]
    assert found["cleaning"]["file"] == "study.groups.jsonl"


def test_a_few_pairs_give_a_small_batch(call, flat):
    assert call("init", flat([row for row in help_centre() if row["language"] == "fr"][:14]))[0] == 0
    assert load_study("study.yaml").train.batch_size == 8
    assert call("run", "study.yaml", "--dry-run")[0] == 0


def test_an_encoder_is_written_down_with_lengths_that_it_takes(call, flat, tiny):
    assert call("init", flat(help_centre()), "--encoder", tiny[0])[0] == 0
    study = load_study("study.yaml")
    assert study.encoder.name == str(tiny[0])
    assert (study.encoder.query_length, study.encoder.passage_length) == (24, 24)  # its positions
    assert call("run", "study.yaml", "--dry-run")[0] == 0


def test_data_that_repeat_themselves_keep_their_pairs_and_say_so(call, flat):
    words = "and then the app asks you for the number that we sent by mail, which you type in, and this was all"
    rows = [row | {"answer": f"{row['id']} {words}."} for row in help_centre() if row["language"] == "en"]
    code, out, _ = call("init", flat(rows))
    assert code == 0
    assert "groups repeat a text of the dev or test part: trained on all the same: the scores are too good" in out
    assert load_study("study.yaml").data.on_leak == "warn"
    assert call("run", "study.yaml", "--dry-run")[0] == 0


def test_nothing_is_overwritten_without_force(call, flat, tmp_path):
    file = flat(help_centre())
    assert call("init", file)[0] == 0
    study = tmp_path / "here" / "study.yaml"
    first = study.read_bytes()
    study.write_bytes(b"mine")
    line = "hybridtune: study.yaml: is there already; --force writes it anew, --out names another study file\n"
    assert call("init", file) == (2, "", line)
    assert study.read_bytes() == b"mine"
    assert call("init", file, "--force")[0] == 0
    assert study.read_bytes() == first


WRONG = {
    "no file": (["{here}/none.jsonl"], "{here}/none.jsonl: does not exist"),
    "two pairs": (["{two}"], "there are too few pairs to cut a dev and a test part off; "),
    "suffix": (["{two}", "--out", "study.txt"], "--out study.txt: a study file ends in .yaml"),
    "encoder": (["{two}", "--encoder", "{here}/none"], "encoder {here}/none: no model there"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_call_is_one_line_and_writes_nothing(call, flat, tmp_path, name):
    arguments, line = WRONG[name]
    names = {"here": tmp_path, "two": flat(list(help_centre())[:2])}
    before = files(tmp_path)
    code, _, err = call("init", *(part.format(**names) for part in arguments))
    assert code == 2
    (last,) = [text for text in err.splitlines() if text.startswith("hybridtune: ")]
    assert last.startswith(f"hybridtune: {line.format(**names)}")
    assert files(tmp_path) == before


@pytest.mark.parametrize("command", ["init", "run", "run with a warning"])
def test_two_languages_in_one_column_are_named_with_what_to_write(call, flat, study_file, tmp_path, command):
    """Of a file that is said to be English more than half is German: a column was read as one language."""
    rows = [row | {"id": f"{row['id']}-{n}"} for n, row in enumerate(help_centre()) if row["language"] in ("en", "de")]
    file = flat([row | {"language": "en"} for row in rows[200:]])
    study = study_file(data={"train": str(file)}, benchmarks={"dev": {"path": "newsroom:dev"}})
    warned = ("--set", "data.on_wrong_language=warn", "--set", "mix.mixing_ratio=1", "--set", "search.arms=none")
    objective = ("--set", "search.space={temperature: {uniform: [0.1, 0.2]}}")
    if command == "init":
        code, out, err = call("init", file)
    else:
        options = (*warned, *objective) if "warning" in command else ()
        code, out, err = call("run", study, "--dry-run", *options)
    said = "queries that are said to be in 'en': "
    told = "name the column that says which (columns: {language: NAME}), else correct the code (language: de)"
    if "warning" in command:
        assert code == 0
        assert said in out
        assert told in out
        return
    (line,) = [text for text in err.splitlines() if text.startswith("hybridtune: ")]
    assert code == 2
    assert said in line
    assert told in line
    assert not (tmp_path / "here" / "study.yaml").exists()
