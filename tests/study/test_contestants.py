"""Contestants are scored once, whoever has their weights, and again only for other weights or another benchmark."""

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
from hybridtune.storage.trial_rows import TrialRow
from hybridtune.study.contestants import SCORES, Sample, draw_sample, list_contestants, score_contestants

START = {"weight": np.zeros(3, np.float32)}


class Service:
    """Stands in for the evaluators: notes what it is asked, and scores by the number that the weights hold."""

    def __init__(self, digest="d1"):
        self.digest, self.encoded, self.ranked, self.embedded, self.centred = digest, [], [], [], []

    def ready(self):
        return SimpleNamespace(digest=self.digest)

    def encode(self, state, pooling=None):
        self.encoded.append((float(state["weight"][0]), pooling))
        return float(state["weight"][0])

    def embed_stored(self, state, blocks, pooling=None):
        self.embedded += [len(block) for block in blocks]
        return [np.ones((len(block), 2), np.float32) for block in blocks]

    def move(self, vectors, fitted):
        self.centred.append(tuple(sorted({*fitted.offsets[side]} - {"*"}) for side in ("queries", "passages")))
        return vectors + 0.5

    def score_vectors(self, vectors, per_query_file=None, measures=(), about=None):
        self.ranked.append(vectors)
        scores = made_scores(int(2 * vectors), 30, 0.5, LANGUAGES, per_query_file.parent, about=self.digest)
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
            found[slug.replace("_", "-")] = TrialRow(f"{number:04d}", number, "half-half", {}, {}, "done", str(folder))
        return found

    return rows


SAMPLE = Sample({"en": np.arange(3)}, {"de": np.arange(4), "en": np.arange(2)})


def scored(service, rows, folder, callback=None):
    return score_contestants(service, rows, small_study(), folder, START, SAMPLE, callback or Progress())


def test_all_contestants_are_scored_plain_and_centred_and_encoded_once(tmp_path, trained):
    service, seen = Service(), Progress()
    found = scored(service, trained(tuned=5, half_half=2), tmp_path, seen)
    plain = ["tuned", "half-half", "start"]
    assert list(found) == [name for slug in plain for name in (slug, f"{slug}-centred")]
    assert [number for number, _ in service.encoded] == [5, 2, 0]
    assert service.ranked == [5, 5.5, 2, 2.5, 0, 0.5]
    assert service.embedded == [3, 4, 2] * 3
    assert service.centred == [(["en"], ["de", "en"])] * 3
    assert seen.done[0] == (0, 6)
    assert seen.done[-1] == (6, 6)
    for slug in found:
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
    again = Service()
    assert scored(again, rows, tmp_path) == first
    assert again.ranked == [2, 0.5]
    assert [number for number, _ in again.encoded] == [2, 0]


def test_one_training_under_two_names_is_scored_once(tmp_path, trained):
    service = Service()
    found = scored(service, trained(tuned=5, half_half=2, file_values=2), tmp_path)
    assert service.ranked == [5, 5.5, 2, 2.5, 0, 0.5]
    assert found["file-values"] == found["half-half"]
    files = [tmp_path / "contestants" / slug / PER_QUERY for slug in ("half-half", "file-values")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_other_weights_and_another_benchmark_are_scored_anew(tmp_path, trained):
    scored(Service(), trained(tuned=5, half_half=2), tmp_path)
    later = Service()
    scored(later, trained(tuned=7, half_half=2), tmp_path)  # the search went on
    assert later.ranked == [7, 7.5]
    elsewhere = Service("d2")
    found = scored(elsewhere, trained(tuned=7, half_half=2), tmp_path)
    assert elsewhere.ranked == [7, 7.5, 2, 2.5, 0, 0.5]
    assert read_per_query(tmp_path / "contestants" / "tuned" / PER_QUERY).about["benchmark_digest"] == "d2"
    assert found["tuned"] != found["half-half"]


def test_a_contestant_that_is_none_any_more_leaves_no_folder(tmp_path, trained):
    scored(Service(), trained(tuned=5, half_half=2, same_values=3), tmp_path)
    scored(Service(), trained(tuned=5, half_half=2), tmp_path)
    names = {path.name for path in (tmp_path / "contestants").iterdir()}
    plain = {"tuned", "half-half", "start"}
    assert names == plain | {f"{name}-centred" for name in plain}


def test_names_are_words(trained):
    rows = trained(tuned=5, half_half=2, same_values=3, file_values=4)
    plain = ["tuned", "half-half", "half-half, same values", "half-half, file's values", "start"]
    expected = [name for words in plain for name in (words, f"{words}, centred")]
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
