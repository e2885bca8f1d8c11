import gzip
import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hybridtune.data.benchmark_formats import read_benchmark
from hybridtune.data.formats import find_sources, read_groups
from hybridtune.errors import InputError

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


def groups(*paths):
    return [group._asdict() for source in find_sources(list(map(str, paths))) for group in read_groups(source)]


def error(read, *args):
    with pytest.raises(InputError) as caught:
        read(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def parquet(path, rows, kind):
    struct = pa.struct([(language, pa.string()) for language in ("en", "sw", "de")])
    texts = struct if kind == "struct" else pa.map_(pa.string(), pa.string())
    schema = pa.schema(
        [("group_id", pa.string()), ("document_id", pa.string()), ("queries", texts), ("passages", texts)]
    )
    if kind == "map":
        rows = [{**row, **{side: list(row[side].items()) for side in ("queries", "passages")}} for row in rows]
    pq.write_table(pa.Table.from_pylist(rows, schema), path)
    return path


def test_every_format_gives_the_same_groups(groups_file, tmp_path):
    assert groups(groups_file(ROWS)) == ROWS
    assert groups(groups_file(ROWS, "groups.jsonl.gz")) == ROWS
    assert groups(parquet(tmp_path / "struct.parquet", ROWS, "struct")) == ROWS
    assert groups(parquet(tmp_path / "map.parquet", ROWS, "map")) == ROWS


def test_file_folder_glob_and_uri_give_the_same_groups(groups_file, tmp_path):
    first = groups_file(ROWS[:1], "a.jsonl")
    groups_file(ROWS[1:], "b.jsonl.gz")
    (tmp_path / "README.txt").write_text("not data")
    (tmp_path / "empty").mkdir()
    assert groups(tmp_path) == groups(f"file://{tmp_path}") == ROWS
    assert groups(tmp_path / "*.jsonl*") == groups(f"file://{tmp_path}/*.jsonl*") == ROWS
    assert groups(f"file://{tmp_path}/b*.gz") == ROWS[1:]
    assert groups(f"file://{first}") == groups(first) == ROWS[:1]
    assert groups(tmp_path / "b.jsonl.gz", first) == ROWS[1:] + ROWS[:1]  # as given, not by name


def test_blank_lines_and_a_byte_order_mark_are_no_groups(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(ROWS[0]).encode() + b"\r\n\n  \n")
    assert groups(path) == ROWS[:1]


def test_document_id_may_be_missing(groups_file):
    (group,) = groups(groups_file([{key: ROWS[0][key] for key in ("group_id", "queries", "passages")}]))
    assert group["document_id"] == ""


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
@pytest.mark.parametrize("bad", [b'{"group_id": ', b'{"group_id": "\xff"}', b"{} {}"])
def test_a_broken_line_names_file_and_line(tmp_path, name, bad):
    path = tmp_path / name
    content = json.dumps(ROWS[0]).encode() + b"\n\n" + bad + b"\n" + json.dumps(ROWS[1]).encode()
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert error(groups, path).startswith(f"{path}:3: broken JSON: ")


def test_files_that_are_not_what_their_name_says(tmp_path):
    for name in ("a.jsonl.gz", "a.parquet"):
        path = tmp_path / name
        path.write_bytes(b"these are not the bytes you are looking for")
        assert error(groups, path).startswith(f"{path}: ")


def test_a_gzip_file_cut_short_is_not_taken_for_a_whole_one(tmp_path):
    path = tmp_path / "cut.jsonl.gz"
    whole = gzip.compress(b"".join(json.dumps({**ROWS[0], "group_id": str(n)}).encode() + b"\n" for n in range(999)))
    path.write_bytes(whole)
    assert len(groups(path)) == 999
    for length in (len(whole) - 9, len(whole) // 2):
        path.write_bytes(whole[:length])
        assert error(groups, path).startswith(f"{path}")


WRONG_ROWS = {
    "[]": "a group is a JSON object, not list",
    "{}": "group_id must be a text that is not empty (got None)",
    '{"group_id": 7}': "group_id must be a text that is not empty (got 7)",
    '{"group_id": ""}': "group_id must be a text that is not empty (got '')",
    '{"group_id": "1"}': "queries must be an object of language: text (got None)",
    '{"group_id": "1", "queries": {}}': "passages must be an object of language: text (got None)",
    '{"group_id": "1", "queries": "who?", "passages": {}}': "queries must be an object of language: text (got 'who?')",
    '{"group_id": "1", "queries": {"en": " "}, "passages": {}}': (
        "queries.en must be a text that is not empty (got ' ')"
    ),
    '{"group_id": "1", "queries": {}, "passages": {"en": null}}': (
        "passages.en must be a text that is not empty (got None)"
    ),
    '{"group_id": "1", "queries": {"english": "x"}, "passages": {}}': (
        "queries: 'english' is not a language code (ISO 639-1, like 'sw')"
    ),
    '{"group_id": "1", "queries": {"EN": "x"}, "passages": {}}': (
        "queries: 'EN' is not a language code (ISO 639-1, like 'sw')"
    ),
}


@pytest.mark.parametrize("line", WRONG_ROWS)
def test_a_wrong_row_names_file_line_and_field(tmp_path, line):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(ROWS[0]) + "\n" + line + "\n")
    assert error(groups, path) == f"{path}:2: {WRONG_ROWS[line]}"


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"group_id": ["1"], "query": ["x"]}, "queries must be an object of language: text (got None)"),
        ({"group_id": ["1"], "queries": ["who?"]}, "queries must be an object of language: text (got 'who?')"),
        (
            {"group_id": ["1"], "queries": [["a", "b"]]},
            "queries must be an object of language: text (got ['a', 'b'])",
        ),
    ],
)
def test_a_wrong_parquet_row_names_file_and_row(tmp_path, columns, reason):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table(columns), path)
    assert error(groups, path) == f"{path}:1: {reason}"


