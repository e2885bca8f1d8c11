"""Benchmarks of news and of low-resource languages: CIRAL, NeuCLIRBench, mteb's subsets, AfriQA, TyDi."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import reading
from reading import answers, passages, read


def error(path, **wanted):
    """The message without the folder's path."""
    return reading.error(path, **wanted).replace(f"{path}", "HERE")


def write(folder, files):
    """Files by path: lists become JSON lines, or Parquet by the suffix; texts stay as they are; .gz packs."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".parquet"):
            pq.write_table(pa.Table.from_pylist(content), path)
            continue
        text = content if isinstance(content, str) else "".join(json.dumps(row) + "\n" for row in content)
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return folder


def news(*docs):
    return [{"id": name, "title": "T", "text": text, "url": "u"} for name, text in docs]


NEUCLIR = {
    "bench/data/news.eng.tsv": "7\tstrike\n8\tflood\n9\tfire\n",
    "bench/data/news.rus.tsv": "7\tзабастовка\n8\tнаводнение\n",
    "bench/data/qrels.mlir.gains.txt": "7 0 r1 3\n7 0 r2 1\n7 0 z1 1\n7 0 z2 0\n7 0 z3 3\n",
    "bench/data/qrels.rus.gains.txt": "7 0 r1 3\n7 0 r2 1\n8 0 r2 3\n",
    "bench/data/qrels.zho.gains.txt": "7 0 z1 1\n7 0 z3 3\n",
    "neuclir1/data/rus-00000-of-00002.jsonl.gz": news(("r1", "один")),
    "neuclir1/data/rus-00001-of-00002.jsonl.gz": news(("r2", "два")),
    "neuclir1/data/zho-00000-of-00001.jsonl.gz": news(("z1", "一"), ("z2", "二"), ("z3", "三")),
}


def test_neuclir_is_judged_in_all_languages_by_its_multilingual_qrels(tmp_path):
    rows = read(write(tmp_path, NEUCLIR))
    assert rows.name == f"{tmp_path} split mlir"
    assert [(query.text_id, query.language) for query in rows.queries] == [("7:en", "en"), ("7:ru", "ru")]
    graded = {("T один", 3), ("T два", 1), ("T 一", 1), ("T 二", 0), ("T 三", 3)}
    assert answers(rows) == {(f"7:{language}", *of) for language in ("en", "ru") for of in graded}
    assert sorted(part.name for part in rows.corpus) == [
        f"neuclir1-data-{part}.jsonl.gz" for part in ("rus-00000-of-00002", "rus-00001-of-00002", "zho-00000-of-00001")
    ]
    assert {text.language for text in passages(rows)} == {"ru", "zh"}
    assert rows.ignore_identical_ids is False
    published = "the published mono and cross figures are of more topics, a language at a time: split rus or zho"
    assert rows.notices == [
        "3 of the topics have no judgement in this split and are left out",
        f"{published} (--set benchmark.split=rus)",
    ]


def test_a_language_of_neuclir_has_its_own_judgements_and_documents(tmp_path):
    rows = read(write(tmp_path, NEUCLIR), split="rus")
    assert answers(rows) == {
        (f"{topic}:{language}", text, grade)
        for language in ("en", "ru")
        for topic, text, grade in (("7", "T один", 3), ("7", "T два", 1), ("8", "T два", 3))
    }
    assert {text.language for text in passages(rows)} == {"ru"}
    english = read(tmp_path, languages=["en", "zh"])
    assert answers(english) == {("7:en", "T 一", 1), ("7:en", "T 二", 0), ("7:en", "T 三", 3)}


def test_topics_in_one_language_keep_the_ids_of_the_track(tmp_path):
    files = {name: rows for name, rows in NEUCLIR.items() if "news.rus" not in name}
    rows = read(write(tmp_path, files))
    assert [query.text_id for query in rows.queries] == ["7"]


def test_documents_of_neuclir_in_translation_are_named_and_not_read(tmp_path):
    files = {**NEUCLIR, "neuclir1/data/rus.mt.eng-00000-of-00001.jsonl.gz": news(("r1", "one"))}
    rows = read(write(tmp_path, files))
    assert not any("one" in text.text for text in passages(rows))
    assert rows.notices[-1] == (
        "not read: 1 files of translated passages (first: neuclir1/data/rus.mt.eng-00000-of-00001.jsonl.gz)"
    )


def without(files, word):
    return {name: rows for name, rows in files.items() if word not in name}


@pytest.mark.parametrize(
    ("files", "fields", "message"),
    [
        (without(NEUCLIR, "news."), {}, "HERE: no topics (news.eng.tsv, ...) beside the qrels"),
        (without(NEUCLIR, "neuclir1"), {}, "HERE: no documents (JSON lines named for fas, rus or zho) beside"),
        (without(NEUCLIR, "rus-"), {"split": "rus"}, "HERE: no documents (JSON lines named for rus) beside the topics"),
        (NEUCLIR, {"split": "fas"}, "HERE: no split 'fas'; there are: mlir, rus, zho"),
        (
            without(NEUCLIR, "mlir"),
            {},
            "HERE: which split? there are: rus, zho; choose one with --set benchmark.split=",
        ),
        (NEUCLIR, {"language": "en"}, "HERE: every text there names its language; leave benchmark.language out"),
        (NEUCLIR, {"documents": (0, 2)}, "HERE: has no documents to take a part of; leave benchmark.documents out"),
        (
            {**NEUCLIR, "bench/data/qrels.mlir.gains.txt": "7 0 r1 3\n7 0 r2\n"},
            {},
            "HERE/bench/data/qrels.mlir.gains.txt:2: a judgement has 4 columns like the rows before, 'query passage",
        ),
        (
            {**NEUCLIR, "bench/data/qrels.mlir.gains.txt": "7 0 r1 3\n5 0 r2 1\n"},
            {"strict": True},
            "HERE/bench/data/qrels.mlir.gains.txt: query '5' is not among the topics",
        ),
        (
            {**NEUCLIR, "bench/data/news.eng.tsv": "7\tstrike\n8\n"},
            {},
            "HERE/bench/data/news.eng.tsv:2: a query is 'id TAB text' (got '8')",
        ),
        (
            {**NEUCLIR, "neuclir1/data/zho-00000-of-00001.jsonl.gz": [{"id": "z1", "title": "T"}]},
            {},
            "HERE/neuclir1/data/zho-00000-of-00001.jsonl.gz:1: passage 'z1' has no text (got None)",
        ),
    ],
)
def test_broken_neuclir_is_refused_in_a_line(tmp_path, files, fields, message):
    assert error(write(tmp_path, files), **fields).startswith(message)


CIRAL = {
    f"ciral/ciral-{name}/{kind}/{kind}.ciral-v1.0-{code}-{split}.tsv": text
    for name, code in (("hausa", "ha"), ("yoruba", "yo"))
    for split in ("dev", "test-a")
    for kind, text in (
        ("topics", f"1\twho rules {code}?\n2\twhere is {split}?\n"),
        ("qrels", "1 Q0 VOA#1#0 1\n1 Q0 VOA#2#0 0\n" + "2 Q0 VOA#2#0 1\n" * (split == "test-a")),
    )
} | {
    f"ciral-corpus/passages-v1.0/{name}_passages.jsonl": [
        {"docid": f"VOA#{n}#0", "title": "T", "text": f"{name} {n}", "url": "u"} for n in (1, 2)
    ]
    for name in ("hausa", "yoruba")
}


def test_ciral_asks_in_english_for_the_news_of_each_language(tmp_path):
    rows = read(write(tmp_path, CIRAL))
    assert rows.name == f"{tmp_path} split dev"
    assert {(text.text_id, text.language) for text in rows.queries} == {("ha:1", "en"), ("yo:1", "en")}
    assert answers(rows) == {
        (f"{code}:1", f"T {name} {n}", grade)
        for code, name in (("ha", "hausa"), ("yo", "yoruba"))
        for n, grade in ((1, 1), (2, 0))
    }
    assert rows.notices == ["2 of the topics have no judgement in this split and are left out"]


@pytest.mark.parametrize("languages", [["ha"], ["en", "ha"]])
def test_one_language_of_ciral_keeps_its_ids(tmp_path, languages):
    rows = read(write(tmp_path, CIRAL), languages=languages, split="test-a")
    assert answers(rows) == {("1", "T hausa 1", 1), ("1", "T hausa 2", 0), ("2", "T hausa 2", 1)}


def test_the_judgements_of_a_pool_are_of_the_topics_of_its_split(tmp_path):
    pools = {"ciral/ciral-hausa/qrels/qrels.ciral-v1.0-ha-test-a-pools.tsv": "2 Q0 VOA#1#0 1\n"}
    rows = read(write(tmp_path, {**CIRAL, **pools}), languages=["ha"], split="test-a-pools")
    assert answers(rows) == {("2", "T hausa 1", 1)}


@pytest.mark.parametrize(
    ("files", "fields", "message"),
    [
        (without(CIRAL, "yoruba_passages"), {}, "HERE: no passages in yo (hausa_passages.jsonl, ...) beside its qrels"),
        (CIRAL, {"languages": ["sw"]}, "HERE languages sw: no topics of 'sw' there; there are: ha, yo"),
        (CIRAL, {"languages": ["en"]}, "HERE languages en: name languages of passages too; there are: ha, yo"),
        (CIRAL, {"split": "train"}, "HERE: splits with topics and qrels in ha, yo: no split 'train'; there are: dev,"),
        (
            {**CIRAL, "ciral/ciral-hausa/qrels/qrels.ciral-v1.0-ha-dev.tsv": "1 Q0 VOA#1#0 yes\n"},
            {},
            "HERE/ciral/ciral-hausa/qrels/qrels.ciral-v1.0-ha-dev.tsv:1: a grade is a whole number (got 'yes')",
        ),
        (
            {**CIRAL, "ciral-corpus/passages-v1.0/hausa_passages.jsonl": [{"title": "T", "text": "hausa"}]},
            {},
            "HERE/ciral-corpus/passages-v1.0/hausa_passages.jsonl:1: no id in this row; it is called _id, docid or id",
        ),
    ],
)
def test_broken_ciral_is_refused_in_a_line(tmp_path, files, fields, message):
    assert error(write(tmp_path, files), **fields).startswith(message)


def subset(name, queries, docs, qrels, suffix="parquet"):
    """A subset in mteb's layout: ({id: text}, {id: text}, [(query, passage, grade)])."""
    shard = "test-00000-of-00001.parquet" if suffix == "parquet" else f"test.{suffix}"
    return {
        f"{name}-queries/{shard}": [{"_id": key, "text": text} for key, text in queries.items()],
        f"{name}-corpus/{shard}": [{"_id": key, "title": "", "text": text} for key, text in docs.items()],
        f"{name}-qrels/{shard}": [{"query-id": q, "corpus-id": d, "score": grade} for q, d, grade in qrels],
    }


