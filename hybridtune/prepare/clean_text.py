"""The cleaning of one text: Unicode NFC, no invisible characters, white space collapsed."""

import re
import unicodedata

UNICODE, INVISIBLE, WHITE_SPACE = "unicode-form", "invisible", "white-space"  # what is changed

# Scripts that shape their letters by joiners: Arabic and its kin, those of India, Burmese, Khmer, Mongolian, ...
_JOINING = "\u0600-\u061b\u061d-\u08ff\u0900-\u0dff\u0f00-\u109f\u1780-\u180d\u180f-\u18af\u1a00-\u1cff\ua840-\ua87f"
_JOINING += "\ua8e0-\uabff\ufb50-\ufdff\ufe70-\ufefc\U00010a00-\U00011fff\U0001e900-\U0001e95f"
_WITHOUT_SPACES = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
_EMOJI = "\u00a9\u00ae\u203c-\u2bff\u3030\u303d\u3297\u3299\ufe0f\U0001f000-\U0001faff"
_TAGS = "\U000e0020-\U000e007f"
_KEPT = (
    f"[\u200c\u200d]+(?<=[{_JOINING}][\u200c\u200d])",  # one joiner after a letter that it shapes
    f"(?<=[{_EMOJI}])\u200d(?=[{_EMOJI}])",  # emoji of several emoji
    f"(?<=[{_WITHOUT_SPACES}])\u200b(?=[{_WITHOUT_SPACES}])",  # the only mark between two words
    "(?<=[\u1820-\u18aa])\u180e(?=[\u1820-\u18aa])",  # Mongolian's vowel separator
    f"(?<=\U0001f3f4)[{_TAGS}]+",  # the flags of regions
)
# Controls (but white space), soft hyphens, marks of direction, joiners and spaces without width, tags.
_INVISIBLE = "\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff"
_INVISIBLE += "\ufff9-\ufffb\U000e0001" + _TAGS
_FOUND = re.compile(f"({'|'.join(_KEPT)})|[{_INVISIBLE}]")


def clean_text(text: str) -> tuple[str, tuple[str, ...]]:
    """Return a text in Unicode NFC, without invisible characters, white space collapsed; and what was changed.

    Characters without width stay where a script needs them: joiners after letters of Arabic, of the scripts of India
    and of others that they shape, and within emoji; spaces without width between words of Thai, Lao, Burmese and Khmer.

    Example:
        >>> clean_text("a\\u200bb  c\\n")
        ('ab c', ('invisible', 'white-space'))
        >>> clean_text("می\\u200cخواهم") == ("می\\u200cخواهم", ())
        True
    """
    # No text that is printable holds an invisible character, and nearly all texts are.
    if text.isprintable() and "  " not in text and text == text.strip(" ") and unicodedata.is_normalized("NFC", text):
        return text, ()
    seen = _FOUND.sub(lambda found: found[1] or "", text)
    composed = unicodedata.normalize("NFC", seen)
    spaced = " ".join(composed.split())
    steps = ((INVISIBLE, text, seen), (UNICODE, seen, composed), (WHITE_SPACE, composed, spaced))
    return spaced, tuple(name for name, before, after in steps if before != after)
