"""The training loop that every Ray Train worker runs: a pair of texts goes in as tokens and comes out as a gradient."""

import json
import math
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch

from hybridtune.config import Study
from hybridtune.data.corpus import Corpus
from hybridtune.data.plan import HybridPlan
from hybridtune.data.store import TokenStore
from hybridtune.data.stream import token_batches
from hybridtune.errors import FitError, HybridtuneError
from hybridtune.evaluate.per_query import FILE as PER_QUERY
from hybridtune.evaluate.service import EvaluatorService
from hybridtune.train.board import Poster
from hybridtune.train.feed import Feed
from hybridtune.train.memory import WorstStep, answer_out_of_memory, is_out_of_memory
from hybridtune.train.progress import Progress, Totals
from hybridtune.train.training import Training

SCORES = "scores.json"  # in every checkpoint: the full tables behind its metrics


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
    mix = study.mix
    return HybridPlan(
        corpus,
        mixing_ratio=mix.mixing_ratio,
        sampling_exponent=mix.sampling_exponent,
        batch_size=study.train.batch_size,
        seed=study.seed,
        cross_batch=mix.cross_batch,
        schedule=mix.schedule,
        final_ratio=mix.final_ratio,
        step_at=mix.step_at,
        steps=study.train.max_steps,
        weights=mix.weights,
        data_weights=[data_set.weight for data_set in study.data.train],
        align_share=mix.align_share,
        align_from=mix.align_from,
    )


def train_loop(config: dict[str, Any]) -> HybridtuneError | None:
    """Train from the last checkpoint (or the start) to the end; score and report every ``eval_steps``.

    The last report, marked ``final``, repeats the metrics of the best checkpoint: a trial is worth its best.

    Args:
        config: ``{"job": FitJob}``.

    Returns:
        None, or why the training cannot go on; a raised error would only be retried to the same end.
    """
    job: FitJob = config["job"]
    torch.set_num_threads(job.study.resources.cpus_per_worker)
    context = ray.train.get_context()
    rank, workers = context.get_world_rank(), context.get_world_size()
    try:
        progress = _train_from_checkpoint(job, rank, workers)
    except HybridtuneError as problem:
        if workers > 1 and not (isinstance(problem, FitError) and problem.__cause__ is None):
            raise  # the other workers may wait for this one, and only an error frees them
        return problem
    if rank == 0:
        best = checkpoint_folder(job, progress.best_step)
        ray.train.report({**progress.final_metrics(), "checkpoint_path": str(best)})
    else:
        ray.train.report({})
    return None


def _train_from_checkpoint(job: FitJob, rank: int, workers: int) -> Progress:
    """All that is left of a training, which may be nothing."""
    store = TokenStore.open(Path(job.store))
    training = Training(job.study, job.source, store.tokenizer().pad_id, ray.train.torch.get_device(), rank)
    progress = Progress()
    if (checkpoint := ray.train.get_checkpoint()) is not None:
        with checkpoint.as_directory() as folder:
            progress = Progress(**training.load(Path(folder)))
    return progress if progress.ended else _train(job, store, training, progress, rank, workers)


def _train(job: FitJob, store: TokenStore, training: Training, progress: Progress, rank: int, workers: int) -> Progress:
    """The steps that are left, until the last or until patience runs out; the progress after them."""
    study, train = job.study, job.study.train
    plan = make_plan(store.corpus(), study)
    worst = WorstStep.of(study, workers, min(train.negatives, plan.corpus.most_negatives()))
    training.check_memory(worst)
    place = {"start": progress.step, "stop": train.max_steps, "rank": rank, "workers": workers}
    feed = Feed(token_batches(plan, store.path, **place, negatives=train.negatives), training.device, train.chunk_size)
    totals = Totals(study, training.device)
    poster = Poster(job.board if rank == 0 else None, job.name, train.batch_size)
    for batch in feed:
        try:
            output = training.step(batch)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise FitError(answer_out_of_memory(worst, batch.step + 1, training.device)) from error
        totals.add(batch, output)
        step = batch.step + 1
        poster.step_done(step, output.loss)
        if step % study.eval_steps and step < train.max_steps:
            continue
        metrics, seconds = totals.means(step, feed.waited)
        for loss in (metrics["loss"], metrics.get("align_loss", 0.0)):
            if not math.isfinite(loss):
                raise FitError(
                    f"the loss is {loss} at step {step}: lower train.learning_rate or raise train.temperature"
                )
        metrics |= {"realised_ratio": plan.realised_ratio(step), **training.learned()}
        progress = _score_and_report(job, training, progress, metrics, seconds, rank)
        if progress.ended:
            break
        totals.start(feed.waited)
    return progress


def _score_and_report(
    job: FitJob, training: Training, progress: Progress, metrics: dict[str, Any], seconds: float, rank: int
) -> Progress:
    """Rank 0 scores, checkpoints and reports; the others report with it, as Ray Train asks."""
    snapshot = training.snapshot()  # of all workers where the encoder is spread over them
    if rank != 0:
        ray.train.report({})
        return replace(progress, step=metrics["step"]).agreed(training.device)
    with tempfile.TemporaryDirectory() as folder:
        service = EvaluatorService.connect(job.evaluators)
        weights = {name: value.numpy() for name, value in snapshot.weights.items()}
        scores = service.score(weights, job.benchmark, Path(folder) / PER_QUERY)
        progress = progress.scored({**metrics, **scores.metrics}, seconds, job.study)
        snapshot.save(Path(folder), asdict(progress))
        (Path(folder) / SCORES).write_text(json.dumps(asdict(scores)), encoding="utf-8")
        checkpoint = ray.train.Checkpoint.from_directory(folder)
        name = checkpoint_folder(job, progress.step).name
        ray.train.report(progress.metrics, checkpoint, checkpoint_dir_name=name)
    return progress.agreed(training.device)


def checkpoint_folder(job: FitJob, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return Path(job.storage) / f"checkpoint_{step:07d}"
