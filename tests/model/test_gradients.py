"""Two and three processes, whole and in chunks, against the loops of `test_loss.naive` in one process."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from test_distil import naive_consistency, naive_distil, naive_margins
from test_loss import ANSWER_SETS, NEAR, naive, unit
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from hybridtune.model.distil import consistency, distil, scores_of_margins, teacher_scores
from hybridtune.model.gradcache import backward
from hybridtune.model.loss import LearnedTemperature, align, info_nce
from hybridtune.model.packing import TokenRows
from hybridtune.model.projection import Projection, orthogonal

pytestmark = pytest.mark.slow

WORKERS = (2, 3)
PAIRS = len(ANSWER_SETS)
OWNERS = torch.tensor([0, 0, 1, 3, 4, 5, 5])  # the pair of each negative, at most 2; the last worker has none
# How much higher the data score the passage of each.
MARGINS = torch.tensor([2.0, -1.5, 0.5, 1.0, torch.nan, 3.0, torch.nan], dtype=torch.float64)
THEIR_ANSWER_SETS = torch.tensor([-1, 1, 6, 0, -1, 3, 5])
ALL = {"symmetric": True, "hard": True, "matryoshka": [2, 3], "near_duplicate": NEAR, "learned": True}
CASES = {
    "one way": {},
    "symmetric": {"symmetric": True},
    "negatives": {"hard": True},
    "matryoshka": {"matryoshka": [2, 3]},
    "near duplicates": {"hard": True, "near_duplicate": NEAR},
    "learned temperature": {"learned": True},
    "all": ALL,
    "align": {"align": 4},
    "align, a teacher of another width": {"align": 7},
    "all, a loss of one's own": ALL | {"own": True},
    "scores of a teacher": {"hard": True, "distil": "kl"},
    "a query in two languages": {"hard": True, "twice": True, "learned": True},
    "margins of a teacher": ALL | {"near_duplicate": None, "distil": "margin_mse"},
    "own negatives": {"hard": True, "local": True},
    "all, own negatives": ALL | {"local": True},
    "margins, own negatives": ALL | {"near_duplicate": None, "distil": "margin_mse", "local": True},
    "scores of the data": {"hard": True, "given": "kl"},
    "scores of the data, own negatives": {"hard": True, "given": "kl", "local": True},
    "margins of the data": ALL | {"near_duplicate": None, "given": "margin_mse"},
    "both": ALL | {"near_duplicate": None, "distil": "kl", "twice": True},
    "both, own negatives": ALL | {"near_duplicate": None, "distil": "kl", "twice": True, "local": True},
}
OF_ENCODER = ALL | {"near_duplicate": 0.93}  # random weights: all texts are near each other
SIZES = ("1", "3", "pairs", "whole")  # texts of a chunk; "pairs": one chunk without negatives, several with some
TWICE = torch.tensor([0, 2, 3, 6, 11])  # the rows that come in a second language, unlike many of each worker
STEPS = 2  # DDP rebuilds its buckets in the second


def toy():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4), Unit()).double()
    model.register_buffer("sent_to_all_at_every_step", torch.zeros(3))
    return model


class Unit(nn.Module):
    def forward(self, vectors):
        return F.normalize(vectors, dim=1)


def toy_texts(rows, owned):
    texts = [unit(12, 6, 0)[rows], unit(12, 6, 1)[rows], unit(7, 6, 2)[owned]]
    return torch.cat([*texts, unit(12, 6, 3)[asked_twice(rows)]])


def asked_twice(rows):
    return TWICE[(rows.start <= TWICE) & (rows.stop > TWICE)]


def toy_chunks(texts, size):
    return texts.split(size)


def encoder(folder, tokenizer_pad):
    from hybridtune.config.fields import Encoder
    from hybridtune.model.encoder import load_encoder

    return load_encoder(folder, Encoder(name=folder), tokenizer_pad).train()


def token_texts(rows, owned):
    draw = np.random.default_rng(3)
    texts = [draw.integers(5, 300, draw.integers(2, 16), np.int32) for _ in range(2 * PAIRS + len(OWNERS))]
    queries, passages, negatives = texts[:PAIRS], texts[PAIRS : 2 * PAIRS], texts[2 * PAIRS :]
    return [*queries[rows], *passages[rows], *(negatives[i] for i in owned.nonzero().flatten())]


def token_chunks(texts, size):
    return TokenRows.of(texts).split(size)


def step(model, texts_of, chunks_of, rows, case, size):
    """Gradients and figures of some rows of one fixed batch, through the library."""
    b = rows.stop - rows.start
    owned = torch.isin(OWNERS, torch.arange(rows.start, rows.stop))
    if not case.get("hard"):
        owned &= False
    texts = texts_of(rows, owned)
    twice = len(asked_twice(rows)) if texts_of is toy_texts else 0
    if not case.get("twice"):
        texts, twice = texts[: len(texts) - twice], 0
    chunks = chunks_of(texts, {"1": 1, "3": 3, "pairs": 2 * b, "whole": len(texts)}[size])
    temperature = LearnedTemperature(0.1, 0.01, 1.0).double()
    projection = Projection(4, case["align"], 1).double() if case.get("align", 4) != 4 else None

    def loss_of(vectors):
        queries, passages, negatives, seconds = vectors.split([b, b, len(vectors) - 2 * b - twice, twice])
        if case.get("align"):
            return align(queries, passages, unit(PAIRS, case["align"], 5)[rows].to(vectors.dtype), projection)
        return info_nce(
            queries,
            passages,
            ANSWER_SETS[rows],
            temperature.value() if case.get("learned") else 0.1,
            case.get("symmetric", False),
            negatives if case.get("hard") else None,
            F.pad(THEIR_ANSWER_SETS[owned], (0, 2 * b - int(owned.sum()))) if case.get("hard") else None,
            case.get("matryoshka", ()),
            case.get("near_duplicate"),
            cross_entropy if case.get("own") else None,
            beside(case, rows, owned, seconds),
            not case.get("local"),
        )

    output = backward(model, chunks, loss_of)
    temperature.average_gradient()
    if projection is not None:
        projection.average_gradient()
        return torch.stack([output.loss, output.accuracy]), weighed(projection.weight.grad)
    return torch.stack([output.loss, output.accuracy]), temperature.log_ratio.grad


def weighed(gradient):
    """One number that tells of all of a gradient."""
    return (gradient * torch.arange(1.0, gradient.numel() + 1).view_as(gradient)).sum()


def taught(rows, owned):
    """What a teacher makes of some rows' texts, and which texts it reads: not all."""
    vectors = torch.cat([unit(PAIRS, 5, 6)[rows], unit(PAIRS, 5, 7)[rows], unit(7, 5, 8)[owned]])
    read = torch.cat([torch.arange(PAIRS)[rows] % 5 > 0, torch.arange(PAIRS)[rows] % 4 > 0, OWNERS[owned] != 3])
    return vectors * read[:, None], read


