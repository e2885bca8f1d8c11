"""What is drawn as a whole, and that questions nested in documents pretend to be more evidence than they are."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridtune.errors import InputError
from hybridtune.metrics.per_query import PerQuery
from hybridtune.metrics.significance import compare
from hybridtune.metrics.units import choose_unit, few_units, unit_numbers


def values_of(document, topic=None, ap=None):
    """One mono ranking a query, each a topic of its own unless they are given."""
    size = len(document)
    english, ids = np.full(size, "en"), np.array([f"q{n}" for n in range(size)])
    topic = np.arange(size) if topic is None else np.array(topic)
    ap = np.zeros(size) if ap is None else ap
    return PerQuery(np.full(size, "mono"), ids, topic, english, english, {"AP": ap}, document=np.array(document))


def nested(documents, each):
    return np.repeat([f"d{n}" for n in range(documents)], each)


def older(values):
    return dataclasses.replace(values, document=None)


@pytest.mark.parametrize(("documents", "unit"), [(19, "topic"), (20, "document")])
def test_twenty_documents_are_the_unit_and_fewer_are_not(documents, unit):
    values = values_of(nested(documents, 3))
    chosen, note = choose_unit([values, values])
    assert chosen == unit
    assert note == (
        "by topic: the benchmark has 19 documents, fewer than 20; questions of one document share their candidates, "
        "so intervals run narrow and p small"
        if unit == "topic"
        else ""
    )
    assert choose_unit([values], "document") == ("document", "")
    assert choose_unit([values], "topic") == ("topic", "")


def test_values_that_name_no_documents_are_by_topic():
    values, nameless = values_of(nested(30, 2)), values_of([""] * 60)
    assert choose_unit([nameless]) == ("topic", "")  # as of BEIR: there is nothing that could be said or done
    chosen, note = choose_unit([values, older(values)])
    assert chosen == "topic"
    assert note.startswith("by topic: values written by an earlier version name no documents; write it anew with: hybr")
    assert choose_unit([]) == ("topic", "")
    with pytest.raises(InputError, match="cannot be the document: the benchmark names no documents; take topics"):
        choose_unit([nameless], "document")
    with pytest.raises(InputError, match="cannot be the document: values written by an earlier version"):
        choose_unit([older(values)], "document")


def test_few_units_are_said():
    assert few_units("document", 39) == "39 documents are fewer than 40: intervals run narrow"
    assert few_units("topic", 40) == ""


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["", "x", "y", "z"])), min_size=1, max_size=12))
def test_units_are_the_documents_that_chains_of_topics_join(rows):
    topic, document = [one for one, _ in rows], [name for _, name in rows]
    values = values_of(document, topic)
    joined = list(range(len(rows)))  # the naive twin: repeat until nothing changes
    for _ in rows:
        for i, (t, d) in enumerate(rows):
            for j, (other_t, other_d) in enumerate(rows):
                if t == other_t or (d and d == other_d):
                    joined[i] = joined[j] = min(joined[i], joined[j])
    numbers = unit_numbers(values, "document")
    for i in range(len(rows)):
        for j in range(len(rows)):
            assert (numbers[i] == numbers[j]) == (joined[i] == joined[j])
    assert unit_numbers(values, "topic").tolist() == topic


def test_a_document_moves_as_a_whole():
    a = values_of(nested(3, 2))
    b = values_of(nested(3, 2), ap=np.array([0.4, 0.4, 0.1, 0.1, -0.1, -0.1]))
    (by_document,) = compare(a, b, ["AP"], unit="document").differences
    assert (by_document.units, by_document.p) == (3, 6 / 8)  # .8, of 1.2 .8 .8 .4
    found = compare(a, b, ["AP"])
    assert (found.unit, found.differences[0].units) == ("topic", 6)
    assert [note.split(":")[0] for note in found.notes] == ["by topic", "6 topics are fewer than 40"]
    alone = values_of(nested(1, 4))
    (row,) = compare(alone, alone, ["AP"], unit="document").differences
    assert (row.verdict, row.p) == ("only one document", None)


def test_questions_of_one_document_are_no_evidence_of_their_own():
    """Without a difference, 48 documents of 25 questions: by topic it is called one too often, by document not.

    A twentieth of the variance of a difference is the document's, which makes the intervals by topic 1.5 times too
    narrow, as on XQuAD-R.
    """
    random, documents, made = np.random.default_rng(3), nested(48, 25), 200
    false, missed, width = {}, {}, {}
    for number in range(made):
        shared = np.repeat(random.normal(0, 0.23, 48), 25)
        a, b = values_of(documents), values_of(documents, ap=shared + random.normal(0, 1, 48 * 25))
        for unit in ("topic", "document"):
            (row,) = compare(a, b, ["AP"], unit=unit, seed=number, draws=300).differences
            false.setdefault(unit, []).append(row.p < 0.05)
            missed.setdefault(unit, []).append(not row.low <= 0 <= row.high)
            width.setdefault(unit, []).append(row.high - row.low)
    error = 4 * (0.05 * 0.95 / made) ** 0.5  # four standard errors of a rate of .05
    assert np.mean(false["document"]) < 0.05 + error
    assert np.mean(missed["document"]) < 0.05 + error
    assert np.mean(false["topic"]) > 0.05 + error
    assert np.mean(missed["topic"]) > 0.05 + error
    assert 1.3 < np.mean(width["document"]) / np.mean(width["topic"]) < 1.7
