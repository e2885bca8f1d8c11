"""The training loop that every Ray Train worker runs: a pair of texts goes in as tokens and comes out as a gradient."""

import dataclasses
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray.train
import ray.train.torch
import torch
import torch.distributed as dist

from hybridtune.config import Study
from hybridtune.data.corpus import Corpus
from hybridtune.data.plan import HybridPlan
from hybridtune.data.store import TokenStore
from hybridtune.data.stream import TokenBatch, token_batches
from hybridtune.evaluate.per_query import FILE as PER_QUERY
from hybridtune.evaluate.service import EvaluatorService, State
from hybridtune.model.encoder import DualEncoder, load_encoder
from hybridtune.model.loss import LossOutput, info_nce
from hybridtune.train.board import Poster
from hybridtune.train.checkpoint import load_checkpoint, save_checkpoint

SCORES = "scores.json"  # in every checkpoint: the full tables behind its metrics
_MEANS = ("loss", "accuracy", "spread", "negatives")  # negatives: hard ones that a pair was given


@dataclass(frozen=True)
class FitJob:
    """One training: everything a worker needs, and nothing that it could look up elsewhere.

    Attributes:
        study: the study file with this fit's values put in.
        store: folder of the token store.
        source: folder or hub name of the encoder to start from.
        evaluators: name of the running evaluator service.
        benchmark: the name of the benchmark that intermediate scores are taken on.
        storage: folder of this fit's checkpoints.
        name: what this fit is called on the board.
        board: name of the running board that takes its progress; None: nobody watches.
    """

    study: Study
    store: str
    source: str
    evaluators: str
    benchmark: str
    storage: str
    name: str = "fit"
    board: str | None = None


def make_plan(corpus: Corpus, study: Study) -> HybridPlan:
    """The plan of a study's batches."""
    return HybridPlan(
        corpus,
        mixing_ratio=study.mix.mixing_ratio,
        sampling_exponent=study.mix.sampling_exponent,
        batch_size=study.train.batch_size,
        seed=study.seed,
        cross_batch=study.mix.cross_batch,
    )


def train_loop(config: dict[str, Any]) -> str | None:
    """Train from the last checkpoint (or the start) to ``max_steps``; score and report every ``eval_steps``.

    Args:
        config: ``{"job": FitJob}``.

    Returns:
        None, or why the training cannot go on; a raised error would only be retried to the same end.
    """
    job: FitJob = config["job"]
    study, train = job.study, job.study.train
    context = ray.train.get_context()
    rank, workers = context.get_world_rank(), context.get_world_size()
    torch.set_num_threads(study.resources.cpus_per_worker)
    device = ray.train.torch.get_device()
    store = TokenStore.open(Path(job.store))
    plan = make_plan(store.corpus(), study)
    model = load_encoder(job.source, study.encoder, store.tokenizer().pad_id, train.dropout).to(device).train()
    optimizer = make_optimizer(model, train.weight_decay)
    state = _resume(model, optimizer)
    step, seconds = state["step"], state["seconds"]
    if step == train.max_steps:  # stopped after its last step: what was reported may not have arrived
        ray.train.report({**state["metrics"], "checkpoint_path": ray.train.get_checkpoint().path})
        return None
    wrapped = ray.train.torch.prepare_model(model)
    totals = torch.zeros(len(_MEANS), device=device)  # since the last report
    poster = Poster(job.board if rank == 0 else None, job.name, train.batch_size)
    started = time.perf_counter()
    place = {"start": step, "stop": train.max_steps, "rank": rank, "workers": workers}
    for batch in token_batches(plan, store.path, **place, negatives=train.negatives):
        seed_dropout(study.seed, batch.step, rank)
        output = training_step(wrapped, optimizer, batch, study)
        given = output.loss.new_tensor(len(batch.negatives) / len(batch.queries))
        totals += torch.stack([output.loss.detach(), output.accuracy, output.spread, given])
        step += 1
        poster.step_done(step, output.loss)
        if step % study.eval_steps == 0 or step == train.max_steps:
            since = study.eval_steps if step % study.eval_steps == 0 else step % study.eval_steps
            means = _mean_over_workers(totals / since)
            if not all(np.isfinite(means)):
                return f"the loss is {means[0]} at step {step}: lower train.learning_rate or raise train.temperature"
            seconds += time.perf_counter() - started
            metrics = {
                "step": step,
                **dict(zip(_MEANS, means, strict=True)),
                "realised_ratio": plan.mono_batches(step) / step,
                "pairs": step * train.batch_size,
                "train_seconds": seconds,
            }
            _score_and_report(job, model, optimizer, metrics, rank)
            totals.zero_()
            started = time.perf_counter()
    return None


