import json
import subprocess
import sys

import pytest
from cli_calls import files

from hybridtune.config.study import demo_study, load_study
from hybridtune.data.newsroom import LANGUAGES
from hybridtune.runtime import local
from hybridtune.runtime.local import gpus
from hybridtune.study.folder import write_study

DEMO = str(demo_study())


def test_help_imports_nothing_heavy():
    code = """
import sys
from hybridtune.cli.main import main
for sys.argv in (["hybridtune", "--help"], ["hybridtune", "run", "--help"], ["hybridtune", "--version"]):
    try:
        main()
    except SystemExit as stop:
        assert not stop.code
print("heavy:", sorted({"torch", "ray", "transformers", "optuna", "pydantic", "numpy", "pyarrow"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("heavy: []\n")
    for word in ("run", "train", "evaluate", "--set A.B=C", "--dry-run"):
        assert word in done.stdout
    assert done.stderr == ""


@pytest.mark.slow
def test_a_dry_run_imports_neither_torch_nor_ray():
    code = """
import sys
from hybridtune.cli.main import main
from hybridtune.runtime import local
local.gpus = lambda: 0  # where there is a driver, torch is asked
sys.argv = ["hybridtune", "run", "--dry-run", "--json"]
main()
print("heavy:", sorted({"torch", "ray", "transformers"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("heavy: []\n")
    assert json.loads(done.stdout.splitlines()[0])


GROUP = {"group_id": "1", "document_id": "", "queries": {"en": "q"}, "passages": {"en": "p"}}


def groups(count, queries, passages):
    """Groups that share no text."""
    return [
        {"group_id": str(i), "queries": {x: f"q{i}{x}" for x in queries}, "passages": {x: f"p{i}{x}" for x in passages}}
        for i in range(count)
    ]


# name: (overrides of a good study, the line on stderr; {here} is the folder of the files, {study} the study file)
WRONG_STUDY = {
    "unknown key": (["train.temprature=0.1"], "{study}: train.temprature: unknown key; did you mean 'temperature'?"),
    "wrong type": (["train.max_steps=many"], "{study}: train.max_steps: input should be a valid integer (got 'many')"),
    "mixing ratio": (
        ["mix.mixing_ratio=1.5"],
        "{study}: mix.mixing_ratio: input should be less than or equal to 1 (got 1.5)",
    ),
    "temperature": (["train.temperature=0"], "{study}: train.temperature: input should be greater than 0 (got 0)"),
    "override": (["train"], "--set train: write it as --set section.field=value"),
    "missing path": (["data.train={here}/none.jsonl"], "{here}/none.jsonl: does not exist"),
    "missing benchmark": (["benchmarks.dev.path={here}/none"], "{here}/none: does not exist"),
    "empty file": (["data.train={here}/empty.jsonl"], "data.train: {here}/empty.jsonl: there is no group in it"),
    "empty benchmark": (["benchmarks.dev.path={here}/empty.jsonl"], "{here}/empty.jsonl: no query in the benchmark"),
    "broken JSON": (
        ["data.train={here}/broken.jsonl"],
        "{here}/broken.jsonl:2: broken JSON: Expecting value, column 14",
    ),
    "link to nowhere": (
        ["data.train={here}/linked"],
        "{here}/linked/broken.jsonl: is a symbolic link to /nowhere.jsonl, which does not exist",
    ),
    "one language in two codes": (
        ["data.train={here}/eng.jsonl"],
        "{here}/eng.jsonl:1: queries: 'en' and 'eng' are one language; keep one of the two",
    ),
    "one language in two cases": (
        ["data.train={here}/cases.jsonl"],
        "{here}/cases.jsonl:1: queries: 'zh-TW' and 'zh-tw' are one language; keep one of the two",
    ),
    "no language": (
        ["data.train={here}/und.jsonl"],
        "{here}/und.jsonl:1: queries: 'und' names no language (ISO 639 reserves 'und'); give the code of the language",
    ),
    "unknown code": (
        ["data.train={here}/xx.jsonl"],
        "{here}/xx.jsonl:1: queries: 'xx' is no language code of ISO 639; did you mean 'xh'?",
    ),
    "limit of an unknown language": (
        ["data.language_limits={{xx: 3}}"],
        "{study}: data.language_limits.xx: 'xx' is no language code of ISO 639; did you mean 'xh'?",
    ),
    "large batch": (
        ["data.train={here}/both.jsonl", "train.batch_size=8"],
        "train.batch_size 8 is larger than the 6 distinct groups in the largest language: no mono batch can be made "
        "and mixing_ratio is 0.5; use a batch of at most 6",
    ),
    "no cross pair": (
        ["data.train={here}/mono.jsonl", "train.batch_size=2"],
        "the training data has no cross pair, and mixing_ratio 0.5 asks for cross batches: set mix.mixing_ratio to 1 "
        "or add such pairs",
    ),
    "no cross pair for a fixed ratio": (
        ["data.train={here}/mono.jsonl", "train.batch_size=2", "mix.mixing_ratio=1", "search.space={{}}"],
        "the training data has no cross pair, and mixing_ratio 0.5 asks for cross batches: set mix.mixing_ratio to 1 "
        "or add such pairs",
    ),
    "large batch in the space": (
        ["data.train={here}/both.jsonl", "train.batch_size=4", "search.space={{batch_size: {{choice: [4, 8]}}}}"],
        "train.batch_size 8 is larger than the 6 distinct groups in the largest language: no mono batch can be made "
        "and mixing_ratio is 1.0; use a batch of at most 6",
    ),
    "file value outside the choices": (
        ["search.space={{batch_size: {{choice: [4, 16]}}}}"],
        "search.space.train.batch_size: the first trial of each fixed ratio has the file's value, 8, which is not "
        "among the choices [4, 16]; add it, change the value, or set search.arms to rerun",
    ),
    "query without relevant passage": (
        ["benchmarks.dev.path={here}/unanswered.jsonl"],
        "{here}/unanswered.jsonl:1: passages is empty: nothing answers the queries of group '0'",
    ),
    "objective": (
        ["search.objective=multi/rank_distance_", "benchmarks.dev.path={here}/both.jsonl"],
        "search.objective: unknown metric 'multi/rank_distance_'; known: mono/AP, mono/RR, mono/nDCG@10, mono/R@1, "
        "mono/R@10, mono/R@100, cross/AP, cross/RR, cross/nDCG@10, cross/R@1, cross/R@10, cross/R@100, multi/AP, "
        "multi/RR, multi/nDCG@10, multi/R@1, multi/R@10, multi/R@100, multi/rank_distance, multi/language_preference, "
        "multi/rank_correlation, multi/PEER, balanced/AP, other cutoffs, and each with @GROUP",
    ),
    "objective without a setting": (
        ["search.objective=cross/AP", "benchmarks.dev.path={here}/one.jsonl"],
        "search.objective cross/AP: the benchmark {here}/one.jsonl has no query for the cross setting; it has mono",
    ),
    "model folder": (
        ["encoder.name={here}/none"],
        "encoder {here}/none: no model there: it is neither a model folder nor a name that could be fetched; give "
        "the path of a folder with config.json, tokenizer.json and model.safetensors (no such folder)",
    ),
}


CODES = {"eng": ["en", "eng"], "cases": ["zh-TW", "zh-tw"], "und": ["und", "en"], "xx": ["xx", "en"]}
SEARCHED_ALONE = ("no cross pair for a fixed ratio", "large batch in the space", "file value outside the choices")
CASES = [(c, name) for c in ("run", "train") for name in WRONG_STUDY if c == "run" or name not in SEARCHED_ALONE]


@pytest.mark.parametrize(("command", "name"), CASES)
def test_a_wrong_study_is_one_line_and_writes_nothing(call, study_file, groups_file, tmp_path, name, command):
    groups_file([], "empty.jsonl")
    groups_file([GROUP], "one.jsonl")
    with groups_file([GROUP], "broken.jsonl").open("a") as file:
        file.write('{"group_id": \n')
    groups_file(groups(6, ["en", "de"], ["en", "de"]), "both.jsonl")
    groups_file(groups(6, ["en"], ["en"]), "mono.jsonl")
    groups_file(groups(2, ["en"], []), "unanswered.jsonl")
    for file, codes in CODES.items():
        groups_file(groups(6, codes, codes), f"{file}.jsonl")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "broken.jsonl").symlink_to("/nowhere.jsonl")
    overrides, line = WRONG_STUDY[name]
    study = study_file()
    before = files(tmp_path)
    options = [part for override in overrides for part in ("--set", override.format(here=tmp_path))]
    expected = f"hybridtune: {line.format(here=tmp_path, study=study)}\n"
    assert call(command, study, *options) == (2, "", expected)
    assert call(command, study, *options, "--dry-run", "--json") == (2, "", expected)
    assert files(tmp_path) == before


def test_more_gpus_than_there_are(call, study_file, tmp_path):
    import torch

    has = torch.cuda.device_count()
    line = (
        f"hybridtune: resources: a trial of 2 workers with 99 GPUs each needs 198 GPUs and this machine has {has}; "
        "lower workers or gpus_per_worker (0 trains on CPU)\n"
    )
    options = ["--set", "resources.workers=2", "--set", "resources.gpus_per_worker=99.0"]
    study = study_file()
    before = files(tmp_path)
    assert call("run", study, *options) == (2, "", line)
    assert files(tmp_path) == before


def test_missing_study_file_and_unset_variable(call, study_file, tmp_path):
    study = study_file(data={"train": "${HYBRIDTUNE_DATA}/a.jsonl"})
    before = files(tmp_path)
    missing = f"hybridtune: {tmp_path}/none.yaml: cannot read the study file: No such file or directory\n"
    unset = (
        f"hybridtune: {study}: ${{HYBRIDTUNE_DATA}}/a.jsonl: the variable HYBRIDTUNE_DATA is not set; set it "
        "(export HYBRIDTUNE_DATA=...) or give the path by --set\n"
    )
    assert call("run", tmp_path / "none.yaml") == (2, "", missing)
    assert call("train", study) == (2, "", unset)
    assert files(tmp_path) == before


def test_an_out_folder_that_holds_something_else(call, study_file, tmp_path):
    (tmp_path / "other").mkdir()
    other = load_study(study_file("other.yaml", seed=3))
    write_study(other, tmp_path / "other")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    study = study_file()
    before = files(tmp_path)
    for folder, reason in (
        ("other", "holds another study (its study.yaml differs); choose a new folder"),
        ("full", "is not empty and holds no study; choose a new folder"),
    ):
        code, _, err = call("run", study, "--out", tmp_path / folder)
        assert (code, err) == (2, f"hybridtune: --out {tmp_path / folder}: {reason}\n")
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train"], "Error: Missing argument 'STUDY'."),
        (["evaluate", "x"], "Error: Missing option '--benchmark'."),
        (["run", "--sett", "a=b"], "Error: No such option '--sett'."),
        (["rnu"], "Error: No such command 'rnu'."),
        (["run", "--seed", "-1"], "Error: Invalid value for '--seed': -1 is not in the range"),
    ],
)
def test_a_wrong_command_line_shows_its_usage(call, arguments, message):
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("Usage: ")
    assert message in err


