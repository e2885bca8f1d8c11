"""A study's soups: scored once, kept, made anew of other trials, and written as a model that says what it is."""

import dataclasses
import json
import re
import shutil

import numpy as np
import pytest
import torch
from damaging import WAYS
from made_study import LANGUAGES, made_scores
from object_store import use_memory_store
from safetensors.torch import load_file, save_file
from small_study import small_study
from study_trials import made_trials

from hybridtune.callbacks import StudyCallback
from hybridtune.config.fields import Encoder
from hybridtune.config.study import load_study
from hybridtune.data.training_texts import TrainingTexts
from hybridtune.errors import InputError
from hybridtune.metrics.metrics import Scores
from hybridtune.model.folder import language_vectors_for, with_folder_settings
from hybridtune.model.language_vectors import FILE, fit_language_vectors
from hybridtune.storage.files import join, upload
from hybridtune.storage.manifests import MANIFEST, seal
from hybridtune.storage.soup_rows import SCORES, SoupRow, damaged_soups, read_soups, soup_content
from hybridtune.storage.trial_rows import TrialRow
from hybridtune.study.folder import open_study_folder
from hybridtune.study.soups import (
    Kitchen,
    chosen_soup,
    score_repeats,
    score_soups,
    soup_result,
    soup_scores,
    write_soup,
)
from hybridtune.study.trial_model import find_trial, load_trial

GOAL = "balanced/AP"
ENDS = ("mono-only", "cross-only")


class Service:
    """Stands in for the evaluators: notes the weights that it is handed, and how they are pooled."""

    def __init__(self):
        self.encoded = []

    def encode(self, state, pooling=None):
        self.encoded.append((float(state["weight"][0]), pooling))
        return float(state["weight"][0])

    def score_vectors(self, vectors, per_query_file=None, measures=(), about=None):
        scores = made_scores(int(100 * vectors), 30, 0.5, LANGUAGES, per_query_file.parent, about="d1")
        (per_query_file.parent / SCORES).unlink()  # which the caller writes
        return Scores(**scores)


class Progress(StudyCallback):
    def __init__(self):
        self.done, self.lines, self.damaged = [], [], []

    def on_damage(self, trial, step, goes_on_from, text):
        self.damaged.append(text)

    def on_phase_progress(self, phase, done, total):
        self.done.append((done, total))

    def on_message(self, text):
        self.lines.append(text)


def trial(place, number, arm, weight, values=()):
    checkpoint = place / f"{number:04d}" / "checkpoint_0000030"
    checkpoint.mkdir(parents=True, exist_ok=True)
    save_file({"weight": torch.full((3,), float(weight))}, checkpoint / "model.safetensors")
    seal(checkpoint)
    inside = str(checkpoint.relative_to(place))
    return TrialRow(f"{number:04d}", number, arm, dict(values), {GOAL: 0.5}, "done", inside)


@pytest.fixture
def made(tmp_path):
    """Makes a kitchen of a study that asks for so many soups, of trials with the weights 0 and 1."""

    def kitchen(soups=3, folder="study", trials=0, **changes):
        who = {"mono-only": trial(tmp_path, 0, "mono-only", 0), "cross-only": trial(tmp_path, 1, "cross-only", 1)}
        study = small_study(search={"soups": soups, "soup_trials": trials})
        (tmp_path / folder).mkdir(exist_ok=True)
        return Kitchen(study, {**who, **changes}, tmp_path / folder, str(tmp_path))

    return kitchen


def scored(kitchen, digest="d1", seen=None):
    service, started = Service(), []

    def start():
        started.append(service)
        return service

    rows = score_soups(kitchen, {GOAL: "max"}, digest, start, seen or Progress())
    return rows, [weight for weight, _ in service.encoded], len(started)


def test_the_inner_points_of_the_grid_are_scored_in_one_go_and_kept(made):
    kitchen, seen = made(3), Progress()
    rows, encoded, started = scored(kitchen, seen=seen)
    assert encoded == [0.25, 0.5, 0.75]
    assert started == 1
    assert [row.shares["cross-only"] for row in rows] == [0.25, 0.5, 0.75]
    assert rows == read_soups(kitchen.folder)
    assert seen.done == [(0, 3), (1, 3), (2, 3), (3, 3)]
    first = rows[0]
    assert (first.id, first.weights) == ("0000", {"mono-only": 3.0, "cross-only": 1.0})
    assert first.models == {"mono-only": "0000", "cross-only": "0001"}
    assert first.label == "0.75 mono-only + 0.25 cross-only"
    assert first.metrics == soup_scores(kitchen.folder, first).metrics
    assert (kitchen.folder / "soups" / "0000" / "per_query.parquet").is_file()


