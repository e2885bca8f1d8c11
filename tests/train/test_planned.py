"""The batches of a learned mix, without Ray: none is drawn before its segment is known, and none is lost."""

import json
from dataclasses import asdict
from threading import Event, Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_study import small_study

from hybridtune.data.corpus import Corpus
from hybridtune.data.segments import DevScores, Segment
from hybridtune.train.plan import make_plan
from hybridtune.train.planned import PlannedBatches
from hybridtune.train.progress import Clock, Progress

STEPS = 23
BOTH = ("de", "en")
PARALLEL = Corpus.from_groups(
    {"group_id": str(n), "queries": {x: f"q{n}{x}" for x in BOTH}, "passages": {x: f"p{n}{x}" for x in BOTH}}
    for n in range(40)
)
SCORES = DevScores({"mono": 0.8, "cross": 0.5, "multi": 0.4}, {"de-en": 0.5, "en-de": 0.3})


def study_of(**mix):
    return small_study(mix=mix, train={"batch_size": 4, "max_steps": STEPS, "eval_steps": 5})


LEARNED = study_of(schedule="learned")


def stream(asked):
    """Hands on a plan's own batches in place of tokens, and notes which steps were asked for."""

    def batches(plan, start, stop):
        asked.append((start, stop))
        yield from plan.batches(start, stop)

    return batches


def plain(batch):
    return batch.step, batch.kind, batch.groups.tolist(), batch.languages.tolist()


def trained(progress, until=STEPS):
    """The batches from a progress on, as a loop takes them; and the progress after each score."""
    asked, seen = [], []
    plan = make_plan(PARALLEL, LEARNED, progress.segments)
    with PlannedBatches(LEARNED, plan, progress.step, stream(asked)) as planned:
        for batch in planned.batches():
            seen.append(plain(batch))
            step = batch.step + 1
            if step == LEARNED.next_score(batch.step):
                metrics = {"step": step, "balanced/AP": step / STEPS}
                progress = progress.scored(metrics, Clock(progress).metrics(), LEARNED)
                progress = progress.with_next_segment(LEARNED.mix, SCORES)
                if step >= until:
                    break
                planned.go_on(step, progress.segments)
    return seen, progress, asked


def test_a_segment_is_streamed_only_when_the_scores_before_it_are_there():
    seen, progress, asked = trained(Progress())
    assert [step for step, *_ in seen] == list(range(STEPS))
    assert asked == [(0, 5), (5, 10), (10, 15), (15, 20), (20, 23)]
    assert [segment.start for segment in progress.segments] == [0, 5, 10, 15, 20]  # none follows the last step
    assert seen == [plain(batch) for batch in make_plan(PARALLEL, LEARNED, progress.segments).batches(0, STEPS)]


@pytest.mark.parametrize("killed", [5, 10, 20])
def test_a_training_that_was_killed_goes_on_with_the_very_next_batch(killed):
    whole, last, _ = trained(Progress())
    before, progress, _ = trained(Progress(), until=killed)
    checkpoint = json.loads(json.dumps(asdict(progress)))
    after, resumed, asked = trained(Progress.of(checkpoint))
    assert before + after == whole
    assert resumed.segments == last.segments
    assert asked[0] == (killed, min(killed + 5, STEPS))


def test_other_schedules_are_one_stream():
    asked = []
    study = study_of(schedule="linear", final_ratio=0.2)
    with PlannedBatches(study, make_plan(PARALLEL, study), 3, stream(asked)) as planned:
        steps = []
        for batch in planned.batches():
            steps.append(batch.step)
            planned.go_on(batch.step + 1, ())
    assert (steps, asked) == (list(range(3, STEPS)), [(3, STEPS)])


def test_who_waits_for_a_segment_that_never_comes_is_let_go():
    taken, ended = Event(), Event()

    def consume():
        for batch in planned.batches():
            if batch.step == 4:
                taken.set()
        ended.set()

    with PlannedBatches(LEARNED, make_plan(PARALLEL, LEARNED), 0, stream([])) as planned:
        thread = Thread(target=consume)
        thread.start()
        taken.wait()
        assert not ended.is_set()
    thread.join()
    assert ended.is_set()


def test_a_checkpoint_without_segments_is_read():
    state = asdict(Progress(step=5))
    del state["segments"]
    assert Progress.of(state) == Progress(step=5)


@given(st.integers(1, 60), st.integers(1, 20))
def test_the_next_score_is_the_next_multiple_or_the_end(steps, every):
    study = LEARNED.model_copy(
        update={"train": LEARNED.train.model_copy(update={"max_steps": steps, "eval_steps": every})}
    )
    scores = [step for step in range(1, steps + 1) if step % every == 0 or step == steps]
    assert [study.next_score(step) for step in range(steps)] == [
        min(score for score in scores if score > step) for step in range(steps)
    ]


def test_the_first_segment_has_the_studys_ratio_within_the_range():
    study = study_of(schedule="learned", mixing_ratio=1.0, learned_range=(0.1, 0.7))
    plan = make_plan(PARALLEL, study)
    assert plan.segments == (Segment(0, 0.7),)
    assert plan.requested_ratio(100) == pytest.approx(0.7)
