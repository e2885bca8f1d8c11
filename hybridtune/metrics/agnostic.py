"""PURE. Direct measures of language-agnostic vectors: what they say of the languages of texts, without a ranking.

Three views: how far apart the languages' means lie, how well a linear probe names a text's language, and how often the
nearest text of another language is the translation. Vectors of one side go in, queries or passages: the two lie apart
in most encoders, and are measured apart.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations

import numpy as np

from hybridtune.metrics.arrays import Bool, Float32, Float64, Int64

RIDGE = 1e-2  # of the probe, as a share of the mean variance of a dimension
_ENTRIES = 2**22  # products of texts held at once: 16 MB
_TIE = 1e-6  # products of float32 vectors of unit length that differ by less are one


@dataclass(frozen=True)
class Agnosticism:
    """Direct measures of the vectors of one side; ``dataclasses.asdict`` of it is JSON.

    Attributes:
        texts: n.
        mean_distance: mean of `mean_distances` over pairs of languages, >= 0; 0 is agnostic. None: of no pair.
        probe_accuracy: of `probe_accuracy`, in [0, 1]; None: not to be had.
        probe_chance: what guessing gives it.
        translation_accuracy: mean of `translation_accuracy` over ordered pairs, in [0, 1]; 1 is agnostic. None: no text
            has a translation.
        distances: "de-en" -> `mean_distances`.
        translations: "en-de" -> `translation_accuracy`, from English to German.
    """

    texts: int
    mean_distance: float | None
    probe_accuracy: float | None
    probe_chance: float | None
    translation_accuracy: float | None
    distances: dict[str, float]
    translations: dict[str, float]


def measure_agnosticism(
    vectors: Float32, languages: Sequence[str], groups: Int64, documents: Int64 | None = None
) -> Agnosticism:
    """Return all direct measures of the vectors of one side.

    Args:
        vectors: float32 [n, D], of unit length where the score is the cosine.
        languages: of the texts, n codes.
        groups: int64 [n], equal for texts that translate each other; below 0: no translation is known.
        documents: int64 [n], what the probe keeps together; None: the groups, and each text without one alone.

    Raises:
        ValueError: other numbers of languages, groups or documents than of vectors.

    Example:
        >>> vectors = np.array([[1, 0], [0, 1], [1, 0], [0, 1]], np.float32)
        >>> found = measure_agnosticism(vectors, ["de", "de", "en", "en"], np.array([0, 1, 0, 1]))
        >>> found.mean_distance, found.probe_accuracy, found.translation_accuracy
        (0.0, 0.5, 1.0)
    """
    if not len(vectors) == len(languages) == len(groups) or (documents is not None and len(documents) != len(groups)):
        raise ValueError(f"{len(vectors)} vectors: give as many languages, groups and documents, one a vector")
    distances = mean_distances(vectors, languages)
    translations = translation_accuracy(vectors, languages, groups)
    alone = np.where(groups < 0, groups.max(initial=0) + 1 + np.arange(len(groups)), groups)
    accuracy, classes = probe_accuracy(vectors, languages, alone if documents is None else documents)
    return Agnosticism(
        texts=len(vectors),
        mean_distance=_mean(distances.values()),
        probe_accuracy=accuracy,
        probe_chance=1 / classes if accuracy is not None else None,
        translation_accuracy=_mean(translations.values()),
        distances=distances,
        translations=translations,
    )


def mean_distances(vectors: Float32, languages: Sequence[str]) -> dict[str, float]:
    """Return how far apart the means of two languages lie, in units of the spread within them, by "de-en".

    The distance of the two mean vectors over the root of the mean of both languages' variances, a variance being the
    mean squared distance of a language's texts from its mean. 0: the means coincide; 1: they lie as far apart as a text
    lies from the mean of its language. Few texts have distant means by chance: with n texts a language about
    sqrt(2 / n) is none. Pairs whose texts do not vary are left out.
    """
    codes, row = np.unique(np.asarray(languages, np.str_), return_inverse=True)
    means, spread = _moments(vectors, row, len(codes))
    return {
        f"{codes[a]}-{codes[b]}": float(np.linalg.norm(means[a] - means[b]) / np.sqrt((spread[a] + spread[b]) / 2))
        for a, b in combinations(range(len(codes)), 2)
        if spread[a] + spread[b] > 0
    }


def probe_accuracy(vectors: Float32, languages: Sequence[str], documents: Int64) -> tuple[float | None, int]:
    """Return how well a linear probe names the language of texts of documents that it was not fitted on.

    The probe is a ridge regression on one indicator a language, every language weighing the same. It is fitted on every
    second document, in their order, and tested on the others, then the other way round. Returned are the mean over
    languages of the share of their texts that it names rightly, in [0, 1], of which chance is 1 over the number of
    languages, and that number; None, 0 where fewer than two languages have texts in both halves.
    """
    _, document = np.unique(documents, return_inverse=True)
    second = document % 2 == 1
    codes, row = np.unique(np.asarray(languages, np.str_), return_inverse=True)
    sizes = np.stack([np.bincount(row[half], minlength=len(codes)) for half in (second, ~second)])
    usable = np.flatnonzero((sizes > 0).all(0))
    if len(usable) < 2:
        return None, 0
    number = np.full(len(codes), -1)
    number[usable] = np.arange(len(usable))
    kept = number[row] >= 0
    x, y, half = vectors[kept].astype(np.float64), number[row][kept], second[kept]
    found = [_named(x, y, fit, len(usable)) for fit in (half, ~half)]
    return float(np.mean(found)), len(usable)


def _named(x: Float64, y: Int64, fit: Bool, classes: int) -> float:
    """Return the mean over classes of the share named rightly of what is not in ``fit``."""
    weight = 1 / np.bincount(y[fit], minlength=classes)[y[fit]]
    weight /= weight.sum()
    centre = weight @ x[fit]
    rows = x[fit] - centre
    covariance = (rows * weight[:, None]).T @ rows
    covariance[np.diag_indices_from(covariance)] += RIDGE * max(np.trace(covariance) / len(covariance), 1e-12)
    target = np.eye(classes)[y[fit]] - 1 / classes
    coefficients = np.linalg.solve(covariance, (rows * weight[:, None]).T @ target)  # [D, L]
    right = ((x[~fit] - centre) @ coefficients).argmax(1) == y[~fit]
    return float((np.bincount(y[~fit], right, minlength=classes) / np.bincount(y[~fit], minlength=classes)).mean())


def translation_accuracy(vectors: Float32, languages: Sequence[str], groups: Int64) -> dict[str, float]:
    """Return how often the nearest text of another language is a translation, by ordered pair: "en-de" seeks German.

    Asked are the texts with a translation in the other language; sought is among all of its texts, by dot product. Of
    several equally near ones, that share counts which are translations, so that vectors that are all alike give what
    chance gives. Pairs without a translation are left out.
    """
    codes, row = np.unique(np.asarray(languages, np.str_), return_inverse=True)
    found: dict[str, float] = {}
    for a, b in permutations(range(len(codes)), 2):
        pool, asked = np.flatnonzero(row == b), np.flatnonzero((row == a) & (groups >= 0))
        asked = asked[np.isin(groups[asked], groups[pool])]
        if len(asked):
            hits = _hits(vectors[asked], vectors[pool], groups[asked], groups[pool])
            found[f"{codes[a]}-{codes[b]}"] = float(hits.mean())
    return found


def _hits(asked: Float32, pool: Float32, group: Int64, pool_group: Int64) -> Float64:
    step = max(1, _ENTRIES // len(pool))
    shares = [np.zeros(0)]
    for first in range(0, len(asked), step):
        part = slice(first, first + step)
        products = asked[part] @ pool.T  # [q, p]
        near = products >= products.max(1, keepdims=True) - _TIE
        right = near & (pool_group == group[part, None])
        shares.append(right.sum(1) / near.sum(1))
    return np.concatenate(shares)


def _moments(vectors: Float32, row: Int64, classes: int) -> tuple[Float64, Float64]:
    """Return the mean vector [L, D] of each class and the mean squared distance [L] from it."""
    means, spread = np.zeros((classes, vectors.shape[1])), np.zeros(classes)
    for one in range(classes):
        own = vectors[row == one].astype(np.float64)
        means[one] = own.mean(0)
        spread[one] = ((own - means[one]) ** 2).sum(1).mean()
    return means, spread


def _mean(values: Collection[float]) -> float | None:
    return float(np.mean([*values])) if values else None
