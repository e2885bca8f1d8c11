"""Which language pairs a corpus has, which groups have them, and how often each is to be drawn."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from hybridtune.data.corpus import Corpus
from hybridtune.data.draws import Cells
from hybridtune.errors import InputError
from hybridtune.mistakes import nearest

Int32 = npt.NDArray[np.int32]
Pair = tuple[int, int]  # columns of two languages: the query's and the passage's, or the teacher's and the other


def question_pairs(corpus: Corpus) -> list[Pair]:
    """The pairs of which some group has a query in the first and a passage in the second language."""
    return [(x, y) for x, y in np.argwhere(corpus.pair_counts()).tolist()]


def translations(corpus: Corpus, align_from: Sequence[str]) -> list[Pair]:
    """The pairs of which some group has passages in both languages; the first is the one that the teacher reads.

    Args:
        corpus: the texts there are.
        align_from: languages the teacher reads. Of two, the one with more mono pairs counts (of equals, the first in
            the alphabet), as it does where none is given.

    Raises:
        InputError: a language that the corpus has not.
    """
    for language in align_from:
        if language not in corpus.languages:
            raise InputError(
                f"mix.align_from: the training data has no text in {language!r}{nearest(language, corpus.languages)}"
            )
    mono = corpus.pair_counts().diagonal()
    order = sorted(range(len(mono)), key=lambda x: (-mono[x], x))
    readers = [x for x in order if not align_from or corpus.languages[x] in align_from]
    others = [*readers, *sorted(set(order) - set(readers))]
    pairs = sorted((x, y) for place, x in enumerate(readers) for y in others[place + 1 :])
    return [pair for pair in pairs if len(groups_of(corpus, pair, aligned=True))]


def groups_of(corpus: Corpus, pair: Sequence[int], *, aligned: bool, data_set: int = -1) -> Int32:
    """The groups that have a pair, ascending.

    Args:
        corpus: the texts there are.
        pair: columns of two languages.
        aligned: whether both texts are passages; else the first is a query.
        data_set: of this data set alone; -1: of all.
    """
    first = corpus.passages if aligned else corpus.queries
    has = (first[:, pair[0]] >= 0) & (corpus.passages[:, pair[1]] >= 0)
    if data_set >= 0:
        has &= corpus.sources == data_set
    return np.flatnonzero(has).astype(np.int32)


def distinct_answer_sets(corpus: Corpus, groups: Iterable[Int32]) -> int:
    """How many answer sets the groups of some lists have together: so many rows a batch of them can have."""
    found = np.zeros(len(corpus.answer_sets), bool)
    for some in groups:
        found[corpus.answer_sets[some]] = True
    return int(np.count_nonzero(found))


def pair_name(languages: Sequence[str], pair: Sequence[int]) -> str:
    """A pair as people write it: ``en-de``."""
    return f"{languages[pair[0]]}-{languages[pair[1]]}"


def pair_weights(languages: Sequence[str], weights: Mapping[str, float]) -> dict[Pair, float]:
    """The weights of a study by the columns of the languages.

    Args:
        languages: codes of the corpus; a code may itself hold a hyphen (``zh-Hant``).
        weights: factor by language (``de``: its mono pair) or ordered pair (``en-de``: query language first).

    Raises:
        InputError: a name that is no language and no pair of the corpus, or a pair that stands twice.
    """
    known = {pair_name(languages, (x, y)): (x, y) for x in range(len(languages)) for y in range(len(languages))}
    known |= {language: (x, x) for x, language in enumerate(languages)}  # a language's own name comes first
    # A pair like zh-tw-en cannot be cut without the corpus, so its case is overlooked here and not in the study file.
    written = {name.lower(): name for name in known}
    found: dict[Pair, float] = {}
    for given, weight in weights.items():
        name = given if given in known else written.get(given.lower(), given)
        if name not in known:
            hint = nearest(name, known if "-" in name else languages)
            raise InputError(f"mix.weights: the training data has no language or language pair {name!r}{hint}")
        if known[name] in found:
            raise InputError(f"mix.weights: {name} is given twice; give the weight of one language or pair once")
        found[known[name]] = weight
    return found


def make_cells(
    corpus: Corpus,
    pairs: Sequence[Pair],
    *,
    aligned: bool,
    exponent: float,
    weights: Mapping[Pair, float],
    data_weights: Sequence[float],
) -> Cells:
    """What one kind of batch draws from.

    A data set of weight w counts as if it stood there w times: the size of a pair is the sum of w * groups over the
    data sets, the pair is drawn with probability ~ size^s * weight, and each of its data sets ~ w * groups.

    Args:
        corpus: the texts there are.
        pairs: those that some group has.
        aligned: whether both texts of a pair are passages.
        exponent: s.
        weights: factors of pairs; 1 where none is given.
        data_weights: w of every data set of the corpus; where all are equal, a pair's groups are one cell.
    """
    data_sets = range(len(data_weights)) if len(set(data_weights)) > 1 else [-1]
    found: list[tuple[int, int, int]] = []  # place of the pair, data set, groups
    for place, pair in enumerate(pairs):
        for data_set in data_sets:
            size = len(groups_of(corpus, pair, aligned=aligned, data_set=data_set))
            if size:
                found.append((place, data_set, size))
    pair_of, sources, sizes = np.array(found, np.int64).reshape(-1, 3).T  # [C] each
    parts = sizes * (np.array(data_weights)[sources] if len(data_sets) > 1 else 1.0)
    totals = np.bincount(pair_of, parts, minlength=len(pairs))  # [P]
    factors = np.array([weights.get(pair, 1.0) for pair in pairs], np.float64)
    columns = np.array(pairs, np.int32).reshape(-1, 2)
    return Cells(aligned, columns, totals**exponent * factors, pair_of, sources, sizes, parts)


def cell_members(corpus: Corpus, cells: Cells, cell: int) -> Int32:
    """The groups of a cell, ascending."""
    pair = cells.pairs[cells.pair_of[cell]].tolist()
    return groups_of(corpus, pair, aligned=cells.aligned, data_set=int(cells.sources[cell]))
