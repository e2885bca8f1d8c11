"""The heat map of pairs in terminals of any width."""

import io

import pytest
from rich.console import Console

from hybridtune.terminal.pictures import brief_count, print_pairs

LANGUAGES = ["am", "de", "zh-Hant"]
COUNTS = [[0, 5, 1200], [7, 999, 1_500_000], [1, 2, 3]]


def drawn(width, **options):
    sink = io.StringIO()
    print_pairs(LANGUAGES, COUNTS, "pairs", Console(file=sink, width=width, **options))
    return sink.getvalue().splitlines()


def test_a_row_a_query_language_and_a_column_a_passage_language():
    assert drawn(60) == [
        "pairs (queries down, passages across)",
        "            am    de zh-Ha",
        "am           ·     5  1.2k",
        "de           7   999  1.5M",
        "zh-Hant      1     2     3",
    ]


@pytest.mark.parametrize("width", [8, 20, 27, 40])
def test_columns_that_have_no_room_go_on_below(width):
    lines = drawn(width)
    columns = max(1, (width - 8) // 6)
    text = "\n".join(lines)
    assert len([line for line in lines if line.startswith("zh-Hant ")]) == -(-3 // columns)
    if width >= 14:
        assert max(map(len, lines)) <= width
        assert "1.5M" in text


def test_more_pairs_are_darker_and_no_pair_has_no_colour():
    lines = drawn(60, force_terminal=True, color_system="truecolor")
    row = lines[3]
    dark, pale = (
        tuple(map(int, part.split("m")[0].split(";")[:3])) for part in (row.split("48;2;")[3], row.split("48;2;")[1])
    )
    assert sum(dark) < sum(pale)
    assert "48;2" not in lines[2].split("·")[0]


@pytest.mark.parametrize("count", [0, 1, 999, 1000, 9949, 99_949, 99_950, 999_499, 999_500, 10**9, 10**13])
def test_a_count_takes_five_characters_at_most(count):
    assert len(brief_count(count)) <= 5
