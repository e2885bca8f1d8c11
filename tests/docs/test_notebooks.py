"""Every notebook of docs/notebooks runs from its first cell to its last, with values for two cores and no network."""

import json
import os
import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from hybridtune.config.fields import Encoder, Tiny
from hybridtune.data.newsroom import generate
from hybridtune.model.folder import build_tiny
from hybridtune.model.tokenizer import train_tokenizer

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
KEPT = 150_000  # bytes of a notebook with its outputs


def cells(notebook, kind):
    return [cell for cell in notebook.cells if cell.cell_type == kind]


def outputs(notebook):
    return [output for cell in cells(notebook, "code") for output in cell.outputs]


def with_values(notebook, values):
    """The notebook with a cell of values behind the one of its parameters, as papermill does it."""
    places = [n for n, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", ())]
    assert len(places) == 1
    assert all(
        f"{name} = " in notebook.cells[places[0]].source or f"{name}, " in notebook.cells[places[0]].source
        for name in values
    )
    code = "\n".join(f"{name} = {value!r}" for name, value in values.items())
    notebook.cells.insert(places[0] + 1, nbformat.v4.new_code_cell(code))
    return notebook


@pytest.mark.parametrize("file", [pytest.param(file, id=file.stem) for file in NOTEBOOKS])
def test_what_is_kept_is_small_and_has_run(file):
    notebook = nbformat.read(file, as_version=4)
    nbformat.validate(notebook)
    assert outputs(notebook)
    assert not [output for output in outputs(notebook) if output.output_type == "error"]
    assert all(cell.execution_count for cell in cells(notebook, "code"))
    assert file.stat().st_size < KEPT
    assert not re.search(r"/(home|root|tmp|work|usr)/", file.read_text(encoding="utf-8"))  # folders of one machine
    assert json.loads(file.read_text(encoding="utf-8"))["metadata"]["kernelspec"]["name"] == "python3"


SMALL = {
    "own_csv": {"STEPS": 4},
    "ratio_curve": {"STEPS": 4, "RATIOS": [0.0, 1.0]},
    "language_bias": {
        "ENCODER": "encoder",
        "BENCHMARK": "newsroom:test",
        "TEXTS": "newsroom:dev",  # few
        "SETTINGS": {"resources__evaluators": 1},
    },
}

ANSWERS = {
    "own_csv": "answered by the first of",
    "ratio_curve": "image/png",
    "language_bias": "multi/language_preference",
}


@pytest.mark.ray
@pytest.mark.timeout(900)
@pytest.mark.parametrize("file", [pytest.param(file, id=file.stem) for file in NOTEBOOKS])
def test_it_runs(file, tmp_path, monkeypatch):
    values = SMALL[file.stem]
    if "ENCODER" in values:
        texts = (text for row in list(generate("dev"))[:60] for text in row["passages"].values())
        encoder = Encoder(tiny=Tiny(vocab_size=300, hidden_size=16, heads=2, layers=1))
        build_tiny(train_tokenizer(texts, 300).definition, encoder, 0, tmp_path / values["ENCODER"])
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    notebook = with_values(nbformat.read(file, as_version=4), values)
    client = NotebookClient(
        notebook, timeout=800, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    said = "".join(output.get("text", "") + str(output.get("data", "")) for output in outputs(notebook))
    assert ANSWERS[file.stem] in said
    assert "hybridtune: " not in said  # a command that failed
