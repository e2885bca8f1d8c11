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
import threading
import time
from importlib.metadata import version
from pathlib import Path

from process_tree import TICKS, Tree

WARM = 10  # steps before the clock starts
SYSTEMS = ("ours", "peer", "bare")


def write_pairs(data, folder, most):
    """One group a pair, all called one language: the plan then makes plain shuffled batches of them."""
    from hybridtune.data.formats import find_sources, read_groups

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


def read_pairs(folder):
    rows = [json.loads(line) for line in (folder / "pairs.jsonl").read_text(encoding="utf-8").splitlines()]
    return [(row["queries"]["en"], row["passages"]["en"]) for row in rows]


def study_of(options, folder):
    from hybridtune.config import Study

    return Study.model_validate(
        {
            "name": "speed",
            "data": {"train": str(folder / "pairs.jsonl"), "store": str(folder / "stores")},
            "encoder": {
                "name": str(folder / "encoder"),
                "query_prefix": "",
                "passage_prefix": "",
                "query_length": options.length,
                "passage_length": options.length,
            },
            "benchmarks": {"dev": {"path": "newsroom:dev", "documents": [0, 1]}},
            "mix": {"mixing_ratio": 1.0},
            "train": {
                "batch_size": options.batch,
                "max_steps": options.steps,
                "eval_steps": options.steps,
                "precision": options.precision,
                "learning_rate": 2e-5,
            },
            "resources": {"cpus_per_worker": options.threads, "gpus_per_worker": int(options.device == "cuda")},
        }
    )


def build_encoder(options, folder):
    """The encoder's folder, in the layout that all three open."""
    from hybridtune.config import Encoder, Tiny
    from hybridtune.data.tokenizer import pretrained_tokenizer, train_tokenizer
    from hybridtune.model.encoder import load_encoder
    from hybridtune.model.folder import build_tiny, save_folder

    lengths = {"query_prefix": "", "passage_prefix": "", "query_length": options.length}
    size = Tiny(vocab_size=options.vocabulary, hidden_size=options.width, layers=2, heads=options.width // 64)
    encoder = Encoder(**lengths, passage_length=options.length, tiny=size)
    source = options.encoder
    if source is None:
        source = str(folder / "random")
        texts = [text for pair in read_pairs(folder) for text in pair]
        build_tiny(train_tokenizer(texts, options.vocabulary).definition, encoder, 0, Path(source))
    model = load_encoder(source, encoder, pretrained_tokenizer(source).pad_id)
    save_folder(model, source, encoder, folder / "encoder", "", {})


class Clock:
    """Seconds (of this process's CPU, or of the wall on a GPU) at every step."""

    def __init__(self, device):
        self.device, self.marks = device, {}

    def mark(self, step):
        if self.device == "cuda":
            import torch

            torch.cuda.synchronize()
            self.marks[step] = time.perf_counter()
        else:
            self.marks[step] = time.process_time()

    def seconds(self, first, last):
        return self.marks[last] - self.marks[first]


def peer(options, folder):
    """sentence-transformers' trainer."""
    import datasets
    import sentence_transformers
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.losses import MultipleNegativesRankingLoss
    from transformers import TrainerCallback

    clock = Clock(options.device)

    class Steps(TrainerCallback):
        def on_step_end(self, arguments, state, control, **kwargs):
            if state.global_step in (WARM, options.steps):
                clock.mark(state.global_step)

    model = sentence_transformers.SentenceTransformer(str(folder / "encoder"), device=options.device)
    model.max_seq_length = options.length
    queries, passages = zip(*read_pairs(folder), strict=True)
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder / "peer"),
        per_device_train_batch_size=options.batch,
        max_steps=options.steps,
        learning_rate=2e-5,
        warmup_steps=0.1,
        weight_decay=0.01,
        bf16=options.precision == "bf16",
        use_cpu=options.device == "cpu",
        dataloader_pin_memory=options.device == "cuda",
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    SentenceTransformerTrainer(
        model=model,
        args=arguments,
        train_dataset=datasets.Dataset.from_dict({"query": list(queries), "passage": list(passages)}),
        loss=MultipleNegativesRankingLoss(model, scale=20.0),
        callbacks=[Steps()],
    ).train()
    return {"seconds": clock.seconds(WARM, options.steps)}


