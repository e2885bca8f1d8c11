"""The loggers of a study's trials: TensorBoard always; Weights & Biases and MLflow where the study asks."""

import importlib.util
import logging
import math
import os
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ray
from ray.tune import Callback
from ray.tune.logger import LoggerCallback
from ray.tune.result import AUTO_RESULT_KEYS, TIMESTEPS_TOTAL, TRAINING_ITERATION
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.api_pb2 import DataType, Experiment, HParamInfo, MetricInfo, MetricName, Status
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
from tensorboardX.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboardX.summary import scalar

from hybridtune.config.space import Parameter
from hybridtune.config.study import Study
from hybridtune.errors import InputError
from hybridtune.search.arms import ARM, PROPOSED
from hybridtune.search.trial import trial_name, trial_values
from hybridtune.storage.study_folder import study_id
from hybridtune.storage.trial_rows import TrialRow

_log = logging.getLogger(__name__)


def check_loggers(study: Study) -> None:
    """Check, before anything starts, that the loggers which a study asks for can be used.

    Raises:
        InputError: a package is not installed, or W&B has neither a key nor leave to stay offline.
    """
    for name in study.search.loggers:
        if importlib.util.find_spec(name) is None:
            raise InputError(
                f'search.loggers {name}: the package is not installed: pip install "hybridtune[{name}]", or leave '
                f"{name} out"
            )
    if "wandb" in study.search.loggers:
        _ready(_wandb(study, Path()), "wandb")


def callbacks(study: Study, folder: Path) -> list[Callback]:
    """Return the callbacks that log every trial's start, scores and end, into the study folder unless told otherwise.

    Raises:
        InputError: see `check_loggers`; an MLflow server that does not answer.
    """
    check_loggers(study)
    made: list[Callback] = [Events(study, folder)]
    if "wandb" in study.search.loggers:
        # After Ctrl-C Ray is gone, and calls that are still waiting would start another.
        made.append(Tracker("wandb", _ready(_wandb(study, folder), "wandb"), folder, ray.is_initialized))
    if "mlflow" in study.search.loggers:
        made.append(Tracker("mlflow", _ready(_mlflow(study, folder), "mlflow"), folder))
    return made


def _wandb(study: Study, folder: Path) -> Any:
    """Return Ray's callback, which keeps one process for each trial, as W&B requires."""
    from ray.air.integrations.wandb import WandbLoggerCallback

    return WandbLoggerCallback(
        project=os.environ.get("WANDB_PROJECT") or study.name,
        group=folder.name,
        dir=str(folder),
        mode=os.environ.get("WANDB_MODE"),
        resume="allow",  # a trial that goes on in a later run of the study is the same run there
    )


def _mlflow(study: Study, folder: Path) -> Any:
    import mlflow
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    logging.getLogger("mlflow").setLevel(logging.WARNING)  # it reports every table that it makes
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        (folder / "mlflow").mkdir(exist_ok=True)
        uri = f"sqlite:///{folder / 'mlflow' / 'mlflow.db'}"
        client = mlflow.MlflowClient(uri)
        if client.get_experiment_by_name(study.name) is None:  # else its artifacts would go to the current folder
            client.create_experiment(study.name, (folder / "mlflow" / "artifacts").absolute().as_uri())
    return MLflowLoggerCallback(uri, experiment_name=study.name, tags={"hybridtune.study": str(folder)})


def _ready(inner: Any, name: str) -> Any:
    """Set up a callback of Ray's with its key and its server."""
    try:
        inner.setup()
    except Exception as error:
        if name == "wandb" and isinstance(error, ValueError):
            reason = "no API key found: run `wandb login`, or set WANDB_MODE=offline to log into the study folder"
        else:
            reason = f"cannot be set up: {' '.join(str(error).split())[:200]}"
        raise InputError(f"search.loggers {name}: {reason}") from None
    return inner


