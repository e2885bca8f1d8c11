"""MIRACL, BEIR and TREC folders: what is read, and one clear line for what is wrong."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import reading
from reading import passages, read

from hybridtune.data.readers.records import Text


def error(path, **wanted):
    """The message without the folder's path."""
    return reading.error(path, **wanted).replace(f"{path}", "HERE")


def judged(rows):
    assert rows.judged == sorted(rows.judged, key=lambda j: j[:2])
    return [(rows.queries[j.query].text_id, j.passage_id, j.grade) for j in rows.judged]


def write(folder, **files):
    """Files by path: lists become JSON lines, texts stay as they are; .gz packs."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, str) else "".join(json.dumps(row) + "\n" for row in content)
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return folder


def miracl(folder, language, topics, qrels, docs, split="dev"):
    name = f"miracl-v1.0-{language}"
    corpus = {
        f"miracl-corpus/miracl-corpus-v1.0-{language}/docs-{n}.jsonl.gz": [
            {"docid": docid, "title": title, "text": text} for docid, title, text in rows
        ]
        for n, rows in enumerate(docs)
    }
    return write(
        folder,
        **{f"miracl/{name}/topics/topics.{name}-{split}.tsv": "".join(f"{q}\t{text}\n" for q, text in topics)},
        **{f"miracl/{name}/qrels/qrels.{name}-{split}.tsv": "".join(f"{q}\tQ0\t{d}\t{g}\n" for q, d, g in qrels)},
        **corpus,
    )


SWAHILI = {
    "topics": [("0", "Nani?"), ("2", "Lini?"), ("5", "Wapi?")],
    "qrels": [("2", "7#1", 0), ("0", "7#1", 1), ("0", "7#0", 1)],
    "docs": [[("7#0", "Albedo", "Kipimo.")], [("7#1", "", "Mwanga."), ("8#0", "Jua", "Nyota.")]],
}
YORUBA = {"topics": [("0", "Tani?")], "qrels": [("0", "7#0", 1)], "docs": [[("7#0", "Oṣupa", "Oru.")]]}


def test_one_language_of_miracl_keeps_its_ids(tmp_path):
    miracl(tmp_path, "sw", **SWAHILI)
    rows = read(tmp_path)
    assert rows.name == f"{tmp_path} split dev"
    assert rows.queries == [Text("0", "sw", "Nani?"), Text("2", "sw", "Lini?")]
    assert judged(rows) == [("0", "7#0", 1), ("0", "7#1", 1), ("2", "7#1", 0)]  # judged negatives too
    assert [part.name for part in rows.corpus] == ["sw-docs-0", "sw-docs-1"]
    assert passages(rows) == [("7#0", "sw", "Albedo Kipimo."), ("7#1", "sw", "Mwanga."), ("8#0", "sw", "Jua Nyota.")]
    assert rows.notices == ["1 of the topics have no judgement in this split and are left out"]


def test_several_languages_of_miracl_have_the_language_before_their_ids(tmp_path):
    miracl(tmp_path, "sw", **SWAHILI)
    miracl(tmp_path, "yo", **YORUBA)
    rows = read(tmp_path)
    assert [text.text_id for text in rows.queries] == ["sw:0", "sw:2", "yo:0"]
    assert judged(rows)[-2:] == [("sw:2", "sw:7#1", 0), ("yo:0", "yo:7#0", 1)]
    assert [text_id for text_id, _, _ in passages(rows)] == ["sw:7#0", "sw:7#1", "sw:8#0", "yo:7#0"]
    one = read(tmp_path, languages=["yo"])
    assert one.name == f"{tmp_path} languages yo split dev"
    assert judged(one) == [("0", "7#0", 1)]
    assert passages(one) == [("7#0", "yo", "Oṣupa Oru.")]
    assert read(f"file://{tmp_path}").judged == rows.judged


def test_what_a_miracl_folder_lacks(tmp_path):
    miracl(tmp_path, "sw", **SWAHILI)
    miracl(tmp_path, "sw", **{**SWAHILI, "docs": []}, split="train")
    assert error(tmp_path, split="test-a") == (
        "HERE: splits with topics and qrels in sw: no split 'test-a'; there are: dev, train"
    )
    assert error(tmp_path, languages=["yo"]) == "HERE languages yo: no topics of 'yo' there; there are: sw"
    assert error(tmp_path, documents=(0, 1)).startswith("HERE: has no documents to take a part of")
    miracl(tmp_path, "yo", **{**YORUBA, "docs": []}, split="train")
    assert error(tmp_path).startswith("HERE: no miracl-corpus-v1.0-yo/docs-*.jsonl.gz beside miracl-v1.0-yo; put ")
    miracl(tmp_path, "yo", **YORUBA, split="testB")
    assert read(tmp_path).name == f"{tmp_path} split train"  # the only one that both have
    write(tmp_path, **{"miracl-corpus/miracl-corpus-v1.0-sw/docs-0.jsonl": []})
    assert error(tmp_path).endswith("docs-0.jsonl is there too; keep one of the two")


CORPUS = [
    {"_id": "d1", "title": "Light", "text": "It is fast."},
    {"_id": "d2", "title": "", "text": "Sound is slow."},
    {"_id": "d3", "title": "Only a title", "text": ""},
    {"_id": 4, "text": "Nothing else."},
]
QUERIES = [{"_id": "q1", "text": "how fast?"}, {"_id": "q2", "text": "how slow?"}, {"_id": "q3", "text": "a third?"}]
HEADER = "query-id\tcorpus-id\tscore\n"
BEIR = {
    "corpus.jsonl": CORPUS,
    "queries.jsonl": QUERIES,
    "qrels/test.tsv": HEADER + "q2\td2\t1\nq1\td3\t0\nq1\td1\t2\n",
    "qrels/train.tsv": HEADER + "q3\td1\t1\n",
}


def beir(folder, **files):
    return write(folder, **(BEIR | files))


def test_a_beir_folder(tmp_path):
    rows = read(beir(tmp_path), language="en")
    assert rows.name == f"{tmp_path} split test"
    assert rows.queries == [Text("q1", "en", "how fast?"), Text("q2", "en", "how slow?")]
    assert judged(rows) == [("q1", "d1", 2), ("q1", "d3", 0), ("q2", "d2", 1)]
    assert passages(rows) == [
        ("d1", "en", "Light It is fast."),
        ("d2", "en", "Sound is slow."),
        ("d3", "en", "Only a title"),
        ("4", "en", "Nothing else."),
    ]
    assert rows.notices == ["1 of the topics have no judgement in this split and are left out"]
    assert judged(read(tmp_path, language="en", split="train")) == [("q3", "d1", 1)]
    assert error(tmp_path, language="en", split="dev") == "HERE: no split 'dev'; there are: test, train"


def test_the_usual_split_is_test_then_dev_then_the_only_one(tmp_path):
    folder = write(tmp_path, **{"corpus.jsonl": CORPUS, "queries.jsonl": QUERIES, "qrels/b.tsv": "q1 d1 1\n"})
    assert read(folder, language="en").name.endswith(" split b")
    write(folder, **{"qrels/a.tsv": "q1 d1 1\n"})
    assert error(folder, language="en") == (
        "HERE: which split? there are: a, b; choose one with --set benchmark.split=..."
    )
    write(folder, **{"qrels/dev.tsv": "q1 d1 1\n"})
    assert read(folder, language="en").name.endswith(" split dev")
    write(folder, **{"qrels/test.tsv": "q1 d1 1\n"})
    assert read(folder, language="en").name.endswith(" split test")


def test_rows_that_say_their_language_make_a_multilingual_benchmark(tmp_path):
    corpus = [{"docid": "d1", "language": "en", "text": "fast"}, {"docid": "d2", "language": "de", "text": "langsam"}]
    files = {
        "corpus-a.jsonl.gz": corpus,
        "corpus-b.jsonl.gz": [{"id": "d3", "text": "haraka"}],
        "queries.jsonl.gz": [{"_id": "q1", "language": "de", "text": "schnell?"}, {"_id": "q2", "text": "nini?"}],
        "qrels.txt": "q1 0 d1 1\nq1 0 d2 1\nq2 0 d3 1\n",
    }
    write(tmp_path, **files)
    rows = read(tmp_path, language="sw")
    assert [(text.text_id, text.language) for text in rows.queries] == [("q1", "de"), ("q2", "sw")]
    assert [part.name for part in rows.corpus] == ["corpus-a", "corpus-b"]
    assert [text[:2] for text in passages(rows)] == [("d1", "en"), ("d2", "de"), ("d3", "sw")]
    some = read(tmp_path, language="sw", languages=["de", "sw"])
    assert some.name == f"{tmp_path} split qrels languages de,sw"
    assert judged(some) == [("q1", "d2", 1), ("q2", "d3", 1)]  # d1 is English: it went, and its judgement with it
    assert [text[0] for text in passages(some)] == ["d2", "d3"]
    assert some.notices == []
    only = read(tmp_path, language="sw", languages=["sw", "en"])
    assert (judged(only), [text[0] for text in passages(only)]) == ([("q2", "d3", 1)], ["d1", "d3"])


@pytest.mark.parametrize(
    ("name", "split", "text"),
    [
        ("qrels.txt", "qrels", "q1 0 d1 2\nq1 0 d3 0\nq2 Q0 d2 1\n"),
        ("qrels.tsv", "qrels", "q1\t0\td1\t2\r\nq1\t0\td3\t0\r\n\r\nq2\t0\td2\t1"),
        ("robust.qrels", "robust", "q1   0 d1\t2\nq1 0 d3 0\nq2 0 d2 1\n".replace("\t", "  ")),
        ("qrels-dev.txt", "dev", "\ufeffq1 0 d1 2.0\nq1 0 d3 -0.0\nq2 0 d2 1\n"),
        ("qrels/dev.txt.gz", "dev", "q1 0 d1 2\nq1 0 d3 0\nq1 0 d3 0\nq2 0 d2 1\n"),  # the same judgement twice
        ("qrels/qrels.test.tsv", "test", "query_id\titer\tdoc_id\trel\nq1\t0\td1\t2\nq1\t0\td3\t0\nq2\t0\td2\t1\n"),
        ("qrels/test.tsv", "test", '"query-id"\t"corpus-id"\t"score"\nq1\td1\t2\nq1\td3\t0\nq2\td2\t1\n'),
        ("qrels/test.tsv", "test", "q1\td1\t2\nq1\td3\t0\nq2\td2\t1\n"),  # three columns, no header
    ],
)
@pytest.mark.parametrize(
    ("topics", "queries"),
    [
        ("topics.tsv", "q2\thow slow?\nq1\thow\tfast?\n"),
        ("queries.tsv.gz", "query_id\ttext\nq2\thow slow?\nq1\thow\tfast?\n"),
        ("topics.txt", '"query-id"\t"text"\nq2\thow slow?\nq1\thow\tfast?\n'),
        ("queries.jsonl", [{"qid": "q2", "query": "how slow?"}, {"id": "q1", "text": "how\tfast?"}]),
        (
            "queries.jsonl",
            [{"_id": None, "id": "q2", "text": None, "query": "how slow?"}, {"id": "q1", "text": "how\tfast?"}],
        ),
    ],
)
def test_trec_files(tmp_path, name, split, text, topics, queries):
    rows = read(write(tmp_path, **{"corpus.jsonl": CORPUS, name: text, topics: queries}), language="en")
    assert rows.name == f"{tmp_path} split {split}"
    assert rows.queries == [Text("q2", "en", "how slow?"), Text("q1", "en", "how\tfast?")]
    assert judged(rows) == [("q2", "d2", 1), ("q1", "d1", 2), ("q1", "d3", 0)]
    assert rows.notices == []


def test_the_topics_of_the_split_are_read(tmp_path):
    files = {"corpus.jsonl": CORPUS, "qrels.dev.txt": "q1 0 d1 1\n"}
    write(tmp_path, **files, **{"topics.dev.tsv": "q1\tof dev\n", "topics.test.tsv": "q1\tof test\n"})
    assert read(tmp_path, language="en").queries == [Text("q1", "en", "of dev")]
    write(tmp_path, **{"qrels.train.txt": "q1 0 d1 1\n"})
    assert error(tmp_path, language="en", split="train") == (
        "HERE: which file has the queries of split 'train'? there are: topics.dev, topics.test"
    )


@pytest.mark.parametrize(
    ("files", "missing"),
    [
        ({"corpus.jsonl": CORPUS, "queries.jsonl": QUERIES}, "qrels/<split>.tsv or qrels.txt"),
        ({"corpus.jsonl": CORPUS, "qrels/test.tsv": HEADER}, "queries.jsonl or topics.tsv"),
        ({"queries.jsonl": QUERIES, "qrels/test.tsv": HEADER}, "corpus.jsonl"),
    ],
)
def test_a_kind_of_file_is_missing(tmp_path, files, missing):
    others = ", ".join(sorted(name.split("/")[-1] for name in files))
    assert error(write(tmp_path, **files)) == f"HERE: no {missing} beside {others}"


BROKEN = [
    ("corpus.jsonl", '{"_id": "d1", "text": "x"}\n{"_id"\n', "broken JSON: Expecting ':' delimiter, column 7", 2),
    ("corpus.jsonl", "[1]\n", "a row is a JSON object, not a list", 1),
    ("corpus.jsonl", '\n{"text": "x"}\n', "no id in this row; it is called _id, docid or id", 2),
    ("corpus.jsonl", '{"_id": "", "text": "x"}\n', "_id must be a text that is not empty (got '')", 1),
    ("corpus.jsonl", '{"_id": true, "text": "x"}\n', "_id must be a text that is not empty (got True)", 1),
    ("corpus.jsonl", '{"_id": "d1", "title": "x"}\n', "passage 'd1' has no text (got None)", 1),
    ("corpus.jsonl", '{"_id": "d1", "contents": "x"}\n', "passage 'd1' has no text (got None)", 1),
    ("corpus.jsonl", '{"_id": "d1", "text": 3}\n', "text must be a text (got 3)", 1),
    ("corpus.jsonl", '{"_id": "d1", "title": 3, "text": "x"}\n', "title must be a text (got 3)", 1),
    ("corpus.jsonl", '{"_id": "d1", "text": "x", "language": 3}\n', "language must be a code like 'sw' (got 3)", 1),
    (
        "corpus.jsonl",
        '{"_id": "d", "text": "x", "language": "gb"}\n',
        "'gb' has the code of a country; the language is written en",
        1,
    ),
    ("queries.jsonl", '{"_id": "q1", "text": "x"}\n{\n', "broken JSON: Expecting property name enclosed in double", 2),
    ("queries.jsonl", '{"text": "x"}\n', "no id in this row; it is called _id, qid, query_id, query-id or id", 1),
    ("queries.jsonl", '{"_id": "q1"}\n', "query 'q1' has no text (got None)", 1),
    ("queries.jsonl", '{"_id": "q1", "text": ""}\n', "query 'q1' has no text", 1),
    ("queries.jsonl", '{"_id": "q1", "text": "x"}\n' * 2, "query id 'q1' occurs twice; ids must be unique", 2),
    ("qrels/test.tsv", HEADER + "q9\td1\t1\n", "query 'q9' is not among the 3 queries of HERE/queries.jsonl", 2),
    ("qrels/test.tsv", "q1\td1\tx\n", "a grade is a whole number (got 'x')", 1),
    ("qrels/test.tsv", HEADER + "q1\td1\t0.5\n", "a grade is a whole number (got '0.5')", 2),
    ("qrels/test.tsv", HEADER + "q1\td1\tinf\n", "a grade is a whole number (got 'inf')", 2),
    ("qrels/test.tsv", HEADER + "q1\td1\tnan\n", "a grade is a whole number (got 'nan')", 2),
    ("qrels/test.tsv", HEADER + "q1\t0\td1\t1\n", "a judgement has 3 columns like the header before, ", 2),
    ("qrels/test.tsv", HEADER + "q1\t\t1\n", "a judgement has 3 columns like the header before, ", 2),
    ("qrels/test.tsv", "q1 d1 1\nq1 0 d1 1\n", "a judgement has 3 columns like the rows before, ", 2),
    (
        "qrels/test.tsv",
        "query-id 0 corpus-id score\nq1 d1 1\n",
        "a judgement has 4 columns like the header before, ",
        2,
    ),
    (
        "qrels/test.tsv",
        'query-id\tcorpus-id\t"Score"\tlanguage\nq1\td1\t1\ten\n',
        "a header of other columns (query-id, corpus-id, score, language) than 'query passage grade' or 'query 0 pas",
        1,
    ),
    ("qrels/test.tsv", "query\tpassage\n", "a header of other columns (query, passage) than ", 1),
    ("qrels/test.tsv", HEADER + "q1\td1\t1e300\n", "a grade lies between -2147483648 and 2147483648 (got '1e300')", 2),
    ("qrels/test.tsv", "q1 d1 -2147483649\n", "a grade lies between -2147483648 and 2147483648 (got '-21474836", 1),
    ("corpus.jsonl", [{"_id": "d\ud800", "text": "x"}], "_id: no valid Unicode: half a character, '\\ud800', in ", 1),
    ("corpus.jsonl", [CORPUS[0], {"_id": "d", "text": "x\ud800"}], "passage 'd': no valid Unicode: half a char", 2),
    ("corpus.jsonl", [{"_id": "d", "title": "\udfff", "text": "x"}], "passage 'd': no valid Unicode: half a char", 1),
    ("queries.jsonl", [{"_id": "q\ud800", "text": "x"}], "_id: no valid Unicode: half a character, '\\ud800', in ", 1),
    ("queries.jsonl", [{"_id": "q1", "text": "hel\ud800lo"}], "query 'q1': no valid Unicode: half a character, ", 1),
    ("corpus.jsonl", '{"_id": null, "text": "x"}\n', "no id in this row; it is called _id, docid or id", 1),
    ("qrels/test.tsv", "q1 d1\n", "a judgement has 3 or 4 columns, 'query passage grade' or 'query 0 passage gr", 1),
    ("qrels/test.tsv", "q1 0 d1 1\nq1 0 d1 2\n", "passage 'd1' has grade 2 for query 'q1', in a row before 1", 2),
]


@pytest.mark.parametrize(("name", "content", "reason", "line"), BROKEN)
def test_a_broken_line_is_named(tmp_path, name, content, reason, line):
    assert error(beir(tmp_path, **{name: content}), language="en").startswith(f"HERE/{name}:{line}: {reason}")


def test_passages_without_a_text_are_read_unless_strict(tmp_path):
    empty = [
        {"_id": "e1", "title": "", "text": ""},
        {"_id": "e2", "title": None, "text": None},
        {"_id": 3, "text": " "},
    ]
    beir(tmp_path, **{"corpus.jsonl": [*CORPUS[:3], *empty]})
    assert passages(read(tmp_path, language="en"))[3:] == [("e1", "en", ""), ("e2", "en", ""), ("3", "en", "")]
    assert error(tmp_path, language="en", strict=True) == (
        "HERE/corpus.jsonl:4: passage 'e1' (and 2 more) has no text; without benchmark.strict they are counted"
    )


def test_judged_queries_that_are_not_there_are_left_out_unless_strict(tmp_path):
    beir(tmp_path, **{"qrels/test.tsv": HEADER + "q8\td1\t1\nq2\td2\t1\nq9\td1\t1\nq9\td2\t1\n"})
    rows = read(tmp_path, language="en")
    assert judged(rows) == [("q2", "d2", 1)]
    assert rows.notices == [
        "2 of the topics have no judgement in this split and are left out",
        "2 judged queries are not among the topics and are left out (first: 'q8')",
    ]
    assert error(tmp_path, language="en", strict=True) == (
        "HERE/qrels/test.tsv:2: query 'q8' (and 1 more) is not among the 3 queries of HERE/queries.jsonl; without "
        "benchmark.strict they are left out"
    )


def test_identical_ids_are_a_matter_of_beir_and_trec_folders(tmp_path):
    assert read(beir(tmp_path), language="en").ignore_identical_ids is None
    assert read(tmp_path, language="en", ignore_identical_ids=True, languages=["en"]).ignore_identical_ids is True
    miracl(tmp_path / "m", "sw", **SWAHILI)
    assert error(tmp_path / "m", ignore_identical_ids=False).endswith(
        "benchmark.ignore_identical_ids is for BEIR and TREC folders, whose queries may be passages; leave it out"
    )


def parquet(folder, **files):
    """Writes ``{path: rows}`` as Parquet."""
    for name, rows in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), folder / name)
    return folder


@pytest.mark.parametrize("qrels", ["data", "qrels"])
def test_a_beir_folder_in_the_layout_of_the_hub(tmp_path, qrels):
    corpus = [{"title": "", "text": "", **row, "_id": str(row["_id"])} for row in CORPUS]
    table = [
        {"query-id": q, "corpus-id": d, "score": g} for q, d, g in (("q2", "d2", 1), ("q1", "d3", 0), ("q1", "d1", 2))
    ]
    parquet(
        tmp_path,
        **{
            "corpus/corpus-00000-of-00002.parquet": corpus[:3],
            "corpus/corpus-00001-of-00002.parquet": corpus[3:],
            "queries/queries-00000-of-00002.parquet": QUERIES[:1],
            "queries/queries-00001-of-00002.parquet": QUERIES[1:],
            f"{qrels}/test-00000-of-00002.parquet": table[:1],
            f"{qrels}/test-00001-of-00002.parquet": table[1:],
            f"{qrels}/train-00000-of-00001.parquet": [{"query-id": "q3", "corpus-id": "d1", "score": 1}],
        },
    )
    rows, plain = read(tmp_path, language="en"), read(beir(tmp_path / "plain"), language="en")
    assert (rows.queries, rows.judged, rows.notices) == (plain.queries, plain.judged, plain.notices)
    assert passages(rows) == passages(plain)
    assert [part.name for part in rows.corpus] == ["corpus-00000-of-00002", "corpus-00001-of-00002"]
    assert judged(read(tmp_path, language="en", split="train")) == [("q3", "d1", 1)]
    named = write(tmp_path / "named", **{"corpus.jsonl": CORPUS, "queries.jsonl": QUERIES, "qrels/test.jsonl": table})
    assert read(named, language="en").judged == plain.judged
    parquet(tmp_path, **{f"{qrels}/test-00000-of-00002.parquet": [{"query-id": "q2", "score": 1}]})
    assert error(tmp_path, language="en") == (
        f"HERE/{qrels}/test-00000-of-00002.parquet:1: a judgement has the columns query-id, corpus-id, score; no "
        "corpus-id there"
    )


def test_files_that_cannot_be_read(tmp_path):
    beir(tmp_path)
    (tmp_path / "queries.jsonl").write_bytes(b'{"_id": "q1", "text": "\xff"}\n')
    assert error(tmp_path, language="en").startswith("HERE/queries.jsonl:1: not UTF-8: ")
    (tmp_path / "queries.jsonl").rename(tmp_path / "queries.jsonl.gz")
    assert error(tmp_path, language="en").startswith("HERE/queries.jsonl.gz: cannot be read: ")


def test_nothing_to_score(tmp_path):
    beir(tmp_path, **{"qrels/test.tsv": HEADER})
    assert error(tmp_path, language="en") == "HERE/qrels/test.tsv: no judgement in the file"
    beir(tmp_path, **{"qrels/test.tsv": HEADER + "q1\td1\t0\n"})
    assert error(tmp_path, language="en") == "HERE split test: no query has a relevant passage"


def test_a_query_with_judged_negatives_alone_stays(tmp_path):
    rows = read(beir(tmp_path, **{"qrels/test.tsv": HEADER + "q1\td1\t0\nq2\td2\t-1\nq3\td1\t1\n"}), language="en")
    assert [text.text_id for text in rows.queries] == ["q1", "q2", "q3"]
    assert judged(rows)[1] == ("q2", "d2", -1)


def test_texts_without_a_language(tmp_path):
    ask = "no language in this row; say that of all texts (language: en; of a benchmark --set benchmark.language=en), "
    assert error(beir(tmp_path)) == f"HERE/queries.jsonl:1: {ask}or each row's as its 'language'"
    (tmp_path / "queries.jsonl").unlink()
    write(tmp_path, **{"topics.tsv": "q1\thow fast?\n"})
    assert error(tmp_path).startswith("HERE/topics.tsv:1: no language in this row; say that of all texts (")


@pytest.mark.parametrize("row", ["q1 no tab", "\tno id", "q1"])
def test_a_topic_of_another_form(tmp_path, row):
    write(tmp_path, **{"corpus.jsonl": CORPUS, "topics.tsv": f"q0\tfine\n{row}\n", "qrels.txt": "q0 0 d1 1\n"})
    assert error(tmp_path, language="en") == f"HERE/topics.tsv:2: a query is 'id TAB text' (got {row!r})"


def test_queries_that_lose_all_their_judgements_are_counted(tmp_path):
    files = {
        "corpus.jsonl": [{"_id": "d1", "language": "en", "text": "x"}, {"_id": "d2", "text": "y"}],
        "queries.jsonl": [{"_id": "q0", "text": "a?"}, {"_id": "q1", "text": "b?"}, {"_id": "q2", "text": "c?"}],
        "qrels.txt": "q0 0 d1 1\nq1 0 d1 1\nq1 0 d2 0\nq2 0 d2 1\n",
    }
    rows = read(write(tmp_path, **files), language="sw", languages=["sw"])
    assert judged(rows) == [("q1", "d2", 0), ("q2", "d2", 1)]  # q1 was judged in Swahili, and is without answer
    assert [text.text_id for text in rows.queries] == ["q1", "q2"]
    assert rows.notices == ["1 of the queries have no judged passage in these languages and are left out"]


def test_null_says_neither_id_nor_language(tmp_path):
    files = {
        "corpus.jsonl": [{"_id": None, "docid": None, "id": "d1", "language": None, "text": "x"}],
        "queries.jsonl": [{"_id": None, "id": "q1", "language": None, "text": "x?"}],
        "qrels.txt": "q1 0 d1 1\n",
    }
    rows = read(write(tmp_path, **files), language="sw")
    assert rows.queries == [Text("q1", "sw", "x?")]
    assert passages(rows) == [("d1", "sw", "x")]
    assert error(tmp_path).startswith("HERE/queries.jsonl:1: no language in this row; say that of all texts (")


def test_the_largest_grades(tmp_path):
    write(tmp_path, **{"corpus.jsonl": CORPUS, "queries.jsonl": QUERIES})
    write(tmp_path, **{"qrels.txt": "q1 0 d1 2147483648\nq1 0 d2 -2147483648\n"})
    assert [grade for _, _, grade in judged(read(tmp_path, language="en"))] == [2**31, -(2**31)]


@pytest.mark.parametrize("wanted", [{}, {"language": "en"}, {"split": "test"}, {"documents": (0, 1)}])
@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl", "corpus.jsonl.gz"])
def test_a_file_of_a_beir_folder_alone(tmp_path, name, wanted):
    file = write(tmp_path, **{name: BEIR[name.removesuffix(".gz")]}) / name
    for path in (file, tmp_path):
        assert error(path, **wanted).replace(f"/{name}", "") == (
            "HERE:1: a row of a corpus or of queries, not a group; a BEIR or TREC benchmark is given as the folder "
            "that holds corpus.jsonl, queries.jsonl and qrels"
        )


def test_a_part_of_miracl_alone(tmp_path, monkeypatch):
    miracl(tmp_path, "sw", **SWAHILI)
    corpus = tmp_path / "miracl-corpus" / "miracl-corpus-v1.0-sw"
    above = "the corpus of MIRACL without topics and qrels; give the folder above, that holds miracl-corpus-v1.0-<xx>/ "
    for path in (corpus, corpus / "docs-0.jsonl.gz", corpus.parent):
        assert f"docs-0.jsonl.gz: {above}" in error(path) or error(path).startswith(f"HERE: {above}")
    monkeypatch.chdir(corpus)
    assert above in error("../miracl-corpus-v1.0-sw")
    assert "or give the folder that holds both" in error(tmp_path / "miracl" / "miracl-v1.0-sw")
    assert error(tmp_path, language="sw") == "HERE: every text there names its language; leave benchmark.language out"


def test_packed_and_unpacked_files_beside_each_other(tmp_path):
    beir(tmp_path, **{"corpus.jsonl.gz": CORPUS})
    assert error(tmp_path, language="en") == (
        "HERE/corpus.jsonl.gz: HERE/corpus.jsonl is there too; keep one of the two"
    )


def test_the_corpus_streams_and_starts_again(tmp_path):
    (part,) = read(beir(tmp_path), language="en").corpus
    stream = part.read()
    assert next(stream).text_id == "d1"
    assert next(part.read()).text_id == "d1"
    assert next(stream).text_id == "d2"


def test_a_part_is_read_from_another_folder_too(tmp_path, monkeypatch):
    beir(tmp_path / "b")
    monkeypatch.chdir(tmp_path)
    rows = read("b", language="en")
    assert rows.name == "b split test"
    monkeypatch.chdir("/")
    assert len(passages(rows)) == 4
