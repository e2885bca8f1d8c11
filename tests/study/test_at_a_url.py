"""Every command that looks into a study takes its URL: what it says, what it fetches, and what it refuses."""

import contextlib
import json
import threading
import urllib.request

import pytest
from made_study import made_study
from object_store import KEYS, s3_server, use_memory_store
from safetensors.torch import load_file
from study_trials import made_trials

from hybridtune.callbacks import StudyCallback
from hybridtune.errors import InputError
from hybridtune.launch import dashboard as dashboards
from hybridtune.storage.files import exists, list_files, read_file, remove, upload, write_file
from hybridtune.storage.manifests import MANIFEST
from hybridtune.study.export import ExportOptions, export
from hybridtune.study.opened import of_comparison, of_dashboard, of_model, of_report, of_status, of_trial_model, opened

COMMANDS = {
    "status": ("status", "{study}"),
    "trials": ("trials", "{study}", "--csv"),
    "report": ("report", "{study}"),
    "dashboard": ("dashboard", "{study}"),
    "compare": ("compare", "{study}", "{study}"),
    "evaluate": ("evaluate", "{study}", "--benchmark", "newsroom:dev"),
    "merge": ("merge", "{study}", "{study}", "--out", "merged"),
    "export": ("export", "{study}", "--trial", "0001", "--out", "model"),
}
COPY = "hybridtune-opened-"  # begins the name of the folder that a study is copied to


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory):
    """A study folder with two trials and the second one's model in best/."""
    folder = made_trials(tiny, tmp_path_factory.mktemp("trained") / "study")
    export(folder, ExportOptions(onnx=False, trial="0001", out=folder / "best"), StudyCallback())
    return folder


