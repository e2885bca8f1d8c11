import numpy as np
import pytest
import torch

from hybridtune.config import Study
from hybridtune.data.stream import TokenBatch
from hybridtune.model.encoder import load_encoder
from hybridtune.train.checkpoint import load_checkpoint, save_checkpoint
from hybridtune.train.loop import learning_rate_share, make_optimizer, seed_dropout, training_step

STEPS = 8
STUDY = Study.model_validate(
    {
        "name": "x",
        "seed": 5,
        "data": {"train": "newsroom:train"},
        "benchmarks": {"dev": {"path": "newsroom:dev"}},
        "train": {"batch_size": 4, "max_steps": STEPS, "learning_rate": 1e-2, "precision": "float32", "dropout": 0.1},
    }
)


def token_batch(step, negatives=0):
    draw = np.random.default_rng((7, step))
    rows = [draw.integers(5, 100, draw.integers(3, 9), np.int32) for _ in range(8 + negatives)]
    clusters = np.array([0, 1, 1, 2], np.int32)
    hard = (rows[8:], np.full(4, -1, np.int32))
    return TokenBatch(step, "mono", rows[:4], rows[4:8], clusters, np.zeros((4, 2), np.int32), *hard)


def fresh(tiny):
    folder, encoder, tokenizer = tiny
    model = load_encoder(str(folder), encoder, tokenizer.pad_id, STUDY.train.dropout).train()
    return model, make_optimizer(model, STUDY.train.weight_decay)


def train(model, optimizer, start, stop, seed=STUDY.seed):
    losses = []
    for step in range(start, stop):
        seed_dropout(seed, step, 0)
        losses.append(float(training_step(model, optimizer, token_batch(step, step % 3), STUDY).loss.detach()))
    return losses


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def straight(tiny):
    model, optimizer = fresh(tiny)
    losses = train(model, optimizer, 0, STEPS)
    return losses, weights(model)


@pytest.mark.parametrize("stopped", range(1, STEPS))
def test_a_resumed_training_is_the_same_to_the_last_bit(tiny, straight, tmp_path, stopped):
    losses, final = straight
    model, optimizer = fresh(tiny)
    before = train(model, optimizer, 0, stopped)
    save_checkpoint(tmp_path, model, optimizer, {"step": stopped, "seconds": 1.5})
    torch.rand(stopped)  # another process has drawn other random numbers
    model, optimizer = fresh(tiny)
    state = load_checkpoint(tmp_path, model, optimizer)
    assert state == {"step": stopped, "seconds": 1.5}
    after = train(model, optimizer, state["step"], STEPS)
    assert before + after == losses
    assert same(weights(model), final)


def test_what_a_resumed_training_needs_of_a_checkpoint(tiny, straight, tmp_path):
    """The twin that cannot pass unless the comparison above can fail: without moments, or with another seed."""
    losses, final = straight
    model, optimizer = fresh(tiny)
    train(model, optimizer, 0, 4)
    save_checkpoint(tmp_path, model, optimizer, {"step": 4})
    forgetful, _ = fresh(tiny)
    load_checkpoint(tmp_path, forgetful, make_optimizer(forgetful, 0.01))
    train(forgetful, make_optimizer(forgetful, STUDY.train.weight_decay), 4, STEPS)
    assert not same(weights(forgetful), final)
    assert train(*fresh(tiny), 0, 1, seed=6) != losses[:1]  # dropout is on, and follows the seed


def test_a_step_lowers_the_loss_of_its_own_batch(tiny):
    model, optimizer = fresh(tiny)
    losses = []
    for _ in range(6):
        seed_dropout(0, 0, 0)
        losses.append(float(training_step(model, optimizer, token_batch(3), STUDY).loss.detach()))
    assert losses[-1] < losses[0]


def test_a_step_moves_the_passages_ahead_of_the_hard_negatives(tiny):
    folder, encoder, tokenizer = tiny
    model = load_encoder(str(folder), encoder, tokenizer.pad_id, 0.0)
    optimizer = make_optimizer(model, 0.0)
    batch = token_batch(3, negatives=3)
    ahead, losses = [], []
    for _ in range(6):
        with torch.no_grad():
            queries, passages, negatives = model(batch.queries, batch.passages, batch.negatives)
            ahead.append(float((queries * passages).sum(1).mean() - (queries @ negatives.T).mean()))
        losses.append(float(training_step(model, optimizer, batch, STUDY).loss.detach()))
    assert ahead[-1] > ahead[0] + 0.1
    assert losses[-1] < losses[0]
    model = load_encoder(str(folder), encoder, tokenizer.pad_id, 0.0)
    without = training_step(model, make_optimizer(model, 0.0), token_batch(3), STUDY)
    assert without.loss < losses[0]  # fewer columns, a smaller sum under the fraction


def test_dropout_differs_by_seed_step_and_rank():
    places = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 2**31, 0)]
    draws = []
    for place in places:
        seed_dropout(*place)
        draws.append(torch.rand(4).tolist())
    seed_dropout(*places[0])
    assert torch.rand(4).tolist() == draws[0]
    assert len({tuple(draw) for draw in draws}) == len(places)


@pytest.mark.parametrize(
    ("warmup_ratio", "expected"),
    [
        (0.0, [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]),
        (0.1, [1.0, 9 / 9, 8 / 9, 7 / 9, 6 / 9, 5 / 9, 4 / 9, 3 / 9, 2 / 9, 1 / 9]),
        (0.4, [0.25, 0.5, 0.75, 1.0, 1.0, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]),
        (1.0, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]),
    ],
)
def test_the_learning_rate_rises_and_falls(warmup_ratio, expected):
    assert [learning_rate_share(step, 10, warmup_ratio) for step in range(10)] == pytest.approx(expected)


def test_any_schedule_reaches_the_peak_and_stays_above_zero():
    for steps in range(1, 25):
        for warmup_ratio in np.linspace(0, 1, 21):
            shares = [learning_rate_share(step, steps, float(warmup_ratio)) for step in range(steps)]
            assert max(shares) == pytest.approx(1.0)
            assert min(shares) > 0
            peak = shares.index(max(shares))
            assert shares == sorted(shares[:peak]) + sorted(shares[peak:], reverse=True)


def test_a_step_uses_the_learning_rate_of_its_place(tiny):
    model, optimizer = fresh(tiny)
    for step in (0, 3, 7):
        training_step(model, optimizer, token_batch(step), STUDY)
        rates = {group["lr"] for group in optimizer.param_groups}
        assert rates == {1e-2 * learning_rate_share(step, STEPS, STUDY.train.warmup_ratio)}


def test_vectors_do_not_decay(tiny):
    model, _ = fresh(tiny)
    optimizer = make_optimizer(model, 0.3)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    named = dict(model.named_parameters())
    assert len(decay) == len(named)
    assert {name: decay[id(p)] for name, p in named.items()} == {
        name: 0.0 if name.endswith("bias") or "LayerNorm" in name else 0.3 for name in named
    }
