"""Arguments that are wrong in any way, of every command: a line a problem, and nothing written."""

import json
from pathlib import Path

import pytest
from bad_calls import Case
from bad_inputs import PAIRS, TEXTS, TINY
from hypothesis import strategies as st

STUDY = json.dumps(
    {
        "name": "x",
        "data": {"train": "pairs.jsonl", "on_leak": "warn"},
        "benchmarks": {"dev": {"path": "newsroom:dev"}},
        "encoder": TINY,
        "train": {"batch_size": 2, "max_steps": 2},
    }
).encode()
FILES = {
    "pairs.jsonl": PAIRS,
    "s.yaml": STUDY,
    "file": b"x",
    "folder": None,
    "loop": Path("loop"),
    "nowhere": Path("none"),
    "out.jsonl": b"mine",
    "run.trec": b"q 0 d 1 0.5 x\n",
    "cluster.yaml": (Path(__file__).parents[2] / "clusters" / "local_autoscaling.yaml").read_bytes(),
}
LONG = ["x" * 256, "x/" * 2100 + "x", "é" * 130]
PLACES = st.sampled_from(
    [
        *LONG,
        "",
        ".",
        "/proc/x/y",
        "/sys/x",
        "file",
        "file/below",
        "folder",
        "loop",
        "loop/x",
        "nowhere",
        "nowhere/x",
        "none/x",
        "~nobody",
        "~nobody/x",
        "-",
        "--",
        "a\nb",
        "\x1b[2J",
        "$HOME",
        "*",
        "[",
        "out.jsonl",
        "out.txt",
        "out.jsonl.gz",
        "out.parquet",
        "pairs.jsonl",
        "s.yaml",
        "foo://x",
        "foo://",
        "://",
        "file:///proc/x",
        "http://127.0.0.1:1/x",
        "https://127.0.0.1:1/x",
        "http://[::1",
        "s3:/",
        "s3://",
        "gs://",
        "memory://x",
        "hdfs://",
        "run.trec",
        "cluster.yaml",
        "newsroom:dev",
        "newsroom:x",
        "holdout:dev",
    ]
) | TEXTS.filter(lambda text: not {*text} & {*"\0/"} and text != "..")
WORDS = st.sampled_from(
    [
        "",
        "0",
        "-1",
        "1",
        "1.5",
        "1e5",
        "nan",
        "inf",
        "9" * 30,
        "x",
        "auto",
        "1,2",
        ",",
        "=",
        "a=b",
        "en",
        "xx",
        "en-de",
        "AP",
        "nDCG@10",
        "AP@0",
        "x:y",
        "os.path:nothing",
        "5m",
        "-5m",
        "1e400d",
        "20GB",
        "-1GB",
        "nanGB",
        "together",
        "back",
        "cpu",
        "127.0.0.1:1",
        "http://127.0.0.1:1",
        "ray://x",
        "foo://x",
        *LONG,
    ]
) | TEXTS.filter(lambda text: "\0" not in text)
COMMANDS = {  # what stands for its arguments, and its options: with a value of PLACES, of WORDS, and without a value
    "run": (["s.yaml"], ["--out"], ["--set", "--seed", "--address", "--time-budget"], ["--json"]),
    "train": (["s.yaml"], ["--out"], ["--set", "--seed", "--address"], ["--json"]),
    "evaluate": (
        ["../model", "--benchmark", "newsroom:dev"],
        ["--run", "--run-file", "--centre", "--out", "--benchmark"],
        ["--measure", "--run-setting", "--depth", "--index", "--index-above", "--on-leak", "--set", "--seed"],
        ["--strict", "--json"],
    ),
    "compare": (["folder", "folder"], ["--out"], ["--measure", "--unit", "--seed"], ["--json"]),
    "mine": (
        ["../model", "--data", "none.jsonl", "--to", "new.jsonl"],
        ["--to", "--out", "--data"],
        ["--negatives", "--depth", "--margin", "--skip", "--set", "--format", "--columns", "--language", "--split"],
        ["--json"],
    ),
    "debias": (
        ["../model", "--data", "pairs.jsonl"],
        ["--out", "--data"],
        ["--method", "--set", "--seed", "--format", "--columns", "--language", "--split"],
        ["--json"],
    ),
    "export": (
        ["folder"],
        ["--out"],
        ["--opset", "--benchmark", "--trial", "--checkpoint", "--push"],
        ["--onnx", "--int8", "--trust-remote-code", "--public", "--json"],
    ),
    "merge": (["folder", "folder", "--out", "new"], ["--out"], ["--weights"], ["--trust-remote-code", "--json"]),
    "report": (["folder"], ["--out"], ["--storage"], ["--json"]),
    "status": (["folder"], [], [], ["--json"]),
    "trials": (["folder"], ["--csv"], [], ["--csv", "--json"]),
    "dashboard": (["folder"], [], ["--storage"], []),
    "schema": ([], ["--out"], [], ["--json"]),
    "init": (
        ["pairs.jsonl"],
        ["--out", "--encoder"],
        ["--format", "--columns", "--language", "--split"],
        ["--force", "--json"],
    ),
    "cache list": ([], [], [], ["--json"]),
    "cache prune": ([], [], ["--older-than", "--max-size"], ["--studies", "--json"]),
    "data group": (
        ["pairs.jsonl"],
        ["--out", "--alignment", "--encoder"],
        ["--by", "--side", "--threshold", "--set", "--format", "--columns", "--language", "--split"],
        ["--json"],
    ),
    "data inspect": (
        ["pairs.jsonl"],
        ["--encoder", "--benchmark", "--html"],
        ["--format", "--columns", "--language", "--split"],
        ["--json"],
    ),
    "data plan": (["s.yaml"], [], ["--set", "--seed"], ["--json"]),
    "data clean": (
        ["pairs.jsonl", "--out", "new.jsonl"],
        ["--out", "--encoder"],
        ["--keep", "--longest", "--format", "--columns", "--language", "--split"],
        ["--json"],
    ),
    "data check": (
        ["pairs.jsonl", "--benchmark", "newsroom:dev"],
        ["--benchmark"],
        ["--format", "--columns"],
        ["--json"],
    ),
    "data split": (
        ["pairs.jsonl", "--out", "new"],
        ["--out"],
        ["--documents", "--groups", "--seed", "--columns"],
        ["--json"],
    ),
    "data convert": (
        ["pairs.jsonl", "--out", "new.jsonl"],
        ["--out"],
        ["--format", "--columns", "--language"],
        ["--json"],
    ),
    "translate": (
        ["pairs.jsonl", "--model", "folder", "--to", "sw", "--out", "new.jsonl"],
        ["--out", "--model", "--cache", "--encoder"],
        [
            "--to",
            "--from",
            "--pairs",
            "--side",
            "--engine",
            "--compute-type",
            "--beam",
            "--max-tokens",
            "--batch-tokens",
            "--workers",
            "--check",
            "--threshold",
            "--set",
        ],
        ["--estimate", "--json"],
    ),
    "launch": (
        ["cluster.yaml", "s.yaml", "--out", "new", "--fetch-to", "to"],
        ["--out", "--fetch-to"],
        ["--set", "--seed"],
        ["--down", "--detach", "--yes", "--json"],
    ),
    "attach": (["folder"], [], [], ["--down", "--json"]),
    "fetch": (["folder"], [], [], ["--checkpoints", "--json"]),
    "stop": (["folder"], [], [], ["--json"]),
    "down": (["folder"], [], [], ["--yes", "--json"]),
}
STARTING = ("run", "train", "evaluate", "debias", "launch", "cache prune")  # commands that would begin to do much


