"""Direct measures of an encoded benchmark: its blocks on disk give what its vectors in memory give."""

import numpy as np
import pytest

from hybridtune.config.fields import BenchmarkSource
from hybridtune.data.readers.benchmarks import read_benchmark
from hybridtune.data.readers.records import BenchmarkRows, Judgement, Text, TextList, in_parts
from hybridtune.evaluate import agnostic
from hybridtune.evaluate.agnostic import measure_encoded, parallel_groups
from hybridtune.evaluate.benchmark import benchmark_of_rows
from hybridtune.evaluate.blocks import blocks_of, write_block
from hybridtune.evaluate.corpus_scan import scan_corpus
from hybridtune.evaluate.encode import tie_order_among
from hybridtune.metrics.agnostic import measure_agnosticism


def encoded(folder, rows, vector_of):
    """Write the blocks of queries and passages, as `encode_sides` does."""
    scan = scan_corpus(rows, folder / "scan")
    order = tie_order_among(scan.relevant)
    asked = [Text(str(n), query.language, query.text) for n, query in enumerate(rows.queries)]
    for side, parts in (("queries", [TextList("queries", asked)]), ("passages", rows.corpus)):
        for number, part in enumerate(parts):
            for name, texts in blocks_of(part, number):
                vectors = np.array([vector_of(text) for text in texts], np.float32)
                ids = [text.text_id for text in texts]
                write_block(folder / side, name, texts[0].language, ids, vectors, np.array([order(x) for x in ids]))
    return scan


def vector_of(text):
    random = np.random.default_rng(sum(text.text.encode()))
    vector = random.normal(size=8) + 3 * np.eye(8)[["de", "en", "fr"].index(text.language)]
    return vector / np.linalg.norm(vector)


@pytest.fixture
def rows():
    return read_benchmark(BenchmarkSource(path="newsroom:dev", languages=["de", "en", "fr"], documents=(0, 6)))


def test_blocks_give_what_vectors_in_memory_give(tmp_path, rows):
    scan = encoded(tmp_path, rows, vector_of)
    seen = []
    found = measure_encoded(tmp_path, rows, scan, lambda done, total: seen.append((done, total)))
    benchmark = benchmark_of_rows(rows)
    groups = parallel_groups(benchmark.relevance)
    for side, texts, group in zip(
        ("queries", "passages"), (benchmark.queries, benchmark.passages), groups, strict=True
    ):
        vectors = np.array([vector_of(text) for text in texts], np.float32)
        documents = np.unique(rows.documents, return_inverse=True)[1] if side == "queries" else None
        expected = measure_agnosticism(vectors, texts.languages, group, documents)
        # The numbers of passages differ, and with them the order of their groups, by which the probe takes halves.
        assert found[side]["distances"] == pytest.approx(expected.distances, abs=1e-5)
        assert found[side]["translations"] == pytest.approx(expected.translations)
        assert found[side]["texts"] == len(texts)
    assert found["queries"]["probe_accuracy"] == pytest.approx(
        measure_agnosticism(
            np.array([vector_of(text) for text in benchmark.queries], np.float32),
            benchmark.queries.languages,
            groups[0],
            np.unique(rows.documents, return_inverse=True)[1],
        ).probe_accuracy
    )
    assert seen == [(0, 2), (1, 2), (2, 2)]


def test_a_corpus_that_is_too_large_is_left_out(tmp_path, rows, monkeypatch):
    scan = encoded(tmp_path, rows, vector_of)
    monkeypatch.setattr(agnostic, "MOST_PASSAGES", 3)
    assert measure_encoded(tmp_path, rows, scan).keys() == {"queries"}


def test_a_side_in_one_language_is_left_out(tmp_path):
    rows = read_benchmark(BenchmarkSource(path="newsroom:dev", languages=["en"], documents=(0, 3)))
    assert measure_encoded(tmp_path, rows, encoded(tmp_path, rows, vector_of)) == {}


def test_several_answers_in_a_language_translate_nothing():
    queries = [Text("q:en", "en", "Who?"), Text("q:de", "de", "Wer?"), Text("r:en", "en", "When?")]
    names = [("a", "en"), ("b", "en"), ("c", "de"), ("d", "en"), ("e", "de"), ("f", "de")]
    passages = [Text(name, language, f"{name}.") for name, language in names]
    # q has two English answers; r one in each language; f answers nothing.
    judged = [Judgement(n, name, 1) for n in (0, 1) for name in "abc"] + [Judgement(2, name, 1) for name in "de"]
    relevance = benchmark_of_rows(BenchmarkRows("made", queries, in_parts(passages), judged, [])).relevance
    of_queries, of_passages = parallel_groups(relevance)
    assert of_queries[0] == of_queries[1] != of_queries[2]
    by_name = dict(zip(["a", "b", "d", "c", "e", "f"], of_passages.tolist(), strict=True))  # a part a language
    assert by_name["d"] == by_name["e"] >= 0
    assert {by_name[name] for name in "abcf"} == {-1}
