"""The language that a text is written in, by its script where that decides, else by the model of ``py3langid``.

The model is naive Bayes over byte sequences, which an automaton finds. The library's classifier follows the automaton
for one text at a time, in Python; here numpy does it for thousands at once, with the same results.
"""

import functools
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hybridtune.config.languages import canonical_code, macrolanguage
from hybridtune.data.readers.languages import SCRIPTS
from hybridtune.data.scripts import count_scripts
from hybridtune.metrics.arrays import Float32, Int64

READ = 400  # bytes of a text; whole texts are told no better
LEAST = 20  # bytes; of a shorter text nothing is said
MARGIN = 10.0  # times as probable as its own language must another be, for a text to be said to be in it

_AT_ONCE = 4096  # texts
_CHARACTERS = 400  # of a text, by which its script is told
_CALLED = {"nb": "no"}  # in the model


class _Model(NamedTuple):
    labels: tuple[str, ...]  # [L] canonical codes; a code that comes twice is a language in two scripts
    next_state: npt.NDArray[np.uint32]  # [rows * 256]
    row: Int64  # [states] where a state's row begins
    feature: npt.NDArray[np.int32]  # [states] the byte sequence that is read there, or -1
    table: Float32  # [features, L]
    prior: Float32  # [L]


@functools.cache
def _model() -> _Model:
    from py3langid import langid

    read = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE)
    kept = [column for column, label in enumerate(read.nb_classes) if label != "zxx"]  # no language
    labels = tuple(canonical_code(read.nb_classes[column]) for column in kept)
    row = np.asarray(read.tk_row, np.int64) << 8
    feature = np.asarray(read.tk_output, np.int32)
    table = np.ascontiguousarray(read.nb_ptc[:, kept], np.float32)
    return _Model(labels, np.asarray(read.tk_nextmove), row, feature, table, read.nb_pc[kept].astype(np.float32))


