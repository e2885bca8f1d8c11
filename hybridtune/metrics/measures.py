"""PURE. Retrieval measures by their ir_measures names, one's own by ``package.module:function``, and measures of bias.

Many ranked lists at once go in, each as the ranks of its relevant passages; one value per list comes out. `metrics`
sorts them into settings and takes means.
"""

import re
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybridtune.config.hooks import is_hook, load_hook
from hybridtune.errors import InputError
from hybridtune.metrics.arrays import Bool, Float64, Int64

MEASURES = ("AP", "RR", "nDCG@10", "R@1", "R@10", "R@100")
UNRETRIEVED = 2**62  # the rank of a relevant passage that a truncated list lacks: below every depth there is
_MEASURE = re.compile(r"(?:(AP|RR|nDCG)(?:@([1-9]\d*))?|(R|Success)@([1-9]\d*))")


def is_measure(name: str) -> bool:
    """Return whether a name has the form of a measure: of ir_measures, or ``package.module:function``."""
    return _MEASURE.fullmatch(name) is not None or is_hook(name)


def check_measure(measure: str) -> None:
    """Check that a measure is known; one's own is imported.

    Raises:
        InputError: it is not known, or cannot be imported.
    """
    if is_hook(measure):
        load_hook(measure, "measure")
    else:
        parse_measure(measure)


def parse_measure(measure: str) -> tuple[str, int | None]:
    """Split an ir_measures name into the measure and its cutoff.

    Raises:
        InputError: not one of AP, RR, nDCG (cutoff optional), R@k, Success@k with k >= 1.
    """
    found = _MEASURE.fullmatch(measure)
    if found is None:
        raise InputError(
            f"unknown measure {measure!r}; known: AP, RR, nDCG (or with @k), R@k, Success@k, and functions of "
            "your own as package.module:function"
        )
    cutoff = found[2] or found[4]
    return found[1] or found[3], int(cutoff) if cutoff else None


class Lists:
    """Ranked lists end to end, each as the ranks of its relevant passages.

    Args:
        ranks: int64 [N], >= 1, ascending within a list; UNRETRIEVED where the list lacks the passage.
        gains: float64 [N], > 0, the grade of the passage.
        starts: int64 [n], first entry of each list; no list is empty.

    Example:
        >>> lists = Lists(np.array([1, 4, 2]), np.ones(3), starts=np.array([0, 2]))
        >>> lists.values("RR"), lists.values("AP"), rank_distance(lists)
        (array([1. , 0.5]), array([0.75, 0.5 ]), array([ 3., nan]))
    """

    def __init__(self, ranks: Int64, gains: Float64, starts: Int64) -> None:
        self.ranks, self.gains, self.starts = ranks, gains, starts
        self.sizes = np.diff(starts, append=len(ranks))
        self.owner = np.repeat(np.arange(len(starts)), self.sizes)
        self.nth = np.arange(len(ranks)) - starts[self.owner] + 1
        self.first, self.last = ranks[starts], ranks[starts + self.sizes - 1]

    def sums(self, values: NDArray[Any]) -> Float64:
        """Sum one value per entry over each list: [N] to float64 [n]."""
        return np.bincount(self.owner, values, minlength=len(self.starts)).astype(np.float64)

    def values(self, measure: str) -> Float64:
        """Return a measure of each list, float64 [n].

        The denominators are over all relevant passages, whatever the cutoff and whether retrieved or not: the relevant
        passages themselves (AP, R), their gains in the best order and cut off alike (nDCG).

        Args:
            measure: an ir_measures name; ranks below its cutoff count for nothing. Or one's own function, which gets
                the int64 ranks and float64 gains of one list and returns a number; NaN where it is not defined.

        Raises:
            InputError: not a measure, or the function fails.

        Source: trec_eval's map, map_cut, recip_rank, recall, success and ndcg, ndcg_cut (gain = grade, discount
        log2(rank + 1)), which ir_measures' AP, AP@k, RR, R@k, Success@k, nDCG, nDCG@k call.
        """
        if is_hook(measure):
            return self._by_function(measure)
        name, cutoff = parse_measure(measure)
        depth = UNRETRIEVED - 1 if cutoff is None else min(cutoff, UNRETRIEVED - 1)
        within = self.ranks <= depth
        if name == "AP":
            return self.sums(within * self.nth / self.ranks) / self.sizes
        if name == "R":
            return self.sums(within) / self.sizes
        if name == "nDCG":
            ideal = self.sums((self.nth <= depth) * self._best_first / np.log2(self.nth + 1))
            return self.sums(within * self.gains / np.log2(self.ranks + 1)) / ideal
        return (self.first <= depth) / (self.first if name == "RR" else 1)

    def _by_function(self, measure: str) -> Float64:
        function, values = load_hook(measure, "measure"), np.empty(len(self.starts))
        for index, start in enumerate(self.starts):
            ranks, gains = (of[start : start + self.sizes[index]].copy() for of in (self.ranks, self.gains))
            try:
                values[index] = float(function(ranks, gains))
            except Exception as error:
                raise InputError(
                    f"measure {measure}: failed for ranks {ranks.tolist()[:8]} and gains {gains.tolist()[:8]}: "
                    f"{type(error).__name__}: {error}"
                ) from error
        return values

    @cached_property
    def _best_first(self) -> Float64:
        """The gains of each list in descending order."""
        if (self.gains == self.gains[:1]).all():
            return self.gains
        return self.gains[np.lexsort((-self.gains, self.owner))]


