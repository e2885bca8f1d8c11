"""From raw text to token batches: pairs per CPU-second against sentence-transformers' loader, and memory by size.

    python benchmarks/stream.py --data a.jsonl.gz [b.jsonl.gz ...] --encoder FOLDER [--sizes 20000 200000 2000000]

Speed (A B A B, one process each): the same texts, tokenizer, lengths and batch size, one thread. Every text stands
once and is distinct, the worst case for a store that tokenises a text once. The peer's time is that of its trainer's
data loader alone (batch sampler, `datasets.Dataset`, collator that tokenises). Ours counts every process of the tree
(driver, Ray's workers, raylet, control store) and reading, checking, numbering, clustering, tokenising and writing.
What a Ray pipeline costs to start is a constant: measured on almost no data, subtracted and printed.

Memory (one process tree a size; short texts, a small tokenizer): peaks of resident memory, the largest process and all
together (pages shared by several count in each), while building and while streaming.
"""

import argparse
import dataclasses
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import count, islice
from pathlib import Path

from process_tree import Tree

FEW = 64  # pairs of the store that shows what starting costs
LETTERS = 120  # of a text where memory is measured, so that millions of them end in minutes


def write_groups(files, pairs, out, letters=None):
    """Groups of real texts (their first ``letters``), each behind a number of its own, that hold so many mono pairs."""
    numbers, written = count(), 0
    with out.open("w", encoding="utf-8") as sink:
        while True:
            for name in files:
                with gzip.open(name, "rt", encoding="utf-8") as lines:
                    for line in lines:
                        row = json.loads(line)
                        both = list(islice((x for x in row["queries"] if x in row["passages"]), pairs - written))
                        if not both:
                            continue
                        sides = {
                            side: {x: f"{next(numbers)} {row[side][x][:letters]}" for x in both}
                            for side in ("queries", "passages")
                        }
                        sink.write(json.dumps({"group_id": str(next(numbers)), **sides}, ensure_ascii=False) + "\n")
                        written += len(both)
                        if written == pairs:
                            return


def recipe_of(file, given):
    from hybridtune.config.fields import Data, Encoder
    from hybridtune.data.store import recipe

    lengths = {"query_length": given.length, "passage_length": given.length}
    encoder = Encoder(name=given.encoder, query_prefix="", passage_prefix="", **lengths)
    return recipe(Data(train=[{"path": str(file)}]), encoder)


def small_recipe_of(file, tokenizer):
    """A recipe with the tokenizer of a file."""
    from hybridtune.config.fields import Data, Encoder, Tiny
    from hybridtune.data.store import recipe
    from hybridtune.model.tokenizer import Tokenizer

    encoder = Encoder(query_length=32, passage_length=64, tiny=Tiny(vocab_size=8000))
    made_of = recipe(Data(train=[{"path": str(file)}]), encoder)
    return dataclasses.replace(made_of, tokenizer=Tokenizer(tokenizer.read_text(encoding="utf-8"), 0))


def ray_here():
    from hybridtune.config.fields import Resources
    from hybridtune.runtime.local import capacity, local_cluster

    return local_cluster(capacity(Resources(workers=1)), dashboard=False)


def peer(folder, given):
    """Seconds of this process for one epoch of the trainer's data loader."""
    import torch
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    torch.set_num_threads(1)
    groups = [json.loads(line) for line in (folder / "pairs.jsonl").open(encoding="utf-8")]
    pairs = [(row["queries"][x], row["passages"][x]) for row in groups for x in row["queries"]]
    body = Transformer(given.encoder, max_seq_length=given.length)
    model = SentenceTransformer(modules=[body, Pooling(body.get_embedding_dimension(), "mean")], device="cpu")
    trainer = SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(
            str(folder / "peer"), per_device_train_batch_size=given.batch, report_to=[], use_cpu=True
        ),
        train_dataset=Dataset.from_dict({"anchor": [q for q, _ in pairs], "positive": [p for _, p in pairs]}),
        loss=MultipleNegativesRankingLoss(model),
    )
    loader = trainer.get_train_dataloader()
    began, seen = time.process_time(), 0
    for batch in loader:
        seen += len(batch["anchor_input_ids"])
    return {"pairs": seen, "cpu": time.process_time() - began}


def build(folder, given):
    """Seconds of the tree for a store of a few groups, and for that of all."""
    from hybridtune.data.store import build_store

    cpu = {}
    with ray_here(), Tree() as tree, tempfile.TemporaryDirectory(dir=folder) as root:
        for name in ("few", "few", "pairs"):  # the first warms Ray up
            before = tree.cpu()
            began = time.perf_counter()
            store = build_store(Path(root) / f"{name}{len(cpu)}", recipe_of(folder / f"{name}.jsonl", given))
            cpu[name] = tree.cpu() - before
            cpu[f"wall_{name}"] = time.perf_counter() - began
        store.path.rename(folder / "store")
    return {"pairs": given.pairs, "cpu": cpu["pairs"] - cpu["few"], "start": cpu["few"], "wall": cpu["wall_pairs"]}


