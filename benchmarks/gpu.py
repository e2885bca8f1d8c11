"""What a worker does with its card, beside sentence-transformers on it: training and encoding, in one command.

    python benchmarks/gpu.py                        # on a GPU: under 8 minutes
    python benchmarks/gpu.py --device cpu --tiny    # does it still run? Its figures say nothing

The training step, the feed and the encoder are called as a worker calls them, over batches that are tokenised before;
so nothing is said of Ray. The peer has the same weights, pairs, batch, lengths and half precision, pinned memory and a
fused AdamW, and tokenises as it goes. MFU is the floating-point work that the texts' own tokens need (padding counts as
no work), a second, over what a large product of matrices reaches on the card. "host" is the time until the host has
given a step to the device, "waits" the calls of a step at which it stood still until the device had caught up, "busy"
the share of time in which a kernel ran. Without `--data` the pairs are the embedded corpus's, without `--encoder` the
encoder is a random BERT of 12 layers and width 384. Needs `pip install sentence-transformers datasets`.
"""

import argparse
import itertools
import os
import statistics
import tempfile
import time
import warnings
from pathlib import Path

os.environ |= {"TOKENIZERS_PARALLELISM": "true", "TRANSFORMERS_VERBOSITY": "error"}

import numpy as np
import torch
import trainers
from train import build_encoder, write_pairs

from hybridtune.data.stream import TokenBatch
from hybridtune.model.encoder import load_encoder
from hybridtune.model.precision import native_half
from hybridtune.model.tokenizer import pretrained_tokenizer
from hybridtune.train.feed import Feed
from hybridtune.train.step import TrainingStep

PRECISIONS = {torch.bfloat16: "bf16", torch.float16: "fp16", None: "float32"}
PEAK_SIDE = {"cuda": 8192, "cpu": 512}  # of the square matrices whose product is the limit


class Work:
    """The pairs as token ids, and the work that they are."""

    def __init__(self, options, folder, study):
        self.tokenizer, self.batch = pretrained_tokenizer(study.encoder.name), options.batch
        pairs = trainers.read_pairs(folder)
        sides = [self.tokenizer.encode(list(side), "", options.length) for side in zip(*pairs, strict=True)]
        self.queries, self.passages = ([np.array(ids, np.int32) for ids in side] for side in sides)

    def batches(self):
        """Batches without end; a pair comes again after all others."""
        for step in itertools.count():
            rows = [(step * self.batch + row) % len(self.queries) for row in range(self.batch)]
            texts = [side[row] for side in (self.queries, self.passages) for row in rows]
            none = np.zeros(0, np.int32)
            yield TokenBatch(
                step=step,
                kind="mono",
                ids=np.concatenate(texts),
                lengths=np.array([len(text) for text in texts], np.int32),
                answer_sets=np.array(rows, np.int32),
                languages=np.zeros((self.batch, 2), np.int32),
                negative_answer_sets=none,
                negative_rows=none,
                negative_margins=none.astype(np.float32),
                taught=np.full(len(texts), -1, np.int32),
                asked_twice=np.zeros(self.batch, bool),
            )

    def flop_a_step(self, config):
        """Operations of a mean training step: the backward is two forwards; an addition is one too."""
        lengths = np.array([len(text) for text in (*self.queries, *self.passages)])
        return 3 * forward_flop(config, lengths) * self.batch / len(self.queries)


def forward_flop(config, lengths):
    width, inner = config.hidden_size, config.intermediate_size
    linear = 2 * (4 * width**2 + 2 * width * inner) * lengths.sum()
    return config.num_hidden_layers * float(linear + 4 * width * (lengths.astype(float) ** 2).sum())


def synchronize(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(call, device, times=5):
    taken = []
    for _ in range(times + 1):
        synchronize(device)
        began = time.perf_counter()
        call()
        synchronize(device)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[1:])


def peak_flops(device, half):
    side = PEAK_SIDE[device.type]
    one, other = (torch.randn(side, side, device=device).to(half or torch.float32) for _ in range(2))
    return 2 * side**3 / seconds_of(lambda: one @ other, device)


def waits_of(step, steps):
    """Calls a step at which the host waits for the card, and where they stand in the code."""
    torch.cuda.set_sync_debug_mode("warn")
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        for _ in range(steps):
            step()
    torch.cuda.set_sync_debug_mode("default")
    places = [f"{Path(one.filename).name}:{one.lineno}" for one in heard if "synchronizing" in str(one.message)]
    return len(places) / steps, sorted(set(places))


