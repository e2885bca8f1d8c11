"""Processes of a run that are killed by SIGKILL: each goes on by itself or by the same command, to the same figures."""

import random
import subprocess

import pytest

SCORED = r"trial \d+: step \d+/12"


def test_a_training_worker(place, judge):
    run = place.start_to(6)
    assert run.kill("ray::RayTrainWorker") == 1
    code = run.end()
    judge(
        "training worker",
        "SIGKILL in step 6",
        place,
        run.line(r"a worker died.*going on from step 4"),
        run.hurt_at,
        code,
    )


def test_a_training_worker_twice_in_one_stretch(place, judge):
    for call in (6, 2):  # the second counts its steps anew, from step 4
        place.gate(call)
    run = place.start()
    place.arrive(2)
    place.release()
    place.gate(2)
    place.arrive(6)
    run.kill("ray::RayTrainWorker")
    place.arrive(2)
    run.kill("ray::RayTrainWorker")
    code = run.end()
    told = run.line(r"a worker died.*going on from step 4")
    judge("training worker, twice", "SIGKILL in step 6, and again 2 steps later", place, told, run.hurt_at, code)


ACTORS = {
    "ray::ResourceTrainable": "trial actor",
    "ray::Evaluator": "evaluator",
    "ray::GroupRunner": "actor of the worker groups",
    "ray::TrainController": "Ray Train's controller",
}


@pytest.mark.parametrize(("process", "kind"), ACTORS.items())
def test_an_actor(place, judge, process, kind):
    run = place.start_to(18)
    assert run.kill(process) >= 1
    place.release()
    code = run.end()
    judge(kind, "SIGKILL in step 6 of trial 1", place, run.line("died|lost|was killed"), run.hurt_at, code)


def test_the_raylet_and_the_head_one_after_the_other(place, judge):
    lost = {
        "raylet": ("raylet", "the raylet of this machine is gone", 18, "1"),
        "head": ("gcs_server", "the head of the Ray cluster", 14, "2"),
    }
    seen = {}
    for kind, (process, told, call, trial) in lost.items():
        run = place.start_to(call)
        assert run.kill(process) == 1
        assert run.end() == 1
        seen[kind] = (run.line(told), trial)
        assert "the same command with the same --out goes on" in seen[kind][0]
    again = place.finish()
    for kind, (line, trial) in seen.items():
        judge(kind, f"SIGKILL in a step of trial {trial}", place, line, place.began, again.code)


def test_the_command_itself(copied, judge):
    again = copied.finish()
    told = copied.read("environment.json")["history"]["interruptions"][-1]
    assert "cut off without a word" in told
    judge("command", "SIGKILL in step 6 of trial 2", copied, told, copied.began, again.code)


def test_the_command_at_ten_random_moments(place, judge):
    chance = random.Random(0)
    for _ in range(10):
        run = place.start()
        try:
            run.process.communicate(timeout=chance.uniform(1, 30))
        except subprocess.TimeoutExpired:
            run.process.kill()
        run.end()
    again = place.finish()
    told = "the study goes on; the run before was cut off without a word"
    judge("command, ten times", "SIGKILL after 1 to 30 s", place, told, place.began, again.code)
