"""A study of four small trials that runs in a process of its own, to be hurt, and what came of that as a row."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import yaml

HYBRIDTUNE = str(Path(sys.executable).with_name("hybridtune"))
TRIALS, STEPS, EVERY = 4, 12, 4
STUDY = {
    "name": "faults",
    "data": {"train": "newsroom:train"},
    "encoder": {
        **{"name": "tiny", "query_length": 32, "passage_length": 64},
        "tiny": {"layers": 1, "hidden_size": 16, "heads": 2, "vocab_size": 500},
    },
    "benchmarks": {"dev": {"path": "newsroom:dev", "documents": [0, 4]}},
    "train": {
        **{"batch_size": 8, "max_steps": STEPS, "eval_steps": EVERY, "learning_rate": 1e-3, "temperature": 0.05},
        **{"precision": "float32", "loss": "gated:loss"},
    },
    "search": {
        **{"objective": "balanced/AP", "trials": TRIALS, "arms": "none", "repeat_best": 0, "soups": 0},
        "space": {"mixing_ratio": {"uniform": [0.0, 1.0]}, "temperature": {"loguniform": [0.01, 0.2]}},
    },
    "resources": {"concurrent_trials": 1, "cpus_per_worker": 1, "evaluators": 1},
}
# The loss that a study without one has; a worker that comes to a gate waits there, and does what lies behind it.
HOOK = """
import pathlib
import torch
import torch.nn.functional as F

CALLS, HERE = [], pathlib.Path(__file__).parent

def loss(queries, columns, own, hidden, temperature):
    CALLS.append(1)
    gate = HERE / f"gate-{len(CALLS)}"
    found = F.cross_entropy((queries @ columns.T / temperature).masked_fill(hidden, -torch.inf), own)
    if not gate.exists():
        return found
    gate.open("w").close()
    done = {"loss": found}
    exec((HERE / "go").read_text(), done)
    return done["loss"]
"""
_UNEQUAL = re.compile(r"seconds|data_wait|time|began|pairs_per_second")  # what two runs never have alike


@dataclasses.dataclass
class Fault:
    """A row of the table.

    Attributes:
        kind: what goes wrong.
        injected: how.
        survived: whether the study came to its end, in this run or by the same command again; or, where nothing can
            survive, whether nothing was harmed.
        named: whether what the user saw names the cause.
        told: that line.
        equal: whether trials and scores are those of the undisturbed study to the last digit; None: nothing to compare.
        repeated: steps that were trained again.
        lost: trials of the study that have no row.
        seconds: from the fault, or the same command, to the next score; None: none is to come.
    """

    kind: str
    injected: str
    survived: bool
    named: bool
    told: str
    equal: bool | None
    repeated: int
    lost: int
    seconds: float | None


class Run:
    """A command that runs; its output is read as it is needed."""

    def __init__(self, command, environment, prefix=()):
        self.command, self.text = command, ""
        self.process = subprocess.Popen(
            [*prefix, HYBRIDTUNE, *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            start_new_session=True,
            # a shell lets what it starts in the background ignore Ctrl-C, and that is inherited
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def until(self, pattern):
        """Read on to a line that matches, and return it."""
        for line in self.process.stdout:
            self.text += line
            if re.search(pattern, line):
                return line.strip()
        raise AssertionError(f"no line like {pattern!r} in:\n{self.text[-4000:]}")

    def send(self, number):
        """Send a signal as a terminal or a batch system does: to the command, or to its whole group."""
        self.hurt_at = time.time()
        os.killpg(self.process.pid, number) if number == signal.SIGINT else self.process.send_signal(number)

    def kill(self, name):
        """End by SIGKILL the processes of the run whose name, or Ray's title, is this; return how many there were."""
        below = psutil.Process(self.process.pid).children(recursive=True)
        found = [one for one in below if any(called.startswith(name) for called in _names(one))]
        self.hurt_at = time.time()
        for one in found:
            one.kill()
        return len(found)

    def end(self):
        """Wait for the end, and return the exit code."""
        self.text += self.process.communicate()[0]
        return self.process.returncode

    def line(self, pattern):
        """Return the line of the output that matches; empty: there is none."""
        found = [line.strip() for line in self.text.splitlines() if re.search(pattern, line)]
        return re.sub(r"^[\d.]+s +", "", found[-1]) if found else ""