def test_paths_without_data(tmp_path):
    (tmp_path / "empty").mkdir()
    known = ".jsonl, .jsonl.gz, .parquet"
    for path in (tmp_path / "none.jsonl", tmp_path / "empty", tmp_path / "*.jsonl", f"file://{tmp_path}/*.jsonl"):
        assert error(find_sources, [str(path)]) == f"{path}: no {known} file there"
    (tmp_path / "a.csv").write_text("x")
    assert error(find_sources, [str(tmp_path / "a.csv")]) == f"{tmp_path}/a.csv: unknown kind of file; known: {known}"
    assert error(find_sources, ["ftpx://host/a.jsonl"]).startswith("ftpx://host/a.jsonl: cannot be opened: ")
    assert error(find_sources, ["newsroom:all"]).startswith("newsroom:all: the embedded corpus has newsroom:train, ")


def test_an_empty_file_is_no_benchmark_but_may_stand_beside_others(groups_file, tmp_path):
    empty = groups_file([], "a.jsonl")
    assert groups(empty) == []
    assert error(read_benchmark, str(empty)) == f"{empty}: no query in the benchmark"
    groups_file(ROWS, "b.jsonl")
    assert groups(tmp_path) == ROWS


def test_native_benchmark_has_one_passage_for_equal_texts(groups_file):
    rows = read_benchmark(str(groups_file(ROWS)))
    assert [text.text for text in rows.queries] == ["who?", "nani?", "kāpēc?"]
    assert [(text.text_id, text.language, text.text) for text in rows.passages] == [
        ("1:en", "en", "me"),
        ("1:sw", "sw", "mimi"),
        ("2:de", "de", "darum"),  # group 3 has it too
    ]
    assert rows.relevant == [(0, 0, 1), (0, 1, 1), (1, 0, 1), (1, 1, 1), (2, 2, 1)]


def test_equal_texts_of_two_languages_are_two_passages(groups_file):
    row = {"group_id": "1", "queries": {"en": "who?"}, "passages": {"en": "OK", "de": "OK"}}
    rows = read_benchmark(str(groups_file([row])))
    assert [text.language for text in rows.passages] == ["en", "de"]
    assert rows.relevant == [(0, 0, 1), (0, 1, 1)]


def test_a_native_query_without_a_relevant_passage(groups_file):
    path = groups_file([*ROWS, {"group_id": "4", "queries": {"en": "when?"}, "passages": {}}])
    assert error(read_benchmark, str(path)) == f"{path}: query of group '4' has no relevant passage"


@pytest.mark.parametrize(
    ("documents", "kept"), [(None, "123"), ((0, 1), "1"), ((1, 2), "23"), ((0, 2), "123"), ((1, 99), "23")]
)
def test_a_range_of_native_documents(groups_file, documents, kept):
    rows = read_benchmark(str(groups_file(ROWS)), documents)
    held = [(row["queries"], row["passages"]) for row in ROWS if row["group_id"] in kept]
    assert [text.text for text in rows.queries] == [text for queries, _ in held for text in queries.values()]
    assert {text.text for text in rows.passages} == {text for _, passages in held for text in passages.values()}


