"""A plan that goes on from a state draws what it draws from step 0; a state that is not its own is left alone."""

import numpy as np
import pytest

from hybridtune.data.corpus import Corpus
from hybridtune.data.plan import HybridPlan
from hybridtune.data.plan_states import PlanStates
from hybridtune.data.readers.native import Group
from hybridtune.data.segments import Segment

STEPS, EVERY = 60, 4


def group(number):
    """A group in some of three languages; some share a passage, and some have no query."""
    codes = [("de",), ("en", "de"), ("de", "en", "sw"), ("sw", "en")][number % 4]
    passages = {code: f"p{number // 2 if number % 5 == 0 else number} {code}" for code in codes}
    return Group(str(number), "", {} if number % 7 == 0 else {code: f"q{number} {code}" for code in codes}, passages)


CORPUS = Corpus.from_groups([group(number) for number in range(50)])
PLANS = {
    "plain": {},
    "one pair a batch": {"cross_batch": "single_pair", "batch_size": 4},
    "align batches": {"align_share": 0.3, "mixing_ratio": 0.7},
    "a schedule": {"schedule": "cosine", "final_ratio": 0.1, "steps": STEPS, "second_queries": True},
    "weights": {"weights": {"de": 0.5, "en-sw": 3.0}, "answer_sets": "ignored"},
}


def plan_of(**settings):
    return HybridPlan(CORPUS, **{"batch_size": 8, "seed": 3, "mixing_ratio": 0.4, **settings})


def segments_of(second):
    plan = plan_of(schedule="learned")
    return plan.with_segments([Segment(0, 0.4), Segment(20, 0.6, {"de-de": 0.5, "en-de": second}), Segment(40, 0.2)])


def drawn(batches):
    return [
        (one.step, one.kind, one.groups.tolist(), one.languages.tolist(), np.array(one.second_queries).tolist())
        for one in batches
    ]


def files_of(folder):
    return sorted(folder.glob("plan_*.safetensors"))


@pytest.mark.parametrize("name", [*PLANS, "segments"])
def test_any_start_gives_the_same_batches_from_a_state(tmp_path, name):
    plan = segments_of(2.0) if name == "segments" else plan_of(**PLANS[name])
    states, whole = PlanStates(str(tmp_path), EVERY, writes=True), drawn(plan.batches(0, STEPS))
    assert drawn(plan.batches(0, STEPS, states)) == whole
    reads = PlanStates(str(tmp_path), EVERY, writes=False)
    for start in range(STEPS):
        found = reads.before(start, plan._digest)
        assert (found[0] if found else 0) in (0, start // EVERY * EVERY)
        assert drawn(plan.batches(start, STEPS, reads)) == whole[start:]
    assert reads.before(STEPS - 1, plan._digest)[0] == STEPS - EVERY
    assert len(files_of(tmp_path)) == 10  # the latest
    states.clear()
    assert not files_of(tmp_path)


def test_a_training_that_goes_on_adds_states_of_its_own(tmp_path):
    plan, states = plan_of(), PlanStates(str(tmp_path), EVERY, writes=True)
    assert drawn(plan.batches(0, 14, states)) + drawn(plan.batches(14, 40, states)) == drawn(plan.batches(0, 40))
    assert [int(file.name.split("_")[1]) for file in files_of(tmp_path)] == list(range(EVERY, 40, EVERY))


@pytest.mark.parametrize("other", [{"seed": 4}, {"mixing_ratio": 0.5}, {"batch_size": 4}, {"weights": {"de": 2.0}}])
def test_the_state_of_another_plan_is_left_alone(tmp_path, other):
    list(plan_of().batches(0, 20, PlanStates(str(tmp_path), EVERY, writes=True)))
    reads, plan = PlanStates(str(tmp_path), EVERY, writes=False), plan_of(**other)
    assert reads.before(19, plan._digest) is None
    assert drawn(plan.batches(19, 24, reads)) == drawn(plan.batches(19, 24))


def test_a_state_counts_as_far_as_the_segments_are_the_same(tmp_path):
    list(segments_of(2.0).batches(0, 40, PlanStates(str(tmp_path), EVERY, writes=True)))
    reads, plan = PlanStates(str(tmp_path), EVERY, writes=False), segments_of(5.0)  # scored anew, a little differently
    assert reads.before(39, plan._digest)[0] == 20
    assert drawn(plan.batches(39, 50, reads)) == drawn(plan.batches(39, 50))


@pytest.mark.parametrize(
    "damage", [lambda content: content[:-3], lambda content: content[:-1] + b"\7", lambda content: b""]
)
def test_a_damaged_state_costs_time_alone(tmp_path, damage):
    plan, states = plan_of(), PlanStates(str(tmp_path), EVERY, writes=True)
    list(plan.batches(0, 20, states))
    last = files_of(tmp_path)[-1]
    last.write_bytes(damage(last.read_bytes()))
    assert states.before(19, plan._digest)[0] == 12
    assert drawn(plan.batches(19, 24, states)) == drawn(plan.batches(19, 24))


def test_states_are_some_seconds_of_drawing_apart_and_not_many_between_two_scores():
    assert PlanStates.of("", batch_size=1024, eval_steps=100, writes=True).every == 1024
    assert PlanStates.of("", batch_size=1024, eval_steps=20_000, writes=True).every == 5_000
