"""The contestants that come out of the arms, and what is trained after a search to complete them."""

from dataclasses import replace

import pytest
from small_study import small_study

from hybridtune.config.names import contestant_name
from hybridtune.search.arms import (
    Reference,
    arm_sizes,
    contestants,
    expected_trials,
    most_reruns,
    next_arm,
    reference,
    reruns,
    stops_early,
)
from hybridtune.storage.trial_rows import TrialRow

GOAL = "balanced/AP"
SPACE = {"mixing_ratio": {"uniform": [0.0, 1.0]}, "temperature": {"loguniform": [0.01, 0.2]}}
RATIOS = {"mono-only": 1.0, "half-half": 0.5, "cross-only": 0.0}


def study_of(arms="searched", space=SPACE, **search):
    return small_study(train={"temperature": 0.05}, search={"arms": arms, "space": space, **search})


def row(number, arm, value, temperature=0.1, ratio=0.3, status="done", proposed="sampler", **values):
    given = {"mix.mixing_ratio": RATIOS.get(arm, ratio), "train.temperature": temperature, **values}
    return TrialRow(f"{number:04d}", number, arm, given, {GOAL: value}, status, proposed=proposed)


SEARCHED = [
    row(0, "mono-only", 0.2, temperature=0.05, proposed="file"),
    row(1, "half-half", 0.4, temperature=0.05, proposed="file"),
    row(2, "cross-only", 0.3, temperature=0.05, proposed="file"),
    row(3, "tuned", 0.5),
    row(4, "mono-only", 0.25),
    row(5, "half-half", 0.55, temperature=0.02),
    row(6, "cross-only", 0.9, status="stopped early"),
    row(7, "tuned", 0.6, temperature=0.12),
]


def trained(one, number, value=0.5, status="done"):
    return TrialRow(one.id, number, one.arm, one.values, {GOAL: value}, status, proposed="rerun")


def ids(found):
    return {name: one.id for name, one in found.items()}


def test_a_searched_study_lacks_one_training():
    (lacking,) = reruns(study_of(), SEARCHED)
    assert (lacking.id, lacking.arm) == ("0007-half-half", "half-half")
    assert lacking.values == {"mix.mixing_ratio": 0.5, "train.temperature": 0.12}
    assert reference(study_of(), SEARCHED) == Reference("half-half", None, "file-values")
    rows = [*SEARCHED, trained(lacking, 8, 0.58)]
    assert reruns(study_of(), rows) == []
    arms = {"tuned": "0007", "mono-only": "0004", "half-half": "0005", "cross-only": "0002"}
    assert ids(contestants(study_of(), rows)) == {**arms, "same-values": "0007-half-half", "file-values": "0001"}
    assert reference(study_of(), rows) == Reference("half-half", "same-values", "file-values")
    assert ids(contestants(study_of(), rows))["half-half"] == "0005"  # a rerun is no trial of its arm's search


def test_a_contestant_that_is_already_there_has_one_name():
    rows = [replace(one, metrics={GOAL: 0.1}) if one.id == "0005" else one for one in SEARCHED]
    rows += [trained(one, 8) for one in reruns(study_of(), rows)]
    found = contestants(study_of(), rows)
    assert (found["half-half"].id, found["same-values"].id) == ("0001", "0007-half-half")
    assert "file-values" not in found
    assert reference(study_of(), rows) == Reference("half-half", "same-values", "half-half")


def test_a_file_trial_that_failed_is_trained_after_the_search():
    rows = [replace(one, status="failed") if one.id == "0001" else one for one in SEARCHED]
    assert [one.id for one in reruns(study_of(), rows)] == ["0007-half-half", "file-half-half"]


def test_the_cheap_way_trains_three_ratios_and_then_the_strongest_with_the_files_values():
    study, rows = study_of("rerun"), [row(0, "tuned", 0.5), row(1, "tuned", 0.6, temperature=0.12)]
    three = reruns(study, rows)
    assert [one.id for one in three] == ["0001-mono-only", "0001-half-half", "0001-cross-only"]
    assert {one.values["train.temperature"] for one in three} == {0.12}
    rows += [trained(one, 2 + n, value) for n, (one, value) in enumerate(zip(three, (0.2, 0.4, 0.55), strict=True))]
    assert [one.id for one in reruns(study, rows[:4])] == ["0001-mono-only", "0001-half-half", "0001-cross-only"][2:]
    (last,) = reruns(study, rows)
    assert (last.id, last.values) == ("file-cross-only", {"mix.mixing_ratio": 0.0})
    rows.append(trained(last, 5, 0.3))
    assert reruns(study, rows) == []
    arms = {"tuned": "0001", **{arm: f"0001-{arm}" for arm in RATIOS}}
    assert ids(contestants(study, rows)) == {**arms, "file-values": "file-cross-only"}
    assert reference(study, rows) == Reference("cross-only", "cross-only", "file-values")


def test_a_rerun_that_failed_does_not_hold_up_the_others():
    study, rows = study_of("rerun"), [row(0, "tuned", 0.5)]
    rows += [trained(one, 1 + n, status="failed" if n == 1 else "done") for n, one in enumerate(reruns(study, rows))]
    assert [one.id for one in reruns(study, rows)] == ["0000-half-half", "file-mono-only"]
    assert set(contestants(study, rows)) == {"tuned", "mono-only", "cross-only"}


