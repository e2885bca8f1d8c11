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


def answers(rows):
    """(query id, text of a judged passage, grade) of every judgement; sorted ones, each pair once."""
    assert rows.judged == sorted(rows.judged, key=lambda j: j[:2])
    assert len({j[:2] for j in rows.judged}) == len(rows.judged)
    text = {passage.text_id: passage.text for passage in passages(rows)}
    return {(rows.queries[j.query].text_id, text[j.passage_id], j.grade) for j in rows.judged}


def error(path, **wanted):
    """The one line of a benchmark that cannot be read, its corpus included."""
    with pytest.raises(InputError) as caught:
        passages(read(path, **wanted))
    assert "\n" not in str(caught.value)
    return str(caught.value)