BIAS = ("rank_distance", "language_preference", "rank_correlation", "PEER")  # columns of the multi setting alone


def rank_distance(lists: Lists) -> Float64:
    """Return the rank of the last minus that of the first relevant passage of each list, float64 [n].

    It lies in [1, pool size) and grows with the pool. NaN with fewer than two relevant passages, or where one was not
    retrieved.

    Source: arXiv 2408.10536.
    """
    defined = (lists.sizes >= 2) & (lists.last < UNRETRIEVED)
    return np.where(defined, (lists.last - lists.first).astype(np.float64), np.nan)


def language_preference(lists: Lists, own: Bool) -> Float64:
    """Return 1 where the best ranked relevant passage is in the query's language (``own`` [N]), else 0; float64 [n].

    With one relevant passage in each of L languages, 1/L would be neutral. NaN where no relevant passage is in the
    query's language, or none was retrieved.
    """
    defined = (lists.sums(own) > 0) & (lists.first < UNRETRIEVED)
    return np.where(defined, own[lists.starts].astype(np.float64), np.nan)


def rank_correlation(lists: Lists, passage: Int64, topic: Int64, query_language: Int64) -> Float64:
    """Return how alike the lists of one question are that was asked in several languages: in [-1, 1]; float64 [n].

    Of each list the mean of Spearman's correlation with the lists of the queries of its topic in other languages, each
    over the ranks of the passages relevant to both, which are all relevant passages of the topic. 1: in one order, -1:
    in opposite ones, 0: what chance gives. Passages not retrieved share the last ranks (mid-rank). NaN where a list
    ranks fewer than two relevant passages apart, or no query of another language shares them.

    Exact at full depth, from the ranks alone. The measure it follows, MRC@k, correlates the two rankings over the union
    of their k best passages, relevant or not, which needs the lists; figures of the two do not compare.

    Args:
        lists: n lists with N entries; those of one topic have the same passages.
        passage: int64 [N], numbers of the passages.
        topic: int64 [n], of the lists, as `topics.topic_numbers` numbers them.
        query_language: int64 [n].

    Source: MRC of Yang, Jiang, Baldwin, "Language Bias in Information Retrieval" (arXiv 2509.06195), read in a review
    that has its equations and in code that computes it (of arXiv 2605.31171): the mean over the other languages.
    """
    tied = lists.ranks >= UNRETRIEVED
    late = lists.sums(tied)
    place = np.where(tied, (lists.sizes - (late - 1) / 2)[lists.owner], lists.nth) - (lists.sizes[lists.owner] + 1) / 2
    length = np.sqrt(lists.sums(place**2))
    usable = length > 0
    unit = place / np.where(usable, length, 1)[lists.owner]  # the product of two such lists is their correlation
    every, own = (_sums_over(unit, *keys) for keys in _entry_keys(lists, passage, topic, query_language))
    others, alike = (_sums_over(usable.astype(np.float64), *keys) for keys in ((topic,), (topic, query_language)))
    partners = np.round(others - alike)
    defined = usable & (partners > 0)
    return np.where(defined, lists.sums(unit * (every - own)) / np.where(defined, partners, 1), np.nan)


