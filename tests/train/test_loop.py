"""How a training ends without Ray: what a worker says, and whether it leaves the others waiting."""

import contextlib
import functools
import json
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest
import ray
import ray.train
import ray.train.torch
import torch
from ray import cloudpickle
from small_study import small_study

from hybridtune.data.segments import Segment
from hybridtune.errors import FitError, InputError
from hybridtune.evaluate.service import Placement
from hybridtune.model.loss import LossOutput
from hybridtune.train import loop
from hybridtune.train.checkpoint import OPTIMIZER, STATE
from hybridtune.train.evaluators import NotSharedError, check_shared
from hybridtune.train.feed import DeviceBatch
from hybridtune.train.progress import Progress, Totals

STUDY = small_study(mix={"align_share": 0.5}, train={"batch_size": 8, "max_steps": 4})
JOB = loop.FitJob(STUDY, "store", "source", None, "folder")


class Line:
    """Stands in for the handle of the queue: notes what a worker says, and has one job."""

    def __init__(self, answers=()):
        self.jobs, self.answers, self.reports, self.failures = [(1, JOB)], list(answers), [], []
        self.take = SimpleNamespace(remote=lambda group: self.jobs.pop() if self.jobs else None)
        self.set_nodes = SimpleNamespace(remote=lambda group, nodes: None)
        self.job = SimpleNamespace(remote=lambda group: JOB)
        self.report = SimpleNamespace(remote=self._report)
        self.fail = SimpleNamespace(remote=lambda number, problem: self.failures.append((number, problem)))

    def _report(self, number, metrics):
        self.reports.append(metrics)
        return self.answers.pop(0)


@pytest.fixture
def worker(monkeypatch, tmp_path):
    """Runs the loop of one worker whose training ends as told; gives what it said at the queue."""

    def run(ending, rank=0, workers=1, queue=None, folder=None):
        def train(*everything):
            if isinstance(ending, Exception):
                raise ending
            return ending

        line = queue or Line([False])
        context = SimpleNamespace(get_world_rank=lambda: rank, get_world_size=lambda: workers)
        numbers = [1, None, None]  # what rank 0 tells the others: the job, its last step, the next job
        monkeypatch.setattr(ray.train, "get_context", lambda: context)
        monkeypatch.setattr(ray.train.torch, "get_device", lambda: torch.device("cpu"))
        monkeypatch.setattr(loop, "broadcast_from_rank_zero", lambda number: numbers.pop(0))
        monkeypatch.setattr(ray, "get", lambda answer: answer)
        monkeypatch.setattr(loop, "_train", train)
        monkeypatch.setattr(loop, "placements_of_group", lambda workers: [Placement("node")] * workers)
        monkeypatch.setattr(loop, "GroupEvaluators", lambda placements: SimpleNamespace(begin=repr, score=repr))
        loop.train_loop({"queue": line, "group": 0, "folder": str(folder or tmp_path)})
        return line

    return run


def out_of_memory():
    problem = FitError("set train.chunk_size=4")
    problem.__cause__ = torch.OutOfMemoryError("CUDA out of memory")
    return problem


@pytest.mark.parametrize("problem", [InputError("no such layer"), FitError("the loss is nan"), out_of_memory()])
def test_a_worker_alone_says_why_it_cannot_go_on_and_takes_the_next_job(worker, problem):
    said = worker(problem)
    (number, told), *none = said.failures
    assert not none
    travelled = cloudpickle.loads(cloudpickle.dumps(told))  # to the owner
    assert (number, type(travelled), str(travelled)) == (1, type(problem), str(problem))
    assert not said.reports
    assert not said.jobs


@pytest.mark.parametrize("problem", [InputError("no such layer"), out_of_memory()])
def test_a_worker_that_others_may_wait_for_says_why_and_raises(worker, problem):
    line = Line()
    with pytest.raises(type(problem)):
        worker(problem, rank=1, workers=2, queue=line)
    assert line.failures == [(1, problem)]