def test_dry_run_of_the_demo_shows_the_plan_and_writes_nothing(call, tmp_path):
    code, out, err = call("run", "--dry-run")
    assert (code, err) == (0, "")
    for text in (
        "name: newsroom",
        "training pairs",
        "batches of the fixed values",
        "mixing ratio requested 0.5, realised",
    ):
        assert text in out
    assert out.rstrip().endswith("nothing was started or written")
    assert files(tmp_path) == [str(tmp_path / "here")]


@pytest.mark.parametrize("arguments", [["run"], ["train", DEMO]])
def test_dry_run_as_json(call, tmp_path, arguments):
    code, out, err = call(*arguments, "--dry-run", "--json", "--seed", "7", "--set", "train.max_steps=40")
    assert (code, err) == (0, "")
    described = json.loads(out)
    study = load_study(demo_study(), ["seed=7", "train.max_steps=40"])
    expected = study.model_dump(mode="json")
    expected["resources"]["gpus_per_worker"] = float(gpus() > 0)  # a number has taken the place of auto
    assert described["study"] == expected
    assert [row["language"] for row in described["languages"]] == sorted(LANGUAGES)
    assert described["objectives"] == {"balanced/AP": "max"}
    assert {name: found["settings"] for name, found in described["benchmarks"].items()} == {
        name: ["mono", "cross", "multi"] for name in ("dev", "test")
    }
    plan = described["plan"]
    assert plan["requested_ratio"] == 0.5
    assert abs(plan["realised_ratio"] - 0.5) <= 1 / 40
    assert sum(row["pairs"] for row in plan["table"]) == 40 * study.train.batch_size
    assert described["trials"] == study.search.trials
    assert files(tmp_path) == [str(tmp_path / "here")]