@pytest.fixture(scope="module")
def bucket(trained, tmp_path_factory):
    """An S3 server with two studies, ``made``, which has ended, and ``trained``; gives a key's URL."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in KEYS.items():
            patch.setenv(name, value)
        with s3_server() as url:
            upload(made_study(tmp_path_factory.mktemp("made") / "study"), url("made"))
            upload(trained, url("trained"))
            write_file(url("other/notes.txt"), b"")
            yield url


@pytest.fixture(autouse=True)
def credentials(monkeypatch):
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def asked(call, bucket):
    """Calls a command and returns its JSON."""

    def ask(*arguments):
        code, out, err = call(*arguments, "--json")
        assert code == 0, err
        assert COPY not in out + err
        return json.loads(out)

    return ask


def test_status_is_what_it_is_of_the_folder(asked, bucket, tmp_path):
    folder = made_study(tmp_path / "folder")
    found, here = asked("status", bucket("made")), asked("status", folder)
    assert found.pop("study") == bucket("made")
    assert here.pop("study") == str(folder)
    assert found == here
    assert found["state"] == "ended"
    assert asked("status", folder.as_uri())["study"] == str(folder)
    assert asked("trials", bucket("made"))["trials"] == asked("trials", folder)["trials"]


def test_a_study_at_a_url_that_was_cut_off_is_gone_on_with_there(asked, bucket, tmp_path):
    upload(made_study(tmp_path / "cut", finished=False), bucket("cut"))
    found = asked("status", bucket("cut"))
    assert (found["state"], found["go_on"]) == ("cut off", f"hybridtune run STUDY.yaml --out '{bucket('cut')}'")


def test_a_report_goes_to_the_url_or_to_the_file_that_is_named(asked, bucket, tmp_path):
    assert asked("report", bucket("made"), "--out", tmp_path / "mine.html")["report"] == str(tmp_path / "mine.html")
    assert not exists(bucket("made/report.html"))
    assert asked("report", bucket("made")) == {"study": bucket("made"), "report": bucket("made/report.html")}
    text = read_file(bucket("made/report.html"))
    assert text == (tmp_path / "mine.html").read_bytes()
    assert COPY.encode() not in text
    assert b"hybridtune export &#39;s3://bucket/made?endpoint_override" in text
    remove(bucket("made/report.html"))


def test_two_trials_and_a_study_are_compared(asked, bucket):
    found = asked("compare", bucket("made/trials/0000"), bucket("made/trials/0001"))
    file = "fit/checkpoint_0000030/per_query.parquet"
    assert [found[side]["file"] for side in "ab"] == [bucket(f"made/trials/000{number}/{file}") for number in (0, 1)]
    again = asked("compare", found["a"]["file"], bucket("made/trials/0001"))
    assert again["differences"] == found["differences"]
    same = asked("compare", bucket("made"), bucket("made"))
    assert same["a"]["file"] == bucket("made/best/per_query.parquet")


def test_the_model_of_a_study_is_evaluated(asked, bucket):
    for place in ("trained", "trained/best"):
        found = asked("evaluate", bucket(place), "--benchmark", "newsroom:dev", "--dry-run")
        assert (found["model"], found["queries"]) == (bucket(place), 480)


def test_a_trial_is_exported_and_averaged_with_a_studys_best(asked, bucket, trained, tmp_path):
    found = asked("export", bucket("trained"), "--trial", "0", "--out", tmp_path / "model")
    assert found == {"model": str(tmp_path / "model"), "trial": "0000", "step": 12}
    weights = load_file(tmp_path / "model" / "model.safetensors")
    checkpoint = load_file(trained / "trials" / "0000" / "fit" / "checkpoint_0000012" / "model.safetensors")
    assert all((weights[name] == checkpoint[name]).all() for name in weights)
    trial = bucket("trained:0000")
    found = asked("merge", trial, bucket("trained"), trained / "best", "--out", tmp_path / "merged")
    assert [one["model"] for one in found["models"]] == ["small:0000", "trained, best", "best"]
    assert found["models"][1]["sha256"] == found["models"][2]["sha256"]


def test_what_is_made_of_a_study_at_a_url_needs_a_place(call, bucket):
    code, _, err = call("export", bucket("trained"), "--onnx")
    assert code == 2
    assert err.splitlines()[-1].startswith("hybridtune: --out is missing: a new folder on this machine for what is")


def test_the_dashboards_show_a_copy(call, bucket, monkeypatch):
    shown = []
    monkeypatch.setattr(dashboards, "_start", lambda name, start, screen: shown.append(name) or True)
    ended = threading.Event()
    ended.set()
    monkeypatch.setattr(dashboards, "_until_interrupted", lambda: contextlib.nullcontext(ended))
    upload_event = bucket("made/trials/0000/events.out.tfevents.1")
    write_file(upload_event, b"")
    code, _, err = call("dashboard", bucket("made"))
    assert code == 0, err
    assert shown == ["optuna-dashboard", "TensorBoard"]
    remove(upload_event)


def test_only_what_a_command_reads_is_fetched(bucket):
    made = [*list_files(bucket("made")), "ray.log", "store/a/tokens.npy", "trials/0000/events.out.tfevents.1"]
    made += ["trials/0000/fit/checkpoint_0000030/model.safetensors", "best/model.safetensors", "launch.json"]
    made += [".writer.lock", "trials/0000/fit/checkpoint_0000030/optimizer.safetensors", "encoder/config.json"]

    def fetched(wanted):
        return {name for name in made if wanted(name)}

    light = {"study.yaml", "environment.json", "trials.jsonl", "result.json", ".writer.lock"}
    soups = {f"soups/000{n}/scores.json" for n in range(3)}
    assert fetched(of_status) == light | soups
    report = fetched(of_report)
    assert report >= light | soups | {"optuna.db", "trials/0000/plan.json", "contestants/tuned/per_query.parquet"}
    assert not {name for name in report if name.startswith(("store/", "encoder/")) or "safetensors" in name}
    assert not report & {"ray.log", "trials/0000/events.out.tfevents.1"}
    study = {"study.yaml", "environment.json"}
    assert fetched(of_dashboard) == study | {"optuna.db", "trials/0000/events.out.tfevents.1"}
    assert fetched(of_comparison) == study | {"best/per_query.parquet", f"best/{MANIFEST}"}
    assert fetched(of_model) == study | {"trials.jsonl", "best/model.safetensors"} | {
        name for name in made if name.startswith("best/")
    }
    of_one = fetched(of_trial_model("0"))
    assert "trials/0000/fit/checkpoint_0000030/model.safetensors" in of_one
    assert "trials/0000/fit/checkpoint_0000030/optimizer.safetensors" not in of_one
    assert not {name for name in of_one if name.startswith("trials/0001")}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("wrong", ["no bucket", "nothing there", "no study", "a key", "a scheme"])
def test_what_cannot_be_opened_is_told_in_one_line(command, wrong, call, bucket, tmp_path):
    study, told = {
        "no bucket": (bucket("made", bucket="nobody"), "there is no such bucket; make it first, or check the name"),
        "nothing there": (bucket("nowhere"), "there is nothing there; give the --out of a study"),
        "no study": (bucket("other"), ""),
        "a key": (bucket("made").replace("s3://", "s3://me:secret@"), "holds a key"),
        "a scheme": ("bla://bucket/made", "unknown kind of storage; known: s3://, gs://"),
    }[wrong]
    code, out, err = call(*(word.format(study=study) for word in COMMANDS[command]))
    assert (code, out) == (2, "")
    lines = [line for line in err.splitlines() if line.startswith("hybridtune: ")]
    assert lines == err.splitlines()[-1:]
    assert "Traceback" not in err
    assert COPY not in err
    assert "secret" not in err
    assert told in lines[0]
    assert not list((tmp_path / "here").iterdir())


def test_no_name_at_a_url_leads_out_of_the_copy(monkeypatch):
    memory = use_memory_store(monkeypatch)
    for key in ("study/study.yaml", "study/best/../../../escaped"):
        memory.objects[f"bucket/{key}"], memory.times[f"bucket/{key}"] = b"", 1
    with (
        pytest.raises(InputError, match=r"^memory://bucket/study: .*'best/../../../escaped' leads out of the folder"),
        opened("memory://bucket/study", of_model),
    ):
        pass


def test_without_rights_it_is_told_in_one_line(call, bucket):
    """Comes last: from here on the server asks every request for rights, which nobody has."""
    server = bucket("").partition("endpoint_override=")[2].partition("&")[0]
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    header = {"Content-Type": "text/plain"}
    direct.open(urllib.request.Request(f"{server}/moto-api/reset-auth", b"0", header, method="POST")).close()
    for command, words in COMMANDS.items():
        code, out, err = call(*(word.format(study=bucket("made")) for word in words))
        assert (code, out) == (2, ""), command
        assert err.splitlines()[-1].startswith(f"hybridtune: {bucket('made')}: "), err
        assert "no rights" in err.splitlines()[-1], err
