"""The training loop that every Ray Train worker runs: a pair of texts goes in as tokens and comes out as a gradient."""

import contextlib
import functools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch
from ray.train.collective import broadcast_from_rank_zero

from hybridtune.config.study import Study
from hybridtune.data.plan import HybridPlan
from hybridtune.data.plan_states import PlanStates
from hybridtune.data.segments import Segment
from hybridtune.data.store import TokenStore
from hybridtune.data.stream import token_batches
from hybridtune.data.teacher_vectors import TeacherVectors
from hybridtune.errors import FitError, HybridtuneError
from hybridtune.runtime.device_memory import is_out_of_memory, share_memory
from hybridtune.runtime.memory import release_memory
from hybridtune.storage.copies import ensure_local
from hybridtune.storage.files import is_remote, join, write_file
from hybridtune.storage.refused import refusals_told
from hybridtune.train.checkpoint import read_state
from hybridtune.train.checkpoints import CheckpointManager
from hybridtune.train.early import EarlyCheckpoints
from hybridtune.train.evaluators import GroupEvaluators, check_shared, placements_of_group
from hybridtune.train.feed import DeviceBatch, Feed
from hybridtune.train.hang import HangWatch
from hybridtune.train.incidents import Damage
from hybridtune.train.job_queue import FitJob
from hybridtune.train.plan import make_plan
from hybridtune.train.planned import PlannedBatches
from hybridtune.train.poster import PacePoster
from hybridtune.train.progress import Clock, Metrics, Progress, Totals, agreed
from hybridtune.train.scoring import ScoreCalls, Scoring, reported
from hybridtune.train.step import TrainingStep, answer_out_of_memory

_SECONDS = 10.0  # for the queue to hear of a worker that hangs


@dataclass(frozen=True)
class WorkerContext:
    """The rank of a worker, the size and nodes of its group, and what it calls at a score or a standstill."""

    rank: int
    workers: int
    nodes: Sequence[str | None]  # of the group
    calls: ScoreCalls


def train_loop(config: dict[str, Any]) -> None:
    """Run one job after another in a worker of a group, until there are no more.

    A worker that was killed takes the rest of its group with it; Ray Train starts the group anew, and the
    job waits in the queue for the group that is free first, with its last checkpoint in the job's folder.

    Args:
        config: ``{"queue", "group", "folder"}``: handle of the `JobQueue` actor; number of the group there, and its
            folder where it was started.
    """
    queue, group, context = config["queue"], config["group"], ray.train.get_context()
    rank, workers = context.get_world_rank(), context.get_world_size()
    device = ray.train.torch.get_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)  # of this thread, for collectives without a tensor of ours
    placements = placements_of_group(workers)
    nodes = [placement.node for placement in placements]
    ray.get(queue.set_nodes.remote(group, nodes))
    evaluators = GroupEvaluators(placements)
    while (taken := _take(queue, group, rank, workers)) is not None:
        number, job = taken
        torch.set_num_threads(int(job.study.resources.cpus_per_worker))
        try:
            check_shared(job, config["folder"])
            if rank == 0:
                evaluators.begin(job)
            score = functools.partial(evaluators.score, job)
            hung = functools.partial(_end_hung, queue, number, rank, job.storage)
            calls = ScoreCalls(score, functools.partial(_report, queue, number), hung)
            with refusals_told(job.storage):
                _train_job(job, WorkerContext(rank, workers, nodes, calls))
        except HybridtuneError as problem:
            ray.get(queue.fail.remote(number, problem))
            if workers > 1 and not (isinstance(problem, FitError) and problem.__cause__ is None):
                raise  # the other workers may wait for this one, and only an error frees them
        release_memory()
        share_memory(device)


def _report(queue: Any, number: int, metrics: Metrics) -> bool:
    go_on: bool = ray.get(queue.report.remote(number, metrics))
    return go_on


def _end_hung(queue: Any, number: int, rank: int, storage: str, line: str, stacks: str) -> None:
    """End this worker, which hangs: its group starts anew from the last checkpoint."""
    place = join(storage, "stacks", f"rank_{rank}_{line.rpartition(' ')[2]}.txt")
    with contextlib.suppress(Exception):  # it ends in any case
        write_file(place, f"rank {rank} {line}\n{stacks}".encode())
        ray.get(queue.note_hang.remote(number, f"rank {rank} {line}; its stacks are in {place}"), timeout=_SECONDS)
    os._exit(1)


