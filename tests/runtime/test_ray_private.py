"""Every private name of Ray, Optuna and torch in use: an upgrade that removes or changes one fails here by name."""

import importlib
import inspect
import json
import logging
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
import ray
import torch
from optuna.trial import TrialState

from hybridtune.runtime import ray_private

RAY = Path(ray.__file__).parent
PAGE = Path(ray_private.__file__)
TREE = {
    "cluster_name": "a",
    "max_workers": 1,
    "provider": {"type": "aws", "region": "eu-west-1"},
    "auth": {"ssh_user": "ubuntu"},
    "head_node_type": "head",
    "available_node_types": {"head": {"resources": {"CPU": 1}, "node_config": {}}},
}


def resolve(name):
    module, _, path = name.partition(":")
    found = importlib.import_module(module)
    for step in path.split("."):
        found = getattr(found, step)
    return found


def test_no_other_module_imports_a_private_name():
    sources = {path: path.read_text(encoding="utf-8") for path in PAGE.parents[1].rglob("*.py") if path != PAGE}
    kept = {f"{name.replace('.', '/')}.py" for name in ray_private.USED_ELSEWHERE}
    words = ("ray._private", "ray._raylet", "ray.data._internal", "autoscaler._private", "._trial_id", "torch._foreach")
    private = [path for path, text in sources.items() if any(word in text for word in words)]
    assert not [path for path in private if not any(path.as_posix().endswith(one) for one in kept)]


@pytest.mark.parametrize("name", [name for names in ray_private.USED_ELSEWHERE.values() for name in names])
def test_names_that_stay_elsewhere_exist(name):
    assert resolve(name) is not None


@pytest.mark.parametrize("name", ray_private.OPTUNA_SEARCH)
def test_attributes_of_tunes_optuna_search(name):
    assert f"self.{name} = " in inspect.getsource(resolve("ray.tune.search.optuna:OptunaSearch"))


SWITCHES = {
    "RAY_AIR_NEW_OUTPUT": "air/constants.py tune/experimental/output.py",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "train/v2/_internal/constants.py",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "train/v2/_internal/constants.py",
    "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": "train/v2/_internal/constants.py",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "train/v2/_internal/constants.py",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "train/v2/_internal/constants.py",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "_private/accelerators/accelerator.py",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "data/context.py",
    "TUNE_DISABLE_SIGINT_HANDLER": "tune/tune.py",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "tune/utils/callback.py",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "_private/ray_constants.py",
    "RAY_GCS_SERVER_PORT": "_private/ray_constants.py",
    "RAY_OVERRIDE_JOB_RUNTIME_ENV": "_private/worker.py",
    "RAY_FAKE_CLUSTER": "scripts/scripts.py",
    "AUTOSCALER_UPDATE_INTERVAL_S": "autoscaler/_private/constants.py",
    "RAY_OVERRIDE_NODE_ID_FOR_TESTING": "autoscaler/_private/fake_multi_node/node_provider.py",
    "RAY_CLOUD_INSTANCE_ID": "autoscaler/_private/fake_multi_node/node_provider.py",
    "RAY_NODE_TYPE_NAME": "scripts/scripts.py",
}


def switches():
    page = ray_private
    named = {page.HEAD_PORT, page.NODE_ID, page.INSTANCE_ID, page.NODE_TYPE}
    return named.union(page.SETTINGS, page.NO_CLUSTERS, page.MERGED_JOB_ENVIRONMENT, page.LOCAL_NODES)


def test_every_switch_is_tested():
    assert switches() == set(SWITCHES)


@pytest.mark.parametrize("name", SWITCHES)
def test_ray_reads_the_switch(name):
    files = [RAY / file for file in SWITCHES[name].split() if (RAY / file).is_file()]
    assert any(name in file.read_text(encoding="utf-8") for file in files)


