"""What `hybridtune launch` refuses before anything starts, and a dry run, which starts nothing."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from launch_world import fails

from hybridtune.cli.main import cli
from hybridtune.errors import HybridtuneError, InputError
from hybridtune.launch.record import find_launch


def test_a_dry_run_starts_and_writes_nothing(world, launch, tmp_path):
    before = sorted(path.name for path in tmp_path.iterdir())
    shown = launch("--dry-run")
    assert shown.exit_code == 0, shown.exception
    assert "at most 10 worker nodes" in shown.output
    assert "data/train.jsonl" in shown.output
    plan = json.loads(launch("--dry-run", "--json").stdout)
    assert plan["uploads"] == [{"name": "data/train.jsonl", "bytes": (tmp_path / "train.jsonl").stat().st_size}]
    assert (plan["trials"]["all"], plan["trials"]["at_once"]) == (5, 1)
    assert any("trials that there is room for runs at once" in notice for notice in plan["notices"])
    assert world.calls == []
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--set", "resources.gpus_per_worker=8"], ["8 GPUs", "1"]),
        (["--set", "train.batch_size=1"], ["batch_size"]),
        (["--set", "data.train=nowhere"], ["nowhere"]),
        (["--down", "--detach"], ["--detach"]),
    ],
)
def test_what_is_wrong_is_refused_before_anything_starts(world, launch, options, words):
    fails(launch(*options), InputError, *words)
    assert world.calls == []
    assert not Path("here").exists()


@pytest.mark.parametrize(
    ("out", "word"),
    [(None, "--out is missing"), ("somewhere", "relative"), ("s3://key:hidden@bucket/x", "password")],
)
def test_a_place_that_the_nodes_cannot_share_is_refused(world, launch, out, word):
    result = launch(out=out)
    fails(result, InputError, word)
    assert "hidden" not in str(result.exception)
    assert world.calls == []


def test_a_job_that_is_refused_is_an_error_and_the_record_stays(world, launch):
    world.job(refuses=True)
    fails(launch(), HybridtuneError, "the cluster did not take it")
    assert find_launch(Path("here")).kind == "launcher"


def test_the_folder_of_no_launch_is_refused(world, tmp_path):
    for command in ("attach", "fetch", "stop", "down"):
        result = CliRunner().invoke(cli, [command, str(tmp_path)])
        fails(result, InputError, "no study was launched from there")


def test_a_text_is_no_cluster_to_take_down(world, tmp_path):
    (tmp_path / "name").write_text("a-host\n")
    fails(CliRunner().invoke(cli, ["down", str(tmp_path / "name")]), InputError, "a cluster file is a mapping")
    assert world.calls == []


@pytest.mark.parametrize("address", ["ftp://x", "gcs://x:1"])
def test_an_address_of_no_known_kind_is_refused(world, study_file, address):
    for command in ("run", "train"):
        result = CliRunner().invoke(cli, [command, str(study_file()), "--address", address])
        fails(result, InputError, "auto or HOST:PORT", "http://HOST:8265")


def test_a_training_is_not_submitted(world, study_file):
    fails(CliRunner().invoke(cli, ["train", str(study_file()), "--address", "http://x:8265"]), InputError, "auto")
