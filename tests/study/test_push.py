"""A model that is pushed comes back from the hub by its name; what is the study's own stays here."""

import json
import shutil

import numpy as np
import pytest
from hub_server import OWNER, TOKEN, hub_server
from huggingface_hub import ModelCard, constants, snapshot_download
from study_trials import made_trials

from hybridtune.callbacks import StudyCallback
from hybridtune.config.fields import Encoder
from hybridtune.model.encoder import DualEncoder
from hybridtune.model.folder import language_vectors_for, with_folder_settings
from hybridtune.model.language_vectors import FILE
from hybridtune.model.published import TRAINING_TEXTS
from hybridtune.storage.manifests import MANIFEST, seal
from hybridtune.study.export import ExportOptions, export

NAME = f"{OWNER}/news"
STAYS = {"per_query.parquet", "scores.json", TRAINING_TEXTS, MANIFEST, "notes.txt"}


@pytest.fixture(scope="module")
def study(tiny, tmp_path_factory):
    """A study folder whose best/ has all that a run leaves there, and a file of its owner's."""
    folder = made_trials(tiny, tmp_path_factory.mktemp("pushed") / "study")
    best = folder / "best"
    export(folder, ExportOptions(onnx=False, trial="0001", out=best), StudyCallback())
    (best / TRAINING_TEXTS).write_bytes(b"hashes")
    (best / "notes.txt").write_text("mine")
    (best / "LICENSE").write_text("MIT")
    seal(best)
    return folder


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with hub_server() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server


@pytest.mark.slow
def test_a_pushed_model_is_loaded_by_its_name_and_gives_the_same_vectors(study, hub, call, tmp_path):
    from sentence_transformers import SentenceTransformer

    code, out, err = call("export", study, "--push", NAME, "--json")
    assert code == 0, err
    pushed = json.loads(out)["pushed"]
    assert (pushed["name"], pushed["url"], pushed["private"]) == (NAME, f"{hub.url}/{NAME}", True)
    model = SentenceTransformer(NAME, device="cpu", cache_folder=str(tmp_path / "cache"))
    own = DualEncoder.load(str(study / "best"))
    texts = ["antwort 3", "eine lange antwort " * 9]
    np.testing.assert_allclose(model.encode(texts, prompt_name="passage"), own.encode_passages(texts), atol=1e-5)
    there = snapshot_download(NAME, local_dir=tmp_path / "copy")
    fitted = language_vectors_for(tmp_path / "copy", with_folder_settings(Encoder(name=there)))
    assert fitted.languages == ("de", "en")


def test_it_is_private_and_what_goes_there_is_told_before(study, hub, call):
    code, out, err = call("export", study, "--push", NAME, "--json")
    assert code == 0, err
    repository = hub.repositories[NAME]
    pushed = json.loads(out)["pushed"]
    assert repository.private
    assert repository.messages == ["Upload by hybridtune"]
    assert pushed["files"] == sorted(repository.files)
    assert set(pushed["left_out"]) == STAYS
    for name in ("README.md", "LICENSE", "config.json", "1_Pooling/config.json", "model.safetensors", FILE):
        assert repository.files[name] == (study / "best" / name).read_bytes()
    told, stays, done = (line.split("s  ", 1)[1] for line in err.splitlines()[-3:])  # behind the time
    assert told.startswith(f"pushing {len(pushed['files'])} files, ")
    assert f"to {NAME} (private): 1_Pooling/config.json, " in told
    assert stays == f"not pushed: {', '.join(sorted(STAYS))}"
    assert done == f"pushed: {hub.url}/{NAME} (private)"
    assert TOKEN not in out + err


def test_nothing_of_the_study_that_is_private_is_among_it(study, hub, call):
    assert call("export", study, "--push", NAME)[0] == 0
    files = hub.repositories[NAME].files
    for name, content in files.items():
        assert str(study.parent).encode() not in content, name
        assert b"frage 3" not in content, name
    results = ModelCard(files["README.md"].decode()).data.eval_results
    assert {(one.dataset_name, one.dataset_split) for one in results} == {("dev: newsroom:dev", "dev")}
    assert {one.metric_name for one in results} >= {"mono/AP", "multi/AP"}


