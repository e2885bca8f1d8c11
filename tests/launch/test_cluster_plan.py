"""What `launch --dry-run` tells: nodes over time, trials and waves, uploads and results."""

import dataclasses
import json

import pytest
from cluster_files import at_home, filled

from hybridtune.config.study import demo_study, load_study
from hybridtune.launch.cluster_file import read_cluster
from hybridtune.launch.preview import describe_launch, plan_lines
from hybridtune.runtime.resources import allocate


def planned(tmp_path, monkeypatch, name="aws", trials=15, uploads=(), overrides=()):
    at_home(tmp_path, monkeypatch)
    path = tmp_path / f"{name}.yaml"
    path.write_text(filled(name), encoding="utf-8")
    cluster = read_cluster(path)
    study = load_study(demo_study(), overrides)
    allocation = allocate(study.resources, cluster.shape, trials, study.train.batch_size)
    return describe_launch(cluster, study, allocation, trials, uploads, "s3://bucket/study", "studies/a")


GPU = (
    "search.arms=rerun",
    "resources.workers=auto",
    "resources.gpus_per_worker=auto",
    "resources.cpus_per_worker=auto",
)


def test_nodes_over_time_follow_the_waves_of_trials(tmp_path, monkeypatch):
    plan = planned(tmp_path, monkeypatch, overrides=GPU)
    counts = {"screened": 0, "all": 15, "arms": "rerun", "reruns": 4, "at_once": 6, "waves": 3, "repeat_best": 0}
    assert plan["trials"] == counts
    assert plan["phases"] == [
        {"when": "start", "trials": 0, "nodes": {"head": 1}},
        {"when": "trials wait", "trials": 6, "nodes": {"head": 1, "gpu_spot": 4, "gpu_kept": 2}},
        {"when": "last trials", "trials": 3, "nodes": {"head": 1, "gpu_spot": 3}},
        {"when": "idle", "trials": 0, "nodes": {"head": 1}},
    ]
    assert json.loads(json.dumps(plan)) == plan


@pytest.mark.parametrize(
    ("trials", "waves", "last"), [(1, 1, None), (6, 1, None), (7, 2, 1), (12, 2, None), (13, 3, 1)]
)
def test_the_last_wave_is_told_where_it_is_smaller(trials, waves, last, tmp_path, monkeypatch):
    plan = planned(tmp_path, monkeypatch, trials=trials, overrides=GPU)
    assert plan["trials"]["waves"] == waves
    assert [phase["trials"] for phase in plan["phases"] if phase["when"] == "last trials"] == ([last] if last else [])


def test_machines_that_are_always_there_are_there_in_every_phase(tmp_path, monkeypatch):
    plan = planned(tmp_path, monkeypatch, name="on_prem", trials=3)
    assert all(phase["nodes"] == {"head": 1, "local.cluster.node": 2} for phase in plan["phases"])


def test_lines_tell_the_whole_plan(tmp_path, monkeypatch):
    uploads = [("data/pairs.parquet", 12_345_678), ("data/small.jsonl", 999)]
    plan = planned(tmp_path, monkeypatch, uploads=uploads, overrides=(*GPU, "search.repeat_best=2"))
    lines = plan_lines(plan)
    assert lines[0].endswith("aws by Ray's launcher, at most 10 worker nodes; may be taken back: cpu_spot, gpu_spot")
    assert lines[1:] == [
        "a trial: 1 worker with 7 CPUs and 1 GPU; 1 evaluator",
        "trials: 15, 6 at once, 3 waves; then up to 4 trainings of fixed ratios; "
        "then 2 further seeds of each contestant",
        "nodes:",
        "  at the start: 1 head",
        "  while 6 trials run: 1 head, 4 gpu_spot, 2 gpu_kept",
        "  the last 3 trials: 1 head, 3 gpu_spot",
        "  10 min after the last: 1 head",
        "uploaded with the job: 2 files, 12.3 MB",
        "  data/pairs.parquet: 12.3 MB",
        "  data/small.jsonl: 999 bytes",
        "results: s3://bucket/study, fetched to studies/a",
    ]


def test_lines_of_a_small_study_are_in_the_singular(tmp_path, monkeypatch):
    plan = planned(
        tmp_path,
        monkeypatch,
        name="local_autoscaling",
        trials=1,
        overrides=("resources.workers=2", "resources.placement=spread", "search.arms=none", "search.trials=1"),
    )
    lines = plan_lines(plan)
    assert "a trial: 2 workers with 1 CPU each, on many nodes; 2 evaluators" in lines
    assert "trials: 1, 1 at once, 1 wave" in lines
    assert "  while 1 trial runs: 1 ray.head.default, 2 worker" in lines
    assert "uploaded with the job: the study file alone" in lines


def test_notices_of_the_cluster_file_end_the_plan(tmp_path, monkeypatch):
    at_home(tmp_path, monkeypatch)
    path = tmp_path / "aws.yaml"
    path.write_text(filled("aws"), encoding="utf-8")
    cluster = dataclasses.replace(read_cluster(path), notices=["a word"])
    study = load_study(demo_study())
    allocation = allocate(study.resources, cluster.shape, 3, 32)
    assert plan_lines(describe_launch(cluster, study, allocation, 3, [], "/mnt/a", "b"))[-1] == "a word"