@st.composite
def arguments(draw):
    """A command of which one argument or option is wrong, or one too many."""
    command = draw(st.sampled_from(sorted(COMMANDS)))
    given, places, words, flags = COMMANDS[command]
    line = list(given)
    positional = [
        at
        for at, word in enumerate(line)
        if not word.startswith("-") and (at == 0 or not line[at - 1].startswith("--"))
    ]
    for _ in range(draw(st.integers(1, 2))):
        way = draw(
            st.sampled_from(
                ["place"] * 4 + ["argument"] * 3 + ["word"] * 4 + ["flag", "unknown", "more", "gone", "last"]
            )
        )
        if way == "place" and places:
            line += [draw(st.sampled_from(places)), draw(PLACES)]
        elif way == "word" and words:
            line += [draw(st.sampled_from(words)), draw(WORDS)]
        elif way == "argument" and positional:
            line[draw(st.sampled_from(positional))] = draw(PLACES)
        elif way == "flag" and flags:
            line.append(draw(st.sampled_from(flags)))
        elif way == "unknown":
            line.append(draw(st.sampled_from(["--nothing", "-x", "--nothing=1", "--se", "--out-of"])))
        elif way == "more":
            line.append(draw(PLACES))
        elif way == "last" and places + words:
            line.append(draw(st.sampled_from(places + words)))
        elif way == "gone" and line:
            at = draw(st.integers(0, len(line) - 1))
            del line[at]
            break
    return Case((*command.split(), *["--dry-run"] * (command in STARTING), *line), FILES)


@pytest.mark.timeout(900)
def test_a_bad_argument_is_a_line_a_problem(world, model):
    world.refuses(arguments(), 200)
