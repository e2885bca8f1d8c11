"""The chart of a report, and what all charts share: the look, the marks of trials, the heat map.

Every public function of the ``*_charts`` modules takes a `StudyRecord` and returns a `Chart`, which the page shows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from hybridtune.config.names import LEARNED, TUNED
from hybridtune.metrics.names import is_distance
from hybridtune.report import colours
from hybridtune.report.colours import FAINT, GREY, SETTING_COLOURS, Scale
from hybridtune.report.record import StudyRecord, TrialRecord
from hybridtune.report.text import Table, Value, format_metric, plain_name, shorten

SYMBOLS = {"mono-only": "triangle-up", "half-half": "square", "cross-only": "triangle-down"}
SYMBOLS |= {TUNED: "circle", LEARNED: "diamond"}
MARKS = (
    "Filled: came to the last step; hollow: has not. Triangle up: mono-only, square: half-half, triangle down: "
    "cross-only, circle: searched mixing ratio, diamond: learned mix."
)
LEGIBLE = 12  # languages up to which a cell of a heat map has room for its number
SIGNED = 8  # languages up to which it has room for a plus, which the colour shows too
Pair = tuple[str, str]

_LINE = "rgba(128,128,128,0.6)"
_AXIS = {
    **{"automargin": True, "gridcolor": FAINT, "linecolor": _LINE, "showline": True, "zeroline": False},
    **{"ticks": "outside", "ticklen": 4, "tickcolor": _LINE, "title": {"standoff": 10}},
}
TEMPLATE = go.layout.Template(
    layout={
        "autosize": True,
        "font": {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 13},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "colorway": [colours.BLUE, colours.ORANGE, colours.GREEN, colours.PURPLE, GREY],
        "margin": {"l": 12, "r": 12, "t": 16, "b": 12, "pad": 2},
        "xaxis": _AXIS,
        "yaxis": _AXIS,
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 0, "yanchor": "bottom", "yref": "container"},
        "hoverlabel": {"align": "left", "font": {"size": 13}},
        "hovermode": "closest",
        "dragmode": False,  # a finger that scrolls the page must not zoom
    }
)


@dataclass
class Chart:
    """A picture, what it says in words, and its figures as a table; all plain text but for the figure's, escaped."""

    key: str  # its id in the page; letters, digits and hyphens
    title: str
    columns: list[str] = field(default_factory=list)
    rows: list[list[Value]] = field(default_factory=list)  # numbers rounded to sensible digits; None is empty
    words: str = ""  # what it shows and how to read it, or why there is no figure
    figure: go.Figure | None = None  # without a width; None: not enough data
    note: str = ""  # below its table: what the rows leave out

    def saying(self, words: str, figure: go.Figure | None = None) -> "Chart":
        """Set the words and the figure, and return the chart."""
        self.words, self.figure = words, figure
        return self

    @property
    def table(self) -> Table:
        """Its columns and rows as a table of the page."""
        return Table(f"{self.title}: figures", self.columns, self.rows, self.note, sortable=True)


def styled(figure: go.Figure, height: int, **layout: Any) -> go.Figure:
    """Give a figure the report's look, as wide as the page; ``height`` is in pixels."""
    return figure.update_layout(template=TEMPLATE, height=height, **layout)


def panels(
    count: int, height: int, spacing: float = 0.07, shares: Sequence[float] | None = None, **layout: Any
) -> go.Figure:
    """Return a figure of panels one below another, with one horizontal axis and these shares of the height."""
    figure = make_subplots(rows=count, cols=1, shared_xaxes=True, vertical_spacing=spacing, row_heights=shares)
    return styled(figure, height, **layout)


def safe(text: object) -> str:
    """Return a text that Plotly shows as it is: it would read ``<b>`` as bold."""
    return escape(str(text), quote=False)


def rounded(metric: str, value: float | None) -> float | None:
    """Return a figure with the digits that it deserves: a distance in a pool with one, a share with four."""
    return None if value is None else round(value, 1 if is_distance(metric) else 4)


def cell(value: Any) -> Value:
    """Return a value of the study as a cell: numbers stay numbers, of at most four significant digits."""
    if isinstance(value, bool):
        return str(value).lower()
    if value is None or isinstance(value, int):
        return value
    return float(f"{value:.4g}") if isinstance(value, float) else str(value)


def better(mode: str) -> str:
    """Return what ``max`` or ``min`` asks for, in words."""
    return "more is better" if mode == "max" else "less is better"


def symbol(trial: TrialRecord) -> str:
    """Return Plotly's name of a trial's mark: its shape by arm, hollow where it was stopped."""
    shape = SYMBOLS[trial.arm]
    return shape if trial.done else f"{shape}-open"


