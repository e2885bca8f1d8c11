"""What goes wrong around a run: a second writer, a worker that hangs, losses, memory, data, packages, the clock."""

import json
import math
import os
import subprocess
import time

import pytest
from fault_runs import Fault, Place

from hybridtune.data.newsroom import generate


def test_two_writers(place, judge):
    run = place.start_to(18)
    second = place.start()
    assert second.end() == 2, second.text
    told = second.line(rf"process {run.process.pid} on \S+, since")
    run.hurt_at = time.time()
    place.release()
    judge("two writers", "the same command beside a run", place, told, run.hurt_at, run.end())


def test_a_worker_that_hangs(place, judge):
    run = place.start_to(18, "--set", "train.hang_timeout=5")
    run.hurt_at = time.time()
    place.release("import threading; threading.Event().wait()")
    code = run.end()
    told = run.line(r"rank 0 made no step for 5 s behind step 5.*going on from step 4")
    judge("hung worker", "step 6 of trial 1 never ends", place, told, run.hurt_at, code)


def test_a_loss_that_is_no_number(place, judge):
    run = place.start_to(18)
    run.hurt_at = time.time()
    place.release("loss = loss * float('nan')")
    code = run.end()
    told = run.line("the loss is nan at step 8: lower train.learning_rate or raise train.temperature.*tried once more")
    judge("NaN loss, once", "step 6 of trial 1", place, told, run.hurt_at, code)


def test_small_shared_memory(place, judge):
    mount = 'mount -t tmpfs -o size=64m tmpfs /dev/shm && exec "$0" "$@"'
    prefix = ["unshare", "--mount", "sh", "-c", mount]
    tried = subprocess.run([*prefix, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"a small /dev/shm cannot be mounted here: {tried.stderr.strip()}")
    run = place.start(prefix=prefix)
    code = run.end()
    told = run.line("trials requested: 4 done")  # a study this small needs no more, and nothing is to be told
    judge("small shared memory", "/dev/shm of 64 MB", place, told, place.began, code)


def test_memory_that_runs_out(place, judge):
    # Ray ends workers where this share of the machine's memory is in use: here always.
    run = place.start(RAY_memory_usage_threshold="0.01", RAY_memory_monitor_refresh_ms="100")
    assert run.end() == 1, run.text
    told = run.line("memory of its machine was nearly used up")
    assert "Traceback" not in run.text, run.text
    again = place.finish()
    # The sampler was told of trials that failed, which an undisturbed study has not.
    cause = "by Ray's memory monitor, every worker"
    judge("killed for memory", cause, place, told, place.began, again.code, may_differ=True)


def test_data_that_changed(record, tmp_path):
    place = Place(tmp_path / "hurt", tmp_path / "cache", {"data": {"train": str(tmp_path / "pairs.jsonl")}})
    rows = [json.dumps(group) for group in generate("train")]
    (tmp_path / "pairs.jsonl").write_text("\n".join(rows), encoding="utf-8")
    place.cut_off(18)
    before = {file: file.stat().st_mtime_ns for file in place.out.rglob("*") if file.is_file()}
    (tmp_path / "pairs.jsonl").write_text("\n".join(rows[:-10]), encoding="utf-8")
    again = place.finish()
    assert again.code == 2
    told = again.line(r"^hybridtune: data\.train: not the content with which the study in \S+ began")
    changed = [file.name for file, stamp in before.items() if file.exists() and file.stat().st_mtime_ns != stamp]
    told = told.replace(str(tmp_path), "TMP")
    record(Fault("data changed", "ten groups fewer, between two runs", not changed, bool(told), told, None, 0, 0, None))
    assert told, again.text
    assert changed == []


def test_packages_the_clock_and_a_lock_of_another_machine(copied, judge):
    place = copied
    environment = place.read("environment.json")
    environment["packages"]["torch"] = "2.12.0"
    (place.out / "environment.json").write_text(json.dumps(environment), encoding="utf-8")
    events = [json.loads(line) for line in (place.out / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    late = "".join(json.dumps({**event, "time": event["time"] + 86_400}) + "\n" for event in events)
    (place.out / "events.jsonl").write_text(late, encoding="utf-8")
    lock = place.out / ".writer.lock"
    holder = json.loads(lock.read_text(encoding="utf-8"))
    lock.write_text(json.dumps({**holder, "system": "another", "host": "far", "key": "k"}), encoding="utf-8")
    long_ago = time.time() - 3600
    os.utime(lock, (long_ago, long_ago))
    again = place.finish()
    told = {
        "package changed": ("torch 2.12.0 when it began", r"began with other versions: torch \S+ in place of 2\.12\.0"),
        "clock set back": ("by a day, between two runs", r"trials requested: 4 done"),
        "lock of a machine that is gone": ("not renewed for an hour", r"was left by process \d+ on far.*taken over"),
    }
    for kind, (how, line) in told.items():
        judge(kind, how, place, again.line(line), math.inf, again.code)