class Tracker(LoggerCallback):  # type: ignore[misc]
    """Hands our trials to one of Ray's logging callbacks: under their own names, over our own step.

    It is called in a thread of its own, so that the search does not wait: Ray sends MLflow every number by itself, and
    starts two processes a trial for W&B. A logger that fails is named once and left out from then on.

    ``inner`` is Ray's callback, set up. Nothing is logged where ``up`` says that what it needs has ended.
    """

    def __init__(self, name: str, inner: Any, folder: Path, up: Callable[[], bool] | None = None) -> None:
        self.name, self.inner, self.folder, self.up = name, inner, folder, up
        self._trials: dict[str, _RayTrial] = {}
        self._thread: ThreadPoolExecutor | None = None  # made when it is needed: Tune pickles callbacks
        self._failed = False

    def log_trial_start(self, trial: Any) -> None:
        """Begin a trial, or go on with it after a restart."""
        name = trial_name(trial.config)
        if name not in self._trials:
            self._trials[name] = _RayTrial(trial.config, self.folder)
            self._submit(self.inner.log_trial_start, self._trials[name])

    def log_trial_result(self, iteration: int, trial: Any, result: Any) -> None:
        """Log a score; the final report repeats those of the best checkpoint, as ``best/<score>``."""
        self.log_trial_start(trial)
        step = int(result["step"])
        figures = {**logged(result), TIMESTEPS_TOTAL: step, TRAINING_ITERATION: step}
        self._submit(self.inner.log_trial_result, step, self._trials[trial_name(trial.config)], figures)

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        """End a trial that ended by itself, was stopped, or failed for good."""
        logged_trial = self._trials.pop(trial_name(trial.config), None)
        if logged_trial is not None:
            self._submit(self.inner.log_trial_end, logged_trial, failed)

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """End the search, maybe before its trials, and wait for what is still being sent."""
        for trial in trials:
            self.log_trial_end(trial)
        self._submit(self.inner.on_experiment_end, []).shutdown()
        self._thread = self.inner = None  # Ray's W&B callback complains if it lives as long as the interpreter

    def _submit(self, log: Callable[..., object], *arguments: Any) -> ThreadPoolExecutor:
        self._thread = self._thread or ThreadPoolExecutor(1)
        self._thread.submit(self._log, log, *arguments)
        return self._thread

    def _log(self, log: Callable[..., object], *arguments: Any) -> None:
        if self._failed or (self.up is not None and not self.up()):
            return
        try:
            log(*arguments)
        except Exception as error:
            self._failed = True
            reason = " ".join(str(error).split())[:200]
            _log.warning("search.loggers %s: %s; the search goes on without it", self.name, reason)


class _RayTrial:
    """A trial as Ray's loggers see it: its name, its id, its values, its folder."""

    checkpoint = None

    def __init__(self, config: dict[str, Any], folder: Path) -> None:
        name = trial_name(config)
        self.config = {**trial_values(config), **{name: config[name] for name in _ATTRIBUTES}}
        path = folder / "trials" / name
        path.mkdir(parents=True, exist_ok=True)  # W&B's process works there
        self.local_path = str(path)
        self.experiment_dir_name = folder.name
        # one id for a trial of a study, whenever and wherever it runs; no other study's
        self.trial_id = f"{study_id(folder)[:10]}-{name}"
        self._label = TrialRow(name, config["number"], config["arm"], {}).label

    def __str__(self) -> str:
        return str(self._label)


BEST = "best/"  # before the names of the scores of a trial's best checkpoint
_COLUMNS = ("balanced/AP", "mono/AP", "cross/AP", "multi/AP", "multi/rank_distance")
_ATTRIBUTES = (ARM, PROPOSED)  # of a trial, beside its values
_NOT_FIGURES = {*AUTO_RESULT_KEYS, "step", "final", "ended"}


class Events(LoggerCallback):  # type: ignore[misc]
    """Writes ``trials/<id>/events.out.tfevents*``: scores and losses over our own step, values, best scores.

    Tune's own callback counts reports, anew in a resumed trial, and writes to a folder that is copied to the study
    every ten seconds: what a trial reported last would be missing after Ctrl-C. Its table holds a trial's last scores
    and only the values that the first trial has.
    """

    def __init__(self, study: Study, folder: Path) -> None:
        self.study, self.folder = study, folder
        self._files: dict[str, _EventFile] = {}
        self._reports: dict[str, dict[float, Any]] = {}  # of the running trials, by step

    def log_trial_start(self, trial: Any) -> None:
        """Begin a trial, or go on with it after a restart."""
        name = trial_name(trial.config)
        if name in self._files:
            return
        file = self._files[name] = _EventFile(self.folder / "trials" / name)
        self._reports[name] = {}
        values = {"mix.mixing_ratio": self.study.mix.mixing_ratio, **trial_values(trial.config)}
        values |= {name: trial.config[name] for name in _ATTRIBUTES}
        start = SessionStartInfo(group_name=name, start_time_secs=time.time())
        for key, value in values.items():
            if isinstance(value, bool):
                start.hparams[key].bool_value = value
            elif isinstance(value, int | float):
                start.hparams[key].number_value = value
            elif value is not None:
                start.hparams[key].string_value = str(value)
        file.add_part("experiment", HParamsPluginData(experiment=_table(self.study, values)))
        file.add_part("session_start_info", HParamsPluginData(session_start_info=start))
        file.flush()

    def log_trial_result(self, iteration: int, trial: Any, result: Any) -> None:
        """Log a score; the final report repeats those of the best checkpoint."""
        self.log_trial_start(trial)
        name = trial_name(trial.config)
        self._write(name, result)
        if result["final"]:
            self._reports.pop(name, None)
        else:
            self._reports.setdefault(name, {})[result["step"]] = dict(result)

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """Close the files of trials that the budget cut off, which may go on later."""
        for trial in trials:
            self.log_trial_end(trial, failed=True)

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        """Close a trial's file.

        One that failed or was cut off gets no end: a later run may go on with it, and TensorBoard keeps the first end.
        """
        name = trial_name(trial.config)
        reports = self._reports.pop(name, None)
        if reports:  # It was stopped and has no final report; its row gets the scores of its best report.
            last = reports[max(reports)]
            self._write(name, {**reports.get(last["best_step"], last), "step": last["step"], "final": 1.0})
        file = self._files.pop(name, None)
        if file is None:
            return
        if not failed:
            end = SessionEndInfo(status=Status.STATUS_SUCCESS, end_time_secs=time.time())
            file.add_part("session_end_info", HParamsPluginData(session_end_info=end))
        file.close()

    def _write(self, name: str, result: Mapping[str, Any]) -> None:
        for key, value in logged(result).items():
            self._files[name].add(scalar(key if "/" in key else f"train/{key}", value), result["step"])
        self._files[name].flush()


