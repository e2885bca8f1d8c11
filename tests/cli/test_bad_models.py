"""Model folders that are wrong in any way: a line a problem, and nothing written."""

import json
import struct
from pathlib import Path

import pytest
from bad_calls import Case
from bad_inputs import JUNK, NUMBERS, PAIRS, as_json, changed_trees, damaged
from hypothesis import strategies as st

SMALL = ("--set", "encoder.query_length=16", "--set", "encoder.passage_length=16")
COMMANDS = st.sampled_from(
    [("evaluate", "m", "--benchmark", "newsroom:dev", "--dry-run", *SMALL)] * 5
    + [("run", "s.yaml", "--dry-run")] * 3
    + [
        ("merge", "m", "../model", "--out", "out"),
        ("merge", "../model", "m", "--out", "new/out"),
        ("export", "m", "--out", "out"),
        ("debias", "m", "--data", "pairs.jsonl", "--dry-run", *SMALL),
        ("data", "inspect", "pairs.jsonl", "--encoder", "m"),
        ("data", "clean", "pairs.jsonl", "--encoder", "m", "--out", "out.jsonl"),
        ("init", "pairs.jsonl", "--encoder", "m"),
        ("evaluate", "../model", "--benchmark", "newsroom:dev", "--dry-run", "--centre", "m", *SMALL),
    ]
)
STUDY = as_json(
    {
        "name": "x",
        "data": {"train": "newsroom:train", "on_leak": "warn"},
        "benchmarks": {"dev": {"path": "newsroom:dev"}},
        "encoder": {"name": "m", "query_length": 16, "passage_length": 16},
        "train": {"batch_size": 2, "max_steps": 2},
        "search": {"space": {}, "arms": "none"},
    }
)


def files_of(folder):
    """The files of a model folder, by their names."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@st.composite
def weights(draw, content):
    """A safetensors file of which the header is wrong."""
    (size,) = struct.unpack("<Q", content[:8])
    header, rest = json.loads(content[8 : 8 + size]), content[8 + size :]
    way = draw(st.sampled_from(["tree", "size", "dtype", "shape", "offsets", "name"]))
    if way == "size":
        return struct.pack("<Q", draw(st.sampled_from([0, 1, size - 1, size + 1, 2**31, 2**63]))) + content[8:]
    name = draw(st.sampled_from(sorted(header)))
    if way == "tree" or name == "__metadata__":
        header = draw(changed_trees(header))
    elif way == "dtype":
        header[name]["dtype"] = draw(st.sampled_from(["F16", "F64", "I64", "BOOL", "F8_E4M3", "x", "", None, 3]))
    elif way == "shape":
        header[name]["shape"] = draw(st.lists(NUMBERS, max_size=3))
    elif way == "offsets":
        header[name]["data_offsets"] = draw(st.lists(NUMBERS, max_size=3))
    else:
        header[f"{name}.x"] = header.pop(name)
    made = as_json(header)
    return struct.pack("<Q", len(made)) + made + rest


@st.composite
def model_files(draw, good):
    """The files of a model folder of which one is wrong, or gone."""
    found = dict(good)
    name = draw(st.sampled_from(sorted(good)))
    way = draw(st.sampled_from(["content"] * 8 + ["bytes", "gone", "folder", "link", "more"]))
    if way == "content" and name.endswith(".json"):
        found[name] = as_json(draw(changed_trees(json.loads(good[name]), most=1) | JUNK))
    elif way == "content" and name.endswith(".safetensors"):
        found[name] = draw(weights(good[name]))
    elif way == "folder":
        found[name] = None
    elif way == "link":
        found[name] = Path("nowhere")
    elif way == "gone":
        del found[name]
    elif way == "more":
        found[
            draw(
                st.sampled_from(
                    [
                        "adapter_config.json",
                        "language_vectors.json",
                        "training_texts.npz",
                        "language_vectors.npz",
                        "model.safetensors.index.json",
                        "1_Pooling/config.json",
                        "modules.json",
                        "config_sentence_transformers.json",
                        "sentence_bert_config.json",
                        "2_Dense/config.json",
                        "pytorch_model.bin",
                        "manifest.json",
                    ]
                )
            )
        ] = draw(JUNK.map(as_json) | st.binary(max_size=40))
    else:
        found[name] = draw(damaged(good[name]))
    return {f"m/{name}": content for name, content in found.items()}


def models(folder):
    """Commands that open a model folder ``m``; ``folder`` is a good one, at ``../model``."""
    files = model_files(files_of(folder))
    return st.builds(
        lambda words, given: Case(words, {**given, "s.yaml": STUDY, "pairs.jsonl": PAIRS}), COMMANDS, files
    )


@pytest.mark.parametrize(
    "words", [words for words in COMMANDS.elements if words[0] in ("evaluate", "run", "merge")][:-1], ids=" ".join
)
def test_the_model_that_is_changed_is_a_good_one(world, model, words):
    files = {f"m/{name}": content for name, content in files_of(model).items()}
    assert world.answer(Case(words, {**files, "s.yaml": STUDY, "pairs.jsonl": PAIRS})).code == 0


@pytest.mark.timeout(900)
def test_a_bad_model_is_a_line_a_problem(world, model):
    world.refuses(models(model), 130)