def beside(case, rows, owned, seconds):
    losses, b = {}, rows.stop - rows.start
    if case.get("distil"):
        targets, known = teacher_scores(taught(rows, owned)[0], b, 2 * b, 0.3, not case.get("local"))
        losses["distil_loss"] = (0.5, lambda scored: distil(case["distil"], scored, targets, known))
    if case.get("given"):
        empty = (0, 2 * b - int(owned.sum()))
        given = scores_of_margins(
            F.pad(MARGINS[owned], empty, value=torch.nan),
            F.pad(OWNERS[owned] - rows.start, empty),
            b,
            not case.get("local"),
        )
        losses["distil_loss"] = (0.5, lambda scored: distil(case["given"], scored, *given))
    if case.get("twice"):
        losses["consistency_loss"] = (0.8, lambda scored: consistency(scored, seconds, asked_twice(rows) - rows.start))
    return losses


def cross_entropy(rows, columns, own, hidden, temperature):
    """The built-in loss, as somebody outside would write it."""
    return F.cross_entropy((rows @ columns.T / temperature).masked_fill(hidden, -torch.inf), own)


def record(found, key, model, figures, of_temperature):
    """Means over the workers, and the gradients as this worker has them."""
    figures = figures.double()
    dist.all_reduce(figures)
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    found[key] = (figures / dist.get_world_size(), of_temperature, gradients)