def tip(record: StudyRecord, trial: TrialRecord, more: Mapping[str, object] | None = None) -> str:
    """Return what a mark of a trial shows when it is pointed at, escaped; with further lines by name.

    That of a trial which no table lists is its name alone.
    """
    lines = [f"<b>{safe(trial.label)}</b> ({safe(trial.status)})"]
    if not record.is_listed(trial):
        return lines[0]
    lines += [f"{safe(plain_name(name))}: {safe(shorten(cell(value), 40))}" for name, value in trial.values.items()]
    names = dict.fromkeys([*record.goals, *SETTING_COLOURS])
    lines += [f"{safe(name)}: {format_metric(name, trial.metrics[name])}" for name in names if name in trial.metrics]
    lines += [f"{safe(key)}: {safe(value)}" for key, value in (more or {}).items()]
    return "<br>".join(lines)


def marks(
    record: StudyRecord, trials: Sequence[TrialRecord], x: Sequence[Any], y: Sequence[Any], name: str, **marker: Any
) -> go.Scatter:
    """Return a trace with a mark for each trial, and its tip; ``marker`` has Plotly's options of the marks."""
    look = {"size": 10, "symbol": [symbol(trial) for trial in trials]} | marker
    look["line"] = {"width": 2, "color": look["color"] if isinstance(look.get("color"), str) else GREY}
    tips = [tip(record, trial) for trial in trials]
    return go.Scatter(
        x=list(x), y=list(y), mode="markers", name=safe(name), marker=look, hovertext=tips, hoverinfo="text"
    )


def ring(x: Any, y: Any, label: str = "", side: str = "center") -> go.Scatter:
    """Return a ring around the chosen trial's mark, with a name above it, on that side, where one is given."""
    return go.Scatter(
        x=[x],
        y=[y],
        mode="markers+text" if label else "markers",
        text=[safe(label)] if label else None,
        textposition=f"top {side}",
        marker={"symbol": "circle-open", "size": 21, "color": GREY, "line": {"width": 2}},
        hoverinfo="skip",
        showlegend=False,
        cliponaxis=False,
    )


def heat_map(names: Sequence[str], values: Mapping[Pair, float], tips: Mapping[Pair, str], scale: Scale) -> go.Figure:
    """Return a square for each pair of query language and passage language; empty where it has no value.

    Of the languages, ``names``, a row or column without a value is left out. ``tips``, shown when a square is pointed
    at, are escaped.
    """
    down = [x for x in names if any(query == x for query, _ in values)]
    across = [y for y in names if any(passage == y for _, passage in values)]
    hover = [
        [f"{safe(x)} queries, {safe(y)} passages<br>{tips.get((x, y), 'not defined')}" for y in across] for x in down
    ]
    bar = {"orientation": "h", "thickness": 12, "title": {"text": scale.unit, "side": "top"}, "y": 0, "yanchor": "top"}
    squares = go.Heatmap(
        z=[[values.get((x, y)) for y in across] for x in down],
        x=list(range(len(across))),  # numbers, for Plotly reads some names as dates
        y=list(range(len(down))),
        zmin=scale.low,
        zmax=scale.high,
        colorscale=colours.plotly_scale(scale.colours),
        hovertext=hover,
        hoverinfo="text",
        hoverongaps=False,
        xgap=1,
        ygap=1,
        colorbar=bar,
    )
    legible = max(len(down), len(across)) <= LEGIBLE
    figure = styled(go.Figure(squares), 190 + (40 if len(down) <= 8 else 30 if legible else 18) * len(down))
    if legible:
        digits = scale.digits if len(across) <= SIGNED else scale.digits.removeprefix("+")
        found = [(i, j, values[x, y]) for j, x in enumerate(down) for i, y in enumerate(across) if (x, y) in values]
        inks = [colours.ink(colours.colour_at(scale, value)) for *_, value in found]
        numbers = go.Scatter(
            x=[i for i, *_ in found],
            y=[j for _, j, _ in found],
            mode="text",
            text=[brief(value, digits) for *_, value in found],
            textfont={"size": 12, "color": inks},
            hoverinfo="skip",
            showlegend=False,
        )
        figure.add_trace(numbers)
    for update, title, shown, ends in (
        (figure.update_xaxes, "passages", across, [-0.5, len(across) - 0.5]),
        (figure.update_yaxes, "queries", down, [len(down) - 0.5, -0.5]),
    ):
        update(tickvals=list(range(len(shown))), ticktext=[safe(shorten(name, 12)) for name in shown], range=ends)
        update(title_text=title, showgrid=False, showline=False, ticks="")
    figure.update_xaxes(side="top")
    return figure


def brief(value: float, digits: str) -> str:
    """Return a number for a small cell: no sign before a zero, no zero before the point."""
    text = format(value, digits)
    if float(text) == 0:
        return "0"
    return text.replace("0.", ".", 1) if text.lstrip("+-").startswith("0.") else text
