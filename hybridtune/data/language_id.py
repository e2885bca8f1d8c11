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
from hybridtune.data.readers.languages import SCRIPTS, script_of
from hybridtune.data.scripts import Scripts, count_scripts
from hybridtune.metrics.arrays import Float32, Int64

READ = 300  # bytes of a text; whole texts are told no better
LEAST = 20  # bytes; of a shorter text nothing is said
MARGIN = 10.0  # times as probable as its own language must another be, for a text to be said to be in it

_AT_ONCE = 4096  # texts
CHARACTERS = 400  # of a text, by which its script is told
_TOGETHER = {"CJK", "HIRAGANA", "KATAKANA", "HANGUL"}  # scripts that one language writes in at once
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


def identify(texts: Sequence[str], languages: Collection[str] = ()) -> list[tuple[str, float]]:
    """Return the most probable language of each text, and its probability; ("", 0.0) for a text without letters.

    ``languages`` are those at hand. Kinds of a language that the model knows beside it (Wu beside Chinese, Egyptian
    beside Arabic) are told apart only where they are among these.

    Example:
        >>> [code for code, _ in identify(["Where is the bridge that was opened?", "பாலம் எங்கே?"])]
        ['en', 'ta']
    """
    at_hand = frozenset(filter(None, map(_label, languages)))
    return [found for found, _ in _judge(texts, [""] * len(texts), at_hand)]


def mistaken(texts: Sequence[str], languages: Sequence[str], scripts: Scripts | None = None) -> list[str | None]:
    """Return of each text the language that it is in, where that is another than the one it is said to be in.

    None where it is in its own, as far as can be told: another must be `MARGIN` times as probable. None too for texts
    of under `LEAST` bytes, and for languages that are `unknown`. A kind of the text's own language is no other one.
    ``scripts`` are those of the beginnings of the texts, where they were counted already.

    Example:
        >>> mistaken(["Where is the bridge that was opened?"] * 3, ["en", "sw", "gsw"])
        [None, 'en', None]
    """
    own = [_label(language) for language in languages]
    judged = zip(texts, own, _judge(texts, [label or "" for label in own], frozenset(), scripts), strict=True)
    return [
        found if label is not None and found != label and probability > MARGIN * of_own and _is_long(text) else None
        for text, label, ((found, probability), of_own) in judged
    ]


def unknown(languages: Iterable[str]) -> list[str]:
    """Return those of some languages that neither a script nor the model tells: no text is judged to be in one.

    Example:
        >>> unknown(["sw", "gsw", "hi-Latn", "zh-Hant"])
        ['gsw', 'hi-Latn']
    """
    return sorted(code for code in set(languages) if _label(code) is None)


def _judge(
    texts: Sequence[str], own: Sequence[str], at_hand: frozenset[str], scripts: Scripts | None = None
) -> list[tuple[tuple[str, float], float]]:
    """Return of each text language and probability, and the probability of its own language."""
    found: list[tuple[tuple[str, float], float]] = [(("", 0.0), 0.0)] * len(texts)
    scripts = count_scripts([text[:CHARACTERS] for text in texts]) if scripts is None else scripts
    letters = scripts.letters.sum(axis=1)
    asked, read = [], []
    for row, most in enumerate(scripts.letters.argmax(axis=1).tolist() if scripts.names else ()):
        code = _ONE_LANGUAGE.get(scripts.names[most])
        if letters[row] and code is not None:
            found[row] = ((code, 1.0), float(own[row] == code))
        elif letters[row]:
            asked.append(row)
            # A name in its own writing is no sign against the language of a text that is in that language's script.
            mixed = scripts.names[most] in SCRIPTS.get(own[row], ()) and scripts.letters[row, most] < letters[row]
            read.append(_without_others(texts[row], scripts.names[most]) if mixed else texts[row])
    for start in range(0, len(asked), _AT_ONCE):
        rows = asked[start : start + _AT_ONCE]
        shares = _probabilities(read[start : start + _AT_ONCE], [own[row] for row in rows], at_hand)
        best = shares.argmax(axis=1)
        for row, column, given in zip(rows, best.tolist(), shares, strict=True):
            of_own = float(given[_columns()[own[row]]]) if own[row] in _columns() else 0.0
            found[row] = ((_model().labels[column], float(given[column])), of_own)
    return found


def _probabilities(texts: Sequence[str], own: Sequence[str], at_hand: frozenset[str]) -> Float32:
    """Return the probability [n, L] of each language for each text; of a label's two scripts under the first."""
    from scipy import sparse

    model, columns = _model(), _columns()
    lengths, text, feature = _features([_bytes(text) for text in texts])
    features = len(model.table)
    found, times = np.unique(text * features + feature, return_counts=True)
    text, feature = np.divmod(found, features)
    starts = np.searchsorted(text, np.arange(len(texts) + 1))
    shape = (len(texts), features)
    counts = sparse.csr_matrix((np.log1p(times.astype(np.float32)), feature, starts), shape=shape)
    scores = counts @ model.table + model.prior
    scores[np.diff(starts) == 0] = 0.0  # nothing that the model knows: all languages alike
    scores /= np.sqrt(np.maximum(lengths, 1))[:, None]
    for label in _kinds() - at_hand:
        scores[[other != label for other in own], columns[label]] = -np.inf
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    scores /= scores.sum(axis=1, keepdims=True)
    for column, label in enumerate(model.labels):
        if (first := columns[label]) != column:
            scores[:, first] += scores[:, column]
            scores[:, column] = 0.0
    shares: Float32 = scores.astype(np.float32)
    return shares


@functools.cache
def _columns() -> dict[str, int]:
    """Return the first column of every label."""
    return {label: column for column, label in reversed(list(enumerate(_model().labels)))}


@functools.cache
def _kinds() -> frozenset[str]:
    """Return the labels of kinds of a language that is a label too; those with a code of two letters stand apart."""
    labels = _model().labels
    return frozenset(label for label in labels if len(label) > 2 and macrolanguage(label) in labels)


@functools.lru_cache(4096)
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


def _without_others(text: str, script: str) -> str:
    """Return the beginning of a text without the letters of other scripts than one."""
    if script in _TOGETHER:
        return text
    kept = (letter for letter in text[:CHARACTERS] if not letter.isalpha() or script_of(letter) == script)
    return "".join(kept)


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