def test_groups_without_a_document_are_documents_of_their_own(groups_file):
    path = groups_file([{**row, "document_id": "", "queries": {"en": "q"}} for row in ROWS])
    assert len(read_benchmark(str(path), (1, 3)).queries) == 2


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
    rows = read_benchmark(path)
    assert [(text.text_id, text.text) for text in rows.queries] == [
        *((f"q{n}:en", f"q{n}?") for n in (1, 2, 3, 4)),
        ("q1:th", "q1?"),
        ("q4:th", "q4?"),
    ]
    assert [text.text for text in rows.passages] == ["abc", "defg", "hi", "jk", "ab", "c", "lm", "no"]
    assert len({text.text_id for text in rows.passages}) == 8
    answers = {(rows.queries[q].text_id, rows.passages[p].text) for q, p, _ in rows.relevant}
    assert answers == {
        *((f"q1:{x}", text) for x in ("en", "th") for text in ("abc", "c")),
        ("q2:en", "defg"),
        ("q3:en", "defg"),
        *((f"q4:{x}", text) for x in ("en", "th") for text in ("jk", "no")),
    }
    assert len(rows.relevant) == len(answers)


def test_a_range_of_squad_documents_is_cut_from_every_language(tmp_path):
    path = squad(
        tmp_path / "r",
        en=[article(["a"], [("q1", 0)]), article(["b"], [("q2", 0)])],
        de=[article(["c"], [("q1", 0)]), article(["d"], [("q2", 0)])],
    )
    rows = read_benchmark(path, (1, 2))
    assert [text.text for text in rows.passages] == ["d", "b"]
    assert [text.text_id for text in rows.queries] == ["q2:de", "q2:en"]
    assert sorted(rows.relevant) == [(0, 0, 1), (0, 1, 1), (1, 0, 1), (1, 1, 1)]
    assert error(read_benchmark, path, (2, 9)) == f"{path}: no query in the benchmark"


@pytest.mark.parametrize("start", [3, 8, 11, -1])  # the spaces between sentences, the end, before the start
def test_an_answer_in_no_sentence(tmp_path, start):
    path = squad(tmp_path / "r", en=[article(["abc", "defg", "hi"], [("q1", start)])])
    assert error(read_benchmark, path) == (
        f"{path}/en.json: query 'q1' has no relevant passage: no sentence holds its answer at {start}"
    )


def test_squad_files_of_another_form(tmp_path):
    good = article(["abc"], [("q1", 0)])
    without = {"paragraphs": [{**good["paragraphs"][0], "qas": [{"id": "q1", "question": "?", "answers": []}]}]}
    uneven = {"paragraphs": [{**good["paragraphs"][0], "sentences": ["abc", "def"]}]}
    assert "query 'q1' has no relevant passage" in error(read_benchmark, squad(tmp_path / "r", en=[without]))
    for wrong in ({}, {"paragraphs": [{}]}, uneven, []):
        path = squad(tmp_path / "r", en=[good, wrong])
        assert error(read_benchmark, path).startswith(f"{path}/en.json: article 1 is not of the XQuAD-R form: ")
    for content in ("[1, 2]", "{}", "{"):
        (tmp_path / "r" / "en.json").write_text(content)
        assert error(read_benchmark, path).startswith(
            f"{path}/en.json: not an XQuAD-R file (a JSON object with 'data')"
        )


@pytest.mark.kit
@pytest.mark.skipif(not KIT.is_dir(), reason=f"no data kit at {KIT}")
def test_xquad_r_has_the_counts_of_its_paper():
    rows = read_benchmark(str(KIT / "data" / "xquad-r"))
    passages = {"ar": 1222, "de": 1276, "el": 1234, "en": 1180, "es": 1215, "hi": 1244}
    passages |= {"ru": 1219, "th": 852, "tr": 1167, "vi": 1209, "zh": 1196}
    assert len(rows.queries) == 13_090
    assert len(rows.passages) == 13_014
    assert Counter(text.language for text in rows.passages) == passages
    assert Counter(text.language for text in rows.queries) == dict.fromkeys(passages, 1190)
    assert len(rows.relevant) == 13_090 * 11  # one answer in every language
    assert sum(rows.queries[q].language == rows.passages[p].language for q, p, _ in rows.relevant) == 13_090
