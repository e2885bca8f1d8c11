import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from hybridtune.cli.main import cli
from hybridtune.errors import InputError
from hybridtune.metrics.metrics import Ranked, per_query
from hybridtune.metrics.per_query import write_per_query
from hybridtune.study.compare import compare_evaluations, find_per_query
from hybridtune.terminal.scores import comparison_tables, forest
from hybridtune.terminal.screen import Screen


def write(path, worst, model, seed=0):
    """30 questions in two languages, each with its two answers; ranks up to ``worst``."""
    queries = np.arange(60)
    counts = np.random.default_rng(seed).integers(0, worst, (120, 2))
    ranked = Ranked(counts, np.repeat(queries, 2), np.tile([0, 1], 60), queries % 2, ["de", "en"], np.array([99, 99]))
    about = {"model": model, "benchmark": "bench", "benchmark_digest": "d1"}
    write_per_query(path, per_query(ranked), [f"q{n}" for n in queries], ["de", "en"], queries // 2, about)


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "eval" / "per_query.parquet", 40, "older")
    write(tmp_path / "study" / "trials" / "t1" / "per_query.parquet", 20, "trial")
    write(tmp_path / "study" / "best" / "per_query.parquet", 4, "best")
    return tmp_path


def test_every_location_leads_to_its_file(folder):
    for location, file in (
        ("eval", "eval/per_query.parquet"),
        ("eval/per_query.parquet", "eval/per_query.parquet"),
        ("study", "study/best/per_query.parquet"),
        ("study/trials/t1", "study/trials/t1/per_query.parquet"),
    ):
        assert find_per_query(folder / location) == folder / file


def test_a_location_without_values_names_the_missing_files(folder):
    with pytest.raises(InputError) as missing:
        find_per_query(folder / "study" / "trials")
    message = str(missing.value)
    assert "trials/per_query.parquet" in message
    assert "trials/best/per_query.parquet" in message
    assert "hybridtune evaluate MODEL --benchmark PATH --out" in message
    assert "\n" not in message
    with pytest.raises(InputError, match="no such file or folder"):
        find_per_query(folder / "nowhere")


def test_a_comparison_is_printed_and_returned(folder, capsys):
    screen = Screen(to_stderr=False)
    result = compare_evaluations(str(folder / "eval"), str(folder / "study"), [], 3, screen, draws=300)
    assert (result["a"]["model"], result["b"]["model"]) == ("older", "best")
    names = [f"{row['setting']}/{row['measure']}" for row in result["differences"]]
    settings = ("mono", "cross", "multi")
    assert names == [f"{one}/{m}" for m in ("AP", "nDCG@10") for one in settings] + ["multi/rank_distance"]
    assert {row["verdict"] for row in result["differences"]} == {"B ahead"}
    assert json.loads(json.dumps(result)) == result

    comparison_tables(result, screen)
    out = capsys.readouterr().out
    assert "A: older" in out
    assert "B: best" in out
    assert "multi/rank_distance" in out
    assert out.count("B ahead") == 7 + 3  # a verdict each, a side of each drawing
    table = [line for line in out.splitlines() if "/" in line and "B ahead" in line]
    assert len(table) == 7  # no line of the table wraps
    assert all(len(line.rstrip()) <= 120 for line in table)


def test_the_unit_is_chosen_and_printed(folder, capsys):
    words = [str(folder / "eval"), str(folder / "study")]
    command = CliRunner().invoke(cli, ["compare", *words, "--unit", "document"])
    assert str(command.exception) == "the unit cannot be the document: the benchmark names no documents; take topics"
    for name in ("eval", "study/best"):  # the same values, of 10 documents
        path = folder / name / "per_query.parquet"
        table = pq.ParquetFile(path).read()
        documents = pa.array([f"d{topic % 10}" for topic in table["topic"].to_pylist()])
        pq.write_table(table.set_column(table.column_names.index("document"), "document", documents), path)
    screen = Screen(to_stderr=False)
    result = compare_evaluations(*words, ["AP"], 0, screen, draws=50)
    assert (result["unit"], {row["units"] for row in result["differences"]}) == ("topic", {30})
    assert result["notes"][0].startswith("by topic: the benchmark has 10 documents, fewer than 20; questions of one")
    result = compare_evaluations(*words, ["AP"], 0, screen, draws=50, unit="document")
    assert (result["unit"], {row["units"] for row in result["differences"]}) == ("document", {10})
    comparison_tables(result, screen)
    out = capsys.readouterr().out
    assert "benchmark bench, over the rankings that both have, by document" in out
    assert "10 documents are fewer than 40: intervals run narrow" in out
    assert "bootstrap over documents" in out


def test_a_group_of_languages_is_compared(folder, capsys):
    screen = Screen(to_stderr=False)
    words = [str(folder / "eval"), str(folder / "study")]
    result = compare_evaluations(*words, ["AP@de", "AP@de-en"], 0, screen, draws=50)
    assert [(row["setting"], row["measure"], row["rankings"]) for row in result["differences"]] == [
        ("mono", "AP@de", 30),
        ("cross", "AP@de", 60),
        ("multi", "AP@de", 30),
        ("cross", "AP@de-en", 30),
    ]
    comparison_tables(result, screen)
    assert "cross/AP@de-en" in capsys.readouterr().out
    with pytest.raises(InputError, match="no group 'fr'; there are: none by name; languages: de, en; pairs like de-en"):
        compare_evaluations(*words, ["AP@fr"], 0, screen)


def test_the_command_writes_what_it_prints(folder):
    words = ["compare", str(folder / "eval"), str(folder / "study"), "--out", str(folder / "out" / "deep"), "--json"]
    printed = json.loads(CliRunner().invoke(cli, words).stdout)
    assert json.loads((folder / "out" / "deep" / "comparison.json").read_text()) == printed


def test_a_measure_that_nothing_defines_is_reported(folder, capsys):
    screen = Screen(to_stderr=False)
    for name in ("one", "two"):  # one language, one answer: no rank distance
        counts = np.arange(5)[:, None]
        alone = Ranked(counts, np.arange(5), np.zeros(5, int), np.zeros(5, int), ["en"], np.array([9]))
        path = folder / name / "per_query.parquet"
        write_per_query(path, per_query(alone), list("abcde"), ["en"], np.arange(5), {})
    result = compare_evaluations(str(folder / "one"), str(folder / "two"), ["AP", "rank_distance"], 0, screen, draws=20)
    assert {row["measure"] for row in result["differences"]} == {"AP"}
    comparison_tables(result, screen)
    out = capsys.readouterr().out
    assert "rank_distance: no ranking defines it" in out
    assert "no difference shown" in out
    assert "model not known" in out


def test_an_interval_is_drawn_to_scale():
    line = forest(-0.5, 0.25, 1.0, 1.0)
    assert len(line) == 61
    assert (line.index("("), line.index("|"), line.index("o"), line.index(")")) == (15, 30, 38, 60)
    assert forest(0.0, 0.0, 0.0, 0.0) == " " * 30 + "o" + " " * 30
