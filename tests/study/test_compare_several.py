"""`compare` of three and more: the figures of each, all pairs tested, marks as papers print them."""

import csv
import itertools
import json
import pathlib
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from hybridtune.cli.main import cli
from hybridtune.errors import InputError
from hybridtune.metrics.metrics import Ranked, per_query, score
from hybridtune.metrics.per_query import read_per_query, write_per_query
from hybridtune.metrics.significance import DRAWS, holm, paired_by_unit
from hybridtune.report.intervals import intervals
from hybridtune.report.several import marks, on_common_rankings, rows_of
from hybridtune.study.several import compare_several, table_of
from hybridtune.terminal.scores import several_table
from hybridtune.terminal.screen import Screen

WORST = {"first": 40, "second": 38, "third": 20, "fourth": 4}  # rank of a relevant passage, by system
SILENT = Screen(to_stderr=True)


def write(path, worst, model, seed, digest="d1"):
    """30 questions in two languages, each with its two answers; returns the metrics of the means."""
    queries = np.arange(60)
    counts = np.random.default_rng(seed).integers(0, worst, (120, 2))
    ranked = Ranked(counts, np.repeat(queries, 2), np.tile([0, 1], 60), queries % 2, ["de", "en"], np.array([99, 99]))
    about = {"model": model, "benchmark": "bench", "benchmark_digest": digest}
    write_per_query(path, per_query(ranked), [f"q{n}" for n in queries], ["de", "en"], queries // 2, about)
    return score(ranked, per_query(ranked)).metrics


@pytest.fixture(scope="module")
def systems(tmp_path_factory):
    """The folders of four systems, and their metrics."""
    folder = tmp_path_factory.mktemp("several")
    written = {
        name: write(folder / name / "per_query.parquet", worst, name, seed)
        for seed, (name, worst) in enumerate(WORST.items())
    }
    return [str(folder / name) for name in WORST], written


@pytest.fixture(scope="module")
def result(systems):
    return compare_several(systems[0], [], 3, SILENT, draws=300)


def test_figures_are_those_of_each_system_alone(systems, result):
    folders, written = systems
    assert [(one["letter"], one["model"]) for one in result["systems"]] == list(zip("abcd", WORST, strict=True))
    assert (result["benchmark"], result["unit"], result["rankings"], result["units"]) == ("bench", "topic", 180, 30)
    assert [row["metric"] for row in result["rows"]] == [
        *(f"{setting}/{measure}" for measure in ("AP", "nDCG@10") for setting in ("mono", "cross", "multi")),
        "multi/rank_distance",
    ]
    for row in result["rows"]:
        for name, folder, standing in zip(WORST, folders, row["standings"], strict=True):
            metric = row["metric"]
            assert standing["value"] == pytest.approx(written[name][metric], rel=1e-12)
            values = read_per_query(pathlib.Path(folder) / "per_query.parquet")
            ends = intervals(values, [metric], "topic", seed=3, draws=300)[metric]
            assert (standing["low"], standing["high"]) == ends


def test_each_pair_is_tested_and_corrected_over_the_pairs_of_its_metric(systems, result):
    files = [read_per_query(pathlib.Path(folder) / "per_query.parquet") for folder in systems[0]]
    for row in result["rows"]:
        wanted = [paired_by_unit(a, b, row["metric"], "topic", 3)[0] for a, b in itertools.combinations(files, 2)]
        assert [pair["p"] for pair in row["pairs"]] == wanted
        assert [pair["p_holm"] for pair in row["pairs"]] == holm(wanted)
        sign = -1 if "distance" in row["metric"] else 1
        for number, standing in enumerate(row["standings"]):
            worse = [
                other
                for other, its in enumerate(row["standings"])
                for pair in row["pairs"]
                if {pair["a"], pair["b"]} == {number, other}
                and pair["p_holm"] < 0.05
                and sign * (standing["value"] - its["value"]) > 0
            ]
            assert list(standing["ahead_of"]) == worse
    by_metric = {row["metric"]: [list(one["ahead_of"]) for one in row["standings"]] for row in result["rows"]}
    assert by_metric["multi/rank_distance"] == [[], [], [0, 1], [0, 1, 2]]  # the less the better


def test_a_balanced_metric_is_compared_too(systems):
    files = [read_per_query(pathlib.Path(folder) / "per_query.parquet") for folder in systems[0]]
    (row,) = rows_of(on_common_rankings(files), ["balanced/AP"], "topic", seed=0, draws=50)
    assert [one.value for one in row.standings] == pytest.approx([of["balanced/AP"] for of in systems[1].values()])
    assert (row.best, row.behind) == (3, {0, 1, 2})


def test_marks_are_a_dagger_for_the_first_and_letters_for_the_others():
    assert (marks([]), marks([0]), marks([0, 2, 3]), marks([1])) == ("", "†", "†cd", "b")


def test_all_are_cut_to_the_rankings_that_all_have(systems, tmp_path):
    folders = list(systems[0])
    table = pq.ParquetFile(pathlib.Path(folders[1]) / "per_query.parquet").read()
    (tmp_path / "part").mkdir()
    turned = np.arange(table.num_rows)[:0:-1]  # in another order, and one less
    pq.write_table(table.take(pa.array(turned)), tmp_path / "part" / "per_query.parquet")
    cut = compare_several([folders[0], str(tmp_path / "part"), folders[2]], ["AP"], 0, SILENT, draws=20)
    assert cut["rankings"] == 179
    assert "1 rankings that not all systems have are left out" in cut["notes"]
    whole = [read_per_query(pathlib.Path(folder) / "per_query.parquet") for folder in folders[:2]]
    for values in on_common_rankings([whole[0], whole[1].part(turned)]):
        assert values.query_id.tolist() == on_common_rankings(whole)[0].query_id[np.sort(turned)].tolist()


def test_the_command_prints_one_table_and_writes_it(systems, tmp_path):
    words = ["compare", *systems[0][:3], "--measure", "AP", "--tables", str(tmp_path / "t"), "--out", str(tmp_path)]
    ran = CliRunner().invoke(cli, words)
    assert ran.exit_code == 0, ran.output
    assert "a: first (" in ran.output
    multi = next(line for line in ran.output.splitlines() if line.startswith("multi/AP"))
    assert multi.split()[-1] == "†b"
    assert "Holm's correction over the pairs" in ran.output
    stored = json.loads((tmp_path / "comparison.json").read_text())
    rows = list(csv.DictReader((tmp_path / "t" / "systems-compared-on-bench.csv").read_text().splitlines()))
    assert [row["c, marks"] for row in rows][-1] == "†b"
    assert [float(row["c"]) for row in rows] == [row["standings"][2]["value"] for row in stored["rows"]]
    latex = (tmp_path / "t" / "systems-compared-on-bench.tex").read_text()
    assert r"\textsuperscript{\dag{}b}" in latex
    assert stored["draws"] == DRAWS


def test_a_table_holds_every_system(result, capsys):
    table = table_of(json.loads(json.dumps(result)))
    assert table.columns == ["metric", "a", "b", "c", "d"]
    assert table.rows[2][4].mark == "†bc"
    several_table(result, table, Screen(to_stderr=False))
    out = capsys.readouterr().out
    assert "d: fourth (" in out
    assert "over 180 rankings that all have" in out


def test_two_are_compared_as_before_and_have_no_table_of_their_own(systems, tmp_path):
    two = CliRunner().invoke(cli, ["compare", *systems[0][:2], "--measure", "AP", "--json"])
    assert {"a", "b", "differences"} <= json.loads(two.stdout).keys()
    refused = CliRunner().invoke(cli, ["compare", *systems[0][:2], "--tables", str(tmp_path / "t")])
    assert str(refused.exception).startswith("--tables writes the table of three and more; of two, --out FOLDER")
    assert not (tmp_path / "t").exists()


def test_what_cannot_be_compared_is_refused_in_a_line(systems, tmp_path):
    folders = systems[0]
    with pytest.raises(InputError, match=r"not all systems have nDCG@3; all have: AP, RR"):
        compare_several(folders, ["nDCG@3"], 0, SILENT)
    with pytest.raises(InputError, match="27 systems are compared; 26 at most"):
        compare_several(folders[:1] * 27, [], 0, SILENT)
    write(tmp_path / "other" / "per_query.parquet", 9, "other", 0, digest="d2")
    with pytest.raises(InputError, match="were scored on other benchmarks"):
        compare_several([*folders[:2], str(tmp_path / "other")], [], 0, SILENT)


def test_a_measure_that_one_system_defines_nowhere_is_left_out_and_said(systems, capsys):
    files = [read_per_query(pathlib.Path(folder) / "per_query.parquet") for folder in systems[0][:3]]
    empty = replace(files[1], measures={**files[1].measures, "AP": np.full(len(files[1].topic), np.nan)})
    assert rows_of([files[0], empty, files[2]], ["mono/AP"], "topic", seed=0, draws=9) == []
