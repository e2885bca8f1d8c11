"""What a chart of the report is, and what all of them share: the look, the marks of trials, numbers and labels."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, NamedTuple

import plotly.graph_objects as go

from hybridtune.config.names import short_name
from hybridtune.report.record import StudyRecord, TrialRecord

Cell = str | float | int | None

# Okabe and Ito's colours and the orange and blue of the bias map: apart for every kind of colour vision, and at 3:1 or
# more from a white ground and from a dark one.
ORANGE, BLUE, GREEN, PURPLE, GREY = "#d55e00", "#2a78bd", "#009e73", "#b86a98", "#848a93"
SETTING_COLOURS = {"mono/AP": ORANGE, "cross/AP": BLUE, "multi/AP": GREEN, "multi/rank_distance": PURPLE}
FAINT = "rgba(128,128,128,0.2)"  # lines and bands that lie behind; the page's ground shines through
SYMBOLS = {"mono-only": "triangle-up", "half-half": "square", "cross-only": "triangle-down", None: "circle"}
MARKS = (
    "Filled: came to the last step; hollow: stopped before. Triangle up: mono-only, square: half-half, triangle down: "
    "cross-only, circle: searched."
)

_AXIS = {
    "automargin": True,
    "gridcolor": FAINT,
    "linecolor": "rgba(128,128,128,0.6)",
    "showline": True,
    "ticks": "outside",
    "ticklen": 4,
    "tickcolor": "rgba(128,128,128,0.6)",
    "zeroline": False,
    "title": {"standoff": 10},
}
TEMPLATE = go.layout.Template(
    layout={
        "autosize": True,
        "font": {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 13},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "colorway": [BLUE, ORANGE, GREEN, PURPLE, GREY],
        "margin": {"l": 12, "r": 12, "t": 16, "b": 12, "pad": 2},
        "xaxis": _AXIS,
        "yaxis": _AXIS,
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 0, "yanchor": "bottom", "yref": "container"},
        "hoverlabel": {"align": "left", "font": {"size": 13}},
        "hovermode": "closest",
        "dragmode": False,  # a finger that scrolls the page must not zoom
    }
)


@dataclass(frozen=True)
class Chart:
    """A picture, what it says in words, and its figures as a table.

    Attributes:
        key: its id in the page; letters, digits and hyphens.
        title: plain text.
        words: what it shows and how to read it, or why there is no figure; plain text.
        figure: a figure without a width; its texts are escaped. None: not enough data.
        columns: heads of the table; plain text.
        rows: cells; numbers are rounded to sensible digits, None is empty.
    """

    key: str
    title: str
    words: str
    figure: go.Figure | None
    columns: list[str] = field(default_factory=list)
    rows: list[list[Cell]] = field(default_factory=list)


def new_figure(height: int, traces: Iterable[Any] = ()) -> go.Figure:
    """A figure in the report's look, as wide as its place.

    Args:
        height: in pixels.
        traces: to begin with.
    """
    return go.Figure(list(traces), layout={"template": TEMPLATE, "height": height})


def safe(text: object) -> str:
    """A text that Plotly shows as it is: it would read ``<b>`` as bold."""
    return escape(str(text), quote=False)


def short(text: object, length: int = 22) -> str:
    """A label of at most ``length`` characters; the middle of a longer one is left out."""
    plain = str(text)
    if len(plain) <= length:
        return plain
    tail = (length - 1) // 2
    return f"{plain[: length - 1 - tail]}…{plain[len(plain) - tail :]}"


def plain_name(parameter: str) -> str:
    """A field of the study as people read it: ``mix.mixing_ratio`` is "mixing ratio"."""
    return short_name(parameter).replace("_", " ")


def rounded(metric: str, value: float | None) -> float | None:
    """A figure with the digits that it deserves: places of a pool with one, shares with four."""
    return None if value is None else round(value, 1 if metric.endswith("rank_distance") else 4)


def said(metric: str, value: float) -> str:
    """The same as text."""
    return f"{value:,.1f}" if metric.endswith("rank_distance") else f"{value:.4f}"


def cell(value: Any) -> Cell:
    """A value of the study as a cell: numbers stay numbers, of at most four digits that count."""
    if isinstance(value, bool) or value is None:
        return None if value is None else str(value).lower()
    if isinstance(value, int):
        return value
    return float(f"{value:.4g}") if isinstance(value, float) else str(value)


def value_of(record: StudyRecord, trial: TrialRecord, field_name: str) -> Any:
    """A field of a trial, ``section.field``: what the trial set, else what the study fixes."""
    return trial.values[field_name] if field_name in trial.values else record.study.value(field_name)


def is_searched(record: StudyRecord, field_name: str) -> bool:
    """Whether the study's space has a field, ``section.field``."""
    return field_name in record.study.search.space


