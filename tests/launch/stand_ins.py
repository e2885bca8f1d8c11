"""A program that stands in for `ray` or `kubectl`, and how a RayJob goes by what it answers."""

import json
import stat
import sys

STAND_IN = """#!{python}
import json, os, sys
from pathlib import Path
here = Path(__file__).parent
taken = sys.stdin.read() if "-" in sys.argv else ""
with (here / "calls.jsonl").open("a") as file:
    file.write(json.dumps([sys.argv[1:], taken]) + "\\n")
exec((here / "answers.py").read_text())
"""


class Recorded:
    """A program on the PATH that writes down how it is called, and answers by a few lines of Python."""

    def __init__(self, folder, name):
        self.folder = folder
        self.program = folder / name
        self.program.write_text(STAND_IN.format(python=sys.executable))
        self.program.chmod(self.program.stat().st_mode | stat.S_IXUSR)
        self.answer("")

    def answer(self, code):
        (self.folder / "answers.py").write_text(code)

    @property
    def calls(self):
        file = self.folder / "calls.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def answers(status, log=""):
    return f"""
if sys.argv[1] == "logs":
    print({log!r}, end="")
elif sys.argv[1] == "get" and "rayjob/a" in sys.argv:
    print(json.dumps({{"status": {status!r}}}))
elif sys.argv[1] == "get":
    print("a-head-xyz", end="")
"""


FAILED_ONCE = """
step = here / "step"
now = int(step.read_text()) if step.exists() else 0
driver, status = [
    ("one", {"jobStatus": "RUNNING", "jobDeploymentStatus": "Running"}),
    ("one", {"jobStatus": "FAILED", "jobDeploymentStatus": "Running"}),
    ("one", {"jobStatus": "FAILED", "jobDeploymentStatus": "Retrying"}),
    ("", {"jobStatus": "", "jobDeploymentStatus": ""}),
    ("two", {"jobStatus": "", "jobDeploymentStatus": "Initializing"}),
    ("two", {"jobStatus": "SUCCEEDED", "jobDeploymentStatus": "Complete"}),
][min(now // 2, 5)]  # each is asked twice: for the driver, and for the state
if sys.argv[1] == "logs" and driver == "one":
    print("trial 1\\ntrial 2\\n" if status["jobStatus"] == "FAILED" else "trial 1\\n", end="")
elif sys.argv[1] == "logs" and status["jobStatus"] == "SUCCEEDED":
    print("trial 2 again\\n", end="")
elif sys.argv[1] == "get":
    print(json.dumps({"status": {"jobId": driver} | status}))
    step.write_text(str(now + 1))
"""
