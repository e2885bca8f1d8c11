"""Every private name of Ray, Optuna and torch that hybridtune uses: what for, and what would replace it.

All were read in Ray 2.60.0, Optuna 5.0.0 and torch 2.13.0. `tests/runtime/test_ray_private.py` has one test for each,
which fails where an upgrade removes or changes it. Nothing heavy is imported before a function here is called.
"""

import contextlib
import importlib
import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

# Ray's resource of the head node, which places an actor there. Replaced by a public label of the head.
HEAD_RESOURCE = "node:__internal_head__"
ON_HEAD = {HEAD_RESOURCE: 0.001}  # for what no lost worker may end

# `ray` of this environment, whatever is on the PATH. Replaced by `python -m ray`.
RAY_COMMAND = (sys.executable, "-P", "-m", "ray.scripts.scripts")  # -P: not what lies in the current folder

# Where `ray up` leaves the cluster file on the head it starts, in the home folder. Replaced by a public way to ask.
BOOTSTRAP_FILE = "ray_bootstrap_config.yaml"

# Environment switches, most of them without documentation: what the driver and all that it starts get, on any cluster,
SETTINGS = {
    "RAY_AIR_NEW_OUTPUT": "0",  # no table of Tune's
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",  # or every line of a worker comes twice
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # a process a group, on any node, which could then not be given back
    "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": "180",  # of a worker that does not even answer; 600 s by default
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "1",  # a death, and the end of a worker group, is seen then; 2 s by default
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "600",  # a machine may take minutes to come; then it is asked for anew
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # evaluators hold no GPU and yet use the one their trial trains on
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C ends the run here, and the cluster with it
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
}
# and what single processes get.
NO_CLUSTERS = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # lets a node listen on 127.0.0.1, on every system
HEAD_PORT = "RAY_GCS_SERVER_PORT"  # of a Ray that `ray.init` starts
MERGED_JOB_ENVIRONMENT = {"RAY_OVERRIDE_JOB_RUNTIME_ENV": "1"}  # a driver adds to its job's environment
LOCAL_NODES = {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}  # an autoscaler of processes
NODE_ID, INSTANCE_ID, NODE_TYPE = "RAY_OVERRIDE_NODE_ID_FOR_TESTING", "RAY_CLOUD_INSTANCE_ID", "RAY_NODE_TYPE_NAME"

# Loggers that report each step of a submission, and each field that Ray fills into a cluster file.
JOB_LOGGERS = (
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
    "ray._private.runtime_env.packaging",
    "ray.client_builder",
)
# Where a job's driver finds its own submission id. Replaced by a public name of it.
JOB_CONFIG, JOB_ID = "RAY_JOB_CONFIG_JSON_ENV_VAR", "job_submission_id"
_AUTOSCALER = "ray.autoscaler._private.util"

# Actors that Ray Data pins to the node of their first caller. Replaced by a public setting of where they run.
DATA_ACTORS = (
    ("cluster_autoscaler.default_autoscaling_coordinator", "get_or_create_autoscaling_coordinator"),
    ("stats", "get_or_create_stats_actor"),
    ("usage.actor", "get_or_create_usage_collection_actor"),
    ("execution.node_trackers.actor_location", "get_or_create_actor_location_tracker"),
)

# Private names that stay where they are: their room is below this one, or a class there has them as its base.
USED_ELSEWHERE = {
    "hybridtune.train.fit": (
        "ray.train.v2.api.data_parallel_trainer:DataParallelTrainer._create_default_callbacks",
        "ray.train.v2._internal.callbacks.datasets:DatasetsCallback",
    ),
    "hybridtune.train.rendezvous": (
        "ray.train.torch.config:_set_torch_distributed_env_vars",
        "ray.train.torch.config:_shutdown_torch",
    ),
    "hybridtune.model.encoder": ("transformers:PretrainedConfig._attn_implementation",),
    "hybridtune.model.tokenizer": ("tokenizers.models:BPE._resize_cache", "tokenizers.models:Unigram._resize_cache"),
}
# Attributes of Tune's OptunaSearch that its subclass `hybridtune.search.optuna_search` reads.
OPTUNA_SEARCH = ("_ot_study", "_ot_trials", "_completed_trials", "_storage")


class _SearchPaths(list[str]):
    """The search paths of a job's workers, to which Ray adds the folder of the driver's script and the current one."""

    def extend(self, paths: Iterable[str]) -> None:
        """Add those that the driver itself searches: the current folder is not, unless its user says so."""
        super().extend(path for path in paths if path in sys.path)


def job_config() -> Any:
    """Return settings of a job whose workers import nothing from the driver's current folder.

    It may be a stranger's, and Ray has the workers search it first. Replaced by a public switch.
    """
    from ray.job_config import JobConfig

    config = JobConfig()
    config._py_driver_sys_path = _SearchPaths()
    return config


def reload_settings() -> None:
    """Make Ray read its environment again, and forget the token that it found. Replaced by a public reset."""
    from ray._private import ray_constants
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

    supported = ray_constants.env_bool(ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, not ray_constants.IS_WINDOWS_OR_OSX)
    ray_constants.ENABLE_RAY_CLUSTER = supported
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


