"""PURE. Centring: the mean vector of each language removed from its texts, which costs no training.

An encoder that keeps its languages apart gives every text of a language a common part. Without it the multi ranking
leans less on the language. `language_means` fits the means on any texts, `centre_vectors` takes them off.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from hybridtune.metrics.arrays import Float32


def language_means(vectors: Float32, languages: Sequence[str]) -> dict[str, Float32]:
    """Return the mean vector of each language's texts; it needs no labels and no translations.

    Queries and passages lie apart in most encoders: give each side means of its own.

    Args:
        vectors: float32 [n, D], of unit length where the score is the cosine; a few hundred texts a language do.
        languages: of the texts, n codes.

    Returns:
        language -> float32 [D].

    Raises:
        ValueError: another number of languages than of vectors.

    Example:
        >>> means = language_means(np.array([[1, 0], [0, 1], [0, -1]], np.float32), ["en", "en", "de"])
        >>> means["en"].tolist(), means["de"].tolist()
        ([0.5, 0.5], [0.0, -1.0])
    """
    codes, row = np.unique(_checked(vectors, languages), return_inverse=True)
    sums = np.zeros((len(codes), vectors.shape[1]))
    np.add.at(sums, row, vectors)
    means = (sums / np.bincount(row)[:, None]).astype(np.float32)
    return dict(zip(codes.tolist(), means, strict=True))


def centre_vectors(vectors: Float32, languages: Sequence[str], means: Mapping[str, Float32]) -> Float32:
    """Return vectors less the mean of their language, at unit length again.

    A language that has no mean is taken off the mean over those that have one. A text that lies exactly on its mean
    becomes 0.

    Args:
        vectors: float32 [n, D].
        languages: of the texts, n codes.
        means: of `language_means`, of one language at least.

    Returns:
        float32 [n, D].

    Raises:
        ValueError: no mean at all, or another number of languages than of vectors.

    Example:
        >>> means = {"en": np.array([0, 0.5], np.float32)}
        >>> centre_vectors(np.array([[0.8, 0.5], [0, 1]], np.float32), ["en", "sw"], means).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    if not means:
        raise ValueError("there is no language's mean to take off")
    common = np.mean([means[language] for language in sorted(means)], axis=0, dtype=np.float64)
    codes, row = np.unique(_checked(vectors, languages), return_inverse=True)
    taken = np.array([means.get(code, common) for code in codes.tolist()]).reshape(len(codes), vectors.shape[1])
    moved = vectors.astype(np.float64) - taken[row]
    lengths = np.linalg.norm(moved, axis=1, keepdims=True)
    centred: Float32 = (moved / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)
    return centred


def _checked(vectors: Float32, languages: Sequence[str]) -> Sequence[str]:
    if len(vectors) != len(languages):
        raise ValueError(f"{len(vectors)} vectors, but {len(languages)} languages: give one a vector")
    return languages
