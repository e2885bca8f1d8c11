"""What a screening is said to be worth: Kendall's tau within arms, one line, and a table."""

import dataclasses
import itertools
import random

import pytest
from scipy.stats import kendalltau
from small_study import small_study

from hybridtune.report.page import page
from hybridtune.report.record import read_record
from hybridtune.report.requested_vs_realised import requested_vs_realised
from hybridtune.report.screening import order_agreement, screening_table, screening_words
from hybridtune.storage.screening_rows import SCREENING, Screening, trained_in_both, write_screening
from hybridtune.storage.trial_rows import TrialRow, write_running

GOAL = "balanced/AP"


def row(number, value, arm="tuned", status="done", point=None, screened=True):
    name = f"screened-{number:04d}" if screened else f"{number:04d}"
    values = {"train.temperature": (number if point is None else point) / 100}
    metrics = {GOAL: value, "step": 12, "best_step": 12}
    return TrialRow(name, number, arm, values, metrics, status, seconds=60.0, began=100.0 * number, proposed="random")


def both(few, whole, arms=None):
    arms = arms or ["tuned"] * len(few)
    screened = [row(n, value, arm) for n, (value, arm) in enumerate(zip(few, arms, strict=True))]
    trials = [row(n, value, arm, screened=False) for n, (value, arm) in enumerate(zip(whole, arms, strict=True))]
    return screened, trials


def tau(screened, trials):
    same, other, pairs = order_agreement(screened, trials, GOAL)
    return (same - other) / pairs


@pytest.mark.parametrize("count", [2, 3, 4])
def test_it_is_kendalls_tau_of_one_arm_by_exhaustion(count):
    few = [n / 10 for n in range(count)]
    for whole in itertools.permutations(few):
        assert tau(*both(few, whole)) == pytest.approx(kendalltau(few, whole).statistic)


def test_arms_are_not_compared_with_each_other_and_any_order_of_rows_is_the_same():
    draw = random.Random(0)
    arms = ["tuned", "half-half"] * 6
    few, whole = ([draw.random() + 9 * (arm == "tuned") for arm in arms] for _ in range(2))
    screened, trials = both(few, whole, arms)
    same, other, pairs = order_agreement(screened, trials, GOAL)
    by_arm = [order_agreement([r for r in screened if r.arm == arm], trials, GOAL) for arm in ("tuned", "half-half")]
    assert (same, other, pairs) == tuple(map(sum, zip(*by_arm, strict=True)))
    assert pairs == 2 * 15
    draw.shuffle(screened)
    draw.shuffle(trials)
    assert order_agreement(screened, trials, GOAL) == (same, other, pairs)


def test_equals_are_in_neither_order():
    assert order_agreement(*both([0.1, 0.1, 0.2], [0.1, 0.2, 0.3]), GOAL) == (2, 0, 3)


def test_only_what_ended_in_both_with_the_same_values_in_the_same_arm_counts():
    screened, trials = both([0.1, 0.2, 0.3, 0.4], [0.1, 0.2, 0.3, 0.4])
    screened[0].status, trials[1].status = "stopped early", "out of budget"
    trials[2].arm = "half-half"
    assert [(one.id, other.id) for one, other in trained_in_both(screened, trials)] == [("screened-0003", "0003")]
    assert order_agreement(screened, trials, GOAL) == (0, 0, 0)


STUDY = small_study(train={"max_steps": 12}, search={"screening": {"layers": 4, "trials": 6, "keep": 2}})


def test_the_line_grows_with_the_study():
    screened, trials = both([0.4, 0.3, 0.2], [0.5, 0.6, 0.1])
    screened[2].status = "running"
    assert screening_words(STUDY, None, [], []) == "screening: 0 trainings with 4 layers so far"
    running = screening_words(STUDY, None, screened, [])
    assert running == "screening: 3 trainings with 4 layers so far (2 done, 1 running; 36 steps in 3 min)"
    screened[2].status = "done"
    ended = Screening(4, 12, {"tuned": {one.id: one.values for one in screened[:2]}})
    line = "screening: 3 trainings with 4 of 12 layers (3 done; 36 steps in 3 min); 2 points of them begin the search"
    assert screening_words(STUDY, ended, screened, []) == line
    assert screening_words(STUDY, ended, screened, trials) == (
        f"{line}; 3 points came to the end with 4 and with 12 layers, and 2 of 3 pairs of one arm stand in the same "
        "order on balanced/AP in both (Kendall's tau 0.33)"
    )
    assert screening_words(small_study(), None, [], trials) == ""


def test_the_table_has_a_training_a_row_with_the_trial_of_the_same_values():
    screened, trials = both([0.4, 0.3, 0.2], [0.5, 0.6, 0.1])
    table = screening_table(STUDY, Screening(4, 12, {"tuned": {screened[0].id: {}}}), screened, trials[:1])
    assert [row[0] for row in table.rows] == ["screened-0000", "screened-0001", "screened-0002"]
    assert [row[5] for row in table.rows] == ["yes", "no", "no"]
    assert [row[6] for row in table.rows] == ["trial 0", None, None]
    assert [row[7].text if row[7] else None for row in table.rows] == ["0.5000", None, None]
    assert table.note.startswith("Screening: 3 trainings with 4 of 12 layers")
    assert screening_table(STUDY, None, [], trials) is None


def test_the_page_shows_it_and_a_screening_that_runs(study_copy):
    text = (study_copy / "study.yaml").read_text(encoding="utf-8")
    assert "screening: null" in text
    assert "The screening, on the dev benchmark" not in page(read_record(study_copy))
    asked = "screening: {layers: 1, trials: 3, keep: 1}"
    (study_copy / "study.yaml").write_text(text.replace("screening: null", asked), encoding="utf-8")
    (study_copy / SCREENING).mkdir()
    screened, _ = both([0.4, 0.3], [0, 0])
    screened[1].status = "running"
    write_running(study_copy / SCREENING, screened[1:])
    (study_copy / "result.json").unlink()
    record = read_record(study_copy)
    assert (record.state, record.screening) == ("running", None)
    assert [one.id for one in record.screened] == ["screened-0001"]
    write_screening(study_copy, Screening(1, 2, {"tuned": {}}))
    record = read_record(study_copy)
    assert "The screening, on the dev benchmark" in page(record)
    cells = {row[0]: row[1:] for row in requested_vs_realised(record).rows}
    assert cells["screened trainings"] == ["3 an arm, of 1 layers", "1 running; 12 steps"]


def test_a_budget_counts_it_in_the_report(finished_study):
    record = read_record(finished_study)
    study = record.study.model_copy(update={"search": record.study.search.model_copy(update={"step_budget": 9000})})
    used = [
        {row[0]: row[2] for row in requested_vs_realised(dataclasses.replace(record, study=study, screened=some)).rows}
        for some in ([], both([0.1, 0.2], [0, 0])[0])
    ]
    before, after = (int(one["step budget"].replace(",", "")) for one in used)
    assert after == before + 24