def test_a_time_budget_is_a_field_of_the_study(call):
    code, out, _ = call("run", "--dry-run", "--json", "--time-budget", "30m", "--set", "search.time_budget=2h")
    assert (code, json.loads(out)["study"]["search"]["time_budget"]) == (0, "30m")
    code, out, err = call("run", "--time-budget", "soon")
    assert (code, out) == (2, "")
    assert err.startswith(f"hybridtune: {DEMO}: search.time_budget: ")
    assert "soon" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", ["report", "status", "trials", "dashboard"])
def test_a_folder_without_a_study_is_one_line(call, tmp_path, command):
    before = files(tmp_path)
    code, out, err = call(command, tmp_path / "here")
    assert (code, out) == (2, "")
    assert err.startswith(f"hybridtune: {tmp_path / 'here'}: ")
    assert "no study.yaml" in err
    assert err.count("\n") == 1
    assert files(tmp_path) == before


def test_the_schema_goes_to_stdout_or_to_a_file(call, tmp_path):
    code, out, err = call("schema")
    assert (code, err) == (0, "")
    assert {"data", "train", "search"} <= json.loads(out)["properties"].keys()
    assert call("schema", "--out", tmp_path / "study.schema.json") == (0, "", "")
    assert (tmp_path / "study.schema.json").read_text() == out
    assert call("schema", "--out", tmp_path / "new" / "file.json") == (0, "", "")
    plain = tmp_path / "study.schema.json"
    line = f"hybridtune: --out {plain}: {plain} is a file; name a folder\n"
    assert call("schema", "--out", plain / "file.json") == (2, "", line)


