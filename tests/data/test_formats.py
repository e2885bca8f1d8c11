import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hybridtune.data.readers.sources import find_sources, group_rows, read_groups
from hybridtune.errors import InputError

KIT = Path(__file__).parents[3] / "shared" / "kit"

ROWS = [
    {
        "group_id": "1",
        "document_id": "d1",
        "queries": {"en": "who?", "sw": "nani?"},
        "passages": {"en": "me", "sw": "mimi"},
        "negatives": {"sw": ["wewe", "sisi"]},
        "translated": {"queries": {"sw": "en"}, "passages": {"en": "sw"}},
        "translation": {"engine": "ctranslate2", "model": "m", "licence": "Apache-2.0"},
    },
    {"group_id": "2", "document_id": "d2", "queries": {"en": "kāpēc?"}, "passages": {"de": "darum"}},
    {"group_id": "3", "document_id": "d2", "queries": {}, "passages": {"de": "darum"}},
]
OPTIONAL = {"negatives": {}, "margins": {}, "translated": {}, "translation": {}}
ROWS = [OPTIONAL | row for row in ROWS]


def groups(*paths):
    return [group._asdict() for source in find_sources(list(map(str, paths))) for group in read_groups(source)]


def error(read, *args):
    with pytest.raises(InputError) as caught:
        read(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def parquet(path, rows, kind):
    def by_language(value):
        if kind == "map":
            return pa.map_(pa.string(), value)
        return pa.struct([(language, value) for language in ("en", "sw", "de")])

    fields = {"queries": pa.string(), "passages": pa.string(), "negatives": pa.list_(pa.string())}
    columns = [(name, by_language(value)) for name, value in fields.items()]
    columns.append(("translated", pa.struct([(side, by_language(pa.string())) for side in ("queries", "passages")])))
    columns.append(("translation", pa.struct([(name, pa.string()) for name in ("engine", "model", "licence")])))
    schema = pa.schema([("group_id", pa.string()), ("document_id", pa.string()), *columns])
    if kind == "map":
        rows = [{**row, **{name: list(row[name].items()) for name in fields}} for row in rows]
        for row in rows:
            row["translated"] = {side: list(texts.items()) for side, texts in row["translated"].items()}
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
@pytest.mark.parametrize(
    ("bad", "reason"),
    [(b'{"group_id": ', "broken JSON"), (b'{"group_id": "\xff"}', "not UTF-8"), (b"{} {}", "broken JSON")],
)
def test_a_broken_line_names_file_and_line(tmp_path, name, bad, reason):
    path = tmp_path / name
    content = json.dumps(ROWS[0]).encode() + b"\n\n" + bad + b"\n" + json.dumps(ROWS[1]).encode()
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert error(groups, path).startswith(f"{path}:3: {reason}: ")


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


_ROW = '{"group_id": "1", "queries": {"en": "a", "sw": "b"}, "passages": {"en": "c"}, %s}'
WRONG_ROWS = {
    _ROW % '"translated": ["sw"]': (
        "translated must be an object that holds no more than queries, passages (got ['sw'])"
    ),
    _ROW % '"translated": {"query": {"sw": "en"}}': (
        "translated must be an object that holds no more than queries, passages (got 'query')"
    ),
    _ROW % '"translated": {"queries": "sw"}': (
        "translated.queries must be an object of language: language it was translated from (got 'sw')"
    ),
    _ROW % '"translated": {"passages": {"sw": "en"}}': (
        "translated.passages.sw: the group has no text there; its passages are en"
    ),
    _ROW % '"translated": {"queries": {"sw": 3}}': (
        "translated.queries.sw must be the language that the text was translated from (got 3)"
    ),
    _ROW % '"translated": {"queries": {"sw": "sw"}}': (
        "translated.queries.sw: sw is the language itself; name the one it was translated from"
    ),
    _ROW % '"translated": {"queries": {"sw": "en"}}, "translation": {"license": "MIT"}': (
        "translation must be an object that holds no more than engine, model, licence (got 'license')"
    ),
    _ROW % '"translation": {"model": 7}': "translation.model must be a text (got 7)",
    "[]": "a group is a JSON object, not a list",
    "{}": "group_id must be a text that is not empty (got None)",
    '{"group_id": 7}': "group_id must be a text that is not empty (got 7)",
    '{"group_id": ""}': "group_id must be a text that is not empty (got '')",
    '{"group_id": "1"}': "queries must be an object of language: text (got None)",
    '{"group_id": "1", "passages": {"en": "x"}}': "queries must be an object of language: text (got None)",
    '{"group_id": "1", "queries": {}}': "passages must be an object of language: text (got None)",
    '{"group_id": "1", "queries": {"en": "who?"}, "passages": {}}': (
        "passages is empty: nothing answers the queries of group '1'"
    ),
    '{"group_id": "1", "queries": ' + "[" * 101 + "]" * 101 + "}": "broken JSON: nested more than 100 deep",
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
    '{"group_id": "1", "queries": {"cz": "x"}, "passages": {}}': (
        "queries: 'cz' has the code of a country; the language is written cs"
    ),
    '{"group_id": "1", "queries": {"DE": "who?", "deu": "wer?"}, "passages": {}}': (
        "queries: 'DE' and 'deu' are one language; keep one of the two"
    ),
    '{"group_id": "1", "queries": {}, "passages": {"xx": "me"}}': (
        "passages: 'xx' is no language code of ISO 639; did you mean 'xh'?"
    ),
    '{"group_id": "1", "queries": {"und": "who?"}, "passages": {}}': (
        "queries: 'und' names no language (ISO 639 reserves 'und'); give the code of the language"
    ),
    '{"group_id": "1", "queries": {"zh-TW": "a", "zh-tw": "b"}, "passages": {}}': (
        "queries: 'zh-TW' and 'zh-tw' are one language; keep one of the two"
    ),
    '{"group_id": "1", "queries": {"en": "a", "sw": "b", "en": "c"}, "passages": {}}': (
        "broken JSON: 'en' occurs twice in one object; keep one of the two"
    ),
    '{"group_id": "1", "queries": {}, "passages": {}, "queries": {}}': (
        "broken JSON: 'queries' occurs twice in one object; keep one of the two"
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
        ({"group_id": ["1"], "queries": [["a", "b"]]}, "queries must be an object of language: text (got ['a', 'b'])"),
    ],
)
def test_a_wrong_parquet_row_names_file_and_row(tmp_path, columns, reason):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table(columns), path)
    assert error(groups, path) == f"{path}:1: {reason}"


