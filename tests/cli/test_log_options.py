"""--verbose, --quiet and --log-file: what is said on the way goes by one logger, and the result is as it was."""

import json
import logging
import re

import pytest

from hybridtune.callbacks import phase
from hybridtune.config.study import Study
from hybridtune.errors import FitError
from hybridtune.storage.trial_rows import TrialRow
from hybridtune.terminal.screen import Screen

TIMED = re.compile(r"^ *\d+\.\ds  ", re.M)
STAMPED = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} "
STUDY = Study(
    name="small",
    data={"train": "newsroom:train"},
    benchmarks={"dev": {"path": "newsroom:dev"}},
    train={"max_steps": 300},
)
COMMANDS = {
    "run": ("run", "{study}", "--dry-run"),
    "train": ("train", "{study}", "--dry-run"),
    "evaluate": ("evaluate", "--run", "{run}", "--benchmark", "newsroom:dev", "--out", "{out}"),
}


@pytest.fixture
def said(call, study_file, tmp_path):
    """Runs a command of COMMANDS with options before its name, or behind: (exit code, stdout, stderr)."""
    run = tmp_path / "list.trec"
    count = iter(range(9))

    def say(name, *before, behind=()):
        if not run.exists():
            run.write_text(f"{id_of_dev()} Q0 {id_of_dev()} 1 1.0 mine\n")
        places = {"study": study_file(), "run": run, "out": tmp_path / f"out{next(count)}"}
        return call(*before, *(word.format(**places) for word in COMMANDS[name]), *behind)

    return say


def id_of_dev():
    """The id of a query of the embedded benchmark, and of its answer, as TREC runs name them."""
    from hybridtune.data.newsroom import generate

    return f"{next(iter(generate('dev')))['group_id']}:en"


def without_times(text):
    return re.sub(r"\bout\d\b", "out", re.sub(r"\d+\.\d s|[\d,.]+ \w+/s", "", TIMED.sub("", text)))


@pytest.mark.parametrize("name", COMMANDS)
def test_the_result_is_the_same_with_all_of_them_and_the_way_as_is_asked_for(name, said, tmp_path):
    code, plain, err = said(name)
    assert (code, err) == (0, "")
    assert TIMED.search(plain)
    code, quiet, err = said(name, "--quiet")
    assert (code, err) == (0, "")
    assert not TIMED.search(quiet)
    lines = [line for line in plain.splitlines() if not TIMED.match(line)]
    assert without_times(quiet).splitlines() == without_times("\n".join(lines)).splitlines()
    code, verbose, err = said(name, "--verbose")
    assert (code, without_times(verbose)) == (0, without_times(plain))
    assert err.startswith("hybridtune.cli.log: hybridtune ")
    file = tmp_path / "logs" / "all.txt"
    for count in (1, 2):  # the second is added to the first
        code, logged, err = said(name, "--quiet", "--log-file", file)
        assert (code, without_times(logged), err) == (0, without_times(quiet), "")
        text = file.read_text()
        assert len(re.findall(f"^{STAMPED}DEBUG hybridtune.cli.log: done$", text, re.M)) == count
        for line in TIMED.sub("\0", plain).split("\0")[1:]:
            assert without_times(line.splitlines()[0]) in without_times(text)


@pytest.mark.parametrize("name", COMMANDS)
def test_json_is_one_object_whatever_is_said_beside_it(name, said):
    plain = json.loads(said(name, behind=["--json"])[1])
    for options in (["--verbose"], ["--quiet"]):
        code, out, err = said(name, *options, behind=["--json"])
        assert (code, {*json.loads(out)}) == (0, {*plain})
        assert bool(err) == (options == ["--verbose"])


def test_an_error_is_one_line_and_in_the_file_too(call, tmp_path, monkeypatch):
    file = tmp_path / "log.txt"
    expected = f"hybridtune: {tmp_path}/none.yaml: cannot read the study file: No such file or directory\n"
    for options in (["--quiet"], ["--verbose"]):
        code, out, err = call(*options, "--log-file", file, "run", tmp_path / "none.yaml")
        assert (code, out) == (2, "")
        assert err.endswith(expected)
        assert "Traceback" not in err
    assert err.count("none.yaml") == 1
    assert len(re.findall(f"^{STAMPED}ERROR hybridtune.cli.log: .*none.yaml", file.read_text(), re.M)) == 2
    code, out, err = call("--log-file", file, "run", "--sett", "a")
    assert (code, out) == (2, "")
    assert "No such option '--sett'" in file.read_text()


