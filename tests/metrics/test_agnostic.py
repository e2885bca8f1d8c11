"""Direct measures of language-agnostic vectors: known answers, naive twins, and what must not move them."""

import dataclasses

import numpy as np
import pytest

from hybridtune.metrics.agnostic import mean_distances, measure_agnosticism, probe_accuracy, translation_accuracy

LANGUAGES = ["de", "en", "sw"]


def made(apart=0.0, noise=0.3, groups=60, width=12, seed=0):
    """One text a language and group: the group's direction, a shift of the language, noise; unit length."""
    random = np.random.default_rng(seed)
    meaning, shift = random.normal(size=(groups, width)), random.normal(size=(len(LANGUAGES), width))
    group, language = np.repeat(np.arange(groups), len(LANGUAGES)), np.tile(np.arange(len(LANGUAGES)), groups)
    vectors = meaning[group] + apart * shift[language] + noise * random.normal(size=(len(group), width))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), [LANGUAGES[one] for one in language], group


def test_the_measures_rise_with_what_tells_languages_apart():
    found = [measure_agnosticism(*made(apart)) for apart in (0.0, 0.5, 2.0, 8.0)]
    distances = [of.mean_distance for of in found]
    named = [of.probe_accuracy for of in found]
    translated = [of.translation_accuracy for of in found]
    assert distances == sorted(distances)
    assert distances[0] < 0.3
    assert distances[-1] > 3
    assert named == sorted(named)
    assert named[0] < 0.5
    assert named[-1] == 1
    assert translated == sorted(translated, reverse=True)
    assert translated[0] > 0.9 > translated[-1]
    assert [of.probe_chance for of in found] == pytest.approx([1 / 3] * 4)
    assert found[0].texts == 180


def test_without_the_languages_means_nothing_of_them_is_left():
    vectors, languages, groups = made(2.0)
    row = np.array([LANGUAGES.index(language) for language in languages])
    means = np.stack([vectors[row == one].mean(0) for one in range(3)])
    centred = (vectors - means[row]).astype(np.float32)
    found = measure_agnosticism(centred, languages, groups)
    assert found.mean_distance == pytest.approx(0, abs=1e-5)
    assert found.translation_accuracy > measure_agnosticism(vectors, languages, groups).translation_accuracy


def test_distances_by_hand():
    vectors = np.array([[0, 1], [0, -1], [4, 1], [4, -1], [0, 9]], np.float32)
    found = mean_distances(vectors, ["de", "de", "en", "en", "sw"])
    assert found == pytest.approx({"de-en": 4.0, "de-sw": 9 / np.sqrt(0.5), "en-sw": np.hypot(4, 9) / np.sqrt(0.5)})
    assert mean_distances(vectors[:2], ["de", "en"]) == {}  # no text varies


@pytest.mark.parametrize("seed", range(5))
def test_measures_keep_their_value_under_rotation_scale_and_order(seed):
    vectors, languages, groups = made(0.7, seed=seed)
    random = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(random.normal(size=(12, 12)))
    order = random.permutation(len(vectors))
    one = measure_agnosticism(vectors, languages, groups)
    turned = (vectors @ turn)[order].astype(np.float32)
    other = measure_agnosticism(turned, [languages[row] for row in order], groups[order])
    for field in dataclasses.fields(one):
        assert getattr(other, field.name) == pytest.approx(getattr(one, field.name), abs=1e-4)


def naive_translations(vectors, languages, groups):
    found = {}
    for x in LANGUAGES:
        for y in LANGUAGES:
            pool = [row for row, language in enumerate(languages) if language == y]
            hits = []
            for row, language in enumerate(languages):
                if x == y or language != x or not any(groups[row] == groups[other] >= 0 for other in pool):
                    continue
                products = [float(np.dot(vectors[row], vectors[other])) for other in pool]
                hits.append(groups[pool[int(np.argmax(products))]] == groups[row])
            if hits:
                found[f"{x}-{y}"] = float(np.mean(hits))
    return found


@pytest.mark.parametrize("seed", range(6))
def test_translation_retrieval_equals_the_definition(seed, monkeypatch):
    vectors, languages, groups = made(1.0, noise=1.5, groups=15, seed=seed)
    random = np.random.default_rng(seed)
    kept = random.random(len(groups)) < 0.8  # some languages lack a text
    groups = np.where(random.random(len(groups)) < 0.2, -1, groups)  # of some no translation is known
    vectors, groups, languages = (
        vectors[kept],
        groups[kept],
        [x for x, keep in zip(languages, kept, strict=True) if keep],
    )
    monkeypatch.setattr("hybridtune.metrics.agnostic._ENTRIES", 40)  # several pieces
    assert translation_accuracy(vectors, languages, groups) == pytest.approx(
        naive_translations(vectors, languages, groups)
    )


def test_vectors_that_are_all_alike_find_translations_by_chance_alone():
    _, languages, groups = made(groups=10)
    found = measure_agnosticism(np.ones((30, 12), np.float32), languages, groups)
    assert found.translation_accuracy == pytest.approx(1 / 10)
    assert found.probe_accuracy == pytest.approx(1 / 3)
    assert found.mean_distance is None


def test_the_probe_is_tested_on_documents_that_it_was_not_fitted_on():
    """A dimension of each document gives its language away: a probe that saw the document would name it."""
    documents = np.repeat(np.arange(40), 5)
    languages = [LANGUAGES[document % 2] for document in (documents // 2)]
    vectors = np.eye(40, dtype=np.float32)[documents]
    seen, classes = probe_accuracy(vectors, languages, np.tile(np.arange(5), 40))
    unseen, _ = probe_accuracy(vectors, languages, documents)
    assert classes == 2
    assert seen == 1
    assert unseen == pytest.approx(0.5, abs=0.2)


def test_a_rare_language_weighs_as_much_as_the_others():
    vectors, languages, groups = made(8.0, groups=40)
    rare = [row for row, language in enumerate(languages) if language != "sw" or row < 12]
    accuracy, classes = probe_accuracy(vectors[rare], [languages[row] for row in rare], groups[rare])
    assert (accuracy, classes) == (1.0, 3)
    alone = [row for row, language in enumerate(languages) if language != "sw" or row < 3]  # one text, in one half
    assert probe_accuracy(vectors[alone], [languages[row] for row in alone], groups[alone])[1] == 2


def test_what_is_not_to_be_had_is_none():
    vectors, _, groups = made(groups=5)
    found = measure_agnosticism(vectors[:5], ["en"] * 5, groups[:5])
    assert (found.mean_distance, found.probe_accuracy, found.probe_chance, found.translation_accuracy) == (None,) * 4
    with pytest.raises(ValueError, match="5 vectors: give as many languages, groups and documents"):
        measure_agnosticism(vectors[:5], ["en"] * 4, groups[:5])