def stream(folder, given):
    """Seconds of the tree for token batches, after a first stream; and of the plan alone."""
    from hybridtune.data.plan import HybridPlan
    from hybridtune.data.store import TokenStore
    from hybridtune.data.stream import token_batches

    store = folder / "store"
    plan = HybridPlan(
        TokenStore.open(store).corpus(), mixing_ratio=0.5, sampling_exponent=0.5, batch_size=given.batch, seed=1
    )
    cpu, steps, place = {}, given.streamed // given.batch, {"rank": 0, "workers": 1}
    began = time.process_time()
    for _ in plan.batches(0, steps):
        pass
    planned, tokens = time.process_time() - began, 0
    with ray_here(), Tree() as tree:
        for stop in (given.batch, given.batch, steps):  # the first warms Ray up
            before, began, first = tree.cpu(), time.perf_counter(), 0.0
            for batch in token_batches(plan, store, start=0, stop=stop, **place):
                first = first or time.perf_counter() - began
                tokens += len(batch.ids)
            cpu[stop] = tree.cpu() - before
    extra = (steps - given.batch) * given.batch
    return {
        "pairs": extra,
        "cpu": cpu[steps] - cpu[given.batch],
        "start": cpu[given.batch],
        "first": first,
        "plan": planned * extra / (steps * given.batch),
    }


def memory(folder, given):
    """Peaks of the tree while a store is built and while it is streamed, with a small tokenizer."""
    from hybridtune.data.plan import HybridPlan
    from hybridtune.data.store import TokenStore, build_store
    from hybridtune.data.stream import token_batches

    began, rate = time.perf_counter(), 0.0
    with ray_here(), Tree() as tree:
        if given.measure[0] == "memory_build":
            store = build_store(folder / "root", small_recipe_of(folder / "pairs.jsonl", folder / "tokenizer.json"))
            store.path.rename(folder / "store")
        else:
            corpus = TokenStore.open(folder / "store").corpus()
            plan = HybridPlan(corpus, mixing_ratio=0.5, sampling_exponent=0.5, batch_size=given.batch, seed=1)
            steps = given.streamed // given.batch
            for batch in token_batches(plan, folder / "store", start=0, stop=steps, rank=0, workers=1):
                if batch.step == steps // 5:
                    before = tree.cpu()
            rate = (steps - steps // 5) * given.batch / (tree.cpu() - before)
        cpu = tree.cpu()
    return tree.peaks | {"seconds": time.perf_counter() - began, "cpu": cpu, "rate": rate}


MEASURES = {"peer": peer, "build": build, "stream": stream, "memory_build": memory, "memory_stream": memory}


def run(what, folder, given):
    """The measure in a process of its own."""
    options = ["--encoder", given.encoder, "--pairs", given.pairs, "--batch", given.batch, "--length", given.length]
    command = [sys.executable, __file__, *options, "--streamed", given.streamed, "--measure", what, folder]
    quiet = os.environ | {"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, text=True, check=True, env=quiet)
    return json.loads(done.stdout.splitlines()[-1])


def speed(given):
    rates = {"peer": [], "build": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_groups(given.data, given.pairs, folder / "pairs.jsonl")
        write_groups(given.data, FEW, folder / "few.jsonl")
        for turn, what in enumerate(("peer", "build", "peer", "build")):
            found = run(what, folder, given)
            rates[what].append(found["pairs"] / found["cpu"])
            start = f" (start, apart: {found['start']:.1f} CPU-s; {found['wall']:.1f} s)" if "start" in found else ""
            print(
                f"{what:6} {found['pairs']:9,} pairs: {rates[what][-1]:9,.0f} pairs per CPU-second{start}", flush=True
            )
            if turn == 1:
                subprocess.run(["rm", "-r", str(folder / "store")], check=True)
        found = run("stream", folder, given)
    theirs, raw = sum(rates["peer"]) / 2, sum(rates["build"]) / 2
    stored, bare = found["pairs"] / found["cpu"], found["pairs"] / (found["cpu"] - found["plan"])
    print(
        f"store  {found['pairs']:9,} pairs: {stored:9,.0f} pairs per CPU-second, {bare:,.0f} without the plan's "
        f"{found['plan']:.1f} CPU-s (start: {found['start']:.1f} CPU-s; first batch after {found['first']:.2f} s)"
    )
    print(f"raw text, ours over the peer's:       x {raw / theirs:.2f}")
    print(f"from the store, ours over the peer's: x {stored / theirs:.1f} (without the plan x {bare / theirs:.1f})")


def memories(given):
    from hybridtune.model.tokenizer import train_tokenizer

    small = {}
    for size in given.sizes:
        given.pairs = size
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_groups(given.data, min(given.sizes), folder / "pairs.jsonl", LETTERS)  # one tokenizer for all sizes
            tokenizer = train_tokenizer((folder / "pairs.jsonl").read_text(encoding="utf-8").splitlines(), 8000)
            (folder / "tokenizer.json").write_text(tokenizer.definition, encoding="utf-8")
            write_groups(given.data, given.pairs, folder / "pairs.jsonl", LETTERS)
            for what in ("memory_build", "memory_stream"):
                peaks = run(what, folder, given)
                first = small.setdefault(what, peaks)
                rate = f", {peaks['rate']:,.0f} pairs per CPU-second" if peaks["rate"] else ""
                print(
                    f"{what:13} {given.pairs:9,} pairs: largest process {peaks['largest']:5,} MB (x "
                    f"{peaks['largest'] / first['largest']:.2f}), driver {peaks['driver']:,} MB, all together "
                    f"{peaks['sum']:,} MB, of it private {peaks['private']:,} MB; {peaks['seconds']:.0f} s, "
                    f"{peaks['cpu']:.0f} CPU-seconds{rate}",
                    flush=True,
                )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", help="native files, .jsonl.gz")
    parser.add_argument("--encoder", required=True)
    parser.add_argument("--pairs", type=int, default=20_000, help="of the speed measurement; 0 leaves it out")
    parser.add_argument("--streamed", type=int, default=1_000_000, help="pairs taken from the store")
    parser.add_argument("--sizes", type=int, nargs="*", default=[20_000, 200_000, 2_000_000])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(MEASURES[given.measure[0]](Path(given.measure[1]), given)))
        return
    if given.pairs:
        speed(given)
    memories(given)
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