def worker(rank, folder, tiny, pad):
    """One of three processes; the third sits out while there are two."""
    from torch.distributed.fsdp import fully_shard

    torch.set_num_threads(1)
    found = {}
    for workers in WORKERS:
        if rank >= workers:
            continue
        dist.init_process_group("gloo", f"file://{folder}/meeting-{workers}", rank=rank, world_size=workers)
        b = PAIRS // workers
        rows = slice(rank * b, (rank + 1) * b)
        for size in SIZES:
            for name, case in CASES.items():
                model, calls = DistributedDataParallel(toy()), []
                model.register_comm_hook(calls, lambda calls, bucket: calls.append(1) or allreduce_hook(None, bucket))
                for _ in range(STEPS):
                    model.zero_grad()
                    results = step(model, toy_texts, toy_chunks, rows, case, size)
                record(found, (workers, size, name), model.module, *results)
                found[workers, size, name, "calls"] = len(calls)
            if workers > 2:
                continue
            model = DistributedDataParallel(encoder(tiny, pad))
            for _ in range(STEPS):
                model.zero_grad()
                results = step(model, token_texts, token_chunks, rows, OF_ENCODER, size)
            record(found, (workers, size, "encoder"), model.module, *results)
            model = toy()
            fully_shard(model[0])
            fully_shard(model)
            results = step(model, toy_texts, toy_chunks, rows, ALL, size)
            for parameter in model.parameters():
                parameter.grad = parameter.grad.full_tensor()
            record(found, (workers, size, "sharded"), model, *results)
        dist.destroy_process_group()
    torch.save(found, Path(folder) / f"{rank}.pt")


@pytest.fixture(scope="module")
def found(tmp_path_factory, tiny):
    """What each of three processes found."""
    folder = tmp_path_factory.mktemp("workers")
    code = "import sys, test_gradients; test_gradients.worker(int(sys.argv[1]), *sys.argv[2:4], int(sys.argv[4]))"
    rest = [str(folder), str(tiny[0]), str(tiny[2].pad_id)]
    cwd = Path(__file__).parent
    processes = [subprocess.Popen([sys.executable, "-c", code, str(rank), *rest], cwd=cwd) for rank in range(3)]
    try:
        assert [process.wait(240) for process in processes] == [0, 0, 0]
    finally:
        for process in processes:
            process.kill()
    return [torch.load(folder / f"{rank}.pt") for rank in range(3)]


