"""The few lines by which an index uses language vectors, without hybridtune: numpy, faiss and safetensors alone."""

from hybridtune.model.language_vectors import FILE, LanguageVectors

_HEAD = f"""import faiss
import numpy as np
from safetensors.numpy import load_file

fitted = load_file("{FILE}")


def part(kind, language):  # of a language without texts: what the others have in common
    return fitted.get(f"{{kind}}/{{language}}", fitted.get(f"{{kind}}/*", 0.0))


def move(side, vectors, languages):  # "queries" or "passages", float32 [n, D], n codes
"""
_OFFSETS = """    vectors = vectors - np.stack([part(side, code) * np.ones(vectors.shape[1]) for code in languages])
"""
_MAPS = """    maps = [part("map", code) for code in languages]
    vectors = np.stack([own @ vector if np.ndim(own) else vector for own, vector in zip(maps, vectors)])
"""
_UNIT = """    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
"""
_NEIGHBOURS = """    near = np.sort(vectors @ fitted["neighbours"].T, axis=1)[:, -10:].mean(1)
    more = np.ones(len(vectors)) if side == "queries" else -near / 2
    vectors = np.column_stack([vectors, more])
"""
_PLAIN = """    return vectors.astype(np.float32)


index = faiss.IndexFlatIP(move("passages", passages, passage_languages).shape[1])
index.add(move("passages", passages, passage_languages))
scores, rows = index.search(move("queries", queries, query_languages), 10)
"""
_STANDARDISED = """    return vectors.astype(np.float32)


moved = move("passages", passages, passage_languages)
pools = {}  # an index a language, with the mean and the covariance of its passages
for code in sorted(set(passage_languages)):
    numbers = np.flatnonzero(np.array(passage_languages) == code)
    index = faiss.IndexFlatIP(moved.shape[1])
    index.add(moved[numbers])
    pools[code] = numbers, index, moved[numbers].mean(0), np.atleast_2d(np.cov(moved[numbers].T, bias=True))


def search(query, k):  # a moved query [D]: the k best passages of all languages, by standardised scores
    found = []
    for numbers, index, mean, covariance in pools.values():
        scores, rows = index.search(query[None], min(k, len(numbers)))
        deviation = np.sqrt(max(query @ covariance @ query, 1e-12))
        found += zip((scores[0] - query @ mean) / deviation, numbers[rows[0]].tolist())
    return sorted(found, reverse=True)[:k]
"""


def index_lines(fitted: LanguageVectors) -> str:
    """Return Python that moves vectors as these language vectors do, and puts them into an index; it wants no more.

    What it is about are ``queries`` and ``passages``, float32 [n, D] of unit length, and the languages of both.
    """
    body = _OFFSETS * bool(fitted.offsets) + _MAPS * bool(fitted.maps) + _UNIT * (fitted.width is not None)
    body += _NEIGHBOURS * (fitted.neighbours is not None)
    return _HEAD + body + (_STANDARDISED if fitted.standardised else _PLAIN)