def pretend_machine(monkeypatch, cores, cards):
    monkeypatch.setattr(local, "cores", lambda: cores)
    monkeypatch.setattr(local, "gpus", lambda: cards)


FITS = "trials that there is room for"
ON_CPU = "warning: trains on the CPU, and this machine has"


@pytest.mark.parametrize(
    ("cores", "cards", "settings", "line", "at_once", "notice"),
    [
        (16, 1, [], "15 trials, 1 at once", 1, None),
        (16, 0, [], "15 trials, 3 at once", 3, f"3 of the 16 {FITS} run at once: a quarter of the search at most"),
        (16, 8, [], "15 trials, 3 at once", 3, f"3 of the 8 {FITS} run at once: a quarter of the search at most"),
        (16, 0, ["search.trials=4"], "4 trials, 1 at once", 1, f"1 of the 16 {FITS} runs at once"),
        (16, 0, ["resources.concurrent_trials=12"], "15 trials, 12 at once", 12, None),
        (16, 0, ["search.sampler=random"], "15 trials, 16 at once", 16, None),  # it learns nothing
        (16, 1, ["resources.gpus_per_worker=0"], "15 trials, 3 at once", 3, f"{ON_CPU} 1 GPU: "),
    ],
)
def test_a_dry_run_says_how_many_trials_run_at_once_and_why(
    call, study_file, monkeypatch, cores, cards, settings, line, at_once, notice
):
    pretend_machine(monkeypatch, cores, cards)
    space = {"temperature": {"loguniform": [0.02, 0.2]}}
    options = [word for setting in settings for word in ("--set", setting)]
    command = ("run", str(study_file(search={"trials": 15, "arms": "none", "space": space})), "--dry-run", *options)
    code, out, err = call(*command)
    assert code == 0, err
    assert line in out
    assert (FITS in out or ON_CPU in out) == (notice is not None)
    assert notice is None or notice in out
    plan = json.loads(call(*command, "--json")[1])
    each = 0 if "resources.gpus_per_worker=0" in settings else min(1, cards)
    assert (plan["concurrent_trials"], plan["study"]["resources"]["gpus_per_worker"]) == (at_once, each)


def test_a_single_training_reports_an_idle_gpu(call, study_file, monkeypatch):
    pretend_machine(monkeypatch, 16, 2)
    study = str(study_file())
    assert "warning" not in call("train", study, "--dry-run")[1]
    _, out, _ = call("train", study, "--dry-run", "--set", "resources.gpus_per_worker=0")
    assert f"{ON_CPU} 2 GPUs: resources.gpus_per_worker is 0; write auto, or leave it out" in out
    assert FITS not in out


def test_a_gpu_that_torch_cannot_use_is_reported(call, study_file, monkeypatch, tmp_path):
    pretend_machine(monkeypatch, 16, 0)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    (tmp_path / "gpus" / "0000:01:00.0").mkdir(parents=True)
    monkeypatch.setattr(local, "_CARDS", tmp_path / "gpus")
    assert "this machine has an NVIDIA GPU: torch" in call("train", str(study_file()), "--dry-run")[1]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # it is not to be used
    assert "NVIDIA" not in call("train", str(study_file()), "--dry-run")[1]
