"""Batches on their way to the device: chunks of the size asked for, one batch ahead, and nothing left behind."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from hybridtune.data.stream import TokenBatch
from hybridtune.train.feed import Feed
from hybridtune.train.feed import on_device as prepared

CPU = torch.device("cpu")


def as_they_are(texts):
    return texts


def on_device(batch, device, size, teacher=None):
    return prepared(batch, device, size, as_they_are, teacher)


def token_batch(step=0, pairs=2, negatives=0, slots=0, second=0):
    lengths = np.arange(1, 2 * pairs + negatives + second + 1, dtype=np.int32)
    ids = np.arange(lengths.sum(), dtype=np.int32)
    answer_sets, languages = np.arange(pairs, dtype=np.int32), np.zeros((pairs, 2), np.int32)
    taught = np.where(np.arange(len(lengths)) % 2, -1, np.arange(len(lengths))).astype(np.int32)
    twice = np.arange(pairs) < second
    answered, of = np.full(slots, -1, np.int32), np.arange(slots, dtype=np.int32) % pairs
    margins = np.where(np.arange(slots) < negatives, np.arange(slots) / 2, np.nan).astype(np.float32)
    return TokenBatch(step, "mono", ids, lengths, answer_sets, languages, answered, of, margins, taught, twice)


class Vectors:
    """Stands in for a teacher's: text n has n + 1 in both of its numbers, and none has zeros."""

    def take(self, numbers):
        return np.repeat(numbers[:, None] + 1, 2, axis=1).astype(np.float32)


def test_the_vectors_of_a_teacher_travel_with_the_texts_that_it_reads():
    batch = token_batch(negatives=1)
    assert on_device(batch, CPU, 2, Vectors()).taught[:, 0].tolist() == [1, 0, 3, 0, 5]
    assert on_device(batch, CPU, 2).taught is None
    unread = replace(batch, taught=np.full(5, -1, np.int32))
    assert on_device(unread, CPU, 2, Vectors()).taught is None


@pytest.mark.parametrize("negatives", range(7))
@pytest.mark.parametrize("size", [1, 2, 3, 4, 9, None])
def test_no_chunk_holds_more_texts_than_asked_and_together_they_hold_all(size, negatives):
    batch = token_batch(negatives=negatives, slots=6)
    given = on_device(batch, CPU, size)
    assert max(map(len, given.chunks)) <= (size or 10)
    assert len(given.chunks) == (-(-(4 + negatives) // size) if size else 1)
    assert torch.cat([chunk.ids for chunk in given.chunks]).tolist() == batch.ids.tolist()
    assert torch.cat([chunk.lengths for chunk in given.chunks]).tolist() == batch.lengths.tolist()
    assert (given.pairs, given.texts, len(given.negative_answer_sets)) == (2, 4 + negatives, 6)


def test_the_scores_of_the_data_travel_with_the_hard_negatives():
    given = on_device(token_batch(negatives=3, slots=4), CPU, 2)
    assert given.negative_rows.tolist() == [0, 1, 0, 1]
    assert given.negative_margins[:3].tolist() == [0, 0.5, 1]
    assert given.negative_margins.isnan().tolist() == [False, False, False, True]
    assert given.negative_margins.dtype == torch.float32


@pytest.mark.parametrize("second", [0, 1, 2])
def test_second_queries_are_told_from_hard_negatives(second):
    given = on_device(token_batch(negatives=3, slots=6, second=second), CPU, 2)
    assert (given.texts, given.negatives, given.asked_twice.tolist()) == (7 + second, 3, list(range(second)))


def stream(steps, closed):
    try:
        yield from (token_batch(step) for step in range(steps))
    finally:
        closed.append(True)


def test_batches_come_in_order_and_a_consumer_that_stops_leaves_nothing_behind():
    seen, closed = [], []
    with Feed(stream(5, closed), CPU, None) as feed:
        for batch in feed.batches(as_they_are):
            seen.append(batch.step)
            if batch.step == 2:
                break
    assert seen == [0, 1, 2]
    assert closed == [True]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("feed")]


def test_the_first_batch_is_made_before_it_is_asked_for():
    made = threading.Event()

    def batches():
        made.set()
        yield token_batch()

    with Feed(batches(), CPU, None):
        assert made.wait(60)


def test_an_error_of_the_data_reaches_the_training():
    def broken():
        yield token_batch()
        raise OSError("the store is gone")

    with Feed(broken(), CPU, None) as feed:
        batches = feed.batches(as_they_are)
        assert next(batches).step == 0
        with pytest.raises(OSError, match="the store is gone"):
            next(batches)


def test_texts_are_laid_out_ahead_in_the_thread_and_the_first_ones_wait_for_whoever_can():
    laid_out = []

    def lay_out(texts):
        laid_out.append((len(texts), threading.current_thread().name))
        return replace(texts, layout=f"layout {len(laid_out)}")

    with Feed(stream(3, []), CPU, 3) as feed:
        layouts = [[chunk.layout for chunk in batch.chunks] for batch in feed.batches(lay_out)]
    assert layouts == [[f"layout {n}", f"layout {n + 1}"] for n in (1, 3, 5)]
    assert laid_out == [(2, "feed_0")] * 6
