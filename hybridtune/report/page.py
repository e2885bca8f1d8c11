"""The report: one HTML file of a study, complete in itself, for a browser with or without a network or a script.

A record goes in; sentences, tables and charts are made of it and put into `templates/report.html.j2`.
"""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

from hybridtune.config.search import masked_url
from hybridtune.errors import InputError
from hybridtune.report import (
    contestant_charts,
    language_charts,
    learned_charts,
    mix_charts,
    requested_vs_realised,
    search_charts,
    soup_charts,
    tables,
    time_charts,
    trial_pages,
)
from hybridtune.report import sentences as words
from hybridtune.report.chart import Chart
from hybridtune.report.record import StudyRecord, read_record
from hybridtune.report.render import render
from hybridtune.report.screening import screening_table
from hybridtune.report.scripts import page_scripts
from hybridtune.report.text import Table
from hybridtune.storage.files import explain_error, join, write_file

REPORT = "report.html"
CHARTS: dict[str, tuple[Callable[[StudyRecord], Chart | None], ...]] = {
    "The contestants": (contestant_charts.contestants,),
    "The mix": (
        mix_charts.ratio_curve,
        soup_charts.soup_curve,
        mix_charts.ratio_temperature,
        learned_charts.ratio_path,
        mix_charts.realised_ratio,
    ),
    "The search": (
        search_charts.front,
        search_charts.history,
        search_charts.importances,
        search_charts.parallel,
        time_charts.intermediate,
        time_charts.learning_curves,
        time_charts.timeline,
    ),
    "Languages": (
        language_charts.pair_map,
        language_charts.gain_map,
        language_charts.bias_map,
        language_charts.low_resource,
    ),
}


def write_report(
    folder: Path, storage: str | None = None, *, location: str | None = None, file: Path | None = None
) -> str:
    """Write the report of a study, finished, running, or cut off. The same folder gives the same bytes.

    Args:
        folder: of the study, on this machine; maybe a stranger's.
        storage: see `read_record`.
        location: that it is a copy of, which the report names and is written to; None: it is none.
        file: written instead of ``report.html`` there.

    Returns:
        Where it was written.

    Raises:
        InputError: the folder holds no study, or the location cannot be written.
    """
    location = location or str(folder)
    target = str(file) if file is not None else join(location, REPORT)
    # A name from a broken file system may hold half a character.
    content = page(read_record(folder, storage, location)).encode("utf-8", "replace")
    try:
        write_file(target, content)
    except OSError as error:
        raise InputError(f"{target}: {explain_error(error)}; --out FILE writes the report to another place") from None
    return target


def all_charts(record: StudyRecord) -> dict[str, list[Chart]]:
    """Return the charts of the report by the title of their section, in its order; a drawing of nothing is left out."""
    return {
        title: [chart for draw in section if (chart := draw(record)) is not None] for title, section in CHARTS.items()
    }


def tables_of(record: StudyRecord) -> dict[str, list[Table | None]]:
    """Return the tables of the report by their place on the page, but those of its charts; None: nothing to show."""
    compared = record.contestants or record.best is not None
    return {
        "contestants": [contestant_charts.scores(record), contestant_charts.differences(record)],
        "dev_tables": [
            tables.comparison(record) if compared else None,
            tables.differences(record),
            *tables.seed_check(record),
        ],
        "test_tables": [tables.test_scores(record), tables.test_groups(record)],
        "trials": [
            tables.all_trials(record) if record.trials else None,
            screening_table(record.study, record.screening, record.screened, record.trials),
        ],
    }


def page(record: StudyRecord) -> str:
    """Return the report of a study as HTML."""
    charts = all_charts(record)
    trials = trial_pages.trial_pages(record)
    figures = {chart.key: chart.figure.to_json() for some in charts.values() for chart in some if chart.figure}
    figures |= {one.curves: json.dumps(one.figure) for one in trials if one.figure is not None}
    command = record.environment.get("command")
    return render(
        "hybridtune.report",
        "report.html.j2",
        record=record,
        state=words.STATES[record.state],
        searched=words.searched(record),
        headline=words.headline(record),
        remarks=[words.endings(record), words.constraints(record), words.front(record), words.certainty(record)],
        facts=words.facts(record),
        **tables_of(record),
        no_test=words.no_test(record),
        charts=charts,
        trial_pages=trials,
        requested=requested_vs_realised.requested_vs_realised(record),
        pairs=requested_vs_realised.training_pairs(record),
        languages=requested_vs_realised.languages(record),
        command=_masked(str(command)) if command else None,
        study_yaml=_masked((record.folder / "study.yaml").read_text(encoding="utf-8")),
        happened=requested_vs_realised.happened(record),
        environment=requested_vs_realised.environment(record),
        commands=requested_vs_realised.commands(record),
        written=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(record.written)),
        **page_scripts(figures),
    )


def _masked(text: str) -> str:
    """Return the text without the passwords of its URLs: a report is passed on."""
    return re.sub(r"\S+://\S+", lambda url: masked_url(url[0]), text)
