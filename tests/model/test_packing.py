import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers
from hypothesis import given
from hypothesis import strategies as st

from hybridtune.config.fields import Encoder
from hybridtune.model import packing
from hybridtune.model.encoder import DualEncoder, load_encoder
from hybridtune.model.packing import TokenRows

KIT = Path(__file__).parents[3] / "shared" / "kit"
CPU = torch.device("cpu")
LENGTHS = [9, 2, 17, 9, 1, 30, 10, 17, 3]
SIZES = {
    "vocab_size": 211,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "pad_token_id": 1,
    "initializer_range": 0.3,  # attention that matters
}


def backbone(kind, **changes):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return transformers.AutoModel.from_config(transformers.AutoConfig.for_model(kind, **SIZES | changes))


def texts(lengths=LENGTHS, seed=0, most=211):
    rng = np.random.default_rng(seed)
    return [rng.integers(2, most, length).astype(np.int32) for length in lengths]


def padded(model, rows, pooling):
    """The vectors as plain transformers give them: one batch, padded to its longest text."""
    ids = torch.ones(len(rows), max(map(len, rows)), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row)], mask[i, : len(row)] = torch.tensor(row), 1
    hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
    pooled = hidden[:, 0] if pooling == "cls" else (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
    return F.normalize(pooled, dim=-1)


def gradients(model, vectors):
    target = torch.randn(vectors.shape, generator=torch.Generator().manual_seed(1))
    model.zero_grad()
    (vectors * target).sum().backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}


def check_against_padded(packed, plain, rows, pooling):
    expected, found = padded(plain, rows, pooling), packed.embed(rows)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-6)
    ours, theirs = gradients(packed.backbone, found), gradients(plain, expected)
    assert ours.keys() == theirs.keys()
    assert len(ours) > 10
    whole = max(float(gradient.norm()) for gradient in theirs.values())
    for name, gradient in theirs.items():
        noise = float(gradient.norm()) < 1e-6 * whole  # the bias of a key: softmax does not see it
        assert float((ours[name] - gradient).norm()) < (2e-6 * whole if noise else 1e-5 * float(gradient.norm())), name


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("kind", ["bert", "xlm-roberta", "electra", "albert"])
def test_packed_texts_have_the_vectors_and_gradients_of_padded_ones(kind, pooling):
    packed, plain = DualEncoder(backbone(kind), pooling, 1), backbone(kind)
    plain.pooler = None
    assert packed.backbone.config._attn_implementation == packing.NAME
    check_against_padded(packed, plain, texts(), pooling)


@pytest.mark.parametrize("kind", ["mpnet", "deberta-v2"])
def test_a_model_that_is_not_packed_gets_groups_of_like_length(kind):
    packed, plain = DualEncoder(backbone(kind), "mean", 1), backbone(kind)
    plain.pooler = None
    shapes = []
    packed.backbone.register_forward_pre_hook(
        lambda module, args, options: shapes.append(tuple(options["input_ids"].shape)), with_kwargs=True
    )
    rows = texts([*LENGTHS, *[4] * 20, *[38] * 20])
    check_against_padded(packed, plain, rows, "mean")
    assert len(shapes) > 1
    assert sum(texts * length for texts, length in shapes) < 1.2 * sum(map(len, rows))


@pytest.mark.kit
@pytest.mark.skipif(not KIT.is_dir(), reason=f"no data kit at {KIT}")
def test_the_kits_encoder_packed(tmp_path):
    folder = str(tmp_path)
    subprocess.run([sys.executable, KIT / "unpack_encoder.py", folder, "--layers", "2"], check=True)
    packed = load_encoder(folder, Encoder(name=folder), 1, dropout=0.0)
    plain = transformers.AutoModel.from_pretrained(folder)
    plain.pooler = None
    assert packed.backbone.config._attn_implementation == packing.NAME
    check_against_padded(packed, plain.eval(), texts([9, 2, 9, 30, 4], most=50_000), "mean")


def test_a_model_that_packing_changes_is_not_packed(monkeypatch):
    monkeypatch.setattr(packing, "first_position", lambda config: 3)  # wrong: positions start at 0
    packed = DualEncoder(backbone("bert"), "mean", 1)
    assert packed.backbone.config._attn_implementation == "sdpa"
    check_against_padded(packed, backbone("bert", add_pooling_layer=False).eval(), texts(), "mean")


