"""A study that learns the scores of its data says how many there are, and is refused where there are none."""

import json

import pytest

from hybridtune.config.study import load_study
from hybridtune.errors import InputError
from hybridtune.study.preflight import run_preflight
from hybridtune.study.summary import notices

LEARN = {"distil": "kl", "distil_from": "data"}


def pairs(count, name, scored=0, **more):
    """Rows of FlagEmbedding, of which the first have scores."""
    rows = [
        {"query": f"{name} question {n}", "pos": [f"{name} answer {n}"], "neg": [f"{name} wrong {n}"]}
        for n in range(count)
    ]
    scores = {"pos_scores": [9.5], "neg_scores": [-1]}
    return [{**row, **scores, **more} if n < scored else row for n, row in enumerate(rows)]


@pytest.fixture
def prepared(study_file, tmp_path):
    """Prepares a study of data sets, each a list of rows, and of the benchmark `newsroom:dev`."""

    def make(train, space=None, **data_sets):
        entries = []
        for name, rows in data_sets.items():
            path = tmp_path / f"{name}.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
            entries.append({"path": str(path), "name": name, "language": "en"})
        sections = {
            "data": {"train": entries, "on_wrong_language": "warn"},
            "mix": {"mixing_ratio": 1.0},
            "train": {"batch_size": 4, "max_steps": 20, **train},
            "search": {"space": space or {"temperature": {"loguniform": [0.01, 0.1]}}, "arms": "none"},
        }
        return run_preflight(load_study(study_file(**sections)), searching=True)

    return make


def told(preflight):
    return [line for line in notices(preflight) if "distil" in line]


@pytest.mark.parametrize(
    ("scored", "line"),
    [
        (9, "train.distil_from data: 9 of 9 pairs have a score of a hard negative"),
        (
            4,
            "train.distil_from data: 4 of 9 pairs have a score of a hard negative; the others add nothing to "
            "distil_loss",
        ),
    ],
)
def test_pairs_with_scores_are_counted(prepared, scored, line):
    assert told(prepared(LEARN, news=pairs(9, "news", scored))) == [line]


def test_several_data_sets_are_told_apart(prepared):
    assert told(prepared(LEARN, news=pairs(9, "news", 9), faq=pairs(7, "faq"))) == [
        "train.distil_from data: 9 of 16 pairs have a score of a hard negative (news 9 of 9, faq 0 of 7); the others "
        "add nothing to distil_loss"
    ]


def test_a_study_that_learns_no_scores_says_nothing_of_them(prepared):
    assert told(prepared({}, news=pairs(9, "news", 4))) == []
    assert prepared({}, news=pairs(9, "news", 4)).study.teacher_key is None


@pytest.mark.parametrize(
    ("train", "space"),
    [
        (LEARN, None),
        ({"distil_from": "data"}, {"distil": {"choice": [None, "margin_mse"]}}),
        ({}, {"distil": {"choice": [None, "kl"]}, "distil_from": {"choice": ["data"]}}),
    ],
)
def test_scores_that_the_data_lack_are_refused_by_the_names_of_the_data_sets(prepared, train, space):
    rows = pairs(9, "faq", 9, neg=[])  # scores of nothing
    for row in rows:
        row["neg_scores"] = []
    with pytest.raises(InputError) as caught:
        prepared(train, space, news=pairs(9, "news"), faq=rows)
    assert str(caught.value).startswith(
        "train.distil_from data: no hard negative of data.train (news, faq) has a score: pos_scores and neg_scores, "
    )
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("space", [None, {"negatives": {"int": [0, 2]}}])
def test_without_hard_negatives_in_a_batch_there_is_nothing_to_learn(prepared, space):
    with pytest.raises(InputError, match=r"train\.distil_from data: .* train\.negatives 0 leaves them out"):
        prepared({**LEARN, "negatives": 0 if space is None else 1}, space, news=pairs(9, "news", 9))


def test_scores_of_the_data_need_no_teacher_and_those_of_a_teacher_do(prepared):
    found = prepared(LEARN, news=pairs(9, "news", 9))
    assert (found.study.teacher_key, found.plan.scored_by_teacher) == (None, False)
    with pytest.raises(InputError, match=r"train\.distil kl: needs an encoder .* set train\.distil_from to data"):
        prepared({"distil": "kl"}, news=pairs(9, "news", 9))
    with pytest.raises(InputError, match=r"train\.distil kl: needs an encoder"):
        prepared({"distil": "kl"}, {"distil_from": {"choice": ["data", "teacher"]}}, news=pairs(9, "news", 9))


def test_the_command_line_counts_and_refuses_before_anything_is_written(call, study_file, tmp_path):
    path = tmp_path / "news.jsonl"
    study = study_file(
        data={"train": {"path": str(path), "language": "en"}, "on_wrong_language": "warn"},
        mix={"mixing_ratio": 1.0},
        train={"batch_size": 4, "max_steps": 20, **LEARN},
        search={"arms": "none", "space": {"temperature": {"loguniform": [0.01, 0.1]}}},
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in pairs(9, "news", 5)))
    code, out, _ = call("run", study, "--dry-run")
    assert code == 0
    assert "train.distil_from data: 5 of 9 pairs have a score of a hard negative" in " ".join(out.split())
    path.write_text("".join(json.dumps(row) + "\n" for row in pairs(9, "news")))
    before = sorted(tmp_path.rglob("*"))
    code, out, error = call("run", study, "--out", tmp_path / "out")
    assert (code, error.count("\n")) == (2, 1)
    assert "no hard negative of data.train (news) has a score" in error
    assert sorted(tmp_path.rglob("*")) == before
