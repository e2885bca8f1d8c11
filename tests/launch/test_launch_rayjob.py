"""A study as a RayJob: what the file's own job becomes, and that the package in it is one that Python runs."""

import base64
import copy
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from hybridtune.cli.main import cli
from hybridtune.errors import InputError
from hybridtune.launch.cluster_file import read_cluster
from hybridtune.launch.kuberay import CODE_AT, STUDY_AT, job_manifest, manifest_text

CLUSTERS = Path(__file__).parents[2] / "clusters"


def pod():
    limits = {"cpu": "1", "memory": "4Gi"}
    ray = {"name": "ray", "image": "rayproject/ray:2.60.0", "resources": {"limits": limits, "requests": limits}}
    return {"template": {"spec": {"containers": [ray]}}}


def documents(**spec):
    cluster = {"headGroupSpec": pod(), "workerGroupSpecs": [pod() | {"groupName": name} for name in ("cpu", "gpu")]}
    job = {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": {"name": "x", "namespace": "lab"}}
    return [
        {"kind": "PersistentVolumeClaim", "metadata": {"name": "data"}},
        job | {"spec": {"rayClusterSpec": cluster} | spec},
    ]


def made(**spec):
    return job_manifest(documents(**spec), "news-1", "name: news\n", "python -m hybridtune run x")


def test_the_job_has_a_name_and_a_command_of_its_own():
    settings, volume, job = made()
    assert job["metadata"] == {"name": "news-1", "namespace": "lab"}
    assert job["spec"]["entrypoint"] == "python -m hybridtune run x"
    assert settings["metadata"] == {"name": "news-1", "namespace": "lab"}
    assert settings["data"] == {"study.yaml": "name: news\n"}
    assert volume == documents()[0]
    assert list(yaml.load_all(manifest_text([settings, volume, job]), yaml.CSafeLoader)) == [settings, volume, job]


def test_every_pod_has_the_study_and_the_package():
    cluster = made()[2]["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        spec = group["template"]["spec"]
        (ray,), (unpack,) = spec["containers"], spec["initContainers"]
        assert {mount["name"]: mount["mountPath"] for mount in ray["volumeMounts"]} == {
            "hybridtune-study": STUDY_AT,
            "hybridtune-code": CODE_AT,
        }
        assert {volume["name"] for volume in spec["volumes"]} == {"hybridtune-study", "hybridtune-code"}
        assert {"name": "PYTHONPATH", "value": CODE_AT} in ray["env"]
        assert (unpack["image"], unpack["resources"]) == (ray["image"], ray["resources"])
        assert unpack["command"][-2:] == [f"{STUDY_AT}/hybridtune.zip", CODE_AT]


@pytest.fixture
def rayjob(tmp_path):
    file = tmp_path / "kuberay-rayjob.yaml"
    file.write_text(re.sub(r"YOUR_[A-Z0-9_]*[A-Z0-9]", "x", (CLUSTERS / file.name).read_text()))
    return file


def test_what_is_made_of_our_own_file_passes_the_schema_too(rayjob, tmp_path):
    read = read_cluster(rayjob)
    text = manifest_text(job_manifest(read.documents, "news-1", "name: news\n", "python -m hybridtune run x")[1:])
    made = tmp_path / "made.yaml"
    made.write_text(text)
    again = read_cluster(made)
    assert (again.name, again.shape) == ("news-1", read.shape)


def test_a_dry_run_prints_what_kubectl_takes_and_nothing_else(rayjob, study_file):
    command = ["launch", str(rayjob), str(study_file(search={"trials": 1})), "--out", "s3://bucket/x", "--dry-run"]
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 0, result.exception
    documents = list(yaml.load_all(result.stdout, yaml.CSafeLoader))
    (job,) = (document for document in documents if document["kind"] == "RayJob")
    assert job["spec"]["entrypoint"].endswith("run /hybridtune/study/study.yaml --address auto --out s3://bucket/x")
    assert "nothing was started" in result.stderr


def test_local_files_do_not_go_with_a_ray_job(rayjob, study_file, tmp_path):
    (tmp_path / "train.jsonl").write_text("{}")
    study = study_file(data={"train": str(tmp_path / "train.jsonl")})
    result = CliRunner().invoke(cli, ["launch", str(rayjob), str(study), "--out", "s3://bucket/x"])
    assert "local files do not go with a RayJob" in str(result.exception)


def test_the_file_that_was_read_is_left_as_it_was():
    before = documents()
    kept = copy.deepcopy(before)
    job_manifest(before, "a", "", "")
    assert before == kept


def test_a_stop_is_a_ctrl_c_and_other_variables_stay():
    job = made(runtimeEnvYAML="env_vars: {X: '1'}\npip: [y]\n")[2]
    told = yaml.safe_load(job["spec"]["runtimeEnvYAML"])
    assert told["pip"] == ["y"]
    assert told["env_vars"]["X"] == "1"
    assert told["env_vars"]["RAY_JOB_STOP_SIGNAL"] == "SIGINT"


def test_a_job_without_logs_is_refused():
    with pytest.raises(InputError, match="submissionMode HTTPMode"):
        made(submissionMode="HTTPMode")


def test_a_study_too_long_for_a_config_map_is_refused():
    with pytest.raises(InputError, match="1 MiB"):
        job_manifest(documents(), "a", "x" * 2**20, "")


def test_the_package_in_it_runs_when_it_is_unpacked_as_a_pod_does(tmp_path):
    settings = made()[0]
    packed = base64.b64decode(settings["binaryData"]["hybridtune.zip"])
    assert packed == base64.b64decode(made()[0]["binaryData"]["hybridtune.zip"])  # the same for the same source
    (tmp_path / "hybridtune.zip").write_bytes(packed)
    with zipfile.ZipFile(tmp_path / "hybridtune.zip") as file:
        file.extractall(tmp_path / "code")
    command = [sys.executable, "-m", "hybridtune", "run", "--help"]
    done = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path / "code")}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "--address" in done.stdout
    assert (tmp_path / "code/hybridtune/report/static/report.css").is_file()
