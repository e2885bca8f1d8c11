"""PURE. Means by mteb's definitions and under its names, a subset at a time.

A subset is the queries of one language, or of all, on the passages of one, or of all. Source: mteb, its
``retrieval_metrics``: means of trec_eval's measures over the judged queries of a subset, ``mrr_at_k`` within k.
"""

from collections.abc import Mapping

import numpy as np

from hybridtune.metrics.metrics import Ranked, per_query

CUTS = (1, 3, 5, 10, 20, 100, 1000)
MAIN = "ndcg_at_10"  # of its retrieval tasks, but for a few
# Its precision is not among our measures; its nauc_* measure how well scores tell good rankings from bad ones.
_NAMES = {"nDCG": "ndcg", "AP": "map", "R": "recall", "RR": "mrr", "Success": "hit_rate"}
_MEASURES = {f"{ours}@{cut}": f"{theirs}_at_{cut}" for ours, theirs in _NAMES.items() for cut in CUTS}
_DIGITS = 6  # as it writes them

Subset = tuple[str | None, str | None]  # languages of passages and of queries; None: of all


def mteb_scores(ranked: Ranked, subsets: Mapping[str, Subset]) -> dict[str, dict[str, float]]:
    """Return the scores of each subset by mteb's names; a subset without a ranking is left out.

    A query without a relevant passage counts 0 where the subset is all that its language is judged in; of other subsets
    the caller knows that every query has one.
    """
    columns, languages = per_query(ranked, [*_MEASURES]), list(ranked.languages)
    asked = np.bincount(ranked.query_language, minlength=len(languages))
    found: dict[str, dict[str, float]] = {}
    for name, (passages, queries) in subsets.items():
        rows = (
            columns["setting"] == "multi" if passages is None and len(languages) > 1 else columns["setting"] != "multi"
        )
        total, alone = int(asked.sum()), passages is None
        if queries is not None:
            code = languages.index(queries)
            rows &= columns["query_language"] == code
            total, alone = int(asked[code]), alone or len(np.unique(columns["pool_language"][rows])) == 1
        if passages is not None:
            rows &= columns["pool_language"] == languages.index(passages)
        if not rows.any():
            continue
        count = total if alone else int(rows.sum())
        scores = {
            theirs: round(float(columns[ours][rows].sum() / count), _DIGITS) for ours, theirs in _MEASURES.items()
        }
        found[name] = {**scores, "accuracy": scores["recall_at_1"], "main_score": scores[MAIN]}
    return found
