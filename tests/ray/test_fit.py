import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import ray
from damaging import flip
from safetensors.torch import load_file

from hybridtune.config.study import Study
from hybridtune.data.learned_mix import next_segment
from hybridtune.data.segments import read_segments
from hybridtune.data.store import recipe
from hybridtune.errors import FitError
from hybridtune.evaluate.benchmark import load_benchmark
from hybridtune.evaluate.encode import Actors
from hybridtune.study.teachers import teach_all
from hybridtune.train.checkpoint import OPTIMIZER, WEIGHTS, read_state
from hybridtune.train.fit import FitResult, WorkerGroups, checkpoint_scores, fit
from hybridtune.train.incidents import Early, Loss, read_incidents
from hybridtune.train.job_queue import FitJob
from hybridtune.train.pace import PaceMonitor, start_monitor
from hybridtune.train.plan import make_plan

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]


def descendants():
    """Processes that this one or a child of it started."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and os.getpid() in (parent(int(folder.name)), parent(parent(int(folder.name)))):
            yield int(folder.name)


def parent(pid):
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:  # gone meanwhile
        return -1


def command_line(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


class Fits:
    """Runs fits and keeps what they reported."""

    def __init__(self, folder, tree, store, source, benchmark):
        self.folder, self.tree, self.store, self.source = folder, tree, store, source
        self.benchmark = ray.put(benchmark)

    def job(self, name, *, workers=1, mix=(), taught=(), **train) -> FitJob:
        tree = self.tree(resources={"workers": workers, "gpus_per_worker": 0}, mix=dict(mix))
        # bf16 rounds by the shape of the batch, and Adam blows that up: two workers would agree only by and large
        tree["train"] |= {"precision": "float32"} | train
        return FitJob(
            study=Study.model_validate(tree),
            store=str(self.store.path),
            source=self.source,
            benchmark=self.benchmark,
            storage=str(self.folder / name / "fit"),
            home=str(self.folder / name),
            taught=dict(taught),
        )

    def run(self, groups, name, **settings) -> tuple[FitResult, list[dict]]:
        reports = []
        result = fit(self.job(name, **settings), groups, reports.append)
        return replace(result, checkpoint=Path(result.checkpoint)), reports


@pytest.fixture(scope="module")
def fits(small_tree, small_study, small_store, tiny_source, tmp_path_factory):
    benchmark = load_benchmark(small_study.benchmarks.dev)
    return Fits(tmp_path_factory.mktemp("fits"), small_tree, small_store, tiny_source, benchmark)


@pytest.fixture(scope="module")
def whole(group, fits):
    """An uninterrupted fit of one worker."""
    return fits.run(group, "whole")


@pytest.fixture(scope="module")
def group(fits):
    """One worker that takes fit after fit."""
    made = WorkerGroups(fits.job("any").study.resources, 1, fits.folder / "group")
    yield made
    made.end()


@pytest.fixture(scope="module")
def pair(fits):
    """Two workers that take fit after fit; while they live, `workers` are not those of `group` alone."""
    made = WorkerGroups(fits.job("any", workers=2).study.resources, 1, fits.folder / "pair")
    yield made
    made.end()


def workers():
    return [pid for pid in descendants() if b"RayTrainWorker" in command_line(pid)]


def without_times(metrics):
    return {key: value for key, value in metrics.items() if not key.endswith("_seconds") and key != "data_wait"}


def test_a_fit_reports_every_score_and_what_it_rests_on(whole, small_store):
    result, reports = whole
    assert [report["step"] for report in reports] == [4, 8, 12, 12]  # the last is the best one's once more
    assert [report["final"] for report in reports] == [0, 0, 0, 1]
    assert [report["pairs"] for report in reports] == [32, 64, 96, 96]
    best = max(reports[:3], key=lambda report: (report["balanced/AP"], report["step"]))
    assert result.metrics["best_step"] == best["step"]
    assert result.metrics["balanced/AP"] == best["balanced/AP"]
    assert result.checkpoint.name == f"checkpoint_{best['step']:07d}"
    assert result.metrics == reports[-1]
    kept = sorted(folder.name for folder in result.checkpoint.parent.glob("checkpoint_*/"))
    before = max(reports[:2], key=lambda report: (report["balanced/AP"], report["step"]))["step"]
    last = {f"checkpoint_{step:07d}" for step in (before, 8, 12)}  # the last two, with the best of each
    assert kept == sorted({result.checkpoint.name, *last})
    assert all(0 <= report["data_wait"] <= 1 for report in reports)
    table = json.loads((result.checkpoint.parents[1] / "plan.json").read_text(encoding="utf-8"))
    assert sum(row["pairs"] for row in table["table"]) == 96
    assert reports[-1]["realised_ratio"] == 0.5
    assert all(0 < report["negatives"] < 1 for report in reports)  # asked for 1; some groups have none
    assert reports[2]["loss"] < reports[0]["loss"]
    assert all(0 <= report["balanced/AP"] <= 1 for report in reports)
    assert checkpoint_scores(result.checkpoint)["metrics"]["multi/AP"] == result.metrics["multi/AP"]


def test_a_fit_repeats_itself_to_the_last_digit_though_a_worker_is_killed(group, fits, whole):
    coming = group.reports(fits.job("killed"))
    reports = [next(coming)]
    (worker,) = workers()
    os.kill(worker, signal.SIGKILL)
    reports += coming
    assert [report["step"] for report in reports] == [4, 8, 12, 12]  # it went on at its checkpoint
    assert list(map(without_times, reports)) == list(map(without_times, whole[1]))
    other = fits.folder / "killed" / "fit" / whole[0].checkpoint.name
    one, other = load_file(whole[0].checkpoint / WEIGHTS), load_file(other / WEIGHTS)
    assert all((one[name] == other[name]).all() for name in one)


def test_scores_beside_the_steps_are_those_between_them(group, fits, whole):
    reports = list(group.reports(fits.job("beside", scores="beside")))
    assert list(map(without_times, reports)) == list(map(without_times, whole[1]))
    other = fits.folder / "beside" / "fit" / whole[0].checkpoint.name
    one, other = load_file(whole[0].checkpoint / WEIGHTS), load_file(other / WEIGHTS)
    assert all((one[name] == other[name]).all() for name in one)


def test_a_fit_goes_on_over_a_damaged_checkpoint_and_ends_as_the_undisturbed_one(group, fits, whole):
    monitor = start_monitor()
    job = replace(fits.job("damaged"), monitor=monitor)
    coming = group.reports(fits.job("cut"))
    for _ in range(3):
        next(coming)
    shutil.copytree(fits.folder / "cut" / "fit", job.storage)  # as a kill after the last score leaves it
    list(coming)
    assert not [*(fits.folder / "cut" / "fit").rglob(OPTIMIZER)]  # it has ended: nothing goes on from here
    flip(Path(job.storage) / "checkpoint_0000012" / WEIGHTS, 5000)
    reports = list(group.reports(job))
    assert read_incidents(monitor, 0) == [("fit", 12, 8, f"{WEIGHTS} holds other bytes than were written")]
    assert list(map(without_times, reports)) == list(map(without_times, whole[1][1:]))  # the score at step 8 once more
    other = fits.folder / "damaged" / "fit" / whole[0].checkpoint.name
    one, other = load_file(whole[0].checkpoint / WEIGHTS), load_file(other / WEIGHTS)
    assert all((one[name] == other[name]).all() for name in one)


def eager_monitor(worker):
    """Start a monitor that wants a checkpoint at every step, and kills the worker that wrote one behind step 6."""

    class Eager(PaceMonitor):  # in here: Ray sends it to workers, which cannot import this file
        def __init__(self):
            super().__init__()
            self.worker = worker

        async def checkpoint_asked(self, key, fit, nodes):
            return "asked"

        async def note_early(self, early):
            await super().note_early(early)
            if early.step > 6 and self.worker:
                os.kill(self.worker, signal.SIGKILL)
                self.worker = None

    monitor = ray.remote(Eager).options(num_cpus=0).remote()
    ray.get(monitor.read.remote())  # a short training may end before an actor has begun
    return monitor


def test_a_fit_goes_on_from_a_checkpoint_between_two_scores_to_the_last_digit(group, fits):
    between = {"max_steps": 60, "eval_steps": 50}
    alone = list(group.reports(fits.job("alone", **between)))
    monitor = eager_monitor(*workers())
    reports = list(group.reports(replace(fits.job("early", **between), monitor=monitor)))
    incidents = read_incidents(monitor, 0)
    (loss,) = (one for one in incidents if isinstance(one, Loss))
    assert loss.goes_on_from > 6
    assert loss.goes_on_from in {one.step for one in incidents if isinstance(one, Early)}
    assert list(map(without_times, reports)) == list(map(without_times, alone))
    kept = [folder.name for folder in (fits.folder / "early" / "fit").glob("checkpoint_*")]
    assert sorted(kept) == ["checkpoint_0000050", "checkpoint_0000060"]


LEARNED = {"schedule": "learned"}


@pytest.fixture(scope="module")
def learned(group, fits):
    """An uninterrupted fit of a learned mix, and its folder."""
    job = fits.job("learned", mix=LEARNED)
    return list(group.reports(job)), job.local_folder


def plan_of(folder):
    return json.loads((folder / "plan.json").read_text(encoding="utf-8"))


def test_a_learned_mix_follows_its_scores_and_the_checkpoint_and_the_plan_hold_its_path(learned, fits, small_store):
    reports, folder = learned
    plan, study = plan_of(folder), fits.job("any", mix=LEARNED).study
    assert [segment["start"] for segment in plan["segments"]] == [0, 4, 8]
    assert plan["segments"][0] == {"start": 0, "mixing_ratio": 0.5, "weights": {}, "scores": None}
    segments = read_segments(plan["segments"])
    for count, report in ((1, reports[0]), (2, reports[1])):
        scored = segments[count]
        assert scored.scores.settings == {name: report[f"{name}/AP"] for name in ("mono", "cross", "multi")}
        assert scored == next_segment(study.mix, segments[:count], scored.start, scored.scores)
    drawn = make_plan(small_store.corpus(), study, segments)
    assert plan["table"] == json.loads(json.dumps(drawn.table(12)))
    assert (plan["steps"], plan["realised_ratio"]) == (12, reports[-1]["realised_ratio"])
    assert abs(plan["requested_ratio"] - plan["realised_ratio"]) <= 1 / 12
    last = read_state(folder / "fit" / "checkpoint_0000012")
    assert last["segments"] == plan["segments"]
    assert "segments" not in reports[0]  # they are no metric


def test_a_learned_mix_repeats_itself_to_the_last_digit_though_a_worker_is_killed(group, fits, learned):
    job = fits.job("learned-killed", mix=LEARNED)
    coming = group.reports(job)
    reports = [next(coming)]
    (worker,) = workers()
    os.kill(worker, signal.SIGKILL)
    reports += coming
    assert list(map(without_times, reports)) == list(map(without_times, learned[0]))
    assert plan_of(job.local_folder) == plan_of(learned[1])


def test_two_workers_train_what_one_trains(pair, fits, whole):
    reports = list(pair.reports(fits.job("two-workers", workers=2)))
    best = fits.folder / "two-workers" / "fit" / f"checkpoint_{reports[-1]['best_step']:07d}"
    one, two = load_file(whole[0].checkpoint / WEIGHTS), load_file(best / WEIGHTS)
    for report, expected in zip(reports, whole[1], strict=True):
        assert report["loss"] == pytest.approx(expected["loss"], abs=1e-4)
        assert report["realised_ratio"] == expected["realised_ratio"]
        assert report["pairs"] == expected["pairs"]
        assert report["negatives"] == pytest.approx(expected["negatives"])
    beside = list(pair.reports(fits.job("two-beside", workers=2, scores="beside")))
    assert list(map(without_times, beside)) == list(map(without_times, reports))
    start = load_file(Path(fits.source) / "model.safetensors")
    assert one.keys() == two.keys() == start.keys()
    for name in one.keys() - {name for name in one if name.endswith("key.bias")}:  # no gradient: softmax cancels it
        apart, moved = one[name] - two[name], one[name] - start[name]
        # Adam's step of a weight whose gradient is rounding noise is noise of full size, so only weights that
        # always have a gradient agree one by one; the others agree as a whole.
        assert apart.norm() < 0.1 * moved.norm(), name
        if "LayerNorm" in name or "embeddings" in name:
            assert apart.abs().max() < 1e-4 < 1e-3 < moved.abs().max(), name


def test_two_workers_change_the_mix_at_the_same_steps(pair, fits, learned):
    job = fits.job("learned-two", workers=2, mix=LEARNED)
    reports = list(pair.reports(job))
    assert [report["step"] for report in reports] == [4, 8, 12, 12]
    assert reports[0]["loss"] == pytest.approx(learned[0][0]["loss"], abs=1e-4)
    # Rounding may move a score, the score a weight, and the weight a row of a later batch.
    for report, expected in zip(reports, learned[0], strict=True):
        assert report["loss"] == pytest.approx(expected["loss"], rel=0.1)
        assert report["realised_ratio"] == pytest.approx(expected["realised_ratio"], abs=1 / 12 + 1e-9)
    ratios, expected = (
        [segment["mixing_ratio"] for segment in plan_of(folder)["segments"]]
        for folder in (job.local_folder, learned[1])
    )
    assert ratios == pytest.approx(expected, abs=0.03)


def on_one_and_on_two(group, pair, fits, name, **settings):
    """The reports of one training by one worker and by two."""
    jobs = (fits.job(f"{name}-{workers}", workers=workers, **settings) for workers in (1, 2))
    return [list(taken.reports(job)) for taken, job in zip((group, pair), jobs, strict=True)]


def test_two_workers_learn_the_scores_of_the_data_that_one_learns(group, pair, fits):
    learns = {"distil": "margin_mse", "distil_from": "data", "distil_weight": 0.1, "negatives": 2}
    one, two = on_one_and_on_two(group, pair, fits, "scored", **learns)
    assert [report["step"] for report in one] == [4, 8, 12, 12]
    for metrics, others in zip(one, two, strict=True):
        for name in ("loss", "distil_loss", "negatives"):
            assert metrics[name] == pytest.approx(others[name], rel=1e-3), name
    assert one[-1]["distil_loss"] > 0


def test_two_workers_align_with_their_teacher_what_one_aligns(group, pair, fits, small_study, small_store, teacher):
    mix = {"align_share": 0.5}
    study = fits.job("taught", mix=mix, teacher=teacher).study
    made_of = recipe(small_study.data, small_study.encoder)
    silent = [lambda *_: None] * 2
    vectors = teach_all(study, small_store.corpus(), made_of, fits.folder, fits.source, Actors(1, 1), *silent)
    taught = {key: str(folder) for key, folder in vectors.items()}
    one, two = on_one_and_on_two(group, pair, fits, "taught", mix=mix, teacher=teacher, taught=taught)
    assert [report["step"] for report in one] == [4, 8, 12, 12]
    for metrics, others in zip(one, two, strict=True):
        for name in ("loss", "align_loss"):
            assert metrics[name] == pytest.approx(others[name], abs=1e-4), name
    assert one[2]["align_loss"] < one[0]["align_loss"]


def test_one_group_takes_fit_after_fit_and_none_leaves_a_trace_in_the_next(group, pair, fits, whole):
    with pytest.raises(FitError, match=r"the loss is nan at step 4: lower train.learning_rate or raise"):
        list(group.reports(fits.job("diverging", learning_rate=1e30)))
    stopped = group.reports(fits.job("stopped", temperature=0.5, symmetric=True, lora_rank=2))
    assert next(stopped)["step"] == 4
    stopped.close()
    reports = list(group.reports(fits.job("after", ema=None)))
    resumed = list(group.reports(fits.job("stopped", temperature=0.5, symmetric=True, lora_rank=2)))
    for one in (group, pair):
        one.close()
    assert list(map(without_times, reports)) == list(map(without_times, whole[1]))
    assert [report["step"] for report in resumed] == [4, 8, 12, 12]  # the last one told comes again
    assert not list(fits.folder.glob("*/.workers-*"))
    assert not workers()