def test_what_all_workers_find_together_costs_no_restart(worker):
    assert str(worker(FitError("the loss is nan"), rank=1, workers=2).failures[0][1]) == "the loss is nan"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_does_not_see_the_folder_says_so_and_trains_nothing(worker, tmp_path, workers, monkeypatch):
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "10.0.0.7")
    line = Line()
    with contextlib.nullcontext() if workers == 1 else pytest.raises(NotSharedError):
        worker(AssertionError("trained"), workers=workers, queue=line, folder=tmp_path / "of-the-head")
    ((_, problem),) = line.failures
    assert "folder: the node 10.0.0.7 does not see the study's folder; give --out a place that all nodes" in str(
        problem
    )
    assert not line.reports
    check_shared(replace(JOB, storage="s3://bucket/study/fit"), "of-the-head")  # any node sees that


def ended():
    best = {"balanced/AP": 0.5, "best_step": 2, "step": 2}
    last = {"step": 4, "pairs": 32, "setup_seconds": 1.0, "train_seconds": 1.0, "score_seconds": 1.0}
    return Progress(step=4, metrics={**last, "realised_ratio": 0.5}, best_step=2, best_metrics=best, ended=True)


def test_an_ended_training_reports_its_best_checkpoint_on_rank_0_alone(worker):
    (report,) = worker(ended()).reports
    best = {**ended().best_metrics, **ended().metrics, "ended": 1.0, "final": 1.0}
    assert report == best
    assert worker(ended(), rank=1, workers=2).reports == []


def test_a_training_that_is_stopped_reports_nothing_more(worker):
    assert worker(Progress(step=4)).reports == []


@pytest.mark.parametrize(("answer", "then"), [(True, [1.0]), (False, [])])
def test_a_training_that_goes_on_tells_its_last_score_again(worker, tmp_path, monkeypatch, answer, then):
    progress = Progress(step=2, metrics={"step": 2, "balanced/AP": 0.5, "final": 0.0}, best_step=2)
    kept = loop.checkpoint_manager(replace(JOB, storage=str(tmp_path)))

    def write(folder):
        (folder / STATE).write_text(json.dumps(asdict(progress)), encoding="utf-8")
        (folder / OPTIMIZER).touch()
        return progress

    kept.add(2, write)
    line = Line([answer, False])
    line.jobs = [(1, replace(JOB, storage=str(tmp_path)))]
    reports = worker(ended(), queue=line).reports
    assert reports[0] == progress.metrics
    assert [report["final"] for report in reports[1:]] == then


@pytest.mark.parametrize("name", ["loss", "align_loss"])
@pytest.mark.parametrize("half", [None, torch.bfloat16, torch.float16])
def test_a_loss_that_is_no_number_ends_the_training(name, half):
    what = "the loss is inf at step 4: lower train.learning_rate or raise train.temperature"
    more = "; or set train.precision=float32, as fp16 holds nothing above 65,504" if half == torch.float16 else ""
    with pytest.raises(FitError) as told:
        loop._check_finite({"step": 4, "loss": 1.0, name: float("inf")}, half)
    assert str(told.value) == what + more
    loop._check_finite({"step": 4, "loss": 1.0}, half)


@pytest.mark.parametrize("without_room", [0, 2])
def test_a_batch_for_which_the_device_has_no_room_is_answered_as_its_step_is(without_room):
    """The feed's thread copies a batch while the step before it runs; step 5 is the first of them."""

    def batches(lay_out):
        for step in range(5, 8):
            if step == 5 + without_room:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            yield SimpleNamespace(step=step)

    plan = SimpleNamespace(corpus=SimpleNamespace(most_negatives=lambda: 0))
    training = SimpleNamespace(lay_out=None, study=STUDY, device=torch.device("cpu"))
    fed = loop._fed(SimpleNamespace(batches=batches), training, 5, functools.partial(loop._room, training, 1, plan))
    assert [next(fed).step for _ in range(without_room)] == [5, 6][:without_room]
    with pytest.raises(
        FitError, match=f"out of memory at step {6 + without_room} on .*: set train.chunk_size=8 "
    ) as told:
        next(fed)
    assert isinstance(told.value.__cause__, torch.OutOfMemoryError)  # so that a worker frees those that wait for it


