"""The scripts of languages, by which two exchanged files of two languages are found."""

import functools
import unicodedata
from collections import Counter
from collections.abc import Iterable

from hybridtune.data.readers.records import Text

SAMPLE = 200  # texts a language that are looked at
_CHARACTERS = 400  # of each of them
_ENOUGH = 50  # letters of a language to judge by

# Languages with one script in use; one with two (sr, uz, kk, pa, ...) is not here. Names as Unicode begins them.
_TABLE = """
LATIN:aa,af,ak,an,ay,bi,bm,br,ca,ch,co,cs,cy,da,de,ee,en,eo,es,et,eu,fi,fil,fj,fo,fr,fy,ga,gd,gl,gn,gv,ho,hr,ht,hu,hz,ia,
id,ie,ig,ik,io,is,it,kg,ki,kj,kl,kw,la,lb,lg,li,ln,lt,lu,lv,mg,mh,mi,mt,na,nb,nd,ng,nl,nn,no,nr,nv,ny,oc,om,pl,pt,qu,rm,rn,
ro,rw,sc,se,sg,sk,sl,sm,sn,so,sq,ss,st,sv,sw,tn,to,tr,ts,tw,ty,ve,vi,vo,wa,wo,xh,yo,za,zu
CYRILLIC:ab,av,ba,be,bg,ce,cv,kv,ky,mk,os,ru,tg,uk ARABIC:ar,fa,ps,ug,ur DEVANAGARI:hi,mr,ne BENGALI:as,bn
ETHIOPIC:am,ti HEBREW:he,yi TIBETAN:bo,dz CJK:ja,zh HIRAGANA:ja KATAKANA:ja HANGUL:ko ARMENIAN:hy GEORGIAN:ka GREEK:el
GUJARATI:gu KANNADA:kn KHMER:km LAO:lo MALAYALAM:ml MYANMAR:my ORIYA:or SINHALA:si TAMIL:ta TELUGU:te THAANA:dv THAI:th
YI:ii
"""
SCRIPTS: dict[str, tuple[str, ...]] = {}
for _row in _TABLE.replace(",\n", ",").split():
    _name, _codes = _row.split(":")
    for _code in _codes.split(","):
        SCRIPTS[_code] = (*SCRIPTS.get(_code, ()), _name)


def mixed_up(texts: Iterable[Text], kind: str = "passages") -> str | None:
    """Return the error of two languages whose texts were exchanged; None if none are.

    Such a language is written in one script and has most letters of its first 200 texts in another. All texts are read.
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
        if own is None or any(len(part) == 4 and part.isalpha() for part in rest):  # ru-Latn names its script
            continue
        scripts: Counter[str] = Counter()
        for character, count in characters.items():
            if character.isalpha():
                scripts[script_of(character)] += count
        found, most = max(scripts.items(), key=lambda item: item[1], default=("", 0))
        if scripts.total() >= _ENOUGH and found not in own and 2 * most > scripts.total():
            return (
                f"{kind} of {language!r} are written in {found}, not {' or '.join(own)}: "
                "are two languages' files exchanged? "
                "(One that is written in another script than usual says so in its code, like ru-Latn.)"
            )
    return None


@functools.cache
def script_of(letter: str) -> str:
    """Return the script of a letter, as its name in Unicode begins."""
    words = unicodedata.name(letter, "UNKNOWN").split()
    return words[1] if words[0] in ("FULLWIDTH", "HALFWIDTH") and len(words) > 1 else words[0].split("-")[0]
