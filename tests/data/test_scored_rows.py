"""Scores of rerankers and teachers in rows of pairs become margins of their hard negatives; groups carry them on."""

import csv
import itertools
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridtune.config.fields import DataSet
from hybridtune.data.readers.notes import Notes
from hybridtune.data.readers.sources import find_sources, read_groups
from hybridtune.errors import InputError
from hybridtune.prepare.writer import write_groups


def read(path, notes=None, **fields):
    fields = {"language": "en"} | fields
    return [group for one in find_sources([DataSet(path=str(path), **fields)]) for group in read_groups(one, notes)]


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def margins_of(path, **fields):
    """(passage, {negative: margin}) of every group."""
    return [(group.passages["en"], dict(group.scored_negatives("en"))) for group in read(path, **fields)]


FLAG = {"query": "q", "pos": ["a", "b"], "neg": ["x", "a", "y"], "pos_scores": [9.0, 7.5], "neg_scores": [1, 2, -3.5]}
N_TUPLE = {"anchor": "q", "positive": "a", "negative_1": "x", "negative_2": "y"}
TRIPLET = {"query": "q", "positive": "a", "negative": "x"}
SHAPES = {  # rows as neighbouring tools write them: the margin of each negative under each passage
    "FlagEmbedding": (FLAG, [("a", {"x": 8.0, "y": 12.5}), ("b", {"x": 6.5, "y": 11.0})]),
    "unknown scores": (
        FLAG | {"pos_scores": [None, 7.5], "neg_scores": [1, 2, None]},
        [("a", {"x": None, "y": None}), ("b", {"x": 6.5, "y": None})],
    ),
    "no scores": (FLAG | {"pos_scores": None}, [("a", {"x": None, "y": None}), ("b", {"x": None, "y": None})]),
    "one side alone": (
        {key: value for key, value in FLAG.items() if key != "pos_scores"},
        [("a", {"x": None, "y": None}), ("b", {"x": None, "y": None})],
    ),
    "scores of an n-tuple": (N_TUPLE | {"scores": [5.0, 1.5, 2.0]}, [("a", {"x": 3.5, "y": 3.0})]),
    "margins of an n-tuple": (N_TUPLE | {"label": [3.5, -3.0]}, [("a", {"x": 3.5, "y": -3.0})]),
    "scores of a triplet": (TRIPLET | {"labels": [5.0, 1.5]}, [("a", {"x": 3.5})]),
    "margin of a triplet": (TRIPLET | {"label": 3.5}, [("a", {"x": 3.5})]),
    "margin that the teacher gives to the negative": (TRIPLET | {"score": -0.5}, [("a", {"x": -0.5})]),
    "a judged pair": (TRIPLET | {"relevance": 1}, [("a", {"x": None})]),
    "a judged row with a list": (
        {"query": "q", "positive": "a", "negatives": ["x"], "score": 0.5},
        [("a", {"x": None})],
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_published_shapes_of_scores(tmp_path, name):
    row, expected = SHAPES[name]
    assert margins_of(written(tmp_path / "rows.jsonl", [row])) == expected


NUMBER = st.floats(-1e6, 1e6)


@given(st.lists(NUMBER, min_size=1, max_size=3), st.lists(NUMBER, min_size=1, max_size=4))
def test_all_ways_to_write_the_scores_of_a_row_give_the_same_margins(tmp_path_factory, own, others):
    texts = {"query": "q", "pos": [f"p{n}" for n in range(len(own))], "neg": [f"n{n}" for n in range(len(others))]}
    rows = [texts | {"pos_scores": own, "neg_scores": others}, texts | {"scores": own + others}]
    if len(own) == 1:
        rows.append(texts | {"label": [own[0] - other for other in others]})
    folder = tmp_path_factory.mktemp("rows")
    found = [margins_of(written(folder / f"{n}.jsonl", [row])) for n, row in enumerate(rows)]
    expected = [[one - other for other in others] for one in own]
    for groups in found:
        assert [[*margins.values()] for _, margins in groups] == [pytest.approx(line) for line in expected]


def test_a_table_of_triplets_with_margins(tmp_path):
    path = tmp_path / "triplets.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["query", "positive", "negative", "label"], ["q", "a", "x", "-2.5"]])
    notes = Notes()
    (group,) = read(path, notes)
    assert (group.negatives, group.margins) == ({"en": ["x"]}, {"en": [-2.5]})
    assert notes.lines() == [
        f"{path}: pairs by columns, query=query, passage=positive, negatives=negative, scores=label"
    ]


def test_columns_say_what_a_number_is(tmp_path):
    rows = [TRIPLET | {"label": 2}, TRIPLET | {"label": -1, "query": "r"}]
    path = written(tmp_path / "rows.jsonl", rows)
    assert margins_of(path) == [("a", {"x": 2.0}), ("a", {"x": -1.0})]
    assert margins_of(path, columns={"score": "label"}) == [("a", {"x": None})]  # the second is no pair
    path = written(tmp_path / "own.jsonl", [TRIPLET | {"p": [4], "n": [1.5]}])
    assert margins_of(path) == [("a", {"x": None})]
    assert margins_of(path, columns={"passage_scores": "p", "negative_scores": "n"}) == [("a", {"x": 2.5})]
    path = written(tmp_path / "list.jsonl", [{"query": "q", "pos": ["a"], "neg": ["x"], "m": 2}])
    assert margins_of(path, columns={"scores": "m"}) == [("a", {"x": 2.0})]


WRONG = {
    "too few": (FLAG | {"neg_scores": [1, 2]}, {}, "neg_scores: 2 scores for 3 negatives; give one for each, null"),
    "too many": (FLAG | {"pos_scores": [1] * 3}, {}, "pos_scores: 3 scores for 2 passages; give one for each, null"),
    "a word": (FLAG | {"pos_scores": ["good", 1]}, {}, "pos_scores: a score is a finite number, or null (got 'good')"),
    "not finite": (FLAG | {"neg_scores": [1, 2, float("nan")]}, {}, "neg_scores: a score is a finite number, or null"),
    "true": (FLAG | {"neg_scores": [1, 2, True]}, {}, "neg_scores: a score is a finite number, or null (got True)"),
    "neither": (N_TUPLE | {"scores": [1.0]}, {}, "scores: 1 scores for 1 passages and 2 negatives; give one for each"),
    "one column of two": (FLAG, {"passage_scores": "pos_scores", "scores": "neg_scores"}, "columns.passage_scores: "),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_scores_name_file_line_and_column(tmp_path, name):
    row, columns, message = WRONG[name]
    path = written(tmp_path / "rows.jsonl", [row])
    with pytest.raises(InputError) as caught:
        read(path, columns=columns)
    assert str(caught.value).startswith(f"{path}:1: {message}")
    assert "\n" not in str(caught.value)


def test_scores_that_the_first_rows_lack_are_found(tmp_path):
    bare = {key: value for key, value in FLAG.items() if "scores" not in key}
    rows = [bare, bare | {"extra": 1}, {**FLAG, "query": "r"}, bare | {"query": "s"}]
    path, notes = written(tmp_path / "rows.jsonl", rows), Notes()
    groups = read(path, notes)
    assert [bool(group.margins) for group in groups] == [False] * 4 + [True] * 2 + [False] * 2
    assert notes.lines()[0] == (
        f"{path}: pairs by columns, query=query, passage=pos, negatives=neg, passage_scores=pos_scores, "
        "negative_scores=neg_scores"
    )


def test_a_list_after_a_judged_row_is_refused_with_what_to_write(tmp_path):
    rows = [{"query": "q", "pos": ["a"], "neg": ["x"], "label": label} for label in (1, [2.0, 1.0])]
    path = written(tmp_path / "rows.jsonl", rows)
    with pytest.raises(InputError, match=r":2: label must be a number: .* columns: \{scores: NAME\}"):
        read(path)


ROW = {"group_id": "1", "queries": {"en": "who?"}, "passages": {"en": "me", "sw": "mimi"}}
HARD = {"en": ["x", "y"], "sw": ["z"]}


@pytest.mark.parametrize("value", [None, {}, {"en": [1, -2.5]}, {"eng": [None, 2], "sw": [0.0]}])
def test_margins_of_groups_that_are_fine(tmp_path, value):
    (group,) = read(written(tmp_path / "a.jsonl", [ROW | {"negatives": HARD, "margins": value}]), language=None)
    assert group.margins == {{"eng": "en"}.get(x, x): numbers for x, numbers in (value or {}).items()}


WRONG_GROUPS = {
    "[]": "margins must be an object of language: list of numbers (got [])",
    '{"en": 1}': (
        "margins.en must be a list of 2 numbers, one for each of negatives.en, null where there is no score (got 1)"
    ),
    '{"sw": [1, 2]}': (
        "margins.sw must be a list of 1 numbers, one for each of negatives.sw, null where there is no score "
        "(got [1, 2])"
    ),
    '{"de": [1]}': "margins.de: the group has no passage there to be over a negative; it has en, sw",
    '{"en": [1, "2"]}': "margins.en[1] must be a finite number, or null (got '2')",
    '{"en": [1, true]}': "margins.en[1] must be a finite number, or null (got True)",
    '{"en": [Infinity, 1]}': "margins.en[0] must be a finite number, or null (got inf)",
    '{"en": [1, 2], "EN": [1, 2]}': "margins: 'en' and 'EN' are one language; keep one of the two",
}


@pytest.mark.parametrize("value", WRONG_GROUPS)
def test_wrong_margins_name_file_line_and_field(tmp_path, value):
    path = tmp_path / "a.jsonl"
    negatives = {**HARD, "de": ["n"]}
    path.write_text(json.dumps(ROW | {"negatives": negatives})[:-1] + f', "margins": {value}}}\n')
    with pytest.raises(InputError) as caught:
        read(path, language=None)
    assert str(caught.value) == f"{path}:1: {WRONG_GROUPS[value]}"


@pytest.mark.parametrize("name", ["groups.jsonl", "groups.jsonl.gz", "groups.parquet"])
def test_margins_are_read_as_they_were_written(tmp_path, name):
    rows = [ROW | {"negatives": HARD, "margins": {"en": [0.1, None]}}, ROW | {"group_id": "2", "negatives": HARD}]
    groups = read(written(tmp_path / "a.jsonl", rows), language=None)
    write_groups(groups, tmp_path / name)
    assert read(tmp_path / name, language=None) == groups
    assert [group.margins for group in groups] == [{"en": [0.1, None]}, {}]


def test_parquet_margins_as_struct_and_as_map(tmp_path):
    numbers, texts = pa.list_(pa.float32()), pa.list_(pa.string())
    kinds = {"struct": pa.struct([("en", numbers), ("sw", numbers)]), "map": pa.map_(pa.string(), numbers)}
    for (name, kind), asked in itertools.product(kinds.items(), [{"sw": [0.5]}, {}, None]):
        path = tmp_path / f"{name}.parquet"
        columns = {key: pa.array([value]) for key, value in (ROW | {"negatives": HARD}).items()}
        columns["negatives"] = pa.array([HARD], pa.map_(pa.string(), texts))
        pq.write_table(pa.table(columns | {"margins": pa.array([asked], kind)}), path)
        assert [group.margins for group in read(path, language=None)] == [asked or {}]