def seed_dropout(seed: int, step: int, rank: int) -> None:
    """Make a step's dropout a function of its place, so that a resumed run draws what the first would have drawn."""
    torch.manual_seed(int(np.random.SeedSequence((seed, step, rank)).generate_state(1)[0]))


def training_step(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, batch: TokenBatch, study: Study
) -> LossOutput:
    """One step: forward the batch, loss, backward, clip, update at this step's learning rate."""
    train = study.train
    device = next(model.parameters()).device
    with torch.autocast(device.type, torch.bfloat16, enabled=use_bf16(train.precision, device)):
        vectors = model(batch.queries, batch.passages, batch.negatives)
    queries, passages, negatives = (part.float() for part in vectors)  # [b, D], [b, D], [k, D]
    clusters = torch.tensor(batch.clusters, device=device)
    hard = {"negatives": negatives, "negative_clusters": torch.tensor(batch.negative_clusters, device=device)}
    output = info_nce(queries, passages, clusters, train.temperature, train.symmetric, **hard)
    output.loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), train.max_grad_norm)
    share = learning_rate_share(batch.step, train.max_steps, train.warmup_ratio)
    for group in optimizer.param_groups:
        group["lr"] = train.learning_rate * share
    optimizer.step()
    optimizer.zero_grad()
    return output


def learning_rate_share(step: int, steps: int, warmup_ratio: float) -> float:
    """Share of the peak learning rate at a step: linear from 0 to 1 over the warm-up, then linear to 0."""
    warmup = steps * warmup_ratio
    if step + 1 < warmup:
        return (step + 1) / warmup
    return (steps - step) / max(1.0, steps - warmup) if step >= warmup else 1.0


def make_optimizer(model: DualEncoder, weight_decay: float) -> torch.optim.Optimizer:
    """AdamW (arXiv 1711.05101); biases and normalisation weights, the vectors, do not decay."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.dim() > 1], "weight_decay": weight_decay},
            {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
        ],
        fused=True,
    )


def use_bf16(precision: str, device: torch.device) -> bool:
    """Whether to compute in bf16: where asked for, or by default on hardware that multiplies it natively."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    has = torch.cpu.get_capabilities()
    return bool(has.get("avx512_bf16") or has.get("amx_bf16"))


def _resume(model: DualEncoder, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return {"step": 0, "seconds": 0.0}
    with checkpoint.as_directory() as folder:
        return load_checkpoint(Path(folder), model, optimizer)


def _score_and_report(
    job: FitJob, model: DualEncoder, optimizer: torch.optim.Optimizer, metrics: dict[str, Any], rank: int
) -> None:
    """Rank 0 scores, checkpoints and reports; the others report with it, as Ray Train asks."""
    if rank != 0:
        ray.train.report({})
        return
    with tempfile.TemporaryDirectory() as folder:
        service = EvaluatorService.connect(job.evaluators)
        scores = service.score(weights_of(model), job.benchmark, Path(folder) / PER_QUERY)
        state = {
            "step": metrics["step"],
            "seconds": metrics["train_seconds"],
            "metrics": {**metrics, **scores.metrics},
        }
        save_checkpoint(Path(folder), model, optimizer, state)
        (Path(folder) / SCORES).write_text(json.dumps(dataclasses.asdict(scores)), encoding="utf-8")
        checkpoint = ray.train.Checkpoint.from_directory(folder)
        ray.train.report(state["metrics"], checkpoint, checkpoint_dir_name=f"checkpoint_{state['step']:07d}")


def weights_of(model: DualEncoder) -> State:
    """The encoder's weights as numpy arrays, for the object store."""
    return {key: value.detach().cpu().numpy() for key, value in model.backbone.state_dict().items()}


def _mean_over_workers(values: torch.Tensor) -> list[float]:
    if dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(values)
        values = values / dist.get_world_size()
    return [float(value) for value in values]
