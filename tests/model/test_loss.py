import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hybridtune.model.loss import info_nce

CASES = [(symmetric, hard) for symmetric in (False, True) for hard in (False, True)]
CLUSTERS = torch.tensor([0, 1, 2, 1, 3, 4, 0, 1, 5, 6, 3, 7])  # equal ones stand in different workers' slices


def unit(rows, width, seed):
    vectors = torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return F.normalize(vectors, dim=1)


def naive(queries, passages, clusters, temperature, negatives=(), negative_clusters=()):
    """One direction, row by row, from the definition."""
    negatives = list(zip(negatives, negative_clusters, strict=True))
    losses, hits = [], []
    for i in range(len(queries)):
        scores = {
            j: float(queries[i] @ passages[j]) / temperature
            for j in range(len(passages))
            if j == i or clusters[j] != clusters[i]
        }
        hard = {(n,): float(queries[i] @ v) / temperature for n, (v, c) in enumerate(negatives) if c != clusters[i]}
        scores |= hard
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


@pytest.mark.parametrize("temperature", [0.02, 1.0])
@pytest.mark.parametrize("held", [0, 1, 7])
@pytest.mark.parametrize("slots", [7, 12])
def test_hard_negatives_equal_the_definition(slots, held, temperature):
    queries, passages, negatives = unit(12, 6, 0), unit(12, 6, 1), unit(held, 6, 2)
    of_negatives = torch.tensor([-1, 1, 9, 0, -1, 3, 5] + [0] * 5)[:slots]  # those of empty slots are not read
    expected, hits = naive(queries, passages, CLUSTERS, temperature, negatives, of_negatives[:held])
    back, _ = naive(passages, queries, CLUSTERS, temperature)
    one = info_nce(queries, passages, CLUSTERS, temperature, False, negatives, of_negatives)
    both = info_nce(queries, passages, CLUSTERS, temperature, True, negatives, of_negatives)
    assert float(one.loss) == pytest.approx(expected, rel=1e-12)
    assert float(both.loss) == pytest.approx((expected + back) / 2, rel=1e-12)
    assert float(one.accuracy) == float(both.accuracy) == pytest.approx(hits)
    assert held or float(one.loss) == float(info_nce(queries, passages, CLUSTERS, temperature).loss)


def test_known_answer_with_a_hard_negative():
    """The first query meets its own passage again as a negative: -log(e^2 / (2 e^2 + e^0)), and no hit if it is last.

    The second query does not see it (cluster 1 answers it): -log(e^2 / (e^2 + e^0)) as without.
    """
    vectors = torch.eye(2)
    output = info_nce(vectors, vectors, torch.tensor([0, 1]), 0.5, False, vectors[:1], torch.tensor([1, 0]))
    expected = (math.log(2 + math.exp(-2)) + math.log1p(math.exp(-2))) / 2
    assert float(output.loss) == pytest.approx(expected, rel=1e-6)
    far = F.normalize(torch.tensor([[1.0, 1.0], [0.0, 1.0]]), dim=1)
    output = info_nce(vectors, far, torch.tensor([0, 1]), 0.5, False, vectors[:1], torch.tensor([-1]))
    assert float(output.accuracy) == 0.5  # the negative stands nearer to the first query than its passage does


def test_a_negative_without_a_cluster():
    vectors = torch.eye(2)
    for clusters in (None, torch.tensor([0])):
        with pytest.raises(ValueError, match="every negative needs a cluster"):
            info_nce(vectors, vectors, torch.tensor([0, 1]), 0.5, False, vectors, clusters)


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


OWNERS = torch.tensor([0, 0, 1, 3, 4, 5, 5])  # the pair of each negative, at most 2; of 3 workers the last has none
THEIR_CLUSTERS = torch.tensor([-1, 1, 6, 0, -1, 3, 5])


def step(model, rows, symmetric, hard):
    """Loss of some rows of one fixed batch, through a small encoder of unit vectors; gradients stay in the model."""
    b = rows.stop - rows.start
    mine = torch.isin(OWNERS, torch.arange(rows.start, rows.stop))
    texts = torch.cat([unit(12, 6, 0)[rows], unit(12, 6, 1)[rows], unit(7, 6, 2)[mine]])  # [2b + k, 6]
    vectors = F.normalize(model(texts), dim=1)  # [2b + k, 4]
    output = info_nce(
        vectors[:b],
        vectors[b : 2 * b],
        CLUSTERS[rows],
        0.1,
        symmetric,
        vectors[2 * b :] if hard else None,
        F.pad(THEIR_CLUSTERS[mine], (0, 2 * b - int(mine.sum()))) if hard else None,
    )
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
        for case in CASES:
            model = encoder()
            figures = step(DistributedDataParallel(model), slice(rank * size, (rank + 1) * size), *case)
            dist.all_reduce(figures)
            found[workers, case] = [figures / workers, *(parameter.grad for parameter in model.parameters())]
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


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("workers", [2, 3])
def test_workers_get_the_loss_and_gradient_of_one_worker(found, workers, case):
    model = encoder()
    expected = [step(model, slice(0, 12), *case), *(parameter.grad for parameter in model.parameters())]
    assert expected[0][0] > 0.1
    for rank in range(workers):
        for here, alone in zip(found[rank][workers, case], expected, strict=True):
            torch.testing.assert_close(here, alone, rtol=1e-5, atol=1e-7)
