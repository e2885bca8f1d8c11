"""A linear map to a teacher's width: thrown away after the training, or written as a Dense layer of the model."""

import json
import shutil

import numpy as np
import pytest
import torch
from test_loss import unit

from hybridtune.config.fields import Encoder
from hybridtune.errors import InputError
from hybridtune.model.encoder import DualEncoder
from hybridtune.model.folder import with_folder_settings
from hybridtune.model.loss import align
from hybridtune.model.projection import Projection, orthogonal, write_projected

TEXTS = ["the minister opened the bridge", "sw", "Ein neuer Hafen!", "a market and a river", "the school"]


@pytest.mark.parametrize(("rows", "columns"), [(24, 16), (16, 16), (9, 16), (1, 3)])
def test_the_shorter_side_is_orthonormal_and_the_seed_decides(rows, columns):
    drawn = orthogonal(rows, columns, 3)
    assert drawn.shape == (rows, columns)
    short = drawn.T @ drawn if rows >= columns else drawn @ drawn.T
    torch.testing.assert_close(short, torch.eye(min(rows, columns)), atol=1e-5, rtol=0)
    torch.manual_seed(99)
    assert torch.equal(orthogonal(rows, columns, 3), drawn)
    assert not torch.equal(orthogonal(rows, columns, 4), drawn)


def test_align_through_a_projection_equals_the_definition():
    one, other, teachers = unit(6, 4, 0).requires_grad_(), unit(6, 4, 1).requires_grad_(), unit(6, 9, 2)
    projection = Projection(4, 9, 5).double()
    output = align(one, other, teachers, projection)
    output.loss.backward()
    grads = projection.weight.grad.clone(), one.grad.clone(), other.grad.clone()
    for tensor in (projection.weight, one, other):
        tensor.grad = None
    cosines = []
    for side in (one, other):
        for vector, target in zip(side, teachers, strict=True):
            mapped = projection.weight @ vector
            cosines.append(mapped @ target / (mapped @ mapped) ** 0.5)
    loss = 1 - sum(cosines) / len(cosines)
    loss.backward()
    assert output.loss.item() == pytest.approx(loss.item(), rel=1e-12)
    for found, tensor in zip(grads, (projection.weight, one, other), strict=True):
        torch.testing.assert_close(found, tensor.grad)
    spread = torch.cat([one, other]).detach().var(0, unbiased=False).sum()
    assert float(output.spread) == pytest.approx(float(spread))  # the student's own, whatever the map


@pytest.mark.parametrize(("name", "width"), [("tiny", 24), ("tiny", 16), ("dense", 20)])
def test_an_encoder_with_a_wider_projection_ranks_as_before(request, name, width, tmp_path):
    source, _, tokenizer = request.getfixturevalue(name)
    lengths = {"query_length": 16, "passage_length": 24}
    encoder = with_folder_settings(Encoder(name=str(source), **lengths))
    write_projected(str(source), encoder, tokenizer.pad_id, width, 7, tmp_path / "projected")
    one, other = DualEncoder.load(source, **lengths), DualEncoder.load(tmp_path / "projected")
    assert (other.width, len(other.heads)) == (width, len(one.heads) + 1)
    plain, mapped = one.encode_queries(TEXTS), other.encode_queries(TEXTS)
    cosines = [v @ v.T / np.outer(*[np.linalg.norm(v, axis=1)] * 2) for v in (plain, mapped)]
    np.testing.assert_allclose(cosines[0], cosines[1], atol=1e-5)
    told = with_folder_settings(other._texts[0])
    assert (told.query_prefix, told.pooling) == (encoder.query_prefix, encoder.pooling)


def test_what_is_written_is_drawn_by_the_seed(tiny, tmp_path):
    source, encoder, tokenizer = tiny
    for name, seed in (("one", 1), ("same", 1), ("other", 2)):
        write_projected(str(source), encoder, tokenizer.pad_id, 20, seed, tmp_path / name)
    one, same, other = (DualEncoder.load(tmp_path / name).heads[-1].linear.weight for name in ("one", "same", "other"))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    modules = json.loads((tmp_path / "one" / "modules.json").read_text())
    assert [module["type"].rsplit(".", 1)[1] for module in modules] == ["Transformer", "Pooling", "Dense", "Normalize"]


def test_vectors_that_are_cut_keep_no_projection(dense, tmp_path):
    source, encoder, tokenizer = dense
    shutil.copytree(source, tmp_path / "cut")
    (tmp_path / "cut" / "config_sentence_transformers.json").write_text('{"truncate_dim": 8}')
    with pytest.raises(InputError, match=r"teacher_projection kept: .* cuts its vectors to 8 numbers"):
        write_projected(str(tmp_path / "cut"), encoder, tokenizer.pad_id, 20, 0, tmp_path / "out")
    assert not (tmp_path / "out").exists()
