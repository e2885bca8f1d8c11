"""Native files, XQuAD-R / MLQA-R and MLQA as benchmarks, and what is told of a folder of no known format."""

import json
from collections import Counter
from pathlib import Path

import pytest
from reading import answers, error, passages, read

from hybridtune.data.readers.benchmarks import notices_of_languages
from hybridtune.data.readers.records import Judgement

KIT = Path(__file__).parents[3] / "shared" / "kit"

ROWS = [
    {
        "group_id": "1",
        "document_id": "d1",
        "queries": {"en": "who?", "sw": "nani?"},
        "passages": {"en": "me", "sw": "mimi"},
    },
    {"group_id": "2", "document_id": "d2", "queries": {"en": "kāpēc?"}, "passages": {"de": "darum"}},
    {"group_id": "3", "document_id": "d2", "queries": {}, "passages": {"de": "darum"}},
]


def test_native_benchmark_has_one_passage_for_equal_texts(groups_file):
    rows = read(groups_file(ROWS))
    assert [text.text for text in rows.queries] == ["who?", "nani?", "kāpēc?"]
    assert [tuple(text) for text in passages(rows)] == [
        ("1:en", "en", "me"),
        ("1:sw", "sw", "mimi"),
        ("2:de", "de", "darum"),  # group 3 has it too
    ]
    assert [part.name for part in rows.corpus] == ["en", "sw", "de"]
    pairs = [(0, "1:en"), (0, "1:sw"), (1, "1:en"), (1, "1:sw"), (2, "2:de")]
    assert rows.judged == [Judgement(*pair, 1) for pair in pairs]
    assert rows.notices == []
    assert rows.documents == ["d1", "d1", "d2"]


def test_equal_texts_of_two_languages_are_two_passages(groups_file):
    rows = read(groups_file([{"group_id": "1", "queries": {"en": "who?"}, "passages": {"en": "OK", "de": "OK"}}]))
    assert [text.language for text in passages(rows)] == ["en", "de"]
    assert rows.judged == [Judgement(0, "1:de", 1), Judgement(0, "1:en", 1)]


def test_native_files_that_are_no_benchmark(groups_file):
    path = groups_file([*ROWS, {"group_id": "4", "queries": {"en": "when?"}, "passages": {}}])
    assert error(path) == f"{path}:{len(ROWS) + 1}: passages is empty: nothing answers the queries of group '4'"
    path = groups_file([*ROWS, {"group_id": "1", "queries": {"en": "when?"}, "passages": {"en": "now"}}])
    assert error(path) == f"{path}: query id '1:en' occurs 2 times; ids must be unique"
    for side in ("queries", "passages"):
        row = {"group_id": "4", "queries": {"en": "when?"}, "passages": {"en": "now"}}
        path = groups_file([{**row, side: {"us": "when?"}}])
        assert error(path) == f"{path}:1: {side}: 'us' has the code of a country; the language is written en"
    path = groups_file([])
    assert error(path) == f"{path}: no query in the benchmark"


@pytest.mark.parametrize(
    ("documents", "kept"), [(None, "123"), ((0, 1), "1"), ((1, 2), "23"), ((0, 2), "123"), ((1, 99), "23")]
)
def test_a_range_of_native_documents(groups_file, documents, kept):
    rows = read(groups_file(ROWS), documents=documents)
    held = [(row["queries"], row["passages"]) for row in ROWS if row["group_id"] in kept]
    assert [text.text for text in rows.queries] == [text for queries, _ in held for text in queries.values()]
    assert {text.text for text in passages(rows)} == {text for _, texts in held for text in texts.values()}


def test_groups_without_a_document_are_documents_of_their_own(groups_file):
    path = groups_file([{**row, "document_id": "", "queries": {"en": f"q{row['group_id']}"}} for row in ROWS])
    assert len(read(path, documents=(1, 3)).queries) == 2
    assert read(path).documents is None  # where no group has one, there are none
    path = groups_file([ROWS[0], {**ROWS[1], "document_id": ""}])
    assert read(path).documents == ["d1", "d1", "2"]


