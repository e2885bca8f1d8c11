"""A training's steps, without Ray: they learn, they are a function of their place, and they go on bit for bit."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from documented import write_module
from small_study import small_study
from torch.utils._python_dispatch import TorchDispatchMode

from hybridtune.errors import InputError
from hybridtune.model import packing
from hybridtune.model.packing import TokenRows
from hybridtune.model.projection import orthogonal, write_projected
from hybridtune.runtime.device_memory import is_out_of_memory
from hybridtune.train.feed import DeviceBatch
from hybridtune.train.optimizer import learning_rate_share
from hybridtune.train.progress import Clock, Progress
from hybridtune.train.step import TrainingStep, answer_out_of_memory, seed_dropout

STEPS = 8
TEACHER = 20  # numbers of its vectors; those of the encoder have 16
CPU = torch.device("cpu")
FIXED = {"batch_size": 4, "max_steps": STEPS, "learning_rate": 1e-2, "precision": "float32", "dropout": 0.1}


def study_of(mix=None, **train):
    search = {"space": {"mixing_ratio": {"uniform": [0.0, 1.0]}}}
    return small_study(seed=5, mix=mix or {}, train=FIXED | train, search=search)


def device_batch(step, negatives=0, kind="mono", chunk_size=None, twice=0):
    draw = np.random.default_rng((7, step))
    rows = [draw.integers(5, 100, draw.integers(3, 9), np.int32) for _ in range(8 + negatives + twice)]
    answer_sets, none = torch.tensor([0, 1, 1, 2]), torch.full((4,), -1)
    taught = F.normalize(torch.from_numpy(draw.standard_normal((len(rows), TEACHER), np.float32)), dim=1)
    second = torch.tensor([0, 2, 3][:twice], dtype=torch.int64)
    of = torch.tensor([1, 3, 3, 0], dtype=torch.int32)  # the pair of each hard negative
    margins = torch.tensor([3.0, -1.0, 0.5, torch.nan]).where(torch.arange(4) < negatives, torch.nan)
    chunks = TokenRows.of(rows).split(chunk_size)
    return DeviceBatch(step, kind, 4, chunks, answer_sets, none, of, margins, second, taught)


class Made:
    """Trainings of the tiny encoder."""

    def __init__(self, tiny, study):
        (self.folder, _, tokenizer), self.study = tiny, study
        self.pad_id = tokenizer.pad_id

    def fresh(self):
        width = TEACHER if self.study.teacher_key is not None else None
        return TrainingStep(self.study, str(self.folder), self.pad_id, CPU, rank=0, teacher_width=width)

    def run(self, training, start, stop):
        align = self.study.mix.align_share
        for step in range(start, stop):
            kind = "align" if align and step % 3 == 2 else "mono"
            chunk_size, twice = self.study.train.chunk_size, step % 4 if self.study.train.consistency else 0
            batch = device_batch(step, 0 if kind == "align" else step % 3, kind, chunk_size, twice)
            yield float(training.step(batch).loss)


def state_of(training):
    """Everything that the next step depends on, and what is served."""
    snapshot = training.snapshot()
    return {**snapshot.weights, **snapshot.training, **snapshot.moments}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
@pytest.mark.parametrize(
    "study",
    [
        study_of(),
        study_of(ema=0.9, learn_temperature=True, chunk_size=3, symmetric=True),
        study_of({"align_share": 0.3}, lora_rank=2, ema=0.9, matryoshka=[4, 8], near_duplicate=0.99),
        study_of(distil="kl", teacher="x", learn_temperature=True, chunk_size=5, consistency=0.5),
        study_of(distil="margin_mse", distil_from="data", distil_temperature=0.5, chunk_size=5),
        study_of(freeze_layers=1, layer_decay=0.7, gradient_checkpointing=True, chunk_size=2),
    ],
    ids=[
        "plain",
        "average, temperature, chunks",
        "adapters, align",
        "scores of a teacher",
        "scores of the data",
        "frozen, decay, checkpointing",
    ],
)
def test_a_training_resumed_at_any_step_is_the_same_to_the_last_bit(tiny, tmp_path, study):
    if study.train.lora_rank:
        pytest.importorskip("peft", reason="adapters need the extra `lora`")
    made = Made(tiny, study)
    training = made.fresh()
    losses = []
    for step in range(STEPS):
        training.snapshot().save(_folder(tmp_path, step), {"step": step})
        losses += made.run(training, step, step + 1)
    final = state_of(training)
    assert len(set(losses)) == STEPS
    for stopped in range(1, STEPS):
        resumed = made.fresh()
        torch.rand(stopped)  # another process has drawn other random numbers
        assert resumed.load(tmp_path / str(stopped)) == {"step": stopped}
        assert list(made.run(resumed, stopped, STEPS)) == losses[stopped:]
        assert same(state_of(resumed), final)


def _folder(parent, step):
    (parent / str(step)).mkdir()
    return parent / str(step)


def test_what_a_resumed_training_needs_of_a_checkpoint(tiny, tmp_path):
    """The twin that cannot pass unless the comparison above can fail: without moments, or with another seed."""
    made = Made(tiny, study_of())
    training = made.fresh()
    losses = list(made.run(training, 0, 4))
    training.snapshot().save(tmp_path, {"step": 4})
    list(made.run(training, 4, STEPS))
    forgetful = made.fresh()
    forgetful.load(tmp_path)
    forgetful.optimizer = made.fresh().optimizer.__class__(forgetful.model, made.study.train)
    list(made.run(forgetful, 4, STEPS))
    assert not same(state_of(forgetful), state_of(training))
    other = Made(tiny, study_of().model_copy(update={"seed": 6}))
    assert list(other.run(other.fresh(), 0, 1)) != losses[:1]  # dropout is on, and follows the seed


def test_a_step_lowers_the_loss_of_its_own_batch(tiny):
    training = Made(tiny, study_of()).fresh()
    losses = [float(training.step(device_batch(3)).loss) for _ in range(6)]
    assert losses[-1] < losses[0]


def test_a_step_moves_the_passages_ahead_of_the_hard_negatives(tiny):
    training = Made(tiny, study_of(dropout=0.0)).fresh()
    batch = device_batch(3, negatives=3)
    ahead, losses = [], []
    for _ in range(6):
        with torch.no_grad():
            vectors = training.model(batch.chunks[0])
            own = (vectors[:4] * vectors[4:8]).sum(1).mean()
            ahead.append(float(own - (vectors[:4] @ vectors[8:].T).mean()))
        losses.append(float(training.step(batch).loss))
    assert ahead[-1] > ahead[0] + 0.1
    assert losses[-1] < losses[0]
    without = Made(tiny, study_of(dropout=0.0)).fresh().step(device_batch(3))
    assert without.loss < losses[0]  # fewer columns, a smaller sum under the fraction


@pytest.mark.parametrize("width", [16, TEACHER])
def test_an_align_batch_draws_translations_to_the_vectors_of_the_teacher(tiny, width):
    made = Made(tiny, study_of({"align_share": 0.5}, dropout=0.0))
    training = TrainingStep(made.study, str(made.folder), made.pad_id, CPU, rank=0, teacher_width=width)
    batch = device_batch(0, kind="align", chunk_size=3)
    batch = replace(batch, taught=F.normalize(batch.taught[:, :width], dim=1))
    taught = batch.taught[:4].clone()
    losses = [float(training.step(batch).loss) for _ in range(10)]
    assert losses[-1] < 0.7 * losses[0]
    assert torch.equal(taught, batch.taught[:4])
    weight = torch.eye(16)
    if width != 16:
        weight = training.optimizer.extras["projection"]
        assert weight.shape == (width, 16)
        assert not torch.equal(weight, orthogonal(width, 16, 5))  # it learns
    with torch.no_grad():
        students = F.normalize(torch.cat([training.model(chunk) for chunk in batch.chunks]) @ weight.T, dim=1)
    expected = 1 - (students * taught.repeat(2, 1)).sum(1).mean()
    assert float(training.step(batch).loss) == pytest.approx(float(expected), abs=1e-5)


def test_a_kept_projection_is_trained_with_the_encoder_and_served(tiny, tmp_path):
    source, encoder, tokenizer = tiny
    write_projected(str(source), encoder, tokenizer.pad_id, TEACHER, 5, tmp_path / "start")
    study = study_of({"align_share": 0.5}, dropout=0.0, teacher="x", teacher_projection="kept")
    training = TrainingStep(study, str(tmp_path / "start"), tokenizer.pad_id, CPU, rank=0, teacher_width=TEACHER)
    before = training.model.plain_state()["heads.0.linear.weight"].clone()
    batch = device_batch(0, kind="align")
    losses = [float(training.step(batch).loss) for _ in range(6)]
    assert losses[-1] < losses[0]
    snapshot = training.snapshot()
    assert "projection" not in snapshot.training
    assert snapshot.weights["heads.0.linear.weight"].shape == (TEACHER, 16)
    assert not torch.equal(snapshot.weights["heads.0.linear.weight"], before)


@pytest.mark.parametrize("kind", ["kl", "margin_mse"])
def test_scores_of_a_teacher_are_learnt(tiny, kind):
    training = Made(tiny, study_of(dropout=0.0, distil=kind, teacher="x", distil_weight=5.0)).fresh()
    batch = device_batch(3, negatives=3)
    outputs = [training.step(batch) for _ in range(12)]
    learnt, losses = [float(one.beside["distil_loss"]) for one in outputs], [float(one.loss) for one in outputs]
    assert learnt[-1] < 0.8 * learnt[0]
    plain = Made(tiny, study_of(dropout=0.0)).fresh().step(batch)
    assert losses[0] == pytest.approx(float(plain.loss) + 5 * learnt[0], rel=1e-5)
    assert not plain.beside
    unread = Made(tiny, study_of(dropout=0.0, distil=kind, teacher="x")).fresh().step(replace(batch, taught=None))
    assert float(unread.beside["distil_loss"]) == 0


@pytest.mark.parametrize("kind", ["kl", "margin_mse"])
def test_scores_of_the_data_are_learnt_of_the_rows_that_have_some(tiny, kind):
    options = {"dropout": 0.0, "distil": kind, "distil_from": "data"}
    training = Made(tiny, study_of(**options, distil_weight=5.0)).fresh()
    batch = device_batch(3, negatives=3)
    outputs = [training.step(batch) for _ in range(12)]
    learnt, losses = [float(one.beside["distil_loss"]) for one in outputs], [float(one.loss) for one in outputs]
    assert learnt[-1] < 0.8 * learnt[0]
    plain = Made(tiny, study_of(dropout=0.0)).fresh().step(batch)
    assert losses[0] == pytest.approx(float(plain.loss) + 5 * learnt[0], rel=1e-5)
    unknown = replace(batch, negative_margins=torch.full((4,), torch.nan))
    unscored = Made(tiny, study_of(**options)).fresh().step(unknown)
    assert float(unscored.beside["distil_loss"]) == 0
    assert float(unscored.loss) == float(plain.loss)
    halved = replace(batch, negative_margins=batch.negative_margins / 2)
    same = [
        Made(tiny, study_of(**options, **given)).fresh().step(one)
        for one, given in ((halved, {}), (batch, {"distil_temperature": 2.0}))
    ]
    assert float(same[0].loss) == float(same[1].loss) != float(plain.loss)


def test_a_teachers_cosines_are_divided_by_the_temperature_that_is_given(tiny):
    options = {"dropout": 0.0, "distil": "kl", "teacher": "x"}
    batch = device_batch(3, negatives=3)
    losses = [
        float(Made(tiny, study_of(**options, distil_temperature=given)).fresh().step(batch).loss)
        for given in (None, study_of().train.temperature, 0.3)
    ]
    assert losses[0] == losses[1] != losses[2]


def test_a_query_in_two_languages_gets_to_one_ranking(tiny):
    training = Made(tiny, study_of(dropout=0.0, consistency=5.0)).fresh()
    batch = device_batch(3, negatives=2, twice=3)
    outputs = [training.step(batch) for _ in range(12)]
    apart, losses = [float(one.beside["consistency_loss"]) for one in outputs], [float(one.loss) for one in outputs]
    assert apart[-1] < 0.5 * apart[0]
    plain = Made(tiny, study_of(dropout=0.0)).fresh().step(device_batch(3, negatives=2))
    assert losses[0] == pytest.approx(float(plain.loss) + 5 * apart[0], rel=1e-5)
    once = Made(tiny, study_of(dropout=0.0, consistency=5.0)).fresh().step(device_batch(3, negatives=2))
    assert float(once.beside["consistency_loss"]) == 0
    assert float(once.loss) == pytest.approx(float(plain.loss), rel=1e-5)


def test_a_worker_with_negatives_of_its_own_sends_no_vectors(tiny, monkeypatch):
    settings = {"dropout": 0.0, "distil": "kl", "teacher": "x", "symmetric": True}
    batch = device_batch(3, negatives=2)
    alone = Made(tiny, study_of(**settings)).fresh().step(batch).loss
    local = small_study(
        seed=5, train=FIXED | settings | {"gather_negatives": False}, resources={"workers": 2}, search={"space": {}}
    )
    monkeypatch.setattr("hybridtune.model.gather.workers", lambda: 2)  # and there is no second one to answer
    assert float(Made(tiny, local).fresh().step(batch).loss) == float(alone)
    with pytest.raises(ValueError, match="process group has not been initialized"):
        Made(tiny, study_of(**settings)).fresh().step(batch)


def test_a_projection_that_is_thrown_away_is_in_no_weights_that_are_served(tiny):
    served = Made(tiny, study_of({"align_share": 0.3})).fresh().snapshot()
    assert served.weights.keys() == Made(tiny, study_of()).fresh().snapshot().weights.keys()
    assert [*served.training] == ["projection"]


def test_chunks_change_nothing_but_the_memory(tiny):
    trainings = [Made(tiny, study_of(dropout=0.0)).fresh() for _ in range(2)]
    for step in range(3):
        losses = [
            float(training.step(device_batch(step, 2, chunk_size=size)).loss)
            for training, size in zip(trainings, (None, 3), strict=True)
        ]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_learned_temperature_moves_and_stays_in_its_range(tiny):
    training = Made(tiny, study_of(learn_temperature=True, temperature=0.05, temperature_range=(0.049, 0.051))).fresh()
    seen = [training.learned()["temperature"]]
    for step in range(STEPS):
        training.step(device_batch(step))
        seen.append(training.learned()["temperature"])
    assert seen[0] == pytest.approx(0.05)
    assert len(set(seen)) > 1
    assert all(0.049 - 1e-6 <= value <= 0.051 + 1e-6 for value in seen)


def test_the_running_mean_is_what_is_served(tiny):
    training = Made(tiny, study_of(ema=0.9)).fresh()
    list(Made(tiny, training.study).run(training, 0, 4))
    raw = training.model.plain_state()
    served = training.snapshot().weights
    assert any(not torch.equal(raw[name], served[name]) for name in raw)


def test_tf32_is_set_in_a_way_that_torch_compile_can_ask_for(tiny, monkeypatch):
    study = study_of(precision="tf32")
    monkeypatch.setattr("hybridtune.train.step.distribute", lambda model, sharding, device: model)
    before = torch.get_float32_matmul_precision()
    try:
        TrainingStep(study, str(tiny[0]), tiny[2].pad_id, torch.device("cuda"), rank=0)
        assert torch.get_float32_matmul_precision() == "high"
        assert torch.backends.cuda.matmul.fp32_precision == "tf32"
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("chunk_size", [None, 3])
def test_float16_learns_as_float32_does_and_goes_on_bit_for_bit(tiny, tmp_path, chunk_size):
    settings = {"dropout": 0.0, "learning_rate": 1e-3, "chunk_size": chunk_size}
    exact, made = Made(tiny, study_of(**settings)), Made(tiny, study_of(**settings, precision="fp16"))
    reference, training = exact.fresh(), made.fresh()
    losses = list(made.run(training, 0, 4))
    assert losses == pytest.approx(list(exact.run(reference, 0, 4)), rel=1e-2)
    assert not same(training.model.plain_state(), reference.model.plain_state())
    training.snapshot().save(_folder(tmp_path, 4), {"step": 4})
    resumed = made.fresh()
    resumed.load(tmp_path / "4")
    assert list(made.run(resumed, 4, 6)) == list(made.run(training, 4, 6))
    assert resumed.scale.state.tolist() == training.scale.state.tolist()
    assert resumed.scale.state[1] > 0


class Waits(TorchDispatchMode):
    """Notes each operation for which a host would wait for its GPU: what it computes must be known to go on."""

    KNOWN = frozenset(
        f"aten::{name}"
        for name in ("_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "_unique2", "bincount")
    )

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.name().partition(".")[0]
        index = name in ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")
        masks = index and any(one is not None and one.dtype == torch.bool for one in args[1])
        if name in self.KNOWN or masks or (name == "aten::repeat_interleave" and not kwargs):
            self.found.append(name)
        return function(*args, **kwargs or {})


WAITING = [
    study_of(),
    study_of(ema=0.9, learn_temperature=True, chunk_size=5, symmetric=True, matryoshka=[4, 8], near_duplicate=0.99),
    study_of({"align_share": 0.3}, teacher="x", distil="kl", consistency=0.5),
    study_of(distil="margin_mse", distil_from="data", distil_temperature=0.5, gradient_checkpointing=True),
    study_of(precision="fp16"),
]


@pytest.mark.parametrize("study", WAITING, ids=["plain", "chunks", "teacher", "data", "float16"])
def test_a_step_waits_for_nothing_that_its_device_computes(tiny, monkeypatch, study):
    made = Made(tiny, study)
    training = made.fresh()
    # On the CPU it asks whether there is something to clip: `clip` leaves that out on a GPU.
    monkeypatch.setattr(training.optimizer, "step", lambda share: None)
    for step in range(4):
        kind = "align" if study.mix.align_share and step == 2 else "mono"
        twice = 2 if study.train.consistency and kind == "mono" else 0
        batch = device_batch(step, 0 if kind == "align" else 2, kind, study.train.chunk_size, twice)
        batch = replace(batch, chunks=[training.lay_out(chunk) for chunk in batch.chunks])
        with Waits() as waits, monkeypatch.context() as now:
            now.setattr(packing, "group_by_length", None)  # laid out already
            training.step(batch)
        assert waits.found == []
    with Waits() as waits:
        torch.ones(3)[torch.tensor([True, False, True])].sum().item()
    assert waits.found == ["aten::index", "aten::_local_scalar_dense"]


def test_dropout_differs_by_seed_step_and_rank():
    places = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 2**31, 0)]
    draws = []
    for place in places:
        seed_dropout(*place)
        draws.append(torch.rand(4).tolist())
    seed_dropout(*places[0])
    assert torch.rand(4).tolist() == draws[0]
    assert len({tuple(draw) for draw in draws}) == len(places)


def test_a_step_uses_the_learning_rate_of_its_place(tiny):
    training = Made(tiny, study_of()).fresh()
    for step in (0, 3, 7):
        training.step(device_batch(step))
        assert set(training.optimizer.rates().values()) == {
            1e-2 * learning_rate_share(step, STEPS, training.study.train.warmup_ratio)
        }


def scored(progress, step, value, study):
    clock = Clock(progress)
    clock.add_steps(2.0)
    return progress.scored(
        {"step": step, "balanced/AP": value, "realised_ratio": 0.5, "loss": 1.0}, clock.metrics(), study
    )


def test_the_best_score_is_kept_and_patience_ends_the_training():
    study = study_of(patience=2)
    progress = Progress()
    seen = []
    for step, value in enumerate([0.2, 0.4, 0.4, 0.3], start=1):
        progress = scored(progress, step, value, study)
        seen.append((progress.best_step, progress.without_better, progress.ended))
    assert seen == [(1, 0, False), (2, 0, False), (3, 1, False), (3, 2, True)]  # of equals the last
    final = progress.final_metrics()
    assert (final["balanced/AP"], final["step"], final["best_step"], final["final"]) == (0.4, 4, 3, 1.0)
    assert final["pairs"] == 16
    assert final["train_seconds"] == 8.0


def test_an_objective_that_is_to_fall_counts_downwards():
    study = study_of(patience=1)
    study = study.model_copy(update={"search": study.search.model_copy(update={"objective": ["multi/rank_distance"]})})
    progress = Progress()
    for step, value in enumerate([9.0, 7.0], start=1):
        metrics = {"step": step, "multi/rank_distance": value, "realised_ratio": 0.5}
        progress = progress.scored(metrics, Clock(progress).metrics(), study)
    assert (progress.best_step, progress.ended) == (2, False)


def test_without_patience_only_the_last_step_ends_a_training():
    study, progress = study_of(), Progress()
    for step in range(1, STEPS + 1):
        assert not progress.ended
        progress = scored(progress, step, 0.1, study)
    assert progress.ended


@pytest.mark.parametrize("chunk_size", [None, 3])
def test_the_documented_loss_of_ones_own_trains(tiny, tmp_path, monkeypatch, chunk_size):
    assert len(write_module("train.md", "my_project/losses.py", tmp_path)) <= 30
    monkeypatch.syspath_prepend(tmp_path)
    settings = {"symmetric": True, "chunk_size": chunk_size, "dropout": 0.0}
    own, plain = (Made(tiny, study_of(loss=loss, **settings)) for loss in ("my_project.losses:margin", None))
    losses, others = (list(made.run(made.fresh(), 0, STEPS)) for made in (own, plain))
    assert losses[0] > others[0] + 0.5  # a margin of 0.1 at a temperature of 0.05 costs up to 2
    assert np.mean(losses[-3:]) < np.mean(losses[:3])


@pytest.mark.parametrize(("body", "told"), [("1.0", "type float"), ("rows", r"shape \[4, 16\]")])
def test_a_loss_that_returns_none_is_refused_by_name(tiny, tmp_path, monkeypatch, body, told):
    (tmp_path / "my_losses.py").write_text(f"def wrong(rows, *others):\n    return {body}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_losses", raising=False)
    made = Made(tiny, study_of(loss="my_losses:wrong"))
    with pytest.raises(InputError, match=f"train.loss my_losses:wrong: returned a value of {told}; return a scalar"):
        next(made.run(made.fresh(), 0, 1))


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"), True),
        (RuntimeError("shapes cannot be multiplied"), False),
        (MemoryError("out of memory"), False),
    ],
)
def test_what_tells_of_a_lack_of_memory(error, is_one):
    assert is_out_of_memory(error) is is_one


@pytest.mark.parametrize(("chunk_size", "encoded", "half"), [(None, 150, 64), (7, 7, 3), (1, 1, 1)])
def test_the_answer_in_the_middle_of_a_training(chunk_size, encoded, half):
    study = small_study(train={"batch_size": 100, "chunk_size": chunk_size})
    assert answer_out_of_memory(study, 2, 1, 17, CPU) == (
        f"out of memory at step 17 on the memory of cpu, encoding {encoded} texts at once: set train.chunk_size={half} "
        "(the same gradient; texts are encoded twice) or a train.batch_size below 100, and see that nothing else uses "
        "the device"
    )


def test_the_answer_counts_second_queries():
    study = small_study(train={"batch_size": 100, "consistency": 0.1})
    assert "encoding 200 texts at once" in answer_out_of_memory(study, 2, 1, 17, CPU)