BY_LANGUAGE = {
    **subset("swa", {"q": "nani?"}, {"d": "maji", "e": "moto"}, [("q", "d", 1), ("q", "e", 0)]),
    **subset("de", {"q": "wer?"}, {"d": "Wasser"}, [("q", "d", 1)], suffix="jsonl.gz"),
    "de-top_ranked/test-00000-of-00001.parquet": [{"query-id": "q", "corpus-ids": ["d"]}],
}
BY_PAIR = {  # the language of the passages comes first
    **subset("deu-deu", {"Q0": "wer?"}, {"C0": "Wasser", "C1": "Feuer"}, [("Q0", "C0", 1)]),
    **subset("deu-eng", {"Q0": "who?"}, {"C1": "Wasser", "C0": "Feuer"}, [("Q0", "C1", 1)]),
    **subset("eng-deu", {"Q5": "wer?"}, {"C0": "water"}, [("Q5", "C0", 2), ("Q9", "C0", 1)]),
}


def test_subsets_in_a_language_each_are_judged_within_it(tmp_path):
    rows = read(write(tmp_path, BY_LANGUAGE))
    assert rows.name == f"{tmp_path} split test"
    assert [(text.text_id, text.language) for text in rows.queries] == [("de:q", "de"), ("sw:q", "sw")]
    assert answers(rows) == {("de:q", "Wasser", 1), ("sw:q", "maji", 1), ("sw:q", "moto", 0)}
    assert rows.notices == ["not read, for reranking alone: de-top_ranked/"]
    one = read(tmp_path, languages=["sw"])
    assert answers(one) == {("q", "maji", 1), ("q", "moto", 0)}


