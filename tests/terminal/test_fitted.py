"""Tables in narrow terminals: no figure is cut or wrapped, and a line says which columns are gone."""

import re

import pytest
from rich.cells import cell_len
from rich.console import Console

from hybridtune.report.text import format_metric
from hybridtune.storage.trial_rows import TrialRow
from hybridtune.terminal.cache import cache_table
from hybridtune.terminal.scores import _BEFORE_VERDICT, _cells, evaluation_summary
from hybridtune.terminal.screen import Screen
from hybridtune.terminal.tables import plain_table, trials_table

WIDTHS = [200, 80, 60, 40]


def printed(table, width):
    console = Console(width=width)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def numbers(text):
    """Every number of a text, with its sign; what was cut or wrapped is none of them, or another."""
    return set(re.findall(r"(?<![\w.@])[-+]?\d+(?:,\d+)*(?:\.\d+)?", text))


def check(text, whole, width):
    """All lines fit, nothing is cut, and each number of the whole table is there or was left out as a whole."""
    table, _, note = text.partition(f"at {width} columns without: ")
    assert all(cell_len(line.rstrip()) <= width for line in text.splitlines())
    assert "…" not in text
    assert numbers(table) <= numbers(whole)
    assert bool(note) == (numbers(table) != numbers(whole))
    return note


def trials():
    values = {"mix.mixing_ratio": 0.549, "train.temperature": 0.0852, "train.learning_rate": 0.000822, "train.a_b": 7}
    metrics = {"step": 12_300, "balanced/AP": 0.6367, "mono/AP": 0.9263, "cross/AP": 0.5814, "multi/AP": 0.5231}
    metrics["multi/rank_distance"] = 123_456.7
    return [
        TrialRow(f"{n:04d}", n, arm, values, metrics, status)
        for n, (arm, status) in enumerate([("mono-only", "done"), ("tuned", "running"), ("tuned", "cut off")])
    ]


@pytest.mark.parametrize("width", WIDTHS)
def test_the_table_of_trials(width):
    text = printed(trials_table(["balanced/AP"], trials(), "0001"), width)
    note = check(text, printed(trials_table(["balanced/AP"], trials(), "0001"), 500), width)
    assert format_metric("balanced/AP", 0.6367) in text
    assert [name in note for name in ("a_b", "distance", "balanced")] == [width <= 80, width <= 60, False]


COMPARED = [
    {
        **{"setting": setting, "measure": measure, "a": 0.5123, "b": 0.6234, "difference": 0.1111},
        **{"low": 0.0789, "high": 0.1456, "p": 0.0012, "p_holm": 0.0034, "verdict": "cannot tell them apart"},
        **{"units": 48, "rankings": 12_345},
    }
    for setting, measure in (("mono", "AP"), ("multi", "rank_distance"))
]


@pytest.mark.parametrize("width", WIDTHS)
def test_the_table_of_a_comparison_keeps_its_difference_and_its_verdict(width):
    table = plain_table([_cells(row) for row in COMPARED], "", _BEFORE_VERDICT)
    text = printed(table, width)
    check(text, printed(table, 500), width)
    assert "multi/rank_distance" in text
    assert "+0.1111" in text
    if width > 40:
        assert all(word in text for word in ("verdict", "cannot", "apart"))


def scored():
    languages = ["de", "en", "fr", "ha", "ig", "rw", "sw", "yo", "zh-Hans"]
    pairs = [f"{x}-{y}" for x in languages for y in languages]
    means = {"AP": 0.5012, "RR": 0.6023, "nDCG@10": 0.7034, "R@1": 0.8045, "R@10": 0.9056, "R@100": 0.9967}
    counts = {"queries": dict.fromkeys(("mono", "cross", "multi"), 12345), "passages": 67_890}
    counts |= {"queries_without_relevant": dict.fromkeys(counts["queries"], 0), "queries_with": {}, "relevant_pairs": 9}
    counts["passages_per_language"] = dict.fromkeys(languages, 99)
    return {
        "metrics": {f"{setting}/{name}": value for setting in counts["queries"] for name, value in means.items()},
        "counts": counts,
        "per_language": {"multi": {name: {"AP": 0.1237} for name in languages}},
        "per_pair": {pair: {"AP": 0.2348} for pair in pairs},
        "over_represented": dict.fromkeys(pairs, 0.5),
        **{"training_pairs": dict.fromkeys(pairs, 1_234_567), "groups": {}, "agnosticism": {}, "trec_eval": {}},
        "notes": [],
    }


def shown(show, width):
    """What a command prints at some width."""
    screen = Screen()
    screen.console = Console(width=width, highlight=False)
    with screen.console.capture() as capture:
        show(screen)
    return capture.get()


@pytest.mark.parametrize("width", WIDTHS)
def test_the_tables_of_an_evaluation(width):
    text = shown(lambda screen: evaluation_summary(scored(), screen), width)
    whole = shown(lambda screen: evaluation_summary(scored(), screen), 500)
    assert numbers(text) - {str(width)} <= numbers(whole)
    assert all(cell_len(line.rstrip()) <= width for line in text.splitlines())
    assert "0.5012" in text
    assert (f"at {width} columns without: " in text) == (width < 200)
    if width == 40:
        assert "without: R@1, R@10, R@100, queries, without answer" in " ".join(text.split())


@pytest.mark.parametrize("width", WIDTHS)
def test_the_table_of_the_cache_has_its_sizes(width):
    entries = [
        {"kind": "token store", "bytes": 1_500_000, "unused_seconds": 86_400.0 * 12, "state": "in use"},
        {"kind": "Ray session", "bytes": 20_000_000_000, "unused_seconds": 5.0, "state": "its run has ended: removed"},
    ]
    entries = [{**entry, "path": f"/cache/{'deep/' * 9}{n}"} for n, entry in enumerate(entries)]
    text = shown(lambda screen: cache_table("/cache", entries, screen), width)
    assert all(cell_len(line.rstrip()) <= width for line in text.splitlines())
    assert all(figure in text for figure in ("1.5 MB", "20.0 GB", "12 d"))


def test_words_wrap_and_a_long_one_goes_on_below_before_a_column_goes():
    rows = [{"what": "in use", "size": 12_345, "where": "/a" * 30, "why": "two words or more of them, all whole"}]
    text = printed(plain_table(rows, ""), 72)
    assert "without" not in text
    assert "12,345" in text
    assert "".join(re.findall(r"(?:/a)+/?|(?<=\s)a/[/a]*", text)).count("a") == 30
    assert all(word in text for word in rows[0]["why"].split())


def test_wide_letters_take_two_columns():
    rows = [{"language": "中文" * 8, "pairs": 1_234_567} for _ in range(2)]
    for width in (50, 43, 30):
        assert "1,234,567" in printed(plain_table(rows, ""), width)


def test_one_column_beside_the_first_stays_at_any_width():
    rows = [{"trial": "one", "a": "0.1234", "b": "0.5678"}]
    assert printed(plain_table(rows, ""), 15).split()[:4] == ["trial", "a", "one", "0.1234"]
    assert "0.1234" in printed(plain_table(rows, ""), 12)  # the name wraps, the figure does not


def test_a_table_without_rows_is_its_title():
    assert printed(plain_table([], "0 entries"), 40).strip() in ("", "0 entries")
