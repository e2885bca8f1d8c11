"""The weights of a mix: which pairs of the data may be drawn, how often, and the parts of a pair that are told apart.

Languages, ordered pairs, data sets and origins have weights; 0 is never. `sampling` draws by them.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from hybridtune.config.languages import readings
from hybridtune.data.corpus import Corpus
from hybridtune.errors import InputError, nearest
from hybridtune.metrics.arrays import Int32

Pair = tuple[int, int]  # columns of two languages: the query's and the passage's, or the teacher's and the other


def pair_name(languages: Sequence[str], pair: Sequence[int]) -> str:
    """Return a pair as people write it: ``en-de``."""
    return f"{languages[pair[0]]}-{languages[pair[1]]}"


class Part(NamedTuple):
    """Some of the groups that have a pair: those of a data set and of an origin, an index each; -1 for all."""

    data_set: int = -1
    origin: int = -1


WHOLE = Part()


@dataclass(frozen=True)
class Weights:
    """Factors on how often what the data hold is drawn: 1 where none is given, 0 for never."""

    pairs: Mapping[Pair, float] = field(default_factory=dict)  # by the columns of the two languages
    data_sets: Sequence[float] = ()  # a data set counts as if it occurred so many times; none: all alike
    translated: float = 1.0  # and so do a pair that a machine translated,
    bitext: float = 1.0  # and in align batches the groups that have no query

    @property
    def all_drawn(self) -> bool:
        """Return whether nothing but bitext has a weight of 0."""
        return all(self.pairs.values()) and all(self.data_sets) and self.translated > 0

    def parts(self, aligned: bool) -> list[tuple[Part, float]]:
        """Return the parts of each pair that are drawn, apart as far as their factors differ, with these."""
        data_sets = dict(enumerate(self.data_sets)) if len(set(self.data_sets)) > 1 else {-1: 1.0}
        if self.data_sets and not any(self.data_sets):
            data_sets = {}
        origins = dict(enumerate((1.0, self.translated, self.bitext) if aligned else (1.0, self.translated)))
        if set(origins.values()) == {1.0}:
            origins = {-1: 1.0}
        every = itertools.product(data_sets.items(), origins.items())
        return [(Part(one, origin), first * then) for (one, first), (origin, then) in every if first * then > 0]


def groups_of(corpus: Corpus, pair: Sequence[int], *, aligned: bool, part: Part = WHOLE) -> Int32:
    """Return the groups that have a pair, ascending; both texts are passages if ``aligned``, else one is a query."""
    first = corpus.passages if aligned else corpus.queries
    has = (first[:, pair[0]] >= 0) & (corpus.passages[:, pair[1]] >= 0)
    if part.data_set >= 0:
        has &= corpus.sources == part.data_set
    groups = np.flatnonzero(has).astype(np.int32)
    if part.origin >= 0:
        groups = groups[corpus.origins(groups, np.array(pair), aligned=aligned) == part.origin]
    return groups


def drawable(corpus: Corpus, pair: Pair, weights: Weights, *, aligned: bool) -> Int32:
    """Return the groups from which a pair may be drawn; none where its weight is 0."""
    if not weights.pairs.get(pair, 1.0):
        return np.zeros(0, np.int32)
    found = [groups_of(corpus, pair, aligned=aligned, part=part) for part, _ in weights.parts(aligned)]
    return np.concatenate([*found, np.zeros(0, np.int32)])


def count_drawable(corpus: Corpus, weights: Weights) -> dict[Pair, int]:
    """Count the question-passage pairs that may be drawn, by their languages; those without any are absent."""
    counts = corpus.pair_counts()
    pairs: list[Pair] = [(x, y) for x, y in np.argwhere(counts).tolist()]
    if weights.all_drawn:
        return {pair: int(counts[pair]) for pair in pairs}
    found = {pair: len(drawable(corpus, pair, weights, aligned=False)) for pair in pairs}
    return {pair: count for pair, count in found.items() if count}


def named_pairs(languages: Sequence[str], names: Iterable[str], where: str) -> dict[str, Pair]:
    """Return the columns of the languages that names in the field ``where`` of a study mean.

    A name is a language (``de``: its mono pair) or an ordered pair (``en-de``: query language first); a code may itself
    hold a hyphen (``zh-Hant``).
    """
    known = {pair_name(languages, (x, y)): (x, y) for x in range(len(languages)) for y in range(len(languages))}
    known |= {language: (x, x) for x, language in enumerate(languages)}  # a language's own name comes first
    found: dict[str, Pair] = {}
    for given in names:
        # Where a name like zh-tw-en is to be cut, the corpus decides, so it is read here and not in the study file.
        read = map("-".join, readings(given))
        name = given if given in known else next((name for name in read if name in known), given)
        if name not in known:
            hint = nearest(name, known if "-" in name else languages)
            raise InputError(f"{where}: the training data has no language or language pair {name!r}{hint}")
        if known[name] in found.values():
            raise InputError(f"{where}: {name} is given twice; name one language or pair once")
        found[given] = known[name]
    return found


def make_weights(
    languages: Sequence[str],
    pairs: Mapping[str, float],
    unseen_pairs: Sequence[str] = (),
    data_sets: Sequence[float] = (),
    translated: float = 1.0,
    bitext: float = 1.0,
) -> Weights:
    """Make the weights of a mix: of languages and pairs by name, of which the unseen ones have 0 in both directions."""
    factors = {pair: pairs[name] for name, pair in named_pairs(languages, pairs, "mix.weights").items()}
    for name, (x, y) in named_pairs(languages, unseen_pairs, "data.unseen_pairs").items():
        if x == y:
            raise InputError(
                f"data.unseen_pairs: {name} is one language; name two, like en-de (data.language_limits: "
                f"{{{languages[x]}: 0}} leaves a language out of the training)"
            )
        factors |= {(x, y): 0.0, (y, x): 0.0}
    return Weights(factors, tuple(data_sets), translated, bitext)
