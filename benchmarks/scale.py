"""How a search scales with nodes and trials: the real search on many nodes, with trainings that only sleep.

    python benchmarks/scale.py [--nodes 4 16 32] [--waves 3] [--seconds 30]

Ray's own fake cluster (`ray.cluster_utils.Cluster`: a raylet a node, all on this machine) has a head without CPUs and N
nodes with room for one trial each. On it runs the search of `hybridtune run`: Ray Tune, Optuna with its storage, early
stopping off, the rows and the events of the study folder. A trial holds a placement group with an actor a worker, as
a worker group does, and keeps them from trial to trial; a step of it is a timed sleep. So what is measured is all that
is not training: proposing, scheduling, reporting, writing down.

Printed for every N: trials, the wall time of the search, the time that the trainings alone would take (waves x seconds)
and their ratio; how long the first trials took, which start the actors, and the later ones; the time between a trial's
end and the next one's begin in its place; CPU-seconds of this process, which is the driver, a trial; the memory of the
driver and of a trial's actor. All N nodes' daemons and
actors share this machine's cores with the head, which a real cluster's do not: the figures are an upper bound.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

SCORES = 3  # of a trial
SLEEPER_CPUS = 1


def simulate(nodes, waves, seconds):
    """One search on N nodes; prints its figures as JSON."""
    os.environ |= {
        "RAY_BACKEND_LOG_LEVEL": "fatal",
        "RAY_AIR_NEW_OUTPUT": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    }
    from hybridtune.runtime.local import free_ports
    from hybridtune.runtime.loopback import loopback_only

    with loopback_only(*free_ports(1)):
        _simulate(nodes, waves, seconds)


def _simulate(nodes, waves, seconds):
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "include_dashboard": False, "object_store_memory": 2 * 10**8},
    )
    for _ in range(nodes):
        cluster.add_node(wait=False, num_cpus=SLEEPER_CPUS + 1, object_store_memory=8 * 10**7)
    cluster.wait_for_nodes(timeout=600)
    ray.init(address=cluster.address, logging_level="ERROR", log_to_driver=False, namespace="hybridtune")
    try:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(_search(nodes, waves, seconds, Path(folder))))
    finally:
        ray.shutdown()
        cluster.shutdown()


def _search(nodes, waves, seconds, folder):
    from hybridtune.config.study import demo_study, load_study
    from hybridtune.search import study as search_study
    from hybridtune.storage.trial_rows import read_rows
    from hybridtune.train.job_queue import FitJob

    trials = nodes * waves
    study = load_study(demo_study(), (f"search.trials={trials}", "search.arms=none", "search.early_stopping=null"))
    search_study.Trial = sleeping_trial(seconds)
    job = FitJob(study, store="", source="", benchmark=None, storage=str(folder / "trials"))  # nothing trains
    cpu, began = time.process_time(), time.time()
    no_groups = SimpleNamespace(at_once=nodes, resize=abs, leave=str)
    search_study.run_search(job, {"balanced/AP": "max"}, folder, no_groups, lambda rows, row: None)
    wall, cpu = time.time() - began, time.process_time() - cpu
    rows = read_rows(folder)
    ordered = sorted(rows, key=lambda row: row.began)
    first, later = ordered[0].began, [row.seconds for row in ordered[nodes:]]
    actors = _actor_sizes()
    ideal = waves * seconds
    return {
        "nodes": nodes,
        "trials": len(rows),
        "wall_seconds": round(wall, 1),
        "ideal_seconds": ideal,
        "from_first_trial_seconds": round(max(row.began + row.seconds for row in rows) - first, 1),
        "first_trials_seconds": round(statistics.median(row.seconds for row in ordered[:nodes]), 1),
        "later_trials_seconds": round(statistics.median(later), 2),
        "gap_seconds": round(statistics.median(gaps(rows, nodes)), 2),
        "driver_cpu_seconds_a_trial": round(cpu / len(rows), 3),
        "driver_mb": round(_memory(os.getpid()) / 1e6),
        "trial_actor_mb": round(statistics.median(actors) / 1e6) if actors else None,
    }


def gaps(rows, at_once):
    """Seconds from a trial's end to the begin of the one that took its place: the n-th end goes with begin n + N."""
    ends = sorted(row.began + row.seconds for row in rows)
    begins = sorted(row.began for row in rows)[at_once:]
    return [max(0.0, begin - end) for end, begin in zip(ends, begins, strict=False)]


def sleeping_trial(seconds):
    """A Trainable that takes its time as ours does, without the training."""
    import ray
    from ray import tune
    from ray.tune.result import DONE
    from ray.util.placement_group import placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    class Sleeper:
        def train(self, duration):
            time.sleep(duration)  # the measured thing is all but this

    class SleepingTrial(tune.Trainable):
        def setup(self, config, job, groups):
            group = placement_group([{"CPU": SLEEPER_CPUS}], strategy="PACK")
            where = PlacementGroupSchedulingStrategy(group)
            self._worker = ray.remote(Sleeper).options(num_cpus=SLEEPER_CPUS, scheduling_strategy=where).remote()
            self.reset_config(config)

        def reset_config(self, config):
            self._score = 0
            return True

        def step(self):
            final = self._score == SCORES
            if not final:
                self._score += 1
                ray.get(self._worker.train.remote(seconds / SCORES))
            ratio, temperature = self.config["mixing_ratio"], self.config["temperature"]
            worth = 0.7 - (ratio - 0.6) ** 2 - (temperature - 0.05) ** 2
            reached = {
                "step": 100 * self._score,
                "best_step": 100 * self._score,
                "balanced/AP": worth * self._score / SCORES,
            }
            return {**reached, "ended": self._score == SCORES, "final": final, DONE: final}

    return SleepingTrial


def _memory(pid):
    """Bytes; of a page that k processes share, a k-th."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def _actor_sizes():
    listed = subprocess.run(["ps", "ax", "-o", "pid=,args="], capture_output=True, text=True, check=True).stdout
    pids = [int(line.split()[0]) for line in listed.splitlines() if "ray::SleepingTrial" in line]
    return [_memory(pid) for pid in pids]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, nargs="+", default=[4, 16, 32])
    parser.add_argument("--waves", type=int, default=3, help="trials a node")
    parser.add_argument("--seconds", type=float, default=30.0, help="of a training")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)  # the size that this process simulates
    asked = parser.parse_args()
    if asked.one:
        simulate(asked.one, asked.waves, asked.seconds)
        return
    for nodes in asked.nodes:  # a process each: a machine holds one Ray at a time
        own = [
            sys.executable,
            __file__,
            "--one",
            str(nodes),
            "--waves",
            str(asked.waves),
            "--seconds",
            str(asked.seconds),
        ]
        done = subprocess.run(own, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stderr)
        figures = json.loads([line for line in done.stdout.splitlines() if line.startswith("{")][-1])  # Ray prints too
        figures["efficiency"] = round(figures["ideal_seconds"] / figures["from_first_trial_seconds"], 3)
        print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