def first_goal(record: StudyRecord) -> tuple[str, str]:
    """The objective that decides, and ``max`` or ``min``."""
    return next(iter(record.goals.items()))


def better(mode: str) -> str:
    """What ``max`` or ``min`` asks for."""
    return "more is better" if mode == "max" else "less is better"


def with_metrics(trials: Iterable[TrialRecord], names: Iterable[str]) -> list[TrialRecord]:
    """The trials that came to a score of all these metrics."""
    wanted = list(names)
    return [trial for trial in trials if all(name in trial.metrics for name in wanted)]


def finished(trials: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Those that came to their last step."""
    return [trial for trial in trials if trial.status == "done"]


def counted(count: int, noun: str) -> str:
    """``1 trial``, ``12 trials``; of a noun ending in y, ``2 queries``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {f'{noun[:-1]}ies' if noun.endswith('y') else f'{noun}s'}"


def symbol(trial: TrialRecord) -> str:
    """Plotly's name of a trial's mark: its shape by baseline, hollow where it was stopped."""
    shape = SYMBOLS.get(trial.baseline, "diamond")
    return shape if trial.status == "done" else f"{shape}-open"


def tip(record: StudyRecord, trial: TrialRecord, more: Mapping[str, object] | None = None) -> str:
    """What a mark of a trial tells when it is pointed at, escaped.

    Args:
        record: its study.
        trial: the trial.
        more: further lines.
    """
    lines = [f"<b>{safe(trial.label)}</b> ({safe(trial.status)})"]
    lines += [f"{safe(plain_name(name))}: {safe(short(cell(value), 40))}" for name, value in trial.values.items()]
    names = dict.fromkeys([*record.goals, *SETTING_COLOURS])
    lines += [f"{safe(name)}: {said(name, trial.metrics[name])}" for name in names if name in trial.metrics]
    lines += [f"{safe(key)}: {safe(value)}" for key, value in (more or {}).items()]
    return "<br>".join(lines)


def marks(
    record: StudyRecord, trials: Sequence[TrialRecord], x: Sequence[Any], y: Sequence[Any], name: str, **marker: Any
) -> go.Scatter:
    """A mark for each trial, with its tip.

    Args:
        record: their study.
        trials: n of them.
        x: n values.
        y: n values.
        name: of the trace.
        marker: Plotly's options of the marks.
    """
    look = {"size": 10, "symbol": [symbol(trial) for trial in trials]} | marker
    look["line"] = {"width": 2} | ({"color": look["color"]} if isinstance(look.get("color"), str) else {"color": GREY})
    tips = [tip(record, trial) for trial in trials]
    return go.Scatter(
        x=list(x), y=list(y), mode="markers", name=safe(name), marker=look, hovertext=tips, hoverinfo="text"
    )


def ring(x: Any, y: Any, label: str = "", side: str = "center") -> go.Scatter:
    """A ring around the chosen trial's mark, with a name above it, on that side, where one is given."""
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


LEGIBLE = 12  # languages up to which a cell has room for its number
SIGNED = 8  # languages up to which it has room for a plus, which the colour tells too
Pair = tuple[str, str]
Colour = tuple[int, int, int]

# Blue below, white at 0, orange above, as in the picture of the bias; and from pale to dark for what has no middle.
DIVERGING: list[Colour] = [(40, 110, 180), (255, 255, 255), (230, 120, 20)]
SEQUENTIAL: list[Colour] = [(234, 242, 249), (116, 169, 212), (18, 63, 109)]


class Scale(NamedTuple):
    """What colours stand for.

    Attributes:
        colours: at even distances from ``low`` to ``high``.
        low: values at or below have the first colour.
        high: values at or above have the last; more than ``low``.
        unit: what the values are.
        digits: a format, like ``+.2f``.
    """

    colours: list[Colour]
    low: float
    high: float
    unit: str
    digits: str


def colour_at(scale: Scale, value: float) -> Colour:
    """The colour of a value, between its neighbours on the scale."""
    share = min(max((value - scale.low) / (scale.high - scale.low), 0.0), 1.0) * (len(scale.colours) - 1)
    left = min(int(share), len(scale.colours) - 2)
    ends = zip(scale.colours[left], scale.colours[left + 1], strict=True)
    red, green, blue = (round(a + (b - a) * (share - left)) for a, b in ends)
    return red, green, blue


def ink(colour: Colour) -> str:
    """Black or white, whichever stands out more; at least 4.5:1 on every colour.

    Source: relative luminance and contrast as WCAG 2.2 defines them.
    """
    linear = [c / 3294.6 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if (luminance + 0.05) ** 2 > 0.05 * 1.05 else "#ffffff"


def plotly_scale(colours: Sequence[Colour]) -> list[list[Any]]:
    """Colours at even distances, as Plotly takes them."""
    return [[i / (len(colours) - 1), "rgb({},{},{})".format(*colour)] for i, colour in enumerate(colours)]


def heat_map(names: Sequence[str], values: Mapping[Pair, float], tips: Mapping[Pair, str], scale: Scale) -> go.Figure:
    """A square for each pair; empty where it has no value.

    Args:
        names: the languages in their order; those without a value in a row or column are left out of it.
        values: by (query language, passage language); at least one.
        tips: what a square tells when it is pointed at, escaped.
        scale: of the colours.
    """
    down = [x for x in names if any(query == x for query, _ in values)]
    across = [y for y in names if any(passage == y for _, passage in values)]
    places = [(i, j, (x, y)) for j, x in enumerate(down) for i, y in enumerate(across)]
    hover = [f"{safe(x)} queries, {safe(y)} passages<br>{tips.get((x, y), 'not defined')}" for _, _, (x, y) in places]
    bar = {"orientation": "h", "thickness": 12, "title": {"text": scale.unit, "side": "top"}, "y": 0, "yanchor": "top"}
    squares = go.Heatmap(
        z=[[values.get((x, y)) for y in across] for x in down],
        x=list(range(len(across))),  # numbers, for Plotly reads some names as dates
        y=list(range(len(down))),
        zmin=scale.low,
        zmax=scale.high,
        colorscale=plotly_scale(scale.colours),
        hovertext=[hover[j * len(across) : (j + 1) * len(across)] for j in range(len(down))],
        hoverinfo="text",
        hoverongaps=False,
        xgap=1,
        ygap=1,
        colorbar=bar,
    )
    legible = max(len(down), len(across)) <= LEGIBLE
    height = 40 if len(down) <= 8 else 30 if legible else 18
    figure = new_figure(190 + height * len(down), [squares])
    if legible:
        digits = scale.digits if len(across) <= SIGNED else scale.digits.removeprefix("+")
        written = [(i, j, values[pair]) for i, j, pair in places if pair in values]
        figure.add_trace(_numbers(written, scale, digits))
    flat = {"showgrid": False, "showline": False, "ticks": ""}
    columns, rows = ([safe(short(name, 12)) for name in some] for some in (across, down))
    figure.update_xaxes(side="top", title_text="passages", tickvals=list(range(len(across))), ticktext=columns, **flat)
    figure.update_yaxes(title_text="queries", tickvals=list(range(len(down))), ticktext=rows, **flat)
    figure.update_xaxes(range=[-0.5, len(across) - 0.5])
    figure.update_yaxes(range=[len(down) - 0.5, -0.5])
    return figure


def _numbers(places: Sequence[tuple[int, int, float]], scale: Scale, digits: str) -> go.Scatter:
    """The values in their squares, black or white by the colour below."""
    return go.Scatter(
        x=[i for i, _, _ in places],
        y=[j for _, j, _ in places],
        mode="text",
        text=[brief(value, digits) for _, _, value in places],
        textfont={"size": 12, "color": [ink(colour_at(scale, value)) for _, _, value in places]},
        hoverinfo="skip",
        showlegend=False,
    )


def brief(value: float, digits: str) -> str:
    """A number for a small cell: no sign before a zero, no zero before the point."""
    text = format(value, digits)
    if float(text) == 0:
        return "0"
    return text.replace("0.", ".", 1) if text.lstrip("+-").startswith("0.") else text
