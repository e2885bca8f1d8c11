"""Training speed side by side with sentence-transformers' trainer and a bare PyTorch loop; ratios from one run.

    python benchmarks/train.py                                        # a random 2-layer BERT, the embedded corpus
    python benchmarks/train.py --data PAIRS.jsonl.gz --encoder FOLDER # real pairs, a real encoder
    python benchmarks/train.py --device cuda --batch 256 --precision bf16

Same encoder, texts, batch, lengths, precision and threads; each system in a process of its own, in turns (A B C A B C).
What is counted is CPU time between the steps WARM and STEPS (on a GPU: wall time): of the whole process for the peer
and the bare loop, and for ours of the training worker and, apart, of the whole tree of processes that a fit needs
(Ray's daemons, the data pipeline, the driver). The peer is MultipleNegativesRankingLoss; the bare loop has its batches
tokenised, padded and on the device before it starts: the limit of a loop that pads to the longest text and encodes
queries and passages one after the other. Needs `pip install sentence-transformers datasets`.
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

SYSTEMS = ("ours", "peer", "bare")


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
    """The encoder's folder, in the layout that all three open."""
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
    ours_rates = [rate(options, result, "worker") for result in results["ours"]]
    tree_rates = [rate(options, result, "tree") for result in results["ours"]]
    print(f"{'':28}" + "".join(f"run {n + 1:<8}" for n in range(options.rounds)) + f"mean {unit}")
    rows = {"hybridtune, its worker": ours_rates, "hybridtune, all processes": tree_rates}
    rows[f"sentence-transformers {version('sentence-transformers')}"] = [rate(options, r, "") for r in results["peer"]]
    rows["bare loop"] = [rate(options, r, "") for r in results["bare"]]
    for name, rates in rows.items():
        print(f"{name:28}" + "".join(f"{value:<12.1f}" for value in rates) + f"{statistics.mean(rates):.1f}")
    worker, tree, peer_rate, bare_rate = (statistics.mean(rates) for rates in rows.values())
    waits = statistics.mean(result["data_wait"] for result in results["ours"])
    print(f"worker / peer {worker / peer_rate:.2f}   worker / bare loop {worker / bare_rate:.2f}   ", end="")
    print(f"all processes / peer {tree / peer_rate:.2f}   all processes / bare loop {tree / bare_rate:.2f}")
    print(f"time spent waiting for data: {100 * waits:.3f} % of the steps")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="newsroom:train", help="native files, folder or glob")
    parser.add_argument("--encoder", help="a model folder; default: a random 2-layer BERT")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--vocabulary", type=int, default=16000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--pairs", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", default="float32", choices=["float32", "bf16"])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
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
        results = {system: [] for system in SYSTEMS}
        for _ in range(options.rounds):
            for system in SYSTEMS:
                results[system].append(one(options, system))
        report(options, results)


if __name__ == "__main__":
    main()
