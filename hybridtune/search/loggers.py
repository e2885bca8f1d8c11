"""Who else is told of a study's trials: TensorBoard always; Weights & Biases and MLflow where the study asks."""

import hashlib
import importlib.util
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ray
from ray.tune import Callback
from ray.tune.result import TIMESTEPS_TOTAL, TRAINING_ITERATION

from hybridtune.config import Study
from hybridtune.errors import InputError
from hybridtune.search.events import Events, logged
from hybridtune.search.space import trial_name, trial_values

_log = logging.getLogger(__name__)


def check_loggers(study: Study) -> None:
    """See to it, before anything starts, that the loggers a study asks for are there.

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
    """What Tune tells of every trial's start, scores and end.

    Args:
        study: of the search.
        folder: the study folder; holds what is logged, but for what an environment variable sends elsewhere.

    Raises:
        InputError: see `check_loggers`; an MLflow server that does not answer.
    """
    check_loggers(study)
    made: list[Callback] = [Events(study, folder)]
    if "wandb" in study.search.loggers:
        # After Ctrl-C Ray is gone, and what is left to tell would start another.
        made.append(Tracker("wandb", _ready(_wandb(study, folder), "wandb"), folder, ray.is_initialized))
    if "mlflow" in study.search.loggers:
        made.append(Tracker("mlflow", _ready(_mlflow(study, folder), "mlflow"), folder))
    return made


def _wandb(study: Study, folder: Path) -> Any:
    """Ray's callback; it keeps a process a trial, for W&B wants one."""
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

    logging.getLogger("mlflow").setLevel(logging.WARNING)  # it tells of every table that it makes
    where = os.environ.get("MLFLOW_TRACKING_URI")
    if not where:
        (folder / "mlflow").mkdir(exist_ok=True)
        where = f"sqlite:///{folder / 'mlflow' / 'mlflow.db'}"
        client = mlflow.MlflowClient(where)
        if client.get_experiment_by_name(study.name) is None:  # else what is added to it goes to the current folder
            client.create_experiment(study.name, (folder / "mlflow" / "artifacts").absolute().as_uri())
    return MLflowLoggerCallback(where, experiment_name=study.name, tags={"hybridtune.study": str(folder)})


def _ready(inner: Any, name: str) -> Any:
    """A callback of Ray's that is set up: it has its key and its server."""
    try:
        inner.setup()
    except Exception as error:
        if name == "wandb" and isinstance(error, ValueError):
            reason = "no API key found: run `wandb login`, or set WANDB_MODE=offline to log into the study folder"
        else:
            reason = f"cannot be set up: {' '.join(str(error).split())[:200]}"
        raise InputError(f"search.loggers {name}: {reason}") from None
    return inner


class Tracker(Callback):  # type: ignore[misc]
    """Hands our trials to one of Ray's logging callbacks: under their own names, over our own step.

    They are told in a thread of their own, for the search waits for nobody: Ray sends MLflow every number by itself,
    and starts two processes a trial for W&B. A logger that fails is named once and left out from then on; the search
    goes on.

    Args:
        name: of the logger.
        inner: Ray's callback, set up.
        folder: the study folder.
        up: whether what the logger needs is still there; without it nothing is told.
    """

    def __init__(self, name: str, inner: Any, folder: Path, up: Callable[[], bool] | None = None) -> None:
        self.name = name
        self.up = up
        self.inner: Any = inner
        self.folder = folder
        self._seen: dict[str, _Seen] = {}
        self._thread: ThreadPoolExecutor | None = None  # made when it is needed: Tune pickles callbacks
        self._failed = False

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial begins, or goes on after a restart."""
        name = trial_name(trial.config)
        if name not in self._seen:
            self._seen[name] = _Seen(trial.config, self.folder)
            self._do(self.inner.log_trial_start, self._seen[name])

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any) -> None:
        """A score arrived; the final report repeats those of the best checkpoint, as ``best/<score>``."""
        self.on_trial_start(iteration, trials, trial)
        step = int(result["step"])
        told = {**logged(result), TIMESTEPS_TOTAL: step, TRAINING_ITERATION: step}
        self._do(self.inner.log_trial_result, step, self._seen[trial_name(trial.config)], told)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial ended, by itself or because it was stopped."""
        self._end(trial, failed=False)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial failed for good."""
        self._end(trial, failed=True)

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """The search ended, maybe before its trials: wait for what is still being sent."""
        for trial in trials:
            self._end(trial, failed=False)
        self._do(self.inner.on_experiment_end, [])
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None
        self.inner = None  # Ray's W&B callback complains where it lives as long as the interpreter

    def _end(self, trial: Any, failed: bool) -> None:
        seen = self._seen.pop(trial_name(trial.config), None)
        if seen is not None:
            self._do(self.inner.log_trial_end, seen, failed)

    def _do(self, tell: Callable[..., object], *what: Any) -> None:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1)
        self._thread.submit(self._tell, tell, *what)

    def _tell(self, tell: Callable[..., object], *what: Any) -> None:
        if self._failed or (self.up is not None and not self.up()):
            return
        try:
            tell(*what)
        except Exception as error:
            self._failed = True
            reason = " ".join(str(error).split())[:200]
            _log.warning("search.loggers %s: %s; the search goes on without it", self.name, reason)


class _Seen:
    """A trial as Ray's loggers see it: its name, its id, its values, its folder."""

    checkpoint = None

    def __init__(self, config: dict[str, Any], folder: Path) -> None:
        name = trial_name(config)
        self.config = {**trial_values(config), "baseline": config["baseline"] or "searched"}
        place = folder / "trials" / name
        place.mkdir(parents=True, exist_ok=True)  # W&B's process works there
        self.local_path = str(place)
        self.experiment_dir_name = folder.name
        # one id for a trial of a study folder, whenever it runs; no other study's
        self.trial_id = f"{hashlib.sha256(str(folder).encode()).hexdigest()[:10]}-{name}"
        self._label = config["baseline"] or f"trial {config['number']}"

    def __str__(self) -> str:
        return str(self._label)
