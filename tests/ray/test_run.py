"""The command line from end to end: a study that is interrupted, goes on to its end, and is then asked again."""

import json
import os
import re
import select
import signal
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
import yaml

from hybridtune.config.fields import Encoder
from hybridtune.config.names import short_name
from hybridtune.model.folder import language_vectors_for, with_folder_settings
from hybridtune.model.language_vectors import FILE
from hybridtune.study.result import located

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

HYBRIDTUNE = str(Path(sys.executable).with_name("hybridtune"))
STEPS, EVAL_STEPS = 12, 6
RATIOS = {"mono-only": 1.0, "half-half": 0.5, "cross-only": 0.0}
EXIT_SECONDS = 60  # most that a process of a stopped cluster may take to go


class Interrupted:
    """A study that got Ctrl-C as soon as its first trial ended, and what it left."""

    def __init__(self, command, folder, env):
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=env,
            # a shell lets what it starts in the background ignore Ctrl-C, and that is inherited
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        seen = []
        for line in process.stderr:
            seen.append(line)
            if re.search(r": done after", line):
                break
        self.began = descendants(process.pid)
        os.killpg(process.pid, signal.SIGINT)  # what a terminal sends: to the whole foreground group
        self.stdout, rest = process.communicate()
        self.code, self.stderr = process.returncode, "".join(seen) + rest
        self.left = [pid for pid in self.began if not gone(pid)] + members(process.pid)
        assert (folder / "trials.jsonl").exists(), self.stderr[-3000:]
        self.rows = rows_in(folder)
        self.files = {path.name for path in folder.iterdir()}


def rows_in(folder):
    return [json.loads(line) for line in (folder / "trials.jsonl").read_text(encoding="utf-8").splitlines()]


def stat_of(pid):
    """(parent, session) of a process; None once it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else (int(fields[1]), int(fields[3]))


def processes():
    found = {int(entry.name): stat_of(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    return {pid: stat for pid, stat in found.items() if stat is not None}


def descendants(pid):
    parents = {child: stat[0] for child, stat in processes().items()}
    found, grown = {pid}, True
    while grown:
        more = {child for child, parent in parents.items() if parent in found} - found
        found, grown = found | more, bool(more)
    return sorted(found - {pid})


def members(session):
    return [pid for pid, stat in processes().items() if stat[1] == session]


def gone(pid):
    """Waits for the end of a process that is not ours."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return stat_of(pid) is None or bool(select.select([handle], [], [], EXIT_SECONDS)[0])
    finally:
        os.close(handle)


@pytest.fixture(scope="module")
def environment(no_ray, tmp_path_factory):
    return os.environ | {"HYBRIDTUNE_CACHE": str(tmp_path_factory.mktemp("cache"))}