def test_codes_are_read_in_their_canonical_form(groups_file, tmp_path):
    rows = [
        {
            "group_id": "1",
            "queries": {"zh-tw": "a", "zh-HANT": "b"},
            "passages": {"zh-TW": "c", "sr-latn": "d"},
            "negatives": {"zh-tw": ["e"]},
        }
    ]
    (found,) = groups(groups_file(rows))
    assert found["queries"] == {"zh-TW": "a", "zh-Hant": "b"}
    assert found["passages"] == {"zh-TW": "c", "sr-Latn": "d"}
    assert found["negatives"] == {"zh-TW": ["e"]}


def test_a_parquet_file_that_names_a_language_twice(tmp_path):
    path = tmp_path / "a.parquet"
    texts = pa.map_(pa.string(), pa.string())
    pairs = [[("en", "who?")], [("en", "who?"), ("sw", "nani?"), ("en", "when?")]]
    pq.write_table(pa.table({"group_id": ["1", "2"], "queries": pa.array(pairs, texts)}), path)
    twice = "not a readable Parquet file: 'en' occurs twice in one object; keep one of the two"
    assert error(lambda: list(group_rows(find_sources([str(path)])[0]))) == f"{path}:2: {twice}"
    struct = pa.StructArray.from_arrays([pa.array(["who?"]), pa.array(["when?"])], names=["en", "en"])
    pq.write_table(pa.table({"group_id": ["1"], "queries": struct}), path)
    assert error(groups, path) == f"{path}: {twice}"
    pq.write_table(pa.Table.from_arrays([pa.array(["1"])] * 2, names=["group_id"] * 2), path)
    assert error(groups, path) == f"{path}: {twice.replace('en', 'group_id', 1)}"
    pq.write_table(pa.table({"group_id": ["1"], "more": struct}), path)
    assert error(groups, path).startswith(f"{path}: not a readable Parquet file: ")


