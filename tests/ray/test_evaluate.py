"""`evaluate`, `compare` and `mine` as commands, on a benchmark with ties, in two languages, read from BEIR files."""

import json
import shutil
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import pytrec_eval

from hybridtune.config.fields import DataSet
from hybridtune.data.newsroom import generate
from hybridtune.data.readers.sources import find_sources, group_rows, read_groups
from hybridtune.errors import InputError
from hybridtune.evaluate.benchmark import load_benchmark, score_vectors
from hybridtune.evaluate.blocks import finished_blocks
from hybridtune.evaluate.sweep import query_vectors
from hybridtune.model.folder import build_tiny, vector_width, vectors_digest
from hybridtune.model.language_vectors import FILE, fit_language_vectors
from hybridtune.study.compare import compare_evaluations
from hybridtune.study.evaluate_model import evaluate, evaluate_run, evaluation_options
from hybridtune.study.mine import MiningOptions, mine
from hybridtune.study.run_files import RunFile
from hybridtune.terminal.scores import evaluation_summary
from hybridtune.terminal.screen import Screen

pytestmark = [pytest.mark.ray, pytest.mark.timeout(280)]
# What the tiny encoder takes, on one actor: each imports torch for seconds.
SHORT = ("encoder.query_length=16", "encoder.passage_length=24", "resources.evaluators=1")
MEASURES = {"AP": "map", "nDCG@10": "ndcg_cut_10", "RR": "recip_rank", "R@100": "recall_100"}


