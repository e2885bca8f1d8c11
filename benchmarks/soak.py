"""A study of many trivial trials: memory, handles and threads of the command, processes below it, size of its folder.

    python benchmarks/soak.py [--trials 200] [--steps 2] [--every 10] [--out FOLDER]

Runs `hybridtune run` in a process of its own on the embedded corpus, and prints a line each time so many trials have
ended. The last lines say by how much the second half grew over the first.
"""

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import yaml

STUDY = {
    "name": "soak",
    "data": {"train": "newsroom:train"},
    "encoder": {
        **{"name": "tiny", "query_length": 32, "passage_length": 64},
        "tiny": {"layers": 1, "hidden_size": 16, "heads": 2, "vocab_size": 500},
    },
    "benchmarks": {"dev": {"path": "newsroom:dev", "documents": [0, 4]}},
    "search": {
        **{"objective": "balanced/AP", "arms": "none", "repeat_best": 0, "soups": 0, "early_stopping": None},
        "space": {"mixing_ratio": {"uniform": [0.0, 1.0]}, "temperature": {"loguniform": [0.01, 0.2]}},
    },
    "resources": {"concurrent_trials": 1, "cpus_per_worker": 1, "evaluators": 1},
}


def sample(process: psutil.Process, folder: Path) -> dict[str, float]:
    """Return what the command and all below it hold now."""
    below = process.children(recursive=True)
    files = [file for file in folder.rglob("*") if file.is_file()]
    return {
        "command MB": process.memory_info().rss / 1e6,
        "handles": process.num_fds(),
        "threads": process.num_threads(),
        "processes": len(below),
        "below MB": sum(_memory(one) for one in below) / 1e6,
        "files": len(files),
        "folder MB": sum(file.stat().st_size for file in files if file.exists()) / 1e6,
    }


def _memory(process: psutil.Process) -> float:
    try:
        return float(process.memory_info().rss)
    except psutil.Error:
        return 0.0


def main() -> None:
    """Run the study and print its samples."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--out", type=Path, default=None)
    given = parser.parse_args()
    place = Path(tempfile.mkdtemp())
    out = given.out or place / "study"
    train = {"batch_size": 8, "max_steps": given.steps, "eval_steps": given.steps, "precision": "float32"}
    tree = {**STUDY, "train": train, "search": {**STUDY["search"], "trials": given.trials}}
    (place / "study.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    command = [str(Path(sys.executable).with_name("hybridtune")), "run", str(place / "study.yaml"), "--out", str(out)]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    process, began, samples, ended = psutil.Process(run.pid), time.time(), [], 0
    for line in run.stdout:
        if not re.search(r"trial \d+: done after", line):
            continue
        ended += 1
        if ended % given.every == 0:
            samples.append(sample(process, out))
            if len(samples) == 1:
                print("trials  seconds  " + "  ".join(samples[0]))
            values = "  ".join(
                f"{value:>{len(name)}.{1 if 'MB' in name else 0}f}" for name, value in samples[-1].items()
            )
            print(f"{ended:>6}  {time.time() - began:>7.0f}  {values}", flush=True)
    print(f"exit code {run.wait()}, {ended} trials in {time.time() - began:.0f} s")
    half = len(samples) // 2
    for name in samples[0] if half else ():
        first, second = (statistics.mean(one[name] for one in part) for part in (samples[:half], samples[half:]))
        print(f"{name}: {first:,.1f} in the first half, {second:,.1f} in the second")


if __name__ == "__main__":
    main()
