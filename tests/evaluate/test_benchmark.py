import json

import numpy as np
import pytest

from hybridtune.config.fields import BenchmarkSource
from hybridtune.errors import InputError
from hybridtune.evaluate.benchmark import load_benchmark, score_vectors


def group(name, queries, passages, document=""):
    texts = [
        {language: f"{kind}{name}{language}" for language in languages}
        for kind, languages in (("q", queries), ("p", passages))
    ]
    return {"group_id": name, "document_id": document, "queries": texts[0], "passages": texts[1]}


EN_DE = [group("1", ["en"], ["en", "de"]), group("2", ["de"], ["de"])]


@pytest.mark.parametrize(
    ("rows", "settings"),
    [
        ([group("1", ["en"], ["en"])], ("mono",)),
        ([group("1", ["en"], ["en"]), group("2", ["de"], ["de"])], ("mono", "multi")),
        ([group("1", ["en"], ["de"]), group("2", ["de"], ["en"])], ("cross", "multi")),
        ([group("1", ["en"], ["de"])], ("cross", "multi")),
        (EN_DE, ("mono", "cross", "multi")),
    ],
)
def test_settings_are_those_that_a_query_can_be_scored_in(groups_file, rows, settings):
    assert load_benchmark(groups_file(rows)).settings == settings


def test_relevance_is_that_of_the_texts(groups_file):
    found = load_benchmark(groups_file(EN_DE))
    relevance = found.relevance
    assert relevance.languages == ("de", "en")
    assert [relevance.languages[i] for i in relevance.query_language] == [text.language for text in found.queries]
    assert [relevance.languages[i] for i in relevance.passage_language] == [text.language for text in found.passages]
    pairs = zip(relevance.query_index, relevance.passage_index, strict=True)
    assert [(found.queries[q].text, found.passages[p].text) for q, p in pairs] == [
        ("q1en", "p1en"),
        ("q1en", "p1de"),
        ("q2de", "p2de"),
    ]
    ids = [text.text_id for text in found.passages]
    assert [ids[p] for p in np.argsort(relevance.order)] == sorted(ids, reverse=True)
    assert relevance.grades.tolist() == [1.0] * 3


def test_a_language_filter_drops_texts_and_the_pairs_that_lose_a_side(groups_file):
    path = str(groups_file([*EN_DE, group("3", ["sw"], ["en", "sw"])]))
    found = load_benchmark(path, languages=["en", "sw"])
    assert found.name == f"{path} languages en,sw"
    assert [text.text for text in found.queries] == ["q1en", "q3sw"]
    assert [text.text for text in found.passages] == ["p1en", "p3en", "p3sw"]
    pairs = zip(found.relevance.query_index.tolist(), found.relevance.passage_index.tolist(), strict=True)
    assert list(pairs) == [(0, 0), (1, 1), (1, 2)]
    assert load_benchmark(path, languages=["en"]).settings == ("mono",)


@pytest.mark.parametrize("languages", [["sw"], ["fi"]])
def test_a_filter_that_leaves_nothing_to_score(groups_file, languages):
    path = str(groups_file([*EN_DE, group("3", ["sw"], ["en"])]))
    with pytest.raises(InputError) as caught:
        load_benchmark(path, languages=languages)
    assert str(caught.value) == f"{path} languages {languages[0]}: no query has a relevant passage"


def test_a_range_of_documents_is_in_the_name(groups_file):
    rows = [group("1", ["en"], ["en"], "a"), group("2", ["de"], ["de"], "b"), group("3", ["de"], ["en"], "b")]
    path = str(groups_file(rows))
    found = load_benchmark(path, documents=(1, 2))
    assert found.name == f"{path} documents [1, 2]"
    assert [text.text for text in found.queries] == ["q2de", "q3de"]


def beir(folder, qrels, corpus=("d1", "d2", "d3")):
    (folder / "qrels").mkdir()
    rows = [{"_id": name, "text": f"text of {name}"} for name in corpus]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "queries.jsonl").write_text("\n".join(json.dumps({"_id": f"q{n}", "text": "?"}) for n in range(4)))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "\n".join(qrels))
    return BenchmarkSource(path=str(folder), language="en")


