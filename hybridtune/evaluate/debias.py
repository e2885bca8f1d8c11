"""What each way of taking the language out of vectors is worth on a benchmark in memory, on texts that it has not seen.

Documents are dealt to two folds; each text is moved by what was fitted on the other fold, and all are ranked together.
Vectors and a `Benchmark` go in, moved vectors come out, which `benchmark.rank_vectors` ranks.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from hybridtune.data.answer_sets import answer_sets_by_key
from hybridtune.evaluate.benchmark import Benchmark
from hybridtune.metrics.arrays import Float32, Int64
from hybridtune.model.language_vectors import SIDES, LanguageVectors, Method, Side, Texts, fit_language_vectors

FOLDS = 2


class Candidate(NamedTuple):
    """A way to rank: vectors moved by a method (None: left as they are), scores standardised or not."""

    name: str  # also of its folder
    method: Method | None
    standardised: bool = False


START = Candidate("start", None)
CANDIDATES = (
    START,
    Candidate("standardised", None, standardised=True),
    Candidate("together", "together"),
    Candidate("together-standardised", "together", standardised=True),
    Candidate("apart", "apart"),
    Candidate("apart-standardised", "apart", standardised=True),
    Candidate("shift", "shift"),
    Candidate("coral", "coral"),
    Candidate("coral-standardised", "coral", standardised=True),
    Candidate("csls", "csls"),
    Candidate("csls-standardised", "csls", standardised=True),
    Candidate("directions-5", "directions-5"),
    Candidate("directions-10", "directions-10"),
)


class EncodedTexts(NamedTuple):
    """The vectors of a benchmark, float32 [Q, D] and [P, D], in its order, and the fold of each text."""

    vectors: Mapping[Side, Float32]
    languages: Mapping[Side, Sequence[str]]
    folds: Mapping[Side, Int64]

    def texts(self, left_out: int | None = None) -> Texts:
        """Return the texts to fit on: all, or those outside a fold."""
        found: dict[Side, tuple[Float32, Sequence[str]]] = {}
        for side in SIDES:
            rows = np.flatnonzero(self.folds[side] != left_out)
            found[side] = self.vectors[side][rows], [self.languages[side][row] for row in rows.tolist()]
        return found

    def held_out(self, method: Method | None) -> dict[Side, Float32]:
        """Return the vectors, each moved by what was fitted on the texts of the other folds."""
        if method is None:
            return dict(self.vectors)
        moved: dict[Side, Float32] = {}
        for fold in range(FOLDS):
            fitted = fit_language_vectors(method, self.texts(fold))
            for side in SIDES:
                rows = np.flatnonzero(self.folds[side] == fold)
                own = fitted.move(side, self.vectors[side][rows], [self.languages[side][row] for row in rows.tolist()])
                moved.setdefault(side, np.empty((len(self.folds[side]), own.shape[1]), np.float32))[rows] = own
        return moved

    def in_place(self, method: Method | None) -> dict[Side, Float32]:
        """Return the vectors, moved by what was fitted on all of them."""
        if method is None:
            return dict(self.vectors)
        fitted = fit_language_vectors(method, self.texts())
        return {side: fitted.move(side, self.vectors[side], self.languages[side]) for side in SIDES}

    def fit(self, candidate: Candidate, encoder: str) -> LanguageVectors:
        """Return what is written of a candidate: fitted on all texts."""
        if candidate.method is None:
            counts = {str(side): dict(Counter(self.languages[side])) for side in SIDES}
            return LanguageVectors("none", counts, standardised=True, encoder=encoder)
        fitted = fit_language_vectors(candidate.method, self.texts(), encoder)
        return replace(fitted, standardised=candidate.standardised)


def deal_folds(benchmark: Benchmark, passage_documents: Mapping[str, str]) -> dict[Side, Int64]:
    """Deal the texts of a benchmark to folds: what belongs together goes whole, in turns, in the order of the queries.

    Queries and passages belong together that are of one document, that answer each other, or that are joined by others.
    A passage of which nothing is known is alone.

    Returns:
        int64 [Q] and [P], in [0, FOLDS).
    """
    known = benchmark.relevance
    documents = known.documents or ("",) * len(known.query_ids)
    keys: list[list[tuple[str, str | int]]] = [[("document", name)] if name else [] for name in documents]
    for query, passage in zip(known.query_index.tolist(), known.passage_index.tolist(), strict=True):
        keys[query].append(("passage", passage))
    for number, name in enumerate(benchmark.passages.ids):
        document = passage_documents.get(name, "") if known.documents is not None else ""
        keys.append([("passage", number), *([("document", document)] if document else [])])
    first = np.array(answer_sets_by_key(keys), np.int64)
    fold = np.unique(first, return_inverse=True)[1] % FOLDS
    return {"queries": fold[: len(documents)], "passages": fold[len(documents) :]}
