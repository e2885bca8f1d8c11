"""`hybridtune data check`: whether texts of benchmarks stand in training data."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from hybridtune.callbacks import StudyCallback, phase
from hybridtune.config.fields import BenchmarkSource, DataSet
from hybridtune.data.leaks import LeakReport, LeakSearch, ScoredTexts
from hybridtune.data.readers.notes import Notes
from hybridtune.data.readers.sources import find_sources, read_groups
from hybridtune.errors import InputError
from hybridtune.evaluate.benchmark import load_benchmark

_AT_ONCE = 1 << 12  # groups between two reports of progress


def check(data_sets: Sequence[DataSet], benchmarks: Sequence[str], callback: StudyCallback) -> dict[str, Any]:
    """Return the texts of benchmarks that stand in training data, whole or nearly; nothing is written.

    Raises:
        InputError: a benchmark or the data cannot be read.
    """
    sources = find_sources(data_sets)
    scored = [_texts_of(path) for path in dict.fromkeys(benchmarks)]
    search, notes = LeakSearch(scored), Notes()
    with phase(callback, "looking for texts of benchmarks", "groups") as progress:
        progress(0, 1)
        groups = ((source.name, group) for source in sources for group in read_groups(source, notes))
        for number, (file, group) in enumerate(groups, 1):
            search.add(group, file)
            if number % _AT_ONCE == 0:
                progress(number, number)
        report = search.finish()
        progress(report.searched, report.searched)
    for line in notes.lines():
        callback.on_message(line)
    if not report.searched:
        raise InputError("there is no pair in the data")
    return _result(report)


def _texts_of(path: str) -> ScoredTexts:
    benchmark = load_benchmark(BenchmarkSource(path=path))
    return ScoredTexts(path, benchmark.queries, benchmark.passages)


def _result(report: LeakReport) -> dict[str, Any]:
    found = report.counted()
    return {
        "searched": report.searched,
        "found": len(found),
        "groups": list(report.groups),
        "line": report.describe() if found else "",
        "benchmarks": {
            name: {
                "texts": dict(sizes),
                "found": dict(Counter(leak.side for leak in report.counted(name))),
                "short": sum(leak.benchmark == name and leak.kind == "short" for leak in report.leaks),
            }
            for name, sizes in report.sizes.items()
        },
        "leaks": [leak._asdict() for leak in found],
    }
