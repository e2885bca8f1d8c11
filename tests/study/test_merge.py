"""Models averaged by command: the weights, what the folder says of its training, and what is refused before writing."""

import importlib.util
import json
import shutil

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from study_trials import Lines, made_trials

from hybridtune.callbacks import StudyCallback
from hybridtune.cli.main import cli
from hybridtune.config.fields import Encoder
from hybridtune.data.training_texts import TrainingTexts
from hybridtune.errors import InputError
from hybridtune.model.encoder import DualEncoder
from hybridtune.model.folder import training_pairs_of, with_folder_settings
from hybridtune.storage.manifests import MANIFEST
from hybridtune.study.export import ExportOptions, export
from hybridtune.study.leak_guard import training_texts_of
from hybridtune.study.merge import MergeOptions, merge
from hybridtune.study.merged import unite_pairs, unite_texts

SILENT = StudyCallback()


@pytest.fixture(scope="module")
def study(tiny, tmp_path_factory):
    """A study folder with two trials and best/, the second trial's, which knows its training texts."""
    folder = made_trials(tiny, tmp_path_factory.mktemp("merges") / "study")
    export(folder, ExportOptions(onnx=False, trial="0001", out=folder / "best"), SILENT)
    TrainingTexts.of([f"frage {n} nach dem hafen" for n in range(40)]).save(folder / "best" / "training_texts.npz")
    return folder


def weights_of(study, trial, step):
    return load_file(study / "trials" / trial / "fit" / f"checkpoint_{step:07d}" / "model.safetensors")


def test_two_trials_are_averaged_with_their_weights_and_the_folder_opens_again(study, tmp_path):
    out, seen = tmp_path / "new" / "soup", Lines()
    found = merge(MergeOptions([f"{study}:0", f"{study}:0001"], out, [1, 3]), seen)
    one, other, written = (
        weights_of(study, "0000", 12),
        weights_of(study, "0001", 6),
        load_file(out / "model.safetensors"),
    )
    assert written.keys() == one.keys()
    for name, value in written.items():
        expected = (one[name].double() * 0.25 + other[name].double() * 0.75).float()
        assert torch.equal(value, expected), name
    assert [(part["model"], part["weight"]) for part in found["models"]] == [("small:0000", 0.25), ("small:0001", 0.75)]
    assert json.loads((out / "merged.json").read_text()) == {"models": found["models"]}
    assert len({part["sha256"] for part in found["models"]}) == 2
    settings = with_folder_settings(Encoder(name=str(out)))
    assert (settings.query_length, settings.passage_length, settings.pooling) == (16, 24, "mean")
    model = DualEncoder.load(out)
    assert model.encode_queries(["frage 3"]).shape == (1, model.width)
    assert [path.name for path in out.parent.iterdir()] == ["soup"]
    assert seen.lines[-1] == f"model: {out} (0.25 x small:0000, 0.75 x small:0001)"
    assert seen.lines[0].startswith("small:0001 and small:0000 have little in common (cosine of their weights ")


def test_a_merged_model_says_what_all_of_its_parts_were_trained_on(study, tmp_path):
    out = tmp_path / "soup"
    merge(MergeOptions([f"{study}:0000", str(study)], out), SILENT)
    assert training_pairs_of(str(out)) == {"de-de": 24, "en-de": 40}  # of checkpoints of step 6 and 12
    texts = training_texts_of(str(out))
    assert texts.find(["frage 3 nach dem hafen", "etwas ganz anderes steht hier"]) == ["exact", None]
    card = (out / "README.md").read_text()
    assert "| small:0000 | 0.5 |" in card
    assert "| study, best | 0.5 |" in card
    assert "| **en** | 40 | 0 |" in card
    assert str(study.parent) not in card
    assert card.startswith("---\nlanguage:\n- de\n- en\n")


def test_what_is_not_known_of_one_part_is_not_claimed_of_the_whole(study, tiny, tmp_path):
    start, seen = shutil.copytree(study / "encoder", tmp_path / "start"), Lines()
    (tmp_path / "plain").mkdir()
    DualEncoder.load(start, query_length=16, passage_length=24).save(tmp_path / "plain" / "start")
    merge(MergeOptions([str(study), str(tmp_path / "plain" / "start")], tmp_path / "soup"), seen)
    assert training_pairs_of(str(tmp_path / "soup")) is None
    assert training_texts_of(str(tmp_path / "soup")) is not None  # of the part that says its own
    told = " ".join(seen.lines)
    assert "training pairs are not known of start" in told
    assert "no fingerprints of training texts in start" in told
    card = (tmp_path / "soup" / "README.md").read_text()
    assert "are not known: one of the models does not say" in card
    assert "Not all of the models say which texts" in card


