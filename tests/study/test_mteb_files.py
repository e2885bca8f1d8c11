"""Scores in mteb's form, against trec_eval's measures taken the way mteb takes them, a subset at a time."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytrec_eval

from hybridtune.config.fields import BenchmarkSource
from hybridtune.data.readers.benchmarks import read_benchmark
from hybridtune.errors import InputError
from hybridtune.evaluate.benchmark import benchmark_of_rows, rank_vectors
from hybridtune.metrics.mteb_scores import CUTS, mteb_scores
from hybridtune.model.folder import with_folder_settings
from hybridtune.study.mteb_files import MtebFiles, check_mteb, write_mteb

WORDS = {"deu": "Satz", "eng": "sentence"}


def subset(passages, queries, qrels, size=30, asked=8):
    """The three configurations of a pair; qrels are (query, passage, grade) by number."""
    name = f"{passages}-{queries}"
    return {
        f"{name}-corpus": [{"_id": f"d{n}", "title": "", "text": f"{WORDS[passages]} {n}"} for n in range(size)],
        f"{name}-queries": [{"_id": f"q{n}", "text": f"{WORDS[queries]}? {n}"} for n in range(asked)],
        f"{name}-qrels": [{"query-id": f"q{q}", "corpus-id": f"d{d}", "score": grade} for q, d, grade in qrels],
    }


def write(folder, configurations):
    for name, rows in configurations.items():
        (folder / name).mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows), folder / name / "test-00000-of-00001.parquet")
    return folder


QRELS = [(q, (7 * q + k) % 30, grade) for q in range(8) for k, grade in enumerate((1, 0, 2)[: 1 + q % 3])]
PAIRS = {
    **subset("deu", "deu", QRELS),
    **subset("deu", "eng", QRELS[::-1]),
    **subset("eng", "deu", [(q, (3 * q) % 30, 1) for q in range(8)]),
}


def ranked_of(folder, **wanted):
    """A benchmark ranked by random vectors: (rows, rankings, score of each query and passage by id)."""
    rows = read_benchmark(BenchmarkSource(path=str(folder), **wanted))
    benchmark = benchmark_of_rows(rows)
    random = np.random.default_rng(5)
    queries, passages = (
        random.normal(size=(len(side), 6)).astype(np.float32) for side in (benchmark.queries, benchmark.passages)
    )
    scores = queries @ passages.T
    return rows, benchmark, rank_vectors(benchmark, queries, passages), scores


def by_mteb(qrels, run):
    """The means of mteb's ``calculate_retrieval_scores`` under the names of its ``make_score_dict``."""
    cuts = ",".join(map(str, CUTS))
    names = {"ndcg_cut": "ndcg", "map_cut": "map", "recall": "recall", "success": "hit_rate"}
    found = pytrec_eval.RelevanceEvaluator(qrels, {f"{name}.{cuts}" for name in names}).evaluate(run)
    means = {
        f"{theirs}_at_{k}": np.mean([values[f"{name}_{k}"] for values in found.values()])
        for name, theirs in names.items()
        for k in CUTS
    }
    for k in CUTS:
        reciprocal = []
        for query, scores in run.items():
            best = sorted(scores.items(), key=lambda item: item[1], reverse=True)[:k]
            hits = [rank for rank, (passage, _) in enumerate(best, 1) if qrels[query].get(passage, 0) > 0]
            reciprocal.append(1 / hits[0] if hits else 0.0)
        means[f"mrr_at_{k}"] = np.mean(reciprocal)
    return {**means, "accuracy": means["recall_at_1"], "main_score": means["ndcg_at_10"]}


def of_subset(configurations, name, benchmark, scores):
    """The judgements and the run of a subset as mteb would have them, by the texts of its files."""
    query = {text: n for n, text in enumerate(benchmark.queries.texts)}
    passage = {text: n for n, text in enumerate(benchmark.passages.texts)}
    qrels = {}
    for row in configurations[f"{name}-qrels"]:
        qrels.setdefault(row["query-id"], {})[row["corpus-id"]] = row["score"]
    run = {
        asked["_id"]: {
            one["_id"]: float(scores[query[asked["text"]], passage[one["text"]]])
            for one in configurations[f"{name}-corpus"]
        }
        for asked in configurations[f"{name}-queries"]
    }
    return qrels, run


def test_each_subset_has_the_figures_that_mteb_takes(tmp_path):
    rows, benchmark, ranked, scores = ranked_of(write(tmp_path, PAIRS))
    assert rows.subsets == {"deu-deu": ("de", "de"), "deu-eng": ("de", "en"), "eng-deu": ("en", "de")}
    found = mteb_scores(ranked, rows.subsets)
    for name in rows.subsets:
        assert found[name] == pytest.approx(by_mteb(*of_subset(PAIRS, name, benchmark, scores)), abs=1e-6)
    assert len({found[name]["ndcg_at_10"] for name in found}) == 3


def test_one_language_counts_a_query_without_an_answer_as_zero(tmp_path):
    flat = {name.removeprefix("deu-deu-"): rows for name, rows in PAIRS.items() if name.startswith("deu-deu")}
    flat["qrels"] = [{**row, "score": 0 if row["query-id"] == "q4" else row["score"]} for row in flat["qrels"]]
    rows, benchmark, ranked, scores = ranked_of(write(tmp_path, flat), language="de")
    assert rows.subsets == {"default": (None, None)}
    named = {f"x-{name}": value for name, value in flat.items()}
    wanted = by_mteb(*of_subset(named, "x", benchmark, scores))
    assert mteb_scores(ranked, rows.subsets)["default"] == pytest.approx(wanted, abs=1e-6)


