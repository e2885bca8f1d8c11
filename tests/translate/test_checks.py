import pytest

from hybridtune.translate.checks import Checks, weighed_length
from hybridtune.translate.engine import TOO_LONG, Translation

SOURCE = "The bridge over the river was opened on Monday by the new mayor."


def reason(text, source=SOURCE, finished=True, **bounds):
    return Checks(**bounds).reason(source, Translation(text, finished))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Daraja juu ya mto lilifunguliwa Jumatatu na meya mpya.", ""),
        ("", "empty"),
        (" ... !", "empty"),
        (SOURCE.upper(), "copy of the source"),
        ("Daraja juu ya juu ya juu ya juu ya mto lilifunguliwa Jumatatu.", "repetition"),
        ("Daraja Daraja Daraja Daraja juu ya mto lilifunguliwa Jumatatu.", "repetition"),
        ("mtomtomtomtomto lilifunguliwa Jumatatu na meya mpya wa jiji", "repetition"),
        ("Ja.", "length ratio"),
        ("Daraja " + " ".join(f"neno{n}" for n in range(60)), "length ratio"),
        ("周一，新市长为横跨河流的大桥揭幕。", ""),  # 17 characters of Chinese are no short text
        ("大桥。", "length ratio"),
    ],
)
def test_a_reason_is_given(text, expected):
    assert reason(text) == expected


def test_a_text_that_is_not_finished_or_was_too_long_says_so():
    assert reason("Daraja juu ya mto", finished=False) == "not finished"
    assert Checks().reason(SOURCE, TOO_LONG) == "source too long"


def test_what_the_source_repeats_may_be_repeated():
    assert reason("ha ha ha ha ha, alicheka", "ha ha ha ha ha, she laughed") == ""


def test_short_texts_may_differ_more_in_length():
    assert reason("Ndiyo, bila shaka kabisa", "Yes") == ""


@pytest.mark.parametrize(
    ("source", "good", "bad"),
    [
        ("Hello {name}, welcome", "Habari {name}, karibu", "Habari jina, karibu"),
        (
            "You have %d new messages from %(who)s",
            "Una ujumbe mpya %d kutoka %(who)s",
            "Una ujumbe mpya kutoka %(who)s",
        ),
        ("Press <b>Save</b> now", "Bonyeza <b>Hifadhi</b> sasa", "Bonyeza <b>Hifadhi sasa"),
        ("See https://a.example/x?y=1.", "Tazama https://a.example/x?y=1.", "Tazama https://a.example/x."),
        ("Write to me@a.example today", "Andika kwa me@a.example leo", "Andika kwa mimi@a.example leo"),
        ("Salt &amp; pepper", "Chumvi &amp; pilipili", "Chumvi na pilipili"),
    ],
)
def test_markup_and_placeholders_must_come_through(source, good, bad):
    assert reason(good, source) == ""
    assert reason(bad, source) == "markup lost"


def test_the_bounds_are_settings():
    assert reason("Ja.", ratio=10.0) == ""
    assert reason("Daraja juu ya juu ya juu ya juu ya mto lilifunguliwa.", repeats=9) == ""


def test_lengths_are_weighed_by_script():
    assert weighed_length("Beijing ") == 8
    assert weighed_length("北京") == 6
    assert weighed_length("école") == 5
    assert weighed_length("e\u0301cole") == 5  # an accent on its own has no length
