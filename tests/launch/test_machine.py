"""What this machine lacks to start a cluster: told by a dry run, refused by a launch before anything starts."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import ray
import yaml
from click.testing import CliRunner
from cluster_files import CLUSTERS, at_home, filled
from launch_world import fails

from hybridtune.cli.main import cli
from hybridtune.errors import InputError
from hybridtune.launch import local_head, machine
from hybridtune.launch.cluster_file import read_cluster


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    at_home(tmp_path, monkeypatch)


def missing(name, tmp_path, text=None):
    path = tmp_path / f"{name}.yaml"
    path.write_text(text or filled(name), encoding="utf-8")
    return [line.removeprefix(f"{path}: ") for line in machine.missing_here(read_cluster(path))]


@pytest.mark.parametrize(
    ("name", "package", "how"),
    [
        ("aws", "boto3", "pip install boto3"),
        ("gcp", "googleapiclient", "pip install google-api-python-client"),
        ("azure", "azure.common.credentials", "pip install what the first lines of clusters/azure.yaml name"),
    ],
)
def test_the_packages_of_a_provider_are_asked_for_in_one_line(name, package, how, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    for module in [loaded for loaded in sys.modules if loaded.startswith("ray.autoscaler._private._azure")]:
        monkeypatch.delitem(sys.modules, module)
    [line] = missing(name, tmp_path)
    assert re.fullmatch(rf"provider {name}: .* cannot be imported here \(.*\); {how}", line)


def test_a_file_whose_needs_are_here_has_none(tmp_path):
    pytest.importorskip("boto3", reason="the AWS provider's package is not installed")
    assert missing("aws", tmp_path) == []
    assert missing("on_prem", tmp_path) == []


@pytest.mark.parametrize(("lost", "name"), [("mine", "ssh_private_key"), ("mine.pub", "ssh_public_key")])
def test_a_key_that_is_not_here_is_asked_for_in_one_line(lost, name, tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "provider_import_error", lambda provider: None)
    (tmp_path / "home" / ".ssh" / lost).unlink()
    text = re.sub(r"  ~/.ssh/mine.pub: .*\n", "", filled("azure"))
    [line] = missing("azure", tmp_path, text)
    assert line == (
        f"auth.{name}: ~/.ssh/{lost} is not on this machine; make it: ssh-keygen -t rsa -b 4096 -f ~/.ssh/mine"
    )


def test_a_temporary_folder_is_long_enough_by_rays_own_rule(tmp_path, monkeypatch):
    from ray._private.utils import validate_socket_filepath

    pid = len(str(local_head.os.getpid()))
    refused = []
    for size in range(10, 40):
        folder = "/" + "x" * (size - 1)
        monkeypatch.setattr(tempfile, "tempdir", folder)
        told = local_head.temporary_folder_mistake()
        session = f"session_2026-01-01_00-00-00_000000_{'1' * pid}"
        try:
            validate_socket_filepath(f"{folder}/hybridtune-12345678/node-99/{session}/sockets/plasma_store")
        except OSError:
            refused.append(size)
        assert (told is not None) == (size in refused)
    assert 0 < len(refused) < 30


def launch_here(study_file, *options):
    study = study_file(search={"trials": 1}, resources={"gpus_per_worker": 0})
    return CliRunner().invoke(cli, ["launch", str(CLUSTERS / "local_autoscaling.yaml"), str(study), *options])


def test_a_dry_run_tells_it_and_a_launch_is_refused(tmp_path, monkeypatch, study_file):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    long = tmp_path / ("x" * 60)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    monkeypatch.setattr(local_head, "start_head", lambda tree: pytest.fail("a head was started"))
    folder = tmp_path / "out"
    told = launch_here(study_file, "--fetch-to", str(folder), "--dry-run")
    assert told.exit_code == 0, told.exception
    assert [line.split(":")[0] for line in told.output.splitlines() if "TMPDIR" in line] == [f"TMPDIR {long}"]
    fails(launch_here(study_file, "--fetch-to", str(folder)), InputError, f"TMPDIR {long}", "set a shorter one")
    assert not folder.exists()


def test_a_cluster_without_its_packages_is_not_started(world, launch, monkeypatch):
    monkeypatch.setitem(sys.modules, "boto3", None)
    fails(launch(), InputError, "provider aws", "pip install boto3")
    assert world.calls == []


def pinned(text):
    return sorted(re.findall(r"\b(?:azure|msrest)[\w-]*==[\w.]+", text))


def rays_choice():
    defaults = Path(ray.__file__).parent / "autoscaler" / "azure" / "defaults.yaml"
    return pinned(" ".join(yaml.safe_load(defaults.read_text(encoding="utf-8"))["head_setup_commands"]))


def test_the_azure_file_installs_rays_choice_here_and_on_the_head():
    text = (CLUSTERS / "azure.yaml").read_text(encoding="utf-8")
    before, after = text.split("\ncluster_name:")
    assert pinned(before) == pinned(after) == rays_choice()
    assert {"azure-mgmt-resource==24.0.0", "azure-common==1.1.28"} <= set(rays_choice())
    assert not re.search(r"azure|msrest", (CLUSTERS.parent / "constraints.txt").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_rays_azure_provider_is_imported_with_these_versions(tmp_path):
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    pip = [tmp_path / "venv" / "bin" / "pip", "--quiet", "--disable-pip-version-check", "--retries=0"]
    reached = subprocess.run([*pip, "download", "--no-deps", f"--dest={tmp_path}", "azure-common"], capture_output=True)
    if reached.returncode:
        pytest.skip("pip reaches no package index here")
    installed = subprocess.run([*pip, "install", *rays_choice()], capture_output=True, text=True)
    assert installed.returncode == 0, installed.stderr
    code = f"""
import sys
sys.path.append({str(Path(ray.__file__).parents[1])!r})
from ray.autoscaler._private._azure import config, node_provider
print(node_provider.AzureNodeProvider.__name__, sys.modules["azure.mgmt.resource"].__file__)
"""
    python = [tmp_path / "venv" / "bin" / "python", "-c", code]
    done = subprocess.run(python, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"AzureNodeProvider {tmp_path}")
