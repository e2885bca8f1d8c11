"""The estimate of a translation: texts, tokens, time and disk, from a sample of its own batches run on this machine."""

import time
from typing import Any

from hybridtune.callbacks import StudyCallback, phase
from hybridtune.translate.batches import batches_by_length
from hybridtune.translate.cache import Cache, Direction, untranslated
from hybridtune.translate.engine import Engine
from hybridtune.translate.recipe import EngineRecipe
from hybridtune.translate.wanted import Window, Windows

_BATCHES = 6  # that are run, at most
_SECONDS = 20.0  # after which no further one is begun
_ROW_BYTES = 80  # of the cache beside the text: digest, languages, and what SQLite adds


def estimate(
    cache: Cache, recipe: EngineRecipe, windows: Windows, workers: int, batch_tokens: int, callback: StudyCallback
) -> dict[str, Any]:
    """Return what is left to translate and what it will take; a few batches are run, and nothing is written."""
    pending = [(window, untranslated(cache, window.direction, window.texts)) for window in windows.windows]
    pending = [(window, wanted) for window, wanted in pending if wanted]
    by_direction: dict[str, int] = {}
    for window, wanted in pending:
        by_direction[str(window.direction)] = by_direction.get(str(window.direction), 0) + len(wanted)
    texts, asked = sum(by_direction.values()), sum(len(window.texts) for window in windows.windows)
    result: dict[str, Any] = {"texts": windows.asked, "distinct": asked, "from_cache": asked - texts, "left": texts}
    result |= {"by_direction": by_direction}
    if not pending:
        return result | {"tokens": 0, "seconds": 0.0, "cache_bytes": 0, "file_bytes": 0}
    began = time.perf_counter()
    engine = recipe.open()
    loaded = time.perf_counter() - began
    sample = _Sample()
    with phase(callback, "measuring", "batches") as progress:
        progress(0, _BATCHES)
        _measure(engine, pending, (batch_tokens, recipe.decoding.max_tokens), sample, progress)
    characters = sum(len(window.texts[n]) for window, wanted in pending for n in wanted)
    source_bytes = sum(len(window.texts[n].encode()) for window, wanted in pending for n in wanted)
    written = source_bytes * sample.bytes_out / max(1, sample.bytes_in)
    tokens = characters * sample.tokens_encoded / max(1, sample.characters)
    return result | {
        "tokens": round(tokens),
        "seconds": round(tokens * sample.seconds / max(1, sample.tokens) / workers, 1),
        "seconds_to_load": round(loaded, 1),
        "cache_bytes": round(written + texts * _ROW_BYTES),
        "file_bytes": round(written * windows.asked / asked),
        "measured": {
            "batches": sample.batches,
            "texts": sample.texts,
            "tokens": sample.tokens,
            "seconds": round(sample.seconds, 2),
            "workers": workers,
        },
    }


class _Sample:
    """The figures of the batches that were run."""

    def __init__(self) -> None:
        self.batches = self.texts = self.tokens = self.bytes_in = self.bytes_out = 0
        self.tokens_encoded = self.characters = 0
        self.seconds = 0.0


def _measure(
    engine: Engine, pending: list[tuple[Window, list[int]]], limits: tuple[int, int], sample: _Sample, progress: Any
) -> None:
    """Run batches of the first, middle and last windows: of each one of long and one of short texts.

    The limits are the most tokens of a batch, and of a text.
    """
    batch_tokens, most_tokens = limits
    chosen = sorted({0, len(pending) // 2, len(pending) - 1})
    for number in chosen:
        window, wanted = pending[number]
        texts = [window.texts[n] for n in wanted]
        rows = engine.tokenizer.encode(texts, *window.direction)
        sample.tokens_encoded += sum(map(len, rows))
        sample.characters += sum(map(len, texts))
        fitting = [n for n, row in enumerate(rows) if len(row) <= most_tokens]
        batches = [
            [fitting[n] for n in batch] for batch in batches_by_length([len(rows[n]) for n in fitting], batch_tokens)
        ]
        for batch in [batches[n] for n in sorted({len(batches) // 3, 2 * len(batches) // 3}) if batches]:
            if sample.batches and sample.seconds > _SECONDS:
                return
            _run(engine, window.direction, [texts[n] for n in batch], [rows[n] for n in batch], sample)
            progress(sample.batches, _BATCHES)


def _run(engine: Engine, direction: Direction, texts: list[str], rows: list[list[str]], sample: _Sample) -> None:
    began = time.perf_counter()
    translations = engine.translate(rows, direction.target)
    sample.seconds += time.perf_counter() - began
    sample.batches += 1
    sample.texts += len(texts)
    sample.tokens += sum(map(len, rows))
    sample.bytes_in += sum(len(text.encode()) for text in texts)
    sample.bytes_out += sum(len(translation.text.encode()) for translation in translations)
