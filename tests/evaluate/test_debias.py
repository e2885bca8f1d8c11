"""Folds that keep together what belongs together, and vectors moved by what the other fold says."""

import numpy as np
import pytest

from hybridtune.data.newsroom import generate
from hybridtune.evaluate.benchmark import load_benchmark, score_vectors
from hybridtune.evaluate.debias import CANDIDATES, FOLDS, START, EncodedTexts, deal_folds
from hybridtune.model.language_vectors import fit_language_vectors

WIDTH = 12


@pytest.fixture(scope="module")
def benchmark():
    return load_benchmark("newsroom:dev", languages=["en", "de", "sw"])


def made(benchmark, lean=1.0):
    """Vectors of a meaning, by what answers what, and a part of each language's own."""
    random = np.random.default_rng(0)
    known = benchmark.relevance
    topic = np.arange(len(benchmark.passages))
    for query in range(len(known.query_ids)):  # the passages that answer one query mean the same
        own = known.passage_index[known.query_index == query]
        topic[own] = topic[own].min()
    meaning = random.normal(size=(len(topic), WIDTH))
    of_query = np.array([topic[known.passage_index[known.query_index == q][0]] for q in range(len(known.query_ids))])
    parts = {code: lean * random.normal(size=WIDTH) * 2 for code in known.languages}
    vectors = {}
    for side, means, texts in (("queries", of_query, benchmark.queries), ("passages", topic, benchmark.passages)):
        noisy = meaning[means] + 0.5 * random.normal(size=(len(texts), WIDTH))
        found = noisy + np.array([parts[code] for code in texts.languages])
        vectors[side] = (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)
    languages = {"queries": benchmark.queries.languages, "passages": benchmark.passages.languages}
    return EncodedTexts(vectors, languages, deal_folds(benchmark, {}))


def multi(benchmark, moved, standardised=False):
    vectors = moved["queries"], moved["passages"]
    return score_vectors(benchmark, *vectors, ["AP"], standardised=standardised).metrics["multi/AP"]


def test_a_query_its_answers_and_its_document_are_in_one_fold(benchmark):
    folds, known = deal_folds(benchmark, {}), benchmark.relevance
    np.testing.assert_array_equal(folds["queries"][known.query_index], folds["passages"][known.passage_index])
    if known.documents is not None:
        for name in set(known.documents):
            assert len({folds["queries"][row] for row, own in enumerate(known.documents) if own == name}) == 1
    assert set(folds["queries"]) == set(range(FOLDS))


def test_a_passage_that_answers_nothing_is_in_the_fold_of_its_document(benchmark):
    known = benchmark.relevance
    silent = [row for row in range(len(benchmark.passages)) if row not in set(known.passage_index.tolist())]
    answering = int(known.passage_index[0])
    names = {benchmark.passages.ids[row]: "d" for row in [*silent[:3], answering]}
    folds = deal_folds(benchmark, names if known.documents is not None else {})
    if known.documents is not None:
        assert {int(folds["passages"][row]) for row in silent[:3]} <= {int(folds["passages"][answering])}


def test_no_text_is_moved_by_a_fit_that_has_seen_it(benchmark):
    texts = made(benchmark)
    moved = texts.held_out("apart")
    for fold in range(FOLDS):
        fitted = fit_language_vectors("apart", texts.texts(left_out=fold))
        for side in ("queries", "passages"):
            rows = np.flatnonzero(texts.folds[side] == fold)
            own = fitted.move(side, texts.vectors[side][rows], [texts.languages[side][row] for row in rows])
            np.testing.assert_array_equal(moved[side][rows], own)
            assert sum(fitted.texts[side].values()) == int((texts.folds[side] != fold).sum())


def test_what_a_language_adds_is_found_and_taken_off(benchmark):
    texts = made(benchmark)
    plain = multi(benchmark, texts.held_out(None))
    for candidate in CANDIDATES[2:]:  # in so few dimensions scores alone cannot mend it
        gained = multi(benchmark, texts.held_out(candidate.method), candidate.standardised)
        assert gained > plain, candidate.name
    assert multi(benchmark, texts.held_out("together")) > plain + 0.05


def test_where_languages_add_nothing_little_changes(benchmark):
    texts = made(benchmark, lean=0.0)
    plain = multi(benchmark, texts.held_out(None))
    assert multi(benchmark, texts.held_out("together")) == pytest.approx(plain, abs=0.03)


def test_the_file_has_what_was_chosen(benchmark):
    texts = made(benchmark)
    for candidate in CANDIDATES:
        if candidate == START:
            continue
        fitted = texts.fit(candidate, "abc")
        assert (fitted.standardised, fitted.encoder) == (candidate.standardised, "abc")
        for side, moved in texts.in_place(candidate.method).items():
            np.testing.assert_array_equal(fitted.move(side, texts.vectors[side], texts.languages[side]), moved)


def test_the_newsroom_has_documents():
    assert any(group.get("document_id") for group in generate("dev"))
