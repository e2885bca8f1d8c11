"""Readers of the user's own: the documented module reads training data and benchmarks; what fails is one line."""

import re
import sys
from pathlib import Path

import pytest

from hybridtune.config.fields import BenchmarkSource
from hybridtune.config.study import Study
from hybridtune.data.readers.benchmarks import read_benchmark
from hybridtune.data.store import recipe
from hybridtune.errors import InputError
from hybridtune.study import export
from hybridtune.study.trial_model import TrialModel

DOCS = Path(__file__).parents[2] / "docs" / "data.md"
CSV = "language,q,a\nen,Who?,She.\nsw,Nani?,Yeye.\n"
MORE = """
def no_rows(path):
    return None

def breaks(path):
    yield {"group_id": "1", "queries": {"en": "a"}, "passages": {"en": "b"}}
    raise RuntimeError("the table\\nis locked")

def wrong(path):
    yield {"group_id": "1", "queries": {"en": "a"}}

def stray(path):
    found = read_graded_faq(path)
    return BenchmarkRows(path, found.queries, found.corpus, [Judgement(9, "a0", 1)], [])

def uneven(path):
    found = read_graded_faq(path)
    return BenchmarkRows(path, found.queries, found.corpus, found.judged, [], documents=["d"])
"""


@pytest.fixture
def faq(tmp_path, monkeypatch):
    """A table of the user's, and the documented module, which reads it, on the path."""
    section = DOCS.read_text(encoding="utf-8").split("### A reader of your own")[1]
    code = re.search(r"```python\n(.*?)```", section, re.S)[1]
    assert len(code.splitlines()) <= 30
    (tmp_path / "my_readers.py").write_text(code + MORE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delitem(sys.modules, "my_readers", raising=False)
    (tmp_path / "faq.csv").write_text(CSV)
    yield tmp_path / "faq.csv"
    sys.modules.pop("my_readers", None)


def study_of(path, reader="my_readers:read_faq"):
    sources = {"path": str(path), "reader": reader}
    return Study.model_validate({"name": "x", "data": {"train": [sources]}, "benchmarks": {"dev": sources}})


def made_of(path, reader="my_readers:read_faq"):
    tree = {
        "name": "x",
        "data": {"train": [{"path": str(path), "reader": reader}]},
        "benchmarks": {"dev": {"path": "b"}},
    }
    study = Study.model_validate(tree)
    return recipe(study.data, study.encoder)


def dev(path, reader, **fields):
    return read_benchmark(BenchmarkSource(path=str(path), reader=f"my_readers:{reader}", **fields))


def test_the_documented_reader_makes_training_data(faq):
    corpus = made_of(faq).read_corpus()
    assert corpus.languages == ("en", "sw")
    assert corpus.pair_counts().tolist() == [[1, 0], [0, 1]]


def test_a_store_is_of_the_data_and_of_the_reader(faq):
    first = made_of(faq).address
    assert made_of(faq).address == first
    faq.write_text(CSV + "en,Why?,So.\n")
    second = made_of(faq).address
    with (faq.parent / "my_readers.py").open("a") as file:
        file.write("# changed\n")
    third = made_of(faq).address
    assert len({first, second, third, made_of(faq, "my_readers:breaks").address}) == 4


def test_what_a_path_without_a_file_gives_is_part_of_the_address(faq, monkeypatch):
    rows = [{"group_id": "1", "queries": {"en": "a"}, "passages": {"en": "b"}}]
    import my_readers

    monkeypatch.setattr(my_readers, "rows_of", lambda path: rows, raising=False)
    before = made_of("a table", "my_readers:rows_of").address
    rows.append({**rows[0], "group_id": "2"})
    assert made_of("a table", "my_readers:rows_of").address != before


@pytest.mark.parametrize("reader", ["read_faq", "read_graded_faq"])
def test_the_documented_reader_makes_a_benchmark(faq, reader):
    rows = dev(faq, reader)
    assert [(text.language, text.text) for text in rows.queries] == [("en", "Who?"), ("sw", "Nani?")]
    passages = {text.text_id: text.text for part in rows.corpus for text in part.read()}
    assert [passages[one.passage_id] for one in rows.judged] == ["She.", "Yeye."]
    assert [text.language for text in dev(faq, reader, languages=["sw"]).queries] == ["sw"]
    with pytest.raises(InputError, match=r"benchmark\.split is not for a reader of your own; let my_readers:"):
        dev(faq, reader, split="dev")


@pytest.mark.parametrize(
    ("reader", "message"),
    [
        ("nothing", "faq.csv: reader my_readers:nothing: the module my_readers has no 'nothing'"),
        ("no_rows", "its reader my_readers:no_rows failed: TypeError: 'NoneType' object is not iterable"),
        ("breaks", "faq.csv: its reader my_readers:breaks failed: RuntimeError: the table is locked"),
        ("wrong", "faq.csv:1: passages must be an object of language: text (got None)"),
    ],
)
def test_what_a_reader_does_wrong_is_one_line(faq, reader, message):
    for read in (lambda: made_of(faq, f"my_readers:{reader}").read_corpus(), lambda: dev(faq, reader)):
        with pytest.raises(InputError) as caught:
            read()
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_benchmark_that_judges_no_query_of_its_own_is_refused(faq):
    with pytest.raises(InputError, match="my_readers:stray judges a query that is not among its 2 queries"):
        dev(faq, "stray")
    with pytest.raises(InputError, match="my_readers:uneven gives 1 documents for 2 queries; give one a query"):
        dev(faq, "uneven")


def test_no_reader_is_imported_by_who_looks_at_a_study(faq, monkeypatch):
    study, folder = study_of(faq), faq.parent
    found = TrialModel(study, "0001", folder, study.encoder.name)
    monkeypatch.setattr(export, "find_trial", lambda target, *options: found)
    options = export.ExportOptions(onnx=False, trial="1", out=folder / "out")
    with pytest.raises(InputError, match=r"is read by my_readers:read_faq, code that is not run unless"):
        export._export_trial(folder, options, None, export.StudyCallback())
    assert "my_readers" not in sys.modules
