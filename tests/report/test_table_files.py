"""The tables of a report as CSV and LaTeX: the figures of the page, and nothing that a program takes for a command."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from markupsafe import escape

from hybridtune.cli.main import cli
from hybridtune.errors import InputError
from hybridtune.report.page import write_report
from hybridtune.report.record import read_record
from hybridtune.report.table_files import TRIALS, all_tables, latex, table_csv, table_latex, write_tables
from hybridtune.report.text import Cell, Table


def rows_of(text):
    return list(csv.DictReader(text.splitlines()))


@pytest.fixture(scope="module")
def written(finished_study, tmp_path_factory):
    record = read_record(finished_study)
    folder = tmp_path_factory.mktemp("tables") / "new" / "one"
    return record, write_tables(record, folder)


def test_all_trials_come_back_without_a_loss(written):
    record, files = written
    assert files[0].name == TRIALS
    rows = rows_of(files[0].read_text(encoding="utf-8"))
    assert [row["trial"] for row in rows] == [trial.id for trial in record.trials]
    for row, trial in zip(rows, record.trials, strict=True):
        for name, value in {**trial.values, **trial.metrics}.items():
            assert row[name] == str(value)


def test_every_table_of_the_page_is_a_pair_of_files(written, finished_study, tmp_path):
    record, files = written
    titles = [table.title for table in all_tables(record)]
    assert len(titles) > 5
    assert len(files) == 1 + 2 * len(titles) == len({*files})
    page = Path(write_report(shutil.copytree(finished_study, tmp_path / "study"))).read_text(encoding="utf-8")
    assert [title for title in titles if str(escape(title)) not in page] == []
    assert {file.suffix for file in files} == {".csv", ".tex"}
    assert all(file.stat().st_size for file in files)


TABLE = Table(
    "A & B",
    ["model", "mono/AP", "verdict_1"],
    [["tuned", Cell("0.1235", 0.123456, ["0.1 to 0.2", "ahead"]), "5 %"], ["=cmd()", None, Cell("@x")]],
    "In #1.",
    marked=frozenset([0]),
)


def test_a_cell_of_csv_is_its_number_and_what_stands_below_has_a_column_of_its_own():
    assert rows_of(table_csv(TABLE)) == [
        {"model": "tuned", "mono/AP": "0.123456", "mono/AP, below": "0.1 to 0.2; ahead", "verdict_1": "5 %"},
        {"model": "'=cmd()", "mono/AP": "", "mono/AP, below": "", "verdict_1": "'@x"},
    ]


def test_a_table_of_latex_has_its_intervals_in_small_rows():
    lines = table_latex(TABLE).splitlines()
    assert lines[:3] == ["% A & B", "% In #1.", "% \\usepackage{booktabs}"]
    assert lines[3:] == [
        "\\begin{tabular}{lrr}",
        "\\toprule",
        "model & mono/AP & verdict\\_1 \\\\",
        "\\midrule",
        "\\textbf{tuned} & \\textbf{0.1235} & \\textbf{5 \\%} \\\\",
        " & {\\scriptsize 0.1 to 0.2, ahead} &  \\\\",
        "=cmd() & -- & @x \\\\",
        "\\bottomrule",
        "\\end{tabular}",
    ]


@pytest.mark.parametrize("text", ["\\input{/etc/passwd}", "$x^2$", "a~b", "50 % & #1_{}"])
def test_no_name_is_a_command_of_latex(text):
    shown = latex(text)
    for command in ("\\textbackslash{}", "\\textasciitilde{}", "\\textasciicircum{}", *(f"\\{c}" for c in "&%$#_{}")):
        shown = shown.replace(command, "")
    assert not {*"\\&%$#_{}~^"} & {*shown}


def test_the_command_writes_them_beside_the_report_and_refuses_a_place_it_cannot_write(study_copy, tmp_path):
    done = CliRunner().invoke(cli, ["report", str(study_copy), "--tables", str(tmp_path / "t"), "--json"])
    assert done.exit_code == 0, done.output
    assert {*json.loads(done.stdout)["tables"]} == {str(file) for file in (tmp_path / "t").iterdir()}
    (tmp_path / "file").touch()
    refused = CliRunner().invoke(cli, ["report", str(study_copy), "--tables", str(tmp_path / "file" / "t")])
    assert isinstance(refused.exception, InputError)
    assert str(refused.exception).startswith(f"--tables {tmp_path / 'file' / 't'}: ")
