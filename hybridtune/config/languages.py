"""Language codes: every spelling of a language (ISO 639-1, -2, -3, BCP 47, FLORES) becomes one code, everywhere.

The tables are those of ``langcodes`` (IANA's registry and Unicode CLDR), whose import waits for the first code.
"""

import functools
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hybridtune.errors import InputError, nearest

if TYPE_CHECKING:
    import langcodes

LANGUAGE = re.compile(r"^[A-Za-z]{2,3}([-_][A-Za-z0-9]{1,8})*$")  # the form of a code; `canonical_code` checks the rest

# Codes of countries that are taken for those of their languages; none is a language of ISO 639.
_COUNTRIES = {"al": "sq", "bd": "bn", "cn": "zh", "cz": "cs", "dk": "da", "gb": "en", "gr": "el", "il": "he"}
_COUNTRIES |= {"ir": "fa", "jp": "ja", "kh": "km", "mm": "my", "np": "ne", "pk": "ur", "rs": "sr", "sp": "es"}
_COUNTRIES |= {"ua": "uk", "us": "en", "vn": "vi"}
_NO_LANGUAGE = ("mis", "mul", "und", "zxx")  # of ISO 639-2: uncoded, several, undetermined, none


@functools.cache
def canonical_code(code: str) -> str:
    """Return the one code of a language: ``sw``, ``zh-TW``, ``zh-Hant``, ``ceb`` (it has no shorter code).

    The shortest code of ISO 639 is taken, and today's for a withdrawn one (``iw`` is ``he``). Standard Arabic, Mandarin
    and the like (``arb``, ``cmn``, ``swh``, ``pes``) are what their macrolanguages' codes (``ar``, ``zh``, ``sw``,
    ``fa``) are used for. The script is left out where it is the usual one of the language, in the region if one is
    named; regions stay.

    Raises:
        ValueError: not the code of a language; with the code that is meant, or the nearest one.

    Example:
        >>> [canonical_code(code) for code in ("swa_Latn", "deu", "zho_Hant", "zh-tw", "ru-Latn")]
        ['sw', 'de', 'zh-Hant', 'zh-TW', 'ru-Latn']
    """
    import langcodes
    from langcodes.data_dicts import LANGUAGE_ALPHA3
    from langcodes.tag_parser import LanguageTagError

    try:
        tag = langcodes.Language.get(code) if LANGUAGE.match(code) else None
    except LanguageTagError:
        tag = None
    if tag is None:
        raise ValueError(f"{code!r} is not a language code (ISO 639-1, like 'sw')")
    first = re.split("[-_]", code.lower())[0]
    if first in _COUNTRIES:
        raise ValueError(f"{code!r} has the code of a country; the language is written {_COUNTRIES[first]}")
    if tag.language is None or first in _NO_LANGUAGE or "qaa" <= first <= "qtz":
        raise ValueError(f"{code!r} names no language (ISO 639 reserves {first!r}); give the code of the language")
    if not langcodes.tag_is_valid(tag.language):
        raise ValueError(f"{code!r} is no language code of ISO 639{nearest(first, LANGUAGE_ALPHA3)}")
    if not tag.is_valid() or tag.extlangs:  # en-deu would be a kind of English
        raise ValueError(f"{code!r}: what follows {first!r} is no script, region or variant that BCP 47 knows")
    if len(tag.language) > 2:  # not Twi (tw), which has such a code beside that of its macrolanguage, Akan (ak)
        tag = _without_usual_script(tag).prefer_macrolanguage()
    return str(_without_usual_script(tag))


def _without_usual_script(tag: "langcodes.Language") -> "langcodes.Language":
    """Leave the script out where CLDR gives it for the language, in its region, or for its macrolanguage."""
    from langcodes.data_dicts import LIKELY_SUBTAGS, MACROLANGUAGES

    own = tag.language or ""
    language = own if own in LIKELY_SUBTAGS else MACROLANGUAGES.get(own, "")
    usual = LIKELY_SUBTAGS.get(f"{language}-{tag.territory}", LIKELY_SUBTAGS.get(language, ""))
    return tag.update_dict({"script": None}) if tag.script in usual.split("-") else tag


def language_code(code: str, where: str) -> str:
    """Return the canonical form of a code in the user's input; ``where`` names it in the InputError."""
    try:
        return canonical_code(code)
    except ValueError as error:
        raise InputError(f"{where}: {error}") from None


def macrolanguage(code: str) -> str | None:
    """Return the macrolanguage that a language is a member of, or that it is itself; None where there is none.

    Example:
        >>> macrolanguage("wuu"), macrolanguage("zh"), macrolanguage("en")
        ('zh', None, None)
    """
    from langcodes.data_dicts import MACROLANGUAGES

    found: str | None = MACROLANGUAGES.get(code.split("-")[0])
    return found


def is_language(code: str) -> bool:
    """Return whether a text is the code of a language, in any spelling."""
    try:
        return bool(canonical_code(code))
    except ValueError:
        return False


def readings(name: str) -> Iterator[tuple[str, ...]]:
    """Yield every way to read a name as a language, or as a pair of them with the query's first; in canonical codes.

    Codes hold hyphens too, so a name may be read in several ways: which is meant, the languages at hand decide.

    Example:
        >>> list(readings("eng-deu")), list(readings("pt-br"))
        ([('en', 'de')], [('pt-BR',), ('pt', 'br')])
    """
    if is_language(name):
        yield (canonical_code(name),)
    for cut in re.finditer("-", name):
        query, passage = name[: cut.start()], name[cut.end() :]
        if is_language(query) and is_language(passage):
            yield canonical_code(query), canonical_code(passage)
