"""Two workers on this machine's CPU, by gloo and without Ray, against one process with the whole batch."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from safetensors.torch import load_file

from hybridtune.config.training import Train
from hybridtune.model import gradcache
from hybridtune.model.encoder import load_encoder, prepare_for_training
from hybridtune.model.loss import LearnedTemperature, info_nce
from hybridtune.model.packing import TokenRows
from hybridtune.train.checkpoint import Average, load_checkpoint, read_state, take_snapshot
from hybridtune.train.optimizer import Optimizer
from hybridtune.train.parallel import distribute, local

pytestmark = pytest.mark.slow

PAIRS, STEPS, WORKERS = 8, 3, 2
LORA = importlib.util.find_spec("peft") is not None
SETTINGS = {
    "dense": {"layer_decay": 0.8, "max_grad_norm": 100.0},  # no clipping that would hide a wrong scale
    "chunks": {"chunk_size": 3, "learn_temperature": True, "ema": 0.5},
    "own negatives": {"gather_negatives": False, "chunk_size": 3, "learn_temperature": True, "max_grad_norm": 100.0},
    "frozen": {"freeze_layers": 1, "gradient_checkpointing": True},
    "lora": {"lora_rank": 2, "ema": 0.5},
}
if not LORA:
    del SETTINGS["lora"]
CASES = [*(("fsdp", name) for name in SETTINGS), ("ddp", "dense"), ("ddp", "chunks"), ("ddp", "own negatives")]


class Run:
    def __init__(self, tiny, name, sharding="ddp"):
        folder, encoder, pad_id = tiny
        self.settings = Train(**{"learning_rate": 1e-3, "max_grad_norm": 0.5, **SETTINGS[name]})
        self.model = load_encoder(str(folder), encoder, pad_id, 0.0).train()
        prepare_for_training(self.model, self.settings)
        self.parallel = distribute(self.model, sharding, torch.device("cpu"))
        self.temperature = LearnedTemperature(0.1, 0.01, 1.0)
        learned = self.settings.learn_temperature
        self.optimizer = Optimizer(
            self.model, self.settings, {"temperature": self.temperature.log_ratio} if learned else {}
        )
        self.average = Average(self.model, self.settings.ema) if self.settings.ema else None

    def train(self, start, stop, rank=0, workers=1):
        own = range(rank * PAIRS // workers, (rank + 1) * PAIRS // workers)
        pairs = len(own)

        local = not self.settings.gather_negatives

        def loss_of(vectors):
            queries, passages, answer_sets = vectors[:pairs], vectors[pairs:], torch.tensor(own)
            more = {"temperature": self.temperature.value(), "symmetric": True, "gathered": not local}
            if not local or workers > 1:
                return info_nce(queries, passages, answer_sets, **more)
            parts = zip(*(part.chunk(WORKERS) for part in (queries, passages, answer_sets)), strict=True)
            outputs = [info_nce(*part, **more) for part in parts]  # what each worker would have by itself
            return replace(outputs[0], loss=torch.stack([output.loss for output in outputs]).mean())

        for step in range(start, stop):
            draw = np.random.default_rng((3, step))
            rows = [draw.integers(5, 60, draw.integers(3, 9)).astype(np.int32) for _ in range(2 * PAIRS)]
            texts = TokenRows.of([rows[i] for i in own] + [rows[PAIRS + i] for i in own])
            gradcache.backward(self.parallel, texts.split(self.settings.chunk_size), loss_of)
            self.temperature.average_gradient()
            self.optimizer.step(1.0)
            self.temperature.project()
            if self.average is not None:
                self.average.update(step)
        return self

    def save(self, folder, step):
        snapshot = take_snapshot(self.model, self.optimizer, self.average)
        if not dist.is_initialized() or dist.get_rank() == 0:
            folder.mkdir(parents=True, exist_ok=True)
            snapshot.save(folder, {"step": step})
        else:
            assert not snapshot.weights
            assert not snapshot.moments

    def load(self, folder):
        return load_checkpoint(folder, self.model, self.optimizer, self.average)["step"]


def worker(rank, tiny, out):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{out}/meeting", rank=rank, world_size=WORKERS)
    for sharding, name in CASES:
        place = out / f"{sharding} {name}"
        run = Run(tiny, name, sharding).train(0, STEPS - 1, rank, WORKERS)
        run.save(place / "before", STEPS - 1)
        run.train(STEPS - 1, STEPS, rank, WORKERS).save(place / "straight", STEPS)
        dist.barrier()
        again = Run(tiny, name, sharding)
        step = again.load(place / "before")
        again.train(step, STEPS, rank, WORKERS).save(place / "again", STEPS)
        held = sum(local(parameter).numel() for parameter in run.model.parameters())
        whole = sum(parameter.numel() for parameter in run.model.parameters())
        torch.save([held, whole], place / f"sizes{rank}")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def place(tiny, tmp_path_factory):
    """Where two workers left what they trained."""
    folder, encoder, tokenizer = tiny
    out = tmp_path_factory.mktemp("workers")
    torch.multiprocessing.spawn(worker, ((folder, encoder, tokenizer.pad_id), out), nprocs=WORKERS)
    return out


def alone(tiny, name):
    folder, encoder, tokenizer = tiny
    return Run((folder, encoder, tokenizer.pad_id), name)


def files_of(folder: Path):
    return {
        f"{file.name}: {key}": value for file in folder.glob("*.safetensors") for key, value in load_file(file).items()
    }


@pytest.mark.parametrize(("sharding", "name"), CASES)
def test_two_workers_train_what_one_process_trains(tiny, place, tmp_path, sharding, name):
    alone(tiny, name).train(0, STEPS).save(tmp_path / "one", STEPS)
    alone(tiny, name).save(tmp_path / "start", 0)
    one, two = files_of(tmp_path / "one"), files_of(place / f"{sharding} {name}" / "straight")
    start = files_of(tmp_path / "start")
    assert one.keys() == two.keys()
    for key, value in one.items():
        # The attention's key bias has no gradient but noise, which Adam makes a whole step of.
        if "key.bias" not in key:
            bound = 1e-5 if not key.startswith("optimizer") else 1e-3 * float(value.abs().max())
            assert float((two[key] - value).abs().max()) <= bound, key
    moved = [float((one[key] - start[key]).abs().max()) for key in start if one[key].is_floating_point()]
    assert max(moved) > 1e-3  # a hundred times what may differ


@pytest.mark.parametrize(("sharding", "name"), CASES)
def test_two_workers_go_on_to_the_last_bit(place, sharding, name):
    straight, again = (files_of(place / f"{sharding} {name}" / end) for end in ("straight", "again"))
    assert straight.keys() == again.keys()
    assert all(torch.equal(value, again[key]) for key, value in straight.items())


@pytest.mark.parametrize("name", SETTINGS)
def test_a_checkpoint_of_shards_opens_in_one_process(tiny, place, tmp_path, name):
    folder = place / f"fsdp {name}" / "before"
    run = alone(tiny, name)
    assert run.load(folder) == read_state(folder)["step"] == STEPS - 1
    run.save(tmp_path, STEPS - 1)
    mine, theirs = files_of(tmp_path), files_of(folder)
    assert all(torch.equal(value, mine[key]) for key, value in theirs.items())


@pytest.mark.parametrize(("sharding", "name"), CASES)
def test_shards_hold_a_share_of_the_weights(place, sharding, name):
    sizes = [torch.load(place / f"{sharding} {name}" / f"sizes{rank}") for rank in range(WORKERS)]
    for held, whole in sizes:
        if sharding == "ddp":
            assert held == whole
        else:
            assert held < 0.55 * whole
    if sharding == "fsdp":
        assert sum(held for held, *_ in sizes) == sizes[0][1]
