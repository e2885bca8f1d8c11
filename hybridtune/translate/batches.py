"""Windows of texts cut into batches of like lengths, and translated by an engine."""

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from hybridtune.translate.engine import TOO_LONG, Engine, Translation
from hybridtune.translate.wanted import Window


class Done(NamedTuple):
    """Texts of a window that are translated."""

    window: int
    rows: list[int]  # positions in the window
    translations: list[Translation]


def batches_by_length(lengths: Sequence[int], most_tokens: int) -> Iterator[list[int]]:
    """Cut texts into batches of like lengths, longest first: number of texts times the longest is at most a number.

    Example:
        >>> list(batches_by_length([3, 9, 4, 8], 16))
        [[1], [3, 2], [0]]
    """
    order = sorted(range(len(lengths)), key=lambda n: (-lengths[n], n))
    batch: list[int] = []
    for n in order:
        if batch and (len(batch) + 1) * lengths[batch[0]] > most_tokens:
            yield batch
            batch = []
        batch.append(n)
    if batch:
        yield batch


def translate_window(
    engine: Engine, window: Window, wanted: Collection[int], batch_tokens: int, most_tokens: int
) -> Iterator[Done]:
    """Translate the wanted texts of a window, a batch at a time.

    Batches are cut of the whole window, so that those of an interrupted run are the same when it goes on; a text of
    more than ``most_tokens`` is not translated.
    """
    rows = engine.tokenizer.encode(window.texts, *window.direction)
    lengths = list(map(len, rows))
    long = [n for n in sorted(wanted) if lengths[n] > most_tokens]
    if long:
        yield Done(window.number, long, [TOO_LONG] * len(long))
    fitting = [n for n in range(len(rows)) if lengths[n] <= most_tokens]
    for batch in batches_by_length([lengths[n] for n in fitting], batch_tokens):
        chosen = [fitting[n] for n in batch if fitting[n] in wanted]
        if chosen:
            yield Done(window.number, chosen, engine.translate([rows[n] for n in chosen], window.direction.target))
