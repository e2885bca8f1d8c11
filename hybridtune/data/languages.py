"""Language codes (ISO 639-1, else 639-3) and the scripts that give away two languages' files exchanged."""

import unicodedata
from collections import Counter
from collections.abc import Iterable

from hybridtune.data.benchmark_rows import Text
from hybridtune.data.formats import LANGUAGE
from hybridtune.errors import InputError
from hybridtune.mistakes import nearest

SAMPLE = 200  # texts a language that are looked at
_CHARACTERS = 400  # of each of them
_ENOUGH = 50  # fewer letters of a language tell nothing

# ISO 639-1 code : ISO 639-3 code, and the older one of ISO 639-2/B where that differs
_TABLE = """
aa:aar ab:abk ae:ave af:afr ak:aka am:amh an:arg ar:ara as:asm av:ava ay:aym az:aze ba:bak be:bel bg:bul bi:bis
bm:bam bn:ben bo:bod/tib br:bre bs:bos ca:cat ce:che ch:cha co:cos cr:cre cs:ces/cze cu:chu cv:chv cy:cym/wel
da:dan de:deu/ger dv:div dz:dzo ee:ewe el:ell/gre en:eng eo:epo es:spa et:est eu:eus/baq fa:fas/per ff:ful fi:fin
fj:fij fo:fao fr:fra/fre fy:fry ga:gle gd:gla gl:glg gn:grn gu:guj gv:glv ha:hau he:heb hi:hin ho:hmo hr:hrv
ht:hat hu:hun hy:hye/arm hz:her ia:ina id:ind ie:ile ig:ibo ii:iii ik:ipk io:ido is:isl/ice it:ita iu:iku ja:jpn
jv:jav ka:kat/geo kg:kon ki:kik kj:kua kk:kaz kl:kal km:khm kn:kan ko:kor kr:kau ks:kas ku:kur kv:kom kw:cor
ky:kir la:lat lb:ltz lg:lug li:lim ln:lin lo:lao lt:lit lu:lub lv:lav mg:mlg mh:mah mi:mri/mao mk:mkd/mac ml:mal
mn:mon mr:mar ms:msa/may mt:mlt my:mya/bur na:nau nb:nob nd:nde ne:nep ng:ndo nl:nld/dut nn:nno no:nor nr:nbl
nv:nav ny:nya oc:oci oj:oji om:orm or:ori os:oss pa:pan pi:pli pl:pol ps:pus pt:por qu:que rm:roh rn:run
ro:ron/rum ru:rus rw:kin sa:san sc:srd sd:snd se:sme sg:sag sh:hbs si:sin sk:slk/slo sl:slv sm:smo sn:sna so:som
sq:sqi/alb sr:srp ss:ssw st:sot su:sun sv:swe sw:swa ta:tam te:tel tg:tgk th:tha ti:tir tk:tuk tl:tgl tn:tsn
to:ton tr:tur ts:tso tt:tat tw:twi ty:tah ug:uig uk:ukr ur:urd uz:uzb ve:ven vi:vie vo:vol wa:wln wo:wol xh:xho
yi:yid yo:yor za:zha zh:zho/chi zu:zul
"""
_ROWS = [row.split(":") for row in _TABLE.split()]
ISO_639_1 = frozenset(code for code, _ in _ROWS)
_WRITTEN = {longer: code for code, others in _ROWS for longer in others.split("/")}
# codes of countries taken for those of their languages, and codes that ISO 639 withdrew; none is a code of today
_WRITTEN |= {"al": "sq", "bd": "bn", "cn": "zh", "cz": "cs", "dk": "da", "gb": "en", "gr": "el", "il": "he"}
_WRITTEN |= {"in": "id", "ir": "fa", "iw": "he", "ji": "yi", "jp": "ja", "jw": "jv", "kh": "km", "mm": "my"}
_WRITTEN |= {"mo": "ro", "np": "ne", "pk": "ur", "rs": "sr", "sp": "es", "ua": "uk", "us": "en", "vn": "vi"}

