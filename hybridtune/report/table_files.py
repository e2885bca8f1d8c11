"""The tables of a report as files: CSV for programs, LaTeX for papers."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hybridtune.errors import InputError
from hybridtune.report.page import all_charts, tables_of
from hybridtune.report.record import StudyRecord
from hybridtune.report.render import slug
from hybridtune.report.text import Cell, Table, Value, format_value
from hybridtune.storage.files import explain_error, write_atomically
from hybridtune.storage.trial_csv import csv_text, trials_csv

TRIALS = "trials.csv"  # every trial, with all its values and metrics in full precision
_SPECIAL = {  # of LaTeX, and what prints them
    **{character: f"\\{character}" for character in "&%$#_{}"},
    **{"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"},
    **{"−": "$-$", "±": r"$\pm$", "–": "--", "…": r"\ldots{}", "×": r"$\times$", "†": r"\dag{}"},
}
_LONGEST = 60  # characters of a file's name


def write_tables(record: StudyRecord, folder: Path) -> list[Path]:
    """Write every table of a report, those of its charts' figures among them, as CSV and as LaTeX.

    Args:
        record: of the study.
        folder: made where it is missing; files of the same names are replaced, others stay.

    Returns:
        The files, those of one table side by side; the first has every trial.

    Raises:
        InputError: the folder cannot be written.
    """
    return write_files([*all_tables(record)], folder, {TRIALS: trials_csv(record.trials, record.study.seed)})


def write_files(tables: Sequence[Table], folder: Path, others: Mapping[str, str] | None = None) -> list[Path]:
    """Write tables as CSV and as LaTeX, after other texts by the names of their files; return the files.

    Raises:
        InputError: the folder cannot be written.
    """
    texts = dict(others or {})
    for table in tables:
        name = re.sub(r"-+", "-", slug(table.title))[:_LONGEST].strip("-")
        texts |= {f"{name}.csv": table_csv(table), f"{name}.tex": table_latex(table)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            write_atomically(folder / name, text)
    except OSError as error:
        raise InputError(f"--tables {folder}: {explain_error(error)}; give another folder") from None
    return [folder / name for name in texts]


def all_tables(record: StudyRecord) -> Iterator[Table]:
    """Yield the tables of a report that have rows, in its order."""
    found = [table for place in tables_of(record).values() for table in place]
    found += [chart.table for charts in all_charts(record).values() for chart in charts]
    yield from (table for table in found if table is not None and table.rows)


def table_csv(table: Table) -> str:
    """Return a table as CSV: values as numbers; what stands below and behind one in columns of their own beside it."""
    below = [any(_below(row[index]) for row in table.rows) for index in range(len(table.columns))]
    marked = [any(_mark(row[index]) for row in table.rows) for index in range(len(table.columns))]
    columns: list[str] = []
    for name, small, mark in zip(table.columns, below, marked, strict=True):
        columns += [name, *([f"{name}, below"] if small else []), *([f"{name}, marks"] if mark else [])]
    rows: list[list[Any]] = []
    for row in table.rows:
        cells: list[Any] = []
        for index, value in enumerate(row):
            if isinstance(value, Cell):  # the first names the row
                value_or_text: Any = value.text if index == 0 or value.value is None else value.value
                cells.append(value_or_text)
            else:
                cells.append(value)
            if below[index]:
                cells.append("; ".join(_below(value)))
            if marked[index]:
                cells.append(_mark(value))
        rows.append(cells)
    return csv_text(columns, rows)


def table_latex(table: Table) -> str:
    """Return a table as LaTeX with booktabs' lines, to be put into a paper by ``\\input``.

    What stands below a value is a small row of its own, as papers print intervals; marked rows are bold.
    """
    words = table.text_columns()
    lines = [
        "% \\usepackage{booktabs}",
        rf"\begin{{tabular}}{{{''.join('l' if is_text else 'r' for is_text in words)}}}",
        r"\toprule",
        " & ".join(map(latex, table.columns)) + r" \\",
        r"\midrule",
    ]
    for number, row in enumerate(table.rows):
        texts = [latex(format_value(value)) + _raised(_mark(value)) for value in row]
        if number in table.marked:
            texts = [rf"\textbf{{{text}}}" for text in texts]
        lines.append(" & ".join(texts) + r" \\")
        below = [latex(", ".join(_below(value))) for value in row]
        if any(below):
            lines.append(" & ".join(rf"{{\scriptsize {text}}}" if text else "" for text in below) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    caption = [f"% {part}" for part in (table.title, *table.note.splitlines()) if part]
    return "\n".join([*caption, *lines]) + "\n"


def latex(text: str) -> str:
    """Return a text as LaTeX prints it.

    Example:
        >>> latex("mono/AP_x & 5 %")
        'mono/AP\\\\_x \\\\& 5 \\\\%'
    """
    return "".join(_SPECIAL.get(character, character) for character in " ".join(text.split()))


def _below(value: Value) -> Sequence[str]:
    """Return the lines that stand below a value in its cell."""
    return value.small if isinstance(value, Cell) else ()


def _mark(value: Value) -> str:
    return value.mark if isinstance(value, Cell) else ""


def _raised(mark: str) -> str:
    return rf"\textsuperscript{{{latex(mark)}}}" if mark else ""