def test_graded_judgements_of_one_language(tmp_path):
    found = load_benchmark(beir(tmp_path, ["q2\td3\t2", "q0\td1\t0", "q2\td1\t1", "q3\td2\t1", "q0\tgone\t0"]))
    assert [text.text_id for text in found.queries] == ["q0", "q2", "q3"]  # q0 has no relevant passage, and stays
    relevance = found.relevance
    assert relevance.query_index.tolist() == [1, 1, 2]
    assert [found.passages[p].text_id for p in relevance.passage_index] == ["d1", "d3", "d2"]
    assert relevance.grades.tolist() == [1.0, 2.0, 1.0]
    assert found.settings == ("mono",)
    assert found.notices == (
        "1 of the topics have no judgement in this split and are left out",
        "one language: the mono setting only",
    )


def test_a_relevant_passage_that_is_not_in_the_corpus_is_counted_unless_strict(tmp_path):
    source = beir(tmp_path, ["q2\td3\t2", "q2\td4\t1", "q3\td5\t1", "q3\td6\t0"])
    found = load_benchmark(source)
    assert [column.tolist() for column in found.relevance.lost] == [[0, 1], [3, 4], [1.0, 1.0], [0, 0]]
    assert found.notices[1] == (
        "2 relevant passages are not in the corpus (first: 'd4'): they count as not found, as in trec_eval"
    )
    with pytest.raises(InputError) as caught:
        load_benchmark(source.model_copy(update={"strict": True}))
    assert str(caught.value) == (
        f"{tmp_path} split test: the qrels name passage 'd4' (and 1 more), which is not in the corpus; do qrels and "
        "corpus belong together, and is every corpus file there? Without benchmark.strict they count as not found"
    )


def test_a_corpus_that_holds_no_relevant_passage_is_refused(tmp_path):
    with pytest.raises(
        InputError, match=r"split test: none of the 1 relevant passages can be found in the corpus; do "
    ):
        load_benchmark(beir(tmp_path, ["q2\td4\t1"]))


def test_a_passage_id_may_not_occur_twice(tmp_path):
    with pytest.raises(InputError, match=r"passage id 'd1' occurs twice"):
        load_benchmark(beir(tmp_path, ["q2\td1\t2"], corpus=["d1", "d2", "d1"]))


def test_exchanged_passages_are_found(groups_file):
    row = group("1", ["en"], ["en", "ru"])
    row["passages"]["ru"] = "This one is written in English, and not in Russian at all, whatever it says."
    path = groups_file([row])
    with pytest.raises(InputError) as caught:
        load_benchmark(path)
    assert str(caught.value).startswith(f"{path}: passages of 'ru' are written in LATIN, not CYRILLIC: ")


def test_ones_own_vectors_are_scored_by_position():
    benchmark = load_benchmark("newsroom:dev", languages=["en", "de"])
    random = np.random.default_rng(0)
    passages = random.normal(size=(len(benchmark.passages), 16)).astype(np.float32)
    passages /= np.linalg.norm(passages, axis=1, keepdims=True)
    answer = dict(zip(benchmark.relevance.query_index, benchmark.relevance.passage_index, strict=True))
    queries = passages[[answer[query] for query in range(len(benchmark.queries))]]
    scores = score_vectors(benchmark, queries, passages, ["R@1", "RR"])
    assert scores.metrics["multi/RR"] == 1.0
    assert set(scores.metrics) >= {"mono/R@1", "cross/R@1", "multi/R@1"}
    assert "multi/AP" not in scores.metrics
    assert scores.counts["passages_per_language"] == {
        code: benchmark.passages.languages.count(code) for code in ("de", "en")
    }
    for wrong in (passages[1:], passages[:, 0]):
        with pytest.raises(InputError, match=r"passages: vectors of shape .*; give \[\d+, D\]"):
            score_vectors(benchmark, queries, wrong)
    with pytest.raises(InputError, match="benchmark: splits: "):
        load_benchmark("newsroom:dev", splits="dev")