def logged(result: Mapping[str, Any]) -> dict[str, float]:
    """Return the finite numbers of a report, which become curves; of a final report the scores, as ``best/<score>``.

    `nDCG@10` is called `nDCG_10`: TensorBoard would do so, and MLflow takes no other name.
    """
    found = {
        _tag(key): float(value)
        for key, value in result.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }
    if result["final"]:
        return {f"{BEST}{key}": value for key, value in found.items() if "/" in key}
    return {key: value for key, value in found.items() if key not in _NOT_FIGURES}


def _table(study: Study, values: Mapping[str, Any]) -> Experiment:
    """Return the columns of the HParams view; the same in every trial, since TensorBoard reads one."""
    infos = [_column(name, parameter) for name, parameter in study.search.space.items()]
    known = {*study.search.space, *_ATTRIBUTES}
    infos += [HParamInfo(name=name, type=_type(value)) for name, value in values.items() if name not in known]
    infos += [HParamInfo(name=name, type=DataType.DATA_TYPE_STRING) for name in _ATTRIBUTES]
    names = dict.fromkeys([*study.search.objective, *_COLUMNS])
    metrics = [MetricInfo(name=MetricName(tag=_tag(BEST + name)), display_name=name) for name in names]
    return Experiment(name=study.name, hparam_infos=infos, metric_infos=metrics)


def _column(name: str, parameter: Parameter) -> HParamInfo:
    """Return the column of a searched field: its type and its range, by which the view filters."""
    ends = parameter.ends()
    if parameter.choice is None:
        info = HParamInfo(name=name, type=DataType.DATA_TYPE_FLOAT64)
        info.domain_interval.min_value, info.domain_interval.max_value = min(ends), max(ends)
        return info
    types = {_type(value) for value in ends if value is not None}
    return HParamInfo(name=name, type=types.pop() if len(types) == 1 else DataType.DATA_TYPE_UNSET)


def _type(value: Any) -> Any:
    if isinstance(value, bool):
        return DataType.DATA_TYPE_BOOL
    return DataType.DATA_TYPE_FLOAT64 if isinstance(value, int | float) else DataType.DATA_TYPE_STRING


def _tag(name: str) -> str:
    """Replace the characters of a name that loggers do not take."""
    return re.sub(r"[^-/\w.]", "_", name)


class _EventFile(EventsWriter):  # type: ignore[misc]
    """A file of events of one trial, which holds all that was added when `flush` returns.

    The package's own SummaryWriter hands events to a thread, and flushes what that has written by then.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(str(folder / "events"), f".{time.time_ns()}")  # no two of one name in a second

    def add(self, summary: Summary, step: float = 0) -> None:
        self.write_event(Event(wall_time=time.time(), step=int(step), summary=summary))

    def add_part(self, tag: str, content: HParamsPluginData) -> None:
        """Add a part of the HParams view."""
        plugin = SummaryMetadata.PluginData(plugin_name="hparams", content=content.SerializeToString())
        self.add(Summary(value=[Summary.Value(tag=f"_hparams_/{tag}", metadata=SummaryMetadata(plugin_data=plugin))]))
