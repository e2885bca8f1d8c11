"""Direct measures of vectors in an evaluation: in its result, in scores.json, on the screen; no text is encoded."""

import contextlib
import io
import json

import numpy as np
import pytest
from rich.console import Console

from hybridtune.callbacks import Callbacks
from hybridtune.data.readers.records import Text, TextList
from hybridtune.evaluate.benchmark import benchmark_of_rows
from hybridtune.evaluate.blocks import blocks_of, write_block
from hybridtune.evaluate.corpus_scan import scan_corpus
from hybridtune.evaluate.encode import tie_order_among
from hybridtune.metrics.ranks import outranking
from hybridtune.study import evaluate_model
from hybridtune.study.encoded import Encoded
from hybridtune.study.evaluate_model import evaluate, evaluation_options
from hybridtune.terminal.scores import evaluation_summary
from hybridtune.terminal.screen import Screen


def vector_of(text):
    random = np.random.default_rng(sum(text.text.encode()))
    vector = random.normal(size=8) + np.eye(8)[["de", "en"].index(text.language)]
    return (vector / np.linalg.norm(vector)).astype(np.float32)


@pytest.fixture
def found(tmp_path, monkeypatch):
    """An evaluation whose vectors are made, not encoded; nothing of it needs Ray."""

    @contextlib.contextmanager
    def encoded(rows, encoder, resources, out, callback, check):
        scan = scan_corpus(rows, tmp_path / "scan")
        order = tie_order_among(scan.relevant)
        asked = [Text(str(n), query.language, query.text) for n, query in enumerate(rows.queries)]
        for side, parts in (("queries", [TextList("queries", asked)]), ("passages", rows.corpus)):
            for number, part in enumerate(parts):
                for name, texts in blocks_of(part, number):
                    ids = [text.text_id for text in texts]
                    vectors = np.array([vector_of(text) for text in texts])
                    orders = np.array([order(name) for name in ids])
                    write_block(tmp_path / "vectors" / side, name, texts[0].language, ids, vectors, orders)
        yield Encoded(rows, scan, tmp_path / "vectors", None)

    def rank_pool(folder, rows, scan, actors, progress, moved_by):
        assert moved_by is None
        known = benchmark_of_rows(rows)
        queries, passages = (np.array([vector_of(text) for text in side]) for side in (known.queries, known.passages))
        judged = known.relevance
        pairs = judged.query_index, judged.passage_index
        scores, counts = outranking(queries, passages, *pairs, judged.order, judged.passage_language, 2)
        return judged.ranked(counts, scores, np.bincount(judged.passage_language))

    monkeypatch.setattr(evaluate_model, "encoded", encoded)
    monkeypatch.setattr(evaluate_model, "rank_pool", rank_pool)
    (tmp_path / "model").mkdir()
    overrides = ["benchmark.languages=[de,en]", "benchmark.documents=[0,6]", "encoder.pooling=mean"]
    options = evaluation_options(str(tmp_path / "model"), "newsroom:dev", overrides)
    return evaluate(options, tmp_path / "out", Callbacks([]))


def test_an_evaluation_measures_its_vectors(found, tmp_path):
    assert found["agnosticism"].keys() == {"queries", "passages"}
    for side in found["agnosticism"].values():
        assert side["texts"] > 0
        assert 0 < side["mean_distance"] < 3
        assert 0 <= side["probe_accuracy"] <= 1
        assert side["probe_chance"] == 0.5
        assert side["distances"].keys() == {"de-en"}
        assert side["translations"].keys() == {"de-en", "en-de"}
    assert json.loads((tmp_path / "out" / "scores.json").read_text())["agnosticism"] == found["agnosticism"]
    assert -1 <= found["metrics"]["multi/rank_correlation"] <= 1


def test_the_screen_shows_them(found):
    screen = Screen()
    screen.console = Console(file=(text := io.StringIO()), width=160)
    evaluation_summary(found, screen)
    lines = {line.split()[0]: line.split() for line in text.getvalue().splitlines() if line.strip()}
    for side, values in found["agnosticism"].items():
        names = ("mean_distance", "probe_accuracy", "probe_chance", "translation_accuracy")
        assert lines[side] == [side, str(values["texts"]), *(f"{values[name]:.4f}" for name in names)]
    assert any("multi/rank_correlation" in line for line in text.getvalue().splitlines())