def test_a_link_to_nowhere_is_one_line(groups_file, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    groups_file(ROWS, "data/a.jsonl")
    (folder / "broken.jsonl").symlink_to("/nowhere.jsonl")
    (tmp_path / "link").symlink_to("nowhere")
    (folder / "loop.parquet").symlink_to("loop.parquet")
    line = "is a symbolic link to /nowhere.jsonl, which does not exist"
    for path in (folder, folder / "*.jsonl", folder / "broken.jsonl", folder / "b*", f"file://{folder}"):
        assert error(find_sources, [str(path)]) == f"{folder}/broken.jsonl: {line}"
    assert error(find_sources, [f"file://{folder}/*.jsonl"]) == f"{folder}/broken.jsonl: {line}"
    assert groups(folder / "a*") == groups(f"file://{folder}/a*") == ROWS  # what is not asked for may be broken
    (folder / "broken.jsonl").unlink()
    loop = f"{folder}/loop.parquet: is a symbolic link to loop.parquet, which does not exist"
    assert error(find_sources, [str(folder)]) == loop
    assert error(find_sources, [str(tmp_path / "link")]) == (
        f"{tmp_path}/link: is a symbolic link to nowhere, which does not exist"
    )
    (folder / "loop.parquet").unlink()
    (folder / "linked.jsonl").symlink_to("a.jsonl")
    assert len(groups(folder)) == 2 * len(ROWS)
    (folder / "folder.jsonl").mkdir()
    assert error(find_sources, [str(folder)]) == f"{folder}/folder.jsonl: is not a file"


def test_paths_without_data(tmp_path):
    (tmp_path / "empty").mkdir()
    known = ".jsonl, .ndjson, .json, .csv, .tsv, .parquet, .arrow (.gz, .bz2, .xz, .zst too)"
    for path in (tmp_path / "*.jsonl", f"file://{tmp_path}/*.jsonl", f"file://{tmp_path}/none.jsonl"):
        assert error(find_sources, [str(path)]) == f"{path}: no {known} file there"
    for path in (tmp_path / "none.jsonl", tmp_path / "none", tmp_path / "none" / "none", "~nobody-has-this-name/x"):
        assert error(find_sources, [str(path)]) == f"{path}: does not exist"
    assert error(find_sources, [str(tmp_path / "empty")]) == f"{tmp_path}/empty: the folder is empty"
    (tmp_path / "empty" / "README").write_text("x")
    assert error(find_sources, [str(tmp_path / "empty")]) == f"{tmp_path}/empty: no {known} file there"
    (tmp_path / "a.doc").write_text("x")
    assert error(find_sources, [str(tmp_path / "a.doc")]) == f"{tmp_path}/a.doc: unknown kind of file; known: {known}"
    assert error(find_sources, ["ftpx://host/a.jsonl"]).startswith("ftpx://host/a.jsonl: cannot be opened: ")
    assert error(find_sources, ["newsroom:all"]).startswith("newsroom:all: the embedded corpus has newsroom:train, ")


def test_the_home_folder_may_be_short(groups_file, tmp_path, monkeypatch):
    groups_file(ROWS)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert groups("~") == groups("~/") == groups("~/*.jsonl") == ROWS


@pytest.mark.parametrize(
    ("field", "row"),
    [
        ("group_id", {"group_id": "hel\ud800lo"}),
        ("document_id", {"document_id": "hel\ud800lo"}),
        ("queries.sw", {"queries": {"sw": "hel\ud800lo"}}),
        ("passages.en", {"passages": {"en": "hel\ud800lo"}}),
        ("negatives.sw[1]", {"negatives": {"sw": ["wewe", "hel\ud800lo"]}}),
    ],
)
def test_half_a_character_names_file_line_and_field(tmp_path, field, row):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(ROWS[1]) + "\n" + json.dumps({**ROWS[0], **row}))
    assert error(groups, path) == (
        f"{path}:2: {field}: no valid Unicode: half a character, '\\ud800', in 'hel\\ud800lo'"
    )


def test_a_character_in_two_halves_is_whole(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"group_id": "1", "queries": {"en": "\\ud83d\\ude00?"}, "passages": {"en": "x"}}')
    assert groups(path)[0]["queries"] == {"en": "\U0001f600?"}


def test_an_empty_file_is_no_benchmark_but_may_stand_beside_others(groups_file, tmp_path):
    empty = groups_file([], "a.jsonl")
    assert groups(empty) == []
    groups_file(ROWS, "b.jsonl")
    assert groups(tmp_path) == ROWS


@pytest.mark.parametrize("queries", [{}, {"queries": None}, {"queries": {}}])
def test_bitext_needs_no_queries(groups_file, queries):
    (group,) = groups(groups_file([{"group_id": "1", "passages": {"en": "me", "sw": "mimi"}, **queries}]))
    assert (group["queries"], group["passages"]) == ({}, {"en": "me", "sw": "mimi"})


def test_bitext_in_parquet_needs_no_column_of_queries(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"group_id": ["1"], "passages": [{"en": "me", "sw": "mimi"}]}), path)
    (group,) = groups(path)
    assert (group["queries"], group["passages"]) == ({}, {"en": "me", "sw": "mimi"})


def test_every_file_knows_the_entry_that_named_it(groups_file, tmp_path):
    for name in ("a.jsonl", "b.jsonl"):
        groups_file(ROWS, name)
    sources = find_sources([str(tmp_path), "newsroom:dev", str(tmp_path / "b*")])
    assert [source.data_set for source in sources] == [0, 0, 1, 2]