def _names(process):
    try:
        return [process.name(), *process.cmdline()[:1]]
    except psutil.Error:
        return []


class Place:
    """The folder of one study: its file, its hook and gates, and what it left."""

    def __init__(self, folder, cache, sections=()):
        self.folder, self.out, self.cache = folder, folder / "study", cache
        self.folder.mkdir(parents=True)
        tree = {name: {**value, **dict(sections).get(name, {})} if isinstance(value, dict) else value
                for name, value in STUDY.items()}  # fmt: skip
        self.file = folder / "study.yaml"
        self.file.write_text(yaml.safe_dump(tree), encoding="utf-8")
        (folder / "gated.py").write_text(HOOK, encoding="utf-8")
        os.mkfifo(folder / "go")
        path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")]))
        self.environment = os.environ | {"HYBRIDTUNE_CACHE": str(cache), "PYTHONPATH": path}
        self.runs = []

    def start(self, *given, prefix=(), **environment):
        """Start the study, or go on with it."""
        self.began = time.time()
        command = ["run", str(self.file), "--out", str(self.out), *given]
        self.runs.append(Run(command, self.environment | environment, prefix))
        return self.runs[-1]

    def start_to(self, call, *given):
        """Start the study, and return its run when a worker is in its ``call``-th loss: step s of trial t is 12t+s."""
        self.gate(call)
        run = self.start(*given)
        self.arrive(call)
        return run

    def cut_off(self, call):
        """Start the study, and kill its command when a worker is in its ``call``-th loss."""
        run = self.start_to(call)
        run.process.kill()
        run.end()

    def close(self):
        """End the runs that a test left behind, which failed."""
        for run in self.runs:
            if run.process.poll() is None:
                run.process.kill()
                run.end()

    def call(self, *command):
        """Run another command to its end."""
        run = Run([str(word) for word in command], self.environment)
        run.code = run.end()
        return run

    def finish(self, *given):
        """Go on with the study, to its end."""
        run = self.start(*given)
        run.code = run.end()
        return run

    def gate(self, call):
        """Let a worker wait in its ``call``-th loss since it began."""
        os.mkfifo(self.folder / f"gate-{call}")

    def arrive(self, call):
        """Wait until a worker is at the gate, and take that away."""
        gate = self.folder / f"gate-{call}"
        gate.open().close()
        gate.unlink()

    def release(self, code=""):
        """Let the worker at the gate go on, and do what the code says before."""
        (self.folder / "go").write_text(code, encoding="utf-8")

    def read(self, name):
        """Return a JSON file of the study folder."""
        return json.loads((self.out / name).read_text(encoding="utf-8"))

    def rows(self):
        """Return the rows of all trials."""
        return [json.loads(line) for line in (self.out / "trials.jsonl").read_text(encoding="utf-8").splitlines()]

    def figures(self):
        """Return the trials and the scores of the contestants, without what two runs never have alike."""
        result = self.read("result.json")
        return _without({"trials": self.rows(), "best": result["best"], "scores": result["contestant_scores"]})

    def repeated(self):
        """Return the steps that were trained again, as the study says."""
        return self.read("environment.json")["history"]["repeated_steps"]

    def seconds_after(self, moment):
        """Return the seconds from a moment to the first score after it."""
        events = [json.loads(line) for line in (self.out / "events.jsonl").read_text(encoding="utf-8").splitlines()]
        scores = [event["time"] for event in events if event["kind"] == "scored" and event["time"] > moment]
        return round(scores[0] - moment, 1) if scores else None


def _without(node):
    if isinstance(node, dict):
        return {name: _without(value) for name, value in node.items() if not _UNEQUAL.search(name)}
    return [_without(value) for value in node] if isinstance(node, list) else node
