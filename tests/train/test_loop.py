"""How a training ends without Ray: what a worker says, and whether it leaves the others waiting."""

from types import SimpleNamespace

import pytest
import ray.train
import torch
from ray import cloudpickle

from hybridtune.config import Study
from hybridtune.errors import FitError, HybridtuneError, InputError
from hybridtune.model.loss import LossOutput
from hybridtune.train import fit, loop
from hybridtune.train.feed import DeviceBatch
from hybridtune.train.progress import Progress, Totals

STUDY = Study.model_validate(
    {
        "name": "x",
        "data": {"train": "newsroom:train"},
        "benchmarks": {"dev": {"path": "newsroom:dev"}},
        "mix": {"align_share": 0.5},
        "train": {"batch_size": 8, "max_steps": 4},
    }
)
JOB = loop.FitJob(STUDY, "store", "source", "evaluators", "dev", "folder")


@pytest.fixture
def worker(monkeypatch):
    """Runs the loop of one worker whose training ends as told; gives what it returned and reported."""

    def run(ending, rank=0, workers=1):
        def train(job, rank, workers):
            if isinstance(ending, Exception):
                raise ending
            return ending

        context = SimpleNamespace(get_world_rank=lambda: rank, get_world_size=lambda: workers)
        reports = []
        monkeypatch.setattr(ray.train, "get_context", lambda: context)
        monkeypatch.setattr(ray.train, "report", reports.append)
        monkeypatch.setattr(loop, "_train_from_checkpoint", train)
        return loop.train_loop({"job": JOB}), reports

    return run


def out_of_memory():
    problem = FitError("set train.chunk_size=4")
    problem.__cause__ = torch.OutOfMemoryError("CUDA out of memory")
    return problem


@pytest.mark.parametrize("problem", [InputError("no such layer"), FitError("the loss is nan"), out_of_memory()])
def test_a_worker_alone_says_why_it_cannot_go_on(worker, problem):
    said, reports = worker(problem)
    travelled = cloudpickle.loads(cloudpickle.dumps(said))  # to the driver
    assert (type(travelled), str(travelled)) == (type(problem), str(problem))
    assert not reports


@pytest.mark.parametrize("problem", [InputError("no such layer"), out_of_memory()])
def test_a_worker_that_others_may_wait_for_raises(worker, problem):
    with pytest.raises(type(problem)):
        worker(problem, rank=1, workers=2)


def test_what_all_workers_find_together_is_not_tried_again(worker):
    assert str(worker(FitError("the loss is nan"), rank=1, workers=2)[0]) == "the loss is nan"


def test_an_ended_training_reports_its_best_checkpoint_on_rank_0_alone(worker):
    best = {"balanced/AP": 0.5, "best_step": 2, "step": 2}
    last = {"step": 4, "pairs": 32, "train_seconds": 1.0, "realised_ratio": 0.5}
    ended = Progress(step=4, metrics=last, best_step=2, best_metrics=best, ended=True)
    said, reports = worker(ended)
    assert said is None
    assert reports == [{**best, **last, "ended": 1.0, "final": 1.0, "checkpoint_path": "folder/checkpoint_0000002"}]
    assert worker(ended, rank=1, workers=2) == (None, [{}])


def test_the_reason_of_one_worker_is_found_among_what_the_others_died_of():
    from ray.train.v2._internal.exceptions import UserExceptionWithTraceback

    lost = UserExceptionWithTraceback(RuntimeError("connection closed by peer"), "Traceback ...")
    reason = UserExceptionWithTraceback(out_of_memory(), "Traceback ...")
    found = fit._meant_for_people(ray.train.WorkerGroupError("2 workers", {0: lost, 1: reason}))
    assert isinstance(found, HybridtuneError)
    assert str(found) == "set train.chunk_size=4"
    assert fit._meant_for_people(ray.train.WorkerGroupError("1 worker", {0: lost})) is None


def test_means_are_of_pair_batches_and_align_batches_apart():
    totals, clusters = Totals(STUDY, torch.device("cpu")), torch.zeros(4)
    losses = [("mono", 1.0, 10), ("align", 0.25, 8), ("cross", 3.0, 8)]
    for step, (kind, loss, texts) in enumerate(losses):
        batch = DeviceBatch(step, kind, 4, [range(texts)], clusters, clusters)
        totals.add(batch, LossOutput(torch.tensor(loss), torch.tensor(loss / 4), torch.tensor(0.5)))
    metrics, seconds = totals.means(3, waited=0.0)
    metrics.pop("data_wait")
    expected = {"step": 3, "loss": 2.0, "accuracy": 0.5, "spread": 0.5, "negatives": 0.25, "align_loss": 0.25}
    assert metrics == pytest.approx(expected)
    assert seconds > 0