def test_a_study_that_goes_on_scores_no_soup_twice(made):
    kitchen = made(3)
    first, *_ = scored(kitchen)
    (kitchen.folder / "soups" / "0001" / SCORES).unlink()  # written last: it was cut off there
    seen = Progress()
    again, encoded, _ = scored(kitchen, seen=seen)
    assert encoded == [0.5]
    assert seen.done == [(1, 3), (3, 3)]
    assert again == first
    last, encoded, started = scored(kitchen)
    assert (last, encoded, started) == (first, [], 0)  # no evaluator was started for nothing


def test_checkpoints_at_a_url_are_fetched_and_averaged(made, tmp_path, monkeypatch):
    use_memory_store(monkeypatch)
    monkeypatch.setenv("HYBRIDTUNE_CACHE", str(tmp_path / "cache"))
    kitchen = dataclasses.replace(made(1), location="memory://bucket/study?region=none")
    for row in kitchen.contestants.values():
        upload(tmp_path / row.checkpoint, join(kitchen.location, row.checkpoint))
        shutil.rmtree(tmp_path / row.checkpoint)
    (row,), encoded, _ = scored(kitchen)
    assert encoded == [0.5]
    assert set(row.checkpoints.values()) == {"checkpoint_0000030"}


def test_other_trials_another_benchmark_or_another_grid_are_scored_anew(made, tmp_path):
    kitchen = made(1)
    scored(kitchen)
    other = made(1, **{"cross-only": trial(tmp_path, 2, "cross-only", 3)})
    (row,), encoded, _ = scored(other)
    assert encoded == [1.5]
    assert row.models["cross-only"] == "0002"
    (row,), encoded, _ = scored(other, "d2")
    assert (encoded, row.benchmark) == ([1.5], "d2")
    rows, encoded, _ = scored(made(3), "d2")
    assert encoded == [0.25, 0.5, 0.75]
    rows, encoded, _ = scored(made(0), "d2")
    assert (rows, encoded) == ([], [])
    assert list((kitchen.folder / "soups").iterdir()) == []  # nothing is left of soups that are none any more


def test_without_both_ends_or_with_two_poolings_there_is_no_soup_and_a_line_says_why(made, tmp_path):
    kitchen, seen = made(2), Progress()
    del kitchen.contestants["cross-only"]
    assert scored(kitchen, seen=seen)[:2] == ([], [])
    assert seen.lines == ["no soups are scored: cross-only did not come to the end"]
    seen = Progress()
    apart = made(2, **{"cross-only": trial(tmp_path, 3, "cross-only", 1, {"encoder.pooling": "cls"})})
    assert scored(apart, seen=seen)[:2] == ([], [])
    assert seen.lines == ["no soups are scored: they pool apart: mono-only by mean, cross-only by cls"]


def test_the_trials_own_pooling_scores_the_soup(made, tmp_path):
    values = {"encoder.pooling": "cls"}
    both = {name: trial(tmp_path, n, name, n, values) for n, name in enumerate(("mono-only", "cross-only"))}
    service = Service()
    score_soups(made(1, **both), {GOAL: "max"}, "d1", lambda: service, Progress())
    assert service.encoded == [(0.5, "cls")]


def test_proposed_soups_come_after_the_grid_learn_from_it_and_are_the_same_after_a_restart(made, tmp_path):
    others = {name: trial(tmp_path, n, name, n) for n, name in ((2, "tuned"), (3, "half-half"))}
    rows, encoded, _ = scored(made(1, trials=4, **others))
    assert [row.proposed for row in rows] == ["grid", "equal", "sampler", "sampler", "sampler"]
    assert encoded[:2] == [0.5, 1.5]
    assert set(rows[1].shares.values()) == {0.25}
    for row, weight in zip(rows, encoded, strict=True):
        assert sum(share * int(row.models[name]) for name, share in row.shares.items()) == pytest.approx(weight)
        assert all(value == round(value, 3) > 0 for value in row.weights.values())
    cut_off = made(1, folder="again", trials=2, **others)
    first, *_ = scored(cut_off)
    assert first == rows[:3]
    resumed, encoded_then, _ = scored(made(1, folder="again", trials=4, **others))
    assert resumed == rows
    assert encoded_then == encoded[3:]


