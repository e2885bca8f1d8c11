"""The language of texts: by script, by the model as its own library runs it, and what is never judged."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybridtune.data.language_id import LEAST, identify, mistaken, unknown
from hybridtune.data.scripts import count_scripts

TEXTS = {
    "am": "ድልድዩ ሰኞ ዕለት ተከፈተ እና ሁሉም ሰው ተደስቷል",
    "ar": "افتتح الجسر يوم الاثنين وفرح به جميع سكان المدينة القديمة",
    "de": "Die Brücke wurde am Montag eröffnet, und alle freuten sich darüber.",
    "el": "Η γέφυρα άνοιξε τη Δευτέρα και όλοι χάρηκαν πολύ",
    "en": "The bridge was opened on Monday, and everybody was glad about it.",
    "es": "El puente se abrió el lunes y todos los vecinos se alegraron mucho.",
    "ha": "An buɗe gadar ranar Litinin kuma kowa ya yi farin ciki da ita.",
    "hi": "पुल सोमवार को खोला गया और शहर के सभी लोग इससे बहुत खुश हुए",
    "km": "ស្ពាននេះត្រូវបានបើកនៅថ្ងៃច័ន្ទ",
    "ru": "Мост открыли в понедельник, и все жители города были этому рады.",
    "sw": "Daraja lilifunguliwa siku ya Jumatatu na watu wote walifurahi sana.",
    "ta": "பாலம் திங்கட்கிழமை திறக்கப்பட்டது",
    "yo": "Wọ́n ṣí afárá náà ní ọjọ́ Ajé, inú gbogbo ènìyàn sì dùn.",
    "zh": "这座桥在星期一开通了，大家都很高兴，许多人来参观。",
}
CODES, WRITTEN = list(TEXTS), list(TEXTS.values())


def test_each_text_is_in_its_language():
    found = identify(WRITTEN, CODES)
    assert [code for code, _ in found] == CODES
    assert min(probability for _, probability in found) > 0.3
    assert [code for code, _ in identify(WRITTEN)] == CODES


def test_the_same_as_the_library_finds():
    from py3langid import langid

    library = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
    library.set_languages([label for label in library.labels if label != "zxx"])
    texts = [text for code, text in TEXTS.items() if code not in ("km", "el", "ta")]  # told by their script
    texts += ["a", "Ü", "WHO WON?", "e\u0301te\u0301", "Who won the final in 2010, and where was it played?"]
    from hybridtune.config.languages import canonical_code

    expected = [library.classify(text) for text in texts]
    found = identify(texts, [canonical_code(label) for label in library.labels])
    assert [code for code, _ in found] == [canonical_code(code) for code, _ in expected]
    assert [chance for _, chance in found] == pytest.approx([chance for _, chance in expected], rel=1e-3)


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(st.text(max_size=600), max_size=6))
def test_a_text_is_found_alike_alone_and_among_others(texts):
    together = identify(texts)
    alone = [identify([text])[0] for text in texts]
    assert [code for code, _ in together] == [code for code, _ in alone]
    assert np.allclose([chance for _, chance in together], [chance for _, chance in alone], rtol=1e-4)
    assert all(0.0 <= chance <= 1.0001 for _, chance in together)


def test_a_text_without_letters_is_in_no_language():
    assert identify(["", "12 345 %", "!?"]) == [("", 0.0)] * 3
    assert identify([]) == []


def test_a_text_that_is_in_another_language_than_it_says():
    assert mistaken(WRITTEN, CODES) == [None] * len(CODES)
    assert mistaken(WRITTEN, ["en"] * len(CODES)) == [None if code == "en" else code for code in CODES]
    assert mistaken([TEXTS["en"]], ["km"]) == ["en"]
    assert mistaken([], []) == []


def test_a_name_in_its_own_writing_tells_nothing():
    film = "D. Ramanaidu (Telugu దగ్గుబాటి రామానాయుడు; * 6. Juni 1936 in Madras) war ein indischer Filmproduzent."
    emperor = "Konstantin III. (griechisch Φλάβιος Ἡράκλειος ὁ Νέος Κωνσταντίνος) war im Jahr 641 Kaiser von Byzanz."
    assert mistaken([film, emperor], ["de", "de"]) == [None, None]


def test_a_short_text_is_not_judged():
    short = TEXTS["en"][: LEAST - 1]
    assert mistaken([short, TEXTS["en"]], ["de", "de"]) == [None, "en"]


@pytest.mark.parametrize("code", ["gsw", "shn", "hi-Latn", "ru-Latn", "sr-Latn", "ceb"])
def test_a_language_that_the_model_does_not_know_is_never_judged_and_named(code):
    assert unknown([code, "en"]) == [code]
    assert mistaken([TEXTS["es"], TEXTS["es"]], [code, "en"]) == [None, "es"]


@pytest.mark.parametrize("code", ["zh", "zh-Hant", "zh-TW", "pt-BR", "en-GB", "nb", "fil", "dv"])
def test_regions_and_other_names_of_what_it_knows_are_judged(code):
    assert unknown([code]) == []
    assert mistaken([TEXTS["ru"]], [code]) == ["ru"]


def test_a_kind_of_a_language_is_told_apart_only_where_it_is_at_hand():
    from hybridtune.data import language_id

    assert language_id._kinds() == {"ary", "arz", "ltg", "sdh", "uzs", "wuu", "yue"}
    wu = "伊拉两家头侪是上海人，阿拉一道去吃饭，弗要忘记脱侬爷娘讲一声。"
    assert [code for code, _ in identify([wu])] == ["zh"]
    assert [code for code, _ in identify([wu], ["wuu"])] == ["wuu"]
    assert mistaken([wu, wu, TEXTS["en"]], ["zh", "wuu", "wuu"]) == [None, None, "en"]


def test_letters_are_counted_by_script():
    found = count_scripts(["Кто? Who?", "12 %", "是iＡ", ""])
    by_name = [{name: count for name, count in zip(found.names, row, strict=True) if count} for row in found.letters]
    assert by_name == [{"CYRILLIC": 3, "LATIN": 3}, {}, {"CJK": 1, "LATIN": 2}, {}]
    assert found.shares(["LATIN"]).tolist() == [0.5, 0.0, 2 / 3, 0.0]
    assert found.shares(["LATIN", "CJK", "KLINGON"]).tolist() == [0.5, 0.0, 1.0, 0.0]
