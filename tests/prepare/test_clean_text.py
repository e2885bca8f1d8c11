"""What is taken out of a text, and which invisible characters stay because a script needs them."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hybridtune.prepare.clean_text import clean_text

CHANGED = {
    "plain": ("plain", ()),
    "e\u0301t\u00e9": ("été", ("unicode-form",)),
    "\ufeffbyte order": ("byte order", ("invisible",)),
    "soft\u00adhyphen": ("softhyphen", ("invisible",)),
    "bell\x07, null\x00, \x9bescape": ("bell, null, escape", ("invisible",)),
    "\u202bright to left\u202c\u200f": ("right to left", ("invisible",)),
    "zero\u200bwidth\u200cjoin\u200der\u2060": ("zerowidthjoiner", ("invisible",)),
    " two  spaces\tand\r\nlines\u00a0\u3000 ": ("two spaces and lines", ("white-space",)),
    "\u200b \u00ad\n": ("", ("invisible", "white-space")),
    "stray tag\U000e0067": ("stray tag", ("invisible",)),
}


@pytest.mark.parametrize("text", CHANGED)
def test_what_is_changed_is_named(text):
    assert clean_text(text) == CHANGED[text]


NEEDED = {
    "Persian": "می\u200cخواهم",
    "Hindi": "क्\u200dष और क्\u200cष",
    "Bengali": "র\u200d্য",
    "Sinhala": "ශ්\u200dරී",
    "Khmer words": "ភាសា\u200bខ្មែរ",
    "Thai words": "ภาษา\u200bไทย",
    "Mongolian": "ᠬᠠᠷ\u180eᠠ",
    "emoji family": "👨\u200d👩\u200d👧 ❤️\u200d🔥",
    "flag of Scotland": "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
    "number sign of Arabic": "\u0600١٢",
}


@pytest.mark.parametrize("name", NEEDED)
def test_what_a_script_needs_stays(name):
    assert clean_text(NEEDED[name]) == (NEEDED[name], ())


@given(text=st.text(max_size=40))
@example("ا\u061c\u200d ا\u200d\u200d ก\u200b\u200bก")
@example("😀\u200d\ufeff😀 \U0001f3f4\U000e0067 a\U000e0067\U000e0067")
@example("ក\u200b \u200bក")
def test_a_clean_text_is_clean(text):
    once, _ = clean_text(text)
    assert clean_text(once) == (once, ())
    assert unicodedata.is_normalized("NFC", once)
    assert once == " ".join(once.split())


@given(text=st.text(st.characters(categories=["L", "N", "P"]), max_size=40))
def test_letters_digits_and_marks_of_writing_are_never_lost(text):
    assert clean_text(text)[0] == unicodedata.normalize("NFC", text)
