"""PURE. Vectors without what their language adds to them: fitted on any texts, applied to any, no training.

An encoder that keeps its languages apart gives every text of a language a common part, and the ranking over all
languages then leans on the language. `fit_language_vectors` fits one of `METHODS` on vectors of texts whose language is
known; it needs no labels and no translations. `LanguageVectors` moves vectors, and is kept as one safetensors file.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from hybridtune.errors import InputError
from hybridtune.metrics.arrays import Float32, Float64

FILE = "language_vectors.safetensors"
COMMON = "*"  # in place of a language: of those that the fitted texts lack
NEAREST = 10  # queries that a passage's mean similarity is taken of
_RIDGE = 1e-4  # of a covariance whose trace is 1: directions that few texts show are left nearly as they are
_METADATA, _FORMAT = "hybridtune", "language vectors 1"

Side = Literal["queries", "passages"]
SIDES: tuple[Side, ...] = get_args(Side)
Method = Literal["together", "apart", "shift", "coral", "directions-5", "directions-10", "csls"]
METHODS: tuple[Method, ...] = get_args(Method)


# Side -> vectors float32 [n, D], of unit length where the score is the cosine, and the n languages of their texts.
Texts = Mapping[Side, tuple[Float32, Sequence[str]]]


@dataclass(frozen=True, eq=False)
class LanguageVectors:
    """A fitted method: a vector is taken off each text, by side and language, then a map is applied; unit length again.

    Attributes:
        method: by which it was fitted; none: no vector moves.
        texts: side -> language -> number of the texts that it was fitted on.
        offsets: side -> language -> float32 [D]; under `COMMON` that of a language without texts. None are taken off
            where a side is missing.
        maps: language -> float32 [D, D], applied from the left; `COMMON` likewise.
        neighbours: float32 [n, D], moved queries; a passage gets one more number, less half of its mean similarity to
            the `NEAREST` of them, and a query a 1. None: no such number.
        standardised: whether scores are standardised over each pool language afterwards (`metrics.standard`).
        encoder: digest of the encoder whose vectors these are; empty where it is not known.

    Example: see `fit_language_vectors`.
    """

    method: str
    texts: Mapping[str, Mapping[str, int]]
    offsets: Mapping[str, Mapping[str, Float32]] = field(default_factory=dict)
    maps: Mapping[str, Float32] = field(default_factory=dict)
    neighbours: Float32 | None = None
    standardised: bool = False
    encoder: str = ""

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages that it was fitted on."""
        return tuple(sorted(set().union(*self.texts.values())))

    @property
    def width(self) -> int | None:
        """The D of the vectors that it is for; None: it moves none."""
        parts = [*self.maps.values(), *(vector for of_side in self.offsets.values() for vector in of_side.values())]
        parts += [] if self.neighbours is None else [self.neighbours]
        return parts[0].shape[-1] if parts else None

    def words(self) -> str:
        """Say in a word or two what was fitted."""
        moved = [] if self.method == "none" else [self.method]
        return ", ".join([*moved, *["scores standardised"] * self.standardised])

    def lacks(self, languages: Sequence[str]) -> str:
        """Return a line on the languages that no fitted text was in; empty where there are none."""
        lacking = [language for language in languages if language not in self.languages]
        if not lacking or not (self.offsets or self.maps):
            return ""
        return f"language vectors: fitted on no text in {', '.join(lacking)}; these are moved by the mean of the others"

    def move(self, side: Side, vectors: Float32, languages: Sequence[str]) -> Float32:
        """Return vectors of queries or of passages without what their language adds.

        A text that lies exactly on its language's mean becomes 0.

        Args:
            side: which offsets are taken. vectors: float32 [n, D]. languages: of the texts, n codes.

        Returns:
            float32 [n, D], of unit length; [n, D + 1] with neighbours.

        Raises:
            ValueError: another number of languages than of vectors.
            InputError: vectors of another width than it was fitted on.
        """
        check_languages(vectors, languages)
        if self.width not in (None, vectors.shape[1]):
            raise InputError(
                f"language vectors ({self.method}) are of width {self.width}, the encoder's of width "
                f"{vectors.shape[1]}: they were fitted on another encoder; fit them anew with hybridtune debias"
            )
        if self.width is None:
            return vectors
        moved = self._moved(side, vectors, languages)
        if self.neighbours is None:
            return moved
        more = np.ones(len(moved)) if side == "queries" else -_nearest_mean(moved, self.neighbours) / 2
        return np.column_stack([moved, more.astype(np.float32)])

    def _moved(self, side: Side, vectors: Float32, languages: Sequence[str]) -> Float32:
        moved = vectors.astype(np.float64)
        codes, row = np.unique(np.asarray(languages, np.str_), return_inverse=True)
        if offsets := self.offsets.get(side, {}):
            taken = np.array([offsets.get(code, offsets[COMMON]) for code in codes.tolist()], np.float64)
            moved -= taken.reshape(-1, vectors.shape[1])[row]
        for number, code in enumerate(codes.tolist() if self.maps else []):
            rows, own = row == number, self.maps.get(code, self.maps.get(COMMON))
            if own is not None:
                moved[rows] = moved[rows] @ own.astype(np.float64).T
        return _unit(moved)

    def digest(self) -> str:
        """Return a digest of all that moves vectors and scores."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def to_bytes(self) -> bytes:
        """Return the content of its file."""
        tensors = {f"{side}/{name}": vector for side, of in self.offsets.items() for name, vector in of.items()}
        tensors |= {f"map/{language}": own for language, own in self.maps.items()}
        if self.neighbours is not None:
            tensors["neighbours"] = self.neighbours
        about = {
            "format": _FORMAT,
            "method": self.method,
            "texts": {side: dict(sorted(of.items())) for side, of in sorted(self.texts.items())},
            "standardised": self.standardised,
            "encoder": self.encoder,
        }
        # One entry: safetensors writes several in an order that changes from one process to the next.
        metadata = {_METADATA: json.dumps(about)}
        content: bytes = save(
            {name: np.ascontiguousarray(tensors[name], np.float32) for name in sorted(tensors)}, metadata
        )
        return content


def load_language_vectors(path: str | Path) -> LanguageVectors:
    """Read a file of the bytes of ``LanguageVectors.to_bytes``, or the one in a model folder or a study folder.

    Raises:
        InputError: there is none, or it is no such file.

    Example:
        >>> load_language_vectors("best").method  # doctest: +SKIP
        'apart'
    """
    given = Path(path)
    found = next((one for one in (given, given / FILE, given / "best" / FILE) if one.is_file()), None)
    if found is None:
        raise InputError(f"{path}: no {FILE} there; write one with: hybridtune debias MODEL --data PATHS --out FOLDER")
    try:
        with safe_open(found, "numpy") as content:
            about = json.loads((content.metadata() or {}).get(_METADATA, "{}"))
            tensors = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(f"{found}: cannot be read as safetensors: {' '.join(str(error).split())[:120]}") from None
    if about.get("format") != _FORMAT:
        raise InputError(f"{found}: holds no language vectors of this version (its format: {about.get('format')})")
    offsets: dict[str, dict[str, Float32]] = {}
    for name, vector in tensors.items():
        side, _, language = name.partition("/")
        if side in SIDES:
            offsets.setdefault(side, {})[language] = vector
    return LanguageVectors(
        method=about["method"],
        texts=about["texts"],
        offsets=offsets,
        maps={name.removeprefix("map/"): own for name, own in tensors.items() if name.startswith("map/")},
        neighbours=tensors.get("neighbours"),
        standardised=about["standardised"],
        encoder=about["encoder"],
    )


def fit_language_vectors(method: Method, texts: Texts, encoder: str = "") -> LanguageVectors:
    """Fit one method on the vectors of any texts; a few hundred texts a language do, for coral more than D.

    The methods:

    - together: the mean over a language's queries and passages is taken off both.
    - apart: queries and passages have a mean each, for in most encoders the two sides lie apart.
    - shift: passages alone move, from their language's mean to the mean over languages; queries stay.
    - coral: together, and then each language's covariance is brought to the mean covariance of all.
    - directions-k: the k leading directions in which the languages' means differ are removed from every vector.
    - csls: together, and half of a passage's mean similarity to its `NEAREST` fitted queries is taken off its scores.

    A language without texts gets the mean over the languages' offsets, and of coral no map.

    Args:
        method: one of `METHODS`.
        texts: one at least, of either side or of both; a side without texts is moved as the other, and csls needs
            queries.
        encoder: digest of the encoder whose vectors they are.

    Raises:
        ValueError: no text, none of a side that is needed, or another number of languages than of vectors.

    Source: CORAL: Sun, Feng and Saenko, AAAI 2016; CSLS: Conneau et al., ICLR 2018, of which the query's own term moves
    no rank and is left out. The directions follow what is reported of LIR (arXiv 2109.04727), the shift what is
    reported of arXiv 2606.18801; neither paper was at hand.

    Example:
        >>> vectors = np.array([[1, 0], [0, 1], [0, -1]], np.float32)
        >>> fitted = fit_language_vectors("together", {"passages": (vectors, ["en", "en", "de"])})
        >>> fitted.offsets["queries"]["en"].tolist(), fitted.offsets["queries"]["de"].tolist()
        ([0.5, 0.5], [0.0, -1.0])
    """
    every = _pooled(texts)
    counts = {str(side): dict(Counter(languages)) for side, (_, languages) in texts.items()}
    fitted = LanguageVectors(method, counts, encoder=encoder)
    means = language_means(*every)
    if method.startswith("directions-"):
        return replace(fitted, maps={COMMON: _without_directions(means, int(method.rpartition("-")[2]))})
    if method == "apart":
        apart = {str(side): _with_common(language_means(*texts.get(side, every))) for side in SIDES}
        return replace(fitted, offsets=apart)
    together = _with_common(means)
    if method == "shift":
        step = {language: mean - together[COMMON] for language, mean in together.items()}
        return replace(fitted, offsets={"passages": step})
    fitted = replace(fitted, offsets=dict.fromkeys(map(str, SIDES), together))
    if method == "coral":
        return replace(fitted, maps=_to_common_covariance(*every, means))
    if method == "csls":
        if "queries" not in texts:
            raise ValueError("csls is fitted on queries, and there is none")
        return replace(fitted, neighbours=fitted.move("queries", *texts["queries"]))
    return fitted


def language_means(vectors: Float32, languages: Sequence[str]) -> dict[str, Float32]:
    """Return the mean vector [D] of each language's texts."""
    codes, row = np.unique(np.asarray(check_languages(vectors, languages), np.str_), return_inverse=True)
    sums = np.zeros((len(codes), vectors.shape[1]))
    np.add.at(sums, row, vectors)
    means = (sums / np.bincount(row, minlength=len(codes))[:, None]).astype(np.float32)
    return dict(zip(codes.tolist(), means, strict=True))


