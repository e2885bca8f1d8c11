import contextlib
import importlib
import json
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from hybridtune.config.study import load_study
from hybridtune.errors import FitError, InputError
from hybridtune.launch import dashboard as command
from hybridtune.launch.dashboard import dashboard
from hybridtune.storage.optuna_storage import open_storage
from hybridtune.study.folder import write_study
from hybridtune.terminal.screen import Screen

# Asked without importing them, which every pytest worker would pay for.
pytestmark = [
    pytest.mark.skipif(find_spec(name) is None, reason=f"{name} is not installed")
    for name in ("optuna_dashboard", "tensorboard")
]

STATES = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING]


@pytest.fixture
def folder(tmp_path, study_file):
    """A study folder with a ledger of four trials, one in each state."""
    place = tmp_path / "study"
    (place / "trials" / "0000").mkdir(parents=True)
    study = load_study(study_file())
    write_study(study, place)
    ledger = optuna.create_study(storage=open_storage(study, place), study_name=study.name, direction="maximize")
    for state in STATES:
        trial = ledger.ask({"temperature": optuna.distributions.FloatDistribution(0.01, 0.2)})
        if state != TrialState.RUNNING:
            ledger.tell(trial, 0.5 if state == TrialState.COMPLETE else None, state=state)
    return place


def get(url):
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(url, timeout=60) as answer:
        return answer.read().decode()


def session(number):
    """The processes of a session, by id: a dashboard's own and all that it started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, sid, *_ = stat.read_text().rpartition(")")[2].split()
            if int(sid) == number and state != "Z":
                found.append(int(stat.parent.name))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_dashboards_answer_until_they_are_told_to_end(folder, number):
    server = subprocess.Popen(
        [sys.executable, "-c", "from hybridtune.cli.main import main; main()", "dashboard", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        lines = [server.stdout.readline() for _ in range(4)]
        (page,) = re.findall(r"^optuna-dashboard +(http://127\.0\.0\.1:\d+/dashboard/studies/1)$", lines[0], re.M)
        (board,) = re.findall(r"^TensorBoard +(http://127\.0\.0\.1:\d+/)$", lines[1], re.M)
        assert lines[2] == "Ray dashboard     not up: no run of this study is under way\n"
        assert lines[3] == "Ctrl-C ends them\n"
        assert "<html" in get(page)
        api = page.replace("/dashboard/studies/1", "/api/studies")
        (known,) = json.loads(get(api))["study_summaries"]
        assert (known["study_name"], known["directions"]) == ("small", ["maximize"])

        study = load_study(folder / "study.yaml")
        ledger = optuna.load_study(storage=open_storage(study, folder), study_name=study.name)
        ledger.tell(ledger.ask(), 0.75)  # while it is looked at
        trials = json.loads(get(f"{api}/1?after=0"))["trials"]
        states = [*(state.name.capitalize() for state in STATES), "Complete"]
        assert [(trial["number"], trial["state"]) for trial in trials] == list(enumerate(states))
        assert (trials[0]["values"], trials[4]["values"]) == ([0.5], [0.75])
        assert json.loads(get(f"{board}data/environment"))["data_location"].endswith("/study/trials")
    finally:
        server.send_signal(number)
        out, err = server.communicate(timeout=60)
    assert (server.returncode, out, err) == (0, "", "")
    assert session(server.pid) == []
    for url in (page, board):
        with pytest.raises(urllib.error.URLError):
            get(url)


@pytest.fixture
def at_once(monkeypatch):
    """Ends the command when all is up."""
    ended = threading.Event()
    ended.set()
    monkeypatch.setattr(command, "_until_interrupted", lambda: contextlib.nullcontext(ended))


def fail(folder):
    raise RuntimeError("no\nluck")


@pytest.mark.slow
def test_one_that_cannot_be_started_leaves_the_other(folder, at_once, monkeypatch, capsys):
    monkeypatch.setattr(command, "_tensorboard", fail)
    dashboard(folder, Screen(to_stderr=False))
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("optuna-dashboard  http://")
    assert second == "TensorBoard       could not be started: no luck"


def test_with_neither_the_command_fails(folder, at_once, monkeypatch):
    monkeypatch.setattr(command, "_tensorboard", fail)
    monkeypatch.setattr(command, "_optuna", lambda study, folder: fail(folder))
    with pytest.raises(FitError, match="no dashboard"):
        dashboard(folder, Screen(to_stderr=True))


def test_what_is_missing_is_named(folder, tmp_path, monkeypatch):
    (folder / "optuna.db").unlink()
    with pytest.raises(InputError, match="holds no trials yet"):
        dashboard(folder, Screen(to_stderr=True))
    (folder / "trials" / "0000").rmdir()
    (folder / "trials").rmdir()
    with pytest.raises(InputError, match="no trial has begun"):
        dashboard(folder, Screen(to_stderr=True))
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r'optuna-dashboard and tensorboard not installed: pip install "hybridtune\[d'):
        dashboard(folder, Screen(to_stderr=True))


def test_tensorboard_shows_no_file_of_this_machine_that_a_folder_names(tmp_path, monkeypatch):
    """Its projector serves whatever a projector_config.pbtxt in the folder names."""
    default, program = (importlib.import_module(f"tensorboard.{name}") for name in ("default", "program"))
    boards = []

    class Board:
        def __init__(self, plugins):
            boards.append({one.__module__ for one in plugins})

        def configure(self, **options):
            assert options["host"] == "127.0.0.1"

        def launch(self):
            return "http://127.0.0.1:1/"

    monkeypatch.setattr(program, "TensorBoard", Board)
    assert command._tensorboard(tmp_path) == "http://127.0.0.1:1/"
    left_out = {one.__module__ for one in default.get_plugins()} - boards[0]
    assert left_out == {"tensorboard.plugins.projector.projector_plugin"}
