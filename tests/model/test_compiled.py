"""A compiled encoder whose kernel takes texts of any length is one graph, which serves all batches."""

import itertools

import numpy as np
import pytest
import torch
import transformers
from torch._dynamo.testing import CompileCounterWithBackend
from torch.nn.attention import varlen

from hybridtune.config.training import Train
from hybridtune.model import packing
from hybridtune.model.encoder import DualEncoder, prepare_for_training
from hybridtune.model.packing import TokenRows

SIZES = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}


def by_text(ends, *tensors):
    """Each text's part of [T, H, E] tensors, as [H, L, E]."""
    for start, end in itertools.pairwise(ends.tolist()):
        yield [tensor[start:end].transpose(0, 1) for tensor in tensors]


def forward_on_cpu(query, key, value, ends, ends_of_keys, longest, longest_key, causal, scale, *others):
    rows, sums = [], []
    for q, k, v in by_text(ends, query, key, value):
        scores = q @ k.transpose(1, 2) * scale
        rows.append((scores.softmax(-1) @ v).transpose(0, 1))
        sums.append(scores.logsumexp(-1))
    return torch.cat(rows), torch.cat(sums, 1), torch.zeros(2, dtype=torch.uint64)


def backward_on_cpu(gradient, query, key, value, out, sums, ends, ends_of_keys, longest, *others):
    scale, found = others[3], []
    for q, k, v, g in by_text(ends, query, key, value, gradient):
        weights = (q @ k.transpose(1, 2) * scale).softmax(-1)
        of_weights = g @ v.transpose(1, 2)
        of_scores = weights * (of_weights - (of_weights * weights).sum(-1, keepdim=True)) * scale
        parts = of_scores @ k, of_scores.transpose(1, 2) @ q, weights.transpose(1, 2) @ g
        found.append([part.transpose(0, 1) for part in parts])
    return tuple(torch.cat(parts) for parts in zip(*found, strict=True))


@pytest.mark.slow
def test_a_compiled_encoder_is_one_graph_for_all_batches(monkeypatch):
    """PyTorch's own operator and its gradient, with the kernels that a CPU lacks."""
    varlen._varlen_attn.register_kernel("cpu", forward_on_cpu)
    varlen._varlen_attn_backward.register_kernel("cpu", backward_on_cpu)
    monkeypatch.setattr(packing, "takes_any_length", lambda device, dtype, width: width == 8)
    counter = CompileCounterWithBackend("aot_eager")
    monkeypatch.setattr(torch._dynamo.config, "recompile_limit", 1)  # a second graph would be an error
    monkeypatch.setattr(torch._dynamo.config, "fail_on_recompile_limit_hit", True)
    config = transformers.BertConfig(**SIZES, max_position_embeddings=40, hidden_dropout_prob=0.0)
    model = DualEncoder(transformers.AutoModel.from_config(config), "mean", 1).train()
    draw = np.random.default_rng(0)
    batches = [
        TokenRows.of([draw.integers(2, 60, draw.integers(1, 30)).astype(np.int32) for _ in range(texts)])
        for texts in (5, 9, 3, 12)
    ]

    def gradients():
        found = []
        for batch in batches:
            model.zero_grad()
            model(batch)[:, :3].sum().backward()
            found.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
        return found

    plain, compile_it = gradients(), torch.compile
    monkeypatch.setattr(torch, "compile", lambda call, **how: compile_it(call, **how, backend=counter, fullgraph=True))
    prepare_for_training(model, Train(compile=True))
    try:
        for found, expected in zip(gradients(), plain, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    finally:
        packing.register()
        torch.compiler.reset()
    attended = [sum("_varlen_attn" in str(node.target) for node in graph.graph.nodes) for graph in counter.graphs]
    assert [count for count in attended if count] == [config.num_hidden_layers]
