"""PURE. Which averages of its contestants' weights a study scores: a grid between mono-only and cross-only."""

from hybridtune.config.study import Study

ENDS = ("mono-only", "cross-only")  # the contestants between which the grid lies


def soup_grid(study: Study) -> list[dict[str, float]]:
    """Return the inner points of the grid of ``search.soups``, from mono-only to cross-only: shares by contestant.

    Its ends are the two trainings themselves, which are scored already. The shares are whole numbers of parts, so
    ``hybridtune merge --weights`` with the same numbers gives the same weights.

    Example:
        >>> from hybridtune.config.study import demo_study, load_study
        >>> soup_grid(load_study(demo_study(), ["search.soups=2"]))
        [{'mono-only': 2.0, 'cross-only': 1.0}, {'mono-only': 1.0, 'cross-only': 2.0}]
    """
    parts = study.search.soups + 1
    return [dict(zip(ENDS, (float(parts - n), float(n)), strict=True)) for n in range(1, parts)]