def bare(options, folder):
    """The loop that a careful person writes: nothing but the model, over batches that are ready on the device."""
    import torch
    import torch.nn.functional as F
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "encoder")
    model = transformers.AutoModel.from_pretrained(folder / "encoder", dtype=torch.float32)
    model.pooler = None
    model.to(options.device).train()
    optimizer = torch.optim.AdamW(model.parameters(), 2e-5, weight_decay=0.01, fused=True)
    pairs, batches = read_pairs(folder), []
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0)).tolist()
    for step in range(options.steps):
        rows = [pairs[order[(step * options.batch + row) % len(pairs)]] for row in range(options.batch)]
        sides = [
            tokenizer(list(side), padding=True, truncation=True, max_length=options.length, return_tensors="pt")
            for side in zip(*rows, strict=True)
        ]
        batches.append(
            [(side["input_ids"].to(options.device), side["attention_mask"].to(options.device)) for side in sides]
        )

    def embed(ids, mask):
        hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
        weight = mask[:, :, None].to(hidden.dtype)
        return F.normalize((hidden * weight).sum(1) / weight.sum(1), dim=-1).float()

    clock, targets = Clock(options.device), torch.arange(options.batch, device=options.device)
    for step, (query, passage) in enumerate(batches, 1):
        with torch.autocast(options.device, torch.bfloat16, enabled=options.precision == "bf16"):
            queries, passages = embed(*query), embed(*passage)
        F.cross_entropy(queries @ passages.T / 0.05, targets).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step in (WARM, options.steps):
            clock.mark(step)
    return {"seconds": clock.seconds(WARM, options.steps)}


def ours(options, folder):
    """A whole fit: Ray, the store, the plan, the stream, the worker; scored once, at the end."""
    from hybridtune.cluster.local import capacity, local_cluster
    from hybridtune.data.store import build_store, recipe, store_root
    from hybridtune.evaluate.benchmark import load_benchmark
    from hybridtune.evaluate.service import EvaluatorService
    from hybridtune.train.board import read_board, start_board
    from hybridtune.train.fit import fit
    from hybridtune.train.loop import FitJob

    study = study_of(options, folder)
    source = str(folder / "encoder")
    with local_cluster(capacity(study.resources), folder / "ray.log"):
        store = build_store(store_root(study.data), recipe(study.data, study.encoder))
        service = EvaluatorService.start(
            "evaluators",
            {"dev": load_benchmark(study.benchmarks.dev)},
            source=source,
            encoder=study.encoder,
            tokenizer=store.tokenizer(),
            actors=1,
        )
        board = start_board("board")
        storage = tempfile.mkdtemp(dir=folder)
        job = FitJob(study, str(store.path), source, "evaluators", "dev", storage, board="board")
        watch = Watch(lambda: read_board(board))
        result = fit(job)
        watch.stop()
        del service
    return watch.rates() | {"data_wait": result.metrics["data_wait"]}


class Watch:
    """Samples (step, CPU of the worker, CPU of the tree, wall) while a fit runs, and fits lines through them."""

    def __init__(self, paces):
        self._paces, self._samples, self._end = paces, [], threading.Event()
        self._tree = Tree()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._end.wait(1.0):
            for pace in self._paces().values():
                if pace.step >= WARM and (not self._samples or pace.step > self._samples[-1][0]):
                    worker = cpu_of_worker(self._tree.processes())
                    self._samples.append((pace.step, worker, self._tree.cpu(), time.perf_counter()))

    def stop(self):
        self._end.set()
        self._thread.join()

    def rates(self):
        """Seconds a step: of the worker's CPU, of the tree's, of the wall."""
        samples = self._samples[:-1]  # the last one may be taken when the scoring has begun
        steps = [sample[0] for sample in samples]
        columns = list(zip(*samples, strict=True))[1:]
        fitted = [statistics.linear_regression(steps, column).slope for column in columns]
        return dict(zip(("worker", "tree", "wall"), fitted, strict=True)) | {"samples": len(steps)}


def cpu_of_worker(processes):
    """CPU seconds of the training worker among them."""
    seconds = 0.0
    for process in processes:
        place = Path(f"/proc/{process}")
        try:
            if b"RayTrainWorker" in (place / "cmdline").read_bytes():
                ticks = (place / "stat").read_text().rsplit(")", 1)[1].split()[11:13]
                seconds += sum(map(int, ticks)) / TICKS
        except OSError:  # gone meanwhile
            continue
    return seconds


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
        print(json.dumps(globals()[options.only](options, options.folder)))
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
