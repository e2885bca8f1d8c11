import pytest
from pydantic import ValidationError
from small_study import small_study

from hybridtune.config.fields import BenchmarkSource, Data
from hybridtune.config.languages import canonical_code, is_language, language_code, readings
from hybridtune.config.training import Train
from hybridtune.data.readers.languages import SCRIPTS, mixed_up
from hybridtune.data.readers.native import parse_group
from hybridtune.data.readers.records import Text
from hybridtune.data.weights import named_pairs
from hybridtune.errors import InputError
from hybridtune.metrics.groups import Grouping


def error(function, *args):
    with pytest.raises(InputError) as caught:
        function(*args)
    return str(caught.value)


CODES = """
en sw zh-TW zh-CN zh-Hant sr-Latn ceb yue fil se et ru-Latn es-419 de-DE de-CH-1996
gsw-u-sd-chzh-x-zurich en-x-ab-abcd
"""


@pytest.mark.parametrize("code", CODES.split())
def test_one_code_in_any_case_and_with_either_sign(code):
    for written in (code, code.lower(), code.upper(), code.replace("-", "_")):
        assert language_code(written, "here") == code


# ISO 639-2 and -3, FLORES, members of macrolanguages, withdrawn codes, scripts that are the usual ones
WRITTEN = """
eng:en deu:de ger:de fra:fr fre:fr spa:es rus:ru swa:sw hau:ha amh:am som:so yor:yo zul:zu tam:ta mya:my bur:my khm:km
zho:zh chi:zh ara:ar hin:hi tha:th tur:tr vie:vi ell:el gre:el jpn:ja kor:ko ind:id fas:fa per:fa ben:bn fin:fi tel:te
DE:de de_DE:de-DE eng-US:en-US pt_br:pt-BR
swa_Latn:sw yor_Latn:yo amh_Ethi:am rus_Cyrl:ru rus_Latn:ru-Latn zho_Hans:zh zho_Hant:zh-Hant zho-hans-cn:zh-CN
zh-Hant-TW:zh-TW hin_Deva:hi hin_Latn:hi-Latn srp_Cyrl:sr uzn_Latn:uz kas_Deva:ks-Deva min_Arab:min-Arab acm_Arab:acm
knc_Arab:kr-Arab
arb:ar cmn:zh swh:sw pes:fa lvs_Latn:lv npi_Deva:ne zsm_Latn:ms twi_Latn:tw zh-yue:yue tl:fil tgl:fil
iw:he in:id ji:yi jw:jv mo:ro sh:sr-Latn
"""


@pytest.mark.parametrize("pair", WRITTEN.split())
def test_a_language_that_is_written_another_way(pair):
    written, code = pair.split(":")
    assert canonical_code(written) == code
    assert canonical_code(code) == code


def test_every_code_is_its_own_canonical_form():
    from langcodes.data_dicts import LANGUAGE_ALPHA3, LIKELY_SUBTAGS

    spelled = {*LANGUAGE_ALPHA3, *LANGUAGE_ALPHA3.values(), *LIKELY_SUBTAGS, *LIKELY_SUBTAGS.values()}
    codes = {canonical_code(code) for code in spelled if is_language(code)}
    assert len(codes) > 1000
    assert [code for code in codes if canonical_code(code) != code] == []


COUNTRIES = ["jp:ja", "cn:zh", "gr:el", "cz:cs", "dk:da", "us:en", "gb-Latn:en"]


@pytest.mark.parametrize("pair", COUNTRIES)
def test_the_code_of_a_country_is_told(pair):
    wrong, right = pair.split(":")
    expected = f"a.json: {wrong!r} has the code of a country; the language is written {right}"
    assert error(language_code, wrong, "a.json") == expected


