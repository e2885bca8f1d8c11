import json
import subprocess
import sys

import pytest

from hybridtune.cli import main
from hybridtune.data.newsroom import LANGUAGES
from hybridtune.study_file import demo_study, load_study

DEMO = str(demo_study())


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Runs the command line in this process, in a folder of its own: (exit code, stdout, stderr)."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HYBRIDTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HYBRIDTUNE_DATA", raising=False)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["hybridtune", *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code
        return (code, *capsys.readouterr())

    return run


def files(folder):
    return sorted(str(path) for path in folder.rglob("*"))


def test_help_imports_nothing_heavy():
    code = """
import sys
from hybridtune.cli import main
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


GROUP = {"group_id": "1", "document_id": "", "queries": {"en": "q"}, "passages": {"en": "p"}}


def groups(count, queries, passages):
    """Groups that share no text."""
    return [
        {
            "group_id": str(i),
            "queries": {x: f"q{i}{x}" for x in queries},
            "passages": {x: f"p{i}{x}" for x in passages},
        }
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
    "missing path": (
        ["data.train={here}/none.jsonl"],
        "{here}/none.jsonl: does not exist",
    ),
    "missing benchmark": (
        ["benchmarks.dev.path={here}/none"],
        "{here}/none: does not exist",
    ),
    "empty file": (
        ["data.train={here}/empty.jsonl"],
        "data.train: {here}/empty.jsonl: there is no group in it",
    ),
    "empty benchmark": (
        ["benchmarks.dev.path={here}/empty.jsonl"],
        "{here}/empty.jsonl: no query in the benchmark",
    ),
    "broken JSON": (
        ["data.train={here}/broken.jsonl"],
        "{here}/broken.jsonl:2: broken JSON: Expecting value, column 13",
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
    "no cross pair for a baseline": (
        ["data.train={here}/mono.jsonl", "train.batch_size=2", "mix.mixing_ratio=1", "search.space={{}}"],
        "the training data has no cross pair, and mixing_ratio 0.5 asks for cross batches: set mix.mixing_ratio to 1 "
        "or add such pairs",
    ),
    "large batch in the space": (
        ["data.train={here}/both.jsonl", "train.batch_size=4", "search.space={{batch_size: {{choice: [4, 8]}}}}"],
        "train.batch_size 8 is larger than the 6 distinct groups in the largest language: no mono batch can be made "
        "and mixing_ratio is 1.0; use a batch of at most 6",
    ),
    "baseline outside the choices": (
        ["search.space={{batch_size: {{choice: [4, 16]}}}}"],
        "search.space.batch_size: the baselines train with 8, which is not among the choices [4, 16]; add it, change "
        "the fixed value, or set search.baselines to false",
    ),
    "query without relevant passage": (
        ["benchmarks.dev.path={here}/unanswered.jsonl"],
        "{here}/unanswered.jsonl: query of group '0' has no relevant passage",
    ),
    "objective": (
        ["search.objective=multi/rank_distance_", "benchmarks.dev.path={here}/both.jsonl"],
        "unknown metric 'multi/rank_distance_'; known: mono/AP, mono/RR, mono/nDCG@10, mono/R@1, mono/R@10, "
        "mono/R@100, cross/AP, cross/RR, cross/nDCG@10, cross/R@1, cross/R@10, cross/R@100, multi/AP, multi/RR, "
        "multi/nDCG@10, multi/R@1, multi/R@10, multi/R@100, multi/rank_distance, multi/language_preference, "
        "multi/PEER, balanced/AP, and other cutoffs",
    ),
    "objective without a setting": (
        ["search.objective=cross/AP", "benchmarks.dev.path={here}/one.jsonl"],
        "search.objective cross/AP: the benchmark {here}/one.jsonl has no query for the cross setting; it has mono",
    ),
    "model folder": (
        ["encoder.name={here}/none"],
        "encoder {here}/none: no tokenizer there: it is neither a model folder nor a name that could be fetched; give "
        "the path of a folder with config.json, tokenizer.json and model.safetensors (no such folder)",
    ),
}


SEARCHED_ALONE = ("no cross pair for a baseline", "large batch in the space", "baseline outside the choices")
CASES = [("run", name) for name in WRONG_STUDY] + [
    ("train", name) for name in WRONG_STUDY if name not in SEARCHED_ALONE
]


@pytest.mark.parametrize(("command", "name"), CASES)
def test_a_wrong_study_is_one_line_and_writes_nothing(call, study_file, groups_file, tmp_path, name, command):
    groups_file([], "empty.jsonl")
    groups_file([GROUP], "one.jsonl")
    with groups_file([GROUP], "broken.jsonl").open("a") as file:
        file.write('{"group_id": \n')
    groups_file(groups(6, ["en", "de"], ["en", "de"]), "both.jsonl")
    groups_file(groups(6, ["en"], ["en"]), "mono.jsonl")
    groups_file(groups(2, ["en"], []), "unanswered.jsonl")
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
        "(export HYBRIDTUNE_DATA=FOLDER) or give the path by --set\n"
    )
    assert call("run", tmp_path / "none.yaml") == (2, "", missing)
    assert call("train", study) == (2, "", unset)
    assert files(tmp_path) == before


def test_an_out_folder_that_holds_something_else(call, study_file, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "study.yaml").write_text("name: other\n")
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


WRONG_EVALUATION = {
    "model folder": (
        ["{here}/none", "--benchmark", "newsroom:dev"],
        "encoder {here}/none: no tokenizer there: it is neither a model folder nor a name that could be fetched; give "
        "the path of a folder with config.json, tokenizer.json and model.safetensors (no such folder)",
    ),
    "benchmark": (
        ["{here}", "--benchmark", "{here}/none.jsonl"],
        "{here}/none.jsonl: does not exist",
    ),
    "part of the newsroom": (
        ["{here}", "--benchmark", "newsroom:all"],
        "newsroom:all: the embedded corpus has newsroom:train, newsroom:dev and newsroom:test",
    ),
    "tiny": (
        ["tiny", "--benchmark", "newsroom:dev"],
        "tiny is built by a study; evaluate takes a model folder, a name or a study folder",
    ),
    "key": (
        ["{here}", "--benchmark", "newsroom:dev", "--set", "encoder.poling=cls"],
        "--set: encoder.poling: unknown key; did you mean 'pooling'?",
    ),
    "language": (
        ["{here}", "--benchmark", "newsroom:dev", "--set", "benchmark.languages=[fi]"],
        "newsroom:dev languages fi: no query has a relevant passage",
    ),
}


@pytest.mark.parametrize("name", WRONG_EVALUATION)
def test_a_wrong_evaluation_is_one_line_and_writes_nothing(call, tmp_path, name):
    arguments, line = WRONG_EVALUATION[name]
    before = files(tmp_path)
    found = call("evaluate", *(part.format(here=tmp_path) for part in arguments), "--out", tmp_path / "out")
    assert found == (2, "", f"hybridtune: {line.format(here=tmp_path)}\n")
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["train"], "Error: Missing argument 'STUDY'."),
        (["evaluate", "x"], "Error: Missing option '--benchmark'."),
        (["run", "--sett", "a=b"], "Error: No such option '--sett'."),
        (["rnu"], "Error: No such command 'rnu'."),
        (["run", "--seed", "-1"], "Error: Invalid value for '--seed': -1 is not in the range"),
    ],
)
def test_a_wrong_command_line_shows_its_usage(call, arguments, told):
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("Usage: ")
    assert told in err


def test_dry_run_of_the_demo_shows_the_plan_and_writes_nothing(call, tmp_path):
    code, out, err = call("run", "--dry-run")
    assert (code, err) == (0, "")
    for text in ("name: newsroom", "training pairs", "batches of the fixed values", "mixing ratio asked 0.5, realised"):
        assert text in out
    assert out.rstrip().endswith("nothing was started or written")
    assert files(tmp_path) == [str(tmp_path / "here")]


@pytest.mark.parametrize("arguments", [["run"], ["train", DEMO]])
def test_dry_run_as_json(call, tmp_path, arguments):
    code, out, err = call(*arguments, "--dry-run", "--json", "--seed", "7", "--set", "train.max_steps=40")
    assert (code, err) == (0, "")
    told = json.loads(out)
    study = load_study(demo_study(), ["seed=7", "train.max_steps=40"])
    assert told["study"] == study.model_dump(mode="json")
    assert [row["language"] for row in told["languages"]] == sorted(LANGUAGES)
    assert told["objectives"] == {"balanced/AP": "max"}
    assert {name: found["settings"] for name, found in told["benchmarks"].items()} == {
        name: ["mono", "cross", "multi"] for name in ("dev", "test")
    }
    plan = told["plan"]
    assert plan["asked_ratio"] == 0.5
    assert abs(plan["realised_ratio"] - 0.5) <= 1 / 40
    assert sum(row["pairs"] for row in plan["table"]) == 40 * study.train.batch_size
    assert told["trials"] == 3 + study.search.trials
    assert files(tmp_path) == [str(tmp_path / "here")]


def test_dry_run_of_an_evaluation(call, tiny, tmp_path):
    short = ("--set", "encoder.query_length=16", "--set", "encoder.passage_length=24")
    code, out, _ = call("evaluate", tiny[0], "--benchmark", "newsroom:dev", "--dry-run", "--json", *short)
    assert code == 0
    told = json.loads(out)
    assert (told["model"], told["benchmark"], told["settings"]) == (str(tiny[0]), "newsroom:dev", "mono, cross, multi")
    assert told["passages"] > 100
    assert files(tmp_path) == [str(tmp_path / "here")]
