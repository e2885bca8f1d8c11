"""What a study costs beyond the trainings and scores that it contains: both in one run, by the wall clock.

    python benchmarks/study.py [--trials 8] [--steps 300] [--scores 3]

Bare: one process, a loop over our encoder with batches that were tokenised before it starts (`trainers.packed`), and
between the steps the same scores by the encoder's own methods and `score_vectors`; no Ray, no checkpoints, no files.
Study: `hybridtune run` of as many trials, one at a time, with as many steps and scores, from the command to its end,
the report and the model among it. One thread for a training in both, and one evaluator.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import trainers
from train import build_encoder, write_pairs


def bare(given, folder):
    """Seconds of the steps and of the scores of one training."""
    import torch

    from hybridtune import DualEncoder, load_benchmark, score_vectors

    torch.set_num_threads(1)
    steps = trainers.packed(given, folder)["seconds"] * given.steps / (given.steps - trainers.WARM)
    encoder, benchmark = DualEncoder.load(folder / "encoder"), load_benchmark("newsroom:dev")
    began = time.perf_counter()
    for _ in range(given.scores):
        queries = encoder.encode_queries(benchmark.queries.texts)
        score_vectors(benchmark, queries, encoder.encode_passages(benchmark.passages.texts))
    return {"steps": steps, "scores": time.perf_counter() - began}


def study_file(given, folder):
    """The study: a learning rate is searched, at random, and nothing is stopped early."""
    fields = trainers.study_of(given, folder).model_dump(mode="json", exclude_unset=True)
    fields["train"]["eval_steps"] = given.steps // given.scores
    fields["benchmarks"] = {"dev": {"path": "newsroom:dev"}}
    fields["resources"] |= {"concurrent_trials": 1, "evaluators": 1}
    fields["search"] = {
        "objective": "balanced/AP",
        "arms": "none",
        "sampler": "random",
        "trials": given.trials,
        "early_stopping": None,
        "space": {"learning_rate": {"loguniform": [1e-5, 1e-4]}},
    }
    (folder / "study.yaml").write_text(json.dumps(fields), encoding="utf-8")
    return folder / "study.yaml"


def printed(command):
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--scores", type=int, default=3, help="of a trial")
    parser.add_argument("--bare", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    given = SimpleNamespace(
        **vars(asked), batch=32, length=96, threads=1, precision="float32", device="cpu", layers=2, width=256,
        vocabulary=4000, encoder=None,
    )  # fmt: skip
    if asked.bare:
        print(json.dumps(bare(given, asked.bare)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pairs("newsroom:train", folder, 4000)
        build_encoder(given, folder)
        sizes = ["--trials", asked.trials, "--steps", asked.steps, "--scores", asked.scores]
        once = [sys.executable, __file__, *map(str, sizes), "--bare", name]
        before = printed(once)
        command = [str(Path(sys.executable).with_name("hybridtune")), "run", str(study_file(given, folder))]
        began = time.perf_counter()
        subprocess.run([*command, "--out", str(folder / "study")], stdout=subprocess.DEVNULL, check=True)
        whole = time.perf_counter() - began
        after = printed(once)
    one = {key: (before[key] + after[key]) / 2 for key in before}
    contained = asked.trials * sum(one.values())
    print(f"{asked.trials} trainings of {asked.steps} steps ({one['steps']:.1f} s) and {asked.scores} scores ", end="")
    print(f"({one['scores']:.1f} s): {contained:.1f} s bare; the study {whole:.1f} s")
    print(f"ratio {whole / contained:.2f}; beyond it {whole - contained:.1f} s; load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
