"""Groups as objectives: what they are made by in a study, and what is refused before anything starts."""

import json

import pytest
from small_study import small_study

from hybridtune.data.store import recipe
from hybridtune.errors import InputError
from hybridtune.evaluate.benchmark import load_benchmark
from hybridtune.search.group_goals import check_groups, study_grouping


@pytest.fixture
def made(tmp_path):
    """Pairs of de and en, en both ways and de alone; a benchmark with sw, which has no training pair."""
    train = [
        {"group_id": "1", "queries": {"en": "a1", "de": "a2"}, "passages": {"en": "p1"}},
        {"group_id": "2", "queries": {"de": "b2"}, "passages": {"de": "p2"}},
    ]
    dev = [
        {"group_id": "8", "queries": {"en": "x", "sw": "y"}, "passages": {"en": "m", "de": "n"}},
        {"group_id": "9", "queries": {"de": "z"}, "passages": {"sw": "o"}},
    ]
    for name, rows in (("train", train), ("dev", dev)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def study(objective, low=(), **search):
        return small_study(
            data={"train": str(tmp_path / "train.jsonl")},
            benchmarks={"dev": {"path": str(tmp_path / "dev.jsonl"), "low_resource": list(low)}},
            search={"objective": objective, **search},
        )

    return study


def checked(study):
    grouping = study_grouping(study, recipe(study.data, study.encoder).read_corpus())
    check_groups(study, load_benchmark(study.benchmarks.dev), grouping)
    return grouping


def test_a_study_groups_by_its_training_data_and_its_low_resource_languages(made):
    grouping = checked(made(["multi/AP@unseen", "cross/AP@en-de", "multi/AP@sw"], ["sw"]))
    assert grouping.training_pairs == {"en-en": 1, "de-en": 1, "de-de": 1}
    assert grouping.low_resource == ("sw",)


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (
            "multi/AP@fr",
            "search.objective multi/AP@fr: no group 'fr'; there are: seen, unseen, unseen-pairs; languages: de, en, sw",
        ),
        (
            "multi/AP@low-resource",
            "search.objective multi/AP@low-resource: the group low-resource needs low-resource l",
        ),
        ("mono/AP@unseen", "has no query of unseen in the mono setting"),
        ("mono/AP@en-sw", "has no query of en-sw in the mono setting"),
        ("cross/AP@en-sw", "has no query of en-sw in the cross setting"),
        ("balanced/AP@sw", "has no query of sw in the mono setting"),
        ("multi/rank_distance@de", "has no query of de in the multi setting that defines rank_distance"),
    ],
)
def test_a_group_that_the_benchmark_lacks_is_refused_in_one_line(made, objective, message):
    with pytest.raises(InputError) as error:
        checked(made(objective))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_the_group_of_early_stopping_is_checked_too(made):
    with pytest.raises(
        InputError, match=r"search.early_stopping.metric mono/AP@sw: the benchmark .* has no query of sw"
    ):
        checked(made("multi/AP", early_stopping={"metric": "mono/AP@sw"}))
