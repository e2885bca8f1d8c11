"""Benchmarks as they are published, scored by a run file: their figures are trec_eval's, or one line is the error."""

import json

import ir_measures
import numpy as np
import pytest
from cli_calls import files

WORDS = ["bridge", "river", "market", "school", "doctor", "music", "winter", "garden"]
WORDS += ["engine", "letter", "window", "paper", "island", "forest", "teacher"]
TEXTS = [f"The {word} is near the {WORDS[n - 11]} and the {WORDS[n - 6]}." for n, word in enumerate(WORDS)]
MEASURES = ("AP", "nDCG@10", "RR", "R@10")


def beir(folder, queries=None, corpus=(), qrels=()):
    """A BEIR folder of fifteen passages d0.. and as many queries q0.., each answered by its own; and what is added."""
    texts = queries or {f"q{n}": f"tell me about the {word}" for n, word in enumerate(WORDS)}
    passages = [{"_id": f"d{n}", "title": word, "text": TEXTS[n]} for n, word in enumerate(WORDS)]
    judged = [*((query, f"d{n}", 1) for n, query in enumerate(texts)), *qrels]
    (folder / "qrels").mkdir(parents=True)
    for name, rows in (
        ("corpus", [*passages, *corpus]),
        ("queries", [{"_id": key, "text": text} for key, text in texts.items()]),
    ):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "qrels" / "test.tsv").write_text(trec(judged), encoding="utf-8")
    return folder, judged


def arguana(folder):
    """Queries that are passages with the same ids, each answered by another; d0 is also judged to answer itself."""
    folder, _ = beir(folder, {f"d{n}": f"{word}  {TEXTS[n].upper()}" for n, word in enumerate(WORDS)})
    judged = [*((f"d{n}", f"d{(n + 4) % 15}", 1) for n in range(15)), ("d0", "d0", 1)]
    (folder / "qrels" / "test.tsv").write_text(trec(judged), encoding="utf-8")
    return folder, judged


def trec(judged):
    return "".join(f"{query} 0 {passage} {grade}\n" for query, passage, grade in judged)


def full_run(path, queries, passages, seed=0):
    """A run of every passage for every query in a random order with ties, and the same as nested mappings."""
    random = np.random.default_rng(seed)
    run = {query: {name: float(random.integers(8)) for name in passages} for query in queries}
    lines = (f"{query} Q0 {name} 0 {score} x\n" for query, row in run.items() for name, score in row.items())
    path.write_text("".join(lines), encoding="utf-8")
    return run


def by_trec_eval(run, judged):
    """The means of trec_eval: over all queries that are in both."""
    qrels = [ir_measures.Qrel(*one) for one in judged if one[0] in run]
    scored = [ir_measures.ScoredDoc(query, name, score) for query, row in run.items() for name, score in row.items()]
    found = ir_measures.calc_aggregate([ir_measures.parse_measure(name) for name in MEASURES], qrels, scored)
    return {f"mono/{measure}": value for measure, value in found.items()}


def evaluated(call, folder, run, *more):
    measures = [part for name in MEASURES for part in ("--measure", name)]
    arguments = ["--benchmark", folder, "--run", run, "--set", "benchmark.language=en", *measures, *more]
    code, out, err = call("evaluate", *arguments, "--json")
    return code, json.loads(out) if code == 0 else None, err


def test_a_query_that_is_a_passage_is_left_out_of_its_own_ranking(call, tmp_path):
    folder, judged = arguana(tmp_path / "arguana")
    passages = [f"d{n}" for n in range(15)]
    run = full_run(tmp_path / "run", passages, passages)
    without = {query: {name: score for name, score in row.items() if name != query} for query, row in run.items()}
    code, found, err = evaluated(call, folder, tmp_path / "run")
    assert code == 0
    assert found["metrics"] == pytest.approx(by_trec_eval(without, judged), abs=1e-12)
    assert found["counts"]["relevant_not_in_pool"] == 1  # d0 for itself: BEIR drops it too, and its qrels keep it
    assert (
        "15 of 15 queries have the id of a passage: it is left out of their rankings, as in BEIR; 1 of them are judged "
        "relevant and count as not found (benchmark.ignore_identical_ids)"
    ) in err
    assert "15 lists hold the passage with their query's own id, which is left out" in found["notes"]
    kept = evaluated(call, folder, tmp_path / "run", "--set", "benchmark.ignore_identical_ids=false")[1]
    assert kept["metrics"] == pytest.approx(by_trec_eval(run, judged), abs=1e-12)
    assert kept["metrics"]["mono/nDCG@10"] != found["metrics"]["mono/nDCG@10"]
    assert kept["digest"] != found["digest"]


def test_ids_that_coincide_are_no_identity(call, tmp_path):
    folder, judged = beir(tmp_path / "b", {f"d{n}": f"tell me about the {word}" for n, word in enumerate(WORDS)})
    names = [f"d{n}" for n in range(15)]
    run = full_run(tmp_path / "run", names, names)
    _, found, err = evaluated(call, folder, tmp_path / "run")
    assert found["metrics"] == pytest.approx(by_trec_eval(run, judged), abs=1e-12)
    assert "it stays in their rankings (benchmark.ignore_identical_ids=true leaves it out)" in err


