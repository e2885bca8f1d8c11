"""The report: one HTML file of a study, complete in itself, for a browser with or without a network or a script."""

import json
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from hybridtune.config.search import masked_url
from hybridtune.report import requested_vs_realised as asked
from hybridtune.report import sentences as words
from hybridtune.report import tables
from hybridtune.report.chart import Chart
from hybridtune.report.charts import all_charts
from hybridtune.report.markup import Table, escape, script_json, slug, table_html
from hybridtune.report.record import StudyRecord, read_record
from hybridtune.report.seed_check import noise_tables
from hybridtune.storage.files import write_atomically

REPORT = "report.html"
# Nothing is fetched from anywhere, whatever a name in the study says; the drawing library makes pictures of its own.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)
_HEIGHT = 420  # pixels, of a figure that does not say


def write_report(folder: Path) -> Path:
    """Write ``report.html`` into a study folder: finished, running, or cut off.

    Args:
        folder: the study folder.

    Returns:
        the file. The same folder gives the same bytes.

    Raises:
        InputError: the folder holds no study.
    """
    record = read_record(folder)
    text = page(record)
    file = folder / REPORT
    write_atomically(file, text.encode("utf-8", "replace"))  # a name on a broken disk may hold half a character
    return file


def page(record: StudyRecord) -> str:
    """The report of a study as HTML.

    Args:
        record: the study.
    """
    sections = [
        ("result", "Result", _result(record)),
        ("trials", "Trials", table_html(tables.all_trials(record)) if record.trials else _none("No trial yet.")),
    ]
    figures: dict[str, str] = {}
    for title, charts in all_charts(record):
        sections.append((f"charts-{slug(title)}", title, "\n".join(_chart(chart, figures) for chart in charts)))
    sections += [
        ("asked", "Asked and got", _asked(record)),
        ("counts", "Training counts", _tables([asked.languages(record)])),
        ("repeat", "Repeat it", _repeat(record)),
        ("next", "Go on", _next(record)),
    ]
    return _document(record, sections, figures)


def _document(record: StudyRecord, sections: Sequence[tuple[str, str, str]], figures: dict[str, str]) -> str:
    name = escape(record.study.name)
    links = "\n".join(f'<li><a href="#{key}">{escape(title)}</a></li>' for key, title, _ in sections)
    body = "\n".join(
        f'<section id="{key}" aria-labelledby="{key}-title"><h2 id="{key}-title">{escape(title)}</h2>\n{content}\n'
        "</section>"
        for key, title, content in sections
    )
    data = ",\n".join(f"{json.dumps(key)}: {content}" for key, content in figures.items())
    banner = f'<p class="banner" role="status">{escape(words.state(record))}</p>' if words.state(record) else ""
    notes = "".join(f"<li>{escape(note)}</li>" for note in record.notes)
    missing = f'<aside aria-label="Missing"><ul class="note">{notes}</ul></aside>' if notes else ""
    library = ""
    if figures:
        from plotly.offline import get_plotlyjs  # 5 MB of text: only where there is something to draw

        library = f"<script>{get_plotlyjs()}</script>\n"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{name}: study report</title>
<style>
{_static("report.css")}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the report</a>
<header>
<p class="kind">hybridtune study</p>
<h1>{name}</h1>
{banner}
<p class="asked">{escape(words.asked(record))}</p>
</header>
<nav aria-label="Sections"><ul>
{links}
</ul></nav>
<main id="main" tabindex="-1">
{body}
{missing}
</main>
<footer><p>As of {words.moment(record.written)}, the last change of the study folder. Nothing on this page comes from a
network.</p></footer>
<script type="application/json" id="figures">{{{script_json(data)}}}</script>
{library}<script>
{_static("report.js")}</script>
</body>
</html>
"""


def _result(record: StudyRecord) -> str:
    """The headline, the chosen values, the paper's table, and the test benchmark."""
    parts = [f'<p class="headline">{escape(words.headline(record))}</p>']
    parts += [f"<p>{escape(text)}</p>" for text in (words.front(record), words.certainty(record)) if text]
    facts = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in words.facts(record)
    )
    parts.append(f'<dl class="facts">{facts}</dl>')
    if words.baselines(record) or record.best is not None:
        parts.append(table_html(tables.comparison(record)))
    parts.append(_tables([tables.differences(record), *noise_tables(record)], ""))
    parts.append(_tables([tables.test_scores(record), tables.test_groups(record)], words.no_test(record)))
    return "\n".join(parts)


def _chart(chart: Chart, figures: dict[str, str]) -> str:
    """A figure with its words and its table; its JSON goes to ``figures``, to be drawn when it comes into view."""
    key, title = escape(chart.key), escape(chart.title)
    place, rows = "", ""
    if chart.figure is not None:
        figures[chart.key] = chart.figure.to_json()
        height = chart.figure.layout.height or _HEIGHT
        place = (
            f'<div class="plot" id="{key}" style="height:{height:g}px" role="img" aria-label="{title}" '
            f'aria-describedby="{key}-words"></div>'
        )
    if chart.rows:
        table = Table(f"{chart.title}: figures", chart.columns, chart.rows, sortable=True)
        rows = _details("Figures as a table", table_html(table), f": {chart.title}")
    return f'<article><h3>{title}</h3>\n<p id="{key}-words">{escape(chart.words)}</p>\n{place}{rows}</article>'


def _asked(record: StudyRecord) -> str:
    pairs = asked.training_pairs(record)
    more = "" if pairs is None else _details(f"Training pairs of {len(pairs.rows)} language pairs", table_html(pairs))
    return table_html(asked.asked_and_got(record)) + more


def _repeat(record: StudyRecord) -> str:
    """The command, the study file, the environment."""
    command = record.environment.get("command")
    study = (record.folder / "study.yaml").read_text(encoding="utf-8")
    told = (
        f"<p>The command that ran it:</p>{_code(_masked(str(command)))}"
        if command
        else _none("Its command is not known.")
    )
    return (
        f"{told}{_details('study.yaml, with every default written out', _code(_masked(study)))}\n"
        f"{_details('Versions and hardware', table_html(asked.environment(record)))}"
    )


def _masked(text: str) -> str:
    """The text without the passwords of its URLs: a report is passed on."""
    return re.sub(r"\S+://\S+", lambda url: masked_url(url[0]), text)


def _next(record: StudyRecord) -> str:
    items = [f"<dt>{escape(what)}</dt><dd>{_code(command)}</dd>" for command, what in asked.commands(record)]
    return f'<dl class="commands">{"".join(items)}</dl>'


def _details(summary: str, content: str, heard: str = "") -> str:
    """Content that opens; ``heard`` tells summaries that read alike apart for those who do not see where they stand."""
    more = f'<span class="heard">{escape(heard)}</span>' if heard else ""
    return f"<details><summary>{escape(summary)}{more}</summary>{content}</details>"


def _code(text: str) -> str:
    return f'<pre tabindex="0"><code>{escape(text)}</code></pre>'


def _tables(found: Sequence[Table | None], otherwise: str = "There is no best trial with its plan yet.") -> str:
    """The tables that there are, or a sentence."""
    there = [table_html(table) for table in found if table is not None]
    return "\n".join(there) if there else _none(otherwise) if otherwise else ""


def _none(why: str) -> str:
    return f'<p class="note">{escape(why)}</p>' if why else ""


def _static(name: str) -> str:
    return (resources.files("hybridtune.report") / "static" / name).read_text(encoding="utf-8")