def test_of_another_winner_the_earlier_reruns_do_not_count():
    study, rows = study_of("rerun"), [row(0, "tuned", 0.5)]
    rows += [trained(one, 1 + n) for n, one in enumerate(reruns(study, rows))]
    rows.append(row(9, "tuned", 0.8, temperature=0.03))
    assert [one.id for one in reruns(study, rows)] == ["0009-mono-only", "0009-half-half", "0009-cross-only"]


def test_without_arms_there_is_the_tuned_trial_alone():
    study, rows = study_of("none"), [row(0, "tuned", 0.5)]
    assert (reruns(study, rows), reference(study, rows), ids(contestants(study, rows))) == ([], None, {"tuned": "0000"})
    assert reruns(study_of(), [row(0, "tuned", 0.5, status="failed")]) == []


def test_a_fixed_ratio_beside_a_schedule_is_constant():
    study = small_study(
        mix={"schedule": "linear", "final_ratio": 0.2},
        search={"arms": "rerun", "space": {**SPACE, "final_ratio": {"uniform": [0, 1]}}},
    )
    rows = [row(0, "tuned", 0.5, **{"mix.final_ratio": 0.7})]
    values = {"mix.mixing_ratio": 1.0, "mix.schedule": "constant", "train.temperature": 0.1}
    assert reruns(study, rows)[0].values == values
    assert study.with_values(values).mix.schedule == "constant"


@pytest.mark.parametrize(
    ("arms", "space", "sampler", "sizes", "after"),
    [
        ("searched", SPACE, "tpe", {**dict.fromkeys(RATIOS, 9), "tuned": 9}, 1),
        ("searched", {"mixing_ratio": SPACE["mixing_ratio"]}, "tpe", {**dict.fromkeys(RATIOS, 1), "tuned": 9}, 1),
        ("rerun", SPACE, "tpe", {"tuned": 9}, 4),
        ("none", SPACE, "tpe", {"tuned": 9}, 0),
        ("rerun", {"mixing_ratio": {"choice": [0.2, 0.8]}}, "grid", {"tuned": 2}, 4),
    ],
)
def test_what_a_study_will_train(arms, space, sampler, sizes, after):
    study = study_of(arms, space, sampler=sampler, trials=9)
    assert arm_sizes(study) == sizes
    assert (expected_trials(study), most_reruns(study)) == (sum(sizes.values()), after)
    assert stops_early(study) is (max(sizes.values()) >= 8)


def test_turns_are_alike_at_every_moment():
    sizes, counts = {"a": 3, "b": 1, "c": 3}, {}
    order = []
    while (arm := next_arm(sizes, counts)) is not None:
        counts[arm] = counts.get(arm, 0) + 1
        order.append(arm)
    assert order == ["a", "b", "c", "a", "c", "a", "c"]


LEARNED_SPACE = {**SPACE, "schedule": {"choice": ["constant", "linear"]}, "final_ratio": {"uniform": [0.0, 1.0]}}


@pytest.mark.parametrize("arms", ["searched", "rerun", "none"])
def test_a_learned_mix_is_trained_once_with_each_set_of_other_values(arms):
    study = study_of(arms, learned=True)
    rows = SEARCHED if arms == "searched" else [row(7, "tuned", 0.6, temperature=0.12)]
    assert most_reruns(study) == most_reruns(study_of(arms)) + 2
    lacking = {one.id: one for one in reruns(study, rows) if one.arm == "learned"}
    assert {name: one.values for name, one in lacking.items()} == {
        "0007-learned": {"mix.schedule": "learned", "train.temperature": 0.12},
        "file-learned": {"mix.schedule": "learned"},
    }
    rows = [*rows, *(trained(one, 20 + n) for n, one in enumerate(lacking.values()))]
    assert not [one for one in reruns(study, rows) if one.arm == "learned"]
    found = ids(contestants(study, rows))
    assert (found["learned"], found["learned-file-values"], found["tuned"]) == ("0007-learned", "file-learned", "0007")
    assert "learned" not in ids(contestants(study_of(arms), rows))
    assert contestant_name("learned-file-values", "learned") == "learned, file's values"


def test_a_learned_mix_takes_no_ratio_and_no_schedule_from_the_best_trial():
    study = study_of("none", LEARNED_SPACE, learned=True)
    values = {"mix.schedule": "linear", "mix.final_ratio": 0.9}
    rows = [row(0, "tuned", 0.6, temperature=0.05, **values)]  # its other values are those of the file
    (only,) = reruns(study, rows)  # that with the file's values would be the same training
    assert only.values == {"mix.schedule": "learned", "train.temperature": 0.05}
    rows.append(trained(only, 1))
    assert reruns(study, rows) == []
    assert ids(contestants(study, rows)) == {"tuned": "0000", "learned": "0000-learned"}


def test_a_learned_trial_of_the_search_is_not_trained_again():
    space = {"schedule": {"choice": ["constant", "learned"]}}
    rows = [TrialRow("0000", 0, "tuned", {"mix.schedule": "learned"}, {GOAL: 0.6}, "done")]
    study = study_of("none", space, learned=True)
    assert reruns(study, rows) == []
    assert ids(contestants(study, rows)) == {"tuned": "0000"}
