"""Flat pairs are read from every kind of file, by the usual names of their columns or by those that are given."""

import bz2
import gzip
import json
import lzma

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridtune.config.fields import DataSet, language_pair
from hybridtune.data.readers.notes import Notes
from hybridtune.data.readers.sources import find_sources, group_rows, read_groups
from hybridtune.errors import InputError

ROWS = [
    {"query": "who, then?", "passage": 'She said "me".', "lang": "en"},
    {"query": "wer?", "passage": "ich;\nund du", "lang": "de"},
]


def read(*paths, notes=None, **fields):
    sources = find_sources([DataSet(path=str(path), **fields) for path in paths])
    return [group for source in sources for group in read_groups(source, notes)]


def refusal(path, **fields):
    with pytest.raises(InputError) as caught:
        read(path, **fields)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value).replace(f"{path}", "FILE")


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def csv_text(rows, separator=","):
    def quoted(cell):
        return '"' + cell.replace('"', '""') + '"' if any(mark in cell for mark in f'{separator}"\n') else cell

    return "".join(separator.join(map(quoted, row)) + "\r\n" for row in [rows[0], *(row.values() for row in rows)])


def ipc(path, table, new):
    with pa.OSFile(str(path), "wb") as sink, new(sink, table.schema) as writer:
        writer.write_table(table)


def files(folder):
    """The same rows in a file of every kind."""
    table = pa.Table.from_pylist(ROWS)
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    (folder / "a.csv").write_text(csv_text(ROWS))
    (folder / "semicolon.csv").write_text("\ufeff" + csv_text(ROWS, ";"))
    (folder / "a.tsv").write_text(csv_text(ROWS, "\t"))
    (folder / "a.json").write_text(json.dumps(ROWS, indent=2))
    (folder / "lines.json").write_text(lines)
    (folder / "a.jsonl").write_text(lines)
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (folder / "a.jsonl.bz2").write_bytes(bz2.compress(lines.encode()))
    (folder / "a.jsonl.xz").write_bytes(lzma.compress(lines.encode()))
    (folder / "a.csv.zst").write_bytes(pa.compress(csv_text(ROWS).encode(), "zstd", asbytes=True))
    pq.write_table(table, folder / "a.parquet")
    ipc(folder / "file.arrow", table, pa.ipc.new_file)
    ipc(folder / "stream.arrow", table, pa.ipc.new_stream)
    return sorted(folder.iterdir())


def test_every_kind_of_file_gives_the_same_pairs(tmp_path):
    for path in files(tmp_path):
        for place in (path, f"file://{path}", f"local://{path}"):  # pyarrow's file system, and fsspec's
            groups = read(place)
            found = [{"queries": group.queries, "passages": group.passages} for group in groups]
            assert found == [
                {"queries": {row["lang"]: row["query"]}, "passages": {row["lang"]: row["passage"]}} for row in ROWS
            ], place
            stem = path.name.removesuffix(".gz").removesuffix(".bz2").removesuffix(".xz").removesuffix(".zst")
            assert [group.group_id for group in groups] == [f"{stem.rpartition('.')[0]}:{n}" for n in (1, 2)]


SHAPES = {  # rows of training data as it is published, and the groups that they are
    "FlagEmbedding": (
        {"query": "q", "pos": ["a", "b"], "neg": ["x", "a"], "pos_scores": [0.9, 0.8], "neg_scores": [0.1, 0.2]},
        [({"en": "q"}, {"en": "a"}, {"en": ["x"]}), ({"en": "q"}, {"en": "b"}, {"en": ["x"]})],
    ),
    "Tevatron": (
        {
            "query_id": "7",
            "query": "q",
            "positive_passages": [{"docid": "1", "title": "T", "text": "a"}],
            "negative_passages": [{"docid": "2", "title": "", "text": "x"}],
        },
        [({"en": "q"}, {"en": "T a"}, {"en": ["x"]})],
    ),
    "DPR": (
        {
            "question": "q",
            "positive_ctxs": [{"title": "T", "text": "a"}],
            "hard_negative_ctxs": [],
            "negative_ctxs": [],
        },
        [({"en": "q"}, {"en": "T a"}, {})],
    ),
    "triplet": (
        {"anchor": "q", "positive": "a", "negative": "x"},
        [({"en": "q"}, {"en": "a"}, {"en": ["x"]})],
    ),
    "several negatives": (
        {"anchor": "q", "positive": "a", "negative_1": "x", "negative_2": "y"},
        [({"en": "q"}, {"en": "a"}, {"en": ["x", "y"]})],
    ),
    "pairs of sentences": ({"sentence1": "q", "sentence2": "a"}, [({"en": "q"}, {"en": "a"}, {})]),
    "title and text": ({"title": "q", "text": "a"}, [({"en": "q"}, {"en": "a"}, {})]),
    "upper case": ({"Question": "q", "Answer": "a"}, [({"en": "q"}, {"en": "a"}, {})]),
}