def test_other_errors_of_a_step_or_a_feed_stay_as_they_are():
    with pytest.raises(RuntimeError, match="shapes differ"), loop._room(None, 1, None, 0):
        raise RuntimeError("shapes differ")


def test_means_are_of_pair_batches_and_align_batches_apart():
    totals, answer_sets = Totals(STUDY, torch.device("cpu")), torch.zeros(4)
    losses = [("mono", 1.0, 10), ("align", 0.25, 8), ("cross", 3.0, 8)]
    for step, (kind, loss, texts) in enumerate(losses):
        batch = DeviceBatch(step, kind, 4, [range(texts)], answer_sets, *[answer_sets] * 3, answer_sets[:0])
        totals.add(batch, LossOutput(torch.tensor(loss), torch.tensor(loss / 4), torch.tensor(0.5)))
    metrics, seconds = totals.means(3, waited=0.0)
    metrics.pop("data_wait")
    expected = {"step": 3, "loss": 2.0, "accuracy": 0.5, "spread": 0.5, "negatives": 0.25, "align_loss": 0.25}
    assert metrics == pytest.approx(expected)
    assert seconds > 0


def test_sums_that_a_checkpoint_holds_go_on_as_if_nothing_had_been(monkeypatch):
    torch.manual_seed(0)
    whole, broken = (Totals(STUDY, torch.device("cpu")) for _ in range(2))
    for step, loss in enumerate(torch.rand(9)):
        batch = DeviceBatch(step, "mono", 4, [range(8)], torch.zeros(4), *[torch.zeros(4)] * 3, torch.zeros(0))
        output = LossOutput(loss, loss / 3, loss / 7)
        whole.add(batch, output)
        if step == 5:
            kept = json.loads(json.dumps(broken.state()))
            broken = Totals(STUDY, torch.device("cpu"))
            broken.start(state=kept)
        broken.add(batch, output)
    means = [totals.means(9, waited=0.0)[0] for totals in (whole, broken)]
    for found in means:
        found.pop("data_wait")
    assert means[0] == means[1]


def test_losses_beside_the_contrastive_one_are_means_of_pair_batches_too():
    study = small_study(mix={"align_share": 0.5}, train={"distil": "kl", "teacher": "x", "consistency": 0.1})
    totals, answer_sets = Totals(study, torch.device("cpu")), torch.zeros(4)
    for step, (kind, added) in enumerate([("mono", 1.0), ("align", None), ("cross", 4.0)]):
        batch = DeviceBatch(step, kind, 4, [range(9)], answer_sets, *[answer_sets] * 3, torch.zeros(1))
        beside = {} if added is None else {"distil_loss": torch.tensor(added), "consistency_loss": torch.tensor(0.25)}
        totals.add(batch, LossOutput(torch.tensor(2.0), torch.tensor(0.5), torch.tensor(0.5), beside))
    metrics, _ = totals.means(3, waited=0.0)
    assert {name: metrics[name] for name in ("distil_loss", "consistency_loss", "loss", "negatives")} == {
        "distil_loss": 2.5,
        "consistency_loss": 0.25,
        "loss": 2.0,
        "negatives": 0.0,
    }


def test_all_workers_go_on_by_the_segments_of_the_first(monkeypatch):
    """Rank 0 has scored; what another worker holds was made before that."""
    made, told = (Segment(0, 0.5),), (Segment(0, 0.5), Segment(4, 0.3))
    learned = small_study(mix={"schedule": "learned"}, train={"batch_size": 8, "max_steps": 8})
    asked = []
    monkeypatch.setattr(loop, "broadcast_from_rank_zero", lambda segments: asked.append(segments) or told)
    assert loop._shared_segments(Progress(segments=made), learned, workers=2) == told
    assert asked == [made]
    assert loop._shared_segments(Progress(segments=told), learned, workers=1) == told
    assert loop._shared_segments(Progress(), STUDY, workers=2) == ()
    assert asked == [made]  # a mix that is not learned waits for nobody