def test_subsets_of_pairs_share_their_texts(tmp_path):
    rows = read(write(tmp_path, BY_PAIR))
    assert [(text.text, text.language) for text in rows.queries] == [("wer?", "de"), ("who?", "en")]
    assert sorted(text.text for text in passages(rows)) == ["Feuer", "Wasser", "water"]
    german = "deu-deu:Q0"
    assert answers(rows) == {(german, "Wasser", 1), (german, "water", 2), ("deu-eng:Q0", "Wasser", 1)}
    assert rows.notices == ["1 judgements are of queries that are not there, and are left out"]
    only = read(tmp_path, languages=["de"])
    assert answers(only) == {(german, "Wasser", 1)}


def test_of_a_corpus_for_every_split_one_is_read(tmp_path):
    folder = write(
        tmp_path,
        {
            **{f"corpus/{split}-0-of-1.parquet": [{"_id": "d", "text": split}] for split in ("dev", "test")},
            "queries/test-0-of-1.parquet": [{"_id": "q", "text": "what?"}],
            "data/test-0-of-1.parquet": [{"query-id": "q", "corpus-id": "d", "score": 1}],
        },
    )
    assert answers(read(folder, language="en")) == {("q", "test", 1)}


@pytest.mark.parametrize(
    ("files", "fields", "message"),
    [
        (without(BY_PAIR, "deu-eng-corpus"), {}, "HERE: no deu-eng-corpus/ beside deu-eng-queries/"),
        (without(BY_LANGUAGE, "de-queries"), {}, "HERE: no de-queries/ beside de-corpus/"),
        (without(BY_LANGUAGE, "de-qrels"), {}, "HERE: no de-qrels/ beside de-corpus/"),
        (BY_PAIR, {"languages": ["sw"]}, "HERE languages sw: no subset is in these languages; there are: deu-deu, deu"),
        (BY_PAIR, {"split": "dev"}, "HERE: no split 'dev'; there are: test"),
        (BY_PAIR, {"strict": True}, "HERE/eng-deu-qrels/test-00000-of-00001.parquet:2: the query is not among those"),
        (
            subset("trivia", {"q": "a"}, {"d": "b"}, [("q", "d", 1)]),
            {},
            "HERE: subset 'trivia' names no language: ",
        ),
        (
            {**BY_PAIR, "deu-deu-qrels/test-00000-of-00001.parquet": [{"query": "q", "corpus-id": "d", "score": 1}]},
            {},
            "HERE/deu-deu-qrels/test-00000-of-00001.parquet:1: a judgement has the columns query-id, corpus-id, score;",
        ),
    ],
)
def test_broken_subsets_are_refused_in_a_line(tmp_path, files, fields, message):
    assert error(write(tmp_path, files), **fields).startswith(message)


