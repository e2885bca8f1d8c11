"""TensorBoard events of a study: the curves of every trial, and the table of trials that its HParams view shows."""

import math
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.result import AUTO_RESULT_KEYS
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.api_pb2 import DataType, Experiment, HParamInfo, MetricInfo, MetricName, Status
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
from tensorboardX.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboardX.summary import scalar

from hybridtune.config import Parameter, Study
from hybridtune.search.space import trial_name, trial_values

BEST = "best/"  # before the names of the scores of a trial's best checkpoint
_COLUMNS = ("balanced/AP", "mono/AP", "cross/AP", "multi/AP", "multi/rank_distance")
_NOT_FIGURES = {*AUTO_RESULT_KEYS, "step", "final", "ended"}


class Events(Callback):  # type: ignore[misc]
    """Writes ``trials/<id>/events.out.tfevents*``: scores and losses over our own step, values, best scores.

    Tune's own callback counts reports, anew in a resumed trial, and writes to a folder that is copied to the study
    every ten seconds: what a trial reported last would be missing after Ctrl-C. Its table holds a trial's last scores
    and only the values that the first trial has.

    Args:
        study: of the search.
        folder: the study folder.
    """

    def __init__(self, study: Study, folder: Path) -> None:
        self.study = study
        self.folder = folder
        self._files: dict[str, _EventFile] = {}
        self._reports: dict[str, dict[float, Any]] = {}  # of the running trials, by step

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial begins, or goes on after a restart."""
        name = trial_name(trial.config)
        if name in self._files:
            return
        file = self._files[name] = _EventFile(self.folder / "trials" / name)
        self._reports[name] = {}
        values = {"mix.mixing_ratio": self.study.mix.mixing_ratio, **trial_values(trial.config)}
        values["baseline"] = trial.config["baseline"] or "searched"
        if "mixing_ratio" in values:  # the short name of the same field
            del values["mix.mixing_ratio"]
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

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any) -> None:
        """A score arrived; the final report repeats those of the best checkpoint."""
        self.on_trial_start(iteration, trials, trial)
        name = trial_name(trial.config)
        self._write(name, result)
        if result["final"]:
            self._reports.pop(name, None)
        else:
            self._reports.setdefault(name, {})[result["step"]] = dict(result)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial ended, by itself or because it was stopped."""
        self._end(trial, ended=True)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial failed; a later run of the study may try it again, and TensorBoard would keep the first end."""
        self._end(trial, ended=False)

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """The search is over; of trials that the budget cut off Tune tells nothing else, and they may go on later."""
        for trial in trials:
            self._end(trial, ended=False)

    def _end(self, trial: Any, ended: bool) -> None:
        name = trial_name(trial.config)
        reports = self._reports.pop(name, None)
        if reports:  # it was stopped, and has no final report: its row is to have scores too
            last = reports[max(reports)]
            self._write(name, {**reports.get(last["best_step"], last), "step": last["step"], "final": 1.0})
        file = self._files.pop(name, None)
        if file is None:
            return
        if ended:
            end = SessionEndInfo(status=Status.STATUS_SUCCESS, end_time_secs=time.time())
            file.add_part("session_end_info", HParamsPluginData(session_end_info=end))
        file.close()

    def _write(self, name: str, result: Mapping[str, Any]) -> None:
        for key, value in logged(result).items():
            self._files[name].add(scalar(key if "/" in key else f"train/{key}", value), result["step"])
        self._files[name].flush()


def logged(result: Mapping[str, Any]) -> dict[str, float]:
    """What of a report is worth a curve: its finite numbers.

    Returns:
        name -> value; of a trial's final report, the scores alone, as ``best/<score>``. `nDCG@10` is called
        `nDCG_10`: TensorBoard would do so, and MLflow takes no other name.
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
    """The columns of the HParams view; every trial writes the same, for TensorBoard reads those of one alone."""
    infos = [_column(name, parameter) for name, parameter in study.search.space.items()]
    known = {*study.search.space, "baseline"}
    infos += [HParamInfo(name=name, type=_type(value)) for name, value in values.items() if name not in known]
    infos.append(HParamInfo(name="baseline", type=DataType.DATA_TYPE_STRING))
    metrics = [
        MetricInfo(name=MetricName(tag=_tag(BEST + name)), display_name=name)
        for name in dict.fromkeys([*study.search.objective, *_COLUMNS])
    ]
    return Experiment(name=study.name, hparam_infos=infos, metric_infos=metrics)


def _column(name: str, parameter: Parameter) -> HParamInfo:
    """One searched value: its type, and its range or choices, by which the view filters."""
    ends = parameter.ends()
    if parameter.choice is None:
        info = HParamInfo(name=name, type=DataType.DATA_TYPE_FLOAT64)
        info.domain_interval.min_value, info.domain_interval.max_value = min(ends), max(ends)
        return info
    kinds = {_type(value) for value in ends if value is not None}
    kind = kinds.pop() if len(kinds) == 1 else DataType.DATA_TYPE_UNSET
    return HParamInfo(name=name, type=kind)


def _type(value: Any) -> Any:
    if isinstance(value, bool):
        return DataType.DATA_TYPE_BOOL
    return DataType.DATA_TYPE_FLOAT64 if isinstance(value, int | float) else DataType.DATA_TYPE_STRING


def _tag(name: str) -> str:
    """A name without what loggers do not take."""
    return re.sub(r"[^-/\w.]", "_", name)


class _EventFile:
    """A file of events of one trial, in which all that was added stands when `flush` returns.

    The package's own SummaryWriter hands events to a thread, and flushes what that has written by then.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._writer = EventsWriter(str(folder / "events"), f".{time.time_ns()}")  # no two of one name in a second

    def add(self, summary: Summary, step: float = 0) -> None:
        self._writer.write_event(Event(wall_time=time.time(), step=int(step), summary=summary))

    def add_part(self, tag: str, content: HParamsPluginData) -> None:
        """Add a part of the HParams view."""
        plugin = SummaryMetadata.PluginData(plugin_name="hparams", content=content.SerializeToString())
        self.add(Summary(value=[Summary.Value(tag=f"_hparams_/{tag}", metadata=SummaryMetadata(plugin_data=plugin))]))

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
