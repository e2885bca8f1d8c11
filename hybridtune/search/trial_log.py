"""The log of a running search: each trial's row and scores, written to the study folder and handed to a display."""

import bisect
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from ray.tune import Callback
from ray.tune.experiment import Trial

from hybridtune.config.study import Study
from hybridtune.runtime.ray_private import forget_last_results
from hybridtune.search.racing import keep_shares
from hybridtune.search.trial import trial_name, trial_values
from hybridtune.storage.records import append_line, read_lines
from hybridtune.storage.trial_rows import (
    ENDED,
    RUNNING,
    Status,
    TrialRow,
    append_row,
    checkpoint_path,
    read_rows,
    write_rows,
    write_running,
)
from hybridtune.train.incidents import last_line
from hybridtune.train.progress import EXTENT
from hybridtune.train.shares import SHARES

_OWN_ERROR = re.compile(r"^hybridtune\.errors\.\w+: ")
REPORTS = "metrics.jsonl"  # in a trial's folder: a line a score
Display = Callable[[list[TrialRow], TrialRow], None]
_OWN = (
    *("step", "loss", "accuracy", "spread", "negatives", "align_loss", "distil_loss", "consistency_loss"),
    *("temperature", "realised_ratio", "pairs"),
    *("setup_seconds", "train_seconds", "score_seconds", "data_wait", "best_step"),
)