def _entry_keys(lists: Lists, passage: Int64, topic: Int64, query_language: Int64) -> tuple[tuple[Int64, ...], ...]:
    """Return what the entries of a topic share, and what those of a topic and language do."""
    of_topic = topic[lists.owner], passage
    return of_topic, (*of_topic, query_language[lists.owner])


def _sums_over(values: Float64, *keys: Int64) -> Float64:
    """Return at each entry the sum of the values that have its keys, [N] to float64 [N]."""
    cell = np.zeros(len(values), np.int64)
    for key in keys:
        cell = np.unique(cell * (int(key.max(initial=0)) + 1) + key, return_inverse=True)[1]
    sums: Float64 = np.bincount(cell, values).astype(np.float64)
    return sums[cell]


def peer(lists: Lists, language: Int64, languages: int) -> Float64:
    """Return PEER, the Probability of Equal Expected Rank, of each list: in (0, 1], higher is fairer; float64 [n].

    The p value of a Kruskal-Wallis test that the ranks of the relevant passages do not depend on their language, for
    each grade apart; then the mean over grades, weighted by grade. Passages not retrieved share the last ranks
    (mid-rank, with the correction for ties); where no passage of a grade was retrieved, p is 1.

    The test says something of a grade with passages in two languages or more, and two or more in one of them. With one
    a language H is N - 1 for every order (XQuAD-R, MLQA-R): such grades are left out, and NaN where nothing remains.
    hltcoe/peer_measure gives those 1 (one language) or the constant, which a mean would hide, asks for the weights, and
    puts list positions where the test has ranks 1..N among the relevant passages: one passage far down a full-depth
    list would then outweigh all others.

    Args:
        lists: n lists with N entries.
        language: int64 [N], in [0, languages), of the passages.
        languages: L.

    Source: the code of hltcoe/peer_measure, the measure of Yang, Jänich, Mayfield, Lawrie, "Language Fairness in
    Multilingual Information Retrieval", SIGIR 2024 (arXiv 2405.00978); equal to it but for what is said above.
    """
    grades, grade = np.unique(lists.gains, return_inverse=True)
    # A sample: the relevant passages of one list and grade. Only those that occur are numbered.
    codes, sample = np.unique(lists.owner * len(grades) + grade, return_inverse=True)
    members = np.bincount(sample * languages + language, minlength=len(codes) * languages).reshape(-1, languages)
    total, spoken = members.sum(1), (members > 0).sum(1)
    tested = np.flatnonzero((spoken >= 2) & (total > spoken))
    row = np.full(len(codes), -1)
    row[tested] = np.arange(len(tested))
    entries = np.flatnonzero(row[sample] >= 0)
    entries = entries[np.argsort(row[sample[entries]], kind="stable")]  # by sample, the ranks still ascending
    p = _kruskal_wallis(row[sample[entries]], language[entries], lists.ranks[entries] >= UNRETRIEVED, members[tested])
    owner, weight = codes[tested] // len(grades), grades[codes[tested] % len(grades)]
    sums = np.bincount(owner, weight * p, minlength=len(lists.starts))
    weights = np.bincount(owner, weight, minlength=len(lists.starts))
    return np.where(weights > 0, sums / np.where(weights > 0, weights, 1), np.nan)


def _kruskal_wallis(sample: Int64, language: Int64, tied: Bool, members: Int64) -> Float64:
    """Return the p values [s] of samples end to end, each in rank order, ``tied`` entries last; ``members``: [s, L]."""
    total = members.sum(1)
    starts = np.cumsum(total) - total
    late = np.bincount(sample, tied, minlength=len(total))
    rank = np.where(tied, (total - (late - 1) / 2)[sample], np.arange(len(sample)) - starts[sample] + 1)
    sums = np.bincount(sample * members.shape[1] + language, rank, minlength=members.size).reshape(members.shape)
    between = (sums**2 / np.maximum(members, 1)).sum(1)
    h = 12 * between / (total * (total + 1)) - 3 * (total + 1)
    untied = 1 - (late**3 - late) / (total**3 - total)
    h = np.where(untied > 0, np.maximum(h, 0) / np.where(untied > 0, untied, 1), 0.0)
    freedom = (members > 0).sum(1) - 1
    # The chi-square survival function is the upper regularised incomplete gamma function.
    import torch

    p: Float64 = torch.special.gammaincc(torch.from_numpy(freedom / 2), torch.from_numpy(h / 2)).numpy()
    return p
