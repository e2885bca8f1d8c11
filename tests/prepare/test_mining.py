"""What mined pairs of texts do to the rows that hold them; the encoder is left out here."""

import pickle
from collections import Counter

import numpy as np
import pytest

from hybridtune.data.readers.native import Group
from hybridtune.prepare.group import gather
from hybridtune.prepare.grouping import by_text, into_groups
from hybridtune.prepare.mining import Distinct, MinedPairs, _joined, _parts, _with_translations
from hybridtune.prepare.rows import spool_rows


def row(name, x, query, passage):
    return Group(name, "", {x: query}, {x: passage})


def mined(languages, *pairs):
    ones, others, margins = zip(*pairs, strict=True)
    whole = [np.array(ones), np.array(others), np.array(margins, float)]
    return MinedPairs(languages, *whole, 1.0, (0, 0), ())


@pytest.fixture
def put_together(tmp_path):
    def run(rows, found, side="passages"):
        spooled = spool_rows(rows, tmp_path)
        distinct = Distinct.of(spooled, side)
        whole = _with_translations(spooled, side, distinct, _joined(distinct, found(_numbers(distinct, spooled, side))))
        return list(gather(whole, into_groups(whole, by_text(whole).of), Counter()))

    return run


def _numbers(distinct, rows, side):
    """The number of each text among the distinct ones."""
    return {
        getattr(rows.spool.read(int(row)), side)[rows.languages[column]]: number
        for number, (row, column) in enumerate(zip(distinct.row, distinct.column, strict=True))
    }


def test_rows_of_passages_that_translate_each_other_are_one_where_each_language_has_one_query(put_together):
    rows = [row("1", "en", "who", "he"), row("2", "de", "wer", "er"), row("3", "sw", "nani", "yeye")]
    made = put_together(rows, lambda n: [mined(("de", "en"), (n["er"], n["he"], 1.2))])
    assert made == [Group("1", "", {"de": "wer", "en": "who"}, {"de": "er", "en": "he"}), rows[2]]


def test_several_questions_on_a_passage_each_get_its_translation_and_stay_apart(put_together):
    rows = [row("1", "en", "who", "he"), row("2", "en", "why", "he"), row("3", "de", "wer", "er")]
    made = put_together(rows, lambda n: [mined(("de", "en"), (n["er"], n["he"], 1.2))])
    assert [(group.queries, group.passages) for group in made] == [
        ({"en": "who"}, {"de": "er", "en": "he"}),
        ({"en": "why"}, {"de": "er", "en": "he"}),
        ({"de": "wer"}, {"de": "er", "en": "he"}),
    ]


def test_of_pairs_that_contradict_each_other_the_better_one_is_kept(put_together):
    rows = [row("1", "en", "a", "x"), row("2", "en", "b", "y"), row("3", "de", "c", "z"), row("4", "sw", "d", "w")]

    def found(n):
        return [
            mined(("de", "en"), (n["z"], n["y"], 1.3)),
            mined(("de", "sw"), (n["z"], n["w"], 1.2)),
            mined(("en", "sw"), (n["x"], n["w"], 1.1)),  # would bring x and y together
        ]

    made = put_together(rows, found)
    assert [group.passages for group in made] == [{"en": "x"}, {"de": "z", "en": "y", "sw": "w"}]


def test_mined_queries_join_their_rows(put_together):
    rows = [row("1", "en", "who", "he"), row("2", "de", "wer", "er")]
    made = put_together(rows, lambda n: [mined(("de", "en"), (n["wer"], n["who"], 1.2))], "queries")
    assert made == [Group("1", "", {"de": "wer", "en": "who"}, {"de": "er", "en": "he"})]


def test_the_parts_hold_every_distinct_text_once_under_its_position(tmp_path):
    rows = [row(str(n), "en" if n % 3 else "de", f"q{n}", f"p{n // 2}") for n in range(20)]
    spooled = spool_rows(rows, tmp_path)
    distinct = Distinct.of(spooled, "passages")
    parts = pickle.loads(pickle.dumps(list(_parts(distinct, spooled, "passages"))))  # they go to other processes
    texts = [text for part in parts for text in part.read()]
    assert [text.text_id for text in texts] == [str(n) for n in range(len(texts))]
    assert sorted(text.text for text in texts) == sorted({f"p{n}" for n in range(10)})
    assert [text.language for text in texts] == sorted(text.language for text in texts)
