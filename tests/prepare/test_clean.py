"""Cleaning from files to files: every reason has a made example, all is counted, and nothing else is lost."""

import functools
import io
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from hybridtune.callbacks import StudyCallback
from hybridtune.config.fields import DataSet
from hybridtune.data.readers.native import Group
from hybridtune.data.readers.sources import find_sources, parse_groups
from hybridtune.errors import InputError
from hybridtune.model.tokenizer import train_tokenizer
from hybridtune.prepare import parts as parts_module
from hybridtune.prepare.clean import clean, rules_of
from hybridtune.prepare.cleaning import CHANGES, MUST, REASONS, RULES, Block, Rules, clean_block, read_rows
from hybridtune.prepare.parts import Job, make_parts, parts_folder, read_parts

BRIDGE = "The bridge was opened on Monday by the mayor, and everybody in the old town was very glad about it."
TOWN = "In the old town there are three schools, two markets, a station and the library that the king had built."
GERMAN = "Die Brücke wurde am Montag vom Bürgermeister eröffnet, und alle in der Altstadt freuten sich sehr."
RUSSIAN = "Мост открыл в понедельник мэр города, и все в старом городе были этому очень рады."
HARBOUR = "Ships of all nations came to the harbour in spring, when the ice had gone and the river was wide and quiet."
DROPPED = {  # query and passage in English, by the reason for which the row goes
    "empty": ("What was opened?", "\u200b \u00ad"),
    "too-long": ("How long?", "long " * 4001),
    "too-many-tokens": ("How many words?", "many " * 99),
    "wrong-script": ("Who opened it?", RUSSIAN),
    "wrong-language": ("Who opened the bridge?", GERMAN),
    "passage-is-query": ("What is the name of the river?", "WHAT is the name of  the river?"),
    "query-in-passage": (
        "Which ships came to the harbour in spring?",
        f"Q: Which ships came to the harbour in spring? {TOWN}",
    ),
    "duplicate": ("When was it  opened?", BRIDGE),
    "near-duplicate": ("When was it opened?", f"{BRIDGE} {HARBOUR} And so on.".replace("spring", "summer")),
}


def before(reason):
    """A sound row, which that of some reasons is a duplicate of."""
    return "When was it opened?", f"{BRIDGE} {HARBOUR} And so on." if reason == "near-duplicate" else BRIDGE


def flat(*pairs, **more):
    return [Group(f"g{n}", "", {"en": query}, {"en": passage}, **more) for n, (query, passage) in enumerate(pairs)]