class TrialLog(Callback):  # type: ignore[misc]
    """A Tune callback that writes ``trials/<id>/metrics.jsonl``, ``trials.jsonl`` and ``running.json``.

    ``running.json`` has the rows of what runs, anew at every change; it goes when all trials have ended, and stays
    where the search was cut off, so that a trial which goes on keeps the time when it first began and the seconds in
    which it ran. A change looks at no other trials than those that run.

    Args:
        folder: of the study.
        pause_at: the step at which trials of this stage wait, see `rungs`; None: they come to their end.
        part: ``screening`` or ``repeats``, whose folder in the study's takes the files; else that of the study does.
    """

    displays: ClassVar[dict[str, Display]] = {}  # by study folder, since Tune pickles callbacks

    def __init__(self, folder: Path, pause_at: int | None = None, part: str = "") -> None:
        self.folder, self.pause_at, self.part = folder / part, pause_at, part
        self.ordered = read_rows(self.folder, running=True)  # by number
        self.rows = {row.id: row for row in self.ordered}
        self.running = {row.id: row for row in self.ordered if row.status == "running"}
        self.live: dict[str, Any] = {}  # Tune's trials that run, by our names
        self.scored: dict[str, set[int]] = {}  # the steps at which a trial has a score, of those that run
        self.ran = {row.id: row.seconds for row in self.rows.values()}  # in earlier runs
        self.started: dict[str, float] = {}  # in this run
        self.last: set[str] = set()  # trials whose last score has come
        self.done: set[str] = set()  # trials whose final report has come

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Write the row of a trial that begins, or goes on after a restart."""
        row = self._row(trial)
        self.live[row.id] = trial
        again, row.status, row.reason = row.status != "running", "running", None
        if again:
            append_row(self.folder, row)
        self._show(row)

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any) -> None:
        """Write a score."""
        row = self._row(trial)
        row.metrics = {key: value for key, value in result.items() if "/" in key or key in _OWN}
        row.checkpoint = checkpoint_path(row.id, int(result["best_step"]), self.part)
        if result["ended"]:
            self.last.add(row.id)
        if result["final"]:  # the metrics of an earlier report once more
            self.done.add(row.id)
            return
        folder = self.folder / "trials" / row.id
        folder.mkdir(parents=True, exist_ok=True)
        if row.id not in self.scored:
            self.scored[row.id] = {report["step"] for report in read_reports(folder)}
        if result["step"] not in self.scored[row.id]:  # else it is reported again on a resume
            if SHARES in result:
                keep_shares(folder, int(result["step"]), result[SHARES])
            append_line(folder / REPORTS, row.metrics)
            self.scored[row.id].add(result["step"])
        self._show(row)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Write the end of a trial, by itself or by the scheduler."""
        row = self._row(trial)
        paused = self.pause_at is not None and row.metrics.get("step", 0) >= self.pause_at
        self._ended(row, "done" if row.id in self.done else "paused" if paused else "stopped early")
        if not paused:
            forget_last_results(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Write the end of a trial that failed for good; Tune has the traceback in ``trials/<id>/error.txt``."""
        row = self._row(trial)
        line = last_line(Path(trial.error_file).read_text(encoding="utf-8")) if trial.error_file is not None else ""
        row.reason = _OWN_ERROR.sub("", line) or None
        self._ended(row, "failed")

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Settle the trials that the budget cut off, of which Tune tells a callback nothing else."""
        for name, trial in list(self.live.items()):  # Tune's own list has all trials since the beginning
            if trial.status == Trial.TERMINATED:
                row = self.rows[name]
                self._take_best(row)
                self._ended(row, "done" if name in self.last else "out of budget")

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """Make ``trials.jsonl`` a line a trial; remove ``running.json``, unless the search was cut off."""
        if (self.folder / ENDED).exists():
            write_rows(self.folder, self.ordered)
        if not self.running:
            (self.folder / RUNNING).unlink(missing_ok=True)

    def _row(self, trial: Any) -> TrialRow:
        """Return the row of a trial; one may fail before it has started."""
        config, name = trial.config, trial_name(trial.config)
        began = self.started.setdefault(name, time.time())
        if name not in self.rows:
            values = trial_values(config)
            self.rows[name] = TrialRow(
                name, config["number"], config["arm"], values, began=began, proposed=config["proposed"]
            )
            bisect.insort(self.ordered, self.rows[name], key=lambda row: row.number)
        return self.rows[name]

    def _take_best(self, row: TrialRow) -> None:
        """Give a row the scores of its best checkpoint, as the final report of a trial does."""
        best = row.metrics.get("best_step")
        reports = [report for report in read_reports(self.folder / "trials" / row.id) if report["step"] == best]
        if reports:
            went = {name: row.metrics[name] for name in EXTENT if name in row.metrics}
            row.metrics = {**reports[-1], **went}
            row.checkpoint = checkpoint_path(row.id, int(reports[-1]["step"]), self.part)

    def _ended(self, row: TrialRow, status: Status) -> None:
        row.status = status
        self._show(row)

    def _show(self, row: TrialRow) -> None:
        row.seconds = self.ran.get(row.id, 0.0) + time.time() - self.started[row.id]
        if row.status == "running":
            self.running[row.id] = row
        else:  # written first: whoever has seen the end and presses Ctrl-C finds it there
            append_row(self.folder, row)
            for of_running in (self.running, self.live, self.scored):
                of_running.pop(row.id, None)
        write_running(self.folder, sorted(self.running.values(), key=lambda row: row.number))
        display = self.displays.get(str(self.folder))
        if display is not None:
            display(list(self.ordered), row)


def read_reports(trial: Path) -> list[dict[str, Any]]:
    """Read the scores of a trial, in order: ``metrics.jsonl`` of its folder, except for a line that was cut off.

    Raises:
        DamagedError: another line is no score.
    """
    return read_lines(trial / REPORTS, "without the line, the trial goes on without that score").found


def objective_scores(study: Study, folder: Path, rows: Sequence[TrialRow]) -> dict[str, dict[int, float]]:
    """Return the first objective of each trial of a study folder at each of its scores, by the trial's id."""
    goal = study.search.objective[0]
    reports = {row.id: read_reports(folder / "trials" / row.id) for row in rows}
    return {name: {int(one["step"]): one[goal] for one in some if goal in one} for name, some in reports.items()}