def busy_share(step, steps, device):
    """The share of time in which a kernel runs; one after the other, so that their times add up."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        began = time.perf_counter()
        for _ in range(steps):
            step()
        synchronize(device)
        span = time.perf_counter() - began
    return sum(row.self_device_time_total for row in seen.key_averages()) / 1e6 / span


def ours(options, work, study, name, limit):
    """The training step as a worker runs it; pairs a second."""
    device = torch.device(options.device)
    training = TrainingStep(study, study.encoder.name, work.tokenizer.pad_id, device, 0)
    with Feed(work.batches(), device, study.train.chunk_size) as feed:
        coming = feed.batches(training.lay_out)

        def step():
            training.step(next(coming))

        for _ in range(trainers.WARM):
            step()
        synchronize(device)
        began = time.perf_counter()
        for _ in range(options.steps):
            step()
        host = (time.perf_counter() - began) / options.steps
        synchronize(device)
        seconds = (time.perf_counter() - began) / options.steps
        more = f"host {1e3 * host:.1f} ms"
        if device.type == "cuda":
            waits, places = waits_of(step, 3)
            more += f", waits {waits:.1f}, busy {100 * busy_share(step, 5, device):.0f} %"
            more += f", {torch.cuda.max_memory_allocated(device) / 2**30:.1f} GiB"
            more += f"\n    waits at {', '.join(places)}" if places else ""
        coming.close()
    told(options, work, training.model.backbone.config, name, seconds, limit, more)


def told(options, work, config, name, seconds, limit, more=""):
    rate, share = options.batch / seconds, work.flop_a_step(config) / seconds / limit
    print(f"{name:44} {rate:9.1f} pairs/s {1e3 * seconds:9.1f} ms a step, MFU {100 * share:5.1f} % {more}", flush=True)


def peer(options, folder, work, config, limit):
    """sentence-transformers' trainer on the same pairs."""
    began = {"steps": options.steps + trainers.WARM}
    result = trainers.peer(argparse.Namespace(**vars(options) | began), folder)
    told(options, work, config, "sentence-transformers, its trainer", result["seconds"] / options.steps, limit)


def encode(options, folder, study, work, half):
    """The passages, as `hybridtune evaluate` encodes them and as sentence-transformers does; texts a second."""
    from sentence_transformers import SentenceTransformer

    device, name = torch.device(options.device), study.encoder.name
    model = load_encoder(name, study.encoder, work.tokenizer.pad_id).to(device).eval()
    rows = work.passages * options.repeats
    blocks = [rows[first : first + 1024] for first in range(0, len(rows), 1024)]
    seconds = seconds_of(lambda: [*model.embed_blocks(blocks)], device, 2)
    print(f"{'hybridtune, blocks of 1,024 token ids':44} {len(rows) / seconds:9.1f} texts/s", flush=True)
    texts = [passage for _, passage in trainers.read_pairs(folder)] * options.repeats
    other = SentenceTransformer(name, device=options.device, model_kwargs={"dtype": half or torch.float32})
    other.max_seq_length = options.length
    settings = {"batch_size": 256 if device.type == "cuda" else 32, "show_progress_bar": False}
    seconds = seconds_of(lambda: other.encode(texts, **settings), device, 2)
    print(f"{'sentence-transformers, texts':44} {len(texts) / seconds:9.1f} texts/s", flush=True)
    theirs = np.asarray(other.encode(texts[:64], normalize_embeddings=True, **settings), np.float32)
    least = float((theirs * model.embed_by_length(rows[:64])).sum(1).min())
    print(f"the least cosine of the two systems' vectors of 64 texts: {least:.4f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="newsroom:train", help="native files, folder or glob")
    parser.add_argument("--encoder", help="a model folder; default: a random BERT")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--vocabulary", type=int, default=16000)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--pairs", type=int, default=8000)
    parser.add_argument("--repeats", type=int, default=8, help="times that the passages are encoded")
    parser.add_argument("--minutes", type=float, default=7.0, help="after which no further part begins")
    parser.add_argument("--device", default="cuda", choices=["cpu", "cuda"])
    parser.add_argument("--tiny", action="store_true", help="small sizes, to see that it runs")
    options = parser.parse_args()
    if options.tiny:
        small = {"layers": 1, "width": 64, "vocabulary": 500, "batch": 4, "length": 16, "steps": 2, "pairs": 40}
        options = argparse.Namespace(**vars(options) | small | {"repeats": 1})
    device, until = torch.device(options.device), time.monotonic() + 60 * options.minutes
    half = native_half(device, True) if device.type == "cuda" else None
    options.precision, options.threads = PRECISIONS[half], torch.get_num_threads()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        count = write_pairs(options.data, folder, options.pairs)
        build_encoder(options, folder)
        study = trainers.study_of(options, folder)
        work, limit = Work(options, folder, study), peak_flops(device, half)
        config = load_encoder(study.encoder.name, study.encoder, work.tokenizer.pad_id).backbone.config
        card = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
        print(f"{card}, torch {torch.__version__}, {options.precision}, {limit / 1e12:.2f} TFLOP/s of products")
        print(f"{count} pairs, batch {options.batch}, {work.flop_a_step(config) / 1e12:.3f} TFLOP a step", flush=True)
        apart = study.with_values({"train.dropout": 0.1})
        parts = [
            lambda: ours(options, work, study, "hybridtune", limit),
            lambda: ours(options, work, apart, "hybridtune, attention dropout (groups)", limit),
            lambda: peer(options, folder, work, config, limit),
            lambda: encode(options, folder, study, work, half),
            lambda: ours(options, work, study.with_values({"train.compile": True}), "hybridtune, compiled", limit),
        ]
        for part in parts[:4] if device.type == "cpu" else parts:
            if time.monotonic() > until:
                print("no time left for more")
                break
            part()
            if device.type == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats(device)


if __name__ == "__main__":
    main()
