"""Study folders and records of launches that are damaged in any way: a line a problem, and nothing written."""

import json
from pathlib import Path

import pytest
from bad_calls import Case
from bad_inputs import JUNK, as_json, changed_trees, damaged
from hypothesis import strategies as st
from made_study import made_study

LAUNCH = {
    "kind": "here",
    "study": "small",
    "out": "out",
    "job": "a",
    "cluster": None,
    "address": None,
    "head": {"pid": 1, "start_time": None, "folder": "x", "address": "127.0.0.1:1", "dashboard": "http://127.0.0.1:1"},
    "signature": "0" * 64,
}
LOOK = st.sampled_from(
    [
        ("status", "study"),
        ("status", "study", "--json"),
        ("trials", "study", "--csv"),
        ("report", "study", "--out", "page.html"),
        ("compare", "study", "study/trials/0001"),
        ("compare", "study", "study", "--out", "new"),
        ("export", "study", "--trial", "0001", "--out", "new"),
        ("export", "study", "--out", "new"),
        ("merge", "study:0001", "study:0002", "--out", "new"),
        ("evaluate", "study", "--benchmark", "newsroom:dev", "--dry-run"),
        ("run", "study/study.yaml", "--dry-run"),
        ("debias", "study", "--data", "newsroom:dev", "--dry-run"),
    ]
)


def files_of(folder):
    """The files of a study folder, by their names."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@st.composite
def study_files(draw, good):
    """The files of a study folder of which one is damaged, or something else."""
    found = dict(good)
    records = [name for name in sorted(good) if "/" not in name]
    name = draw(st.sampled_from(records) | st.sampled_from(sorted(good)))
    way = draw(st.sampled_from(["content"] * 6 + ["bytes"] * 3 + ["gone", "folder", "link"]))
    if way == "content" and name.endswith(".jsonl"):
        lines = good[name].splitlines()
        at = draw(st.integers(0, len(lines) - 1))
        lines[at] = as_json(draw(changed_trees(json.loads(lines[at])) | JUNK))
        found[name] = b"\n".join([*lines, b""])
    elif way == "content" and name.endswith(".json"):
        found[name] = as_json(draw(changed_trees(json.loads(good[name])) | JUNK))
    elif way == "gone":
        del found[name]
    elif way == "folder":
        found[name] = None
    elif way == "link":
        found[name] = Path("nowhere")
    else:
        found[name] = draw(damaged(good[name]))
    return {f"study/{name}": content for name, content in found.items()}


def studies(folder):
    """Commands that look at a damaged copy of a study folder."""
    return st.builds(Case, LOOK, study_files(files_of(folder)))


records = changed_trees(LAUNCH).map(as_json) | damaged(as_json(LAUNCH)) | JUNK.map(as_json)
launches = st.builds(
    lambda words, record: Case((*words, "study"), {"study/launch.json": record}),
    st.sampled_from([("attach",), ("attach", "--down"), ("fetch",), ("stop",), ("down", "--yes"), ("status",)]),
    records,
)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return made_study(tmp_path_factory.mktemp("made") / "study")


@pytest.mark.timeout(900)
def test_a_damaged_study_folder_is_a_line_a_problem(world, study, model):
    assert (
        world.answer(Case(("status", "study"), {f"study/{name}": one for name, one in files_of(study).items()})).code
        == 0
    )
    world.refuses(studies(study), 60)


@pytest.mark.timeout(900)
def test_a_damaged_record_of_a_launch_is_a_line_a_problem(world):
    world.refuses(launches, 80)
