"""Fingerprints: what makes two texts one, and what a text shares with a longer one."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hybridtune.data.fingerprints import CHARACTERS, WORDS, fingerprints

LETTERS = st.text("abcdefgh", min_size=1, max_size=4)
SENTENCES = st.lists(LETTERS, min_size=1, max_size=30)


def keys(*texts):
    return fingerprints(texts).keys.tolist()


def pieces(text):
    return {*fingerprints([text]).pieces.tolist()}


def test_case_punctuation_white_space_and_unicode_form_make_no_other_text():
    same = ["who won the 2010\tFINAL", "ＷＨＯ\u3000won: the 2010 final", "Who-won the\n2010 final!"]
    assert len({*keys("Who won — the “2010” final?", *same)}) == 1
    assert keys("ISPARTA ısı İnce")[0] == keys("isparta ISI ince")[0]  # Turkish, whichever rule made the capitals
    assert keys("Straße")[0] == keys("STRASSE")[0]
    assert keys("caf\u00e9")[0] == keys("cafe\u0301")[0]


def test_letters_marks_and_digits_make_another_text():
    texts = ["the final", "the finals", "the final 2", "final the", "कि", "की", "ประเทศ", "ประเทด", "café", "cafe"]
    assert len({*keys(*texts)}) == len(texts)


def test_a_text_without_a_letter_or_digit_has_no_key():
    found = fingerprints(["?!", "", " \uffff ", "a"])
    assert (found.keys == 0).tolist() == [True, True, True, False]
    assert found.lengths.tolist() == [0, 0, 0, 1]


@given(SENTENCES, SENTENCES, SENTENCES)
def test_a_text_shares_all_its_pieces_with_one_that_holds_it(before, text, after):
    whole = " ".join([*before, *text, *after])
    assert pieces(" ".join(text)) <= pieces(whole.upper())


@given(SENTENCES, SENTENCES)
def test_pieces_are_the_runs_of_words(one, other):
    """Compared with the runs as Python has them: equal where the runs are, and of as many kinds."""

    def runs(words):
        return {tuple(words[i : i + WORDS]) for i in range(len(words) - WORDS + 1)}

    found, others = pieces(" ".join(one)), pieces(", ".join(other))
    assert len(found) == len(runs(one))
    assert len(found & others) == len(runs(one) & runs(other))


@given(st.lists(st.sampled_from(["Who won the 2010 final in Spain?", "", "a", "ไทย", "谁赢了", "b c d e f"])))
def test_a_text_has_the_same_fingerprint_in_any_company(texts):
    together = fingerprints(texts)
    for number, text in enumerate(texts):
        alone = fingerprints([text])
        assert together.keys[number] == alone.keys[0]
        assert together.lengths[number] == alone.lengths[0]
        assert sorted(together.pieces[together.of == number].tolist()) == sorted(alone.pieces.tolist())


def test_scripts_without_spaces_go_by_characters():
    text = "一二三四五六七八九十甲乙丙丁"
    assert len(pieces(text)) == len(text) - CHARACTERS + 1
    assert pieces(text[1:13]) <= pieces(f"In 1999 {text}, said Wu.")
    assert fingerprints([text]).lengths[0] == len(text) / (CHARACTERS / WORDS)
    assert not pieces("ประเทศไทย")  # nine characters
    assert pieces("ประเทศไทยมีประชากร") & pieces("ว่าประเทศไทยมีประชากรมาก")


def test_fingerprints_stay_what_they_are():
    """Models carry them: with other ones, RULES goes up."""
    found = fingerprints(["Who won the 2010 final?", "ประเทศไทยมีประชากร"])
    assert found.keys.tolist() == [17717185427562744385, 3684342095925251434]
    assert int(np.bitwise_xor.reduce(found.pieces)) == 15776291159916890292
