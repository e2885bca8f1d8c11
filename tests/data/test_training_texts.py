"""The fingerprints that a model carries of its training."""

import numpy as np
import pytest

from hybridtune.data import training_texts as module
from hybridtune.data.training_texts import TrainingTexts
from hybridtune.errors import InputError

SENTENCES = [f"Sentence {n} tells of {n * n} things that {n + 1} people have seen in town {n % 7}." for n in range(60)]
PARAGRAPHS = [" ".join(SENTENCES[n : n + 6]) for n in range(0, 60, 6)]


def saved(texts, file):
    texts.save(file)
    return TrainingTexts.load(file)


def test_a_saved_training_finds_what_it_found_before(tmp_path):
    trained = saved(TrainingTexts.of([*PARAGRAPHS, "Yes."]), tmp_path / "texts.npz")
    texts = [PARAGRAPHS[3].upper(), SENTENCES[8], "yes!", "Something else that nobody wrote down before."]
    assert trained.find(texts) == ["exact", "near", "short", None]


def test_the_file_holds_no_text_and_no_more_than_its_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_MOST_KEYS", 16)
    monkeypatch.setattr(module, "_MOST_PIECES", 64)
    trained = saved(TrainingTexts.of(SENTENCES), tmp_path / "texts.npz")
    assert 4 <= len(trained.index.keys) <= 16
    assert 16 <= len(trained.index.pieces) <= 64
    assert (tmp_path / "texts.npz").stat().st_size < 16 * 8 + 64 * 12 + 4096
    assert b"entence" not in (tmp_path / "texts.npz").read_bytes()
    found = trained.find(SENTENCES)
    assert found.count("exact") == len(trained.index.keys)  # those that are kept, for certain
    assert trained.find([text.replace("people", "horses") for text in SENTENCES]) == [None] * 60


def test_a_long_text_is_found_among_one_piece_in_some(monkeypatch):
    monkeypatch.setattr(module, "_MOST_PIECES", 400)
    trained = TrainingTexts.of(PARAGRAPHS)
    assert trained.index.piece_step > 1
    changed = [f"{text} And so on." for text in PARAGRAPHS]
    assert trained.find(changed).count("near") >= 9


def test_a_training_that_goes_on_knows_the_texts_of_both(tmp_path):
    first = TrainingTexts.of(PARAGRAPHS[:5]).with_dev(["The dev benchmark's own question?"])
    both = saved(TrainingTexts.of(PARAGRAPHS[5:]).after(first), tmp_path / "texts.npz")
    assert both.find(PARAGRAPHS) == ["exact"] * 10
    assert both.find([SENTENCES[1], SENTENCES[50]]) == ["near", "near"]
    assert both.chose(["the DEV benchmarks own question", SENTENCES[0]]) == 1


def test_the_dev_benchmark_is_no_training_text():
    trained = TrainingTexts.of(PARAGRAPHS).with_dev([SENTENCES[0], "?"])
    assert trained.find(["A question of the dev benchmark alone?"]) == [None]
    assert len(trained.dev) == 1


def test_a_damaged_file_is_one_line_and_one_of_other_rules_says_nothing(tmp_path, monkeypatch):
    file = tmp_path / "texts.npz"
    TrainingTexts.of(SENTENCES).save(file)
    monkeypatch.setattr(module, "RULES", 99)
    assert TrainingTexts.load(file) is None
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(InputError, match=rf"^{file}: not the fingerprints of a training: "):
        TrainingTexts.load(file)
    np.savez(file, rules=np.array([{}], dtype=object))
    with pytest.raises(InputError, match="Object arrays cannot be loaded"):
        TrainingTexts.load(file)
