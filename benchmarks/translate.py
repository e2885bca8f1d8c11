"""Throughput of `hybridtune translate` beside bare CTranslate2 on the very same batches, in one run.

    python benchmarks/translate.py [--texts 2400] [--threads 1] [--width 512] [--layers 6]

A Transformer of OPUS-MT's size with random weights, whose texts all run into the most tokens: both decode alike.
Bare: rows of tokens in and out, batch after batch, in this process. The command: Ray Data, tokens from and to text, and
a transaction of the cache for every batch. Both from the first finished batch on, so without the start of Ray and the
loading of the model, which is printed beside; the pool has then begun the next batch, so there should be many of them.
CPU-seconds are of all processes. Bare runs before and after.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import ctranslate2
from process_tree import Tree

from hybridtune.callbacks import StudyCallback
from hybridtune.config.fields import Resources
from hybridtune.runtime.local import capacity, local_cluster
from hybridtune.translate.batches import batches_by_length
from hybridtune.translate.cache import Direction, open_cache
from hybridtune.translate.engine import Decoding
from hybridtune.translate.models import convert, find_model
from hybridtune.translate.pool import RayPool
from hybridtune.translate.recipe import EngineRecipe
from hybridtune.translate.wanted import Windows, Wish

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import translators

BATCH_TOKENS, MOST_TOKENS = 1024, 32
TO_SW = Direction("en", "sw")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=2400)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--layers", type=int, default=6)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        recipe, model = prepare(Path(folder), given)
        windows = Windows(64 * BATCH_TOKENS)
        sentences = translators.texts()
        for n in range(given.texts):
            windows.add(Wish("passages", TO_SW, f"{sentences[n % len(sentences)]} {n}"))
        windows = windows.finish()
        engine = recipe.open()
        rows = [engine.tokenizer.encode(window.texts, *TO_SW) for window in windows]
        batches = [
            [window[n] for n in batch]
            for window in rows
            for batch in batches_by_length(list(map(len, window)), BATCH_TOKENS)
        ]
        before = bare(recipe, batches)
        ours = measure(recipe, windows, open_cache(Path(folder) / "cache", model, recipe.decoding))
        after = bare(recipe, batches)
    report(given, batches, before, ours, after)


def prepare(folder, given):
    made = translators.marian(folder / "model", layers=given.layers, width=given.width, heads=8)
    model = find_model(str(made))
    decoding = Decoding("ctranslate2", "int8", 1, MOST_TOKENS)
    weights = convert(model, "int8", StudyCallback())
    return EngineRecipe(model.family, model.name, model.folder, weights, decoding, "cpu", given.threads), model


def bare(recipe, batches):
    """Wall and CPU seconds of CTranslate2 alone, from the second batch on, as ours are."""
    translator = ctranslate2.Translator(str(recipe.weights), compute_type="int8", intra_threads=recipe.threads)
    for number, batch in enumerate(batches):
        translator.translate_batch(batch, beam_size=1, max_decoding_length=MOST_TOKENS, max_input_length=0)
        if number == 0:
            began = time.perf_counter(), time.process_time()
    return time.perf_counter() - began[0], time.process_time() - began[1]


def measure(recipe, windows, opened):
    """Seconds until the first batch, then wall and CPU seconds of the rest, of all processes."""
    started = time.perf_counter()
    with local_cluster(capacity(Resources(evaluators=1)), dashboard=False), Tree() as tree, opened as cache:
        began = None
        for done in RayPool(recipe, 1, BATCH_TOKENS)([(window, range(len(window.texts))) for window in windows]):
            texts = [windows[done.window].texts[n] for n in done.rows]
            cache.add(TO_SW, texts, done.translations)
            began = began or (time.perf_counter(), tree.cpu())
        return began[0] - started, time.perf_counter() - began[0], tree.cpu() - began[1]


def report(given, batches, before, ours, after):
    texts = sum(map(len, batches[1:]))
    wall, cpu = ((one + other) / 2 for one, other in zip(before, after, strict=True))
    first, our_wall, our_cpu = ours
    print(
        f"{texts} texts in {len(batches) - 1} batches, {given.layers}+{given.layers} layers, width {given.width}, int8,"
    )
    print(f"{given.threads} thread(s); {first:.1f} s until the first batch (Ray, the model, the batch itself)")
    print(f"bare CTranslate2 {wall:7.1f} s wall {cpu:7.1f} CPU-s  (before {before[0]:.1f}, {before[1]:.1f};", end=" ")
    print(f"after {after[0]:.1f}, {after[1]:.1f})")
    print(f"hybridtune       {our_wall:7.1f} s wall {our_cpu:7.1f} CPU-s")
    print(f"throughput       {wall / our_wall:7.0%} wall  {cpu / our_cpu:6.0%} by CPU-seconds")


if __name__ == "__main__":
    main()
