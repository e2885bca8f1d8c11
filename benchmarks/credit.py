"""What the headline credits in made studies whose truth is known: how often it names a gain that there is not.

    python benchmarks/credit.py [--studies 200] [--trials 8] [--seeds 3] [--arms searched rerun] [--truth none mix]

Nothing is trained. A study is searched by the tool's own sampler in its own arms; its contestants, the trainings that
these lack, the seeds of the noise check and the headline are the tool's too. Only a training's scores are made: a
quality, by its values, and on top of it noise of the seed, noise of each document that its values cause whatever the
seed (so that a search which tries much finds values that suit these documents by chance), and noise of documents
and question by training. There are 40 documents with two questions each.

Truths: `none` (no value changes the quality), `mix` (a mixing ratio of 0.3 is best), `temperature` (0.12 is best; the
file has 0.05), each with a gain of 0.1 at most. Printed for each: the share of studies in which the mix is credited, in
which the other values are, and in which the truth alone is.
"""

import argparse
import json
import math
import shutil
import tempfile
import warnings
import zlib
from dataclasses import asdict
from pathlib import Path

import numpy as np
import optuna

from hybridtune.config.study import Study
from hybridtune.metrics.per_query import write_per_query
from hybridtune.report.headline import BETTER, gain, headline
from hybridtune.search.arms import contestants, expected_trials, reference, reruns
from hybridtune.search.optuna_search import searcher
from hybridtune.search.seed_check import compare_seeds, repeat_points
from hybridtune.search.trial import trial_name, trial_values
from hybridtune.storage.trial_rows import TrialRow

GOAL = "mono/AP"
DOCUMENTS, QUESTIONS = 40, 2
SEED_NOISE, VALUES_NOISE, TRAINING_NOISE, QUESTION_NOISE = 0.006, 0.03, 0.03, 0.08
GAIN = 0.1
TRUTHS = ("none", "mix", "temperature")


def quality(truth, values):
    """The true score of a training with these values."""
    if truth == "mix":
        return 0.5 + GAIN * max(0.0, 1 - abs(values["mix.mixing_ratio"] - 0.3) / 0.3)
    if truth == "temperature":
        return 0.5 + GAIN * math.exp(-((math.log(values.get("train.temperature", 0.05) / 0.12) / 0.5) ** 2))
    return 0.5


class MadeStudy:
    """The texts of one study: how hard its questions are, and what each training scores on them."""

    def __init__(self, truth, number):
        self.truth, self.number = truth, number
        random = np.random.default_rng([number, 1])
        hard = random.normal(0, 0.1, DOCUMENTS).repeat(QUESTIONS)
        self.hard = hard + random.normal(0, 0.1, DOCUMENTS * QUESTIONS)
        self.hard -= self.hard.mean()

    def scores(self, values, seed):
        """Average precision of each question."""
        values = {"train.temperature": 0.05, **values}
        key = zlib.crc32(json.dumps(values, sort_keys=True).encode())
        by_values = np.random.default_rng([self.number, 2, key]).normal(0, VALUES_NOISE, DOCUMENTS)
        random = np.random.default_rng([self.number, 3, key, seed])
        by_training = random.normal(0, TRAINING_NOISE, DOCUMENTS)
        level = quality(self.truth, values) + random.normal(0, SEED_NOISE)
        noise = (by_values + by_training).repeat(QUESTIONS) + random.normal(0, QUESTION_NOISE, len(self.hard))
        return level + self.hard + noise


def run_study(truth, number, arms, trials, seeds, folder):
    """One study from its first trial to its headline; what it credits, and the line."""
    study = Study(
        name="made",
        seed=number,
        data={"train": "newsroom:train"},
        benchmarks={"dev": {"path": "newsroom:dev"}},
        train={"temperature": 0.05},
        search={
            **{"objective": GOAL, "arms": arms, "trials": trials, "repeat_best": seeds, "storage": "journal"},
            "space": {"mixing_ratio": {"uniform": [0.0, 1.0]}, "temperature": {"loguniform": [0.01, 0.2]}},
        },
    )
    made, rows = MadeStudy(truth, number), []

    def train(name, number, arm, values, proposed):
        score = float(made.scores(values, study.seed).mean())
        rows.append(TrialRow(name, number, arm, values, {GOAL: score, "step": 1}, "done", proposed=proposed))
        return {GOAL: score, "step": 1, "final": 1.0}

    search = searcher(study, {GOAL: "max"}, folder, set())
    for place in range(expected_trials(study)):
        config = search.suggest(f"t{place}")
        values = trial_values(config)
        report = train(trial_name(config), config["number"], config["arm"], values, config["proposed"])
        search.on_trial_complete(f"t{place}", report)
    while lacking := reruns(study, rows):
        for one in lacking:
            train(one.id, len(rows), one.arm, one.values, "rerun")
    return judge(study, made, rows, folder)


def judge(study, made, rows, folder):
    who, beside = contestants(study, rows), reference(study, rows)
    repeats, files = [], {}
    for one in repeat_points(study, who):
        scores = made.scores(one.values, one.seed)
        repeats.append(type(one)(**{**asdict(one), "metrics": {GOAL: float(scores.mean())}}))
        files[one.name] = folder / f"{one.name}.parquet"
        write(files[one.name], scores)
    result = {
        "best": asdict(max(rows, key=lambda row: row.metrics[GOAL])),
        "trials": [asdict(row) for row in rows],
        "contestants": {name: row.id for name, row in who.items()},
        "reference": asdict(beside),
        "repeats": compare_seeds(study, who, beside, repeats, files),
    }
    parts = gain(study, result)
    return parts.mix.verdict == BETTER, parts.other_values.verdict == BETTER, headline(study, result)


def write(path, scores):
    rows = np.arange(len(scores))
    zeros = np.zeros(len(scores), np.int64)
    columns = {"setting": np.full(len(scores), "mono"), "query": rows, "query_language": zeros, "pool_language": zeros}
    names = [f"d{row // QUESTIONS}" for row in rows]
    write_per_query(path, {**columns, "AP": scores}, [f"q{row}" for row in rows], ["en"], rows, {}, names)


def shares(truth, arms, studies, trials, seeds, folder):
    """Shares of the studies: the mix credited, the other values credited, the truth alone credited; and one line."""
    found = []
    for number in range(studies):
        place = Path(folder) / f"{truth}-{arms}-{number}"
        place.mkdir(parents=True)
        found.append(run_study(truth, number, arms, trials, seeds, place))
        shutil.rmtree(place)
    mix, values = (np.array([one[part] for one in found]) for part in (0, 1))
    right = {"none": ~mix & ~values, "mix": mix & ~values, "temperature": values & ~mix}[truth]
    return {"mix": mix.mean(), "other values": values.mean(), "truth alone": right.mean(), "line": found[0][2]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arms", nargs="+", default=["searched", "rerun"])
    parser.add_argument("--truth", nargs="+", default=TRUTHS)
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        for arms in given.arms:
            for truth in given.truth:
                found = shares(truth, arms, given.studies, given.trials, given.seeds, folder)
                line = found.pop("line")
                print(f"{arms}, {truth}: " + ", ".join(f"{name} {share:.3f}" for name, share in found.items()))
                print(f"  {line}", flush=True)


if __name__ == "__main__":
    main()