def test_a_model_in_training_is_in_training_after_it_was_checked():
    assert DualEncoder(backbone("bert").train(), "mean", 1).training
    assert not DualEncoder(backbone("bert").eval(), "mean", 1).backbone.training


def test_vectors_do_not_depend_on_the_other_texts_nor_on_their_order():
    model, rows = DualEncoder(backbone("bert"), "mean", 1), texts()
    with torch.no_grad():
        together = model.embed(rows)
        alone = torch.cat([model.embed([row]) for row in rows])
        backwards = model.embed(rows[::-1]).flip(0)
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)
    torch.testing.assert_close(together, backwards, rtol=0, atol=1e-6)
    assert torch.pdist(together).min() > 1e-2


@given(st.lists(st.integers(1, 12), min_size=1, max_size=8), st.sampled_from([0, 1, 8, 40]))
def test_groups_cost_least_of_all(lengths, cost):
    sizes = np.sort(np.array(lengths))
    groups = packing._groups(sizes, cost)
    remaining = iter(sizes)
    for group in groups:
        inside = list(itertools.islice(remaining, group.texts))
        assert max(inside) == group.length
        assert group.ragged == (min(inside) < group.length)
    assert next(remaining, None) is None
    every = []
    for cuts in itertools.product([False, True], repeat=len(sizes) - 1):
        ends = [i + 1 for i, cut in enumerate(cuts) if cut] + [len(sizes)]
        every.append(sum(sizes[b - 1] * (b - a) + cost for a, b in itertools.pairwise([0, *ends])))
    assert sum(group.slots + cost for group in groups) == min(every)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=20), st.booleans(), st.booleans())
def test_every_token_has_one_slot_and_its_position(lengths, by_group, packed):
    rows = TokenRows.of([np.arange(1, length + 1) * 100 + i for i, length in enumerate(lengths)])
    if by_group:
        layout = packing.group_by_length(rows.lengths, CPU, packed)
        assert sum(group.slots for group in layout.groups) == len(layout.owner)
        assert torch.equal(layout.bias == 0, layout.share > 0)
    else:
        layout = packing.one_after_the_other(rows.lengths, rows.longest, CPU)
        assert layout.offsets.tolist() == [0, *np.cumsum(lengths)]
        assert layout.offsets.dtype == torch.int32
    slots = layout.fill(rows.ids, 7)
    filled = layout.share > 0
    assert sorted(slots[filled].tolist()) == sorted(rows.ids.tolist())
    assert (slots[~filled] == 7).all()
    assert torch.equal(slots[filled], (layout.positions[filled] + 1) * 100 + layout.owner[filled])
    assert slots[layout.firsts].tolist() == [100 + i for i in range(len(lengths))]
    sums = torch.zeros(len(lengths)).index_add(0, layout.owner, layout.share)
    torch.testing.assert_close(sums, torch.ones(len(lengths)))
    assert layout.longest == max(lengths)


@pytest.fixture
def any_length(monkeypatch):
    """The kernel that a GPU has, text by text, taken by heads of width 8; what it was called with."""
    calls = []

    def kernel(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, scale=None):
        calls.append(query.shape)
        assert query.is_contiguous()
        assert cu_seq_q.dtype == cu_seq_k.dtype == torch.int32
        assert (max_q, max_k) == (max(LENGTHS), max(LENGTHS))
        parts = []
        for start, end in itertools.pairwise(cu_seq_q.tolist()):
            q, k, v = (part[start:end].transpose(0, 1) for part in (query, key, value))  # [H, L, E]
            parts.append((q @ k.transpose(1, 2) * scale).softmax(-1) @ v)
        return torch.cat(parts, 1).transpose(0, 1)  # [T, H, E]

    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", kernel)
    monkeypatch.setattr(packing, "takes_any_length", lambda device, dtype, width: width == 8)
    return calls


@pytest.mark.parametrize("kind", ["bert", "xlm-roberta"])
def test_attention_for_texts_of_any_length_is_called_as_it_asks(kind, any_length):
    packed, plain = DualEncoder(backbone(kind), "mean", 1), backbone(kind)
    plain.pooler = None
    check_against_padded(packed, plain, texts(), "mean")
    assert any_length == [(sum(LENGTHS), 4, 8)] * 2