def _take(queue: Any, group: int, rank: int, workers: int) -> tuple[int, FitJob] | None:
    """Take the next job, the same for all workers."""
    taken: tuple[int, FitJob] | None = ray.get(queue.take.remote(group)) if rank == 0 else None
    if workers == 1:
        return taken
    number = broadcast_from_rank_zero(taken[0] if taken is not None else None)
    if rank == 0 or number is None:
        return taken
    return number, ray.get(queue.job.remote(group))


def _train_job(job: FitJob, context: WorkerContext) -> None:
    """Train from the last checkpoint (or the start) to the end, or until the answer to a report is to stop.

    The last report, marked ``final``, repeats the metrics of the best checkpoint: a trial is worth its best.
    """
    checkpoints, device = checkpoint_manager(job), ray.train.torch.get_device()
    last = _last_checkpoint(job, checkpoints, context)
    progress = Progress.of(read_state(last)) if last is not None else Progress()
    clock = Clock(progress)
    # The report of a checkpoint whose worker was killed before it could report comes first.
    first = context.rank == 0
    if agreed(first and bool(progress.metrics) and not context.calls.report(reported(checkpoints, progress)), device):
        return
    if not progress.ended:
        progress = _train(job, checkpoints, last, progress, clock, context)
    if first and progress.ended:
        _plan_states(job, 0).clear()
        checkpoints.end()
        context.calls.report(progress.final_metrics())


def _last_checkpoint(job: FitJob, checkpoints: CheckpointManager, context: WorkerContext) -> Path | None:
    """Return the whole checkpoint that all workers go on from, found by rank 0, and tell of those that are damaged."""

    def tell(step: int, goes_on_from: int, what: str) -> None:
        if job.monitor is not None:
            job.monitor.note.remote(Damage(job.name, step, goes_on_from, what))

    last = checkpoints.last(tell) if context.rank == 0 else None
    if context.workers == 1:
        return last
    step: int | None = broadcast_from_rank_zero(read_state(last)["step"] if last is not None else None)
    return last if context.rank == 0 or step is None else ensure_local(checkpoints.at(step))


def _train(
    job: FitJob,
    checkpoints: CheckpointManager,
    last: Path | None,
    progress: Progress,
    clock: Clock,
    context: WorkerContext,
) -> Progress:
    """Run the steps after the last checkpoint, until patience runs out or a report's answer says so.

    Returns:
        The progress then.
    """
    study, train, rank, workers = job.study, job.study.train, context.rank, context.workers
    device, store = ray.train.torch.get_device(), TokenStore.open(ensure_local(job.store))
    source = str(ensure_local(job.source)) if is_remote(job.source) else job.source
    teacher = _teacher(job)
    start, plan = progress.step, make_plan(store.corpus(), study, progress.segments)
    monitor = job.monitor if rank == 0 else None
    planned = PlannedBatches(study, plan, start, _stream(job, store.path, rank, workers))
    # The feed starts while the encoder is loaded; the batches end before it does, which waits for them.
    with (
        Feed(planned.batches(), device, train.chunk_size, teacher) as feed,
        planned,
        HangWatch(train.hang_timeout, context.calls.hung) as hang,
        EarlyCheckpoints(monitor, job.name, context.nodes, device, checkpoints) as early,
        Scoring(study, checkpoints, clock, context.calls if rank == 0 else None, workers == 1) as scoring,
    ):
        hang.begin("step")
        width = teacher.width if teacher is not None else None
        training = TrainingStep(study, source, store.tokenizer().pad_id, device, rank, width)
        if last is not None:
            training.load(last)
        totals = Totals(study, device)
        poster = PacePoster(monitor, job.name, train.batch_size)
        room = functools.partial(_room, training, workers, plan)
        for batch in _fed(feed, training, start, room):
            if batch.step == start:
                clock.steps_begin()
                totals.start(state=progress.sums if rank == 0 else ())
            with room(batch.step):
                output = training.step(batch)
            totals.add(batch, output)
            step = batch.step + 1
            poster.step_done(step, output.loss)
            hang.step_done(step)
            if step != study.next_score(batch.step):
                if scoring.is_over():
                    return scoring.settle(progress)
                if early.wanted(step):
                    hang.rest()
                    progress = scoring.settle(progress)
                    early.write(replace(progress, step=step, sums=totals.state()), training.snapshot())
                    hang.begin("step")
                continue
            early.rest()
            metrics = _means(step, totals, feed.waited, clock, training.half)
            metrics |= {"realised_ratio": planned.plan.realised_ratio(step), **training.learned()}
            snapshot = training.snapshot()  # of all workers where the encoder is spread over them
            hang.rest()
            share_memory(device)  # evaluators score on the same card
            progress = scoring.settle(progress)
            if not scoring.stopped:
                progress = scoring.score(snapshot, progress, metrics)
            if agreed(scoring.stopped, device):
                break
            totals.start(feed.waited)
            planned.go_on(step, _shared_segments(progress, study, workers))
            early.begin()
            hang.begin("step")
    return progress


