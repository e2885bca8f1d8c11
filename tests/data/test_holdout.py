"""What a holdout cuts out of the training files."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridtune.config.fields import Holdout
from hybridtune.data.holdout import Cut
from hybridtune.data.readers.native import Group
from hybridtune.errors import InputError


def group(number, document="", passage=None):
    return Group(f"g{number}", document, {"en": f"query {number}"}, {"en": passage or f"passage {number}"})


def cut(rows, **holdout):
    return Cut(Holdout(**holdout), lambda: iter(rows))


DOCUMENTS = [group(n, f"d{n // 3}") for n in range(600)]


def test_documents_are_cut_whole_and_in_about_their_share():
    found = cut(DOCUMENTS, documents=0.2)
    for first in range(0, len(DOCUMENTS), 3):
        assert len({found.part(one) for one in DOCUMENTS[first : first + 3]}) == 1
    for part in ("dev", "test"):
        groups = found.parts[part]
        assert groups == [one for one in DOCUMENTS if found.part(one) == part]
        assert 20 <= len({one.document_id for one in groups}) <= 60  # of 200


@given(st.lists(st.integers(0, 199), min_size=1, unique=True))
def test_a_document_stays_in_its_part_whatever_the_others(numbers):
    everything = cut(DOCUMENTS, documents=0.3)
    kept = [one for number in numbers for one in DOCUMENTS[3 * number : 3 * number + 3]]
    try:
        found = cut(kept, documents=0.3)
    except InputError:
        return  # a part without a document
    assert all(found.part(one) == everything.part(one) for one in kept)


def test_another_seed_cuts_other_documents():
    first, again, other = (cut(DOCUMENTS, documents=0.2, seed=seed).parts for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_groups_without_a_document_go_by_their_answer_set():
    chained = [group(n, passage=f"shared {n // 4}") for n in range(400)]
    found = cut(chained, documents=0.2)
    for first in range(0, 400, 4):
        assert len({found.part(one) for one in chained[first : first + 4]}) == 1
    assert {found.part(one) for one in chained} == {"dev", "test", None}


def test_groups_are_cut_by_answer_set_whatever_document_they_name():
    one_document = [group(n, "d", passage=f"shared {n // 2}") for n in range(100)]
    found = cut(one_document, groups=0.2)
    assert found.parts["dev"]
    assert found.part(one_document[0]) == found.part(one_document[1])


def test_a_part_without_a_document_is_refused():
    with pytest.raises(InputError, match=r"^data\.holdout: no document of the training data falls into the dev part; "):
        cut([group(n, "only") for n in range(9)], documents=0.01)
