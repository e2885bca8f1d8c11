from hypothesis import given
from hypothesis import strategies as st

from hybridtune.translate.batches import batches_by_length, translate_window
from hybridtune.translate.cache import Direction
from hybridtune.translate.engine import TOO_LONG, Translation
from hybridtune.translate.wanted import Window

LENGTHS = st.lists(st.integers(1, 40), max_size=60)


@given(LENGTHS, st.integers(1, 100))
def test_each_text_is_in_one_batch_of_bounded_size(lengths, most):
    batches = list(batches_by_length(lengths, most))
    assert sorted(n for batch in batches for n in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[n] for n in batch) <= most
    ordered = [lengths[n] for batch in batches for n in batch]
    assert ordered == sorted(lengths, reverse=True)


class Echo:
    """An engine whose tokens are words; it notes the batches that it is given."""

    def __init__(self):
        self.tokenizer, self.batches = self, []

    def encode(self, texts, source, target):
        return [text.split() for text in texts]

    def translate(self, rows, target):
        self.batches.append([" ".join(row) for row in rows])
        return [Translation(f"{target} {' '.join(row)}", True) for row in rows]


@given(st.lists(st.integers(1, 12), min_size=1, max_size=40), st.integers(8, 40), st.data())
def test_an_interrupted_window_goes_on_with_the_batches_that_it_left(lengths, most, data):
    texts = [" ".join([f"w{n}"] * length) for n, length in enumerate(lengths)]
    window = Window(3, Direction("en", "sw"), texts)
    whole, rest = Echo(), Echo()
    done = list(translate_window(whole, window, range(len(texts)), most, 100))
    kept = data.draw(st.integers(0, len(done)))
    left = [n for batch in done[kept:] for n in batch.rows]
    again = list(translate_window(rest, window, left, most, 100))
    assert whole.batches[:kept] + rest.batches == whole.batches
    assert again == done[kept:]


def test_a_text_with_too_many_tokens_is_not_translated():
    engine, window = Echo(), Window(0, Direction("en", "sw"), ["a b c", "d", "e f"])
    found = {
        n: t
        for done in translate_window(engine, window, [0, 1, 2], 100, 2)
        for n, t in zip(done.rows, done.translations, strict=True)
    }
    assert found == {0: TOO_LONG, 1: Translation("sw d", True), 2: Translation("sw e f", True)}
    assert engine.batches == [["e f", "d"]]