def test_some_languages_of_a_benchmark(groups_file):
    path = groups_file(ROWS)
    rows = read(path, languages=["sw", "fr"])
    assert rows.name == f"{path} languages sw,fr"
    assert answers(rows) == {("1:sw", "mimi", 1)}
    assert [part.name for part in rows.corpus] == ["sw"]
    assert rows.notices == ["no query in fr"]
    assert rows.documents == ["d1"]
    assert error(path, languages=["de"]) == f"{path} languages de: no query has a relevant passage"
    assert error(path, languages=[]) == "benchmark.languages is empty; leave it out to take all languages"


def test_queries_that_lose_all_their_passages_are_counted(groups_file):
    rows = [*ROWS, {"group_id": "4", "queries": {"sw": "lini?", "en": "when?"}, "passages": {"de": "jetzt"}}]
    found = read(groups_file(rows), languages=["en", "sw"])
    assert [text.text_id for text in found.queries] == ["1:en", "1:sw"]
    assert {judgement.query for judgement in found.judged} == {0, 1}
    assert found.notices == ["3 of the queries have no judged passage in these languages and are left out"]


def test_one_language_is_told():
    assert notices_of_languages(["sw", "sw"]) == ["one language: the mono setting only"]
    assert notices_of_languages(["sw", "en"]) == []


def article(texts, questions):
    """An XQuAD-R article of one paragraph: sentences one space apart, questions as (id, start of the answer)."""
    starts = [sum(len(text) + 1 for text in texts[:i]) for i in range(len(texts))]
    return {
        "paragraphs": [
            {
                "context": " ".join(texts),
                "sentences": texts,
                "sentence_breaks": [[start, start + len(text)] for start, text in zip(starts, texts, strict=True)],
                "qas": [
                    {"id": name, "question": f"{name}?", "answers": [{"answer_start": start, "text": "any"}]}
                    for name, start in questions
                ],
            }
        ]
    }


def squad(folder, **articles):
    folder.mkdir(exist_ok=True)
    for language, content in articles.items():
        (folder / f"{language}.json").write_text(json.dumps({"data": content}), encoding="utf-8")
    return str(folder)


def test_the_sentence_that_holds_the_start_of_the_answer_is_relevant(tmp_path):
    # "abc defg hi": breaks [0, 3), [4, 8), [9, 11); q3's answer starts on the last letter and runs on past the end
    path = squad(
        tmp_path / "r",
        en=[article(["abc", "defg", "hi"], [("q1", 0), ("q2", 4), ("q3", 7)]), article(["jk"], [("q4", 1)])],
        th=[article(["ab", "c"], [("q1", 3)]), article(["lm", "no"], [("q4", 3)])],
    )
    for rows in (read(path), read(f"file://{path}"), read(path + "/")):
        assert [(text.text_id, text.text) for text in rows.queries] == [
            *((f"q{n}:en", f"q{n}?") for n in (1, 2, 3, 4)),
            ("q1:th", "q1?"),
            ("q4:th", "q4?"),
        ]
        assert [part.name for part in rows.corpus] == ["en", "th"]
        assert [text.text for text in passages(rows)] == ["abc", "defg", "hi", "jk", "ab", "c", "lm", "no"]
        assert len({text.text_id for text in passages(rows)}) == 8
        assert answers(rows) == {  # q2 and q3 are there in English only, as in MLQA-R
            *((f"q1:{x}", text, 1) for x in ("en", "th") for text in ("abc", "c")),
            ("q2:en", "defg", 1),
            ("q3:en", "defg", 1),
            *((f"q4:{x}", text, 1) for x in ("en", "th") for text in ("jk", "no")),
        }