@pytest.fixture(scope="module")
def command(small_tree, tmp_path_factory):
    """`hybridtune run` of a very small study, and its folder."""
    place = tmp_path_factory.mktemp("study")
    tree = small_tree(
        resources={"concurrent_trials": 1, "evaluators": 1, "cpus_per_worker": 1},
        benchmarks={"dev": {"path": "newsroom:dev"}, "test": {"path": "newsroom:test", "documents": [0, 4]}},
        search={
            "trials": 1,
            "repeat_best": 1,
            "soups": 2,
            "soup_trials": 1,
            "space": {"mixing_ratio": {"uniform": [0.2, 0.8]}, "temperature": {"loguniform": [0.02, 0.2]}},
        },
    )
    tree["train"] |= {"max_steps": STEPS, "eval_steps": EVAL_STEPS}
    (place / "study.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    folder = place / "out"
    return [HYBRIDTUNE, "run", str(place / "study.yaml"), "--json", "--out", str(folder)], folder


def called(command, environment):
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.fixture(scope="module")
def interrupted(command, environment):
    return Interrupted(*command, environment)


@pytest.fixture(scope="module")
def finished(interrupted, command, environment):
    """The same command once more, to the end."""
    return called(command[0], environment)


@pytest.fixture(scope="module")
def result(finished):
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


@pytest.fixture(scope="module")
def folder(finished, command):
    return command[1]


def test_ctrl_c_keeps_what_has_ended_and_leaves_no_process(interrupted):
    assert interrupted.code == 130, interrupted.stderr
    assert interrupted.stdout == ""
    assert "the same command with the same --out goes on" in interrupted.stderr.splitlines()[-1]
    assert "Traceback" not in interrupted.stderr
    assert len(interrupted.began) > 5  # Ray was up
    assert interrupted.left == []
    assert [row["status"] for row in interrupted.rows if row["metrics"]["step"] == STEPS] != []
    assert len(interrupted.rows) < 4
    assert "result.json" not in interrupted.files


def test_the_same_command_goes_on_to_the_end(finished, result, interrupted):
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.count("\n") == 1  # one JSON object and nothing else
    told = {"study", "objective", "best", "trials", "front", "test", "model", "repeats", "headline", "report"}
    told |= {"contestants", "contestant_scores", "reference", "soups", "ended", "constraints", "screening"}
    assert told == result.keys()
    kept = {row["id"]: row for row in interrupted.rows}
    assert {trial["id"]: trial for trial in result["trials"] if trial["id"] in kept} == kept  # not trained again


def test_the_result_names_every_trial_and_the_best(result, folder):
    trials = result["trials"]
    assert result["study"] == str(folder)
    assert result["objective"] == "balanced/AP"
    assert [trial["number"] for trial in trials] == [0, 1, 2, 3, 4]
    assert [trial["proposed"] for trial in trials] == ["file", "file", "file", "random", "rerun"]
    fixed, tuned, same = {trial["arm"]: trial for trial in trials[:3]}, trials[3], trials[4]
    assert {name: trial["values"]["mix.mixing_ratio"] for name, trial in fixed.items()} == RATIOS
    for name, trial in fixed.items():
        assert trial["status"] == "done"
        assert trial["values"]["train.temperature"] == 0.05  # the study's own
        assert trial["metrics"]["step"] == STEPS
        assert trial["metrics"]["pairs"] == STEPS * 8
        assert abs(trial["metrics"]["realised_ratio"] - RATIOS[name]) <= 1 / STEPS
    assert (tuned["arm"], tuned["status"]) == ("tuned", "done")
    assert 0.2 <= tuned["values"]["mix.mixing_ratio"] <= 0.8
    assert 0.02 <= tuned["values"]["train.temperature"] <= 0.2
    strongest = max(fixed, key=lambda arm: fixed[arm]["metrics"]["balanced/AP"])
    assert (same["id"], same["arm"], same["status"]) == (f"0003-{strongest}", strongest, "done")
    ratio, temperature = RATIOS[strongest], tuned["values"]["train.temperature"]
    assert same["values"] == {"mix.mixing_ratio": ratio, "train.temperature": temperature}
    beside = {"arm": strongest, "same_values": "same-values", "file_values": strongest}
    assert result["reference"] == beside
    assert result["contestants"] == {
        **{"tuned": "0003", "mono-only": "0000", "half-half": "0001", "cross-only": "0002"},
        "same-values": same["id"],
    }
    done = [trial for trial in trials if trial["status"] == "done"]
    assert result["best"] == max(done, key=lambda trial: trial["metrics"]["balanced/AP"])
    assert result["front"] == [result["best"]["id"]]
    assert 0 < result["test"]["metrics"]["balanced/AP"] < 1


def test_all_contestants_are_scored_on_the_test_benchmark_and_the_exported_model_is_one(result, folder):
    found = result["contestant_scores"]
    assert found["benchmark"] == "test"
    rows = {row["contestant"]: row for row in found["rows"]}
    plain = [*result["contestants"], "soup", "start"]
    ways = {"tuned": ["centred", "standardised"], "start": ["centred", "together", "shift", "standardised"]}
    expected = [slug for one in plain for slug in (one, *(f"{one}-{way}" for way in ways.get(one, ["centred"])))]
    assert list(rows) == expected
    assert {slug: rows[slug]["trial"] for slug in result["contestants"]} == result["contestants"]
    (chosen,) = (slug for slug, trial in result["contestants"].items() if trial == result["best"]["id"])
    for slug, row in rows.items():
        home = folder / "contestants" / slug
        scores = json.loads((home / "scores.json").read_text(encoding="utf-8"))
        assert {name: one["value"] for name, one in row["metrics"].items()}.items() <= scores["metrics"].items()
        assert scores["counts"] == result["test"]["counts"]
        assert (home / "per_query.parquet").stat().st_size > 0
    assert rows["start"]["metrics"]["multi/AP"] != rows["start-centred"]["metrics"]["multi/AP"]
    assert rows[chosen]["metrics"]["multi/AP"]["value"] == result["test"]["metrics"]["multi/AP"]
    values = (folder / "contestants" / chosen / "per_query.parquet").read_bytes()
    assert (folder / "best" / "per_query.parquet").read_bytes() == values


def test_the_study_folder_holds_the_evidence(result, folder):
    for name in ("study.yaml", "optuna.db", "environment.json", "best/modules.json", "best/model.safetensors"):
        assert (folder / name).stat().st_size > 0
    best = with_folder_settings(Encoder(name=str(folder / "best")))
    assert language_vectors_for(folder, best).method == "apart"  # of this very model
    assert FILE in (folder / "best" / "README.md").read_text(encoding="utf-8")
    assert rows_in(folder) == result["trials"]
    kept = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    assert str(folder) not in json.dumps(kept)
    assert located(kept, folder) == result
    assert json.loads((folder / "best" / "scores.json").read_text(encoding="utf-8"))["test"] == result["test"]
    for trial in result["trials"]:
        place = folder / "trials" / trial["id"]
        lines = [json.loads(line) for line in (place / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        assert lines[-1] == trial["metrics"]
        assert {line["step"] for line in lines} <= {EVAL_STEPS, STEPS}
        assert list(place.glob("events.out.tfevents.*"))
        assert (folder / trial["checkpoint"] / "model.safetensors").is_file()


def test_every_contestant_is_repeated_with_another_seed(result, folder):
    repeats = result["repeats"]
    assert json.loads((folder / "repeats.json").read_text(encoding="utf-8")) == repeats
    assert repeats["seeds"] == [4]  # the study's is 3
    assert list(repeats["contestants"]) == [*result["contestants"], "soup"]
    assert (folder / "repeats" / "soups" / "soup-s1" / "per_query.parquet").is_file()
    for who, one in repeats["contestants"].items():
        assert not one["failed"]
        assert one["metrics"]["balanced/AP"]["by_seed"].keys() == {"4"}
        assert (folder / "repeats" / "trials" / f"{who}-s1" / "plan.json").is_file() == (who != "soup")
    on_test = result["contestant_scores"]["seeds"]
    assert list(on_test["contestants"]) == [row["contestant"] for row in result["contestant_scores"]["rows"]]
    for who, one in on_test["contestants"].items():
        home = folder / "repeats" / "contestants" / f"{who}-s1"
        assert not one["failed"]
        assert home.is_dir() == (not who.startswith("start"))
    assert "with the file's values on balanced/AP of the test benchmark (1 seed each): " in result["headline"]
    assert "<h1" in (folder / "report.html").read_text(encoding="utf-8")


def test_optuna_knows_all_trials_once(result, folder):
    study = optuna.load_study(study_name="small", storage=f"sqlite:///{folder / 'optuna.db'}")
    states = {"done": optuna.trial.TrialState.COMPLETE, "stopped early": optuna.trial.TrialState.PRUNED}
    trials = [trial for trial in result["trials"] if trial["proposed"] != "rerun"]
    assert [trial.state for trial in study.trials] == [states[trial["status"]] for trial in trials]
    known = [
        (trial.number, trial.user_attrs["arm"], trial.user_attrs["proposed"], trial.value) for trial in study.trials
    ]
    assert known == [
        (trial["number"], trial["arm"], trial["proposed"], trial["metrics"]["balanced/AP"]) for trial in trials
    ]
    for one, trial in zip(study.trials, trials, strict=True):
        own = {name for name in trial["values"] if trial["arm"] == "tuned" or name != "mix.mixing_ratio"}
        assert one.params == {short_name(name): trial["values"][name] for name in own}
    for trial in study.trials:
        assert set(trial.intermediate_values) <= {EVAL_STEPS, STEPS}


def test_a_study_that_has_ended_gives_its_result_again(command, environment, result, folder):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    again = called(command[0], environment)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout) == result
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_another_study_is_refused_in_the_same_folder(command, environment, folder):
    before = (folder / "study.yaml").read_text(encoding="utf-8")
    refused = called([*command[0], "--seed", "4"], environment)
    assert refused.returncode == 2
    assert refused.stdout == ""
    assert "holds another study" in refused.stderr.splitlines()[-1]
    assert "Traceback" not in refused.stderr
    assert (folder / "study.yaml").read_text(encoding="utf-8") == before


def test_soups_are_scored_on_dev_and_the_best_is_written_where_it_is_above_every_trial(result, folder):
    soups = result["soups"]
    ends = {name: result["contestants"][name] for name in ("mono-only", "cross-only")}
    assert [row["models"] for row in soups["rows"][:2]] == [ends, ends]
    assert [row["weights"] for row in soups["rows"][:2]] == [
        {"mono-only": 2.0, "cross-only": 1.0},
        {"mono-only": 1.0, "cross-only": 2.0},
    ]
    assert soups["rows"][2]["weights"].keys() == result["contestants"].keys()
    best = max(soups["rows"], key=lambda row: row["metrics"]["balanced/AP"])
    assert soups["best"] == best["id"]
    assert soups["wins"] == (best["metrics"]["balanced/AP"] > result["best"]["metrics"]["balanced/AP"])
    assert (folder / "soup" / "model.safetensors").is_file() == soups["wins"]
    if soups["wins"]:
        soup = with_folder_settings(Encoder(name=str(folder / "soup")))
        assert language_vectors_for(folder / "soup", soup).offsets.keys() == {"queries", "passages"}
    assert {path.name for path in (folder / "soups").iterdir()} == {"0000", "0001", "0002"}
    assert "soup-curve" in (folder / "report.html").read_text(encoding="utf-8")


def test_a_study_that_has_ended_scores_other_soups_and_trains_nothing(command, environment, result, folder):
    again = called([*command[0], "--set", "search.soups=1", "--set", "search.soup_trials=0"], environment)
    assert again.returncode == 0, again.stderr
    found = json.loads(again.stdout)
    assert [row["weights"] for row in found["soups"]["rows"]] == [{"mono-only": 1.0, "cross-only": 1.0}]
    assert [path.name for path in (folder / "soups").iterdir()] == ["0000"]
    of_soups = ("soups", "contestant_scores", "repeats")
    assert {key: found[key] for key in found if key not in of_soups} == {
        key: result[key] for key in result if key not in of_soups
    }


def test_a_soup_that_is_merged_by_command_has_the_figures_that_the_study_gave_it(environment, folder):
    (file,) = (folder / "soups").glob("*/scores.json")
    soup = json.loads(file.read_text(encoding="utf-8"))
    models = [f"{folder}:{trial}" for trial in soup["soup"]["models"].values()]
    weights = ",".join(f"{weight:g}" for weight in soup["soup"]["weights"].values())
    out = folder.with_name("merged")
    merged = called([HYBRIDTUNE, "merge", *models, "--weights", weights, "--out", str(out), "--json"], environment)
    assert merged.returncode == 0, merged.stderr
    command = [HYBRIDTUNE, "evaluate", str(out), "--benchmark", "newsroom:dev", "--json"]
    done = called([*command, "--set", "resources.evaluators=1"], environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["metrics"] == soup["metrics"]
