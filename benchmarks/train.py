"""Training speed side by side with sentence-transformers' trainer and two bare PyTorch loops; ratios from one run.

    python benchmarks/train.py                                        # a random 2-layer BERT, the embedded corpus
    python benchmarks/train.py --data PAIRS.jsonl.gz --encoder FOLDER # real pairs, a real encoder
    python benchmarks/train.py --device cuda --batch 256 --precision bf16

Same encoder, texts, batch, lengths, precision and threads; each system in a process of its own, in turns (A B A B).
What is counted is CPU time between the steps WARM and STEPS (on a GPU: wall time): for ours of the whole tree of
processes that a fit needs (Ray's daemons, the data pipeline, the driver, the worker) and, apart, of the worker alone;
for the others of their one process. The peer is MultipleNegativesRankingLoss. The loops have their batches tokenised
and on the device before they start, and nothing around the model: the padded one pads to the longest text and encodes
queries and passages one after the other, the packed one has our encoder, which pads little or nothing. What Ray, the
stream and the scores cost is the packed loop's rate over that of all processes.
Needs `pip install sentence-transformers datasets`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import trainers
from trainers import WARM, read_pairs

SYSTEMS = ("ours", "peer", "padded", "packed")


def write_pairs(data, folder, most):
    """One group a pair, all called one language: the plan then makes plain shuffled batches of them."""
    from hybridtune.data.readers.sources import find_sources, read_groups

    pairs, seen = [], set()
    for source in find_sources([data]):
        for group in read_groups(source):
            for language in sorted(group.queries.keys() & group.passages.keys()):
                query, passage = group.queries[language], group.passages[language]
                if passage not in seen and len(pairs) < most:
                    seen.add(passage)  # a passage that stands twice would be kept out of batches by one system only
                    pairs.append((query, passage))
    lines = (
        json.dumps({"group_id": str(n), "queries": {"en": query}, "passages": {"en": passage}}, ensure_ascii=False)
        for n, (query, passage) in enumerate(pairs)
    )
    (folder / "pairs.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(pairs)


def build_encoder(options, folder):
    """The encoder's folder, in the layout that all open."""
    from hybridtune.config.fields import Encoder, Tiny
    from hybridtune.model.encoder import load_encoder
    from hybridtune.model.folder import build_tiny, save_folder
    from hybridtune.model.tokenizer import pretrained_tokenizer, train_tokenizer

    lengths = {"query_prefix": "", "passage_prefix": "", "query_length": options.length}
    width, layers = options.width, options.layers
    size = Tiny(vocab_size=options.vocabulary, hidden_size=width, layers=layers, heads=width // 64)
    encoder = Encoder(**lengths, passage_length=options.length, tiny=size)
    source = options.encoder
    if source is None:
        source = str(folder / "random")
        texts = [text for pair in read_pairs(folder) for text in pair]
        build_tiny(train_tokenizer(texts, options.vocabulary).definition, encoder, 0, Path(source))
    model = load_encoder(source, encoder, pretrained_tokenizer(source).pad_id)
    save_folder(model, source, encoder, folder / "encoder", "", {})


def one(options, system):
    """Run one system in a process of its own; pairs per second of what is counted."""
    environment = os.environ | {"OMP_NUM_THREADS": str(options.threads), "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, __file__, *sys.argv[1:], "--only", system, "--folder", str(options.folder)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def rate(options, result, key):
    if "seconds" in result:
        return options.batch * (options.steps - WARM) / result["seconds"]
    return options.batch / result["wall" if options.device == "cuda" else key]


def report(options, results):
    unit = "pairs per second" if options.device == "cuda" else "pairs per CPU-second"
    names = {
        "peer": f"sentence-transformers {version('sentence-transformers')}",
        "padded": "padded loop",
        "packed": "packed loop",
    }
    rows = {"all processes": [rate(options, result, "tree") for result in results["ours"]]}
    rows["its worker alone"] = [rate(options, result, "worker") for result in results["ours"]]
    rows |= {names[system]: [rate(options, one, "") for one in results[system]] for system in options.systems[1:]}
    print(f"{'':28}" + "".join(f"run {n + 1:<8}" for n in range(options.rounds)) + f"mean {unit}")
    means = {name: statistics.mean(rates) for name, rates in rows.items()}
    for name, rates in rows.items():
        owner = "hybridtune, " if name in ("all processes", "its worker alone") else ""
        print(f"{owner + name:28}" + "".join(f"{value:<12.1f}" for value in rates) + f"{means[name]:.1f}")
    for ours in ("all processes", "its worker alone"):
        ratios = [f"{means[ours] / means[names[other]]:.2f} / {names[other]}" for other in options.systems[1:]]
        print(f"{ours}: " + ", ".join(ratios))
    waits = statistics.mean(result["data_wait"] for result in results["ours"])
    print(f"time spent waiting for data: {100 * waits:.3f} % of the steps")
    print(f"load {min(options.loads):.1f} to {max(options.loads):.1f}, {os.cpu_count()} cores", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="newsroom:train", help="native files, folder or glob")
    parser.add_argument("--encoder", help="a model folder; default: a random BERT")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--vocabulary", type=int, default=16000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--pairs", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", default="float32", choices=["float32", "bf16"])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--without", nargs="*", default=[], choices=SYSTEMS[1:], help="systems that are not run")
    parser.add_argument("--only", choices=SYSTEMS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        import torch

        torch.set_num_threads(options.threads)
        print(json.dumps(getattr(trainers, options.only)(options, options.folder)))
        return
    with tempfile.TemporaryDirectory() as folder:
        options.folder = Path(folder)
        count = write_pairs(options.data, options.folder, options.pairs)
        build_encoder(options, options.folder)
        print(f"{count} pairs, batch {options.batch}, length {options.length}, {options.precision}, ", end="")
        print(f"{options.threads} thread(s), {options.device}, {options.steps} steps", flush=True)
        options.systems, options.loads = [system for system in SYSTEMS if system not in options.without], []
        results = {system: [] for system in options.systems}
        for _ in range(options.rounds):
            for system in options.systems:
                results[system].append(one(options, system))
                options.loads.append(os.getloadavg()[0])
        report(options, results)


if __name__ == "__main__":
    main()
