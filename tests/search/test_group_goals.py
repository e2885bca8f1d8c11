"""Groups as objectives: what they are made by in a study, and what is refused before anything starts."""

import json

import pytest
from pydantic import ValidationError
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

    def study(objective, low=[], data=(), mix=(), **search):  # noqa: B006 - a list, as YAML has it
        return small_study(
            data={"train": str(tmp_path / "train.jsonl"), **dict(data)},
            mix=dict(mix),
            benchmarks={"dev": {"path": str(tmp_path / "dev.jsonl")}},
            low_resource=low,
            search={"objective": objective, **search},
        )

    return study


def checked(study):
    benchmark = load_benchmark(study.benchmarks.dev)
    grouping = study_grouping(study, recipe(study.data, study.encoder).read_corpus(), [benchmark])
    check_groups(study, benchmark, grouping)
    return grouping


def test_a_study_groups_by_its_training_data_and_its_low_resource_languages(made):
    grouping = checked(made(["multi/AP@unseen", "cross/AP@en-de", "multi/AP@sw"], ["sw"]))
    assert grouping.training_pairs == {"en-en": 1, "de-en": 1, "de-de": 1}
    assert grouping.low_resource == ("sw",)


@pytest.mark.parametrize(("fewest", "languages"), [(1, ("sw",)), (2, ("sw",)), (3, ("de", "en", "sw")), (0.5, None)])
def test_low_resource_languages_may_be_those_with_few_training_pairs(made, fewest, languages):
    """There are en-en, de-de and de-en: two pairs of en and of de, none of sw, which is in the benchmark alone."""
    if languages is None:
        with pytest.raises(ValidationError):
            made("multi/AP", {"fewer_than": fewest})
        return
    assert checked(made("multi/AP@low-resource", {"fewer_than": fewest})).low_resource == languages


def test_a_low_resource_language_that_nothing_has_is_refused(made):
    with pytest.raises(InputError, match="low_resource: neither the training data nor a benchmark has a text in 'sv'"):
        checked(made("multi/AP", ["swe"]))


@pytest.mark.parametrize(
    ("sections", "pairs"),
    [
        ({"data": {"unseen_pairs": ["en-de"]}}, {"en-en": 1, "de-de": 1}),
        ({"mix": {"weights": {"de-en": 0, "en": 2}}}, {"en-en": 1, "de-de": 1}),
        ({"mix": {"data_set_weights": {"train": 0}}, "space": {"data_set_weights.train": {"choice": [0, 1]}}}, None),
        ({"mix": {"weights": {"de-en": 0}}, "space": {"weights": {"choice": [{}, {"de-en": 0}]}}}, None),
    ],
)
def test_what_a_study_never_draws_is_unseen(made, sections, pairs):
    study = made(["multi/AP", "cross/AP@unseen"], **{"arms": "rerun", **sections})
    assert checked(study).training_pairs == (pairs or {"en-en": 1, "de-en": 1, "de-de": 1})


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