def check_languages(vectors: Float32, languages: Sequence[str]) -> Sequence[str]:
    """Return the languages; raise ValueError where there is not one a vector."""
    if len(vectors) != len(languages):
        raise ValueError(f"{len(vectors)} vectors, but {len(languages)} languages: give one a vector")
    return languages


def _pooled(texts: Texts) -> tuple[Float32, list[str]]:
    """Return the vectors and languages of both sides together."""
    parts = [(vectors, check_languages(vectors, languages)) for vectors, languages in texts.values()]
    vectors = np.concatenate([own for own, _ in parts]) if parts else np.zeros((0, 0), np.float32)
    if not len(vectors):
        raise ValueError("there is no text to fit language vectors on")
    return vectors, [language for _, languages in parts for language in languages]


def _with_common(means: Mapping[str, Float32]) -> dict[str, Float32]:
    common: Float64 = np.mean([means[language] for language in sorted(means)], axis=0, dtype=np.float64)
    return {**means, COMMON: common.astype(np.float32)}


def _without_directions(means: Mapping[str, Float32], directions: int) -> Float32:
    """Return the map [D, D] that removes the leading directions in which the means differ, fewer than there are."""
    stacked = np.stack([means[name] for name in sorted(means)]).astype(np.float64)  # [L, D]
    _, _, right = np.linalg.svd(stacked - stacked.mean(0), full_matrices=False)
    leading = right[: min(directions, len(means) - 1)]  # [k, D]; the last direction of L centred means is rounding
    kept: Float32 = (np.eye(stacked.shape[1]) - leading.T @ leading).astype(np.float32)
    return kept


