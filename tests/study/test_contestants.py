"""Contestants are scored once, whoever has their weights, and again only for other weights or another benchmark."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from made_study import LANGUAGES, made_scores
from safetensors.torch import save_file
from small_study import small_study

from hybridtune.callbacks import StudyCallback
from hybridtune.data.corpus import Corpus
from hybridtune.metrics.metrics import Scores
from hybridtune.metrics.per_query import FILE as PER_QUERY
from hybridtune.metrics.per_query import read_per_query
from hybridtune.model.language_vectors import FILE
from hybridtune.storage.manifests import seal
from hybridtune.storage.soup_rows import SoupRow, soup_content
from hybridtune.storage.trial_rows import ENDED, TrialRow
from hybridtune.study.contestants import SCORES, Sample, Scoring, draw_sample, kept_language_vectors, list_contestants
from hybridtune.study.seed_scores import score_seeds
from hybridtune.study.soups import Soup

START = {"weight": np.zeros(3, np.float32)}
APART, TOGETHER, SHIFT, STANDARDISED = 0.5, 0.25, 0.125, 0.0625  # what the ways add to a contestant's number
START_RANKED = [0, APART, TOGETHER, SHIFT, APART + STANDARDISED]
WAYS = {"tuned": ["centred", "standardised"], "start": ["centred", "together", "shift", "standardised"]}


def tuned_ranked(number):
    return [number, number + APART, number + APART + STANDARDISED]


def slugs(*plain):
    return [slug for one in plain for slug in (one, *(f"{one}-{way}" for way in WAYS.get(one, ["centred"])))]


class Service:
    """Stands in for the evaluators: notes what it is asked, and scores by the number that the weights hold."""

    def __init__(self, digest="d1"):
        self.digest, self.encoded, self.ranked, self.embedded, self.moved = digest, [], [], [], []

    def ready(self):
        return SimpleNamespace(digest=self.digest)

    def encode(self, state, pooling=None):
        self.encoded.append((float(state["weight"][0]), pooling))
        return float(state["weight"][0])

    def embed_stored(self, state, blocks, pooling=None):
        self.embedded += [len(block) for block in blocks]
        return [np.ones((len(block), 2), np.float32) for block in blocks]

    def move(self, vectors, fitted):
        self.moved.append(fitted)
        return vectors + {"apart": APART, "together": TOGETHER, "shift": SHIFT}[fitted.method]

    def score_vectors(self, vectors, per_query_file=None, measures=(), about=None, standardised=False):
        vectors += STANDARDISED * standardised
        self.ranked.append(vectors)
        scores = made_scores(int(16 * vectors), 30, 0.5, LANGUAGES, per_query_file.parent, about=self.digest)
        (per_query_file.parent / SCORES).unlink()  # which the caller writes
        return Scores(**scores)


class Progress(StudyCallback):
    def __init__(self):
        self.done = []

    def on_phase_progress(self, phase, done, total):
        self.done.append((done, total))


@pytest.fixture
def trained(tmp_path):
    """Makes rows of trials whose checkpoints hold these numbers, by slug."""

    def rows(**numbers):
        found = {}
        for slug, number in numbers.items():
            folder = tmp_path / "trials" / f"{number:04d}"
            folder.mkdir(parents=True, exist_ok=True)
            save_file({"weight": torch.full((3,), float(number))}, folder / "model.safetensors")
            seal(folder)
            place = str(folder.relative_to(tmp_path))
            found[slug.replace("_", "-")] = TrialRow(f"{number:04d}", number, "half-half", {}, {}, "done", place)
        return found

    return rows


SAMPLE = Sample({"en": np.arange(3)}, {"de": np.arange(4), "en": np.arange(2)})


def scored(service, rows, folder, callback=None):
    scoring = Scoring(service, small_study(), folder / "contestants", str(folder), START, SAMPLE)
    return scoring.all_scores(list_contestants(rows), "scoring", callback or Progress())


def test_all_contestants_are_scored_plain_and_centred_and_encoded_once(tmp_path, trained):
    service, seen = Service(), Progress()
    found = scored(service, trained(tuned=5, half_half=2), tmp_path, seen)
    plain = ["tuned", "half-half", "start"]
    assert list(found) == slugs(*plain)
    assert [number for number, _ in service.encoded] == [5, 2, 0]
    assert service.ranked == [*tuned_ranked(5), 2, 2.5, *START_RANKED]
    assert service.embedded == [3, 4, 2] * 3
    assert [(fitted.method, fitted.standardised) for fitted in service.moved[-4:]] == [
        ("apart", False),
        ("together", False),
        ("shift", False),
        ("apart", True),
    ]
    assert {fitted.languages for fitted in service.moved} == {("de", "en")}
    assert seen.done[0] == (0, 10)
    assert seen.done[-1] == (10, 10)
    for slug in found:
        assert (tmp_path / "contestants" / slug / FILE).is_file() == (slug not in plain)
        home = tmp_path / "contestants" / slug
        assert read_per_query(home / PER_QUERY).about["benchmark_digest"] == "d1"
        assert json.loads((home / SCORES).read_text())["metrics"] == found[slug].metrics


def test_what_was_scored_is_not_scored_again(tmp_path, trained):
    rows = trained(tuned=5, half_half=2)
    first = scored(Service(), rows, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "contestants").rglob("*.*")}
    again = Service()
    assert scored(again, rows, tmp_path) == first
    assert again.ranked == again.encoded == again.embedded == []
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "contestants").rglob("*.*")} == before


def test_a_contestant_that_was_cut_off_is_scored_and_no_other(tmp_path, trained):
    rows = trained(tuned=5, half_half=2)
    first = scored(Service(), rows, tmp_path)
    for slug in ("half-half", "start-centred"):
        (tmp_path / "contestants" / slug / SCORES).unlink()  # written last
    (tmp_path / "contestants" / "tuned-centred" / FILE).unlink()
    again = Service()
    assert scored(again, rows, tmp_path) == first
    assert again.ranked == [5.5, 2, 0.5]
    assert [number for number, _ in again.encoded] == [5, 2, 0]


def test_one_training_under_two_names_is_scored_once(tmp_path, trained):
    service = Service()
    found = scored(service, trained(tuned=5, half_half=2, file_values=2), tmp_path)
    assert service.ranked == [*tuned_ranked(5), 2, 2.5, *START_RANKED]
    assert found["file-values"] == found["half-half"]
    pairs = [("half-half", "file-values", PER_QUERY), ("half-half-centred", "file-values-centred", FILE)]
    for one, other, name in pairs:
        files = [tmp_path / "contestants" / slug / name for slug in (one, other)]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_what_was_taken_off_a_contestants_vectors_is_found_by_its_weights(tmp_path, trained):
    scored(Service(), trained(tuned=5, half_half=2), tmp_path)
    found = kept_language_vectors(tmp_path, {"weight": np.full(3, 5, np.float32)}, "mean")
    assert found.offsets["queries"]["en"].tolist() == [1, 1]
    assert found.to_bytes() == (tmp_path / "contestants" / "tuned-centred" / FILE).read_bytes()
    assert kept_language_vectors(tmp_path, {"weight": np.full(3, 5, np.float32)}, "cls") is None
    assert kept_language_vectors(tmp_path, {"weight": np.full(3, 6, np.float32)}, "mean") is None
    assert kept_language_vectors(tmp_path / "none", START, "mean") is None


def test_other_weights_and_another_benchmark_are_scored_anew(tmp_path, trained):
    scored(Service(), trained(tuned=5, half_half=2), tmp_path)
    later = Service()
    scored(later, trained(tuned=7, half_half=2), tmp_path)  # the search went on
    assert later.ranked == tuned_ranked(7)
    elsewhere = Service("d2")
    found = scored(elsewhere, trained(tuned=7, half_half=2), tmp_path)
    assert elsewhere.ranked == [*tuned_ranked(7), 2, 2.5, *START_RANKED]
    assert read_per_query(tmp_path / "contestants" / "tuned" / PER_QUERY).about["benchmark_digest"] == "d2"
    assert found["tuned"] != found["half-half"]


def test_a_contestant_that_is_none_any_more_leaves_no_folder(tmp_path, trained):
    scored(Service(), trained(tuned=5, half_half=2, same_values=3), tmp_path)
    scored(Service(), trained(tuned=5, half_half=2), tmp_path)
    names = {path.name for path in (tmp_path / "contestants").iterdir()}
    assert names == {*slugs("tuned", "half-half", "start")}


def test_names_are_words(trained):
    rows = trained(tuned=5, half_half=2, same_values=3, file_values=4)
    plain = ["tuned", "half-half", "half-half, same values", "half-half, file's values", "start"]
    expected = [name for words in plain for name in (words, f"{words}, centred")]
    expected.insert(2, "tuned, centred, scores standardised")
    expected += [f"start, {how}" for how in ("centred together", "shifted", "centred, scores standardised")]
    assert [one.name for one in list_contestants(rows)] == expected


def test_the_sample_is_seeded_bounded_and_of_each_side_alone():
    groups = [
        {
            "group_id": f"g{i}",
            "queries": {"en": f"query {i}", "sw": f"swali {i}"},
            "passages": {"en": f"passage {i % 40}", **({"de": f"Satz {i}"} if i < 7 else {})},
        }
        for i in range(100)
    ]
    corpus = Corpus.from_groups(groups)
    sample = draw_sample(corpus, seed=3, most=30)
    sizes = {side: {name: len(own) for name, own in getattr(sample, side).items()} for side in ("queries", "passages")}
    assert sizes == {"queries": {"en": 30, "sw": 30}, "passages": {"de": 7, "en": 30}}
    column = corpus.languages.index("en")
    for side in ("queries", "passages"):
        drawn = getattr(sample, side)["en"]
        assert len(set(drawn.tolist())) == 30  # no text twice
        assert set(drawn.tolist()) <= set(getattr(corpus, side)[:, column].tolist())
    again, other = draw_sample(corpus, 3, 30), draw_sample(corpus, 4, 30)
    assert all(np.array_equal(a, b) for a, b in zip(sample.blocks(), again.blocks(), strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(sample.blocks(), other.blocks(), strict=True))


def test_the_means_are_of_the_languages_they_are_named_after():
    vectors = [np.full((len(block), 2), number, np.float32) for number, block in enumerate(SAMPLE.blocks())]
    offsets = SAMPLE.fit(vectors).offsets
    assert {name: mean.tolist() for name, mean in offsets["queries"].items()} == {"en": [0, 0], "*": [0, 0]}
    of_passages = {name: mean.tolist() for name, mean in offsets["passages"].items()}
    assert of_passages == {"de": [1, 1], "en": [2, 2], "*": [1.5, 1.5]}


@pytest.fixture
def repeated(tmp_path, trained):
    """Makes a study folder whose contestants were trained again, weights by name of the repeat; None: it failed."""

    def make(**numbers):
        rows = trained(tuned=5, half_half=2, mono_only=6, cross_only=8)
        for slug, row in rows.items():
            row.arm = slug
        write_rows(tmp_path, rows.values())
        again = trained(**{name: number or 0 for name, number in numbers.items()})
        kept = [
            dataclasses.replace(row, id=name, proposed="repeat", status="done" if numbers[key] else "failed")
            for (name, row), key in zip(again.items(), numbers, strict=True)
        ]
        write_rows(tmp_path / "repeats", kept)
        return {slug: rows[slug] for slug in ("tuned", "half-half")}

    return make


def write_rows(folder, rows):
    folder.mkdir(exist_ok=True)
    (folder / ENDED).write_text("".join(json.dumps(dataclasses.asdict(row)) + "\n" for row in rows), "utf-8")


def compared(service, rows, folder, soup=None, callback=None):
    study = small_study(search={"repeat_best": 2, "objective": "multi/AP"})
    scoring = Scoring(service, study, folder / "contestants", str(folder), START, SAMPLE)
    contestants = list_contestants(rows, soup)
    scored = scoring.all_scores(contestants, "scoring", StudyCallback())
    return scored, score_seeds(scoring, study, folder, contestants, scored, callback or StudyCallback())


def test_every_seed_is_scored_plain_and_centred_and_the_start_is_the_same_in_all(tmp_path, repeated):
    rows, service, seen = repeated(tuned_s1=11, half_half_s1=12, tuned_s2=13, half_half_s2=14), Service(), Progress()
    scored, found = compared(service, rows, tmp_path, callback=seen)
    assert [number for number, _ in service.encoded] == [5, 2, 0, 11, 12, 13, 14]
    assert service.ranked[10:] == [*tuned_ranked(11), 12, 12.5, *tuned_ranked(13), 14, 14.5]
    assert seen.done[0] == (0, 10)
    assert seen.done[-1] == (10, 10)
    assert list(found["contestants"]) == list(scored)
    for slug, one in found["contestants"].items():
        metric = one["metrics"]["multi/AP"]
        assert metric["first"] == scored[slug].metrics["multi/AP"]
        assert metric["n"] == 2
        for count, seed in enumerate(found["seeds"], start=1):
            home = tmp_path / "contestants" / slug
            if not slug.startswith("start"):
                home = tmp_path / "repeats" / "contestants" / f"{slug}-s{count}"
            assert metric["by_seed"][str(seed)] == json.loads((home / SCORES).read_text())["metrics"]["multi/AP"]
    assert found["contestants"]["start"]["metrics"]["multi/AP"]["spread"] == 0
    assert found["contestants"]["tuned"]["metrics"]["multi/AP"]["spread"] > 0
    assert set(found["against"]) == {*scored} - {"tuned"}
    assert set(found["against_centred"]) == {*scored} - {"tuned-centred"}
    difference = found["against_centred"]["start-centred"]["multi/AP"]
    assert difference["verdict"] != "not measured"
    assert difference["p_holm"] >= difference["p_units"]


def test_what_was_scored_of_the_seeds_is_not_scored_again(tmp_path, repeated):
    rows = repeated(tuned_s1=11, half_half_s1=12, tuned_s2=13, half_half_s2=14)
    first, again = compared(Service(), rows, tmp_path), Service()
    assert compared(again, rows, tmp_path) == first
    assert again.encoded == again.embedded == []


def test_a_repeat_that_failed_is_named_and_leaves_the_verdict_open(tmp_path, repeated):
    _, found = compared(Service(), repeated(tuned_s1=11, half_half_s1=12, tuned_s2=13, half_half_s2=None), tmp_path)
    assert found["contestants"]["half-half"]["failed"] == ["half-half-s2"]
    assert found["contestants"]["half-half-centred"]["failed"] == ["half-half-centred-s2"]
    assert found["against"]["half-half"]["multi/AP"]["verdict"] == "not measured"
    assert found["against"]["start"]["multi/AP"]["verdict"] != "not measured"


def test_the_soup_is_made_of_each_seeds_own_trainings(tmp_path, repeated):
    rows = repeated(tuned_s1=11, half_half_s1=12, mono_only_s1=20, cross_only_s1=30)
    models = {"mono-only": "mono-only-s1", "cross-only": "cross-only-s1"}
    row = SoupRow(
        "soup-s1", {"mono-only": 1.0, "cross-only": 1.0}, models, dict.fromkeys(models, "c"), "d1", "grid", {}
    )
    home = tmp_path / "repeats" / "soups" / "soup-s1"
    home.mkdir(parents=True)
    (home / "scores.json").write_text(json.dumps(soup_content(row, {"metrics": {}})), encoding="utf-8")
    service, study = Service(), small_study()
    first = Soup(dataclasses.replace(row, id="0000"), {"weight": np.full(3, 7, np.float32)}, study)
    _, found = compared(service, rows, tmp_path, first)
    assert [number for number, _ in service.encoded] == [5, 2, 7, 0, 11, 12, 25]
    assert found["contestants"]["soup-centred"]["metrics"]["multi/AP"]["n"] == 1
    assert found["contestants"]["soup"]["failed"] == ["soup-s2"]


def test_without_a_noise_check_no_seed_is_scored(tmp_path, trained):
    scoring = Scoring(Service(), small_study(), tmp_path / "contestants", str(tmp_path), START, SAMPLE)
    assert score_seeds(scoring, small_study(), tmp_path, [], {}, StudyCallback()) is None
    assert not (tmp_path / "repeats").exists()
