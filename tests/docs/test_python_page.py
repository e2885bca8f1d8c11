"""The code on docs/python.md runs as it stands, beside the names that the page says are the reader's own."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "python.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = {
    re.findall(r"^#+ (.*)$", before, re.M)[-1]: code
    for before, code in re.findall(r"(.*?)```python\n(.*?)```", TEXT, re.S)
}


@pytest.fixture(scope="module")
def groups():
    from hybridtune.data.newsroom import generate

    return list(generate("dev"))[:120]


def run(title, **names):
    exec(compile(BLOCKS[title], f"{PAGE}: {title}", "exec"), names)
    return names


def test_every_block_is_run_here():
    assert len(BLOCKS) == TEXT.count("```python")
    assert BLOCKS.keys() == {
        "Hybrid batches of your own pairs",
        "In a PyTorch DataLoader",
        "In sentence-transformers' trainer",
        "Exact metrics of your own vectors",
        "Without what a language adds",
        "A study, with a callback and a table of its trials",
    }


def test_a_plans_batches(groups, capsys):
    run("Hybrid batches of your own pairs", groups=groups)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["0", "1", "2"]
    assert {line.split()[1] for line in lines} == {"mono", "cross"}


def test_a_data_loader(groups):
    names = run("In a PyTorch DataLoader", groups=groups)
    assert len(names["queries"]) == len(names["passages"]) == 32
    assert {*names["sampler"].kinds} == {"mono", "cross"}


@pytest.mark.slow
def test_sentence_transformers_trainer(groups, tiny, tmp_path):
    names = run(
        "In sentence-transformers' trainer", groups=groups, model_folder=str(tiny[0]), output_folder=str(tmp_path)
    )
    assert names["trainer"].state.global_step == 4


def test_exact_metrics(capsys):
    def encode(texts):
        return np.random.default_rng(len(texts)).normal(size=(len(texts), 8)).astype(np.float32)

    run("Exact metrics of your own vectors", encode=encode)
    balanced, distance = map(float, capsys.readouterr().out.split())
    assert 0 < balanced < 0.1
    assert distance > 100


def test_centred_vectors(groups, capsys):
    width = 8
    apart = {script: np.eye(width)[place % width] for place, script in enumerate("abcdefghijklmnopqrstuvwxyz")}

    def encode(texts):  # a language's own part, by a letter of the text, and noise
        noise = np.random.default_rng(len(texts)).normal(size=(len(texts), width))
        return (noise + [apart.get(text[0].lower(), np.zeros(width)) for text in texts]).astype(np.float32)

    texts = {
        side: [(text, language) for group in groups for language, text in group[side].items()]
        for side in ("queries", "passages")
    }
    names = {
        f"{side[:-1] if side == 'passages' else 'query'}_{what}": [pair[place] for pair in pairs]
        for side, pairs in texts.items()
        for place, what in enumerate(("texts", "languages"))
    }
    run("Without what a language adds", encode=encode, **names)
    plain, centred = map(float, capsys.readouterr().out.split())
    assert plain != centred


@pytest.mark.ray
def test_a_study(study_file, tiny, tmp_path, monkeypatch, capsys):
    shutil.copytree(tiny[0], tmp_path / "encoder")  # named from the current folder, which is not that of the workers
    encoder = {"name": "encoder", "query_length": 16, "passage_length": 24}
    search = {"arms": "none", "space": {"temperature": {"loguniform": [0.02, 0.2]}}}
    study_file("study.yaml", encoder=encoder, search=search, resources={"evaluators": 1})
    monkeypatch.chdir(tmp_path)
    names = run("A study, with a callback and a table of its trials", output_folder=str(tmp_path / "out"))
    out = capsys.readouterr().out
    assert "start, centred" in out
    trials = names["result"].trials
    assert names["result"].best.metrics["balanced/AP"] == trials["balanced/AP"].max()
    assert all(name in out for name in trials.index)
    assert (names["result"].model / "model.safetensors").is_file()
