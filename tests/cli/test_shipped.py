"""Cluster files and study files that come with hybridtune are listed and copied; what is there is never overwritten."""

import json
from pathlib import Path

import pytest

from hybridtune.config.study import load_study

ROOT = Path(__file__).parents[2]
CLUSTERS = sorted(file.name for file in (ROOT / "clusters").iterdir())
STUDIES = sorted(file.name for file in (ROOT / "search_spaces").glob("*.yaml"))


@pytest.mark.parametrize(("group", "names"), [("clusters", [*CLUSTERS, "constraints.txt"]), ("examples", STUDIES)])
def test_a_list_says_what_each_file_is_for(call, group, names):
    code, out, _ = call(group, "list")
    assert code == 0
    lines = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert list(lines) == names
    assert all(about.endswith(".") for about in lines.values())  # a whole sentence
    assert json.loads(call(group, "list", "--json")[1]) == {group: lines}


@pytest.mark.parametrize("name", [*CLUSTERS, "constraints.txt"])
def test_a_copy_is_the_file(call, name):
    folder = ROOT if name == "constraints.txt" else ROOT / "clusters"
    code, out, _ = call("clusters", "copy", name)
    assert code == 0
    assert out.startswith(f"{name} written")
    assert Path(name).read_bytes() == (folder / name).read_bytes()
    asked_for = f" {name} " in " aws.yaml azure.yaml gcp.yaml on_prem.yaml "
    assert ("hybridtune clusters copy constraints.txt" in out) == asked_for


def test_what_the_nodes_install_is_not_asked_for_where_it_is(call):
    assert call("clusters", "copy", "constraints.txt")[0] == 0
    assert "constraints.txt" not in call("clusters", "copy", "gcp.yaml")[1]


def test_a_copy_goes_where_it_is_told_and_leaves_what_is_there(call):
    code, out, err = call("clusters", "copy", "aws.yaml", "--to", "mine/cloud.yaml", "--json")
    assert (code, json.loads(out)) == (0, {"name": "aws.yaml", "file": "mine/cloud.yaml"})
    assert err.startswith("mine/cloud.yaml written")
    Path("mine/cloud.yaml").write_text("filled in", encoding="utf-8")
    code, out, err = call("clusters", "copy", "gcp.yaml", "--to", "mine/cloud.yaml")
    assert (code, out) == (2, "")
    assert err == ("hybridtune: mine/cloud.yaml: is there already and was left as it is; name another file with --to\n")
    assert Path("mine/cloud.yaml").read_text(encoding="utf-8") == "filled in"


def test_a_link_to_nowhere_is_not_followed(call):
    Path("aws.yaml").symlink_to("elsewhere.yaml")
    assert call("clusters", "copy", "aws.yaml")[0] == 2
    assert not Path("elsewhere.yaml").exists()


@pytest.mark.parametrize("name", ["awz.yaml", "../pyproject.toml", "aws", ""])
def test_an_unknown_name_is_told_with_those_that_there_are(call, name):
    code, out, err = call("clusters", "copy", name)
    assert (code, out, err.count("\n")) == (2, "", 1)
    known = ", ".join([*CLUSTERS, "constraints.txt"])
    assert err == f"hybridtune: {name}: no such file comes with hybridtune; choose one of {known}\n"
    assert not list(Path.cwd().iterdir())


def test_a_copied_study_is_one(call):
    assert call("examples", "copy", "newsroom.yaml")[0] == 0
    assert load_study("newsroom.yaml").name == "newsroom"
