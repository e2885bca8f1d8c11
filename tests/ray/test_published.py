"""A benchmark whose queries are passages, with ids that are not there: the figures of an encoder are trec_eval's.

The queries have the ids of passages that hold their text, as in ArguAna and Quora; BEIR drops these from the rankings.
"""

import json
import shutil
from collections import defaultdict

import numpy as np
import pytest
import pytrec_eval
import torch
from embedding import embedded_sides

from hybridtune.config.fields import BenchmarkSource
from hybridtune.data.newsroom import generate
from hybridtune.evaluate.benchmark import load_benchmark
from hybridtune.evaluate.service import EvaluatorService, Placement
from hybridtune.metrics.scores import pair_scores
from hybridtune.model.encoder import load_encoder
from hybridtune.study.evaluate_model import evaluate, evaluation_options
from hybridtune.study.run_files import RunFile
from hybridtune.terminal.screen import Screen

pytestmark = [pytest.mark.ray, pytest.mark.timeout(280)]
MEASURES = {"AP": "map", "nDCG@10": "ndcg_cut_10", "RR": "recip_rank", "R@10": "recall_10"}
SIZE = 40


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The folder, and its judgements: {query: {passage: grade}}."""
    folder = tmp_path_factory.mktemp("published")
    texts = [group["passages"]["en"] for group in list(generate("dev"))[:SIZE]]
    corpus = [{"_id": f"d{n}", "title": "", "text": text} for n, text in enumerate(texts)]
    corpus += [{"_id": f"copy{n}", "title": "", "text": texts[n]} for n in range(0, SIZE, 4)]  # scores that tie
    corpus.append({"_id": "empty", "title": "", "text": ""})
    queries = [{"_id": f"d{n}", "text": text} for n, text in enumerate(texts[:30])]
    qrels = {f"d{n}": {f"d{n + 5}": 1 + n % 2, f"d{(n + 9) % SIZE}": 1, f"d{n + 1}": 0} for n in range(30)}
    qrels["d3"]["gone"], qrels["d4"]["d4"], qrels["d7"] = 2, 1, {"lost": 1}
    qrels["of no query"] = {"d0": 1}
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    lines = (f"{query}\t{name}\t{grade}\n" for query, row in qrels.items() for name, grade in row.items())
    (folder / "qrels").mkdir()
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines), encoding="utf-8")
    return folder, qrels


def means(run, qrels, own=False):
    """What BEIR's evaluator gives: trec_eval on lists without the passage of the query's own id, or with it."""
    run = {query: {name: score for name, score in row.items() if own or name != query} for query, row in run.items()}
    found = pytrec_eval.RelevanceEvaluator(qrels, set(MEASURES.values())).evaluate(run).values()
    return {f"mono/{ours}": np.mean([row[theirs] for row in found]) for ours, theirs in MEASURES.items()}


def read_trec(path, columns):
    """{query: {passage: number}} of a run (columns 0, 2, 4) or qrels (0, 2, 3)."""
    found = defaultdict(dict)
    for line in path.read_text(encoding="utf-8").splitlines():
        query, passage, number = (line.split()[column] for column in columns)
        found[query][passage] = float(number) if columns[2] == 4 else int(number)
    return dict(found)


def test_an_evaluation_has_the_figures_of_beir(shared_ray, tiny, published, tmp_path, capsys):
    folder, qrels = published
    fields = ("encoder.query_length=16", "encoder.passage_length=24", "benchmark.language=en", "resources.evaluators=1")

    def evaluated(name, depth, *more):
        asked = evaluation_options(str(tiny[0]), str(folder), [*fields, *more], list(MEASURES))
        return evaluate(asked, tmp_path / name, Screen(to_stderr=True), RunFile(tmp_path / f"{name}.trec", None, depth))

    every = evaluated("every", 100, "benchmark.ignore_identical_ids=false")
    told = capsys.readouterr().err
    shutil.copytree(tmp_path / "every" / "encoded", tmp_path / "found" / "encoded")  # the texts are the same
    found = evaluated("found", 5)
    run = read_trec(tmp_path / "every.trec", (0, 2, 4))
    assert {len(row) for row in run.values()} == {SIZE + SIZE // 4 + 1}  # the empty passage is in the pool
    assert found["metrics"] == pytest.approx(means(run, qrels), abs=1e-9)
    assert every["metrics"] == pytest.approx(means(run, qrels, own=True), abs=1e-9)
    assert abs(found["metrics"]["mono/nDCG@10"] - every["metrics"]["mono/nDCG@10"]) > 1e-3
    assert (found["counts"]["relevant_not_in_pool"], every["counts"]["relevant_not_in_pool"]) == (3, 2)
    assert "2 relevant passages are not in the corpus (first: 'gone'): they count as not found" in told
    assert "1 passages have no text (first: 'empty'); they stay in the pool, as in BEIR" in told
    assert "1 judged queries are not among the topics and are left out (first: 'of no query')" in told
    assert "30 of 30 queries have the id of a passage: it is left out" in capsys.readouterr().err
    best = {query: [name for name in row if name != query][:5] for query, row in run.items()}
    assert {query: list(row) for query, row in read_trec(tmp_path / "found.trec", (0, 2, 4)).items()} == best
    judged = read_trec(tmp_path / "found.trec.qrels", (0, 2, 3))  # what makes trec_eval give our figures
    relevant = {query: {name: grade for name, grade in row.items() if grade > 0} for query, row in qrels.items()}
    assert judged == {query: row for query, row in relevant.items() if query in run}


def test_a_study_scores_as_an_evaluation_does(ray_here, small_study, small_store, tiny_source, published):
    folder, qrels = published
    benchmark = load_benchmark(BenchmarkSource(path=str(folder), language="en"))
    assert any("it is left out of their rankings" in notice for notice in benchmark.notices)
    encoder, tokenizer = small_study.encoder, small_store.tokenizer()
    model = load_encoder(tiny_source, encoder, tokenizer.pad_id).eval()
    queries, passages = embedded_sides(model, tokenizer, encoder, benchmark)
    every = torch.arange(len(passages))
    run = {}
    for place, query in enumerate(benchmark.queries):
        scores = pair_scores(queries, passages, torch.full_like(every, place), every).tolist()
        run[query.text_id] = {text.text_id: score for text, score in zip(benchmark.passages, scores, strict=True)}
    service = EvaluatorService(benchmark, str(small_store.path), tiny_source, encoder, [Placement()])
    weights = {key: value.numpy() for key, value in model.plain_state().items()}
    metrics = service.score(weights).metrics
    expected = means(run, qrels)
    for name in ("mono/AP", "mono/nDCG@10", "mono/RR", "mono/R@10"):
        assert metrics[name] == pytest.approx(expected[name], abs=1e-6)
