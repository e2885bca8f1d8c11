"""Which rows become one group: by id, by text, by an alignment."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridtune.data.readers.finding import KNOWN_SUFFIXES
from hybridtune.data.readers.native import Group
from hybridtune.errors import InputError
from hybridtune.prepare.alignment import read_alignment
from hybridtune.prepare.group import gather
from hybridtune.prepare.grouping import OneALanguage, by_id, by_pairs_of_ids, by_text, into_groups
from hybridtune.prepare.rows import count_pairs, spool_rows


def row(name, query, passage, document="", **more):
    """A row of texts written as ``en:words``."""
    sides = [dict([text.split(":")]) if isinstance(text, str) else text for text in (query, passage)]
    return Group(name, document, *sides, **more)


@pytest.fixture
def grouped(tmp_path):
    def run(rows, join=by_text):
        found = spool_rows(rows, tmp_path)
        sets = join(found)
        groups = into_groups(found, sets.of)
        left_out = Counter()
        return list(gather(found, groups, left_out)), sets, groups, left_out

    return run


def pairs(groups):
    """The question-passage pairs of groups, with their languages."""
    return {
        (x, query, y, passage)
        for group in groups
        for x, query in group.queries.items()
        for y, passage in group.passages.items()
    }


FLAT = st.lists(
    st.builds(
        lambda name, x, query, y, passage: row(name, {x: f"q{query}"}, {y: f"p{passage}"}),
        st.sampled_from("abc"),
        *(st.sampled_from(["en", "de", "sw"]), st.integers(0, 3)) * 2,
    ),
    min_size=1,
    max_size=14,
)


@pytest.mark.parametrize("join", [by_id, by_text])
@given(rows=FLAT)
def test_no_pair_is_lost_and_no_name_is_given_twice(join, rows, tmp_path_factory):
    found = spool_rows(rows, tmp_path_factory.mktemp("rows"))
    groups = into_groups(found, join(found).of)
    made = list(gather(found, groups, Counter()))
    assert pairs(rows) <= pairs(made)
    names = [group.group_id for group in made]
    assert len(set(names)) == len(names) == groups.count


@given(rows=FLAT)
def test_by_id_joins_texts_of_one_id_alone_and_makes_no_pair_twice(rows, tmp_path_factory):
    found = spool_rows(rows, tmp_path_factory.mktemp("rows"))
    made = list(gather(found, into_groups(found, by_id(found).of), Counter()))
    allowed = {name: [one for one in rows if one.group_id == name] for name in "abc"}
    for group in made:
        own = allowed[group.group_id.partition("#")[0]]
        assert all(any(one.queries.get(x) == text for one in own) for x, text in group.queries.items())
        assert all(any(one.passages.get(x) == text for one in own) for x, text in group.passages.items())


@given(rows=FLAT)
def test_by_text_a_group_without_a_contradiction_has_all_pairs_of_its_queries(rows, tmp_path_factory):
    found = spool_rows(rows, tmp_path_factory.mktemp("rows"))
    sets = by_text(found)
    made = gather(found, into_groups(found, sets.of), Counter())
    by_query = {}
    for group in made:
        for x, query in group.queries.items():
            by_query.setdefault((x, query), set()).update(group.passages.items())
    for one in rows:
        assert set(one.passages.items()) <= by_query[next(iter(one.queries.items()))]


def test_rows_of_one_id_are_one_group(grouped):
    rows = [row("1", "en:Who?", "en:He."), row("2", "en:Why?", "en:So."), row("1", "de:Wer?", "de:Er.")]
    made, _, groups, _ = grouped(rows, by_id)
    assert made == [
        Group("1", "", {"de": "Wer?", "en": "Who?"}, {"de": "Er.", "en": "He."}),
        Group("2", "", {"en": "Why?"}, {"en": "So."}),
    ]
    assert groups.split == 0


def test_a_second_text_of_a_language_becomes_a_group_of_its_own_with_what_the_id_has_once(grouped):
    rows = [row("1", "en:Who?", "en:He."), row("1", "de:Wer?", "de:Er."), row("1", "en:Who?", "en:Him.")]
    made, _, groups, _ = grouped(rows, by_id)
    assert made[1] == Group("1#2", "", {"de": "Wer?", "en": "Who?"}, {"en": "Him."})
    assert groups.split == 1
    assert groups.examples == (0,)


def test_a_number_that_an_id_of_the_data_has_is_passed_over(grouped):
    rows = [row("1", "en:a", "en:b"), row("1", "en:a", "en:c"), row("1#2", "en:d", "en:e")]
    assert [group.group_id for group in grouped(rows, by_id)[0]] == ["1", "1#3", "1#2"]


def test_closure_over_a_shared_query_and_a_shared_passage_gives_the_pair_that_no_row_has(grouped):
    rows = [row("1", "en:Who?", "en:He."), row("2", "de:Wer?", "en:He."), row("3", "en:Who?", "de:Er.")]
    made, *_ = grouped(rows)
    assert made == [Group("1", "", {"de": "Wer?", "en": "Who?"}, {"de": "Er.", "en": "He."})]


def test_a_passage_of_two_queries_of_one_language_joins_nothing_and_is_counted(grouped):
    rows = [row("1", "en:Who?", "en:He."), row("2", "en:Where?", "en:He."), row("3", "de:Wer?", "en:He.")]
    made, sets, *_ = grouped(rows)
    assert made == rows
    assert (sets.unclear, sets.examples) == (1, (0,))


def test_several_whole_groups_on_one_passage_are_not_unclear(grouped):
    both = {"en": "x", "de": "y"}
    rows = [row("1", {"en": "a", "de": "b"}, both), row("2", {"en": "c", "de": "d"}, both)]
    made, sets, *_ = grouped(rows)
    assert made == rows
    assert sets.unclear == 0


def test_no_chain_brings_two_queries_of_one_language_together(grouped):
    rows = [row("1", "en:a", "en:p"), row("2", "de:b", "en:p"), row("3", "de:b", "en:r"), row("4", "en:c", "en:r")]
    made, sets, *_ = grouped(rows)
    assert [group.queries for group in made] == [{"de": "b", "en": "a"}, {"de": "b", "en": "a"}, {"en": "c"}]
    assert sets.unclear == 1


def test_several_answers_of_a_query_are_groups_with_all_its_translations(grouped):
    rows = [row("1", "en:a", "en:p"), row("2", "de:b", "en:p"), row("3", "en:a", "en:r")]
    made, *_ = grouped(rows)
    assert [(group.queries, group.passages) for group in made] == [
        ({"de": "b", "en": "a"}, {"en": "p"}),
        ({"de": "b", "en": "a"}, {"en": "r"}),
    ]


def test_texts_are_compared_without_their_white_space_and_kept_as_they_are(grouped):
    rows = [row("1", "en: Who  is it?", "en:He."), row("2", "en:Who is it?", "de:Er.")]
    assert grouped(rows)[0] == [Group("1", "", {"en": " Who  is it?"}, {"de": "Er.", "en": "He."})]


def test_bitext_stays_as_it_is(grouped):
    rows = [row("1", {}, {"en": "a", "de": "b"}), row("2", "en:q", "en:a")]
    assert grouped(rows)[0] == rows


def test_hard_negatives_and_translations_go_with_their_texts(grouped):
    by = {"engine": "e", "model": "m", "licence": "l"}
    rows = [
        row("1", "en:a", "en:p", "d1", negatives={"de": ["r", "n"]}),
        row("2", "en:a", "de:r", "d2", negatives={"de": ["n ", "o"]}, translated={"passages": {"de": "en"}}),
    ]
    rows[1] = rows[1]._replace(translation=by)
    made, _, _, left_out = grouped(rows)
    assert made == [
        Group("1", "d1", {"en": "a"}, {"de": "r", "en": "p"}, {"de": ["n", "o"]}, {}, {"passages": {"de": "en"}}, by)
    ]
    assert left_out == {"hard negatives that are a passage of their group": 1, "further documents of a group": 1}


def test_margins_go_with_the_passage_that_they_are_over(grouped):
    rows = [
        row("1", "en:a", "en:p", negatives={"en": ["n", "p2"]}, margins={"en": [None, 2.0]}),
        row("1", "de:b", "de:r", negatives={"de": ["o", "p"]}, margins={"de": [3.0, 4.0]}),
        row("1", "sw:c", "en:p ", negatives={"en": ["n ", "m"]}, margins={"en": [5.0, 6.0]}),
        row("1", "sw:c", "en:other", negatives={"en": ["m", "k"]}, margins={"en": [7.0, 8.0]}),
    ]
    made, other = grouped(rows, by_id)[0]
    assert made.passages == {"de": "r", "en": "p"}
    assert [*made.scored_negatives("en")] == [("n", 5.0), ("p2", 2.0), ("m", 6.0)]
    assert [*made.scored_negatives("de")] == [("o", 3.0)]  # the other is a passage of the group
    assert other.passages["en"] == "other"
    assert [*other.scored_negatives("en")] == [("m", 7.0), ("k", 8.0)]


def test_many_answers_of_one_query_take_no_time_that_grows_with_their_square(grouped):
    rows = [row(str(n), "en:a", f"en:p{n}") for n in range(20_000)]
    assert len(grouped(rows)[0]) == 20_000


def test_counts_are_those_of_the_groups_that_are_made(grouped, tmp_path):
    rows = [row("1", "en:a", "en:p"), row("2", "de:b", "en:p"), row("3", "en:a", "de:r")]
    found = spool_rows(rows, tmp_path)
    groups = into_groups(found, by_text(found).of)
    assert found.languages == ("de", "en")
    before = count_pairs(found.row, found.is_query, found.column, 2)
    assert before.tolist() == [[0, 1], [1, 1]]
    assert count_pairs(groups.of[found.row], found.is_query, found.column, 2).tolist() == [[1, 1], [1, 1]]


ALIGNMENTS = {
    "a.csv": "en_id,de_id\ne1,d1\ne2,none\n",
    "a.tsv": "e1\td1\ne2\tnone\n",
    "a.jsonl": '["e1", "d1"]\n{"en": "e2", "de": "none"}\n',
}


@pytest.mark.parametrize("name", ALIGNMENTS)
def test_ids_of_a_line_translate_each_other(name, tmp_path):
    rows = [row("e1", "en:a", "en:b"), row("e2", "en:c", "en:d"), row("d1", "de:e", "de:f")]
    found = spool_rows(rows, tmp_path)
    file = tmp_path / name
    file.write_text(ALIGNMENTS[name], encoding="utf-8")
    pairs, notice = read_alignment(file, found)
    made = list(gather(found, into_groups(found, by_pairs_of_ids(found, pairs).of), Counter()))
    assert made == [Group("e1", "", {"de": "e", "en": "a"}, {"de": "f", "en": "b"}), rows[1]]
    line = 3 if name == "a.csv" else 2
    assert notice == f"{file}: 1 ids are not in the data, and 1 lines join nothing (the first is {file}:{line})"


WRONG_ALIGNMENTS = {
    "one id": ("a.csv", "e1\n", "{file}:1: a line has two or more ids that translate each other (got ['e1'])"),
    "unknown ids": (
        "a.csv",
        "x,y\nz,w\n",
        "--alignment {file}: no line has two ids that the data has; its ids are those of the id column, like 'e1'",
    ),
    "kind": (
        "a.xlsx",
        "",
        "--alignment {file}: give a file of {suffixes}: ids of a line translate",
    ),
    "number": ("a.jsonl", "3\n", "{file}:1: a line is a list of ids, or an object of them (got '3')"),
}


@pytest.mark.parametrize("name", WRONG_ALIGNMENTS)
def test_a_wrong_alignment_is_refused_with_its_line(name, tmp_path):
    base, text, message = WRONG_ALIGNMENTS[name]
    file = tmp_path / base
    file.write_text(text, encoding="utf-8")
    found = spool_rows([row("e1", "en:a", "en:b")], tmp_path)
    with pytest.raises(InputError) as caught:
        read_alignment(file, found)
    assert str(caught.value) == message.format(file=file, suffixes=KNOWN_SUFFIXES)


def test_sets_of_one_text_a_language_are_named_by_their_smallest():
    joined = OneALanguage({4: 0, 7: 1, 2: 0, 9: 2})
    assert joined.join(7, 9)
    assert joined.join(9, 4)
    assert not joined.join(2, 7)
    assert [joined.find(node) for node in (2, 4, 7, 9)] == [2, 4, 4, 4]
