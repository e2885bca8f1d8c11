"""Constraints as a study file writes them: what is read, what is written back, what is refused and how."""

import pytest
from small_study import small_study

from hybridtune.config.constraints import Constraint, parse_constraint
from hybridtune.config.study import Study
from hybridtune.config.validation import check
from hybridtune.errors import InputError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mono/AP >= half-half - 0.005", Constraint("mono/AP", True, -0.005, "half-half")),
        ("mono/AP>=mono-only", Constraint("mono/AP", True, 0.0, "mono-only")),
        ("multi/rank_distance <= 300", Constraint("multi/rank_distance", False, 300.0)),
        ("multi/rank_distance <= cross-only + 1e1", Constraint("multi/rank_distance", False, 10.0, "cross-only")),
        ("multi/rank_distance <= 5.47222222222223", Constraint("multi/rank_distance", False, 5.47222222222223)),
        (" cross/nDCG@10@low-resource >= .5 ", Constraint("cross/nDCG@10@low-resource", True, 0.5)),
    ],
)
def test_a_constraint_is_read_and_written_back(text, expected):
    assert parse_constraint(text) == expected
    assert parse_constraint(str(expected)) == expected


@pytest.mark.parametrize("text", ["mono/AP", "mono/AP > 0.5", "mono/AP >= best - 0.1", "0.5 <= mono/AP", "x >= tuned"])
def test_what_is_written_otherwise_is_answered_with_the_form(text):
    with pytest.raises(ValueError, match="is no constraint; write METRIC >= NUMBER"):
        parse_constraint(text)


def study_of(**search):
    return small_study(search=search)


def test_one_constraint_needs_no_list_and_none_stands_twice():
    assert study_of(constraints="mono/AP >= half-half").search.constraints == ["mono/AP >= half-half"]
    with pytest.raises(ValueError, match="stands twice"):
        study_of(constraints=["mono/AP >= .50", "mono/AP >= 0.5"])


@pytest.mark.parametrize("arms", ["rerun", "none"])
def test_a_contestant_that_the_search_does_not_train_is_refused(arms):
    tree = {"name": "s", "data": {"train": "newsroom:train"}, "benchmarks": {"dev": {"path": "newsroom:dev"}}}
    tree["search"] = {"arms": arms, "constraints": ["mono/AP >= half-half - 0.005"]}
    with pytest.raises(InputError, match=r"half-half is trained after the search .* set search.arms to searched"):
        check(Study, tree, "study.yaml")
    assert study_of(arms=arms, constraints=["multi/rank_distance <= 300"])
