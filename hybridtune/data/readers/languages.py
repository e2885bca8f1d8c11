"""The scripts of languages, which give away two languages' files exchanged."""

import unicodedata
from collections import Counter
from collections.abc import Iterable

from hybridtune.config.languages import ISO_639_1
from hybridtune.data.readers.records import Text

SAMPLE = 200  # texts a language that are looked at
_CHARACTERS = 400  # of each of them
_ENOUGH = 50  # fewer letters of a language tell nothing

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


def mixed_up(texts: Iterable[Text], kind: str = "passages") -> str | None:
    """Find out whether two languages' texts were exchanged, by the script of the first 200 of each language.

    Args:
        texts: of any languages; read to the end.
        kind: what they are, for the message.

    Returns:
        The message of an error, where a language that is written in one script has most of its letters in another.

    Example:
        >>> mixed_up([Text("1", "ru", "Who wrote it? " * 9)])[:44]
        "passages of 'ru' are written in LATIN, not C"
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