def test_ray_places_actors_by_the_resource_of_the_head():
    from ray._common.constants import HEAD_NODE_RESOURCE_NAME

    assert HEAD_NODE_RESOURCE_NAME == ray_private.HEAD_RESOURCE


@pytest.mark.slow
def test_rays_command_is_a_module():
    done = subprocess.run([*ray_private.RAY_COMMAND, "--version"], capture_output=True, text=True, check=True)
    assert ray.__version__ in done.stdout


def test_the_launcher_leaves_its_file_on_the_head():
    source = (RAY / "autoscaler" / "_private" / "commands.py").read_text(encoding="utf-8")
    assert ray_private.BOOTSTRAP_FILE in source


def test_init_takes_the_address_that_a_local_ray_listens_on():
    source = (RAY / "_private" / "worker.py").read_text(encoding="utf-8")
    assert '"_node_ip_address"' in source


def test_ray_adds_the_current_folder_to_the_search_paths_of_workers_by_one_call(monkeypatch, tmp_path):
    """It adds to a list of the job's settings, where ours takes what the driver searches too."""
    assert "job_config._py_driver_sys_path.extend(code_paths)" in (RAY / "_private" / "worker.py").read_text("utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["/of/the/script"])
    config = ray_private.job_config()
    config._py_driver_sys_path.extend(["/of/the/script", str(tmp_path)])
    assert list(config._get_proto_job_config().py_driver_sys_path) == ["/of/the/script"]


@pytest.mark.parametrize("name", ray_private.JOB_LOGGERS)
def test_loggers_of_a_submission_are_modules_that_log(name):
    source = inspect.getsource(importlib.import_module(name))
    assert "logging.getLogger(__name__)" in source or "default_logger" in source


def test_a_provider_is_imported_as_the_launcher_does(monkeypatch):
    assert ray_private.provider_import_error({"type": "local"}) is None
    monkeypatch.setitem(sys.modules, "boto3", None)
    assert "boto3" in ray_private.provider_import_error({"type": "aws"})


def test_a_job_tells_its_driver_its_submission_id():
    from ray.dashboard.modules.job.common import JOB_ID_METADATA_KEY
    from ray.dashboard.modules.job.job_supervisor import RAY_JOB_CONFIG_JSON_ENV_VAR

    assert (ray_private.JOB_CONFIG, ray_private.JOB_ID) == (RAY_JOB_CONFIG_JSON_ENV_VAR, JOB_ID_METADATA_KEY)


@pytest.mark.parametrize(("module", "name"), ray_private.DATA_ACTORS)
def test_actors_of_ray_data_are_made_by_a_function_without_arguments(module, name):
    function = getattr(importlib.import_module(f"ray.data._internal.{module}"), name)
    needed = [p for p in inspect.signature(function).parameters.values() if p.default is p.empty]
    assert [p for p in needed if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)] == []


def test_ray_reads_its_environment_again(monkeypatch):
    from ray._private import ray_constants

    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    ray_private.reload_settings()
    assert ray_constants.ENABLE_RAY_CLUSTER is False
    monkeypatch.delenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER")
    ray_private.reload_settings()
    assert ray_constants.ENABLE_RAY_CLUSTER is not ray_constants.IS_WINDOWS_OR_OSX


def test_ray_resolves_the_address_of_a_node_where_it_is_replaced():
    assert "resolve_ip_for_localhost" in (RAY / "scripts" / "scripts.py").read_text(encoding="utf-8")
    assert resolve("ray._private.services:resolve_ip_for_localhost") is not None
    assert resolve("ray.scripts.scripts:main") is not None


def test_the_socket_of_the_raylet():
    assert "def raylet_socket_name(self)" in inspect.getsource(resolve("ray._private.node:Node"))
    assert resolve("ray._private.worker:_global_node") is None


