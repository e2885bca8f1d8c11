"""The average of trainings: exact where it can be, of any number of models, and refused by name where it is none."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridtune.errors import InputError
from hybridtune.model.encoder import load_encoder
from hybridtune.model.soup import (
    average_states,
    check_alike,
    model_facts,
    scale_weights,
    weights_cosine,
    weights_digest,
)

NUMBERS = st.floats(-1e3, 1e3, width=32)
WEIGHTS = st.floats(0.01, 100.0)


def states(*vectors):
    return {f"m{n}": {"w": np.array(vector, np.float32)} for n, vector in enumerate(vectors)}


def bits(array):
    return array.view(np.int32)


@given(st.lists(NUMBERS, min_size=1, max_size=6), st.lists(WEIGHTS, min_size=1, max_size=5))
def test_copies_of_a_model_give_the_very_model(vector, weights):
    found = average_states(states(*[vector] * len(weights)), weights)["w"]
    assert found.dtype == np.float32
    assert np.array_equal(bits(found), bits(np.array(vector, np.float32)))  # the sign of a zero too


@given(st.data())
def test_of_two_models_the_order_changes_no_bit_and_of_more_the_last_at_most(data):
    count = data.draw(st.integers(2, 5))
    vectors = data.draw(st.lists(st.lists(NUMBERS, min_size=3, max_size=3), min_size=count, max_size=count))
    weights = data.draw(st.lists(WEIGHTS, min_size=count, max_size=count))
    order = data.draw(st.permutations(range(count)))
    one = average_states(states(*vectors), weights)["w"]
    other = average_states(states(*[vectors[n] for n in order]), [weights[n] for n in order])["w"]
    if count == 2:
        assert np.array_equal(bits(one), bits(other))
    largest = np.abs(np.array(vectors, np.float32)).max(axis=0)
    assert (np.abs(one - other) <= np.spacing(largest)).all()


@given(st.lists(st.tuples(st.lists(NUMBERS, min_size=2, max_size=2), WEIGHTS), min_size=1, max_size=5))
def test_the_mean_is_that_of_exact_arithmetic_rounded_once(rows):
    from fractions import Fraction

    vectors, weights = [row for row, _ in rows], [weight for _, weight in rows]
    found = average_states(states(*vectors), weights)["w"]
    total = sum(map(Fraction, weights))
    for place in range(2):
        kept = [Fraction(float(np.float32(vector[place]))) for vector in vectors]
        exact = sum(Fraction(w) * x for w, x in zip(weights, kept, strict=True)) / total
        largest = max(abs(float(x)) for x in kept)
        assert abs(float(exact) - float(found[place])) <= 0.51 * float(np.spacing(np.float32(largest)))


def test_a_known_answer():
    made = {"a": {"w": np.float32([[0, 4]]), "n": np.int64([3])}, "b": {"w": np.float32([[1, 0]]), "n": np.int64([3])}}
    found = average_states(made, [1, 3])
    assert found["w"].tolist() == [[0.75, 1.0]]
    assert found["n"].tolist() == [3]
    assert found["n"].dtype == np.int64


@pytest.mark.parametrize("weights", [[], [0.5, 0], [1, -1], [float("nan"), 1], [float("inf"), 1]])
def test_weights_are_numbers_above_0(weights):
    with pytest.raises(InputError, match="give a number above 0 for each model"):
        scale_weights(weights)


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({}, r"b: its weight layer.w is missing, and that of a \[2\]"),
        ({"layer.w": np.zeros(3)}, r"b: its weight layer.w is \[3\], and that of a \[2\]"),
        ({"layer.w": np.zeros(2), "more": np.zeros(1)}, r"b: its weight more is \[1\], and that of a missing"),
    ],
)
def test_weights_of_other_names_or_shapes_are_refused_by_name(other, reason):
    with pytest.raises(InputError, match=reason):
        average_states({"a": {"layer.w": np.zeros(2)}, "b": other}, [1, 1])


def test_whole_numbers_that_differ_are_refused():
    with pytest.raises(InputError, match="b: its positions, whole numbers, is another than that of a"):
        average_states({"a": {"positions": np.arange(3)}, "b": {"positions": np.arange(3) + 1}}, [1, 1])


def facts(made, **changes):
    folder, encoder, tokenizer = made
    encoder = encoder.model_copy(update=changes)
    return model_facts(load_encoder(str(folder), encoder, tokenizer.pad_id), encoder, tokenizer)


def test_trainings_of_one_encoder_are_alike_and_another_use_is_named(tiny):
    check_alike({"a": facts(tiny), "b": facts(tiny), "c": facts(tiny)})
    for field, value in {"pooling": "cls", "query_prefix": "ask: ", "passage_length": 30}.items():
        before = repr(getattr(tiny[1], field))
        with pytest.raises(InputError, match=f"c: its {field} is '?{value}'?, that of b {before}"):
            check_alike({"a": facts(tiny), "b": facts(tiny), "c": facts(tiny, **{field: value})})


def test_another_architecture_tokenizer_or_head_is_named(tiny, dense):
    own = facts(tiny)
    with pytest.raises(InputError, match=r"b: its modules after the pooling is .*Dense"):
        check_alike({"a": own, "b": facts(dense)})
    with pytest.raises(InputError, match="b: its tokenizer is another; only trainings of one encoder"):
        check_alike({"a": own, "b": {**own, "tokenizer": "0" * 64}})
    with pytest.raises(InputError, match="b: its architecture is 'XLNetModel', that of a 'BertModel'"):
        check_alike({"a": own, "b": {**own, "architecture": "XLNetModel"}})
    with pytest.raises(InputError, match="b: its configuration's num_attention_heads is 4, that of a 2"):
        check_alike({"a": own, "b": {**own, "configuration's num_attention_heads": 4}})


def test_the_state_of_a_model_with_a_dense_head_is_averaged_whole(dense):
    folder, encoder, tokenizer = dense
    model = load_encoder(str(folder), encoder, tokenizer.pad_id)
    state = {name: value.numpy().copy() for name, value in model.plain_state().items()}
    assert any(name.startswith("heads.") for name in state)
    moved = {name: value + 1 for name, value in state.items()}
    found = average_states({"a": state, "b": moved}, [1, 1])
    assert found.keys() == state.keys()
    for name, value in state.items():
        np.testing.assert_allclose(found[name], value + 0.5, rtol=0, atol=1e-6)


def test_trainings_of_one_start_are_near_and_others_are_not():
    draw = np.random.default_rng(0)
    start = {"w": draw.normal(size=(40, 50)).astype(np.float32), "norm": np.ones(40, np.float32)}
    moved = {"w": start["w"] + np.float32(0.1) * draw.normal(size=(40, 50)).astype(np.float32), "norm": start["norm"]}
    apart = {"w": draw.normal(size=(40, 50)).astype(np.float32), "norm": start["norm"]}
    assert weights_cosine(start, start) == pytest.approx(1)
    assert weights_cosine(start, moved) > 0.98
    assert abs(weights_cosine(start, apart)) < 0.1  # though their norms are the same
    assert weights_cosine({"norm": start["norm"]}, {"norm": start["norm"]}) == 0


def test_a_digest_is_of_names_shapes_and_numbers():
    one = {"a": np.zeros(2, np.float32), "b": np.ones(2, np.float32)}
    assert weights_digest(one) == weights_digest(dict(reversed(one.items())))
    assert weights_digest(one) != weights_digest({**one, "b": np.zeros(2, np.float32)})
    assert weights_digest(one) != weights_digest({**one, "a": np.zeros((2, 1), np.float32)})
