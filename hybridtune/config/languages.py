"""Language codes: ISO 639-1, else 639-3, with the subtags of BCP 47. One language has one code, everywhere."""

import functools
import re

from hybridtune.errors import InputError, nearest

LANGUAGE = re.compile(r"^[a-z]{2,3}(-[A-Za-z0-9]+)*$")

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
_NO_LANGUAGE = frozenset({"mis", "mul", "und", "zxx"})  # of ISO 639-3: uncoded, several, undetermined, none


@functools.cache
def canonical_code(code: str) -> str:
    """Return a language code as BCP 47 writes it: ``sw``, ``zh-TW``, ``zh-Hant``, ``ceb`` (it has no shorter code).

    ``zh-tw`` and ``zh-TW`` are one language, so both give ``zh-TW``; ``deu`` would be a second code of German and is
    refused. The language is in lower case, the subtags in any.

    Raises:
        ValueError: not the code of a language; with the code that is meant, or the nearest one.
    """
    first, *rest = code.split("-") if LANGUAGE.match(code) else [""]
    if not first:
        raise ValueError(f"{code!r} is not a language code (ISO 639-1, like 'sw')")
    if first in _WRITTEN:
        raise ValueError(f"{code!r} is written {_cased(_WRITTEN[first], rest)} (ISO 639-1)")
    if len(first) == 2 and first not in ISO_639_1:
        raise ValueError(f"{code!r} is no language code of ISO 639-1{nearest(first, ISO_639_1)}")
    if first in _NO_LANGUAGE or "qaa" <= first <= "qtz":
        raise ValueError(f"{code!r} names no language (ISO 639-3 reserves {first!r}); give the code of the language")
    return _cased(first, rest)


def language_code(code: str, where: str) -> str:
    """Return the canonical form of a code in the user's input; ``where`` names it in the InputError."""
    try:
        return canonical_code(code)
    except ValueError as error:
        raise InputError(f"{where}: {error}") from None


def _cased(first: str, subtags: list[str]) -> str:
    """Join a code: scripts in title case, regions in upper case, all else, and what a single letter opens, in lower."""
    parts, own = [first], True
    for subtag in subtags:
        own = own and len(subtag) > 1
        is_script, is_region = own and len(subtag) == 4 and subtag.isalpha(), own and len(subtag) == 2
        parts.append(subtag.title() if is_script else subtag.upper() if is_region else subtag.lower())
    return "-".join(parts)
