"""mteb's retrieval data sets as they are published: cards, configurations, older names, one corpus for all queries."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import reading
from reading import answers, passages, read

QUERIES = [{"_id": "q", "text": "wer?"}]
CORPUS = [{"_id": "d", "title": "", "text": "Wasser"}, {"_id": "e", "title": "", "text": "Feuer"}]
QRELS = [{"query-id": "q", "corpus-id": "d", "score": 1}]


def write(folder, files):
    """Rows by path: JSON lines, Parquet or an Arrow stream by the suffix; texts stay as they are; .gz packs."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".parquet"):
            pq.write_table(pa.Table.from_pylist(content), path)
        elif name.endswith(".arrow"):
            table = pa.Table.from_pylist(content)
            with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
                stream.write_table(table)
        else:
            text = content if isinstance(content, str) else "".join(json.dumps(row) + "\n" for row in content)
            path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return folder


def card(*configurations):
    """A card that names the files of configurations: (name, data_files as YAML of one line)."""
    lines = [f"- config_name: {name}\n  data_files: {files}\n" for name, files in configurations]
    return f"---\nlanguage:\n- de\nconfigs:\n{''.join(lines)}---\n# A data set\n"


def test_a_card_says_which_file_is_what(tmp_path):
    files = {
        "README.md": card(
            ("default", "[{split: test, path: judged/t.jsonl}, {split: dev, path: judged/d.jsonl}]"),
            ("corpus", "[{split: corpus, path: ['texts/*.jsonl.gz']}]"),
            ("queries", "{queries: asked.jsonl}"),
        ),
        "judged/t.jsonl": QRELS,
        "judged/d.jsonl": [{**QRELS[0], "corpus-id": "e"}],
        "texts/a.jsonl.gz": CORPUS[:1],
        "texts/b.jsonl.gz": CORPUS[1:],
        "asked.jsonl": QUERIES,
        "corpus.jsonl": [{"_id": "stray", "text": "named by no configuration"}],
    }
    folder = write(tmp_path, files)
    assert answers(read(folder, language="de")) == {("q", "Wasser", 1)}
    assert answers(read(folder, language="de", split="dev")) == {("q", "Feuer", 1)}
    assert sorted(text.text for text in passages(read(folder, language="de"))) == ["Feuer", "Wasser"]


def test_a_card_without_splits_leaves_them_to_the_names_of_the_files(tmp_path):
    configurations = [(f"de-{kind}", f"de-{kind}/*") for kind in ("corpus", "queries", "qrels")]
    names = {kind: f"de-{kind}/test-00000-of-00001.parquet" for kind in ("corpus", "queries", "qrels")}
    rows = read(
        write(
            tmp_path,
            {
                "README.md": card(*configurations),
                **{names["corpus"]: CORPUS, names["queries"]: QUERIES, names["qrels"]: QRELS},
            },
        )
    )
    assert (rows.name, answers(rows)) == (f"{tmp_path} split test", {("q", "Wasser", 1)})


@pytest.mark.parametrize("text", ["---\nconfigs: [\n---\n", "no front matter", "---\nconfigs: 7\n---\n"])
def test_a_card_that_says_nothing_leaves_the_names_of_the_files(tmp_path, text):
    folder = write(
        tmp_path,
        {"README.md": text, "corpus/c.jsonl": CORPUS, "queries/q.jsonl": QUERIES, "default/test.jsonl": QRELS},
    )
    assert answers(read(folder, language="de")) == {("q", "Wasser", 1)}


def test_configurations_that_the_library_saved_have_a_folder_a_split(tmp_path):
    saved = "data-0000{}-of-0000{}.arrow"
    rows = read(
        write(
            tmp_path,
            {
                "de-corpus/test/" + saved.format(0, 2): CORPUS[:1],
                "de-corpus/test/" + saved.format(1, 2): CORPUS[1:],
                "de-queries/test/" + saved.format(0, 1): QUERIES,
                "de-qrels/test/" + saved.format(0, 1): QRELS,
                "de-qrels/dataset_dict.json": '{"splits": ["test"]}',
            },
        )
    )
    assert answers(rows) == {("q", "Wasser", 1)}
    assert len(passages(rows)) == 2


def test_older_names_have_the_kind_first_and_the_judgements_alone(tmp_path):
    files = {}
    for code, word in (("de", "wer?"), ("eng_Latn", "who?")):
        files |= {
            f"corpus-{code}/corpus-00000-of-00001.parquet": CORPUS,
            f"queries-{code}/queries-00000-of-00001.parquet": [{"_id": "q", "text": word}],
            f"{code}/dev-00000-of-00001.parquet": QRELS,
        }
    rows = read(write(tmp_path, files))
    assert rows.name == f"{tmp_path} split dev"
    assert answers(rows) == {("de:q", "Wasser", 1), ("en:q", "Wasser", 1)}


