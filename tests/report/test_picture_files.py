"""Charts as files: what is handed to the exporter, and what is said where it is missing or fails."""

import sys
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from hybridtune.cli.main import cli
from hybridtune.errors import InputError
from hybridtune.report import picture_files
from hybridtune.report.page import all_charts
from hybridtune.report.picture_files import write_charts
from hybridtune.report.record import read_record


@pytest.fixture
def exporter(monkeypatch):
    """In place of Kaleido: notes what it is given and writes it."""
    calls = []

    def write(pictures, kopts):
        calls.append(kopts)
        for picture in pictures:
            assert picture["fig"]["layout"]["paper_bgcolor"] == "#ffffff"
            assert picture["opts"]["height"] == picture["fig"]["layout"]["height"]
            picture["path"].write_text(picture["opts"]["format"], encoding="utf-8")

    fake = SimpleNamespace(write_fig_from_object_sync=write, calls=calls)
    monkeypatch.setitem(sys.modules, "kaleido", fake)
    return fake


def test_every_chart_with_a_figure_is_a_pair_of_files_and_no_script_is_fetched(finished_study, tmp_path, exporter):
    record = read_record(finished_study)
    files = write_charts(record, tmp_path)
    drawn = [chart.key for some in all_charts(record).values() for chart in some if chart.figure]
    assert len(drawn) > 5
    assert [file.name for file in files] == [f"chart-{key}.{kind}" for key in drawn for kind in ("svg", "pdf")]
    assert all(file.read_text(encoding="utf-8") == file.suffix[1:] for file in files)
    assert exporter.calls == [{"mathjax": False}]


def test_an_exporter_without_a_browser_is_one_line(finished_study, tmp_path, exporter):
    def write(*_, **__):
        raise RuntimeError("no chrome\nanywhere")

    exporter.write_fig_from_object_sync = write
    with pytest.raises(InputError, match=r"could not draw the charts \(no chrome anywhere\); .* BROWSER_PATH"):
        write_charts(read_record(finished_study), tmp_path)


def test_without_the_exporter_tables_are_written_and_a_line_says_what_to_install(study_copy, tmp_path, monkeypatch):
    monkeypatch.setattr(picture_files, "can_draw", lambda: False)
    done = CliRunner().invoke(cli, ["report", str(study_copy), "--tables", str(tmp_path / "t")])
    assert done.exit_code == 0, done.output
    assert picture_files.NEEDED in done.output
    assert (tmp_path / "t" / "trials.csv").is_file()
