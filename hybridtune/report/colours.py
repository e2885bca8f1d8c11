"""PURE. The colours of the report: of settings and trials, of values on a heat map, and the ink that reads on them."""

from typing import Any, NamedTuple

Colour = tuple[int, int, int]

# Okabe and Ito's colours and the orange and blue of the bias map: apart for every kind of colour vision, and at 3:1 or
# more from a white ground and from a dark one.
ORANGE, BLUE, GREEN, PURPLE, GREY = "#d55e00", "#2a78bd", "#009e73", "#b86a98", "#848a93"
SETTING_COLOURS = {"mono/AP": ORANGE, "cross/AP": BLUE, "multi/AP": GREEN, "multi/rank_distance": PURPLE}
FAINT = "rgba(128,128,128,0.2)"  # lines and bands in the background; the page's ground shines through

# Blue below, white at 0, orange above; and from pale to dark for what has no middle.
DIVERGING: list[Colour] = [(40, 110, 180), (255, 255, 255), (230, 120, 20)]
SEQUENTIAL: list[Colour] = [(234, 242, 249), (116, 169, 212), (18, 63, 109)]


class Scale(NamedTuple):
    """A scale of colours, at even distances from ``low`` to ``high``; values beyond have the first or the last."""

    colours: list[Colour]
    low: float
    high: float
    unit: str
    digits: str  # a format, like ``+.2f``


# Full colour at eight times the share, or an eighth.
BIAS = Scale(DIVERGING, -3.0, 3.0, "log2 of over-representation", "+.1f")


def colour_at(scale: Scale, value: float) -> Colour:
    """Return the colour of a value, between its neighbours on the scale."""
    share = min(max((value - scale.low) / (scale.high - scale.low), 0.0), 1.0) * (len(scale.colours) - 1)
    left = min(int(share), len(scale.colours) - 2)
    ends = zip(scale.colours[left], scale.colours[left + 1], strict=True)
    red, green, blue = (round(a + (b - a) * (share - left)) for a, b in ends)
    return red, green, blue


def ink(colour: Colour) -> str:
    """Return black or white, whichever stands out more; at least 4.5:1 on every colour.

    Source: relative luminance and contrast as WCAG 2.2 defines them.
    """
    linear = [c / 3294.6 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if (luminance + 0.05) ** 2 > 0.05 * 1.05 else "#ffffff"


def plotly_scale(colours: list[Colour]) -> list[list[Any]]:
    """Return colours at even distances, as Plotly takes them: each with its share of the way."""
    return [[i / (len(colours) - 1), "rgb({},{},{})".format(*colour)] for i, colour in enumerate(colours)]
