"""PURE. The screening of a study in words and as a table: what it trained and kept, and what its ranks are worth.

That is Kendall's tau within arms: among all pairs of points of one arm that were trained with few layers and with all,
those in the same order in both less those in the other order, over all. Ratios of different arms differ too much to say
anything about the choice within one.
"""

from collections.abc import Sequence
from itertools import combinations

from hybridtune.config.study import Study
from hybridtune.report.text import Cell, Table, Value, capital, counted, format_duration, format_metric
from hybridtune.storage.screening_rows import Screening, trained_in_both
from hybridtune.storage.trial_rows import TrialRow, spent


def order_agreement(screened: Sequence[TrialRow], trials: Sequence[TrialRow], goal: str) -> tuple[int, int, int]:
    """Return pairs of points of one arm that stand in the same order in both, in the other order, and all pairs.

    Equal scores make a pair that is in neither order.
    """
    both = [(one.arm, one.metrics[goal], row.metrics[goal]) for one, row in trained_in_both(screened, trials)]
    signs = [
        (few - other_few) * (whole - other_whole)
        for (arm, few, whole), (other_arm, other_few, other_whole) in combinations(both, 2)
        if arm == other_arm
    ]
    return sum(sign > 0 for sign in signs), sum(sign < 0 for sign in signs), len(signs)


def screening_words(
    study: Study, ended: Screening | None, screened: Sequence[TrialRow], trials: Sequence[TrialRow]
) -> str:
    """Say what a screening trained and kept, and how well its ranks agree with those of whole trainings.

    Args:
        study: the study file.
        ended: what it came to; None: it has not ended.
        screened: its trainings.
        trials: of the study.
    """
    asked, goal = study.search.screening, study.search.objective[0]
    if asked is None:
        return ""
    took, steps = spent(screened)
    counts = ", ".join(
        f"{sum(row.status == status for row in screened)} {status}"
        for status in dict.fromkeys(row.status for row in screened)
    )
    what = counted(len(screened), "training")
    spent_on = f"({counts}; {counted(steps, 'step')} in {format_duration(took)})" if screened else ""
    if ended is None:
        return f"screening: {what} with {counted(asked.layers, 'layer')} so far {spent_on}".strip()
    begins = sum(map(len, ended.kept.values()))
    words = f"screening: {what} with {asked.layers} of {ended.of} layers {spent_on}; "
    words += f"{counted(begins, 'point')} of them begin the search"
    same, other, pairs = order_agreement(screened, trials, goal)
    if pairs:
        both = len(trained_in_both(screened, trials))
        words += (
            f"; {counted(both, 'point')} came to the end with {asked.layers} and with {ended.of} layers, and {same} of "
            f"{counted(pairs, 'pair')} of one arm stand in the same order on {goal} in both (Kendall's tau "
            f"{(same - other) / pairs:.2f})"
        )
    return words


def screening_table(
    study: Study, ended: Screening | None, screened: Sequence[TrialRow], trials: Sequence[TrialRow]
) -> Table | None:
    """Return every screened training beside the trial of the same values; None where there was no screening."""
    if study.search.screening is None or not screened:
        return None
    goal, layers = study.search.objective[0], study.search.screening.layers
    whole = {one.id: row for one, row in trained_in_both(screened, trials)}
    begins = {name for points in ended.kept.values() for name in points} if ended is not None else set()
    rows: list[Sequence[Value]] = []
    for one in screened:
        trial = whole.get(one.id)
        figures = [_figure(goal, row.metrics.get(goal) if row is not None else None) for row in (one, trial)]
        mark = "yes" if one.id in begins else "no"
        label = trial.label if trial is not None else None
        rows.append([one.id, one.arm, one.proposed, one.status, figures[0], mark, label, figures[1]])
    columns = [
        "screened",
        "arm",
        "proposed",
        "status",
        f"{goal}, {layers} layers",
        "kept",
        "trial",
        f"{goal}, all layers",
    ]
    note = capital(f"{screening_words(study, ended, screened, trials)}.") + (
        " No model of the screening is compared or exported: a score with few layers says which points are worth a "
        "whole training, and the tau how far that can be trusted, from few points that were chosen by it."
    )
    return Table("The screening, on the dev benchmark", columns, rows, note, sortable=True)


def _figure(goal: str, value: float | None) -> Value:
    return None if value is None else Cell(format_metric(goal, value), value)
