"""`hybridtune data inspect` and `hybridtune data plan` through the command line."""

import json
import re

import pytest
from cli_calls import files

from hybridtune.config.fields import Encoder
from hybridtune.model.folder import with_folder_settings

ROWS = [
    {
        "group_id": "1",
        "document_id": "d",
        "queries": {"en": "Who won the final in Spain?", "de": "Wer gewann das Endspiel in Spanien?"},
        "passages": {"en": "The final in Spain ended late."},
        "negatives": {"en": ["The other final.", "A third one."]},
        "margins": {"en": [None, 2.5]},
    },
    {"group_id": "1", "queries": {"en": "Who won the final in Spain?"}, "passages": {"de": "Es endete spät."}},
    {"group_id": "3", "queries": {"en": "Who won the final in Spain?"}, "passages": {"de": "Es endete spät."}},
    {"group_id": "4", "queries": {}, "passages": {"en": "The bridge was opened.", "gsw": "D Brugg."}},
]


def test_what_the_data_hold_is_counted(call, groups_file, tmp_path):
    bench = groups_file([ROWS[0]], "bench.jsonl")
    before = files(tmp_path)
    arguments = ("data", "inspect", groups_file(ROWS), "--benchmark", bench)
    code, out, _ = call(*arguments, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["languages"] == ["de", "en", "gsw"]
    assert found["pairs"] == [[0, 1, 0], [2, 1, 0], [0, 0, 0]]
    sizes = {key: found[key] for key in ("groups", "documents", "answer_sets", "bitext")}
    assert sizes == {"groups": 4, "documents": 1, "answer_sets": 2, "bitext": 1}
    assert (found["hard_negatives"], found["scored_negatives"]) == (2, 1)
    assert found["repeated"] == {"ids": 1, "groups": 1, "queries": 2, "passages": 1}
    assert found["not_identified"] == ["gsw"]
    assert found["leaks"][str(bench)]["found"] == 3
    lengths = {(row["side"], row["language"]): row for row in found["lengths"]}
    assert lengths["queries", "en"]["longest"] == len("Who won the final in Spain?")
    code, out, _ = call(*arguments)
    assert code == 0
    assert ["en", "2", "1", "·"] in [line.split() for line in out.splitlines()]
    assert "1 groups have the id of an earlier one: `hybridtune data group FILE --by id` joins rows of one id" in out
    assert "1 hard negatives have a score, to be learnt by train.distil_from: data" in out
    assert "languages that no model tells: gsw" in out
    assert "2 groups hold texts of it: " in out
    assert files(tmp_path) == sorted([*before, str(tmp_path / "groups.jsonl")])


def test_the_page_has_the_pairs_and_the_remarks_and_escapes_names(call, groups_file, tmp_path):
    file = groups_file(ROWS, "a<b>.jsonl")
    page = tmp_path / "page.html"
    assert call("data", "inspect", file, "--html", page)[0] == 0
    text = page.read_text(encoding="utf-8")
    assert "a&lt;b&gt;.jsonl</h1>" in text
    assert "<b>" not in text
    assert re.findall(r'<th scope="row">(\w+)</th>', text) == ["de", "en", "gsw"]
    assert re.findall(r"<td[^>]*>(\d+)</td>", text)[:9] == ["0", "1", "0", "2", "1", "0", "0", "0", "0"]
    assert "languages that no model tells: gsw" in text
    assert call("data", "inspect", file, "--html", tmp_path / "again.html")[0] == 0
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == text


def test_lengths_are_in_the_tokens_of_an_encoder_and_say_what_it_cuts(call, groups_file, tiny):
    code, out, _ = call("data", "inspect", groups_file(ROWS), "--encoder", tiny[0], "--json")
    found = json.loads(out)
    assert (code, found["unit"]) == (0, "tokens")
    encoder = with_folder_settings(Encoder(name=str(tiny[0])))
    for row in found["lengths"]:
        assert row["cut at"] == (encoder.query_length if row["side"] == "queries" else encoder.passage_length)
        assert row["cut"] == (1.0 if row["median"] > row["cut at"] else row["cut"])
    (query,) = [row for row in found["lengths"] if (row["side"], row["language"]) == ("queries", "en")]
    text = ROWS[0]["queries"]["en"]
    assert query["longest"] == len(tiny[2].encode([text], encoder.query_prefix, 1000)[0])


def test_texts_of_another_language_are_named(call, groups_file):
    german = "Die Brücke über den Fluss wurde am Montag nach langer Arbeit wieder geöffnet"
    rows = [
        {"group_id": str(n), "queries": {"en": f"{german}, {n}."}, "passages": {"en": f"Yes, on Monday morning {n}."}}
        for n in range(30)
    ]
    code, out, _ = call("data", "inspect", groups_file(rows), "--json")
    (found,) = json.loads(out)["mislabelled"]
    assert code == 0
    assert {key: found[key] for key in ("side", "language", "other", "texts", "of")} == {
        "side": "queries",
        "language": "en",
        "other": "de",
        "texts": 30,
        "of": 30,
    }


def test_a_plan_is_that_of_a_dry_run(call, study_file):
    study = study_file()
    code, out, _ = call("data", "plan", study, "--json", "--set", "train.max_steps=6")
    found = json.loads(out)
    assert code == 0
    dry = json.loads(call("train", study, "--dry-run", "--json", "--set", "train.max_steps=6")[1])
    assert {key: found[key] for key in dry["plan"]} == dry["plan"]
    assert found["notices"] == dry["notices"]
    code, out, _ = call("data", "plan", study)
    assert code == 0
    assert "batches of the fixed values, 4 steps" in out
    assert "mixing ratio requested 0.5, realised 0.5000" in out


WRONG = {
    "no file": (["inspect", "{here}/none.csv"], "{here}/none.csv: does not exist"),
    "tiny": (
        ["inspect", "newsroom:dev", "--encoder", "tiny"],
        "tiny is built by a study; --encoder takes a model folder or a hub name",
    ),
    "no study": (
        ["plan", "{here}/none.yaml"],
        "{here}/none.yaml: cannot read the study file: No such file or directory",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_call_is_one_line(call, tmp_path, name):
    arguments, line = WRONG[name]
    found = call("data", *(part.format(here=tmp_path) for part in arguments))
    assert (found[0], found[2]) == (2, f"hybridtune: {line.format(here=tmp_path)}\n")