def test_public_is_asked_for_and_a_repository_keeps_its_doors_as_they_were(study, hub, call):
    assert call("export", study, "--push", NAME, "--public")[0] == 0
    assert not hub.repositories[NAME].private
    before = len(hub.repositories[NAME].commits)
    code, _, err = call("export", study, "--push", NAME)
    assert code == 2
    assert err.splitlines()[-1] == (
        f"hybridtune: --push {NAME}: is there, and public; change that in its settings, or give --public"
    )
    hub.repositories[NAME].private = True
    code, _, err = call("export", study, "--push", NAME, "--public")
    assert code == 2
    assert "is there, and private; change that in its settings, or leave --public out" in err
    assert len(hub.repositories[NAME].commits) == before


def test_a_second_push_leaves_no_weights_of_the_first(study, hub, call, tmp_path):
    assert call("export", study, "--push", NAME)[0] == 0
    hub.repositories[NAME].files.update({"onnx/model.onnx": b"older", "card.png": b"the owner's"})
    assert call("export", study, "--push", "news")[0] == 0  # the token's own
    assert "onnx/model.onnx" not in hub.repositories[NAME].files
    assert hub.repositories[NAME].files["card.png"] == b"the owner's"


REFUSED = {
    "no name": ("a/b/c", {}, 2, "--push a/b/c: is no name on the hub; write it like OWNER/NAME"),
    "another's": ("you/news", {}, 2, "--push you/news: the hub refuses it (403: You don't have the rights to create"),
    "a wrong token": (NAME, {"HF_TOKEN": "hf_other"}, 2, f"--push {NAME}: the hub refuses it (401: Invalid user"),
    "no token": (NAME, {"HF_TOKEN": ""}, 2, f"--push {NAME}: no token of the hub; set HF_TOKEN to one that may write"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_hub_refuses_is_one_line(study, hub, call, monkeypatch, case):
    name, environment, expected, message = REFUSED[case]
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    code, _, err = call("export", study, "--push", name)
    assert code == expected
    assert err.startswith(f"hybridtune: {message}")
    assert err.count("\n") == 1
    assert not hub.repositories


def test_a_network_that_is_away_is_one_line_and_nothing_is_made(study, hub, call, monkeypatch, tmp_path):
    with hub_server() as gone:
        pass
    monkeypatch.setattr(constants, "ENDPOINT", gone.url)
    code, out, err = call("export", study, "--trial", "0000", "--out", tmp_path / "new", "--push", NAME)
    assert (code, out) == (1, "")
    assert err.startswith(f"hybridtune: --push {NAME}: {gone.url} cannot be reached: ")
    assert err.endswith("; nothing was uploaded\n")
    assert err.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_offline_is_said(study, hub, call, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    code, _, err = call("export", study, "--push", NAME)
    assert (code, err) == (
        2,
        f"hybridtune: --push {NAME}: HF_HUB_OFFLINE says that no hub is to be asked; unset it to push\n",
    )
    assert not hub.asked


def test_a_link_in_a_strangers_model_leads_to_no_file_of_yours(study, hub, call, tmp_path):
    model = shutil.copytree(study / "best", tmp_path / "model")
    (model / MANIFEST).unlink()
    (tmp_path / "secret").write_text("mine")
    (model / "LICENSE").unlink()
    (model / "LICENSE").symlink_to(tmp_path / "secret")
    code, _, err = call("export", model, "--push", NAME)
    assert code == 2
    assert "LICENSE is a link to" in err
    assert not hub.repositories


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--public"], "nothing to export"),
        (["--onnx", "--public"], "--public is about the hub: give --push NAME too"),
        (["--push", NAME, "--int8"], "--int8 is of the ONNX graph: give --onnx too"),
        (["--push", NAME, "--out", "new"], "--out takes a model that is made"),
        (["--onnx", "--benchmark", "newsroom:dev"], "--benchmark is what the loss of int8 is measured on"),
    ],
)
def test_options_that_go_with_others_are_one_line(study, call, options, message):
    code, out, err = call("export", study, *options)
    assert (code, out) == (2, "")
    assert err.startswith(f"hybridtune: {message}")
    assert err.count("\n") == 1
