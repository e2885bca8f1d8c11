"""How time and the driver's memory grow with the corpus: the same queries against P, 5 P and 10 P passages.

    python benchmarks/evaluate_scale.py [--passages 40000]

Each evaluation runs in a process of its own, with a tiny encoder built on the spot; prints the ratios.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hybridtune.config.fields import Encoder, Tiny
from hybridtune.data.newsroom import generate
from hybridtune.model.folder import build_tiny
from hybridtune.model.tokenizer import train_tokenizer

QUERIES, WORDS = 300, 24


def write_corpus(folder, passages, words, seed):
    """A BEIR folder: every query is the first words of its passage."""
    rng = random.Random(seed)
    (folder / "qrels").mkdir(parents=True)
    with (
        (folder / "corpus.jsonl").open("w", encoding="utf-8") as corpus,
        (folder / "queries.jsonl").open("w", encoding="utf-8") as queries,
        (folder / "qrels" / "test.tsv").open("w", encoding="utf-8") as qrels,
    ):
        qrels.write("query-id\tcorpus-id\tscore\n")
        for n in range(passages):
            text = " ".join(rng.choices(words, k=WORDS))
            corpus.write(json.dumps({"_id": f"p{n}", "title": "", "text": text}, ensure_ascii=False) + "\n")
            if n < QUERIES:
                question = " ".join(text.split()[:8])
                queries.write(json.dumps({"_id": f"q{n}", "text": question}, ensure_ascii=False) + "\n")
                qrels.write(f"q{n}\tp{n}\t1\n")


def measure(model, corpus):
    """One evaluation in this process: seconds by stage are in its own lines; the driver's peak memory."""
    from hybridtune.study.evaluate_model import evaluate, evaluation_options
    from hybridtune.terminal.screen import Screen

    asked = evaluation_options(model, corpus, ["benchmark.language=en"], ["AP"])
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as out:
        result = evaluate(asked, Path(out), Screen(to_stderr=True))
        written = sum(file.stat().st_size for file in Path(out).rglob("*") if file.is_file())
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    print(
        json.dumps(
            {
                "seconds": time.perf_counter() - began,
                "peak_mb": peak / 1024,
                "disk_mb": written / 2**20,
                "AP": result["metrics"]["mono/AP"],
            }
        )
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, default=40_000)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        measure(*given.measure)
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        texts = [text for row in generate("dev") for text in row["passages"].values()]
        words = sorted({word for text in texts for word in text.split()})
        encoder = Encoder(tiny=Tiny(vocab_size=2000, hidden_size=64, layers=1, heads=1))
        build_tiny(train_tokenizer(texts, 2000).definition, encoder, 0, root / "model")
        found = []
        for passages in (given.passages, 5 * given.passages, 10 * given.passages):
            write_corpus(root / str(passages), passages, words, seed=0)
            command = [sys.executable, __file__, "--measure", str(root / "model"), str(root / str(passages))]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found.append(json.loads(done.stdout.splitlines()[-1]))
            one = found[-1]
            print(
                f"{passages:9,} passages: {one['seconds']:7.1f} s, driver's peak {one['peak_mb']:7.1f} MB, "
                f"{one['disk_mb']:,.0f} MB on disk, AP {one['AP']:.4f}"
            )
        small, middle, large = found
        print(f"10 times the passages: driver's peak memory x {large['peak_mb'] / small['peak_mb']:.3f}")
        first, then = middle["seconds"] - small["seconds"], large["seconds"] - middle["seconds"]
        print(
            f"seconds per 100,000 further passages: {first / (4 * given.passages) * 1e5:.1f} up to the middle, "
            f"{then / (5 * given.passages) * 1e5:.1f} beyond; load {os.getloadavg()[0]:.1f}"
        )


if __name__ == "__main__":
    main()
