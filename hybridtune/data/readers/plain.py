"""Plain texts: rows with a text and its language, and nothing that answers anything."""

from hybridtune.config.fields import DataSet
from hybridtune.config.languages import language_code
from hybridtune.data.readers.files import kind_of
from hybridtune.data.readers.flat import LANGUAGE, QUERY
from hybridtune.data.readers.records import Text
from hybridtune.data.readers.rows import object_rows, read_rows
from hybridtune.data.readers.sources import find_sources
from hybridtune.errors import InputError

_TEXT = ("text", "passage", "sentence")


def read_plain_texts(data: DataSet) -> list[Text] | None:
    """Read files whose rows have a ``text`` (or passage, sentence) and its language; None: the files are others.

    A language that no row names may be that of ``data``.

    Raises:
        InputError: no file is there, a row without a text or a language, a code that is no language.
    """
    if data.reader is not None or data.columns or data.format or not kind_of(data.path):
        return None
    texts: list[Text] = []
    for source in find_sources([data]):
        first = next(read_rows(source), (None, None))[1]
        if not isinstance(first, dict):
            return None
        names = {name.strip().lower(): name for name in map(str, first)}
        column = next((names[name] for name in _TEXT if name in names), None)
        language = next((names[name] for name in LANGUAGE if name in names), None)
        if column is None or any(name in names for name in (*QUERY, "queries")) or not (language or data.language):
            return None
        for where, row in object_rows(source):
            text, code = row.get(column), row.get(language) if language else data.language
            if not isinstance(text, str) or not text.strip() or not isinstance(code, str):
                raise InputError(
                    f"{where}: a row has a text in {column} and its language in {language or '--language'}"
                )
            texts.append(Text(str(len(texts)), language_code(code, where), text))
    return texts
