import pytest
from pydantic import ValidationError

from hybridtune.config.fields import BenchmarkSource, Data, Mix
from hybridtune.config.languages import ISO_639_1, canonical_code, language_code
from hybridtune.data.readers.languages import SCRIPTS, mixed_up
from hybridtune.data.readers.records import Text
from hybridtune.errors import InputError


def error(function, *args):
    with pytest.raises(InputError) as caught:
        function(*args)
    return str(caught.value)


CODES = """
en sw zh-TW zh-Hans-CN sr-Latn ceb yue fil se et zh-yue es-419 de-CH-1996
gsw-u-sd-chzh-x-zurich en-x-ab-abcd
"""


@pytest.mark.parametrize("code", CODES.split())
def test_codes_that_pass_in_any_case_of_their_subtags(code):
    first, *rest = code.split("-")
    for written in (code, "-".join([first, *map(str.lower, rest)]), "-".join([first, *map(str.upper, rest)])):
        assert language_code(written, "here") == code
    assert canonical_code(canonical_code(code)) == code


WRITTEN = """
eng:en deu:de ger:de fra:fr fre:fr spa:es rus:ru swa:sw hau:ha amh:am
som:so yor:yo zul:zu tam:ta mya:my bur:my khm:km zho:zh chi:zh
ara:ar hin:hi tha:th tur:tr vie:vi ell:el gre:el jpn:ja kor:ko
ind:id fas:fa per:fa ben:bn fin:fi tel:te jp:ja cn:zh gr:el cz:cs
"""


@pytest.mark.parametrize("pair", [*WRITTEN.split(), "eng-US:en-US", "zho-hans-cn:zh-Hans-CN"])
def test_a_code_that_is_written_another_way(pair):
    wrong, right = pair.split(":")
    assert error(language_code, wrong, "a.json") == f"a.json: {wrong!r} is written {right} (ISO 639-1)"


def test_what_is_no_code():
    assert error(language_code, "xx", "f:3").startswith("f:3: 'xx' is no language code of ISO 639-1; did you mean '")
    assert error(language_code, "swahili", "f") == "f: 'swahili' is not a language code (ISO 639-1, like 'sw')"
    for code in ("", "EN", "en_US", "e"):
        assert "is not a language code" in error(language_code, code, "f")
    for code in ("und", "mul-Latn", "qaa", "qtz"):
        assert error(language_code, code, "f").startswith(f"f: {code!r} names no language (ISO 639-3 reserves ")


def test_a_study_names_languages_by_the_same_rule():
    assert Data(train="a", language_limits={"zh-tw": 3}).language_limits == {"zh-TW": 3}
    assert Mix(align_from=["zh-hant", "en"]).align_from == ["zh-Hant", "en"]
    source = BenchmarkSource(path="a", languages=["pt-br"], language="zh-tw", low_resource=["sr-latn"])
    assert (source.languages, source.language, source.low_resource) == (["pt-BR"], "zh-TW", ["sr-Latn"])
    for wrong in ({"languages": ["deu"]}, {"language": "deu"}, {"low_resource": ["en", "deu"]}):
        with pytest.raises(ValidationError, match=r"'deu' is written de \(ISO 639-1\)"):
            BenchmarkSource(path="a", **wrong)
    with pytest.raises(ValidationError, match="'xx' is no language code"):
        Data(train="a", language_limits={"xx": 3})
    with pytest.raises(ValidationError, match="zh-TW and zh-tw are one language; give its limit once"):
        Data(train="a", language_limits={"zh-TW": 3, "zh-tw": 4})


def test_the_tables_hold_together():
    assert len(ISO_639_1) == 184
    assert set(SCRIPTS) <= ISO_639_1
    assert SCRIPTS["ja"] == ("CJK", "HIRAGANA", "KATAKANA")
    assert "sr" not in SCRIPTS  # two scripts in use


SAMPLES = {
    "ar": "من المسؤول عن إنتاج الأدب والفنون في كوريا وما هي قيمة العقد المزيف على الأغلب",
    "el": "Ποιος ανακάλυψε τον νόμο της βαρύτητας και πότε δημοσιεύτηκε το έργο του για πρώτη φορά",
    "en": "Who discovered the law of gravity, and when was the work published for the first time?",
    "hi": "कोरिया में साहित्य और कला के उत्पादन का प्रभारी कौन है और पहली बार यह काम कब प्रकाशित हुआ था बताइए",
    "ja": "万有引力の法則を発見したのは誰ですか。そしてその著作が最初に出版さ"
    "れたのはいつですか。リンゴの話は本当ですか。もう一度教えてください。",
    "ko": "만유인력의 법칙을 발견한 사람은 누구이며 그 저작이 처음으로 출판된 것은 "
    "언제인가 사과 이야기는 사실인가 다시 한번 알려 주십시오 감사합니다 여러분",
    "ru": "Кто открыл закон всемирного тяготения и когда его труд был издан в первый раз?",
    "th": "ใครเป็นผู้ค้นพบกฎแรงโน้มถ่วงและผลงานนี้ได้รับการตีพิมพ์ครั้งแรกเมื่อใดและเรื่องแอปเปิลเป็นความจริงหรือไม่",
    "zh": "是谁发现了万有引力定律他的著作第一次出版是在什么时候苹果的故事是真"
    "的吗请再告诉我一次非常感谢大家的帮助我们明天再见面谈谈这个问题好吗",
}


def test_every_language_in_its_own_script():
    assert mixed_up(Text(code, code, text) for code, text in SAMPLES.items()) is None
    others = [("zh-tw", SAMPLES["zh"]), ("ru-Latn", SAMPLES["en"]), ("sr", SAMPLES["en"])]
    assert mixed_up(Text("1", code, text) for code, text in others) is None
    assert mixed_up([]) is None


@pytest.mark.parametrize("code", sorted(SAMPLES))
@pytest.mark.parametrize("other", sorted(SAMPLES))
def test_exchanged_texts(code, other):
    texts = [Text("1", code, SAMPLES[other])]
    if code == other or (code, other) == ("ja", "zh"):  # Japanese may be written in Chinese characters alone
        assert mixed_up(texts) is None
    else:
        assert mixed_up(texts).startswith(f"passages of {code!r} are written in ")


def test_the_message_says_what():
    texts = [Text("1", "ru", SAMPLES["en"]), Text("2", "en", SAMPLES["en"])]
    assert mixed_up(texts) == (
        "passages of 'ru' are written in LATIN, not CYRILLIC: are two languages' files exchanged? "
        "(One that is written in another script than usual says so in its code, like ru-Latn.)"
    )
    assert mixed_up(texts, "queries").startswith("queries of 'ru' are written in LATIN, not CYRILLIC")


def test_a_few_letters_or_foreign_names_tell_nothing():
    assert mixed_up([Text("1", "ru", "OK")]) is None
    assert mixed_up([Text("1", "ru", SAMPLES["ru"] + " (Isaac Newton, Principia, London)")]) is None
    assert mixed_up([Text("1", "ru", "12345 67890 !!! ??? " * 20)]) is None


def test_the_first_texts_of_each_language_are_the_sample():
    right = [Text(str(n), "ru", SAMPLES["ru"]) for n in range(200)]
    wrong = [Text(str(n), "ru", SAMPLES["en"]) for n in range(1000)]
    assert mixed_up([*right, *wrong]) is None
    assert "LATIN" in mixed_up([*wrong, *right])