class Identifier:
    """Tells the languages of texts.

    Args:
        languages: those that the texts say they are in. Kinds of a language that the model knows beside it (Wu beside
            Chinese, Egyptian beside Arabic) are told apart only where they are among these.

    Attributes:
        labels: what it tells apart, sorted.
        unknown: the ``languages`` that neither a script nor the model tells, sorted: no text is judged to be in one, or
            not to be.
    """

    def __init__(self, languages: Iterable[str] = ()) -> None:
        given = set(languages)
        self._label_of = {code: label for code in given if (label := _label(code)) is not None}
        self.unknown = tuple(sorted(code for code in given if code not in self._label_of))
        labels = _model().labels
        at_hand = set(self._label_of.values())
        apart = [label in at_hand or len(label) == 2 or macrolanguage(label) not in labels for label in labels]
        self._left_out = np.flatnonzero(~np.array(apart))
        self._column = {label: column for column, label in reversed(list(enumerate(labels))) if apart[column]}
        self.labels = tuple(sorted(self._column))

    def identify(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """Return the most probable language of each text, and its probability; ("", 0.0) for a text without letters."""
        return [found for found, _ in self._judged(texts, [None] * len(texts))]

    def mistaken(self, texts: Sequence[str], languages: Sequence[str]) -> list[str | None]:
        """Return of each text the language that it is in, where that is another than the one it is said to be in.

        None where it is in its own, as far as can be told: another must be `MARGIN` times as probable. None too for
        texts of under `LEAST` bytes and of unknown languages.
        """
        own = [self._label_of.get(language) for language in languages]
        judged = zip(texts, own, self._judged(texts, own), strict=True)
        return [
            found if label is not None and found != label and probability > MARGIN * of_own and _is_long(text) else None
            for text, label, ((found, probability), of_own) in judged
        ]

    def _judged(self, texts: Sequence[str], own: Sequence[str | None]) -> list[tuple[tuple[str, float], float]]:
        """Return of each text language and probability, and the probability of its own language."""
        found: list[tuple[tuple[str, float], float]] = [(("", 0.0), 0.0)] * len(texts)
        asked = []
        scripts = count_scripts([text[:_CHARACTERS] for text in texts])
        most = scripts.letters.argmax(axis=1, keepdims=True)
        decided = np.array([_ONE_LANGUAGE.get(name, "") for name in scripts.names])[most[:, 0]]
        letters = scripts.letters.sum(axis=1)
        for row, code in enumerate(decided.tolist()):
            if letters[row] and code:
                found[row] = ((code, 1.0), float(own[row] == code))
            elif letters[row]:
                asked.append(row)
        for start in range(0, len(asked), _AT_ONCE):
            rows = asked[start : start + _AT_ONCE]
            shares = self._probabilities([texts[row] for row in rows])
            best = shares.argmax(axis=1)
            for row, column, given in zip(rows, best.tolist(), shares, strict=True):
                label = own[row] or ""
                of_own = float(given[self._column[label]]) if label in self._column else 0.0
                found[row] = ((_model().labels[column], float(given[column])), of_own)
        return found

    def _probabilities(self, texts: Sequence[str]) -> Float32:
        """Return the probability [n, L] of each language for each text; of a label's two scripts under the first."""
        from scipy import sparse

        lengths, text, feature = _features([_bytes(text) for text in texts])
        model = _model()
        shape = (len(texts), len(model.table))
        counts = sparse.csr_matrix((np.ones(len(text), np.float32), (text, feature)), shape=shape)
        counts.sum_duplicates()
        counts.data = np.log1p(counts.data)
        scores = counts @ model.table + model.prior
        scores[np.diff(counts.indptr) == 0] = 0.0  # nothing that the model knows: all languages alike
        scores /= np.sqrt(np.maximum(lengths, 1))[:, None]
        scores[:, self._left_out] = -np.inf
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        scores /= scores.sum(axis=1, keepdims=True)
        for column, label in enumerate(model.labels):
            if (first := self._column.get(label, column)) != column:
                scores[:, first] += scores[:, column]
                scores[:, column] = 0.0
        found: Float32 = scores.astype(np.float32)
        return found


def identify(texts: Sequence[str], languages: Collection[str] = ()) -> list[tuple[str, float]]:
    """Return the most probable language of each text, and its probability; ``languages`` are those at hand.

    Example:
        >>> [code for code, _ in identify(["Where is the bridge that was opened?", "பாலம் எங்கே?"])]
        ['en', 'ta']
    """
    return Identifier(languages).identify(texts)


def _label(code: str) -> str | None:
    """Return what the model, or a script, calls a language; None where neither knows it.

    A code that names another script than the usual one is not known: the model has read no Hindi in Latin letters.
    """
    first, *rest = code.split("-")
    script = next((part for part in rest if len(part) == 4 and part.isalpha()), "")
    if script and not (first == "zh" and script == "Hant"):
        return None
    label = _CALLED.get(first, first)
    return label if label in _model().labels or label in _ONE_LANGUAGE.values() else None


def _alone() -> dict[str, str]:
    """Return the languages that a script decides on: those that have it to themselves."""
    found: dict[str, list[str]] = {}
    for code, scripts in SCRIPTS.items():
        for script in scripts:
            found.setdefault(script, []).append(code)
    return {script: codes[0] for script, codes in found.items() if len(codes) == 1}


_ONE_LANGUAGE = _alone()


def _is_long(text: str) -> bool:
    return len(text) >= LEAST or len(text.encode()) >= LEAST


def _bytes(text: str) -> bytes:
    """Return the beginning of a text as the model reads it."""
    start = text[:READ]
    return unicodedata.normalize("NFC", start.lower() if start.isupper() else start).encode()[:READ]


def _features(texts: Sequence[bytes]) -> tuple[Int64, Int64, Int64]:
    """Return the lengths [n] of texts, and of every feature found in them the text [m] and the feature [m].

    All texts are read at once, byte by byte, the long ones alone at the end.
    """
    model = _model()
    lengths = np.array([len(text) for text in texts], np.int64)
    order = np.argsort(-lengths, kind="stable")
    joined = np.frombuffer(b"".join(texts), np.uint8)
    start = (np.cumsum(lengths) - lengths)[order]
    longer = np.searchsorted(-lengths[order], -np.arange(lengths.max(initial=0)), side="left")  # than so many bytes
    state = np.zeros(len(texts), np.uint32)
    found_texts, found_features = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for position, count in enumerate(longer.tolist()):
        state[:count] = model.next_state[model.row[state[:count]] + joined[start[:count] + position]]
        feature = model.feature[state[:count]]
        found = np.flatnonzero(feature >= 0)
        found_texts.append(order[found])
        found_features.append(feature[found].astype(np.int64))
    return lengths, np.concatenate(found_texts), np.concatenate(found_features)
