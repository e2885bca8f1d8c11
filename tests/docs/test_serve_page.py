"""The index on docs/serve.md, built as it stands there: its Python blocks one after another, with a model folder."""

import re
from pathlib import Path

import numpy as np
import pytest

from hybridtune.model.encoder import DualEncoder
from hybridtune.model.folder import save_language_vectors
from hybridtune.model.language_vectors import fit_language_vectors, load_language_vectors

PAGE = Path(__file__).parents[2] / "docs" / "serve.md"


@pytest.fixture(scope="module")
def names(tiny, tmp_path_factory):
    """The names that the page's blocks leave."""
    folder = tmp_path_factory.mktemp("served") / "model"
    model = DualEncoder.load(str(tiny[0]), query_length=16, passage_length=24)
    model.save(folder)
    texts = ["ein Satz", "a sentence", "noch ein Satz", "one more"]
    known = {
        "queries": (model.encode_queries(texts), ["de", "en"] * 2),
        "passages": (model.encode_passages(texts), ["de", "en"] * 2),
    }
    save_language_vectors(folder, fit_language_vectors("apart", known))
    found = {"model_folder": str(folder)}
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), found)
    return found


@pytest.mark.slow
def test_the_index_holds_the_vectors_of_the_model_and_finds_by_cosine(names):
    model = DualEncoder.load(names["model_folder"])
    np.testing.assert_allclose(names["passages"], model.encode_passages(names["texts"]), atol=1e-5)
    query = model.encode_queries(["When was the bridge opened?"])
    best = np.argsort(-(query @ names["passages"].T)[0])[:3]
    plain, _ = names["index"].search(query, 3)
    np.testing.assert_allclose(plain[0], (query @ names["passages"].T)[0][best], atol=1e-5)


@pytest.mark.slow
def test_the_centred_index_is_what_hybridtune_moves(names):
    fitted = load_language_vectors(names["model_folder"])
    for side, vectors, languages in (
        ("passages", names["passages"], names["languages"]),  # fr is not among the fitted languages
        ("queries", names["queries"], ["en"]),
    ):
        moved = fitted.move(side, vectors, languages)
        np.testing.assert_allclose(names["centred"](side, vectors, languages), moved, atol=1e-6)
        assert np.abs(moved - vectors).max() > 0.01
    stored = names["centred_index"].reconstruct_n(0, 4)
    np.testing.assert_allclose(stored, fitted.move("passages", names["passages"], names["languages"]), atol=1e-6)