@pytest.mark.parametrize("name", SHAPES)
def test_published_shapes_of_rows(tmp_path, name):
    row, expected = SHAPES[name]
    groups = read(written(tmp_path / "rows.jsonl", [row]), language="en")
    assert [(group.queries, group.passages, group.negatives) for group in groups] == expected
    assert [group.group_id for group in groups] == ["rows:1", "rows:1#2"][: len(expected)]


def test_the_title_beside_a_question_names_the_document(tmp_path):
    row = {"id": "57", "title": "Nikola Tesla", "context": "a", "question": "q", "answers": {"text": ["a"]}}
    (group,) = read(written(tmp_path / "squad_rows.jsonl", [row]), language="en")
    assert (group.group_id, group.document_id, group.queries) == ("57", "Nikola Tesla", {"en": "q"})


def test_languages_of_columns_and_of_the_file(tmp_path):
    rows = [
        {"question": "q", "question_lang": "eng", "answer": "a", "answer_lang": "swa_Latn"},
        {"question": "r", "question_lang": None, "answer": "b", "answer_lang": ""},
    ]
    path = written(tmp_path / "rows.jsonl", rows)
    first, second = read(path, language="de-fr")
    assert (first.queries, first.passages) == ({"en": "q"}, {"sw": "a"})
    assert (second.queries, second.passages) == ({"de": "r"}, {"fr": "b"})
    assert "FILE:2: question_lang are empty" in refusal(path).replace("is empty", "are empty")


def test_webfaq_and_afriqa(tmp_path):
    webfaq = {"question": "q", "answer": "a", "url": "https://example.org/x", "language": "deu"}
    (group,) = read(written(tmp_path / "webfaq.jsonl", [webfaq]))
    assert group[1:4] == ("https://example.org/x", {"de": "q"}, {"de": "a"})
    row = {"question_lang": "swali", "question_translated": "q", "title": "T", "context": "a", "answer_lang": "x"}
    path = written(tmp_path / "gold_span_passages.afriqa.swa.en.train.json", [row])
    (group,) = read(path)
    assert (group.document_id, group.queries, group.passages) == ("T", {"sw": "swali", "en": "q"}, {"en": "a"})


def test_given_columns(tmp_path):
    rows = [{"a": "q", "b": "p", "c": "other", "d": "42", "e": "D", "f": ["x"]}]
    path = written(tmp_path / "rows.jsonl", rows)
    columns = {"query": "a", "passage": "b", "id": "d", "document": "e", "negatives": "f"}
    (group,) = read(path, columns=columns, language="en")
    assert group[:5] == ("42", "D", {"en": "q"}, {"en": "p"}, {"en": ["x"]})
    assert (
        refusal(path, columns={"query": "z"})
        == "FILE:1: columns.query: there is no column 'z'; known here: a, b, c, d, e, f"
    )