def afriqa(language, split, *rows):
    return {
        f"gold_passages/{language}/gold_span_passages.afriqa.{language}.en.{split}.json": [
            {"context": context, "question_lang": own, "question_translated": english, "title": "T", "id": str(n)}
            for n, (own, english, context) in enumerate(rows)
        ]
    }


AFRIQA = {
    **afriqa("hau", "test", ("Nawa?", "How many?", "seven countries"), ("Ina?", "Where?", "in Abuja")),
    **afriqa("hau", "train", ("Wa?", "Who?", "a botanist")),
    **afriqa("swa", "test", ("Ngapi?", "How many?", "seven countries")),
}


def test_afriqa_asks_in_the_language_and_in_its_translation(tmp_path):
    rows = read(write(tmp_path, AFRIQA))
    assert rows.name == f"{tmp_path} split test"
    asked = {(rows.queries[pair.query].language, rows.queries[pair.query].text) for pair in rows.judged}
    assert asked == {(x, text) for x, text in [("ha", "Nawa?"), ("ha", "Ina?"), ("sw", "Ngapi?")]} | {
        ("en", "How many?"),
        ("en", "Where?"),
    }
    assert sorted(text.text for text in passages(rows)) == ["in Abuja", "seven countries"]
    assert [text.text for text in read(tmp_path, split="train").queries] == ["Wa?", "Who?"]
    assert error(tmp_path, split="dev") == "HERE: no split 'dev'; there are: test, train"


def test_tydi_is_a_benchmark_of_its_gold_passages(tmp_path):
    data = [
        {
            "title": title,
            "paragraphs": [{"context": context, "qas": [{"id": name, "question": text, "answers": []}]}],
        }
        for title, context, name, text in (
            ("A", "maandishi", "swahili-1-0", "nani?"),
            ("B", "teksti", "finnish-2-0", "kuka?"),
        )
    ]
    path = tmp_path / "tydiqa-goldp-v1.1-dev.json"
    path.write_text(json.dumps({"version": "1.1", "data": data}))
    rows = read(path)
    assert [(text.language, text.text) for text in rows.queries] == [("sw", "nani?"), ("fi", "kuka?")]
    assert {text for _, text, _ in answers(rows)} == {"maandishi", "teksti"}
    assert rows.documents == ["A", "B"]
    assert error(path, split="dev") == "HERE: no splits there, yet split 'dev' is asked for"
