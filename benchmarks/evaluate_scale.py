"""How an evaluation's time and memory grow with its passages, and with its languages.

    python benchmarks/evaluate_scale.py [--passages 10000 100000 1000000] [--languages 2 16 64]

Passages: texts to figures with a tiny encoder built on the spot, the same queries against more and more passages.
Languages: embeddings given, as many queries and passages in more and more languages; ranking and metrics apart, and
a dozen lines of torch beside them. Each runs in a process of its own.
"""

import argparse
import json
import os
import random
import shutil
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


def measure_languages(languages):
    """Ranks and metrics of made-up vectors in this process."""
    import torch
    from evaluate import made_up, ours, plain_torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    given = made_up(0, languages)
    plain = min((plain_torch(*given) for _ in range(3)), key=lambda one: one["seconds"])
    mine = min((ours(*given) for _ in range(3)), key=lambda one: one["seconds"])
    names = [name for name in mine["scores"] if name.endswith("/AP")]
    far = max(abs(mine["scores"][name] - plain["scores"][name]) for name in names)
    answer = {"ranking": mine["seconds"] - mine["metrics"], "metrics": mine["metrics"], "torch": plain["seconds"]}
    print(json.dumps({**answer, "difference": far, "rankings": mine["rankings"]}))


def in_own_process(what, *given):
    command = [sys.executable, __file__, f"--measure-{what}", *map(str, given)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def grow_passages(sizes):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        texts = [text for row in generate("dev") for text in row["passages"].values()]
        words = sorted({word for text in texts for word in text.split()})
        encoder = Encoder(tiny=Tiny(vocab_size=2000, hidden_size=64, layers=1, heads=1))
        build_tiny(train_tokenizer(texts, 2000).definition, encoder, 0, root / "model")
        before = None
        for passages in sizes:
            write_corpus(root / "corpus", passages, words, seed=0)
            one = in_own_process("passages", root / "model", root / "corpus")
            shutil.rmtree(root / "corpus")
            further = ""
            if before:
                more = (one["seconds"] - before[1]) / (passages - before[0]) * 1e5
                further = f", {more:.1f} s for every further 100,000"
            before = passages, one["seconds"]
            print(
                f"{passages:9,} passages: {one['seconds']:7.1f} s{further}; driver's peak {one['peak_mb']:7.1f} MB, "
                f"{one['disk_mb']:,.0f} MB on disk, AP {one['AP']:.4f}; load {os.getloadavg()[0]:.1f}",
                flush=True,
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--languages", type=int, nargs="*", default=[2, 16, 64])
    parser.add_argument("--measure-passages", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--measure-languages", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure_passages:
        measure(*given.measure_passages)
    elif given.measure_languages:
        measure_languages(given.measure_languages)
    else:
        for languages in given.languages:
            one = in_own_process("languages", languages)
            print(
                f"{languages:4} languages: ranking {one['ranking']:6.2f} s, metrics of {one['rankings']:,} rankings "
                f"{one['metrics']:6.2f} s; a dozen lines of torch {one['torch']:6.2f} s, AP within "
                f"{one['difference']:.1e}; load {os.getloadavg()[0]:.1f}",
                flush=True,
            )
        grow_passages(given.passages)


if __name__ == "__main__":
    main()
