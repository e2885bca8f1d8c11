"""PEER and rank correlation where a language has several relevant passages: in the scores and in the report."""

import dataclasses
import json

import numpy as np
import pytest
from made_study import made_study

from hybridtune.evaluate.benchmark import load_benchmark, score_vectors
from hybridtune.metrics.measures import BIAS
from hybridtune.report.record import read_record
from hybridtune.report.tables import test_scores as table_of

NEWS = {"rus": "новости", "zho": "新闻"}
TOPICS, DOCUMENTS = 12, 3  # of a topic, in each language


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    """A folder as NeuCLIRBench has it: a topic in English and Russian, three relevant documents in each language."""
    folder = tmp_path_factory.mktemp("neuclir")
    for language, word in {"eng": "topic", "rus": "тема"}.items():
        rows = [f"{n}\t{word} {n}\n" for n in range(TOPICS)]
        (folder / f"news.{language}.tsv").write_text("".join(rows), encoding="utf-8")
    names = [(n, language, place) for n in range(TOPICS) for language in NEWS for place in range(DOCUMENTS)]
    judged = [f"{n} 0 {language}-{n}-{place} 1\n" for n, language, place in names]
    (folder / "qrels.mlir.gains.txt").write_text("".join(judged), encoding="utf-8")
    for language, word in NEWS.items():
        documents = [
            {"id": f"{language}-{n}-{place}", "title": "", "text": f"{word} {n} {place}"}
            for n, spoken, place in names
            if spoken == language
        ]
        lines = [json.dumps(document) + "\n" for document in documents]
        (folder / f"{language}-00000.jsonl").write_text("".join(lines), encoding="utf-8")
    return load_benchmark(folder)


def scores_of(benchmark, lean):
    """Scores of vectors of the topic and noise, where Russian queries and documents lean to a common direction."""
    random = np.random.default_rng(1)
    topics = random.normal(size=(TOPICS, 10))

    def vectors(texts):
        topic = [int(text.text_id.replace(":", "-").split("-")[text.text_id[0].isalpha()]) for text in texts]
        pull = [lean * (text.language == "ru") for text in texts]
        rows = topics[topic] + 0.8 * random.normal(size=(len(texts), 10))
        rows[:, 0] += pull
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    return score_vectors(benchmark, vectors(benchmark.queries), vectors(benchmark.passages), ["AP", "nDCG@20"])


def test_peer_falls_where_one_language_ranks_first(benchmark):
    fair, unfair = scores_of(benchmark, 0.0), scores_of(benchmark, 6.0)
    assert 0 < unfair.metrics["multi/PEER"] < fair.metrics["multi/PEER"] < 1
    assert fair.counts["queries_with"]["PEER"] == 2 * TOPICS
    assert not any("PEER" in note for note in fair.notes)
    assert {f"multi/{name}" for name in BIAS} <= fair.metrics.keys()
    assert {"mono/nDCG@20", "cross/nDCG@20", "multi/nDCG@20"} <= fair.metrics.keys()


def test_the_report_shows_them(benchmark, tmp_path):
    made_study(folder := tmp_path / "study")
    scores = scores_of(benchmark, 1.0)
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    result["test"] |= dataclasses.asdict(scores)
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
    table = table_of(read_record(folder))
    column = list(table.columns).index("multi")
    shown = {row[0]: row[column] for row in table.rows}
    for name in ("PEER", "rank_correlation", "nDCG@20"):
        assert shown[name].value == pytest.approx(scores.metrics[f"multi/{name}"])
        assert f"{scores.metrics[f'multi/{name}']:.4f}" in str(shown[name].text)