def _to_common_covariance(
    vectors: Float32, languages: Sequence[str], means: Mapping[str, Float32]
) -> dict[str, Float32]:
    """Return a map [D, D] a language: from the covariance of its texts, less their mean and of unit length, to all's.

    That of all is the mean over the languages' covariances.
    """
    names, spoken = sorted(means), np.asarray(languages)
    centred = {name: _unit(vectors[spoken == name].astype(np.float64) - means[name]) for name in names}
    covariances = {name: _covariance(texts) for name, texts in centred.items()}
    common = _power(np.mean(list(covariances.values()), axis=0), 0.5)
    return {name: (common @ _power(covariances[name], -0.5)).astype(np.float32) for name in names}


def _covariance(centred: Float32) -> Float64:
    exact = centred.astype(np.float64)
    covariance: Float64 = exact.T @ exact / max(len(exact), 1)
    return covariance


def _power(covariance: Float64, exponent: float) -> Float64:
    """Return a power of a covariance [D, D] with `_RIDGE` added in each direction."""
    values, directions = np.linalg.eigh(covariance)
    found: Float64 = (directions * (np.maximum(values, 0) + _RIDGE) ** exponent) @ directions.T
    return found


def _nearest_mean(vectors: Float32, queries: Float32) -> Float64:
    """Return the mean similarity [n] of each vector to the `NEAREST` most similar queries."""
    similar = vectors.astype(np.float64) @ queries.astype(np.float64).T  # [n, Q]
    nearest = min(NEAREST, len(queries))
    found: Float64 = np.partition(similar, -nearest, axis=1)[:, -nearest:].mean(1)
    return found


def _unit(vectors: Float64) -> Float32:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Float32 = (vectors / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)
    return unit
