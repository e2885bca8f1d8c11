"""Watching a study: what each trial is doing now, written to the study folder and handed to a display."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from ray.tune import Callback
from ray.tune.logger import TBXLoggerCallback
from ray.tune.result import TIMESTEPS_TOTAL

from hybridtune.search.space import trial_name, trial_values

Status = Literal["running", "stopped early", "done", "failed"]
Display = Callable[[list["TrialRow"], "TrialRow"], None]
_OWN = (
    *("step", "loss", "accuracy", "spread", "negatives", "align_loss", "temperature", "realised_ratio", "pairs"),
    *("train_seconds", "data_wait", "best_step"),
)


@dataclass
class TrialRow:
    """One trial, as it stands.

    Attributes:
        id: the trial's name, and its folder under ``trials/``.
        number: its number in Optuna.
        baseline: ``mono-only``, ``half-half``, ``cross-only``, or None for a searched trial.
        values: the fields of the study that this trial sets.
        metrics: its last report; of a trial that is done, those of its best checkpoint.
        status: where it is.
        checkpoint: folder of the checkpoint with these metrics.
        seconds: wall time since its start.
        began: when it started, in seconds of the epoch.
    """

    id: str
    number: int
    baseline: str | None
    values: dict[str, Any]
    metrics: dict[str, float] = field(default_factory=dict)
    status: Status = "running"
    checkpoint: str | None = None
    seconds: float = 0.0
    began: float = 0.0


class Watcher(Callback):  # type: ignore[misc]
    """A Tune callback that keeps a row a trial, ``trials/<id>/metrics.jsonl`` and ``trials.jsonl``.

    Args:
        folder: the study folder.
        ended: the trials that an earlier run of the study has settled.
    """

    displays: ClassVar[dict[str, Display]] = {}  # by study folder: Tune pickles callbacks, and a terminal is no value

    def __init__(self, folder: Path, ended: Sequence[TrialRow] = ()) -> None:
        self.folder = folder
        self.rows = {row.id: row for row in ended}
        self.started: dict[str, float] = {}
        self.done: set[str] = set()  # trials whose final report has come

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial begins, or goes on after a restart."""
        config = trial.config
        name = trial_name(config)
        row = TrialRow(name, config["number"], config["baseline"], trial_values(config))
        self.rows.setdefault(name, row).status = "running"
        self.started.setdefault(name, time.time())
        self.rows[name].began = self.started[name]
        self._show(row)

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any) -> None:
        """A score arrived."""
        row = self._row(trial)
        row.metrics = {key: value for key, value in result.items() if "/" in key or key in _OWN}
        row.checkpoint = result.get("checkpoint_path", row.checkpoint)
        if result["final"]:  # the metrics of an earlier report once more
            self.done.add(row.id)
            return
        folder = self.folder / "trials" / row.id
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row.metrics) + "\n")
        self._show(row)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial ended, by itself or because the scheduler stopped it."""
        row = self._row(trial)
        row.status = "done" if row.id in self.done else "stopped early"
        self._ended(row)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial failed for good."""
        row = self._row(trial)
        row.status = "failed"
        self._ended(row)

    def _row(self, trial: Any) -> TrialRow:
        return self.rows[trial_name(trial.config)]

    def _ended(self, row: TrialRow) -> None:
        self._show(row)
        ended = [row for row in self.sorted_rows() if row.status != "running"]
        lines = "".join(json.dumps(asdict(row)) + "\n" for row in ended)
        temporary = self.folder / "trials.jsonl.new"
        temporary.write_text(lines, encoding="utf-8")
        temporary.replace(self.folder / "trials.jsonl")

    def _show(self, row: TrialRow) -> None:
        row.seconds = time.time() - self.started[row.id]
        display = self.displays.get(str(self.folder))
        if display is not None:
            display(self.sorted_rows(), row)

    def sorted_rows(self) -> list[TrialRow]:
        """All trials, in the order of their numbers."""
        return sorted(self.rows.values(), key=lambda row: row.number)


class Events(TBXLoggerCallback):  # type: ignore[misc]
    """TensorBoard events in ``trials/<id>/``, over our own step.

    Tune's own callback counts reports, anew in a resumed trial, and writes to a folder that is copied to the study
    every ten seconds: what a trial reported last would be missing after Ctrl-C.

    Args:
        folder: the study folder.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def log_trial_start(self, trial: Any) -> None:
        """Open a file of events."""
        self._trial_writer[trial] = self._summary_writer_cls(str(self.folder / "trials" / trial_name(trial.config)))
        self._trial_result[trial] = {}

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        """A score arrived."""
        if result["final"]:
            return
        super().log_trial_result(iteration, trial, {**result, TIMESTEPS_TOTAL: result["step"]})


def read_rows(folder: Path) -> list[TrialRow]:
    """The ended trials of a study folder."""
    file = folder / "trials.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [TrialRow(**json.loads(line)) for line in lines]
