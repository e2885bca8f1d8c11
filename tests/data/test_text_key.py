import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridtune.data.text_key import text_key

WORDS = st.text(st.sampled_from("aéÅ각ก́ế \u00a0\u3000\t"), max_size=8)


@given(st.one_of(st.text(), WORDS, st.text(st.sampled_from("ab "), max_size=6)))
def test_a_key_is_its_own_key_and_in_nfc(text):
    key = text_key(text)
    assert key == " ".join(unicodedata.normalize("NFC", text).split())
    assert text_key(key) == key
    assert unicodedata.is_normalized("NFC", key)


@given(
    st.lists(WORDS.filter(str.strip), min_size=1), st.sampled_from(["NFC", "NFD"]), st.sampled_from("\n\u00a0\u3000")
)
def test_spellings_of_one_text_have_one_key(words, form, space):
    other = space + (space * 2).join(unicodedata.normalize(form, word) for word in words) + space
    assert text_key(other) == text_key(" ".join(words))


@pytest.mark.parametrize(("one", "other"), [("a", "A"), ("ﬁ", "fi"), ("a b", "ab"), ("e", "é"), ("२", "2")])
def test_what_reads_differently_stays_different(one, other):
    assert text_key(one) != text_key(other)
