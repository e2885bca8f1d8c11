"""Published collections are read as training pairs: SQuAD's layout, judged collections by id, data sets of the hub."""

import gzip
import json
import re
from pathlib import Path

import pyarrow as pa
import pytest

from hybridtune.config.fields import BenchmarkSource, Data, DataSet, Encoder, Holdout
from hybridtune.data.readers.benchmarks import read_benchmark
from hybridtune.data.readers.notes import Notes
from hybridtune.data.readers.sources import find_sources, read_groups
from hybridtune.data.store import recipe
from hybridtune.errors import InputError

DOCS = Path(__file__).parents[2] / "docs" / "data.md"
CASES = Path(__file__).parents[3] / "shared" / "cases" / "data" / "23-shapes"


def read(path, notes=None, **fields):
    return [
        group for source in find_sources([DataSet(path=str(path), **fields)]) for group in read_groups(source, notes)
    ]


def pairs(groups):
    return [(group.group_id, dict(group.queries), dict(group.passages)) for group in groups]


def refusal(path, **fields):
    with pytest.raises(InputError) as caught:
        read(path, **fields)
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(str(path), "HERE")


def write(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if not isinstance(content, str):
            content = "".join(json.dumps(row) + "\n" for row in content)
        data = content.encode()
        (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return folder


def squad(*articles):
    """A file of articles: (title, paragraph, {id: question})."""
    return json.dumps(
        {
            "version": "1.1",
            "data": [
                {"title": title, "paragraphs": [{"context": text, "qas": [question(*qa) for qa in qas.items()]}]}
                for title, text, qas in articles
            ],
        }
    )


def question(name, text):
    return {"id": name, "question": text.removeprefix("!"), "answers": [], "is_impossible": text.startswith("!")}


def test_squad_is_read_with_its_articles_as_documents(tmp_path):
    file = squad(("Tesla", "He was born.", {"a": "Who?", "b": "!Why?"}), ("", "It fell.", {"c": "What?"}))
    write(tmp_path, {"train-v2.0.json": file})
    notes = Notes()
    groups = read(tmp_path / "train-v2.0.json", notes, language="en")
    assert pairs(groups) == [("a", {"en": "Who?"}, {"en": "He was born."}), ("c", {"en": "What?"}, {"en": "It fell."})]
    assert [group.document_id for group in groups] == ["Tesla", "train-v2.0:1"]
    assert notes.left_out() == {"questions that their paragraph does not answer (is_impossible)": 1}
    assert refusal(tmp_path / "train-v2.0.json").startswith("HERE:1: nothing says the language of its questions and")


def test_languages_of_xquad_are_joined_by_id(tmp_path):
    write(
        tmp_path,
        {
            "xquad.en.json": squad(("T", "text", {"a": "who"}), ("U", "more", {"b": "what"})),
            "xquad.de.json": squad(("T", "Text", {"a": "wer"}), ("U", "mehr", {"c": "was"})),
        },
    )
    groups = read(tmp_path)
    assert pairs(groups) == [
        ("a", {"de": "wer", "en": "who"}, {"de": "Text", "en": "text"}),
        ("c", {"de": "was"}, {"de": "mehr"}),
        ("b", {"en": "what"}, {"en": "more"}),
    ]
    assert [group.document_id for group in groups] == ["T", "U", "U"]


def test_a_paragraph_of_mlqa_is_the_passage_of_questions_in_other_languages(tmp_path):
    write(
        tmp_path,
        {
            "dev/dev-context-en-question-en.json": squad(("T", "text", {"a": "who"})),
            "dev/dev-context-en-question-de.json": squad(("T", "text", {"a": "wer"})),
            "dev/dev-context-de-question-de.json": squad(("T'", "Text", {"a": "wer"})),
            "test/test-context-en-question-en.json": squad(("T", "other", {"z": "where"})),
        },
    )
    assert pairs(read(tmp_path, split="dev")) == [("a", {"de": "wer", "en": "who"}, {"de": "Text", "en": "text"})]
    assert refusal(tmp_path) == "HERE: which split? there are: dev, test; write split: dev"
    write(tmp_path, {"dev/dev-context-de-question-en.json": squad(("T", "Text", {"a": "whom"}))})
    assert "question 'a' has two texts among the queries in 'en'" in refusal(tmp_path, split="dev")


def test_tydi_names_its_languages_by_id(tmp_path):
    write(tmp_path, {"tydiqa-goldp-v1.1-train.json": squad(("T", "maandishi", {"swahili-17-0": "nani?"}))})
    assert pairs(read(tmp_path / "tydiqa-goldp-v1.1-train.json")) == [
        ("swahili-17-0", {"sw": "nani?"}, {"sw": "maandishi"})
    ]


def test_a_broken_article_names_its_line(tmp_path):
    path = tmp_path / "squad.json"
    path.write_text('{"version": "1",\n"data": [\n{"paragraphs": []},\n{"paragraphs": [{"context": "c"}]}]}')
    assert refusal(path, language="en") == (
        "HERE:4: article 1, paragraph 0 is not of SQuAD's layout, a context and qas, each with an id and a question: "
        "qas is missing"
    )
    path.write_text('{"paragraphs": 1,\n"data": {}}')
    assert refusal(path, language="en") == "HERE:2: not a JSON object with a list under 'data'"


BEIR = {
    "corpus.jsonl": [
        {"_id": "p1", "title": "T", "text": "one"},
        {"_id": "p2", "text": "two"},
        {"_id": "p3", "text": "x"},
    ],
    "queries.jsonl": [{"_id": "q1", "text": "first"}, {"_id": "q2", "text": "second"}],
    "qrels/train.tsv": "query-id\tcorpus-id\tscore\nq1\tp1\t1\nq1\tp2\t2\nq1\tp3\t0\nq2\tp9\t1\nq7\tp1\t1\n",
    "qrels/test.tsv": "query-id\tcorpus-id\tscore\nq2\tp2\t1\n",
}


def test_beir_with_its_judgements(tmp_path):
    folder, notes = write(tmp_path / "scifact", BEIR), Notes()
    groups = read(folder, notes, language="en")
    assert pairs(groups) == [
        ("scifact:q1", {"en": "first"}, {"en": "T one"}),
        ("scifact:q1#2", {"en": "first"}, {"en": "two"}),
    ]
    assert [group.negatives for group in groups] == [{"en": ["x"]}, {"en": ["x"]}]
    assert notes.lines() == [
        f"{folder}: BEIR or TREC, judgements of split train",
        f"left out: 1 relevant passages that are not in the corpus, or have no text (first: {folder}: query 'q2')",
        f"left out: 1 judged queries that are not among the queries (first: {folder}: query 'q7')",
    ]
    assert [group.group_id for group in read(folder, language="en-de", split="test")] == ["scifact:q2"]
    assert refusal(folder, split="dev", language="en") == (
        "HERE: no split 'dev'; there are queries and judgements of: test, train; write split: test"
    )
    assert "no language in this row; say that of all texts (language: en; " in refusal(folder)
    assert refusal(folder / "corpus.jsonl", language="en") == (
        "HERE:1: this is a part of a judged collection; give the folder that holds its queries, judgements and corpus"
    )


def judged_topics(*rows):
    return "".join(f"{name}\t{text}\n" for name, text in rows)


MIRACL = {
    f"miracl-v1.0-{language}/{kind}/{kind}.miracl-v1.0-{language}-{split}.tsv": content
    for language, split in (("sw", "train"), ("yo", "dev"))
    for kind, content in (("topics", judged_topics(("1", f"{language}?"))), ("qrels", "1\tQ0\t5#1\t1\n1\tQ0\t5#2\t0\n"))
} | {
    f"miracl-corpus-v1.0-{language}/docs-0.jsonl.gz": [
        {"docid": f"5#{n}", "title": "T", "text": f"{language} {n}"} for n in range(3)
    ]
    for language in ("sw", "yo")
}
COLLECTIONS = {  # format: files, what is asked for, groups, negatives
    "miracl": (MIRACL, {}, [("HERE:sw:1", {"sw": "sw?"}, {"sw": "T sw 1"})], [{"sw": ["T sw 2"]}]),
    "ciral": (
        {
            "ciral-hausa/topics/topics.ciral-v1.0-ha-dev.tsv": judged_topics(("7", "who rules?")),
            "ciral-hausa/qrels/qrels.ciral-v1.0-ha-dev.tsv": "7 Q0 VOA#1#0 1\n7 Q0 VOA#2#0 0\n",
            "ciral-corpus/hausa_passages.jsonl": [
                {"docid": "VOA#1#0", "title": "T", "text": "wani", "url": "u"},
                {"docid": "VOA#2#0", "title": "", "text": "wata", "url": "u"},
            ],
        },
        {},
        [("HERE:ha:7", {"en": "who rules?"}, {"ha": "T wani"})],
        [{"ha": ["wata"]}],
    ),
    "neuclir": (
        {
            "data/news.eng.tsv": judged_topics(("1", "strike")),
            "data/news.rus.tsv": judged_topics(("1", "забастовка")),
            "data/qrels.rus.gains.txt": "1 0 d1 3\n1 0 d2 0\n",
            "data/qrels.mlir.gains.txt": "1 0 d1 3\n1 0 d9 3\n",
            "docs/rus-00000.jsonl.gz": [
                {"id": "d1", "title": "T", "text": "один"},
                {"id": "d2", "title": "", "text": "два"},
            ],
        },
        {},
        [("HERE:1", {"en": "strike", "ru": "забастовка"}, {"ru": "T один"})],
        [{"ru": ["два"]}],
    ),
    "mmarco": (
        {
            "collections/german_collection.tsv": judged_topics(("0", 'eins "zwei"'), ("1", "drei"), ("2", "vier")),
            "collections/english_collection.tsv": judged_topics(("0", "one"), ("1", "three"), ("2", "four")),
            "queries/train/german_queries.train.tsv": judged_topics(("9", "wer")),
            "queries/train/english_queries.train.tsv": judged_topics(("9", "who")),
            "queries/dev/german_queries.dev.tsv": judged_topics(("8", "was")),
            "qrels.dev.small.tsv": "8\t0\t1\t1\n",
            "triples.train.ids.small.tsv": "9\t0\t1\n9\t0\t2\n9\t2\t1\n",
        },
        {},
        [
            ("HERE:9", {"de": "wer", "en": "who"}, {"de": 'eins "zwei"', "en": "one"}),
            ("HERE:9#2", {"de": "wer", "en": "who"}, {"de": "vier", "en": "four"}),
        ],
        [{"de": ["drei", "vier"], "en": ["three", "four"]}, {"de": ["drei"], "en": ["three"]}],
    ),
    "mrtydi": (
        {
            "mrtydi-v1.1-swahili/topic.train.tsv": judged_topics(("1", "nani?")),
            "mrtydi-v1.1-swahili/qrels.train.txt": "1 Q0 26#1 1\n",
            "mrtydi-v1.1-swahili/collection/docs.jsonl.gz": [{"id": "26#1", "contents": "Title\n\ntext"}],
        },
        {},
        [("HERE:sw:1", {"sw": "nani?"}, {"sw": "Title\n\ntext"})],
        [{}],
    ),
    "clirmatrix": (
        {
            "de.en.train.base.jl.gz": [
                {"src_id": "4", "src_query": "Brücke", "tgt_results": [["a", 6], ["b", 2], ["c", 0]]}
            ],
            "en.tsv": judged_topics(("a", "bridge"), ("b", "river"), ("c", "tree")),
        },
        {},
        [("HERE:de-en:4", {"de": "Brücke"}, {"en": "bridge"})],
        [{"en": ["tree"]}],
    ),
}


@pytest.mark.parametrize("kind", COLLECTIONS)
def test_judged_collections(tmp_path, kind):
    files, fields, expected, negatives = COLLECTIONS[kind]
    write(tmp_path / "HERE", files)
    groups = read(tmp_path / "HERE", **fields)
    assert pairs(groups) == expected
    assert [group.negatives for group in groups] == negatives
    assert read(tmp_path / "HERE", format=kind) == groups
    other = next(name for name in COLLECTIONS if name != kind)
    assert f"the files there are those of {kind}, not of {other}" in refusal(tmp_path / "HERE", format=other)


@pytest.mark.parametrize("kind", COLLECTIONS)
def test_a_judged_collection_without_its_corpus_is_refused(tmp_path, kind):
    corpus = re.compile("corpus|docs|collection.tsv|en.tsv")
    files = {name: rows for name, rows in COLLECTIONS[kind][0].items() if not corpus.search(name)}
    assert "HERE" in refusal(write(tmp_path, files))


def test_the_embedded_readers_agree_with_the_benchmark(tmp_path):
    folder = write(tmp_path / "beir", BEIR)
    rows = read_benchmark(BenchmarkSource(path=str(folder), language="en", split="train"))
    judged = {(rows.queries[pair.query].text_id, pair.passage_id) for pair in rows.judged if pair.grade > 0}
    texts = {text.text_id: text.text for part in rows.corpus for text in part.read()}
    expected = {(query, texts[passage]) for query, passage in judged if passage in texts}
    found = {
        (group.group_id.split(":")[1].split("#")[0], group.passages["en"]) for group in read(folder, language="en")
    }
    assert found == expected


@pytest.mark.parametrize("kind", ["mmarco", "mrtydi", "clirmatrix"])
def test_collections_that_are_no_benchmark_yet_are_named(tmp_path, kind):
    write(tmp_path, COLLECTIONS[kind][0])
    with pytest.raises(InputError) as caught:
        read_benchmark(BenchmarkSource(path=str(tmp_path)))
    assert f"the files of {kind} are read as training pairs; as a benchmark" in str(caught.value)


def test_the_documented_code_makes_a_benchmark(tmp_path, monkeypatch):
    section = DOCS.read_text(encoding="utf-8").split("### Data in other formats")[1].split("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.S)
    rows = judged_topics(*((n, f"Brücke {n}") for n in range(4)))
    write(
        tmp_path,
        {
            "german_collection.tsv": rows,
            "german_queries.dev.tsv": rows,
            "qrels.dev.small.tsv": "".join(f"{n}\t0\t{n}\t1\n" for n in range(4)),
        },
    )
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs/data.md", "exec"), {})
    for name in ("german_collection.tsv", "german_queries.dev.tsv"):
        (tmp_path / name).unlink()
    found = read_benchmark(BenchmarkSource(path=str(tmp_path), language="de"))
    assert [text.text for text in found.queries] == [f"Brücke {n}" for n in range(4)]
    assert [tuple(pair) for pair in found.judged] == [(n, str(n), 1) for n in range(4)]


def test_pairs_are_a_benchmark_too(tmp_path):
    write(tmp_path, {"dev.csv": "question,answer\nwho?,me\nwhere?,here\n"})
    rows = read_benchmark(BenchmarkSource(path=str(tmp_path / "dev.csv"), language="en"))
    assert [(text.language, text.text) for text in rows.queries] == [("en", "who?"), ("en", "where?")]


def saved(folder, splits):
    from datasets import Dataset, DatasetDict

    made = {split: Dataset.from_list([{"query": f"{split}?", "answer": "me"}]) for split in splits}
    (DatasetDict(made) if len(made) > 1 else made[splits[0]]).save_to_disk(folder)
    return folder


def test_folders_that_datasets_saved(tmp_path):
    one = saved(tmp_path / "one", ["train"])
    assert [group.queries for group in read(one, language="en")] == [{"en": "train?"}]
    both = saved(tmp_path / "both", ["test", "train"])
    assert [group.queries for group in read(both, language="en")] == [{"en": "train?"}]
    assert [group.queries for group in read(both, language="en", split="test")] == [{"en": "test?"}]


def test_data_sets_of_the_hub_by_name(monkeypatch):
    import datasets

    asked = []

    def load(name, configuration, split, revision):
        asked.append((name, configuration, split, revision))
        return datasets.Dataset.from_list([{"question": "who?", "answer": "me", "language": "eng"}])

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)  # nobody is asked whether the hub is there
    (group,) = read("hf://datasets/me/webfaq/eng")
    assert (group.group_id, group.queries, group.passages) == ("eng:1", {"en": "who?"}, {"en": "me"})
    read("hf://datasets/me/webfaq@v2", split="test")
    assert asked == [("me/webfaq", "eng", "train", None), ("me/webfaq", None, "test", "v2")]


def test_a_hub_that_is_not_there_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    line = refusal("hf://datasets/me/nowhere")
    assert line.startswith("HERE: split 'train' of the hub's data set cannot be loaded: ")
    assert "without a network it must be in the cache of datasets" in line
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert refusal("hf://datasets/me/nowhere").startswith("HERE: http://127.0.0.1:9 cannot be reached: ")
    monkeypatch.chdir(tmp_path)
    assert refusal("me/nowhere") == "HERE: does not exist; a data set of the hub is written hf://datasets/HERE"


def test_a_hundred_negatives_are_not_kept(tmp_path):
    triples = "".join(f"9\t0\t{n}\n" for n in range(1, 101))
    files = {**COLLECTIONS["mmarco"][0], "triples.train.ids.small.tsv": triples}
    notes = Notes()
    (group,) = read(write(tmp_path, files), notes)
    assert group.negatives["de"] == ["drei", "vier"]
    assert notes.left_out() == {"passages not relevant, beyond 8 of a query": 92}


@pytest.mark.kit
@pytest.mark.skipif(not CASES.is_dir(), reason="the cases of published shapes are not beside the checkout")
@pytest.mark.parametrize(
    ("name", "fields", "count"),
    [
        ("pairs.csv", {}, 40),
        ("pairs.tsv", {"columns": {"query": 1, "passage": 2}, "language": "en"}, 40),
        ("flat.parquet", {"language": "en"}, 40),
        ("flag.jsonl", {"language": "en"}, 40),
        ("st_triplet.jsonl", {"language": "en"}, 40),
        ("tevatron.jsonl", {"language": "en"}, 40),
        ("afriqa", {}, 15),
        ("squad.json", {"language": "en"}, 40),
        ("xquad_orig", {}, 15),
        ("hfds", {}, 40),
        ("mmarco", {}, 15),
        ("mrtydi", {"language": "en"}, 15),
        ("clirmatrix", {}, 15),
        ("hf_beir", {"language": "en"}, 15),
    ],
)
def test_the_published_shapes(name, fields, count):
    groups = read(CASES / name, **fields)
    assert len({group.group_id for group in groups}) == count
    assert all(group.queries and group.passages for group in groups)


def test_arrow_caches_beside_a_saved_data_set_are_passed_over(tmp_path):
    folder = saved(tmp_path / "one", ["train"])
    with pa.OSFile(str(folder / "cache-1234.arrow"), "wb") as sink:
        sink.write(b"a cache")
    assert len(read(folder, language="en")) == 1


def test_what_is_said_of_the_files_and_each_of_them_are_part_of_the_data_digest(tmp_path):
    write(tmp_path / "beir", BEIR)
    (tmp_path / "pairs.csv").write_text("question,answer,text\nq,a,t\n")

    def digest(path, **fields):
        return recipe(Data(train=[DataSet(path=str(tmp_path / path), **fields)]), Encoder()).data_digest

    said = [
        {"language": "en"},
        {"language": "en-de"},
        {"language": "en", "columns": {"passage": "text"}},
        {"language": "en", "columns": {"passage": "answer"}},
        {"language": "en", "format": "pairs"},
    ]
    digests = {digest("pairs.csv", **fields) for fields in said}
    digests |= {digest("beir", language="en", split=split) for split in ("train", "test")}
    before = digest("beir", language="en")
    write(tmp_path / "beir", {"queries.jsonl": [{"_id": "q1", "text": "another"}]})
    assert len(digests | {before, digest("beir", language="en")}) == len(said) + 4
    assert digest("pairs.csv", language="en") in digests


def test_a_holdout_and_limits_of_pairs(tmp_path):
    text = "".join(f"question {n}?,answer {n}.,doc{n},{'sw' if n % 2 else 'en'}\n" for n in range(40))
    (tmp_path / "pairs.csv").write_text("question,answer,url,lang\n" + text)
    data = Data(train=str(tmp_path / "pairs.csv"), holdout=Holdout(documents=0.2), language_limits={"sw": 3})
    made_of = recipe(data, Encoder())
    corpus = made_of.read_corpus()
    assert corpus.pair_counts().tolist()[1][1] == 3
    held = {group.document_id for part in made_of.cut.parts.values() for group in part}
    trained = {group.document_id for _, group in made_of.groups()}
    assert held
    assert trained
    assert not held & trained
    assert held | trained == {f"doc{n}" for n in range(40)}
    assert made_of.notes.formats() == [
        f"{tmp_path / 'pairs.csv'}: pairs by columns, query=question, passage=answer, language=lang, document=url"
    ]
