import pytest

from hybridtune.data.benchmark_rows import Text
from hybridtune.data.languages import ISO_639_1, SCRIPTS, check_code, mixed_up
from hybridtune.errors import InputError


def error(function, *args):
    with pytest.raises(InputError) as caught:
        function(*args)
    return str(caught.value)


@pytest.mark.parametrize("code", ["en", "sw", "zh-tw", "zh-Hans-CN", "sr-Latn", "ceb", "yue", "fil", "se", "et"])
def test_codes_that_pass(code):
    check_code(code, "here")


WRITTEN = """
eng:en deu:de ger:de fra:fr fre:fr spa:es rus:ru swa:sw hau:ha amh:am
som:so yor:yo zul:zu tam:ta mya:my bur:my khm:km zho:zh chi:zh
ara:ar hin:hi tha:th tur:tr vie:vi ell:el gre:el jpn:ja kor:ko
ind:id fas:fa per:fa ben:bn fin:fi tel:te jp:ja cn:zh gr:el cz:cs
"""


@pytest.mark.parametrize("pair", [*WRITTEN.split(), "eng-US:en-US", "zho-Hans-CN:zh-Hans-CN"])
def test_a_code_that_is_written_another_way(pair):
    wrong, right = pair.split(":")
    assert error(check_code, wrong, "a.json") == f"a.json: {wrong!r} is written {right} (ISO 639-1)"


def test_what_is_no_code():
    assert error(check_code, "xx", "f:3").startswith("f:3: 'xx' is no language code of ISO 639-1; did you mean '")
    assert error(check_code, "swahili", "f") == "f: 'swahili' is not a language code (ISO 639-1, like 'sw')"
    for code in ("", "EN", "en_US", "e"):
        assert "is not a language code" in error(check_code, code, "f")


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
