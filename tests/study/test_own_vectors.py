"""One benchmark, two ways: vectors scored in memory, and the run that they rank, scored from its file."""

import numpy as np

from hybridtune.callbacks import StudyCallback
from hybridtune.evaluate.benchmark import load_benchmark, score_vectors
from hybridtune.evaluate.trec import write_run
from hybridtune.study.evaluate_model import evaluate_run, evaluation_options


def test_vectors_and_the_run_that_they_rank_have_the_same_figures(tmp_path):
    benchmark = load_benchmark("newsroom:dev", documents=[0, 5], languages=["en", "de"])
    random = np.random.default_rng(0)  # on a grid of 32nds: products and their sums are exact, and ties are common
    queries, passages = (
        (random.integers(-4, 5, (len(side), 8)) / 32).astype(np.float32)
        for side in (benchmark.queries, benchmark.passages)
    )
    ids, order = np.array(benchmark.passages.ids), benchmark.relevance.order
    best = [(scores, np.lexsort((order, -scores))) for scores in queries @ passages.T]
    write_run(tmp_path / "run", benchmark.queries.ids, ((ids[rows], scores[rows]) for scores, rows in best), "grid")
    options = evaluation_options(
        None, "newsroom:dev", fields={"benchmark__documents": [0, 5], "benchmark__languages": ["en", "de"]}
    )
    result = evaluate_run(options, tmp_path / "run", tmp_path / "out", StudyCallback())
    scores = score_vectors(benchmark, queries, passages)
    assert result["metrics"] == scores.metrics
    assert result["per_pair"] == scores.per_pair
    assert result["over_represented"] == scores.over_represented
    assert result["digest"] == benchmark.relevance.digest