def test_same_language_subsets_are_mono_and_pairs_are_cross(tmp_path):
    files = {}
    for subset, query in (("de-de", "wer?"), ("de-en", "who?")):  # the passages' language first
        files |= {
            f"{subset}-corpus/test.jsonl.gz": CORPUS,
            f"{subset}-queries/test.jsonl.gz": [{"_id": "q", "text": query}],
            f"{subset}-qrels/test.jsonl.gz": QRELS,
        }
    rows = read(write(tmp_path, files))
    language = {text.text_id: text.language for text in passages(rows)}
    pairs = {(rows.queries[pair.query].language, language[pair.passage_id]) for pair in rows.judged}
    assert pairs == {("de", "de"), ("en", "de")}
    assert len(language) == 2  # equal texts of a language are one passage


ONE_CORPUS = {
    "corpus/test.parquet": [
        {"_id": "d", "text": "Wasser", "language": "de"},
        {"_id": "w", "text": "water", "language": "en"},
    ],
    "queries-de/test.parquet": [{"_id": "q", "text": "was?"}],
    "queries-en/test.parquet": [{"_id": "q", "text": "what?"}, {"_id": "r", "text": "of no use"}],
    "qrels/test.parquet": [{"query-id": "q", "corpus-id": name, "score": 1} for name in ("d", "w")],
}


def test_one_corpus_of_all_languages_is_the_pool_of_queries_in_each(tmp_path):
    rows = read(write(tmp_path, ONE_CORPUS))
    assert [(query.text_id, query.language) for query in rows.queries] == [("de:q", "de"), ("en:q", "en")]
    assert answers(rows) == {(f"{asked}:q", text, 1) for asked in ("de", "en") for text in ("Wasser", "water")}
    assert rows.notices == ["1 of the topics have no judgement in this split and are left out"]
    one = read(tmp_path, languages=["de"])
    assert answers(one) == {("de:q", "Wasser", 1)}


def test_one_corpus_has_judgements_of_each_subset_or_for_all(tmp_path):
    files = {name: rows for name, rows in ONE_CORPUS.items() if "qrels" not in name}
    files["de-qrels/test.parquet"] = [{"query-id": "q", "corpus-id": "w", "score": 2}]
    files["en-qrels/test.parquet"] = [{"query-id": "q", "corpus-id": "d", "score": 1}]
    assert answers(read(write(tmp_path, files))) == {("de:q", "water", 2), ("en:q", "Wasser", 1)}


def error(path, **wanted):
    return reading.error(path, **wanted).replace(f"{path}", "HERE")


def test_what_cannot_be_honoured_is_refused_by_its_name(tmp_path):
    flat = {"corpus/t.jsonl": CORPUS, "queries/t.jsonl": QUERIES, "default/test.jsonl": QRELS}
    instructions = [{"query-id": "q", "instruction": "only water"}]
    assert error(write(tmp_path / "a", {**flat, "instruction/t.jsonl": instructions}), language="de").startswith(
        "instruction/: instructions, which the queries of such a task are read with, are not supported"
    )
    subset = {f"de-{name}": rows for name, rows in flat.items() if "default" not in name}
    of_subset = {**subset, "de-qrels/test.jsonl": QRELS, "de-instruction/t.jsonl": instructions}
    assert error(write(tmp_path / "b", of_subset)).startswith("de-instruction/: instructions, which")
    image = {**flat, "corpus/t.jsonl": [{"_id": "d", "image": "x"}]}
    assert "passage 'd' has no text (got None)" in error(write(tmp_path / "c", image), language="de")
    turns = {**flat, "queries/t.jsonl": [{"_id": "q", "text": [{"role": "user", "content": "wer?"}]}]}
    assert "query 'q' has no text (got [" in error(write(tmp_path / "d", turns), language="de")
    languageless = {name: rows for name, rows in ONE_CORPUS.items() if "corpus" not in name}
    said = error(write(tmp_path / "e", {**languageless, "corpus/t.parquet": CORPUS}))
    assert "HERE/corpus/t.parquet:1: no language in this row; say that of all texts" in said
    named = {
        f"trivia-{kind}/t.jsonl": rows for kind, rows in (("queries", QUERIES), ("qrels", QRELS), ("corpus", CORPUS))
    }
    assert error(write(tmp_path / "f", named)).startswith("HERE: subset 'trivia' names no language")


def test_candidates_for_reranking_are_named_and_not_read(tmp_path):
    flat = {"corpus/t.jsonl": CORPUS, "query/t.jsonl": QUERIES, "default/test.jsonl": QRELS}
    rows = read(
        write(tmp_path, {**flat, "top_ranked/t.jsonl": [{"query-id": "q", "corpus-ids": ["d"]}]}), language="de"
    )
    assert rows.notices == ["not read, for reranking alone: top_ranked/"]
    assert answers(rows) == {("q", "Wasser", 1)}