def test_a_range_of_squad_documents_is_cut_from_every_language(tmp_path):
    path = squad(
        tmp_path / "r",
        en=[article(["a"], [("q1", 0)]), article(["b"], [("q2", 0)])],
        de=[article(["c"], [("q1", 0)]), article(["d"], [("q2", 0)])],
    )
    rows = read(path, documents=(1, 2))
    assert rows.name == f"{path} documents [1, 2]"
    assert answers(rows) == {(f"q2:{language}", text, 1) for language in ("de", "en") for text in "bd"}
    assert [text.text for text in passages(rows)] == ["d", "b"]
    assert error(path, documents=(2, 9)) == f"{path} documents [2, 9]: no query in the benchmark"
    assert answers(read(path, documents=(0, 1), languages=["de"])) == {("q1:de", "c", 1)}
    assert error(path, split="dev") == f"{path}: no splits there, yet split 'dev' is asked for"


def test_an_article_without_a_paragraph_is_a_document_all_the_same(tmp_path):
    path = squad(tmp_path / "r", en=[article(["a"], [("q1", 0)]), {"paragraphs": []}, article(["b"], [("q2", 0)])])
    assert [text.text for text in passages(read(path, documents=(2, 3)))] == ["b"]


@pytest.mark.parametrize("start", [3, 8, 11, -1])  # the spaces between sentences, the end, before the start
def test_an_answer_in_no_sentence(tmp_path, start):
    path = squad(tmp_path / "r", en=[article(["abc", "defg", "hi"], [("q1", start)])])
    where = f"{path}/en.json: article 0, paragraph 0"
    assert error(path) == f"{where}: query 'q1' has no relevant passage: no sentence holds its answer at {start}"


def test_documents_are_the_same_questions_in_every_language(tmp_path):
    """As in MLQA-R: each language has other articles, in an order of its own, and not all of their questions."""

    def about(topic, questions):
        return article([f"{topic} one", f"{topic} two"], [(f"{topic}{n}", 0) for n in questions])

    path = squad(
        tmp_path / "r",
        de=[about("sea", [1, 2]), about("moon", [1]), about("tree", [1, 2])],
        en=[about("tree", [2, 3]), about("bird", [1]), about("moon", [1, 2]), about("sea", [2])],
        vi=[about("bird", [1, 2]), about("moon", [2]), about("rain", [1])],
    )

    def asked(*documents):
        rows = read(path, documents=documents)
        assert {text.text.split()[0] for text in passages(rows)} == {q.text_id[:-4] for q in rows.queries}
        return {query.text_id for query in rows.queries}

    # de is the first: sea, moon, tree; then en's bird, then vi's rain. moon2 is no question of de, and joins vi to en.
    assert asked(0, 1) == {"sea1:de", "sea2:de", "sea2:en"}
    assert asked(1, 2) == {"moon1:de", "moon1:en", "moon2:en", "moon2:vi"}
    assert asked(2, 4) == {"tree1:de", "tree2:de", "tree2:en", "tree3:en", "bird1:en", "bird1:vi", "bird2:vi"}
    assert asked(4, 9) == {"rain1:vi"}
    assert "no query in the benchmark" in error(path, documents=(5, 9))
    assert [q.text_id for q in read(path, documents=(1, 2), languages=["vi"]).queries] == ["moon2:vi"]
    rows = read(path)
    named = {(query.text_id[:-4], number) for query, number in zip(rows.queries, rows.documents, strict=True)}
    assert named == {("sea", "0"), ("moon", "1"), ("tree", "2"), ("bird", "3"), ("rain", "4")}


def test_articles_that_a_later_language_joins_are_one_document(tmp_path):
    path = squad(
        tmp_path / "r",
        de=[article(["a"], [("q1", 0)]), article(["b"], [("q2", 0)]), article(["c"], [("q3", 0)])],
        en=[article(["d", "e"], [("q3", 0)]), article(["ab"], [("q1", 0), ("q2", 0)])],
    )
    assert {q.text_id for q in read(path, documents=(0, 1)).queries} == {"q1:de", "q2:de", "q1:en", "q2:en"}
    assert {q.text_id for q in read(path, documents=(1, 2)).queries} == {"q3:de", "q3:en"}