EMPTY = {"_id": "e", "title": "", "text": ""}
FAULTS = {
    "a judged passage that is not there": (
        {"qrels": [("q0", "gone", 1), ("q1", "lost", 2), ("q2", "away", 0)]},
        "2 relevant passages are not in the corpus (first: 'gone'): they count as not found, as in trec_eval",
        "{folder} split test: the qrels name passage 'gone' (and 1 more), which is not in the corpus; do qrels and "
        "corpus belong together, and is every corpus file there? Without benchmark.strict they count as not found",
    ),
    "a passage without a text": (
        {"corpus": [EMPTY, {**EMPTY, "_id": "f", "title": None}]},
        "2 passages have no text (first: 'e'); they stay in the pool, as in BEIR",
        "{folder}/corpus.jsonl:16: passage 'e' (and 1 more) has no text; without benchmark.strict they are counted",
    ),
    "a judged query that is not there": (
        {"qrels": [("q15", "d0", 1), ("q16", "d1", 1)]},
        "2 judged queries are not among the topics and are left out (first: 'q15')",
        "{folder}/qrels/test.tsv:16: query 'q15' (and 1 more) is not among the 15 queries of {folder}/queries.jsonl; "
        "without benchmark.strict they are left out",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_amiss_in_a_published_set_is_counted_or_refused(call, tmp_path, fault):
    added, notice, refused = FAULTS[fault]
    folder, judged = beir(tmp_path / "b", **added)
    passages = [*(f"d{n}" for n in range(15)), *(row["_id"] for row in added.get("corpus", ()))]
    run = full_run(tmp_path / "run", [f"q{n}" for n in range(15)], passages)
    code, found, err = evaluated(call, folder, tmp_path / "run")
    assert code == 0
    assert f"  {notice}\n" in err
    assert found["metrics"] == pytest.approx(by_trec_eval(run, judged), abs=1e-12)
    assert found["counts"]["passages"] == len(passages)
    before = files(tmp_path)
    code, _, err = evaluated(call, folder, tmp_path / "run", "--strict", "--out", tmp_path / "out")
    assert (code, err) == (2, f"hybridtune: {refused.format(folder=folder)}\n")
    assert evaluated(call, folder, tmp_path / "run", "--set", "benchmark.strict=true")[0] == 2
    assert files(tmp_path) == before


def test_a_study_reports_what_is_amiss_or_refuses_it(call, study_file, tmp_path):
    folder, _ = beir(tmp_path / "b", corpus=[EMPTY], qrels=[("q0", "gone", 1), ("q15", "d0", 1)])
    dev = {"path": str(folder), "language": "en"}
    search = {"objective": "mono/AP", "trials": 1}
    code, out, _ = call("run", study_file(benchmarks={"dev": dev}, search=search), "--dry-run", "--json")
    assert code == 0
    notices = json.loads(out)["notices"]
    for start in ("1 judged queries are not", "1 relevant passages are not in the corpus", "1 passages have no text"):
        assert any(line.startswith(f"benchmarks.dev: {start}") for line in notices)
    code, _, err = call("run", study_file(benchmarks={"dev": dev | {"strict": True}}, search=search), "--dry-run")
    assert (code, err.count("\n")) == (2, 1)
    assert f"{folder}/qrels/test.tsv:17: query 'q15' is not among the 15 queries of " in err


def test_a_query_whose_answers_are_all_missing_counts_0(call, tmp_path):
    names = {**{f"q{n}": "?" for n in range(15)}, "q15": "whose answer is gone"}
    folder, judged = beir(tmp_path / "b", names)  # q15 is answered by d15, which is not there
    run = full_run(tmp_path / "run", names, [f"d{n}" for n in range(15)])
    _, found, _ = evaluated(call, folder, tmp_path / "run")
    assert found["metrics"] == pytest.approx(by_trec_eval(run, judged), abs=1e-12)
    assert found["counts"]["queries"]["mono"] == 16
    assert found["counts"]["queries_without_relevant"]["mono"] == 0


def test_the_means_of_trec_eval_are_shown_beside_ours_where_they_differ(call, tmp_path):
    names = {**{f"q{n}": "?" for n in range(15)}, "q15": "judged, and nothing is relevant"}
    folder, judged = beir(tmp_path / "b", names)
    judged[-1] = ("q15", "d3", 0)
    (folder / "qrels" / "test.tsv").write_text(trec(judged), encoding="utf-8")
    run = full_run(tmp_path / "run", names, [f"d{n}" for n in range(15)])
    _, found, _ = evaluated(call, folder, tmp_path / "run")
    theirs = by_trec_eval(run, judged)
    assert found["trec_eval"] == pytest.approx(theirs, abs=1e-12)
    assert found["metrics"] == pytest.approx({name: value * 16 / 15 for name, value in theirs.items()}, abs=1e-12)
    assert found["counts"]["queries_without_relevant"]["mono"] == 1
    measures = [part for name in MEASURES for part in ("--measure", name)]
    shown = ["--benchmark", folder, "--run", tmp_path / "run", "--set", "benchmark.language=en", *measures]
    _, table, _ = call("evaluate", *shown)
    line = ", ".join(f"{name} {found['trec_eval'][name]:.4f}" for name in found["trec_eval"])
    assert (
        f"trec_eval prints {line}: means over all 16 judged queries at once, those without a relevant passage (1)"
        in (" ".join(table.split()))
    )
    (folder / "qrels" / "test.tsv").write_text(trec(judged[:-1]), encoding="utf-8")
    _, table, _ = call("evaluate", *shown)
    assert "trec_eval" not in table
