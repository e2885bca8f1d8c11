"""The vectors of a teacher by the numbers of a store, and the texts that it has to read."""

import numpy as np
import pytest
from handmade import corpus_of, plan

from hybridtune.data.teacher_vectors import TeacherVectors, aligned_texts, read_instead, save_vectors, scored_texts
from hybridtune.errors import InputError

BOTH = ["de", "en"]
MIXED = corpus_of((9, BOTH, BOTH, 0), (6, [], ["en", "sw", "yo"], 0), (5, ["sw"], ["sw"], 0), (4, [], ["de", "yo"], 0))
NUMBERS = np.array([2, 3, 7, 20], np.int32)


@pytest.fixture
def vectors(tmp_path):
    """Vectors of four texts: text n has n in all of its three numbers."""
    for name, part in (("a", NUMBERS[:3]), ("b", NUMBERS[3:])):
        np.save(tmp_path / f"{name}.npy", np.repeat(part[:, None], 3, axis=1).astype(np.float32))
    save_vectors(tmp_path, NUMBERS, [tmp_path / "a.npy", tmp_path / "b.npy"], "somebody")
    return TeacherVectors.open(tmp_path)


@pytest.mark.parametrize("wanted", [[20, 2, 2, 7, 3], [-1, 7, -1], [-1], []])
def test_texts_have_the_vectors_of_their_numbers_and_none_has_zeros(vectors, wanted):
    taken = vectors.take(np.array(wanted, np.int32))
    assert (taken.shape, taken.dtype, vectors.width) == ((len(wanted), 3), np.float32, 3)
    assert taken[:, 0].tolist() == [max(0, number) for number in wanted]
    assert (taken == taken[:, :1]).all()


@pytest.mark.parametrize("number", [0, 4, 21, 1000])
def test_a_text_that_was_not_read_is_no_vector_of_another(vectors, number):
    with pytest.raises(KeyError, match=f"no vector of text {number}"):
        vectors.take(np.array([2, number], np.int32))


def test_a_block_that_is_missing_is_noticed(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((3, 2), np.float32))
    with pytest.raises(AssertionError, match="missing"):
        save_vectors(tmp_path, NUMBERS, [tmp_path / "a.npy"], "somebody")
    assert not (tmp_path / "teacher.json").exists()


@pytest.mark.parametrize("languages", [(), ("en",), ("yo", "de")])
def test_align_batches_read_what_the_teacher_has_read_and_nothing_else(languages):
    one = plan(MIXED, align_share=0.5, teacher_languages=languages)
    read = set()
    for batch in one.batches(0, 400):
        if batch.kind == "align":
            read |= set(MIXED.passages[batch.groups, batch.languages[:, 0]].tolist())
    assert read == set(aligned_texts(MIXED, languages).tolist())


@pytest.mark.parametrize("readers", [[], [1], [2, 0], [0, 1, 2]])
def test_a_teacher_reads_the_text_itself_or_its_group_in_a_language_that_it_knows(readers):
    side, groups = MIXED.passages, np.arange(len(MIXED.passages))
    for column in range(len(MIXED.languages)):
        found = read_instead(side, groups, np.full(len(groups), column), readers)
        for group, number in zip(groups, found, strict=True):
            own = side[group, column]
            has = [x for x in readers if side[group, x] >= 0]
            expected = own if not readers or column in readers else side[group, has[0]] if has else -1
            assert number == expected


@pytest.mark.parametrize("languages", [(), ("en",), ("yo", "de")])
def test_scores_of_a_teacher_ask_for_texts_in_its_languages_alone(languages):
    found = set(scored_texts(MIXED, languages, negatives=True).tolist())
    columns = [MIXED.languages.index(language) for language in languages] or range(4)
    expected = {int(n) for side in (MIXED.queries, MIXED.passages) for n in side[:, list(columns)].ravel() if n >= 0}
    assert found == expected
    for batch in plan(MIXED, teacher_languages=languages).batches(0, 100):
        for side, place in ((MIXED.queries, 0), (MIXED.passages, 1)):
            read = read_instead(
                side, batch.groups, batch.languages[:, place], [MIXED.languages.index(x) for x in languages]
            )
            assert set(read[read >= 0].tolist()) <= found


def test_a_language_that_the_data_has_not_is_named():
    with pytest.raises(
        InputError, match=r"train\.teacher_languages: the training data has no text in 'enn'; did you mean"
    ):
        plan(MIXED, teacher_languages=["enn"])