def test_squad_files_of_another_form(tmp_path):
    good = article(["abc"], [("q1", 0)])
    without = {"paragraphs": [{**good["paragraphs"][0], "qas": [{"id": "q1", "question": "?", "answers": []}]}]}
    uneven = {"paragraphs": [{**good["paragraphs"][0], "sentences": ["abc", "def"]}]}
    number = {"paragraphs": [{**good["paragraphs"][0], "sentences": [3]}]}
    blank = {"paragraphs": [{**good["paragraphs"][0], "qas": [{"id": "q", "question": " ", "answers": []}]}]}
    assert "query 'q1' has no relevant passage" in error(squad(tmp_path / "r", en=[without]))
    context = {"paragraphs": [{**good["paragraphs"][0], "context": 5}]}
    for wrong in ({}, [], 3):
        path = squad(tmp_path / "r", en=[good, wrong])
        assert error(path).startswith(f"{path}/en.json: article 1 is not of the XQuAD-R form: ")
    for wrong in ({"paragraphs": [{}]}, {"paragraphs": [3]}, uneven, number, blank, context):
        path = squad(tmp_path / "r", en=[good, wrong])
        assert error(path).startswith(f"{path}/en.json: article 1, paragraph 0 is not of the XQuAD-R form: ")
    for content in ("[1, 2]", "{}", "{", '{"data": {}}', '{"data": 3}'):
        (tmp_path / "r" / "en.json").write_text(content)
        assert error(path).startswith(f"{path}/en.json: not an XQuAD-R file (a JSON object with 'data')")
    (tmp_path / "r" / "en.json").write_bytes(b'{"data": "\xff"}')
    assert error(path).startswith(f"{path}/en.json: not an XQuAD-R file (a JSON object with 'data'): 'utf-8' codec")
    other = squad(tmp_path / "s", xx=[good])
    assert error(other).startswith(f"{other}/xx.json: 'xx' is no language code of ISO 639; did you mean ")
    other = squad(tmp_path / "t", deu_Latn=[good], dev_small=[good])
    assert [query.language for query in read(other).queries] == ["de"]


@pytest.mark.parametrize("field", ["id", "question", "sentences"])
def test_half_a_character_in_an_xquad_r_file(tmp_path, field):
    bad = article(["ab\ud800" if field == "sentences" else "abc"], [("q1", 0)])
    bad["paragraphs"][0]["qas"][0] |= {} if field == "sentences" else {field: "ab\ud800"}
    path = squad(tmp_path / "r", en=[article(["abc"], [("q0", 0)]), bad])
    assert (
        error(path)
        == f"{path}/en.json: article 1, paragraph 0: no valid Unicode: half a character, '\\ud800', in 'ab\\ud800'"
    )