def run_loopback_node() -> None:
    """Run `ray start` of this process's arguments for a node that joins a head on 127.0.0.1, which Ray refuses."""
    from ray._private import ray_constants, services
    from ray.scripts.scripts import main

    ray_constants.ENABLE_RAY_CLUSTER = True
    services.resolve_ip_for_localhost = lambda host: host
    main()


def raylet_socket() -> str:
    """Return the path of the socket of the raylet that this process has joined. Replaced by a public health check."""
    from ray._private import worker

    found: str = worker._global_node.raylet_socket_name
    return found


def cluster_config() -> Any:
    """Return the node groups that an autoscaler may add (``node_group_configs``), or None where Ray knows of none."""
    from ray._private.state import state

    return state.get_cluster_config()


def draining_nodes() -> set[str]:
    """Return the ids of the nodes that are about to go, of whom a cloud or the autoscaler has given warning.

    Ray Train's watcher asks the same; it is an actor a worker group, on any node, which could then not be given back.
    Replaced by a public list.
    """
    from ray._private.state import state

    return set(state.get_draining_nodes())


def start_data_actors() -> None:
    """Start Ray Data's pinned actors on this node: one on a worker's node keeps that node for ever."""
    for module, name in DATA_ACTORS:
        with contextlib.suppress(ImportError, AttributeError):  # another Ray may have other helpers
            getattr(importlib.import_module(f"ray.data._internal.{module}"), name)()


def count_no_callbacks() -> None:
    """Keep Tune from importing W&B and MLflow, where they are installed, to count callbacks for Ray's statistics.

    Replaced by a count that does not import what it looks for.
    """
    from ray.air._internal import usage

    usage.tag_callbacks = lambda callbacks: False


def forget_last_results(trial: Any) -> None:
    """Drop what a trial of Tune's that has ended holds to average each metric's last results: 1.5 KB a metric.

    Its first, last and best values stay, and the averages as they are. Replaced by a setting of how many are held.
    """
    trial.run_metadata.metric_n_steps = {}


def accelerator_type() -> str | None:
    """Return what Ray calls the GPUs of this machine. Replaced by a public question for a node's accelerator."""
    from ray._private.accelerators import get_accelerator_manager_for_resource

    manager = get_accelerator_manager_for_resource("GPU")
    return manager.get_current_node_accelerator_type() if manager is not None else None


def launcher_schema() -> Path:
    """Return the JSON schema of a launcher's cluster file, which lies in Ray's package."""
    import ray.autoscaler

    return Path(ray.autoscaler.__file__).parent / "ray-schema.json"


def prepare_cluster(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return a launcher's cluster file as `ray up` fills it in."""
    util = importlib.import_module(_AUTOSCALER)
    logging.getLogger(_AUTOSCALER).setLevel(logging.ERROR)  # it warns of fields that it adds itself
    prepared: dict[str, Any] = util.prepare_config(dict(tree))
    return prepared


def validate_cluster(tree: Mapping[str, Any]) -> None:
    """Raise what Ray raises, of any class, where `ray up` would refuse a launcher's cluster file."""
    importlib.import_module(_AUTOSCALER).validate_config(prepare_cluster(tree))


def provider_import_error(provider: Mapping[str, Any]) -> str | None:
    """Return why Ray's launcher cannot import what it asks a cluster file's provider by; None where it can."""
    providers = importlib.import_module("ray.autoscaler._private.providers")
    try:
        providers._NODE_PROVIDERS[provider["type"]](provider)
    except ImportError as error:
        return " ".join(str(error).split())
    return None


def set_trial_waiting(study: Any, trial: Any, waiting: Any) -> None:
    """Put a RUNNING trial of an Optuna study back into its queue. Replaced by a public `requeue`."""
    study._storage.set_trial_state_values(trial._trial_id, waiting)


def set_user_attr(study: Any, trial: Any, name: str, value: Any) -> None:
    """Set a user attribute of a stored trial that is not finished. Replaced by a public one of stored trials."""
    study._storage.set_trial_user_attr(trial._trial_id, name, value)


def set_constraints(study: Any, trial: Any, values: Sequence[float]) -> None:
    """Store the constraints of a trial, each 0 or less where it is met, in the order of the study file.

    In the form of a list, which Optuna 5 reads like that of `Trial.set_constraint`, and optuna-dashboard 0.21 alone.
    Replaced by `Trial.set_constraint` once the dashboard reads what that writes.
    """
    study._storage.set_trial_system_attr(trial._trial_id, "constraints", list(values))


def trial_id(trial: Any) -> int:
    """Return a trial's id in Optuna's storage, which its public number is not. Replaced by a public id."""
    found: int = trial._trial_id
    return found


def scale_in_place(tensors: Sequence[Any], factor: Any) -> None:
    """Multiply tensors by a factor in one call on their device. Replaced by a public `foreach` family."""
    import torch

    torch._foreach_mul_(list(tensors), factor)


def move_towards(means: Sequence[Any], values: Sequence[Any], share: float) -> None:
    """Move tensors towards others by a share of the difference, in one call on their device."""
    import torch

    torch._foreach_lerp_(list(means), list(values), share)