@pytest.fixture(scope="module")
def beir(tmp_path_factory):
    """English and Swahili news; every fourth passage stands twice, so scores tie; grades 0, 1 and 2."""
    folder = tmp_path_factory.mktemp("beir")
    groups = list(generate("dev"))[:60]
    corpus, qrels, queries = [], [], []
    for n, group in enumerate(groups):
        for language in ("en", "sw"):
            text = group["passages"][language]
            for copy in range(1 + (n % 4 == 0)):
                corpus.append({"_id": f"{n}{language}{copy}", "title": "", "text": text, "language": language})
            if n < 30:
                queries.append({"_id": f"q{n}{language}", "text": group["queries"][language], "language": language})
                qrels += [(f"q{n}{language}", f"{n}en0", 2), (f"q{n}{language}", f"{n}sw0", 1)]
                qrels.append((f"q{n}{language}", f"{n + 1}en0", 0))
    queries.append({"_id": "q_train", "text": "of another split", "language": "en"})
    for name, rows in (("corpus", corpus), ("queries", queries)):
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    (folder / "qrels").mkdir()
    table = "".join(f"{q}\t{d}\t{grade}\n" for q, d, grade in qrels)
    (folder / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{table}", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def screen():
    return Screen(to_stderr=True)


def question(model, benchmark, *overrides):
    return evaluation_options(model and str(model), str(benchmark), list(overrides), list(MEASURES))


@pytest.fixture(scope="module")
def evaluated(shared_ray, tiny, beir, screen, tmp_path_factory):
    """The tiny encoder's evaluation with the run files of all three settings: (out, result of each)."""
    out = tmp_path_factory.mktemp("out")
    model = tmp_path_factory.mktemp("model") / "tiny"
    build_tiny(tiny[2].definition, tiny[1], 0, model)
    (model / "hybridtune.json").write_text(json.dumps({"training_pairs": {"en-en": 5, "en-sw": 2}}), encoding="utf-8")
    asked = question(model, beir, *SHORT, "low_resource=[sw]")
    results = {
        setting: evaluate(asked, out, screen, RunFile(out / f"{setting}.trec", setting, 200))
        for setting in ("mono", "cross", "multi")
    }
    return out, results


def model_of(out):
    return json.loads((out / "scores.json").read_text(encoding="utf-8"))["model"].partition(",")[0]


def oracle(run_file):
    run, qrels = defaultdict(dict), defaultdict(dict)
    for line in run_file.read_text(encoding="utf-8").splitlines():
        query, _, passage, _, score, _ = line.split()
        run[query][passage] = float(score)
    for line in run_file.with_name(f"{run_file.name}.qrels").read_text(encoding="utf-8").splitlines():
        query, _, passage, grade = line.split()
        qrels[query][passage] = int(grade)
    return pytrec_eval.RelevanceEvaluator(qrels, set(MEASURES.values())).evaluate(run)


@pytest.mark.parametrize("setting", ["mono", "cross", "multi"])
def test_every_ranking_has_the_figures_of_trec_eval(evaluated, setting):
    out, _ = evaluated
    expected = oracle(out / f"{setting}.trec")
    rows = [row for row in pq.read_table(out / "per_query.parquet").to_pylist() if row["setting"] == setting]
    assert len(rows) == len(expected) == 60
    for row in rows:
        name = f"{row['query_id']}@{row['pool_language']}" if setting == "cross" else row["query_id"]
        for ours, theirs in MEASURES.items():
            assert row[ours] == pytest.approx(expected[name][theirs], abs=1e-9)


def test_scores_that_tie_are_in_the_run(evaluated):
    out, _ = evaluated
    lines = (line.split() for line in (out / "multi.trec").read_text(encoding="utf-8").splitlines())
    scores = [(line[0], line[4]) for line in lines]
    assert len(set(scores)) < len(scores)


def test_what_was_encoded_is_not_encoded_again(evaluated):
    out, results = evaluated
    assert len(list((out / "encoded").iterdir())) == 1
    one, other = ({**results[key], "run_file": None} for key in ("mono", "multi"))
    assert one == other


def test_what_a_result_tells(evaluated, screen):
    out, results = evaluated
    result = results["multi"]
    assert result["counts"]["queries"] == {"mono": 60, "cross": 60, "multi": 60}
    assert result["counts"]["passages_per_language"] == {"en": 75, "sw": 75}
    trained = {row["pair"]: row["training_pairs"] for row in result["pairs"] if row["setting"] != "multi"}
    assert trained == {"en-en": 5, "sw-sw": 0, "en-sw": 2, "sw-en": 0}
    crossed = {"low-resource-seen", "low-resource-unseen"}
    assert set(result["groups"]) == {"seen", "unseen", "unseen-pairs", "rich", "low-resource", *crossed}
    assert result["groups"]["unseen-pairs"]["cross"]["rows"] == 1
    assert json.loads((out / "scores.json").read_text(encoding="utf-8"))["metrics"] == result["metrics"]
    assert (out / "bias.svg").read_text(encoding="utf-8").startswith("<svg")
    evaluation_summary(result, screen)


@pytest.mark.parametrize("standardised", [False, True])
def test_moved_vectors_score_as_in_memory(evaluated, beir, screen, tmp_path, standardised):
    """Blocks are moved as they are read, from what the plain evaluation has encoded; nothing is encoded again."""
    plain, _ = evaluated
    out = tmp_path / "centred"
    shutil.copytree(plain / "encoded", out / "encoded")
    benchmark, (encoded,) = load_benchmark(beir), (out / "encoded").iterdir()
    vectors = {"queries": query_vectors(encoded, len(benchmark.queries))}
    read = [block.read() for block in finished_blocks(encoded / "passages")]
    by_id = {name: vector for _, names, of in read for name, vector in zip(names, of, strict=True)}
    vectors["passages"] = np.stack([by_id[name] for name in benchmark.passages.ids])
    languages = {"queries": benchmark.queries.languages, "passages": benchmark.passages.languages}
    asked = question(model_of(plain), beir, *SHORT)
    texts = {side: (vectors[side], languages[side]) for side in ("queries", "passages")}
    fitted = fit_language_vectors("apart", texts, vectors_digest(asked.encoder))
    fitted = replace(fitted, standardised=standardised)
    (tmp_path / FILE).write_bytes(fitted.to_bytes())
    centred = asked.model_copy(update={"centre": tmp_path})
    files = set(encoded.rglob("*.arrow"))
    found = evaluate(centred, out, screen)
    moved = [fitted.move(side, *own) for side, own in texts.items()]
    assert found["metrics"] == score_vectors(benchmark, *moved, list(MEASURES), standardised=standardised).metrics
    assert found["model"].endswith("apart, scores standardised" if standardised else ", apart")
    assert set(encoded.rglob("*.arrow")) == files
    with pytest.raises(InputError, match="leave --centre or --run-file out"):
        evaluate(centred, out, screen, RunFile(tmp_path / "multi.trec", "multi", 9))


def test_language_vectors_of_another_encoder_are_refused(evaluated, beir, screen, tmp_path):
    out, _ = evaluated
    asked = question(model_of(out), beir, *SHORT).model_copy(update={"centre": tmp_path / FILE})
    vectors = np.eye(2, vector_width(asked.encoder), dtype=np.float32)
    for width, encoder, told in ((3, "", "width 3"), (None, "another", "of another encoder")):
        fitted = fit_language_vectors("together", {"queries": (vectors[:, :width], ["en", "sw"])}, encoder)
        (tmp_path / FILE).write_bytes(fitted.to_bytes())
        with pytest.raises(InputError, match=told):
            evaluate(asked, out, screen)


def test_a_run_file_scores_as_its_model_did(evaluated, beir, screen, tmp_path):
    out, results = evaluated
    scored = evaluate_run(question(None, beir), out / "multi.trec", tmp_path, screen)
    metrics = results["multi"]["metrics"]
    assert scored["metrics"] == pytest.approx(metrics, abs=1e-12)  # the run is at full depth
    compared = compare_evaluations(str(out), str(tmp_path), ["AP"], 0, screen, draws=100)
    assert {row["difference"] for row in compared["differences"]} == {0.0}


def test_a_run_of_other_passages_is_refused(evaluated, beir, screen, tmp_path):
    (tmp_path / "their.run").write_text("q0en Q0 elsewhere 1 0.5 x\n", encoding="utf-8")
    with pytest.raises(InputError, match="elsewhere"):
        evaluate_run(question(None, beir), tmp_path / "their.run", None, screen)


def test_a_bad_corpus_leaves_nothing_behind(shared_ray, beir, tiny, screen, tmp_path):
    bad = tmp_path / "bad"
    (bad / "qrels").mkdir(parents=True)
    for name in ("queries.jsonl", "qrels/test.tsv"):
        (bad / name).write_bytes((beir / name).read_bytes())
    lines = (beir / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    broken = {
        "occurs twice": [*lines, lines[7]],
        "can be found in the corpus": ['{"_id": "x", "text": "y", "language": "en"}'],
        r"corpus\.jsonl:8.*text": [*lines[:7], json.dumps({"_id": "x", "language": "en"}), *lines[7:]],
        "names no language": [line.replace('"language": "en"', '"language": "und"') for line in lines],
    }
    for message, of_lines in broken.items():
        (bad / "corpus.jsonl").write_text("\n".join(of_lines) + "\n", encoding="utf-8")
        with pytest.raises(InputError, match=message):
            evaluate(question(tiny[0], bad, *SHORT), tmp_path / "out", screen, dry_run=True)
    with pytest.raises(InputError, match="names no language"):  # the same with Ray, where a task reads it
        evaluate(question(tiny[0], bad, *SHORT), tmp_path / "out", screen)
    assert not (tmp_path / "out").exists()


def test_mined_negatives_are_read_back_and_answer_nothing(shared_ray, tiny, screen, tmp_path, groups_file):
    groups = list(generate("dev"))[:40]
    kept = {"negatives": {"en": ["what the user put here"]}, "source": "wire"}
    rows = [{**group, **kept, "passages": dict(list(group["passages"].items())[:3])} for group in groups]
    assert "en" in rows[0]["passages"]
    data = groups_file(rows)
    settings = question(tiny[0], data, *SHORT)
    file = tmp_path / "mined.jsonl.gz"
    wish = MiningOptions(negatives=2, depth=20, margin=0.999)
    result = mine(settings.encoder, settings.resources, DataSet(path=str(data)), file, wish, None, screen)
    mined = {group.group_id: group for source in find_sources([str(file)]) for group in read_groups(source)}
    assert list(mined) == [group["group_id"] for group in groups]
    raw = [row for source in find_sources([str(file)]) for _, row in group_rows(source)]
    assert {row["source"] for row in raw} == {"wire"}
    assert {row["negatives"]["en"][0] for row in raw} == {"what the user put here"}
    added = {
        group.group_id: {x: set(t) - set(kept["negatives"]["en"]) for x, t in group.negatives.items()}
        for group in mined.values()
    }
    assert result["mined"] == sum(any(texts.values()) for texts in added.values()) > 0
    for group in mined.values():
        for language, texts in added[group.group_id].items():
            pool = {other.passages[language] for other in mined.values() if language in other.passages}
            assert len(texts) <= 2
            assert set(texts) <= pool - set(group.passages.values())
    assert all(
        counts["candidates"] >= counts["chosen"] + counts["same_group"] > 0 for counts in result["counts"].values()
    )
    assert np.isfinite(result["groups"])


def test_the_other_positives_of_a_query_are_never_mined(shared_ray, tiny, screen, tmp_path, groups_file):
    """Eight questions of four groups each: a group is given what answers the seven other questions, and only that."""
    rows = [
        {
            "group_id": f"{n}-{variant}",
            "queries": {"en": f"question {n} in english" + " " * variant, "de": f"frage {n} auf deutsch"},
            "passages": {"en": f"answer {n} variant {variant}", "de": f"antwort {n} variante {variant}"},
        }
        for n in range(8)
        for variant in range(4)
    ]
    data, file = groups_file(rows), tmp_path / "mined.jsonl"
    settings = question(tiny[0], data, *SHORT)
    wish = MiningOptions(negatives=28, depth=32, margin=1.0)
    result = mine(settings.encoder, settings.resources, DataSet(path=str(data)), file, wish, None, screen)
    mined = [group for source in find_sources([str(file)]) for group in read_groups(source)]
    for group in mined:
        assert group.negatives  # of every group, though a query is searched once for its four groups
        for texts in group.negatives.values():
            assert not {text.split()[1] for text in texts} & {group.group_id[0]}
    for language in ("en", "de"):
        counts = result["counts"][language]
        assert (counts["groups"], counts["candidates"]) == (32, 32 * 32)
        assert (counts["same_group"], counts["same_answers"]) == (32, 32 * 3)
        assert counts["chosen"] + counts["too_close"] == 32 * 28