# Languages with one script in use; one with two (sr, uz, kk, pa, ...) is not here. Names as Unicode begins them.
_LANGUAGES_OF = {
    "LATIN": """aa af ak an ay bi bm br ca ch co cs cy da de ee en eo es et eu fi fj fo fr fy ga gd gl gn gv ho hr ht
        hu hz ia id ie ig ik io is it kg ki kj kl kw la lb lg li ln lt lu lv mg mh mi mt na nb nd ng nl nn no nr nv ny
        oc om pl pt qu rm rn ro rw sc se sg sk sl sm sn so sq ss st sv sw tl tn to tr ts tw ty ve vi vo wa wo xh yo za
        zu""",
    "CYRILLIC": "ab av ba be bg ce cv kv ky mk os ru tg uk",
    "ARABIC": "ar fa ps ug ur",
    "DEVANAGARI": "hi mr ne",
    "BENGALI": "as bn",
    "ETHIOPIC": "am ti",
    "HEBREW": "he yi",
    "TIBETAN": "bo dz",
    "CJK": "ja zh",
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "HANGUL": "ko",
    "ARMENIAN": "hy",
    "GEORGIAN": "ka",
    "GREEK": "el",
    "GUJARATI": "gu",
    "KANNADA": "kn",
    "KHMER": "km",
    "LAO": "lo",
    "MALAYALAM": "ml",
    "MYANMAR": "my",
    "ORIYA": "or",
    "SINHALA": "si",
    "TAMIL": "ta",
    "TELUGU": "te",
    "THAANA": "dv",
    "THAI": "th",
    "YI": "ii",
}
SCRIPTS: dict[str, tuple[str, ...]] = {
    code: tuple(script for script, codes in _LANGUAGES_OF.items() if code in codes.split())
    for code in sorted(ISO_639_1)
    if any(code in codes.split() for codes in _LANGUAGES_OF.values())
}


def check_code(code: str, where: str) -> None:
    """Let pass ``sw``, ``zh-tw``, ``ceb`` (it has no two-letter code), and nothing else.

    One language must have one code in a benchmark: ``en`` and ``eng`` would be two pools.

    Args:
        code: the code to check.
        where: what names it, for the message: a file, a line, a setting.

    Raises:
        InputError: with the code that is meant, or the nearest one.
    """
    first, *rest = code.split("-") if LANGUAGE.match(code) else [""]
    if not first:
        raise InputError(f"{where}: {code!r} is not a language code (ISO 639-1, like 'sw')")
    if first in _WRITTEN:
        raise InputError(f"{where}: {code!r} is written {'-'.join([_WRITTEN[first], *rest])} (ISO 639-1)")
    if len(first) == 2 and first not in ISO_639_1:
        raise InputError(f"{where}: {code!r} is no language code of ISO 639-1{nearest(first, ISO_639_1)}")


def mixed_up(texts: Iterable[Text], kind: str = "passages") -> str | None:
    """Find out whether two languages' texts were exchanged, by the script of the first 200 of each language.

    Args:
        texts: of any languages; read to the end.
        kind: what they are, for the message.

    Returns:
        The message of an error, where a language that is written in one script has most of its letters in another.
    """
    seen: Counter[str] = Counter()
    letters: dict[str, Counter[str]] = {}
    for text in texts:
        if seen[text.language] < SAMPLE:
            seen[text.language] += 1
            letters.setdefault(text.language, Counter()).update(text.text[:_CHARACTERS])
    for language, characters in sorted(letters.items()):
        first, *rest = language.split("-")
        own = SCRIPTS.get(first)
        if own is None or any(len(part) == 4 and part.isalpha() for part in rest):  # ru-Latn says its script
            continue
        scripts: Counter[str] = Counter()
        for character, count in characters.items():
            if character.isalpha():
                scripts[_script(character)] += count
        found, most = max(scripts.items(), key=lambda item: item[1], default=("", 0))
        if scripts.total() >= _ENOUGH and found not in own and 2 * most > scripts.total():
            return (
                f"{kind} of {language!r} are written in {found}, not {' or '.join(own)}: "
                "are two languages' files exchanged? "
                "(One that is written in another script than usual says so in its code, like ru-Latn.)"
            )
    return None


def _script(letter: str) -> str:
    words = unicodedata.name(letter, "UNKNOWN").split()
    return words[1] if words[0] in ("FULLWIDTH", "HALFWIDTH") and len(words) > 1 else words[0].split("-")[0]