def test_the_best_soup_is_made_of_each_seeds_own_trainings_and_kept(made, tmp_path):
    kitchen, service = made(1, folder="repeats"), Service()
    kitchen.study = small_study(search={"soups": 1, "repeat_best": 3})
    repeats = {f"{arm}-s{n}": trial(tmp_path, 10 * n + k, arm, n + k) for n in (1, 2) for k, arm in enumerate(ENDS)}
    repeats |= {"mono-only-s3": trial(tmp_path, 30, "mono-only", 3)}  # the other end's training failed
    soup = row_of("0000", 0.5)
    soup = dataclasses.replace(soup, weights={"mono-only": 3.0, "cross-only": 1.0})
    found = score_repeats(kitchen, soup, repeats, lambda: service, Progress())
    assert [row.id for row in found] == ["soup-s1", "soup-s2"]
    assert [weight for weight, _ in service.encoded] == [1.25, 2.25]
    assert found[1].models == {"mono-only": "0020", "cross-only": "0021"}
    again = Service()
    assert score_repeats(kitchen, soup, repeats, lambda: again, Progress()) == found
    assert again.encoded == []


def test_a_study_that_has_ended_goes_on_where_its_soups_are_others_and_stays_the_same_study(tmp_path):
    folder = tmp_path / "study"
    open_study_folder(small_study(search={"soups": 2}), folder)
    result = folder / "result.json"
    result.write_text("{}")
    open_study_folder(small_study(search={"soups": 2}), folder)
    assert result.exists()
    for search in ({"soups": 3}, {"soups": 3, "soup_trials": 4}, {}):
        result.write_text("{}")
        open_study_folder(small_study(search=search), folder)
        assert not result.exists()
    with pytest.raises(InputError, match="holds another study"):
        open_study_folder(small_study(search={"trials": 3}), folder)


def row_of(name, value, goal=GOAL):
    return SoupRow(name, {"mono-only": 1.0}, {"mono-only": "0000"}, {"mono-only": "c"}, "d1", "grid", {goal: value})


def best_of(trial, rows, **search):
    study = small_study(search={"objective": [next(iter(trial.metrics))], **search})
    return soup_result(study, [trial], rows, trial)


def test_the_best_soup_is_the_first_of_equals_and_wins_only_above_the_best_trial():
    best = TrialRow("0001", 1, "tuned", {}, {GOAL: 0.5}, "done")
    rows = [row_of("0000", 0.4), row_of("0001", 0.5), row_of("0002", 0.5)]
    found = best_of(best, rows)
    assert (found["best"], found["wins"], found["model"]) == ("0001", False, None)
    assert [row["id"] for row in found["rows"]] == ["0000", "0001", "0002"]
    assert best_of(best, [*rows, row_of("0003", 0.51)])["wins"] is True
    assert best_of(best, []) is None
    distance = "multi/rank_distance"
    far = [row_of("0000", 30.0, distance), row_of("0001", 20.0, distance)]
    nearer = TrialRow("0001", 1, "tuned", {}, {distance: 25.0}, "done")
    assert [best_of(nearer, far)[key] for key in ("best", "wins")] == ["0001", True]


def test_a_soup_that_misses_a_constraint_is_behind_one_that_meets_it():
    best = TrialRow("0001", 1, "tuned", {}, {GOAL: 0.5, "mono/AP": 0.8}, "done")
    rows = [row_of("0000", 0.9), row_of("0001", 0.6)]
    for row, mono in zip(rows, (0.6, 0.75), strict=True):
        row.metrics["mono/AP"] = mono
    kept = {"constraints": ["mono/AP >= 0.7"]}
    assert [best_of(best, rows)[key] for key in ("best", "wins")] == ["0000", True]
    assert [best_of(best, rows, **kept)[key] for key in ("best", "wins")] == ["0001", True]
    assert [best_of(best, rows[:1], **kept)[key] for key in ("best", "wins")] == ["0000", False]


