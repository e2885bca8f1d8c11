"""Language vectors: what is fitted, what is left of a language, and a file that gives back the same."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from hybridtune.errors import InputError
from hybridtune.model.language_vectors import (
    COMMON,
    FILE,
    METHODS,
    fit_language_vectors,
    language_means,
    load_language_vectors,
)

NAMES = ("de", "en", "sw")


def texts(seed, size=60, width=5):
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(size, width)) + 2
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return vectors, [NAMES[i] for i in random.integers(3, size=size)]


def pool(given_texts):
    (queries, asked), (passages, answered) = given_texts.values()
    return np.concatenate([queries, passages]), [*asked, *answered]


def sides(seed):
    return {"queries": texts(seed), "passages": texts(seed + 1, size=80)}


@given(st.integers(0, 1000))
def test_the_means_are_those_of_each_languages_texts(seed):
    vectors, languages = texts(seed)
    means = language_means(vectors, languages)
    assert list(means) == sorted(set(languages))
    for name, mean in means.items():
        own = [vector.astype(float) for vector, language in zip(vectors, languages, strict=True) if language == name]
        np.testing.assert_allclose(mean, sum(own) / len(own), atol=1e-7)


@given(st.integers(0, 1000), st.sampled_from(METHODS))
def test_what_is_left_has_unit_length_and_leans_towards_no_language(seed, method):
    given_texts = sides(seed)
    fitted = fit_language_vectors(method, given_texts)
    for side, (vectors, languages) in given_texts.items():
        moved = fitted.move(side, vectors, languages)
        assert moved.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(moved[:, : vectors.shape[1]], axis=1), 1, atol=1e-6)
        if method == "apart":  # before unit length, what is left of each language sums to 0
            scaled = vectors - np.array([fitted.offsets[side][name] for name in languages])
            for left in language_means(scaled, languages).values():
                np.testing.assert_allclose(left, 0, atol=1e-6)


def test_together_pools_the_two_sides_and_shift_leaves_the_queries():
    given_texts = sides(3)
    pooled = pool(given_texts)
    means = language_means(*pooled)
    together = fit_language_vectors("together", given_texts).offsets
    assert together["queries"] is together["passages"]
    np.testing.assert_array_equal(together["queries"]["sw"], means["sw"])
    shift = fit_language_vectors("shift", given_texts)
    queries, languages = given_texts["queries"]
    np.testing.assert_allclose(shift.move("queries", queries, languages), queries, atol=1e-6)
    np.testing.assert_allclose(shift.offsets["passages"]["sw"], means["sw"] - together["queries"][COMMON], atol=1e-7)


def test_coral_gives_every_language_the_common_covariance():
    random = np.random.default_rng(0)
    names = np.repeat(NAMES, 400)
    mixed = np.concatenate(
        [random.normal(size=(400, 4)) @ (np.eye(4) + random.uniform(-0.4, 0.4, (4, 4))) for _ in NAMES]
    )
    vectors = mixed.astype(np.float32)
    fitted = fit_language_vectors("coral", {"passages": (vectors, names.tolist())})
    before, after = {}, {}
    for name in NAMES:
        own = vectors[names == name] - fitted.offsets["passages"][name].astype(float)
        own /= np.linalg.norm(own, axis=1, keepdims=True)
        before[name], after[name] = own.T @ own / 400, (own @ fitted.maps[name].T).T @ (own @ fitted.maps[name].T) / 400
    common = np.mean(list(before.values()), axis=0)
    for name in NAMES:
        np.testing.assert_allclose(after[name], common, atol=2e-3)
        assert not np.allclose(before[name], common, atol=1e-2)


def test_the_directions_in_which_the_means_differ_are_gone():
    given_texts = sides(5)
    fitted = fit_language_vectors("directions-5", given_texts)  # of three means two
    means = np.stack(list(language_means(*pool(given_texts)).values()))
    np.testing.assert_allclose((means - means.mean(0)) @ fitted.maps[COMMON], 0, atol=1e-6)
    assert np.linalg.matrix_rank(fitted.maps[COMMON], tol=1e-3) == means.shape[1] - 2


def test_csls_takes_half_the_mean_similarity_to_the_nearest_queries_off_a_score():
    given_texts = sides(7)
    fitted, together = fit_language_vectors("csls", given_texts), fit_language_vectors("together", given_texts)
    moved = {side: fitted.move(side, *own) for side, own in given_texts.items()}
    plain = {side: together.move(side, *own) for side, own in given_texts.items()}
    similar = plain["passages"] @ plain["queries"].T
    nearest = np.sort(similar, axis=1)[:, -10:].mean(1)
    np.testing.assert_allclose(moved["passages"] @ moved["queries"].T, similar - nearest[:, None] / 2, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_a_language_without_texts_is_moved_by_what_is_common_to_the_others(method):
    fitted = fit_language_vectors(method, sides(0))
    vectors, _ = texts(0)
    unseen = fitted.move("passages", vectors, ["yo"] * len(vectors))
    assert np.isfinite(unseen).all()
    if fitted.offsets:
        own = fitted.offsets["passages"]
        mean = np.mean([own[name] for name in NAMES], axis=0, dtype=np.float64)
        np.testing.assert_allclose(own[COMMON], mean, atol=1e-6)
    assert "yo" in fitted.lacks(["en", "yo"])
    assert fitted.lacks(["en"]) == ""


@pytest.mark.parametrize("method", METHODS)
def test_a_text_does_not_depend_on_the_others(method):
    vectors, languages = texts(1)
    fitted = fit_language_vectors(method, sides(0))
    whole = fitted.move("passages", vectors, languages)
    for row in range(len(vectors)):
        np.testing.assert_allclose(fitted.move("passages", vectors[[row]], [languages[row]])[0], whole[row], atol=1e-6)
    assert len(fitted.move("passages", vectors[:0], [])) == 0


@pytest.mark.parametrize("method", METHODS)
def test_a_file_gives_back_the_same(tmp_path, method):
    fitted = fit_language_vectors(method, sides(2), encoder="abc")
    (tmp_path / FILE).write_bytes(fitted.to_bytes())
    for path in (tmp_path, tmp_path / FILE):
        read = load_language_vectors(path)
        assert (read.method, read.encoder, read.texts, read.digest()) == (method, "abc", fitted.texts, fitted.digest())
        for side, own in sides(4).items():
            np.testing.assert_array_equal(read.move(side, *own), fitted.move(side, *own))


def test_a_text_on_its_mean_becomes_zero_and_not_a_nan():
    vectors = np.array([[0.6, 0.8]], np.float32)
    fitted = fit_language_vectors("apart", {"queries": (vectors, ["en"])})
    assert fitted.move("queries", vectors, ["en"]).tolist() == [[0.0, 0.0]]


def test_mistakes_are_told(tmp_path):
    vectors, languages = texts(0)
    with pytest.raises(ValueError, match="60 vectors, but 59 languages"):
        fit_language_vectors("apart", {"queries": (vectors, languages[1:])})
    with pytest.raises(ValueError, match="no text"):
        fit_language_vectors("together", {})
    with pytest.raises(ValueError, match="csls is fitted on queries"):
        fit_language_vectors("csls", {"passages": (vectors, languages)})
    fitted = fit_language_vectors("together", {"queries": (vectors, languages)})
    with pytest.raises(ValueError, match="60 vectors, but 59 languages"):
        fitted.move("queries", vectors, languages[1:])
    with pytest.raises(InputError, match="of width 5, the encoder's of width 4"):
        fitted.move("queries", vectors[:, :4], languages)
    with pytest.raises(InputError, match=r"no language_vectors\.safetensors there"):
        load_language_vectors(tmp_path)
    (tmp_path / FILE).write_bytes(b"no file of this kind")
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        load_language_vectors(tmp_path)
    save_file({"weight": vectors}, tmp_path / FILE)
    with pytest.raises(InputError, match="holds no language vectors of this version"):
        load_language_vectors(tmp_path)
