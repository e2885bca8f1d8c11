"""JSON text that is larger than memory: its values one by one, each with the line on which it begins."""

import codecs
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from hybridtune.config.json_text import parse_value
from hybridtune.data.readers.files import Source, not_utf8, opened
from hybridtune.errors import InputError

_PIECE = 1 << 20  # bytes that are read at once
_LARGEST = 1 << 26  # characters of one value: what is longer is no row, but a bracket that is not closed
_SPACE = " \t\r\n"


def json_values(file: Source, inside: str | None = None, *, unique_keys: bool = False) -> Iterator[tuple[str, Any]]:
    """Read the values of a JSON array, or of a file that holds one JSON value after the other; streamed.

    Args:
        file: the file.
        inside: the key of the outer object under which the array stands; None: the file is the array.
        unique_keys: refuse an object that has a key twice.

    Raises:
        InputError: not JSON, with ``file:line`` of the value.
    """
    decoder = json.JSONDecoder(object_pairs_hook=each_key_once if unique_keys else None)
    with opened(file, "detect") as stream:
        text = _Text(file, stream)
        if inside is not None:
            text.skip_to_array(inside)
        is_array = text.next_character() == "["
        if is_array:
            text.skip(1)
        ends = "]" if is_array else ""
        while (character := text.next_character()) != ends:
            if not character:
                raise InputError(f"{text.where()}: broken JSON: the file ends inside its array; is it whole?")
            yield text.where(), text.value(decoder)
            if not is_array:
                continue
            if (character := text.next_character()) == ",":
                text.skip(1)
            elif character != ends:
                raise InputError(f"{text.where()}: broken JSON: a comma or ] is missing before {character!r}")


def each_key_once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dictionary of keys and values; a key that occurs twice, which would lose a value, is a ValueError."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"{twice!r} occurs twice in one object; keep one of the two")
    return found


class _Text:
    """The text of a file, of which a part is in memory."""

    def __init__(self, file: Source, stream: Any) -> None:
        self._file, self._stream = file, stream
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._buffer, self._at, self._line = "", 0, 1

    def where(self) -> str:
        """Return the line that is read next, as ``file:line``."""
        return f"{self._file.name}:{self._line}"

    def skip(self, characters: int) -> None:
        """Go on by some characters."""
        self._line += self._buffer.count("\n", self._at, self._at + characters)
        self._at += characters

    def next_character(self) -> str:
        """Go on to the next character that is no white space, and return it; empty at the end."""
        while True:
            end = self._at
            while end < len(self._buffer) and self._buffer[end] in _SPACE:
                end += 1
            self.skip(end - self._at)
            if end < len(self._buffer):
                return self._buffer[end]
            if not self._fill():
                return ""

    def value(self, decoder: json.JSONDecoder) -> Any:
        """Read the next value."""
        while True:
            try:
                value, end = parse_value(self._buffer, self._at, decoder)
            except ValueError as error:  # a JSONDecodeError, or a key that occurs twice
                wrong = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
                is_cut = isinstance(error, json.JSONDecodeError) and len(self._buffer) - self._at < _LARGEST
                if is_cut and self._fill():
                    continue
                raise InputError(f"{self.where()}: broken JSON: {wrong}{self._column(error)}") from None
            self.skip(end - self._at)
            return value

    def skip_to_array(self, key: str) -> None:
        """Go on to the array under a key of the outer object; what stands before it is passed over."""
        decoder = json.JSONDecoder()
        found = self.next_character()
        while found in ("{", ","):
            self.skip(1)
            name = self.value(decoder) if self.next_character() == '"' else None
            if name is None or self.next_character() != ":":
                break
            self.skip(1)
            found = self.next_character()
            if name == key and found == "[":
                return
            self.value(decoder)
            found = self.next_character()
        raise InputError(f"{self.where()}: not a JSON object with a list under {key!r}")

    def _column(self, error: ValueError) -> str:
        if not isinstance(error, json.JSONDecodeError):
            return ""
        line = self._line + self._buffer.count("\n", self._at, error.pos)
        return f", line {line}, column {error.colno}" if line > self._line else f", column {error.colno}"

    def _fill(self) -> bool:
        """Read another piece; return whether there was one."""
        piece = self._stream.read(max(_PIECE, len(self._buffer) - self._at))
        try:
            text = self._decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            line = self._line + self._buffer.count("\n", self._at) + piece.count(b"\n", 0, error.start)
            raise InputError(f"{self._file.name}:{line}: {not_utf8(self._file, error.object, error)}") from None
        self._buffer, self._at = self._buffer[self._at :] + text, 0
        return bool(piece)