def test_the_best_soup_is_made_again_for_the_test_benchmark(made):
    kitchen = made(3)
    rows, *_ = scored(kitchen)
    result = best_of(TrialRow("0", 0, "tuned", {}, {GOAL: 0.0}, "done"), rows)
    row = chosen_soup(json.loads(json.dumps(result)))  # as result.json has it
    assert row.metrics[GOAL] == max(row.metrics[GOAL] for row in rows)
    soup = made(3).soup(row)  # by a process that has made none
    np.testing.assert_array_equal(soup.state["weight"], np.full(3, row.shares["cross-only"], np.float32))
    assert chosen_soup(None) is None


def test_a_damaged_file_names_itself(made):
    kitchen = made(1)
    scored(kitchen)
    file = kitchen.folder / "soups" / "0000" / SCORES
    file.write_text(json.dumps({"soup": {"id": "0000"}, "metrics": {}}))
    assert read_soups(kitchen.folder) == []
    (told,) = damaged_soups(kitchen.folder)
    assert re.search(r"soups/0000/scores\.json: '.*' is missing; the soup is left out, and scored again by", told)
    assert scored(kitchen)[1] == [0.5]


@pytest.mark.parametrize("name", ["scores.json", "per_query.parquet", MANIFEST])
@pytest.mark.parametrize("way", WAYS)
def test_a_damaged_soup_is_scored_again_and_told(made, name, way):
    kitchen = made(1)
    first, *_ = scored(kitchen)
    WAYS[way](kitchen.folder / "soups" / "0000" / name)
    seen = Progress()
    again, encoded, _ = scored(kitchen, seen=seen)
    assert (again, encoded) == (first, [0.5])
    if name == "scores.json":  # of which `damaged_soups` tells, or which was cut off
        assert all("soup 0000" in line for line in seen.damaged)
    else:
        assert [line.partition(" (")[2].startswith(name) for line in seen.damaged] == [True]


def test_soups_need_the_trainings_that_they_average():
    for name in ("soups", "soup_trials"):
        with pytest.raises(ValueError, match=rf"search\.{name} 3: averages the weights of fixed mixing ratios, which"):
            small_study(search={name: 3, "arms": "none"})


def test_the_folder_of_a_soup_has_the_language_vectors_of_its_own_encoder(tiny, tmp_path):
    folder = made_trials(tiny, tmp_path / "study")
    study, out = load_study(folder / "study.yaml"), tmp_path / "soup"
    found = {name: find_trial(folder, trial, None, False) for name, trial in (("cross-only", "0"), ("mono-only", "1"))}
    rows = [TrialRow(**json.loads(line)) for line in (folder / "trials.jsonl").read_text().splitlines()]
    trials = {name: rows[int(one.trial)] for name, one in found.items()}
    kitchen = Kitchen(study, trials, folder, str(folder))
    row = SoupRow(
        "0000", {"mono-only": 1.0, "cross-only": 1.0}, {n: t.id for n, t in trials.items()}, {}, "d", "grid", {}
    )
    (folder / "soups" / "0000").mkdir(parents=True)
    scores = json.loads((found["mono-only"].checkpoint / "scores.json").read_text())
    (folder / "soups" / "0000" / SCORES).write_text(json.dumps(soup_content(row, scores)))
    soup, model = kitchen.soup(row), load_trial(found["mono-only"])
    fitted = fit_language_vectors("apart", {"queries": (np.eye(2, 16, dtype=np.float32), ["de", "en"])})
    trials["cross-only"].values["train.matryoshka"] = [4, 8]
    trials["mono-only"].values["train.matryoshka"] = [8]
    trained = [{"de-de": 4}, {"en-de": 4}]
    out.mkdir()
    write_soup(kitchen, soup, model, str(folder / "encoder"), trained, TrainingTexts.of(["x"]), None, fitted, out)
    written = language_vectors_for(out, with_folder_settings(Encoder(name=str(out))))
    assert written.encoder  # else they would go with any
    assert written.offsets["queries"]["de"].tolist() == fitted.offsets["queries"]["de"].tolist()
    card = (out / "README.md").read_text()
    assert f"`{FILE}` holds, of each language, the mean vectors of training queries" in card
    assert "(1 of each at most)" in card
    assert "cut off at 8 of their coordinates" in card  # the one width that both were trained at
    both = [load_file(one.checkpoint / "model.safetensors") for one in found.values()]
    for name, value in load_file(out / "model.safetensors").items():
        torch.testing.assert_close(value, (both[0][name] + both[1][name]) / 2)
