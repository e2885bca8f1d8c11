from collections import Counter

import pytest

from hybridtune.data.readers.native import Group
from hybridtune.errors import InputError
from hybridtune.translate.cache import Direction
from hybridtune.translate.wanted import Wanted, Wish, gather, parse_wanted


def group(queries, passages, n=1, **more):
    return Group(f"g{n}", "", queries, passages, **more)


def wishes(wanted, one):
    missed = Counter()
    return list(wanted.of(one, missed)), missed


def test_every_side_that_lacks_a_language_is_translated_into_it():
    wanted = parse_wanted("both", "sw,ha", "en", None)
    found, missed = wishes(wanted, group({"en": "q", "sw": "s"}, {"en": "p"}))
    assert found == [
        Wish("queries", Direction("en", "ha"), "q"),
        Wish("passages", Direction("en", "sw"), "p"),
        Wish("passages", Direction("en", "ha"), "p"),
    ]
    assert not missed


def test_one_side_alone():
    found, _ = wishes(parse_wanted("queries", "sw", "en", None), group({"en": "q"}, {"en": "p"}))
    assert [wish.side for wish in found] == ["queries"]


def test_without_from_the_only_language_of_a_group_is_the_source():
    wanted = parse_wanted("passages", "sw", None, None)
    assert wishes(wanted, group({}, {"de": "p"}))[0] == [Wish("passages", Direction("de", "sw"), "p")]
    found, missed = wishes(wanted, group({}, {"de": "p", "en": "x"}))
    assert not found
    assert missed == {"passages: in several languages, of which --from or --pairs names none": 1}


def test_pairs_name_sources_in_the_order_of_preference():
    wanted = parse_wanted("queries", None, None, "de-sw,en-sw,en-ha")
    assert wanted == Wanted(("queries",), {"sw": ("de", "en"), "ha": ("en",)})
    found, _ = wishes(wanted, group({"en": "q", "de": "f"}, {"en": "p"}))
    assert found == [Wish("queries", Direction("de", "sw"), "f"), Wish("queries", Direction("en", "ha"), "q")]
    found, missed = wishes(wanted, group({"fr": "q"}, {"en": "p"}))
    assert not found
    assert missed == {"queries: none in de or en": 1, "queries: none in en": 1}


def test_codes_are_canonical_and_may_have_scripts():
    assert parse_wanted("both", "swh_Latn", "eng", None).sources == {"sw": ("en",)}
    assert parse_wanted("both", None, None, "en-zh-Hant").sources == {"zh-Hant": ("en",)}


def test_a_text_that_a_machine_translated_is_no_source():
    one = group({"en": "q", "sw": "s"}, {"en": "p"}, translated={"queries": {"sw": "en"}})
    found, missed = wishes(parse_wanted("queries", "ha", "sw", None), one)
    assert not found
    assert missed == {"queries: none in sw": 1}
    assert wishes(parse_wanted("queries", "ha", None, None), one)[0] == [Wish("queries", Direction("en", "ha"), "q")]


@pytest.mark.parametrize(
    ("to", "source", "pairs", "problem"),
    [
        (None, None, None, "give --to LANGUAGES"),
        ("sw", None, "en-sw", "one of the two"),
        (None, "en", "en-sw", "--from goes with --to"),
        ("sw,en", "en", None, "--from en is among --to sw,en"),
        ("swahili", "en", None, "--to: 'swahili' is not a language code"),
        (None, None, "en", "--pairs en: a pair is two languages"),
        (None, None, "en-xx", "--pairs en-xx"),
        (",", "en", None, "--to names no language"),
    ],
)
def test_what_cannot_be_meant_is_refused(to, source, pairs, problem):
    with pytest.raises(InputError, match=problem):
        parse_wanted("both", to, source, pairs)


def test_equal_texts_are_gathered_once_a_direction():
    groups = [group({"en": "same"}, {"en": f"p{n}"}, n) for n in range(5)]
    windows = gather(groups, parse_wanted("both", "sw,ha", "en", None), 1)
    texts = Counter((str(window.direction), text) for window in windows.windows for text in window.texts)
    assert windows.asked == 20
    assert set(texts.values()) == {1}
    assert len(texts) == 12
    assert [window.number for window in windows.windows] == list(range(len(windows.windows)))


def test_a_window_is_closed_when_it_is_full():
    groups = [group({}, {"en": f"{n:064d}"}, n) for n in range(10)]
    windows = gather(groups, parse_wanted("passages", "sw", "en", None), 4)  # 256 characters
    assert [len(window.texts) for window in windows.windows] == [4, 4, 2]