def test_the_pairs_and_texts_of_several_trainings_are_united():
    assert unite_pairs([{"en-en": 7}, {"en-en": 9, "en-de": 1}, {}]) == {"en-de": 1, "en-en": 9}
    assert unite_pairs([{"en-en": 7}, None]) is None
    made = [TrainingTexts.of([f"the sentence number {n} of this training text"]) for n in range(3)]
    assert unite_texts([None, None]) is None
    united = unite_texts([made[0], None, made[2]])
    found = united.find([f"the sentence number {n} of this training text" for n in range(3)])
    assert [kind == "exact" for kind in found] == [True, False, True]


def test_trainings_of_one_start_are_merged_without_a_word(study, tmp_path):
    seen, copy = Lines(), shutil.copytree(study / "best", tmp_path / "copy")
    (copy / MANIFEST).unlink()  # it is changed on purpose
    weights = load_file(copy / "model.safetensors")
    save_file({name: value * 1.01 for name, value in weights.items()}, copy / "model.safetensors", {"format": "pt"})
    merge(MergeOptions([str(study), str(copy)], tmp_path / "soup"), seen)
    assert seen.lines == [f"model: {tmp_path / 'soup'} (0.5 x study, best, 0.5 x copy)"]


@pytest.mark.parametrize(
    ("models", "options", "message"),
    [
        (["STUDY:0000"], {}, "give two models or more to merge"),
        (["STUDY:0000", "STUDY:0001"], {"weights": [1]}, "--weights has 1 numbers for 2 models; give one a model"),
        (["STUDY:0000", "STUDY:0001"], {"weights": [1, 0]}, "weights 1, 0: give a number above 0 for each model"),
        (["STUDY:0000", "STUDY:7"], {}, "trial 7: none of that name has ended in STUDY; there are: 0000, 0001"),
        (["STUDY:0000", "tiny"], {}, "tiny is built by a study"),
        (["STUDY:0000", "OTHER"], {}, "other: its query_length is 8, that of small:0000 16; only trainings of one"),
        (["STUDY:0000", "STUDY:0001"], {"out": "full"}, "is there and not empty; choose a new folder"),
    ],
)
def test_what_cannot_be_merged_is_one_clear_line_and_nothing_is_written(study, tmp_path, models, options, message):
    places = {"STUDY": str(study), "OTHER": str(tmp_path / "other")}
    DualEncoder.load(study / "best", query_length=8).save(tmp_path / "other")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    out = tmp_path / options.pop("out", "soup")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    given = [place + name.removeprefix(key) for name in models for key, place in [_place(name, places)]]
    with pytest.raises(InputError) as caught:
        merge(MergeOptions(given, out, **options), SILENT)
    assert message.replace("STUDY", str(study)) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def _place(name, places):
    return next(((key, place) for key, place in places.items() if name.startswith(key)), ("", ""))


def test_the_command_answers_in_json_and_refuses_words_for_weights(study, tmp_path):
    run, given = CliRunner(), [f"{study}:0000", f"{study}:0001"]
    wrong = run.invoke(cli, ["merge", *given, "--weights", "0.5,half", "--out", str(tmp_path / "soup")])
    assert isinstance(wrong.exception, InputError)
    assert "'half' is not a number; write it like 0.3,0.7" in str(wrong.exception)
    done = run.invoke(cli, ["merge", *given, "--weights", "0.3,0.7", "--out", str(tmp_path / "soup"), "--json"])
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert answer.keys() == {"model", "models", "training_pairs"}
    assert np.allclose([part["weight"] for part in answer["models"]], [0.3, 0.7], rtol=0, atol=1e-12)
    assert (tmp_path / "soup" / "modules.json").is_file()


@pytest.mark.skipif(
    importlib.util.find_spec("sentence_transformers") is None, reason="sentence-transformers is not installed"
)
def test_sentence_transformers_opens_it_with_the_same_vectors(study, tmp_path):
    from sentence_transformers import SentenceTransformer

    out = tmp_path / "soup"
    merge(MergeOptions([f"{study}:0000", f"{study}:0001"], out, [2, 1]), SILENT)
    texts = ["frage 3", "antwort 7"]
    expected = DualEncoder.load(out).encode_queries(texts)
    found = SentenceTransformer(str(out), device="cpu").encode(texts, prompt_name="query")
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
