"""What the driver of a study spends beside its trainings as its trials get many: CPU-seconds by part, without Ray.

    python benchmarks/growth.py [--trials 300 1000 3000] [--scores 6] [--profile rows] [--report]

Made-up trials, four at once, go through what Ray Tune calls in the driver: the proposals of Optuna (TPE, a database in
the study folder), the rows and scores of the trials with the lines and events that tell of them, TensorBoard's files,
and the rule that stops trials early. ``--profile`` prints where a part spends its time. ``--report`` also writes the
report of each study, and prints its CPU-seconds (its imports among them) and its size.
"""

import argparse
import contextlib
import cProfile
import io
import json
import os
import pstats
import random
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import optuna
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from hybridtune.callbacks import Callbacks
from hybridtune.config.study import Study, dump_study
from hybridtune.search.loggers import Events
from hybridtune.search.optuna_search import searcher
from hybridtune.search.stopping import scheduler
from hybridtune.search.trial import trial_name
from hybridtune.search.trial_log import TrialLog
from hybridtune.storage.study_folder import FORMAT
from hybridtune.storage.trial_rows import read_rows
from hybridtune.study.event_log import EventLog
from hybridtune.terminal.screen import Screen

AT_ONCE, EVERY = 4, 10
PARTS = ("proposals", "rows", "tensorboard", "stopping")


def made_study(trials, scores):
    """Return a study of so many trials of the free arm, each with so many scores."""
    space = {"mix.mixing_ratio": {"uniform": [0.0, 1.0]}, "train.temperature": {"loguniform": [0.01, 0.2]}}
    search = {"trials": trials, "arms": "none", "objective": "balanced/AP", "repeat_best": 0, "space": space}
    train = {"max_steps": scores * EVERY, "eval_steps": EVERY}
    tree = {"name": "growth", "data": {"train": "newsroom:train"}, "benchmarks": {"dev": {"path": "newsroom:dev"}}}
    return Study.model_validate({**tree, "search": search, "train": train})


def made_scores(draw, step, best, last):
    """Return a report of made-up figures, as many as a training has."""
    value = draw.random()
    measures = ("AP", "nDCG@10", "R@1")
    figures = {f"{setting}/{name}": value for setting in ("mono", "cross", "multi") for name in measures}
    figures |= {"balanced/AP": value, "multi/rank_distance": 100 * value, "loss": 1.0, "accuracy": 0.5}
    return {**figures, "step": step, "best_step": best, "ended": float(last), "final": 0.0, "realised_ratio": 0.5}


