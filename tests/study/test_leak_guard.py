"""Nothing that is scored was trained on: what a study and an evaluation do about it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from study_trials import Lines

from hybridtune.config.fields import BenchmarkSource
from hybridtune.config.study import Study, load_study
from hybridtune.data import store as store_module
from hybridtune.data.corpus import TextPart
from hybridtune.data.newsroom import generate
from hybridtune.data.readers.benchmarks import read_benchmark
from hybridtune.data.training_texts import TrainingTexts
from hybridtune.errors import InputError
from hybridtune.model.encoder import DualEncoder
from hybridtune.model.published import TRAINING_TEXTS
from hybridtune.study.leak_guard import check_evaluation, dropped_groups, keep_report, texts_of_training
from hybridtune.study.preflight import run_preflight
from hybridtune.study.summary import describe_plan, opening_lines

TRAIN = list(generate("train"))[:120]  # 60 documents of two groups
DEV = list(generate("dev"))[:12]


@pytest.fixture
def prepared(study_file, groups_file):
    """Prepares a study of some groups, scored on newsroom:dev or on others."""

    def make(groups, scored=None, benchmarks=None, name="train.jsonl", limits=None, **data):
        data = {"train": str(groups_file(groups, name)), "language_limits": limits or {}, **data}
        if benchmarks is None:
            path = "newsroom:dev" if scored is None else str(groups_file(scored, "scored.jsonl"))
            benchmarks = {"dev": {"path": path}}
        train = {"batch_size": 4, "max_steps": 4}
        return run_preflight(load_study(study_file(data=data, benchmarks=benchmarks, train=train)), False)

    return make


def refused(prepare, *arguments, **data):
    with pytest.raises(InputError) as caught:
        prepare(*arguments, **data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_dev_set_cut_from_the_training_file_is_refused_in_one_line(prepared, tmp_path):
    line = refused(prepared, TRAIN, TRAIN[:10])
    documents = [row["document_id"] for row in TRAIN[:10]]
    assert line.startswith(f"data.train: holds texts of what is scored: {tmp_path / 'train.jsonl'}: benchmarks.dev: ")
    assert f"{documents[0]} " in line
    assert f"{documents[-1]} " in line
    assert line.endswith(
        ". --set data.on_leak=drop trains without the 10 of 120 groups that hold them, data.on_leak=warn with them; "
        "data.holdout: {documents: 0.1} in place of benchmarks cuts a dev and a test part out of the training files"
    )


def test_a_leak_in_the_test_set_is_told_apart(prepared, groups_file):
    test = {"path": str(groups_file(TRAIN[:2], "test.jsonl"))}
    line = refused(prepared, TRAIN, benchmarks={"dev": {"path": "newsroom:dev"}, "test": test})
    assert "benchmarks.test: " in line
    assert "benchmarks.dev" not in line


def test_one_pass_finds_leaks_and_wrong_languages_and_counts_the_texts(prepared, monkeypatch):
    passes, groups = [], store_module.StoreRecipe.groups

    def counted(made_of):
        passes.append(made_of)
        return groups(made_of)

    monkeypatch.setattr(store_module.StoreRecipe, "groups", counted)
    assert len(prepared(TRAIN).corpus.queries) == len(TRAIN)
    mislabelled = [{**row, "queries": {"en": row["queries"]["de"]}} for row in TRAIN if "de" in row["queries"]]
    line = refused(prepared, mislabelled, name="other.jsonl")
    assert line.startswith("data.train: queries that are said to be in 'en'")
    assert len(passes) == 2


def test_dropping_leaves_the_groups_out_and_is_part_of_the_address(prepared):
    clean = prepared(TRAIN[10:], TRAIN[:10])
    found = prepared(TRAIN, TRAIN[:10], on_leak="drop")
    assert np.array_equal(found.corpus.queries, clean.corpus.queries)
    assert found.recipe.dropped == {row["group_id"] for row in TRAIN[:10]}
    assert found.recipe.address == prepared(TRAIN, TRAIN[:10], on_leak="drop").recipe.address
    assert found.recipe.address != prepared(TRAIN, TRAIN[10:14], on_leak="drop").recipe.address
    (line,) = (line for line in opening_lines(found) if line.startswith("texts of the benchmarks in the training data"))
    assert line.endswith("; the 10 groups that hold them are left out")


def test_dropping_everything_is_refused(prepared):
    line = refused(prepared, TRAIN[:10], TRAIN[:10], on_leak="drop")
    assert line.endswith("train.jsonl: there is no group in it but the 10 that hold texts of a benchmark")


def test_a_warning_goes_on_with_all_groups(prepared):
    found = prepared(TRAIN, TRAIN[:10], on_leak="warn")
    assert len(found.corpus.queries) == 120
    (line,) = (line for line in opening_lines(found) if line.startswith("texts of the benchmarks in the training data"))
    assert line.endswith("; trained on all the same (data.on_leak warn): scores are too good")
    counts = describe_plan(found)["leaks"]
    assert counts["leaking_groups"] == 10
    assert counts["benchmarks.dev"]["found"] == counts["benchmarks.dev"]["texts"]


def test_a_clean_study_says_how_much_was_looked_for(prepared):
    lines = opening_lines(prepared(TRAIN))
    assert "none of the benchmarks' 960 texts counts as found in 120 training groups" in lines


def test_groups_whose_languages_are_all_left_out_do_not_count(prepared):
    leaking = [{"group_id": "so1", "queries": {"so": DEV[0]["queries"]["en"]}, "passages": {"so": "erey"}}]
    prepared([*TRAIN, *leaking], limits={"so": 0})
    refused(prepared, [*TRAIN, *leaking], limits={"so": 5})


def test_a_report_is_read_again_where_nothing_changed(prepared, tmp_path, monkeypatch):
    monkeypatch.setenv("HYBRIDTUNE_CACHE", str(tmp_path / "cache"))
    first = prepared(TRAIN, TRAIN[:10], on_leak="drop")
    assert not (tmp_path / "cache").exists()  # a preflight writes nothing
    (tmp_path / "study").mkdir()
    keep_report(first.study, first.guarded, first.benchmarks, tmp_path / "study")
    assert dropped_groups(first.study, tmp_path / "study") == first.recipe.dropped
    with monkeypatch.context() as patch:
        patch.setattr("hybridtune.study.leak_guard.LeakSearch", None)
        assert prepared(TRAIN, TRAIN[:10], on_leak="drop").guarded.report == first.guarded.report
        refused(prepared, TRAIN, TRAIN[:10])
    prepared(TRAIN[10:], TRAIN[:10])  # other data is looked through


def test_dev_inside_test_is_told(prepared, groups_file):
    paths = (groups_file(DEV[:6], "dev.jsonl"), groups_file(DEV, "test.jsonl"))
    benchmarks = {name: {"path": str(path)} for name, path in zip(("dev", "test"), paths, strict=True)}
    (line,) = (line for line in opening_lines(prepared(TRAIN, benchmarks=benchmarks)) if "no test" in line)
    assert line.startswith("benchmarks.test: 36 of its 72 queries and 36 of its 72 passages are in benchmarks.dev too")


class TestHoldout:
    def test_nobody_has_to_write_a_split(self, prepared):
        found = prepared(TRAIN, benchmarks={}, holdout={"documents": 0.2}, on_leak="drop")
        held = {part: {group.document_id for group in groups} for part, groups in found.recipe.cut.parts.items()}
        trained = {group.document_id for _, group in found.recipe.groups()}
        assert set(found.benchmarks) == {"dev", "test"}
        assert held["dev"].isdisjoint(held["test"])
        assert trained.isdisjoint(held["dev"] | held["test"])
        assert trained | held["dev"] | held["test"] <= {row["document_id"] for row in TRAIN}
        assert len(found.corpus.queries) < len(TRAIN) - len(held["dev"] | held["test"])

    def test_a_part_takes_the_fields_of_a_benchmark(self, prepared):
        some = [*TRAIN, *DEV]
        benchmarks = {"dev": {"path": "holdout:dev", "languages": ["de", "en"]}, "test": None}
        found = prepared(some, benchmarks=benchmarks, holdout={"documents": 0.3}, on_leak="drop")
        assert set(found.benchmarks) == {"dev"}
        assert set(found.benchmarks["dev"].queries.languages) == {"de", "en"}

    def test_held_out_groups_are_in_no_other_language_limit_or_store(self, prepared):
        found = prepared(TRAIN, benchmarks={}, holdout={"groups": 0.2}, limits={"sw": 0}, on_leak="drop")
        assert "sw" not in found.corpus.languages
        other = prepared(TRAIN, benchmarks={}, holdout={"groups": 0.2, "seed": 1}, limits={"sw": 0}, on_leak="drop")
        assert found.recipe.data_digest != other.recipe.data_digest

    def test_the_resolved_study_is_read_back(self):
        tree = {"name": "x", "data": {"train": "a.jsonl", "holdout": {"documents": 0.1}}}
        study = Study.model_validate(tree)
        assert (study.benchmarks.dev.path, study.benchmarks.test.path) == ("holdout:dev", "holdout:test")
        assert Study.model_validate(study.model_dump()) == study
        alone = Study.model_validate({**tree, "benchmarks": {"test": None}})
        assert alone.benchmarks.test is None

    @pytest.mark.parametrize(
        ("data", "benchmarks", "line"),
        [
            ({}, {}, "benchmarks.dev: is missing; give its path, or cut a part out of the training files"),
            (
                {},
                {"dev": {"path": "d"}, "test": {"path": "holdout:test"}},
                "benchmarks.test: is missing; give its",
            ),
            (
                {"holdout": {"documents": 0.1}},
                {"dev": {"path": "holdout:devel"}},
                "benchmarks.dev.path holdout:devel: the parts of data.holdout are holdout:dev, holdout:test",
            ),
            ({"holdout": {}}, {}, "holdout takes one share"),
            ({"holdout": {"documents": 0.5}}, {}, "less than 0.5"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, data, benchmarks, line):
        with pytest.raises(InputError) as caught:
            Study(name="x", data={"train": "a.jsonl", **data}, benchmarks=benchmarks)
        assert line in str(caught.value)

    def test_a_part_is_known_to_its_study_alone(self):
        with pytest.raises(InputError, match=r"^holdout:test: is a part of a study's training files"):
            read_benchmark(BenchmarkSource(path="holdout:test"))


@pytest.fixture
def stored(prepared, tmp_path, monkeypatch):
    """Prepares a study and builds its token store without Ray, in this process."""

    def rows(items, tokenizer, sides):
        for item in items:
            new = np.unpackbits(np.frombuffer(item["new"], np.uint8), count=item["texts"]).astype(bool)
            table = store_module._TokenisePart(tokenizer, sides)(TextPart(Path(item["part"]), new).read())
            yield from table.column("tokens").chunks

    def make(groups, scored, **data):
        monkeypatch.setattr(store_module, "_token_rows", rows)
        found = prepared(groups, scored, **data)
        return found, store_module.build_store(tmp_path / "stores", found.recipe)

    return make


def test_a_model_of_a_study_carries_what_it_was_trained_on_and_chosen_by(stored, groups_file, tmp_path):
    found, store = stored(TRAIN, TRAIN[:10], on_leak="drop")
    texts_of_training(found.study, store, found.benchmarks["dev"]).save(tmp_path / TRAINING_TEXTS)
    trained, said = read_benchmark(BenchmarkSource(path=str(groups_file(TRAIN[20:25])))), Lines()
    with pytest.raises(InputError, match="was trained on texts of this benchmark: "):
        check_evaluation(str(tmp_path), trained, "error", said)
    dev = read_benchmark(BenchmarkSource(path=str(groups_file(TRAIN[:10]))))
    check_evaluation(str(tmp_path), dev, "error", said)  # these were left out of the training
    (line,) = said.lines
    assert "of the dev benchmark that chose this model" in line


class TestEvaluation:
    @pytest.fixture
    def model(self, tmp_path):
        """A folder that says it was trained on the training part, and chosen by the dev part."""
        texts = [text for row in TRAIN for side in ("queries", "passages") for text in row[side].values()]
        dev = [text for row in DEV for side in ("queries", "passages") for text in row[side].values()]
        TrainingTexts.of(texts).with_dev(dev).save(tmp_path / TRAINING_TEXTS)
        return str(tmp_path)

    def test_a_benchmark_of_the_training_is_refused(self, model, groups_file):
        rows = read_benchmark(BenchmarkSource(path=str(groups_file([*TRAIN[:3], *DEV[3:5]]))))
        with pytest.raises(InputError) as caught:
            check_evaluation(model, rows, "error", Lines())
        line = str(caught.value)
        assert line.startswith(f"{model}: was trained on texts of this benchmark: {rows.name}: ")
        assert line.endswith(". --on-leak warn scores it all the same")
        said = Lines()
        check_evaluation(model, rows, "warn", said)
        assert said.lines[0].endswith("; scored all the same: the scores are too good")
        assert said.lines[1].endswith("are of the dev benchmark that chose this model: on them it is no test")

    def test_the_benchmark_that_chose_the_model_is_a_notice(self, model, groups_file):
        rows, said = read_benchmark(BenchmarkSource(path=str(groups_file(DEV[:2])))), Lines()
        check_evaluation(model, rows, "error", said)
        assert len(said.lines) == 1

    def test_another_benchmark_and_another_model_need_no_word(self, model, tmp_path):
        said = Lines()
        check_evaluation(model, read_benchmark(BenchmarkSource(path="newsroom:test")), "error", said)
        (tmp_path / "other").mkdir()
        check_evaluation(str(tmp_path / "other"), read_benchmark(BenchmarkSource(path="newsroom:dev")), "error", said)
        assert said.lines == []


def test_a_start_that_was_trained_on_the_benchmark_is_refused(study_file, tiny, tmp_path):
    folder = shutil.copytree(tiny[0], tmp_path / "start")
    TrainingTexts.of(text for row in DEV for text in row["passages"].values()).save(folder / TRAINING_TEXTS)
    encoder = {"name": str(folder), "query_length": 16, "passage_length": 24}
    study = load_study(study_file(encoder=encoder))
    with pytest.raises(InputError) as caught:
        run_preflight(study, False)
    assert str(caught.value).startswith(f"encoder {folder}: was trained on texts of what is scored: benchmarks.dev: ")
    run_preflight(load_study(study_file(encoder=encoder, data={"train": "newsroom:train", "on_leak": "warn"})), False)


def test_a_model_that_is_saved_again_keeps_them(tiny, tmp_path):
    folder = shutil.copytree(tiny[0], tmp_path / "start")
    TrainingTexts.of(["A text of the training that has some more words."]).save(folder / TRAINING_TEXTS)
    DualEncoder.load(str(folder), query_length=16, passage_length=24).save(tmp_path / "again")
    assert (tmp_path / "again" / TRAINING_TEXTS).read_bytes() == (folder / TRAINING_TEXTS).read_bytes()


def test_the_command_line_refuses_with_exit_code_2(call, groups_file, study_file):
    train, dev = groups_file(TRAIN, "train.jsonl"), groups_file(TRAIN[:10], "dev.jsonl")
    study = study_file(data={"train": str(train)}, benchmarks={"dev": {"path": str(dev)}})
    code, out, err = call("run", study, "--dry-run", "--json")
    assert (code, out) == (2, "")
    line = err.strip().splitlines()[-1]
    assert line.startswith(f"hybridtune: data.train: holds texts of what is scored: {train}: ")
    code, out, _ = call("run", study, "--dry-run", "--json", "--set", "data.on_leak=drop")
    assert code == 0
    assert json.loads(out)["leaks"]["leaking_groups"] == 10
    assert not [*Path.cwd().iterdir()]
