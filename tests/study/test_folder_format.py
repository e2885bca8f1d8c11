"""A study folder of another format is refused in one line by every command that opens it, and stays as it is."""

import json
import shutil

import pytest
from cli_calls import files
from made_study import made_study
from object_store import KEYS, use_memory_store

from hybridtune.config.study import load_study
from hybridtune.errors import InputError
from hybridtune.search.samplers import borrowed
from hybridtune.storage.files import join, upload
from hybridtune.storage.study_folder import FORMAT, check_format
from hybridtune.study.folder import write_study
from hybridtune.study.sync import fetch_study, study_home

EARLIER = "written by an earlier hybridtune (format 1, this one reads 6): finish it with that version, or start anew"
COMMANDS = {
    "run": ("run", "{study}", "--out", "{folder}"),
    "train": ("train", "{study}", "--out", "{folder}"),
    "report": ("report", "{folder}"),
    "status": ("status", "{folder}"),
    "dashboard": ("dashboard", "{folder}"),
    "export": ("export", "{folder}", "--trial", "0001", "--out", "{folder}-model"),
    "evaluate": ("evaluate", "{folder}", "--benchmark", "newsroom:dev"),
    "mine": ("mine", "{folder}", "--data", "newsroom:train", "--to", "mined.jsonl"),
    "compare": ("compare", "{folder}", "{folder}"),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = made_study(tmp_path_factory.mktemp("made") / "study")
    (folder / "best" / "modules.json").write_text("[]")
    return folder


def relabel(folder, **environment):
    (folder / "environment.json").write_text(json.dumps(environment))
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_of_an_earlier_format_is_refused(command, finished, tmp_path, call):
    folder = relabel(shutil.copytree(finished, tmp_path / "study"), command="hybridtune run")
    before = files(tmp_path)
    words = [word.format(folder=folder, study=folder / "study.yaml") for word in COMMANDS[command]]
    code, out, err = call(*words)
    assert (code, out if command not in ("run", "train") else "") == (2, "")
    shown = f"--out {folder}" if command in ("run", "train") else folder
    assert err == f"hybridtune: {shown}: {EARLIER} with another --out\n"
    assert files(tmp_path) == before


def test_no_folder_on_shared_storage_of_an_earlier_format_is_gone_on_with_or_fetched(finished, tmp_path, monkeypatch):
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HYBRIDTUNE_CACHE", str(tmp_path / "cache"))
    memory, out = use_memory_store(monkeypatch), "memory://bucket/study"
    upload(finished / "study.yaml", join(out, "study.yaml"))
    before = dict(memory.objects)
    with (
        pytest.raises(InputError, match=r"^--out memory://bucket/study: written by an earlier hybridtune"),
        study_home(load_study(finished / "study.yaml"), out, lambda line: None),
    ):
        pass
    with pytest.raises(InputError, match=r"^memory://bucket/study: written by an earlier hybridtune"):
        fetch_study(out, tmp_path / "fetched")
    assert memory.objects == before
    assert not (tmp_path / "fetched").exists()


def test_a_search_does_not_begin_with_the_trials_of_an_earlier_format(finished, tmp_path, study_file):
    folder = relabel(shutil.copytree(finished, tmp_path / "earlier"))
    study = load_study(study_file(search={"warm_start": str(folder)}))
    with pytest.raises(InputError, match=r"^search.warm_start .*/earlier: written by an earlier hybridtune"):
        borrowed(study)


def test_a_later_or_unknown_format_says_so(tmp_path, study_file):
    write_study(load_study(study_file()), tmp_path)
    check_format(tmp_path)
    relabel(tmp_path, format=FORMAT + 1)
    with pytest.raises(InputError, match=r"written by a later hybridtune \(format 7, this one reads 6\): use that"):
        check_format(tmp_path)
    relabel(tmp_path, format="new")
    with pytest.raises(InputError, match=r"\(format new, this one reads 6\)"):
        check_format(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", "\0\0"])
def test_an_environment_that_is_damaged_is_no_earlier_format(tmp_path, study_file, content):
    write_study(load_study(study_file()), tmp_path)
    (tmp_path / "environment.json").write_text(content)
    with pytest.raises(
        InputError, match=r"environment\.json .*; it says which hybridtune wrote the study: put it back"
    ):
        check_format(tmp_path)


def test_a_folder_without_a_study_has_no_format(tmp_path):
    check_format(tmp_path)