def test_what_is_no_code():
    assert error(language_code, "xx", "f:3").startswith("f:3: 'xx' is no language code of ISO 639; did you mean '")
    assert error(language_code, "swahili", "f") == "f: 'swahili' is not a language code (ISO 639-1, like 'sw')"
    for code in ("", "e", "en-", "-en", "en--us", "zh-CN-Hans", "x-mine", "root", "English"):
        assert "is not a language code" in error(language_code, code, "f")
    for code in ("und", "UND", "und_Latn", "mul-Latn", "mis", "zxx", "qaa", "qtz"):
        assert error(language_code, code, "f").startswith(f"f: {code!r} names no language (ISO 639 reserves ")
    for code in ("sw-Abcd", "en-deu", "de-abcde"):
        assert "is no script, region or variant" in error(language_code, code, "f")


def test_a_row_that_names_a_language_twice_is_refused():
    row = {"group_id": "1", "queries": {"en": "a"}, "passages": {"deu": "b", "de": "c"}}
    assert error(parse_group, row, "f:1") == "f:1: passages: 'deu' and 'de' are one language; keep one of the two"
    row = {"group_id": "1", "queries": {"eng": "a"}, "passages": {"zho_Hant": "b", "cmn": "c"}}
    assert parse_group(row, "f:1")[2:4] == ({"en": "a"}, {"zh-Hant": "b", "zh": "c"})


def test_a_pair_of_languages_in_any_spelling():
    assert list(readings("eng-deu")) == [("en", "de")]
    assert list(readings("swa_Latn-zho_Hant")) == [("sw", "zh-Hant")]
    assert list(readings("zh-tw-en")) == [("zh-TW", "en")]
    assert list(readings("pt-br")) == [("pt-BR",), ("pt", "br")]
    assert list(readings("xx-en")) == []
    names = ["swa_Latn", "eng-deu"]
    assert named_pairs(["de", "en", "sw"], names, "mix.weights") == dict(zip(names, [(2, 2), (1, 0)], strict=True))
    twice = error(named_pairs, ["de", "en"], ["de", "deu"], "mix.weights")
    assert twice == "mix.weights: de is given twice; name one language or pair once"


def test_a_group_of_a_metric_names_languages_in_any_spelling():
    rule = Grouping().rule("swa_Latn+eng-deu", ["de", "en", "sw"])
    held = [sides for sides in (("sw", "de"), ("en", "de"), ("de", "en")) if rule("cross", sides)]
    assert held == [("sw", "de"), ("en", "de")]


def test_a_study_names_languages_by_the_same_rule():
    assert Data(train="a", language_limits={"zh-tw": 3}).language_limits == {"zh-TW": 3}
    assert Train(teacher_languages=["zh-hant", "en"]).teacher_languages == ["zh-Hant", "en"]
    source = BenchmarkSource(path="a", languages=["pt-br"], language="zh-tw")
    assert (source.languages, source.language) == (["pt-BR"], "zh-TW")
    source = BenchmarkSource(path="a", languages=["deu", "swa_Latn"], language="zh_tw")
    assert (source.languages, source.language) == (["de", "sw"], "zh-TW")
    assert small_study(low_resource=["srp_Latn", "sr-latn"]).low_resource == ["sr-Latn", "sr-Latn"]
    for wrong in ({"languages": ["cz"]}, {"language": "cz"}):
        with pytest.raises(ValidationError, match="'cz' has the code of a country; the language is written cs"):
            BenchmarkSource(path="a", **wrong)
    with pytest.raises(ValidationError, match="'xx' is no language code"):
        Data(train="a", language_limits={"xx": 3})
    with pytest.raises(ValidationError, match="zh-TW and zh-tw are one language; give its limit once"):
        Data(train="a", language_limits={"zh-TW": 3, "zh-tw": 4})
    with pytest.raises(ValidationError, match="deu and de are one language; give its limit once"):
        Data(train="a", language_limits={"deu": 3, "de": 4})


def test_the_tables_hold_together():
    assert [code for code in SCRIPTS if canonical_code(code) != code] == []
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
