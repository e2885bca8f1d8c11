"""Heat maps of language pairs: query languages down, passage languages across, numbers in the cells."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go

from hybridtune.report.chart import new_figure, safe, short

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