def test_queries_of_a_language_are_a_subset_of_one_corpus(tmp_path):
    corpus = [{**row, "language": "de"} for row in PAIRS["deu-deu-corpus"]]
    corpus += [{"_id": f"e{n}", "text": f"sentence {n}", "language": "en"} for n in range(9)]
    configurations = {"corpus": corpus, "qrels": PAIRS["deu-deu-qrels"]}
    configurations |= {f"{code}-queries": PAIRS[f"deu-{code}-queries"] for code in WORDS}
    rows, benchmark, ranked, scores = ranked_of(write(tmp_path, configurations))
    found = mteb_scores(ranked, rows.subsets)
    for code in WORDS:
        alone = {"x-corpus": corpus, "x-qrels": configurations["qrels"], "x-queries": configurations[f"{code}-queries"]}
        assert found[code] == pytest.approx(by_mteb(*of_subset(alone, "x", benchmark, scores)), abs=1e-6)


@pytest.mark.parametrize(
    ("change", "left"),
    [
        ({"deu-eng-corpus": [*PAIRS["deu-eng-corpus"][:-1], {"_id": "d29", "text": "mehr"}]}, ["eng-deu"]),
        ({"eng-deu-corpus": [*PAIRS["eng-deu-corpus"], {"_id": "x", "text": "sentence 3"}]}, ["deu-deu", "deu-eng"]),
        ({"deu-eng-queries": [{"_id": f"q{n}", "text": "same"} for n in range(8)]}, ["deu-deu", "eng-deu"]),
        ({"eng-deu-qrels": [{"query-id": "q0", "corpus-id": "d0", "score": 0}]}, ["deu-deu", "deu-eng"]),
    ],
)
def test_a_subset_whose_pool_or_queries_differ_has_no_figure_under_mtebs_names(tmp_path, change, left):
    rows = read_benchmark(BenchmarkSource(path=str(write(tmp_path, {**PAIRS, **change}))))
    assert sorted(rows.subsets) == left
    assert "are scored otherwise than by mteb" in rows.notices[-1]


def test_a_part_of_a_data_set_is_refused(tmp_path):
    flat = {name.removeprefix("deu-deu-"): rows for name, rows in PAIRS.items() if name.startswith("deu-deu")}
    rows = read_benchmark(BenchmarkSource(path=str(write(tmp_path, flat)), language="de", languages=["de"]))
    with pytest.raises(InputError, match=r"--mteb: no pool of .* is one that mteb ranks"):
        check_mteb(MtebFiles(tmp_path), rows)
    with pytest.raises(InputError, match="--mteb-task 'a/b': is the name of a file"):
        check_mteb(MtebFiles(tmp_path, "a/b"), read_benchmark(BenchmarkSource(path="newsroom:dev")))


TASK = {"dataset_revision", "task_name", "mteb_version", "scores", "evaluation_time", "kg_co2_emissions"}
META = {  # of mteb's ModelMeta, the fields without a default
    *("loader", "name", "revision", "release_date", "languages", "n_parameters", "memory_usage_mb", "max_tokens"),
    *("embed_dim", "license", "open_weights", "public_training_code", "public_training_data", "framework"),
    *("similarity_fn_name", "use_instructions", "training_datasets"),
}


def test_the_files_have_the_form_and_the_place_that_mteb_reads(tmp_path, tiny):
    model = shutil.copytree(tiny[0], tmp_path / "my model")
    folder = write(tmp_path / "NewsRetrieval", PAIRS)
    rows, _, ranked, _ = ranked_of(folder)
    encoder = with_folder_settings(tiny[1].model_copy(update={"name": str(model)}))
    out = tmp_path / "out"
    file = write_mteb(MtebFiles(out), encoder, str(model), str(folder), rows, ranked, "digest", 1.234)
    place, revision = file.parent.parent, file.parent.name
    assert (file.name, place) == ("NewsRetrieval.json", out / "results" / "local__my-model")
    result = json.loads(file.read_text())
    assert result.keys() == TASK
    assert (result["task_name"], result["dataset_revision"]) == ("NewsRetrieval", "digest")
    assert (result["mteb_version"], result["evaluation_time"]) == (None, 1.23)
    (entries,) = result["scores"].values()
    assert result["scores"].keys() == {"test"}
    assert {one["hf_subset"]: one["languages"] for one in entries} == {
        "deu-deu": ["deu-Latn"],
        "deu-eng": ["deu-Latn", "eng-Latn"],
        "eng-deu": ["eng-Latn", "deu-Latn"],
    }
    assert all(one["main_score"] == one["ndcg_at_10"] for one in entries)
    meta = json.loads((file.parent / "model_meta.json").read_text())
    assert meta.keys() >= META
    assert (meta["name"], meta["revision"]) == ("local/my-model", revision)
    assert meta["n_parameters"] > 1000
    snapshot = tmp_path / "snapshots" / ("a" * 40)
    shutil.copytree(folder, snapshot)
    again = write_mteb(MtebFiles(out, "Other"), encoder, str(model), str(snapshot), rows, ranked, "digest", 1.0)
    assert again == file.with_name("Other.json")
    assert json.loads(again.read_text())["dataset_revision"] == "a" * 40
