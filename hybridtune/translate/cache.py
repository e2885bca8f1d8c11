"""Translations by a model under its settings, kept in a file that survives a kill at any moment.

One SQLite file a model and settings: what `add` was given is there whole or not at all once it returned, and nothing
of it is lost later. A text is found by its digest, so a file of millions of texts opens at once.
"""

import contextlib
import fcntl
import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from hybridtune.errors import InputError
from hybridtune.translate.engine import Decoding, Translation
from hybridtune.translate.models import Model

_TABLE = """CREATE TABLE IF NOT EXISTS translations (
    source TEXT, target TEXT, digest BLOB, text TEXT NOT NULL, finished INTEGER NOT NULL,
    PRIMARY KEY (source, target, digest)
) WITHOUT ROWID"""


class Direction(NamedTuple):
    """From which language into which."""

    source: str
    target: str

    def __str__(self) -> str:
        return f"{self.source}-{self.target}"


def text_digest(text: str) -> bytes:
    """Return what a text is kept under."""
    return hashlib.sha256(text.encode()).digest()[:16]


class Cache:
    """The file of a model and its settings; see `open_cache`."""

    def __init__(self, connection: sqlite3.Connection, file: Path) -> None:
        self._connection, self.file = connection, file

    def get(self, direction: Direction, text: str) -> Translation | None:
        """Return the translation of a text; None where it has not been translated."""
        where = (*direction, text_digest(text))
        row = self._connection.execute(
            "SELECT text, finished FROM translations WHERE source = ? AND target = ? AND digest = ?", where
        ).fetchone()
        return None if row is None else Translation(row[0], bool(row[1]))

    def add(self, direction: Direction, texts: Sequence[str], translations: Sequence[Translation]) -> None:
        """Keep translations; once this returns, a kill or a power cut does not lose them."""
        rows = [
            (*direction, text_digest(text), translation.text, translation.finished)
            for text, translation in zip(texts, translations, strict=True)
        ]
        with self._connection:  # one transaction
            self._connection.executemany("INSERT INTO translations VALUES (?, ?, ?, ?, ?)", rows)

    def __len__(self) -> int:
        return int(self._connection.execute("SELECT count(*) FROM translations").fetchone()[0])


@contextlib.contextmanager
def open_cache(
    folder: Path, model: Model, decoding: Decoding, on_wait: Callable[[str], None] = lambda message: None
) -> Iterator[Cache]:
    """Open the cache of a model and its settings in a folder; one process at a time, others wait for it.

    Raises:
        InputError: the file is damaged, or cannot be written.
    """
    made_of = (model.digest, decoding)
    name = hashlib.sha256(repr(made_of).encode()).hexdigest()[:32]
    file = folder / f"{name}.sqlite"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(file.with_suffix(".lock"), on_wait):
            connection = sqlite3.connect(file)
            try:
                connection.execute("PRAGMA synchronous = FULL")  # the disk has it before `add` returns
                connection.execute(_TABLE)
                yield Cache(connection, file)
            finally:
                connection.close()
    except sqlite3.OperationalError as error:  # a full disk, no rights
        raise InputError(f"{file}: cannot be read or written ({error}); give --cache another folder") from None
    except sqlite3.IntegrityError:
        raise
    except sqlite3.DatabaseError as error:
        raise InputError(
            f"{file}: not a readable cache of translations ({error}); remove it, or give --cache"
        ) from None
    except OSError as error:
        raise InputError(f"--cache {folder}: cannot be written: {error.strerror}") from None


@contextlib.contextmanager
def _alone(path: Path, on_wait: Callable[[str], None]) -> Iterator[None]:
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait("another process translates with this model and cache: waiting for its end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def untranslated(cache: Cache, direction: Direction, texts: Iterable[str]) -> list[int]:
    """Return the positions of the texts that a cache does not hold."""
    return [n for n, text in enumerate(texts) if cache.get(direction, text) is None]