def test_the_state_of_a_cluster_tells_its_node_groups():
    from ray.core.generated.autoscaler_pb2 import ClusterConfig

    assert callable(resolve("ray._private.state:state.get_cluster_config"))
    assert {"name", "resources", "max_count"} <= {
        field.name for field in ClusterConfig.DESCRIPTOR.fields_by_name["node_group_configs"].message_type.fields
    }


def test_ray_knows_which_nodes_are_about_to_go():
    assert callable(resolve("ray._private.state:state.get_draining_nodes"))


@pytest.mark.slow
def test_tune_counts_callbacks_by_a_function_that_imports_trackers():
    code = """
import sys
from ray import tune
from hybridtune.runtime import ray_private
from ray.air._internal import usage
tags = {name for name in vars(usage) if name == "tag_callbacks"}
ray_private.count_no_callbacks()
sys.modules["ray.tune.tune"].air_usage.tag_callbacks([tune.Callback()])
print(tags, [name for name in ("wandb", "mlflow") if name in sys.modules])
usage._count_callbacks([tune.Callback()])
print([name for name in ("wandb", "mlflow") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["{'tag_callbacks'} []", "['wandb', 'mlflow']"]


def test_what_averages_the_last_results_of_a_trial_is_dropped_and_the_rest_stays():
    from ray.tune.experiment import Trial

    trial = Trial("a trainable", stub=True)
    for step in (1, 2, 3):
        trial.update_last_result({"AP": 0.1 * step, "training_iteration": step})
    before = trial.metric_analysis["AP"]
    assert '"metric_n_steps": {\n' in trial.run_metadata.get_json_state()
    ray_private.forget_last_results(trial)
    assert trial.metric_analysis["AP"] == before
    assert before["max"] == pytest.approx(0.3)
    assert '"metric_n_steps": {}' in trial.run_metadata.get_json_state()


def test_the_accelerator_of_this_machine_is_named_or_none():
    found = ray_private.accelerator_type()
    assert found is None or (found and isinstance(found, str))


def test_a_launchers_file_is_filled_in_and_validated():
    assert "available_node_types" in json.loads(ray_private.launcher_schema().read_text())["properties"]
    assert ray_private.prepare_cluster(TREE)["cluster_synced_files"] == []
    assert "cluster_synced_files" not in TREE
    assert logging.getLogger("ray.autoscaler._private.util").level == logging.ERROR
    ray_private.validate_cluster(TREE)
    with pytest.raises(Exception, match="unknown"):
        ray_private.validate_cluster(TREE | {"unknown": 1})


def test_a_trial_of_optuna_is_queued_again():
    study = optuna.create_study()
    trial = study.ask()
    assert ray_private.trial_id(trial) == ray_private.trial_id(study.trials[0])
    ray_private.set_trial_waiting(study, trial, TrialState.WAITING)
    assert study.trials[0].state == TrialState.WAITING
    assert study.ask().number == trial.number


def test_tensors_are_scaled_and_moved_in_one_call():
    tensors = [torch.ones(2), torch.full((1,), 3.0)]
    ray_private.scale_in_place(tensors, torch.tensor(2.0))
    assert [tensor.tolist() for tensor in tensors] == [[2.0, 2.0], [6.0]]
    ray_private.move_towards(tensors, [torch.zeros(2), torch.zeros(1)], 0.5)
    assert [tensor.tolist() for tensor in tensors] == [[1.0, 1.0], [3.0]]


def test_constraints_of_a_stored_trial_are_read_by_optuna_and_by_its_dashboard():
    from optuna_dashboard import _serializer

    study = optuna.create_study()
    trial = study.ask()
    ray_private.set_constraints(study, study.trials[0], [0.5, -1.0])
    ray_private.set_user_attr(study, study.trials[0], "mono/AP", 0.25)
    study.tell(trial, 1.0)
    assert study.trials[0].constraints == {"0": 0.5, "1": -1.0}
    assert study.trials[0].user_attrs == {"mono/AP": 0.25}
    assert _serializer.CONSTRAINTS_KEY == "constraints"
