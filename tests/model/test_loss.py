import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hybridtune.model.loss import info_nce

CLUSTERS = torch.tensor([0, 1, 2, 1, 3, 4, 0, 1, 5, 6, 3, 7])  # equal ones stand in different workers' slices


def unit(rows, width, seed):
    vectors = torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return F.normalize(vectors, dim=1)


def naive(queries, passages, clusters, temperature):
    """One direction, row by row, from the definition."""
    losses, hits = [], []
    for i in range(len(queries)):
        scores = {
            j: float(queries[i] @ passages[j]) / temperature
            for j in range(len(passages))
            if j == i or clusters[j] != clusters[i]
        }
        losses.append(math.log(sum(math.exp(score) for score in scores.values())) - scores[i])
        hits.append(max(scores, key=scores.__getitem__) == i)
    return sum(losses) / len(losses), sum(hits) / len(hits)


@pytest.mark.parametrize("temperature", [0.02, 0.2, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_equals_the_definition(seed, temperature):
    queries, passages = unit(12, 6, seed), unit(12, 6, seed + 100)
    for clusters in (CLUSTERS, torch.arange(12)):
        there, hits = naive(queries, passages, clusters, temperature)
        back, _ = naive(passages, queries, clusters, temperature)
        one = info_nce(queries, passages, clusters, temperature)
        both = info_nce(queries, passages, clusters, temperature, symmetric=True)
        assert float(one.loss) == pytest.approx(there, rel=1e-12)
        assert float(both.loss) == pytest.approx((there + back) / 2, rel=1e-12)
        assert float(one.accuracy) == float(both.accuracy) == pytest.approx(hits)


def test_known_answer():
    """Two pairs at right angles, temperature 1/2: each row is -log(e^2 / (e^2 + e^0))."""
    vectors = torch.eye(2)
    output = info_nce(vectors, vectors, torch.tensor([0, 1]), 0.5)
    assert float(output.loss) == pytest.approx(math.log1p(math.exp(-2)), rel=1e-6)
    assert float(output.accuracy) == 1
    assert float(output.spread) == pytest.approx(0.5)  # each of 2 dimensions is 0 or 1 half the time: variance 1/4


def test_a_masked_batch_has_nothing_to_learn():
    vectors = unit(4, 3, 0).requires_grad_()
    output = info_nce(vectors, unit(4, 3, 1), torch.zeros(4, dtype=torch.int64), 0.05)
    output.loss.backward()
    assert output.loss.item() == 0
    assert float(output.accuracy) == 1
    assert not vectors.grad.any()


def test_a_collapsed_encoder_has_no_spread():
    vectors = unit(1, 5, 0).expand(8, 5)
    output = info_nce(vectors, vectors, torch.arange(8), 0.05)
    assert float(output.spread) == pytest.approx(0, abs=1e-12)
    assert float(output.loss) == pytest.approx(math.log(8))


def encoder(seed=0):
    torch.manual_seed(seed)
    return nn.Linear(6, 4).double()


def step(model, rows, symmetric):
    """Loss of some rows of one fixed batch, through a small encoder of unit vectors; gradients stay in the model."""
    pairs = torch.cat([unit(12, 6, 0), unit(12, 6, 1)], 1)[rows]  # [b, 12]
    vectors = F.normalize(model(pairs.reshape(-1, 6)), dim=1).reshape(-1, 2, 4)
    output = info_nce(vectors[:, 0], vectors[:, 1], CLUSTERS[rows], 0.1, symmetric)
    output.loss.backward()
    return torch.stack([output.loss.detach(), output.accuracy.double()])


def worker(rank, folder):
    """One of three processes; the third sits out while there are two. Writes its means and DDP's gradients."""
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel

    found = {}
    for workers in (2, 3):
        if rank >= workers:
            continue
        dist.init_process_group("gloo", f"file://{folder}/meeting-{workers}", rank=rank, world_size=workers)
        size = 12 // workers
        for symmetric in (False, True):
            model = encoder()
            figures = step(DistributedDataParallel(model), slice(rank * size, (rank + 1) * size), symmetric)
            dist.all_reduce(figures)
            found[workers, symmetric] = [figures / workers, *(parameter.grad for parameter in model.parameters())]
        dist.destroy_process_group()
    torch.save(found, Path(folder) / f"{rank}.pt")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What each of three processes found."""
    folder = tmp_path_factory.mktemp("workers")
    code = "import sys, test_loss; test_loss.worker(int(sys.argv[1]), sys.argv[2])"
    here = Path(__file__).parent
    processes = [subprocess.Popen([sys.executable, "-c", code, str(rank), str(folder)], cwd=here) for rank in range(3)]
    try:
        assert [process.wait(120) for process in processes] == [0, 0, 0]
    finally:
        for process in processes:
            process.kill()
    return [torch.load(folder / f"{rank}.pt") for rank in range(3)]


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("workers", [2, 3])
def test_workers_get_the_loss_and_gradient_of_one_worker(found, workers, symmetric):
    model = encoder()
    expected = [step(model, slice(0, 12), symmetric), *(parameter.grad for parameter in model.parameters())]
    assert expected[0][0] > 0.1
    for rank in range(workers):
        for here, alone in zip(found[rank][workers, symmetric], expected, strict=True):
            torch.testing.assert_close(here, alone, rtol=1e-5, atol=1e-7)