def test_of_a_failure_the_file_and_verbose_have_where_it_came_from(call, tmp_path, monkeypatch):
    def fail(study):
        logging.getLogger("hybridtune.search.loggers").warning("mlflow is gone")
        raise FitError("the loss is nan")

    monkeypatch.setattr("hybridtune.launch.status.status", fail)
    file = tmp_path / "log.txt"
    told = "hybridtune.search.loggers: mlflow is gone\n"
    last = "hybridtune: the loss is nan\n"
    assert call("status", "x") == call("--quiet", "--log-file", file, "status", "x") == (1, "", told + last)
    code, _, err = call("--verbose", "status", "x")
    assert code == 1
    assert err.endswith(last)
    for text in (err, file.read_text()):
        assert "Traceback" in text
        assert "mlflow is gone" in text
    assert f"WARNING {told}" in file.read_text()


def test_options_that_cannot_be_are_refused(call, tmp_path):
    message = "hybridtune: --verbose and --quiet: give one of the two\n"
    assert call("--verbose", "--quiet", "schema") == (2, "", message)
    (tmp_path / "plain").touch()
    code, out, err = call("--log-file", tmp_path / "plain" / "log.txt", "schema")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert str(tmp_path / "plain") in err
    code, _, err = call("run", "--quiet")
    assert code == 2
    assert "No such option" in err


def test_nothing_of_a_command_is_left_in_logging(call, tmp_path):
    loggers = [logging.getLogger(name) for name in ("hybridtune", "hybridtune.terminal.screen")]
    before = [(logger.level, logger.propagate, list(logger.handlers)) for logger in loggers]
    assert call("--verbose", "--log-file", tmp_path / "log.txt", "schema")[0] == 0
    assert call("--log-file", tmp_path / "log.txt", "run", "none.yaml")[0] == 2
    assert [(logger.level, logger.propagate, list(logger.handlers)) for logger in loggers] == before


def events(screen):
    """What a search of two trials tells its listener."""
    rows = [TrialRow("0001", 1, "tuned", {}), TrialRow("0002", 2, "tuned", {})]
    with phase(screen, "tokenising", "texts") as progress:
        progress(50, 100)
    screen.on_training_start("search", STUDY, 2, [])
    screen.on_trial(rows[0], rows)
    screen.on_step("0001", 7, 0.25, 100.0)
    screen.on_score("0001", 8, {"balanced/AP": 0.5, "mono/RR": 0.125})
    screen.on_workers_lost("0001", 9, 8, "killed")
    screen.on_message("warning: trains on the CPU")
    screen.on_message("token store x")
    screen.on_training_end("search")


LOST = "warning: trains on the CPU"


@pytest.mark.parametrize(("level", "printed"), [(logging.DEBUG, 5), (logging.INFO, 5), (logging.WARNING, 2)])
def test_a_screen_prints_what_its_level_asks_for_and_logs_every_event(level, printed, capsys, caplog):
    events(Screen(level=level))
    out = capsys.readouterr().out
    assert len(out.splitlines()) == printed
    assert out.count(LOST) == 1
    with_level = [(record.levelname, record.message) for record in caplog.records]
    assert ("DEBUG", "trial 1: step 7/300, loss 0.250, 100 pairs/s") in with_level
    assert ("DEBUG", "trial 1: step 8 scored: balanced/AP 0.5, mono/RR 0.125") in with_level
    assert ("DEBUG", "tokenising: begins") in with_level
    assert [name for name, _ in with_level].count("WARNING") == 2


def test_a_live_table_stands_where_its_trials_would_be_lines(monkeypatch, caplog, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    for level, live in ((logging.INFO, True), (logging.DEBUG, False), (logging.WARNING, False)):
        screen = Screen(level=level)
        assert screen.live == live
        caplog.clear()
        events(screen)
        (began,) = (record for record in caplog.records if record.message.startswith("trial 1: started"))
        assert began.levelname == ("DEBUG" if live else "INFO")
        assert LOST in capsys.readouterr().out


def test_control_characters_of_a_name_reach_no_log(caplog):
    Screen().line("a\x1b[2Jb")
    assert [record.message for record in caplog.records] == ["a�[2Jb"]
