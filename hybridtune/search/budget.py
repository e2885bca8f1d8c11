"""How long a search may go on: by wall time, by training steps; and what of a search that was cut off counts."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import TrialState
from ray.tune import Stopper

from hybridtune.config import Study
from hybridtune.search.rows import TrialRow
from hybridtune.search_section import seconds

CUT_OFF = "out of budget"


class Budget(Stopper):  # type: ignore[misc]
    """Ends all trials at once when the time or the steps are used up, and lets no other begin.

    Time is looked at all the time, so a trial ends between two scores and the steps since its last one are lost. Steps
    are counted at scores: the last trials may have gone up to ``eval_steps`` beyond the budget each.

    Args:
        seconds_left: from now on; infinite: no time budget.
        steps_left: of all trials together; infinite: no step budget.
        eval_steps: between two scores; a trial that goes on has done no more of them in this run at its first score.
        clock: seconds from any start.
    """

    def __init__(
        self, seconds_left: float, steps_left: float, eval_steps: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.clock = clock
        self.deadline = clock() + seconds_left
        self.steps_left = steps_left
        self.eval_steps = eval_steps
        self.reached: dict[str, int] = {}  # steps by trial

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """Count the steps of a score; it ends no trial by itself."""
        if not result["final"]:
            step = int(result["step"])
            before = self.reached.get(trial_id, max(0, step - self.eval_steps))
            self.steps_left -= max(0, step - before)
            self.reached[trial_id] = max(step, before)
        return False

    def stop_all(self) -> bool:
        """Whether the search is to end now."""
        return self.steps_left <= 0 or self.clock() >= self.deadline


def budget(study: Study, spent_seconds: float, spent_steps: int) -> Budget | None:
    """What ends the search when its budget is used up; None: it has none.

    Args:
        study: the study file.
        spent_seconds: wall time that earlier runs of this study took, see ``spent``.
        spent_steps: steps of its trials until now, those of trials that will go on among them.
    """
    search = study.search
    if search.time_budget is None and search.step_budget is None:
        return None
    time_left = float("inf") if search.time_budget is None else seconds(search.time_budget) - spent_seconds
    steps_left = float("inf") if search.step_budget is None else search.step_budget - spent_steps
    return Budget(time_left, steps_left, study.eval_steps)


def spent(rows: Sequence[TrialRow]) -> tuple[float, int]:
    """What trials have used: wall time in seconds, of trials side by side once, and training steps.

    Args:
        rows: of the study so far, those of trials that were cut off among them: ``read_rows(folder, running=True)``.
    """
    total, until = 0.0, 0.0
    for row in sorted(rows, key=lambda row: row.began):
        end = row.began + row.seconds
        total += max(0.0, end - max(until, row.began))
        until = max(until, end)
    return total, sum(int(row.metrics.get("step", 0)) for row in rows)


def used_up(study: Study, rows: Sequence[TrialRow]) -> str | None:
    """Which budget of a study its trials have used up, in words; None: there is some left, or none was set."""
    search, (took, steps) = study.search, spent(rows)
    if search.time_budget is not None and took >= seconds(search.time_budget):
        return f"search.time_budget {search.time_budget} is used up: the trials took {took:,.0f} s"
    if search.step_budget is not None and steps >= search.step_budget:
        return f"search.step_budget {search.step_budget:,} is used up: the trials trained {steps:,} steps"
    return None


def contenders(rows: Sequence[TrialRow]) -> list[TrialRow]:
    """The trials among which the best is chosen: those that came to their end.

    A trial that ran out of budget had less training than the others and counts as one that was stopped early; only
    where no trial came to its end are those taken that have a score.
    """
    done = [row for row in rows if row.status == "done"]
    return done or [row for row in rows if row.status == CUT_OFF and row.metrics]


def settle(ledger: optuna.Study, rows: Sequence[TrialRow], goals: Sequence[str]) -> None:
    """Tell Optuna of the trials that the budget cut off: Tune tells a searcher nothing of them.

    A trial that had its last score is complete with the values of its best checkpoint. Any other that stands as running
    waits, with its values and scores: with a larger budget it goes on, and no other state could be changed then.

    Args:
        ledger: the study in its storage, after a search that was not interrupted.
        rows: all trials of the search.
        goals: the objectives, in the order of the ledger's.
    """
    known = {row.number: row for row in rows}
    for trial in ledger.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        row = known.get(trial.number)
        if row is not None and row.status == "done":
            ledger.tell(trial.number, [row.metrics[name] for name in goals])
        elif row is None or row.status == CUT_OFF:
            ledger._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)
