import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridtune.model.centring import centre_vectors, language_means

NAMES = ("de", "en", "sw")


def texts(seed, size=60, width=5):
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(size, width)) + 2
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return vectors, [NAMES[i] for i in random.integers(3, size=size)]


@given(st.integers(0, 1000))
def test_the_means_are_those_of_each_languages_texts(seed):
    vectors, languages = texts(seed)
    means = language_means(vectors, languages)
    assert list(means) == sorted(set(languages))
    for name, mean in means.items():
        own = [vector.astype(float) for vector, language in zip(vectors, languages, strict=True) if language == name]
        np.testing.assert_allclose(mean, sum(own) / len(own), atol=1e-7)


@given(st.integers(0, 1000))
def test_what_is_left_has_unit_length_and_leans_towards_no_language(seed):
    vectors, languages = texts(seed)
    means = language_means(vectors, languages)
    centred = centre_vectors(vectors, languages, means)
    assert centred.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(centred, axis=1), 1, atol=1e-6)
    # Before unit length, what is left of each language sums to 0.
    scaled = vectors - np.array([means[name] for name in languages])
    np.testing.assert_allclose(centred * np.linalg.norm(scaled, axis=1, keepdims=True), scaled, atol=1e-6)
    for left in language_means(scaled, languages).values():
        np.testing.assert_allclose(left, 0, atol=1e-6)


def test_a_language_without_a_mean_is_taken_off_the_mean_over_the_others():
    vectors, languages = texts(0)
    means = language_means(vectors, languages)
    common = (means["de"].astype(float) + means["en"] + means["sw"]) / 3
    unseen = centre_vectors(vectors, ["yo"] * len(vectors), means)
    np.testing.assert_array_equal(unseen, centre_vectors(vectors, ["yo"] * len(vectors), {"yo": common}))
    assert not np.allclose(unseen, centre_vectors(vectors, languages, means))


def test_a_text_does_not_depend_on_the_others():
    vectors, languages = texts(1)
    means = language_means(vectors, languages)
    whole = centre_vectors(vectors, languages, means)
    for row in range(len(vectors)):
        np.testing.assert_array_equal(centre_vectors(vectors[[row]], [languages[row]], means)[0], whole[row])
    assert centre_vectors(vectors[:0], [], means).shape == (0, 5)


def test_a_text_on_its_mean_becomes_zero_and_not_a_nan():
    vectors = np.array([[0.6, 0.8]], np.float32)
    assert centre_vectors(vectors, ["en"], language_means(vectors, ["en"])).tolist() == [[0.0, 0.0]]


def test_mistakes_are_told():
    vectors, languages = texts(0)
    with pytest.raises(ValueError, match="60 vectors, but 59 languages"):
        language_means(vectors, languages[1:])
    with pytest.raises(ValueError, match="60 vectors, but 59 languages"):
        centre_vectors(vectors, languages[1:], language_means(vectors, languages))
    with pytest.raises(ValueError, match="no language's mean"):
        centre_vectors(vectors, languages, {})