def test_a_file_without_names_is_read_by_numbers(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text('where is "it"?\t"It" is here.\n"quoted"\t"over\ntwo lines"\n')
    assert "by its number in a file whose first line holds no names" in refusal(path)
    groups = read(path, columns={"query": 1, "passage": "2"}, language="en")
    assert [(group.queries["en"], group.passages["en"]) for group in groups] == [
        ('where is "it"?', '"It" is here.'),
        ("quoted", "over\ntwo lines"),
    ]


def test_two_candidates_are_refused_by_name(tmp_path):
    path = written(tmp_path / "rows.jsonl", [{"question": "q", "context": "c", "answer": "a"}])
    assert refusal(path, language="en") == (
        "FILE:1: the passage may be 'context' or 'answer'; say which: columns: {passage: context} "
        "(--columns passage=context)"
    )
    (group,) = read(path, language="en", columns={"passage": "answer"})
    assert group.passages == {"en": "a"}
    path = written(tmp_path / "other.jsonl", [{"question": "q", "reply": "a"}])
    assert refusal(path).startswith("FILE:1: no column has a usual name of a passage (passage, answer, ")


def test_without_a_language_it_says_what_to_write(tmp_path):
    path = written(tmp_path / "rows.jsonl", [{"query": "q", "passage": "p"}])
    line = refusal(path)
    assert line.startswith("FILE:1: nothing says the language of the query; give that of all texts, language: en (or ")
    assert "columns: {language: NAME}" in line


def test_what_is_left_out_is_counted(tmp_path):
    rows = [
        {"query": "q", "pos": ["a", "a"], "neg": ["a", "x"], "label": 1},
        {"query": "r", "pos": [], "neg": [], "label": 1},
        {"query": "s", "pos": ["b"], "neg": [], "label": 0},
    ]
    path, notes = written(tmp_path / "rows.jsonl", rows), Notes()
    assert len(read(path, language="en", notes=notes)) == 1
    read(path, language="en", notes=notes)  # another reading counts nothing twice
    assert notes.lines() == [
        f"{path}: pairs by columns, query=query, passage=pos, negatives=neg, score=label",
        f"left out: 1 negatives that are a passage of their own row (first: {path}:1)",
        f"left out: 1 rows without a text in pos (first: {path}:2)",
        f"left out: 1 rows whose label is not above 0 (first: {path}:3)",
    ]


def test_ids_of_rows_are_unique_over_files(tmp_path):
    for name in ("a/train.csv", "b/train.csv", "b/test.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("query,answer\nq,a\n")
    groups = read(tmp_path / "a", tmp_path / "b", tmp_path / "a", language="en")
    ids = [group.group_id for group in groups]
    assert ids[:3] == ["train:1", "test:1", "b/train:1"]
    assert len(set(ids)) == 4


BROKEN = {  # content of a file: what the one line says
    "fields.csv": (
        "query,passage\nq,p\nq,p,more\n",
        "FILE:3: 3 fields (the last one: 'more') where",
    ),
    "quote.csv": ('query,passage\nq,"p\nr,s\n', "FILE:2: a quotation mark opens a field that is never closed"),
    "after.csv": ('query,passage\nq,"p" x\n', "FILE:2: text after a closing quotation mark"),
    "twice.csv": ("query,query\nq,p\n", "FILE:1: two columns are called 'query'; rename one of them"),
    "empty.csv": ("", "FILE: the file is empty"),
    "blank.tsv": ("\n\n", "FILE: the file is empty"),
    "header.csv": ("query,passage\n", "FILE: the file has a line of names and no row"),
    "cell.csv": ("query,passage\nq,p\nr, \n", "FILE:3: passage must be a text that is not empty (got ' ')"),
    "null.jsonl": ('{"query": "q", "passage": null}\n', "FILE:1: passage must be a text that is not empty (got None)"),
    "key.jsonl": ('{"query": "q", "passage": "p"}\n{"query": "q"}\n', "FILE:2: there is no 'passage' in this row"),
    "list.jsonl": ('{"query": "q", "passage": "p"}\n[]\n', "FILE:2: a row is a JSON object, not a list"),
    "array.json": ('[{"query": "q", "passage": "p"},\n{"query": "q" "passage"}]', "FILE:2: broken JSON: Expecting ','"),
    "cut.json": ('[{"query": "q", "passage": "p"},\n', "FILE:2: broken JSON: the file ends inside its array"),
    "comma.json": ('[{"query": "q", "passage": "p"}\n{}]', "FILE:2: broken JSON: a comma or ] is missing"),
    "score.csv": ("query,passage,score\nq,p,good\n", "FILE:2: score must be a number"),
    "nul.csv": ("query,passage\nq,p\0p\n", "FILE:2: a NUL byte after b'q,p': the file is damaged, or no text"),
    "latin.csv": (
        "query,passage\nq,caf\xe9\n".encode("latin-1"),
        "FILE:2: not UTF-8: byte 0xe9 after b'q,caf'; it",
    ),
    "utf16.csv": (
        "query,passage\nq,p\n".encode("utf-16"),
        "FILE:1: not UTF-8: it looks like UTF-16; convert it: ",
    ),
    "utf16le.csv": ("query,passage\nq,p\n".encode("utf-16-le"), "FILE:1: not UTF-8: it looks like UTF-16; convert it"),
    "utf16.json": ("[]".encode("utf-16"), "FILE:1: not UTF-8: it looks like UTF-16; convert it"),
    "no.csv.gz": (b"query,passage\nq,p\n", "FILE: cannot be read: "),
    "no.jsonl.xz": (b"{}", "FILE: cannot be read: "),
    "cut.csv.gz": (gzip.compress(b"query,passage\nq,p\n" * 999)[:-20], "FILE: cannot be read: "),
    "cut.csv.xz": (lzma.compress(b"query,passage\n" + b"q,p\n" * 999)[:-20], "FILE: cannot be read: "),
    "no.arrow": (b"nothing", "FILE: not a readable Arrow file: "),
}


def broken(folder, name):
    content = BROKEN[name][0]
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder / name


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_one_line_with_its_place(tmp_path, name):
    assert refusal(broken(tmp_path, name), language="en").startswith(BROKEN[name][1])


@pytest.mark.parametrize("name", BROKEN)
def test_the_command_line_answers_a_broken_file_with_exit_code_2(tmp_path, call, study_file, name):
    path = broken(tmp_path, name)
    study = study_file(data={"train": {"path": str(path), "language": "en"}})
    code, out, error = call("run", study, "--dry-run")
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert BROKEN[name][1].replace("FILE", str(path)) in error


def test_folders_pass_over_what_archives_add(tmp_path):
    rows = [{"query": "q", "passage": "p"}]
    for name in ("a.jsonl", "._a.jsonl", ".hidden.jsonl", "__MACOSX/a.jsonl", "_SUCCESS"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        written(tmp_path / name, rows)
    assert [group.group_id for group in read(tmp_path, language="en")] == ["a:1"]
    assert [group.group_id for group in read(tmp_path / "*a.jsonl", language="en")] == ["a:1"]


def test_of_the_shards_of_a_hub_folder_the_training_split_is_read(tmp_path):
    (tmp_path / "data").mkdir()
    for split in ("train", "test"):
        table = pa.Table.from_pylist([{"query": split, "passage": "p"}])
        pq.write_table(table, tmp_path / "data" / f"{split}-00000-of-00001.parquet")
    assert [group.queries for group in read(tmp_path, language="en")] == [{"en": "train"}]
    assert [group.queries for group in read(tmp_path, language="en", split="test")] == [{"en": "test"}]
    with pytest.raises(InputError, match="no file of the split 'dev'; there are: test-00000-of-00001"):
        read(tmp_path, language="en", split="dev")


@pytest.mark.parametrize("place", ["http://127.0.0.1:9/pairs.csv", "nowhere://a/pairs.csv", "memory://none/pairs.csv"])
def test_what_cannot_be_reached_is_one_line(place):
    refusal(place)


def test_rows_are_given_unchecked_to_who_cleans_them(tmp_path):
    path = written(tmp_path / "rows.jsonl", [{"query": " ", "passage": "p"}])
    (source,) = find_sources([DataSet(path=str(path), language="en")])
    ((where, row),) = group_rows(source)
    assert (where, row["queries"]) == (f"{path}:1", {"en": " "})


def test_language_pairs():
    assert language_pair("swa_Latn-eng_Latn") == ("sw", "en")
    assert language_pair("pt-BR") == ("pt-BR", "pt-BR")
    assert language_pair("pt-br") == ("pt", "br")  # Breton: a region is in upper case
    assert DataSet(path="a", language="deu-deu").language == "de"


CELL = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1).filter(str.strip)


@given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=4), st.sampled_from([",", ";", "\t"]))
def test_what_the_csv_module_writes_is_read(tmp_path_factory, cells, separator):
    rows = [{"query": query, "passage": passage} for query, passage in cells]
    path = tmp_path_factory.mktemp("csv") / ("a.tsv" if separator == "\t" else "a.csv")
    path.write_bytes(csv_text(rows, separator).encode())
    found = read(path, language="en")
    assert [(group.queries["en"], group.passages["en"]) for group in found] == cells