def write(path, groups):
    rows = ({name: value for name, value in group._asdict().items() if value} for group in groups)
    path.write_text("".join(json.dumps({"queries": {}, **row}) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture
def cleaned(tmp_path):
    """Clean groups: the groups that are left, and the report."""

    def run(groups, rules=None, out="out.jsonl"):
        path = write(tmp_path / "in.jsonl", groups)
        result = clean([DataSet(path=path)], str(tmp_path / out), rules or Rules(), StudyCallback())
        assert sorted(file.name for file in tmp_path.iterdir()) == ["in.jsonl", out, f"{out}.report.json"]
        assert json.loads((tmp_path / f"{out}.report.json").read_text()) == result
        return list(parse_groups(tmp_path / out)), result

    return run


@pytest.fixture(scope="module")
def tokens():
    tokenizer = train_tokenizer([BRIDGE, TOWN, "many long words of a text"], 300)
    return Rules(tokenizer=tokenizer, tokens=90)


def test_every_reason_is_tried_here():
    assert {*DROPPED, "negative-is-passage"} == set(REASONS)
    assert {"unicode-form", "invisible", "white-space"} == set(CHANGES)


@pytest.mark.parametrize("reason", DROPPED)
def test_a_row_that_is_dropped_is_counted_with_its_place_and_text(cleaned, tokens, tmp_path, reason):
    rules = tokens if reason == "too-many-tokens" else Rules()
    first, other = before(reason), ("Who built the library?", TOWN)
    groups, result = cleaned(flat(first, DROPPED[reason], other), rules)
    assert [group.group_id for group in groups] == ["g0", "g2"]
    assert (result["rows"], result["written"]) == (3, 2)
    assert {name: (found["texts"], found["rows"]) for name, found in result["dropped"].items()} == {reason: (1, 1)}
    (example,) = result["dropped"][reason]["examples"]
    assert example["where"] == f"{tmp_path}/in.jsonl:2"
    assert example["language"] == "en"
    assert example["text"][:5].strip() == DROPPED[reason][1].strip()[:5].strip()


@pytest.mark.parametrize("reason", [reason for reason in DROPPED if reason not in MUST])
def test_what_is_to_be_kept_is_kept(cleaned, tokens, reason):
    rules = Rules(frozenset([reason]), **({"tokenizer": tokens.tokenizer, "tokens": 90} if "tok" in reason else {}))
    if reason == "wrong-script":  # such a text is in a wrong language too
        rules = Rules(frozenset([reason, "wrong-language"]))
    groups, result = cleaned(flat(before(reason), DROPPED[reason]), rules)
    assert len(groups) == 2
    assert result["dropped"] == {}


def test_what_is_changed_is_counted_and_written_clean(cleaned):
    groups, result = cleaned(flat(("Cafe\u0301  or\u00ad tea?", f"\ufeff{BRIDGE}\n")))
    assert groups == flat(("Café or tea?", BRIDGE))
    assert {name: found["texts"] for name, found in result["changed"].items()} == {
        "unicode-form": 1,
        "invisible": 2,
        "white-space": 2,
    }
    assert result["dropped"] == {}


def test_of_a_group_the_text_goes_and_the_others_stay_with_their_provenance(cleaned):
    group = Group(
        "g0",
        "article",
        {"en": "Who opened the bridge?", "de": "Who was it that opened the bridge on Monday?"},
        {"en": BRIDGE, "de": GERMAN, "ru": HARBOUR},
        {"en": [TOWN, "\u200b"], "de": [TOWN]},
        {},
        {"queries": {"de": "en"}, "passages": {"de": "en", "ru": "en"}},
        {"engine": "made"},
    )
    bitext = Group("b", "", {}, {"en": TOWN, "de": TOWN})
    (kept,), result = cleaned([group, bitext])
    assert kept == Group(
        "g0",
        "article",
        {"en": "Who opened the bridge?"},
        {"en": BRIDGE, "de": GERMAN},
        {"en": [TOWN]},
        {},
        {"passages": {"de": "en"}},
        {"engine": "made"},
    )
    counts = {reason: (found["texts"], found["rows"]) for reason, found in result["dropped"].items()}
    assert counts == {"empty": (1, 0), "wrong-script": (1, 0), "wrong-language": (3, 1)}


def test_a_negative_that_turns_out_to_be_a_passage_is_dropped(cleaned):
    (kept,), result = cleaned(
        flat(("Who opened it?", BRIDGE), negatives={"en": [BRIDGE.replace("glad", "gl\u200bad"), TOWN]})
    )
    assert kept.negatives == {"en": [TOWN]}
    assert result["dropped"]["negative-is-passage"]["texts"] == 1


def test_margins_stay_with_the_negatives_and_passages_that_are_left(cleaned):
    hard = {
        "en": [BRIDGE.replace("glad", "gl\u200bad"), TOWN, "\u200b", HARBOUR],
        "de": [GERMAN],
        "ru": [f"{RUSSIAN} Да."],
    }
    margins = {"en": [0.0, 1.5, 2.0, None], "de": [4.0], "ru": [5.0]}
    group = Group("1", "", {"en": "Who opened it?"}, {"en": BRIDGE, "de": RUSSIAN, "ru": ""}, hard, margins)
    (kept,), _ = cleaned([group])
    assert [*kept.passages] == ["en"]
    assert kept.negatives == {"en": [TOWN, HARBOUR], "de": [GERMAN], "ru": [f"{RUSSIAN} Да."]}
    assert kept.margins == {"en": [1.5, None]}


def test_questions_on_one_passage_and_one_question_in_two_languages_are_no_duplicates(cleaned):
    rows = flat(("When was it opened?", BRIDGE), ("Who opened it?", BRIDGE), ("When was it opened?", TOWN))
    rows.append(Group("de", "", {"de": "Wann wurde sie eröffnet?"}, {"en": BRIDGE}))
    rows.append(Group("fr", "", {"fr": "When?"}, {"en": BRIDGE}))
    rows.append(Group("nl", "", {"nl": "When?"}, {"en": BRIDGE}))
    groups, result = cleaned(rows)
    assert groups == rows
    assert result["dropped"] == {}


def test_three_examples_and_all_counts(cleaned):
    groups, result = cleaned(flat(*[("When was it opened?", BRIDGE)] * 9))
    assert len(groups) == 1
    assert result["dropped"]["duplicate"]["rows"] == 8
    assert [example["where"][-1] for example in result["dropped"]["duplicate"]["examples"]] == ["2", "3", "4"]


def test_a_language_that_nobody_knows_is_named_and_left_alone(cleaned):
    rows = [Group("1", "", {"gsw": BRIDGE}, {"gsw": TOWN}), Group("2", "", {"hi-Latn": BRIDGE}, {"en": TOWN})]
    groups, result = cleaned(rows)
    assert groups == rows
    assert result["not judged"] == ["gsw", "hi-Latn"]


@pytest.mark.parametrize("out", ["out.jsonl", "out.jsonl.gz", "out.parquet"])
def test_twice_the_same_bytes(cleaned, tmp_path, out):
    rows = flat(*DROPPED.values(), ("When was it opened?", BRIDGE), ("Who built the library?", TOWN))
    cleaned(rows, out=out)
    first = (tmp_path / out).read_bytes()
    cleaned(rows, out=out)
    assert (tmp_path / out).read_bytes() == first


def test_cleaning_what_is_clean_changes_nothing(cleaned):
    groups, _ = cleaned(flat(*DROPPED.values(), ("Cafe\u0301?", f" {TOWN}")))
    again, result = cleaned(groups)
    assert again == groups
    assert result["changed"] == result["dropped"] == {}


def test_of_two_files_each_row_once_and_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(parts_module, "ROWS", 2)
    many = [(f"Question number {n}?", f"The answer to it is {n} times {n + 1} and no more.") for n in range(7)]
    paths = [write(tmp_path / name, flat(*pairs)) for name, pairs in (("b.jsonl", many[:5]), ("a.jsonl", many[3:]))]
    result = clean([DataSet(path=path) for path in paths], str(tmp_path / "out.jsonl"), Rules(), StudyCallback())
    kept = [query for group in parse_groups(tmp_path / "out.jsonl") for query in group.queries.values()]
    assert kept == [query for query, _ in many]
    assert result["dropped"]["duplicate"]["rows"] == 2


def test_finished_parts_of_a_killed_run_are_taken_up_and_nothing_is_lost_or_doubled(tmp_path, monkeypatch):
    monkeypatch.setattr(parts_module, "ROWS", 2)
    path = write(tmp_path / "in.jsonl", flat(*((f"What is {n}?", f"It is the number {n} of ten.") for n in range(10))))
    sources = find_sources([path])
    out, worked = tmp_path / "out.jsonl", []

    def work(rows):
        if len(worked) == 3:
            raise KeyboardInterrupt
        worked.append([where for where, _ in rows])
        return clean_block(rows, Rules()).to_bytes()

    folder = parts_folder(out, sources, "made")
    with pytest.raises(KeyboardInterrupt):
        make_parts(Job(sources, read_rows, work), folder, StudyCallback(), "cleaning")
    assert not out.exists()
    (folder / sorted(file.name for file in folder.iterdir())[1]).unlink()  # parts may come in any order
    rest = []
    job = Job(sources, read_rows, lambda rows: rest.append(len(rows)) or clean_block(rows, Rules()).to_bytes())
    files = make_parts(job, folder, StudyCallback(), "cleaning")
    assert rest == [2, 2, 2]
    blocks = list(map(Block.from_bytes, read_parts(files)))
    assert [group.group_id for block in blocks for _, group in block.rows()] == [f"g{n}" for n in range(10)]


class _Evil:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("kind", ["pickle", "array of objects", "text"])
def test_a_part_that_somebody_left_there_runs_nothing(tmp_path, kind):
    path = write(tmp_path / "in.jsonl", flat(("What is it?", "It is a number.")))
    rules, marker, content = Rules(), tmp_path / "marker", io.BytesIO()
    folder = parts_folder(tmp_path / "out.jsonl", find_sources([path]), (RULES, rules))
    folder.mkdir()
    if kind == "array of objects":
        np.savez(content, tally=np.array([_Evil(marker)], object), texts=np.array([_Evil(marker)], object))
    elif kind == "pickle":
        content.write(pickle.dumps(_Evil(marker)))
    (folder / "000000-000000000").write_bytes(content.getvalue())
    with pytest.raises(InputError, match=r"a part of an interrupted cleaning is damaged \(.*\); clean again"):
        clean([DataSet(path=path)], str(tmp_path / "out.jsonl"), rules, StudyCallback())
    assert not marker.exists()
    assert not folder.exists()
    clean([DataSet(path=path)], str(tmp_path / "out.jsonl"), rules, StudyCallback())


def test_a_link_in_the_place_of_the_parts_is_not_followed(tmp_path):
    path = write(tmp_path / "in.jsonl", flat(("What is it?", "It is a number.")))
    sources, precious = find_sources([path]), tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("mine")
    parts_folder(tmp_path / "out.jsonl", sources, (RULES, Rules())).symlink_to(precious)
    clean([DataSet(path=path)], str(tmp_path / "out.jsonl"), Rules(), StudyCallback())
    assert [file.name for file in precious.iterdir()] == ["file"]
    assert [file for file in tmp_path.iterdir() if file.is_symlink()] == []


def test_parts_of_another_input_or_other_rules_are_not_taken_up(tmp_path):
    path = write(tmp_path / "in.jsonl", flat(("a", "b")))
    out = tmp_path / "out.jsonl"
    folder = functools.partial(parts_folder, out)
    first = folder(find_sources([path]), Rules())
    assert folder(find_sources([path]), Rules()) == first
    first.mkdir()
    assert folder(find_sources([path]), Rules(longest=5)) != first
    assert not first.exists()
    write(tmp_path / "in.jsonl", flat(("a", "b"), ("c", "d")))
    assert folder(find_sources([path]), Rules()) != first


def test_empty_cells_of_a_table_are_dropped_and_counted(tmp_path):
    rows = (
        f"query,passage,lang\nWho opened it?,{BRIDGE.replace(',', '')},en\n,{HARBOUR.replace(',', '')},en\nWhat?, ,en\n"
    )
    (tmp_path / "in.csv").write_text(rows)
    result = clean([DataSet(path=str(tmp_path / "in.csv"))], str(tmp_path / "out.jsonl"), Rules(), StudyCallback())
    assert (result["rows"], result["written"]) == (3, 1)
    assert {reason: (about["texts"], about["rows"]) for reason, about in result["dropped"].items()} == {"empty": (2, 2)}
    assert [example["where"][-1] for example in result["dropped"]["empty"]["examples"]] == ["3", "4"]


def test_an_empty_text_of_a_group_leaves_the_others(cleaned):
    translated = {"passages": {"de": "en", "en": "de"}}
    rows = [Group("1", "", {"en": "Who opened it?", "de": ""}, {"en": " ", "de": GERMAN}, translated=translated)]
    (kept,), result = cleaned(rows)
    assert kept == Group("1", "", {"en": "Who opened it?"}, {"de": GERMAN}, translated={"passages": {"de": "en"}})
    assert result["dropped"]["empty"]["texts"] == 2


def test_nothing_is_written_where_no_row_is_left(tmp_path):
    path = write(tmp_path / "in.jsonl", flat(DROPPED["wrong-script"]))
    with pytest.raises(InputError) as caught:
        clean([DataSet(path=path)], str(tmp_path / "out.jsonl"), Rules(), StudyCallback())
    assert str(caught.value).startswith(f"none of the 1 rows is left (wrong-script 1); the first: {path}:1: 'Мост")
    assert [file.name for file in tmp_path.iterdir()] == ["in.jsonl"]


def test_the_options_are_checked():
    assert rules_of(" wrong-language,near-duplicate ", 5, None) == Rules(
        frozenset(["wrong-language", "near-duplicate"]), 5
    )
    with pytest.raises(
        InputError, match="--keep empty: such a text cannot be trained on; these can be kept: too-long, "
    ):
        rules_of("empty", 5, None)
    with pytest.raises(InputError, match=r"--keep wrong-languages: is no reason .* did you mean .wrong-language.\?"):
        rules_of("wrong-languages", 5, None)
