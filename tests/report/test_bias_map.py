import io
import math
from xml.etree import ElementTree

import pytest
from rich.console import Console

from hybridtune.report.bias_map import UNIT, bias_heat_map, bias_table
from hybridtune.report.colours import BIAS

SVG = "{http://www.w3.org/2000/svg}"


def scores_of(names, cells):
    return {"over_represented": cells, "counts": {"passages_per_language": dict.fromkeys(names, 9)}}


def all_cells(names):
    return {f"{x}-{y}": math.sin(3 * i + j) * 4 for i, x in enumerate(names) for j, y in enumerate(names)}


def drawn(folder, names, cells):
    """The picture as XML."""
    bias_heat_map(scores_of(names, cells), folder / "bias.svg")
    return ElementTree.parse(folder / "bias.svg").getroot()


def numbers(element, *names):
    return [float(element.get(name)) for name in names]


@pytest.mark.parametrize("count", [2, 11, 20])
@pytest.mark.parametrize("suffix", ["", "-Hans"])
def test_a_square_for_every_pair_inside_the_picture_and_none_over_another(tmp_path, count, suffix):
    names = [f"{'abcdefghijklmnopqrst'[i]}x{suffix}" for i in range(count)]
    root = drawn(tmp_path, names, all_cells(names))
    width, height = numbers(root, "width", "height")
    ground, *squares = root.findall(f"{SVG}rect")
    assert ground.get("fill") == "#ffffff"
    assert numbers(ground, "width", "height") == [width, height]
    boxes = [numbers(square, "x", "y", "width", "height") for square in squares]
    assert all(x >= 0 and y >= 0 and x + w <= width and y + h <= height for x, y, w, h in boxes)
    cells = {square.find(f"{SVG}title").text: square for square in squares if square.find(f"{SVG}title") is not None}
    assert len(cells) == count**2
    assert len({(square.get("x"), square.get("y")) for square in squares}) == len(squares)
    # Rows are query languages, columns passage languages.
    first = {title: square for title, square in cells.items() if title.startswith(f"{names[0]} queries")}
    assert len({square.get("y") for square in first.values()}) == 1
    assert len({square.get("x") for square in first.values()}) == count
    words = [text.text for text in root.findall(f"{SVG}text")]
    assert words.count(names[1]) == 2  # a row and a column
    assert any(UNIT in line for line in words)
    for text in root.findall(f"{SVG}text"):
        x, y = numbers(text, "x", "y")
        long = len(text.text) * 0.55 * float(text.get("font-size"))
        left = x - {"start": 0, "middle": long / 2, "end": long}[text.get("text-anchor")]
        if text.get("transform") is None:
            assert left >= -1, text.text
            assert left + long <= width + 1, text.text
        else:
            assert y - long >= 60, text.text
        assert 0 < y <= height


def test_colours_diverge_from_white_and_keep_the_words_readable(tmp_path):
    names = ["en", "de", "sw"]
    cells = {"en-en": BIAS.high + 5, "en-de": -BIAS.high - 5, "de-en": 0.0, "de-de": 1.0, "sw-en": -0.01}
    root = drawn(tmp_path, names, cells)
    found = {
        square.find(f"{SVG}title").text: square.get("fill") for square in root.findall(f"{SVG}rect") if len(square)
    }
    assert found["en queries, en passages: +8.00"] == "#e67814"
    assert found["en queries, de passages: -8.00"] == "#286eb4"
    assert found["de queries, en passages: +0.00"] == "#ffffff"
    assert found["sw queries, de passages: not defined"] == "#e4e4e4"
    assert len(found) == 6  # no passages of sw stand anywhere: no column
    values = [text for text in root.findall(f"{SVG}text") if text.text in ("+8.0", "-8.0", "0.0", "+1.0")]
    assert {text.text: text.get("fill") for text in values}["-8.0"] == "#ffffff"
    assert {text.text: text.get("fill") for text in values}["+8.0"] == "#000000"
    assert "-0.0" not in [text.text for text in root.findall(f"{SVG}text")]


def test_names_are_escaped(tmp_path):
    root = drawn(tmp_path, ["<&>"], {"<&>-<&>": 1.0})
    assert "<&>" in [text.text for text in root.findall(f"{SVG}text")]


@pytest.mark.parametrize("names", [["en", "sw"], ["en", "de", "sw", "zh-Hans"]])
def test_the_table_shows_the_values_with_and_without_colour(names):
    cells = all_cells(names)
    del cells["en-sw"]
    plain, coloured, table = io.StringIO(), io.StringIO(), bias_table(scores_of(names, cells))
    Console(file=plain, width=120).print(table)
    Console(file=coloured, width=120, force_terminal=True, color_system="truecolor").print(table)
    lines = plain.getvalue().splitlines()
    assert UNIT in lines[0]
    assert lines[1].split() == names
    assert [line.split()[0] for line in lines[2:]] == names
    assert [len(line.split()) - 1 for line in lines[2:]] == [len(names) - 1] + [len(names)] * (len(names) - 1)
    assert "\x1b[" not in plain.getvalue()
    assert "48;2;" in coloured.getvalue()


def test_nothing_to_show(tmp_path):
    assert len(drawn(tmp_path, ["en", "de"], {}).findall(f"{SVG}rect")) == 9  # ground and legend
    assert bias_table(scores_of(["en", "de"], {})).row_count == 0