def alone(model, vectors, case, workers=1):
    """The same batch in one process, from the definition: figures, the temperature's gradient, and the model's.

    Of workers with negatives of their own: the mean over their parts of the batch.
    """
    vectors = vectors.double()
    queries, passages, negatives, seconds = vectors.split(
        [PAIRS, PAIRS, len(OWNERS), len(vectors) - 2 * PAIRS - len(OWNERS)]
    )
    temperature = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    if case.get("align"):
        teachers, weight = unit(PAIRS, case["align"], 5), torch.eye(4, dtype=torch.float64)
        if case["align"] != 4:
            weight = orthogonal(case["align"], 4, 1).double().requires_grad_()
        mapped = [[F.normalize(weight @ v, dim=0) for v in side] for side in (queries, passages)]
        cosines = [v @ t for side in mapped for v, t in zip(side, teachers, strict=True)]
        loss, hits = 1 - sum(cosines) / len(cosines), None
    else:
        parts = workers if case.get("local") else 1
        size = PAIRS // parts
        of_parts = [
            definition(case, temperature, queries, passages, negatives, seconds, slice(first, first + size))
            for first in range(0, PAIRS, size)
        ]
        loss, hits = (sum(each) / parts for each in zip(*of_parts, strict=True))
    loss.backward()
    of_logarithm = 0.1 * temperature.grad if case.get("learned") else None
    if case.get("align", 4) != 4:
        of_logarithm = weighed(weight.grad)
    return loss.item(), hits, of_logarithm, {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def definition(case, temperature, queries, passages, negatives, seconds, rows):
    """Loss and share of hits of some rows of the batch, their own passages and negatives being all columns."""
    owned, of_rows = torch.isin(OWNERS, torch.arange(PAIRS)[rows]), ANSWER_SETS[rows]
    queries, passages, negatives = queries[rows], passages[rows], negatives[owned]
    hard = (negatives, THEIR_ANSWER_SETS[owned].tolist()) if case.get("hard") else ((), ())
    rest = (case.get("symmetric", False), *hard, case.get("matryoshka", ()), case.get("near_duplicate"))
    loss, hits = naive(queries, passages, of_rows, temperature, *rest)
    of_texts = [*of_rows.tolist(), *THEIR_ANSWER_SETS[owned].tolist()]
    if case.get("distil"):
        vectors, read = taught(rows, owned)
        listed = [vector if can else None for vector, can in zip(vectors, read, strict=True)]
        texts, sides = [*passages, *negatives], (listed[: len(queries)], listed[len(queries) :])
        more = (of_rows.tolist(), of_texts, sides, temperature, 0.3)
        loss = loss + 0.5 * naive_distil(case["distil"], queries, texts, *more)
    if case.get("given"):
        more = (of_rows.tolist(), of_texts, (OWNERS[owned] - rows.start).tolist(), MARGINS[owned].tolist(), temperature)
        loss = loss + 0.5 * naive_margins(case["given"], queries, [*passages, *negatives], *more)
    if case.get("twice"):
        mine = torch.isin(TWICE, torch.arange(PAIRS)[rows])
        more = ([*passages, *negatives], of_rows.tolist(), of_texts, temperature)
        of_seconds = (TWICE[mine] - rows.start).tolist()
        loss = loss + 0.8 * naive_consistency(queries, seconds[mine], of_seconds, *more)
    return loss, hits


def assert_same(found, expected, rtol, atol):
    figures, of_temperature, gradients = found
    loss, hits, of_logarithm, expected_gradients = expected
    assert loss > 0.1
    assert float(figures[0]) == pytest.approx(loss, rel=rtol)
    assert hits is None or float(figures[1]) == pytest.approx(hits)
    assert (of_temperature is None) == (of_logarithm is None)
    if of_logarithm is not None:
        assert float(of_temperature) == pytest.approx(float(of_logarithm), rel=rtol)
    torch.testing.assert_close(gradients, expected_gradients, rtol=rtol, atol=atol)


@pytest.mark.parametrize("name", CASES)
def test_workers_and_chunks_get_the_gradient_of_the_definition(found, name):
    for workers in WORKERS:
        model = toy()
        expected = alone(model, model(toy_texts(slice(0, PAIRS), OWNERS >= 0)), CASES[name], workers)
        for size in SIZES:
            for rank in range(workers):
                assert_same(found[rank][workers, size, name], expected, 1e-7, 1e-9)
                assert found[rank][workers, size, name, "calls"] == STEPS  # one bucket, averaged once a step


def test_the_options_change_the_loss():
    """Else the test above would compare the same thing again and again."""
    losses = set()
    for case in CASES.values():
        model = toy()
        losses.add(round(alone(model, model(toy_texts(slice(0, PAIRS), OWNERS >= 0)), case, 2)[0], 6))
    assert len(losses) == len(CASES) - 2  # a learned temperature starts at the fixed one; a loss is repeated


def test_an_encoder_gets_the_gradient_of_the_definition(found, tiny):
    model = encoder(str(tiny[0]), tiny[2].pad_id)
    vectors = model.embed(token_texts(slice(0, PAIRS), OWNERS >= 0))
    expected = alone(model, vectors, OF_ENCODER)
    assert expected[0] < alone(model, vectors.detach(), OF_ENCODER | {"near_duplicate": None})[0] - 0.05
    largest = max(float(gradient.abs().max()) for gradient in expected[3].values())
    for size in SIZES:
        for rank in range(2):
            assert_same(found[rank][2, size, "encoder"], expected, 1e-5, 1e-5 * largest)


def test_sharded_weights_get_the_gradient_of_the_definition(found):
    """FSDP2 meets in every run of the model, and workers hold different numbers of chunks."""
    model = toy()
    expected = alone(model, model(toy_texts(slice(0, PAIRS), OWNERS >= 0)), ALL)
    for size in SIZES:
        for rank in range(2):
            assert_same(found[rank][2, size, "sharded"], expected, 1e-7, 1e-9)
