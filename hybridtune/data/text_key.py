"""The key by which texts are compared wherever groups, queries and passages are matched by their text."""

import unicodedata


def text_key(text: str) -> str:
    """Return the form in which a text is compared with others: Unicode NFC, white space collapsed and stripped.

    Texts are stored and encoded as they are written; their keys only decide which of them are equal.
    """
    composed = unicodedata.normalize("NFC", text)
    # No white space but the plain one is printable, and most texts hold nothing else: they need not be taken apart,
    # which is three quarters of the time.
    if composed.isprintable() and "  " not in composed and composed == composed.strip(" "):
        return composed
    return " ".join(composed.split())
