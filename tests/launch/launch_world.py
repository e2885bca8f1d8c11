"""A cluster that is not there: programs that stand in for Ray's launcher and for a head's job API."""

import json
import stat
import sys
import zipfile
from dataclasses import asdict, replace
from pathlib import Path

from hybridtune.config.study import load_study
from hybridtune.storage.trial_rows import TrialRow
from hybridtune.study.folder import write_study

HEADLINE = "all is well with the mix that was found"
CLUSTERS = Path(__file__).parents[2] / "clusters"
SERVER = Path(__file__).with_name("job_server.py")
RAY = """#!{python}
import json, os, sys
from pathlib import Path
here, arguments = Path({folder!r}), sys.argv[1:]
with (here / "calls.jsonl").open("a") as file:
    file.write(json.dumps(arguments) + "\\n")
told = json.loads((here / "ray.json").read_text())
if arguments[0] == "get-head-ip":
    sys.exit(0 if told.get("up") and not print("203.0.113.7") else 1)
if arguments[0] == "dashboard":
    os.execv(sys.executable, [sys.executable, {server!r}, arguments[arguments.index("--port") + 1], str(here)])
if arguments[0] in told.get("fails", []):
    print("out of quota", file=sys.stderr)
    sys.exit(1)
"""


class World:
    """A cluster that is not there: its launcher, its head's job API, and where its study writes."""

    def __init__(self, folder):
        self.folder, self.place = folder / "world", folder / "shared" / "study"
        self.folder.mkdir()
        self.program = self.folder / "ray"
        self.program.write_text(RAY.format(python=sys.executable, folder=str(self.folder), server=str(SERVER)))
        self.program.chmod(self.program.stat().st_mode | stat.S_IXUSR)
        self.ray()
        self.job()

    def ray(self, **told):
        (self.folder / "ray.json").write_text(json.dumps(told))

    def job(self, **told):
        (self.folder / "job.json").write_text(json.dumps(told))

    def read(self, name):
        file = self.folder / name
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    @property
    def calls(self):
        return [call[0] for call in self.read("calls.jsonl")]

    @property
    def submitted(self):
        return [asked[1] for asked in self.read("asked.jsonl") if asked[0] == "submit"]

    def uploaded(self, uri):
        with zipfile.ZipFile(self.folder / uri.removeprefix("gcs://")) as file:
            return {name: file.read(name).decode() for name in file.namelist() if not name.endswith("/")}


def fails(result, kind, *words):
    assert isinstance(result.exception, kind), (result.exception, result.output)
    for word in words:
        assert word in str(result.exception)


def write_results(place, study_file):
    place.mkdir(parents=True, exist_ok=True)
    study = load_study(study_file("there.yaml", search={"trials": 2}))
    write_study(study, place)
    trial = TrialRow("0000", 0, "tuned", {"mix.mixing_ratio": 0.25}, {"step": 4, "best_step": 4, "balanced/AP": 0.5})
    ended = asdict(replace(trial, status="done"))
    best = {"best": ended, "trials": [ended], "front": ["0000"], "repeats": None, "reference": None}
    result = {**best, "model": "best", "study": str(place), "test": None, "headline": HEADLINE}
    (place / "result.json").write_text(json.dumps(result))