def test_a_rate_that_nobody_asked_for_keeps_no_training_from_that_kernel(any_length):
    """Published encoders drop attention weights: vectors and gradients are those of padded ones at a rate of 0."""
    packed = DualEncoder(backbone("bert", attention_probs_dropout_prob=0.5), "mean", 1).train()
    plain = backbone("bert")
    plain.pooler = None
    check_against_padded(packed, plain, texts(), "mean")
    assert any_length == [(sum(LENGTHS), 4, 8)] * 2


def test_only_a_rate_that_was_asked_for_is_kept(tiny):
    folder, encoder, tokenizer = tiny
    assert not load_encoder(str(folder), encoder, tokenizer.pad_id).drops_attention
    assert load_encoder(str(folder), encoder, tokenizer.pad_id, dropout=0.1).drops_attention


def test_which_devices_take_texts_of_any_length(monkeypatch):
    gpu = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 6))
    assert packing.takes_any_length(gpu, torch.bfloat16, 64)
    assert not packing.takes_any_length(gpu, torch.float32, 64)
    assert not packing.takes_any_length(gpu, torch.bfloat16, 12)
    assert not packing.takes_any_length(gpu, torch.bfloat16, 264)
    assert not packing.takes_any_length(CPU, torch.bfloat16, 64)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert not packing.takes_any_length(gpu, torch.bfloat16, 64)


def test_dropped_attention_weights_keep_to_groups_and_to_training(any_length):
    model = DualEncoder(backbone("bert", attention_probs_dropout_prob=0.5), "mean", 1)
    model.drops_attention = True
    plain = DualEncoder(backbone("bert"), "mean", 1)
    rows = texts()
    with torch.no_grad():
        torch.testing.assert_close(model.eval().embed(rows), plain.embed(rows), rtol=0, atol=1e-6)
        assert len(any_length) == 4  # layers of both
        model.train()
        with torch.random.fork_rng():
            drawn = []
            for seed in (1, 1, 2):
                torch.manual_seed(seed)
                drawn.append(model.embed(rows))
    assert len(any_length) == 4
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.allclose(drawn[0], drawn[2], atol=1e-2)


def test_dropped_attention_weights_are_right_on_average():
    """E[dropout(softmax)] V is softmax V: the mean over many draws comes near the undropped attention."""
    generator = torch.Generator().manual_seed(0)
    heads = [torch.randn(1, 64, 15, 8, generator=generator) for _ in range(3)]  # 12 tokens, 3 slots of padding
    layout = packing.group_by_length(torch.tensor([5, 4, 3]), CPU)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sums = sum(packing.packed_attention(None, *heads, None, dropout=0.1, texts=layout)[0] for _ in range(300))
    exact = packing.packed_attention(None, *heads, None, texts=layout)[0]
    filled = layout.share > 0
    assert ((sums / 300 - exact)[0, filled] ** 2).mean().sqrt() < 0.05
    assert (exact[0, filled] ** 2).mean().sqrt() > 0.5


def test_bfloat16_is_near_float32():
    model, rows = DualEncoder(backbone("bert", initializer_range=0.1), "mean", 1), texts()
    with torch.no_grad():
        exact = model.embed(rows)
        with torch.autocast("cpu", torch.bfloat16):
            near = model.embed(rows)
    assert near.dtype == torch.float32
    assert not torch.equal(near, exact)
    assert (near * exact).sum(1).min() > 0.999


def test_token_rows():
    rows = texts([3, 1, 4, 1, 5])
    found = TokenRows.of(rows)
    assert (len(found), found.longest, found.lengths.tolist()) == (5, 5, [3, 1, 4, 1, 5])
    assert found.ids.dtype == found.lengths.dtype == torch.int64
    assert found.ids.tolist() == np.concatenate(rows).tolist()
    chunks = found.split(2)
    assert [(len(chunk), chunk.longest) for chunk in chunks] == [(2, 3), (2, 4), (1, 5)]
    assert torch.equal(torch.cat([chunk.ids for chunk in chunks]), found.ids)
    assert found.split(None) == [found]
    assert found.split(5) == [found]
    assert found.to("cpu").ids is found.ids
    meta = found.to(torch.device("meta"))
    assert (meta.ids.device.type, meta.lengths.device.type) == ("meta", "cpu")


@pytest.mark.parametrize("lengths", [[], [2, 0, 1], [2], [4]])
def test_token_rows_that_are_none(lengths):
    with pytest.raises(ValueError, match="3 token ids are not the tokens of texts"):
        TokenRows.flat(np.arange(3, dtype=np.int32), np.array(lengths, np.int32))
