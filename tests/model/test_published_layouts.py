"""Encoders as they are published give the vectors of sentence-transformers, as they are and after a training."""

from importlib.util import find_spec

import layouts
import numpy as np
import pytest
import torch
from layouts import LAYOUTS, LONG, TEXTS

from hybridtune.config.training import Train
from hybridtune.model.encoder import DualEncoder, prepare_for_training
from hybridtune.model.folder import save_folder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("sentence_transformers") is None, reason="sentence-transformers is not installed"),
]

BATCHES = [TEXTS, [*LONG[:3], *TEXTS], [TEXTS[1]], [LONG[4], "", TEXTS[2]], [*TEXTS[::-1], ""]]  # uneven ones


def opened(name):
    """sentence-transformers' own reading of a model, computing in float32."""
    from sentence_transformers import SentenceTransformer  # takes seconds, which only this file is to pay

    code = {"trust_remote_code": True}
    return SentenceTransformer(str(name), device="cpu", model_kwargs={"dtype": torch.float32}, **code).eval()


def read_by_us(name):
    model = DualEncoder.load(name, trust_remote_code=True)
    return *model._texts, model


def embedded(encoder, tokenizer, model, texts, side):
    prefix, length = getattr(encoder, f"{side}_prefix"), getattr(encoder, f"{side}_length")
    rows = [np.array(ids, np.int32) for ids in tokenizer.encode(texts, prefix, length)]
    with torch.no_grad():
        return model.embed(rows).numpy()


def check_same(theirs, ours):
    model = ours[2]
    queries = ("query", theirs.encode_query, model.encode_queries)
    for texts in BATCHES:
        for side, encode, ours_encode in (queries, ("passage", theirs.encode_document, model.encode_passages)):
            expected = encode(texts, batch_size=3, show_progress_bar=False)
            lengths = np.linalg.norm(expected, axis=1, keepdims=True)
            np.testing.assert_allclose(ours_encode(texts), expected, rtol=0, atol=1e-5 * lengths.max())
            found = embedded(*ours, texts, side)
            assert found.shape == expected.shape
            np.testing.assert_allclose(found, expected / lengths, rtol=0, atol=1e-5)


def trained(model, encoder, tokenizer, steps=3):
    """Some steps on the texts, with all that is trained by default."""
    prepare_for_training(model, Train())
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for step in range(steps):
        rows = [np.array(ids, np.int32) for ids in tokenizer.encode(TEXTS, encoder.query_prefix, encoder.query_length)]
        vectors = model.embed(rows)
        loss = (vectors @ vectors.roll(step + 1, 0).T).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_vectors_are_those_of_sentence_transformers_before_and_after_a_training(layout, tmp_path):
    source = getattr(layouts, layout)(tmp_path / "source")
    theirs, ours = opened(source), read_by_us(source)
    check_same(theirs, ours)

    encoder, tokenizer, model = ours
    before = embedded(*ours, TEXTS, "query")
    trained(model, encoder, tokenizer)
    after = embedded(*ours, TEXTS, "query")
    assert np.abs(after - before).max() > 1e-2, "three steps have changed nothing"
    for head in model.heads:
        for name, parameter in head.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name

    save_folder(model, str(source), encoder, tmp_path / "best", "# card", {})
    check_same(opened(tmp_path / "best"), ours)
    again = read_by_us(tmp_path / "best")
    assert again[0].model_copy(update={"name": encoder.name}) == encoder
    check_same(opened(tmp_path / "best"), again)