def mlqa(folder, **files):
    """MLQA files of one article: ``test_en_de=[(paragraph, {question id: question})]`` is context en, question de."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, paragraphs in files.items():
        split, context, question = name.split("_")
        qas = [
            {"context": text, "qas": [{"id": i, "question": q, "answers": [{}]} for i, q in asked.items()]}
            for text, asked in paragraphs
        ]
        path = folder / f"{split}-context-{context}-question-{question}.json"
        path.write_text(json.dumps({"version": 1.0, "data": [{"title": "t", "paragraphs": qas}]}))
    return folder


MLQA = {
    "test_en_en": [("alpha", {"1": "one?", "2": "two?"}), ("beta", {"3": "three?"})],
    "test_en_de": [("alpha", {"2": "zwei?"})],  # the same paragraph under another number
    "test_de_de": [("Alpha", {"2": "zwei?"})],
    "test_de_en": [("Alpha", {"2": "two?"})],
}
MLQA_ANSWERS = {
    ("1:en", "alpha", 1),
    ("3:en", "beta", 1),
    *((query, text, 1) for query in ("2:en", "2:de") for text in ("alpha", "Alpha")),
}


def test_mlqa_pools_are_the_distinct_paragraphs_of_a_language(tmp_path):
    mlqa(tmp_path / "MLQA_V1" / "test", **MLQA)
    mlqa(tmp_path / "MLQA_V1" / "dev", dev_en_en=[("gamma", {"9": "nine?"})])
    rows = read(tmp_path)
    assert rows.name == f"{tmp_path} split test"
    assert answers(rows) == MLQA_ANSWERS
    assert {(part.name, *(text.text for text in part.read())) for part in rows.corpus} == {
        ("de", "Alpha"),
        ("en", "alpha", "beta"),
    }
    dev = read(tmp_path / "MLQA_V1" / "dev")  # not taken for a file of the language dev-context-...
    assert dev.name == f"{tmp_path}/MLQA_V1/dev split dev"
    assert answers(dev) == answers(read(tmp_path, split="dev")) == {("9:en", "gamma", 1)}
    assert error(tmp_path, split="train") == f"{tmp_path}: no split 'train'; there are: dev, test"
    assert error(tmp_path, documents=(0, 1)).startswith(f"{tmp_path}: has no documents to take a part of")


def test_an_mlqa_paragraph_has_one_id_whichever_files_are_there(tmp_path):
    everything = {text.text: text.text_id for text in passages(read(mlqa(tmp_path / "a", **MLQA)))}
    some = {key: MLQA[key] for key in ("test_en_de", "test_de_de")}
    fewer = {text.text: text.text_id for text in passages(read(mlqa(tmp_path / "b", **some)))}
    assert len(set(everything.values())) == 3
    assert fewer == {text: everything[text] for text in ("alpha", "Alpha")}


def test_one_language_of_mlqa(tmp_path):
    rows = read(mlqa(tmp_path, **MLQA), languages=["en"])
    assert rows.name == f"{tmp_path} split test languages en"
    assert answers(rows) == {("1:en", "alpha", 1), ("2:en", "alpha", 1), ("3:en", "beta", 1)}


def test_articles_of_mlqa_that_share_a_question_or_a_paragraph_are_one_document(tmp_path):
    path = mlqa(tmp_path, **MLQA, test_vi_vi=[("gama", {"3": "ba?"})], test_es_es=[("delta", {"9": "nueve?"})])
    rows = read(path)
    of = {query.text_id: document for query, document in zip(rows.queries, rows.documents, strict=True)}
    assert len(of) == len(rows.queries) == 6
    assert len({of[name] for name in ("1:en", "2:en", "2:de", "3:en", "3:vi")}) == 1
    assert of["9:es"] != of["1:en"]


def test_mlqa_files_of_another_form(tmp_path):
    path = mlqa(tmp_path, test_en_en=[("alpha", {"1": "one?"}), ("", {"2": "two?"})])
    file = path / "test-context-en-question-en.json"
    assert error(path) == f"{file}: article 0, paragraph 1 is not of the MLQA form: context is empty"
    file.write_text("[]")
    assert error(path).startswith(f"{file}: not an MLQA file (a JSON object with 'data'): ")
    file.rename(path / "test-context-en-question-gr.json")
    assert (
        error(path)
        == f"{path}/test-context-en-question-gr.json: 'gr' has the code of a country; the language is written el"
    )


@pytest.mark.parametrize(
    "paragraph", [("a\udc00", {"1": "one?"}), ("a", {"1\udc00": "one?"}), ("a", {"1": "one\udc00?"})]
)
def test_half_a_character_in_an_mlqa_file(tmp_path, paragraph):
    path = mlqa(tmp_path, test_en_en=[paragraph])
    where = f"{path}/test-context-en-question-en.json: article 0, paragraph 0"
    assert error(path).startswith(f"{where}: no valid Unicode: half a char")


@pytest.mark.parametrize("other", ["test_de_en", "test_en_en"])
def test_an_mlqa_question_has_one_text_in_a_language(tmp_path, other):
    files = {"test_de_en": [("Alpha", {"2": "two?"})], "test_en_en": [("alpha", {"2": "two?"})]}
    assert len(read(mlqa(tmp_path, **files)).queries) == 1
    files[other] = [*files[other], ("third", {"2": "zwei?"})]
    path = mlqa(tmp_path, **files)
    assert ": question '2' has two texts in 'en': " in error(path)
    assert "'zwei?'" in error(path)


def test_a_language_for_texts_that_name_theirs(tmp_path, groups_file):
    xquad_r = squad(tmp_path / "r", en=[article(["abc"], [("q1", 0)])])
    for path in (groups_file(ROWS), xquad_r, mlqa(tmp_path / "m", **MLQA), "newsroom:dev"):
        line = error(path, language="en")
        assert line.startswith(f"{path}:")
        assert "every text there names its language; leave " in line


def test_a_benchmark_in_the_home_folder(tmp_path, monkeypatch):
    squad(tmp_path / "r", en=[article(["abc"], [("q1", 0)])])
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read("~/r").name == "~/r"
    assert [text.text for text in passages(read("~/r/"))] == ["abc"]


def test_a_folder_of_no_known_format(tmp_path):
    for n in range(7):
        (tmp_path / f"{n}.doc").write_text("x")
    assert error(tmp_path).startswith(
        f"{tmp_path}: no benchmark of a known format; found 0.doc, 1.doc, 2.doc, 3.doc, 4.doc and 2 more; "
        "known: <language>.json (XQuAD-R, MLQA-R); "
    )
    (tmp_path / "empty").mkdir()
    assert error(tmp_path / "empty") == f"{tmp_path}/empty: the folder is empty"
    for wanted in ({}, {"language": "en"}, {"split": "dev"}):
        assert error(tmp_path / "none", **wanted) == f"{tmp_path}/none: does not exist"
        assert "no benchmark of a known format" in error(tmp_path, **wanted)
    assert error("ftpx://host/folder").startswith("ftpx://host/folder: cannot be opened: ")


def test_exchanged_languages_are_found(groups_file):
    russian = {"group_id": "1", "queries": {"ru": "Кто открыл этот закон и когда? " * 3}, "passages": {"en": "x"}}
    read(groups_file([russian]))
    path = groups_file([{**russian, "queries": {"el": russian["queries"]["ru"]}}])
    assert error(path).startswith(f"{path}: queries of 'el' are written in CYRILLIC, not GREEK: are two languages' ")


@pytest.mark.kit
@pytest.mark.skipif(not KIT.is_dir(), reason=f"no data kit at {KIT}")
def test_xquad_r_has_the_counts_of_its_paper():
    rows = read(KIT / "data" / "xquad-r")
    sizes = {"ar": 1222, "de": 1276, "el": 1234, "en": 1180, "es": 1215, "hi": 1244}
    sizes |= {"ru": 1219, "th": 852, "tr": 1167, "vi": 1209, "zh": 1196}
    assert len(rows.queries) == 13_090
    assert {part.name: sum(1 for _ in part.read()) for part in rows.corpus} == sizes
    assert sum(sizes.values()) == 13_014
    assert Counter(text.language for text in rows.queries) == dict.fromkeys(sizes, 1190)
    assert len(rows.judged) == 13_090 * 11  # one answer in every language
    assert len(set(rows.documents)) == 48
    language = {text.text_id: text.language for text in passages(rows)}
    assert sum(rows.queries[j.query].language == language[j.passage_id] for j in rows.judged) == 13_090


@pytest.mark.kit
@pytest.mark.skipif(not KIT.is_dir(), reason="the data kit is not beside the checkout")
def test_a_document_of_xquad_r_is_its_place_in_every_file():
    rows = read(KIT / "data" / "xquad-r", documents=(40, 48))
    assert {int(text.text_id.split(":")[1]) for text in passages(rows)} == set(range(40, 48))
    assert (len(rows.queries), len(passages(rows))) == (11 * 177, 2258)