class Driver:
    """Calls what listens to Ray Tune as Tune does, and counts the CPU-seconds of each part."""

    def __init__(self, folder, trials, scores, profiled=None):
        self.study, self.folder, self.scores, self.draw = made_study(trials, scores), folder, scores, random.Random(0)
        self.seconds, self.profiled, self.profile = Counter(), profiled, cProfile.Profile()
        callback = Callbacks([Screen(), EventLog(folder)])
        callback.on_training_start("search", self.study, AT_ONCE, [])
        self.close = lambda: callback.on_training_end("search")

        def display(rows, row):
            callback.on_trial(row, rows)
            if row.metrics and row.status == "running":
                callback.on_score(row.id, int(row.metrics["step"]), row.metrics)

        TrialLog.displays[str(folder)] = display
        self.log, self.events = TrialLog(folder), Events(self.study, folder)
        self.search, self.rule = searcher(self.study, {"balanced/AP": "max"}, folder, []), scheduler(self.study, folder)
        self.trials = []

    def write_study(self):
        """Write what a report reads beside the rows: the study file, and of each trial its plan and its scores."""
        (self.folder / "study.yaml").write_text(dump_study(self.study))
        for trial in self.trials:
            home, ratio = self.folder / "trials" / trial_name(trial.config), trial.config["mix.mixing_ratio"]
            plan = {"steps": trial.step, "batch_size": 8, "table": []}
            plan |= {"requested_ratio": ratio, "realised_ratio": ratio}
            (home / "plan.json").write_text(json.dumps(plan))
            (home / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in trial.reports))

    def part(self, name, call, *arguments):
        began = time.process_time()
        with self.profile if name == self.profiled else contextlib.nullcontext():
            found = call(*arguments)
        self.seconds[name] += time.process_time() - began
        return found

    def run(self, trials):
        """Run all trials, some at once, each by one score in turn."""
        running = []
        while running or len(self.trials) < trials:
            while len(running) < AT_ONCE and len(self.trials) < trials:
                running.append(self.begin(f"t{len(self.trials)}"))
            running = [trial for trial in running if self.score(trial)]
            self.part("rows", self.log.on_step_end, 0, self.trials)
        self.part("rows", self.log.on_experiment_end, self.trials)
        self.close()

    def begin(self, name):
        config = self.part("proposals", self.search.suggest, name)
        trial = SimpleNamespace(config=config, status=Trial.RUNNING, error_file=None, trial_id=name, step=0, best=0)
        trial.run_metadata = SimpleNamespace()  # of Tune, which keeps results of all trials
        trial.checkpoint, trial.reports = None, []
        self.trials.append(trial)
        self.part("rows", self.log.on_trial_start, 0, self.trials, trial)
        self.part("tensorboard", self.events.log_trial_start, trial)
        self.part("stopping", self.rule.on_trial_add, None, trial)
        return trial

    def score(self, trial):
        """Report the next score of a trial; return whether it goes on."""
        trial.step += EVERY
        last = trial.step == self.scores * EVERY
        result = made_scores(self.draw, trial.step, trial.step, last)
        trial.reports.append(result)
        decision = self.tell(trial, result)
        if last:
            result = {**result, "final": 1.0}
            decision = self.tell(trial, result)
        if not last and decision != TrialScheduler.STOP:
            return True
        trial.status = Trial.TERMINATED
        self.part("proposals", self.search.on_trial_complete, trial.trial_id, result)
        self.part("rows", self.log.on_trial_complete, 0, self.trials, trial)
        self.part("tensorboard", self.events.log_trial_end, trial)
        return False

    def tell(self, trial, result):
        decision = self.part("stopping", self.rule.on_trial_result, None, trial, result)
        if not result["final"]:
            self.part("proposals", self.search.on_trial_result, trial.trial_id, result)
        self.part("rows", self.log.on_trial_result, 0, self.trials, trial, result)
        self.part("tensorboard", self.events.log_trial_result, 0, trial, result)
        return decision


def prepared(folder):
    (folder / "environment.json").write_text(json.dumps({"id": "growth", "format": FORMAT}))
    return folder


def reported(driver):
    """Write the report of a study in a process of its own, as the command does; return its figures in words."""
    driver.write_study()
    before = os.times()
    subprocess.run([sys.executable, "-m", "hybridtune", "report", driver.folder], check=True, capture_output=True)
    spent = os.times()
    seconds = spent.children_user + spent.children_system - before.children_user - before.children_system
    return f"   report {seconds:.1f} CPU-s, {(driver.folder / 'report.html').stat().st_size / 1e6:.1f} MB"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[300, 1000, 3000])
    parser.add_argument("--scores", type=int, default=6)
    parser.add_argument("--profile", choices=PARTS)
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    print("trials   " + "".join(f"{part:>13}" for part in PARTS) + "    all, CPU-s", flush=True)
    for trials in options.trials:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            driver = Driver(prepared(Path(folder)), trials, options.scores, options.profile)
            driver.run(trials)
            assert len(read_rows(Path(folder))) == trials
            report = reported(driver) if options.report else ""
        seconds = [driver.seconds[part] for part in PARTS]
        parts = "".join(f"{one:13.1f}" for one in seconds)
        print(f"{trials:6,}   {parts}{sum(seconds):14.1f}{report}", flush=True)
        if options.profile:
            pstats.Stats(driver.profile, stream=sys.stdout).sort_stats("cumulative").print_stats(35)


if __name__ == "__main__":
    main()