def _teacher(job: FitJob) -> TeacherVectors | None:
    key = job.study.teacher_key
    return TeacherVectors.open(ensure_local(job.taught[key])) if key is not None else None


def _plan_states(job: FitJob, rank: int) -> PlanStates:
    """Return the states of a fit's plan, which lie beside its checkpoints; rank 0 adds to them."""
    train = job.study.train
    return PlanStates.of(job.storage, train.batch_size, job.study.eval_steps, writes=rank == 0)


def _stream(job: FitJob, store: Path, rank: int, workers: int) -> Callable[..., Any]:
    """Return the token batches of this worker's slice, of a plan and steps that are still to be given."""
    # The task that reads the store runs beside the worker, where the store is, on CPUs that the worker holds for it.
    return functools.partial(
        token_batches,
        store=store,
        rank=rank,
        workers=workers,
        negatives=job.study.train.negatives,
        states=_plan_states(job, rank),
        name=job.name,
        num_cpus=0.0,
        node=ray.get_runtime_context().get_node_id(),
    )


def _shared_segments(progress: Progress, study: Study, workers: int) -> tuple[Segment, ...]:
    """Return the segments of a learned mix, the same on all workers; rank 0 has scored and made the last one."""
    if study.mix.schedule != "learned" or workers == 1:
        return progress.segments
    segments: tuple[Segment, ...] = broadcast_from_rank_zero(progress.segments)
    return segments


def _fed(
    feed: Feed, training: TrainingStep, start: int, room: Callable[[int], AbstractContextManager[None]]
) -> Iterator[DeviceBatch]:
    """Yield the batches from step ``start`` on; each needs room when the feed copies it, before its step does."""
    batches, step = feed.batches(training.lay_out), start
    while True:
        with room(step):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch
        step = batch.step + 1


@contextlib.contextmanager
def _room(training: TrainingStep, workers: int, plan: HybridPlan, step: int) -> Iterator[None]:
    """Raise what to change where the device has no room for a step, or for the batch of one."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        study = training.study
        negatives = min(study.train.negatives, plan.corpus.most_negatives())
        raise FitError(answer_out_of_memory(study, workers, negatives, step + 1, training.device)) from error


def _means(step: int, totals: Totals, waited: float, clock: Clock, half: torch.dtype | None) -> Metrics:
    """Return the means since the last score, and give its seconds to the clock.

    Raises:
        FitError: a mean loss is NaN or infinite, on all workers alike.
    """
    metrics, seconds = totals.means(step, waited)
    clock.add_steps(seconds)
    _check_finite(metrics, half)
    return metrics


def _check_finite(metrics: Metrics, half: torch.dtype | None) -> None:
    """Raise FitError, on all workers alike, where a mean loss is NaN or infinite."""
    wider = "; or set train.precision=float32, as fp16 holds nothing above 65,504" if half == torch.float16 else ""
    for loss in (metrics["loss"], metrics.get("align_loss", 0.0)):
        if not math.isfinite(loss):
            raise FitError(
                f"the loss is {loss} at step {metrics['step']}: lower train.learning_rate or raise train.temperature"
                f"{wider}"
            )


def checkpoint_manager(job: FitJob) -> CheckpointManager:
    """Return the checkpoints of a fit."""
    return CheckpointManager(job.storage, job.study.train.keep_checkpoints, job.study.search.objective[0])
