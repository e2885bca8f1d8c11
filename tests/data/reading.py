"""Benchmarks as the tests of their formats read them."""

import pickle

import pytest

from hybridtune.config.fields import BenchmarkSource
from hybridtune.data.readers.benchmarks import read_benchmark
from hybridtune.errors import InputError


def read(path, **wanted):
    return read_benchmark(BenchmarkSource(path=str(path), **wanted))


def passages(rows):
    """The texts of all parts, each of which travels to another process first."""
    return [text for part in rows.corpus for text in pickle.loads(pickle.dumps(part)).read()]


def error(path, **wanted):
    """The one line of a benchmark that cannot be read, its corpus included."""
    with pytest.raises(InputError) as caught:
        passages(read(path, **wanted))
    assert "\n" not in str(caught.value)
    return str(caught.value)
