"""The trainers that `train.py` compares, each run in a process of its own; ours with what watches it."""

import json
import statistics
import tempfile
import threading
import time
from pathlib import Path

from process_tree import TICKS, Tree

WARM = 10  # steps before the clock starts


def read_pairs(folder):
    rows = [json.loads(line) for line in (folder / "pairs.jsonl").read_text(encoding="utf-8").splitlines()]
    return [(row["queries"]["en"], row["passages"]["en"]) for row in rows]


def study_of(options, folder):
    from hybridtune.config.study import Study

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
        fp16=options.precision == "fp16",
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


def padded(options, folder):
    """The loop that a careful person writes: nothing but the model, over batches that are ready on the device."""
    import torch
    import torch.nn.functional as F
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "encoder")
    model = transformers.AutoModel.from_pretrained(folder / "encoder", dtype=torch.float32)
    model.pooler = None

    def ready(texts):
        made = tokenizer(texts, padding=True, truncation=True, max_length=options.length, return_tensors="pt")
        return made["input_ids"].to(options.device), made["attention_mask"].to(options.device)

    def embed(ids, mask):
        hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
        weight = mask[:, :, None].to(hidden.dtype)
        return F.normalize((hidden * weight).sum(1) / weight.sum(1), dim=-1).float()

    batches = [(ready(queries), ready(passages)) for queries, passages in text_batches(options, folder)]
    return loop(options, model, batches, lambda sides: [embed(*side) for side in sides])


def packed(options, folder):
    """The same loop with our encoder: queries and passages of a batch in one row of tokens."""
    import torch.nn.functional as F

    from hybridtune.model.encoder import load_encoder
    from hybridtune.model.packing import TokenRows
    from hybridtune.model.tokenizer import pretrained_tokenizer

    source = str(folder / "encoder")
    tokenizer, encoder = pretrained_tokenizer(source), study_of(options, folder).encoder
    model = load_encoder(source, encoder, tokenizer.pad_id)
    batches = [
        TokenRows.of(tokenizer.encode([*queries, *passages], "", options.length)).to(options.device)
        for queries, passages in text_batches(options, folder)
    ]
    return loop(options, model, batches, lambda rows: F.normalize(model(rows), dim=-1).float().chunk(2))


def text_batches(options, folder):
    """The queries and the passages of every step, shuffled."""
    import torch

    pairs = read_pairs(folder)
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0)).tolist()
    for step in range(options.steps):
        rows = [pairs[order[(step * options.batch + row) % len(pairs)]] for row in range(options.batch)]
        queries, passages = zip(*rows, strict=True)
        yield list(queries), list(passages)


def loop(options, model, batches, embed):
    """Train over batches that are ready; ``embed`` makes vectors of the queries and of the passages of one."""
    import torch
    import torch.nn.functional as F

    model.to(options.device).train()
    optimizer = torch.optim.AdamW(model.parameters(), 2e-5, weight_decay=0.01, fused=True)
    clock, targets = Clock(options.device), torch.arange(options.batch, device=options.device)
    for step, batch in enumerate(batches, 1):
        with torch.autocast(options.device, torch.bfloat16, enabled=options.precision == "bf16"):
            queries, passages = embed(batch)
        F.cross_entropy(queries @ passages.T / 0.05, targets).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step in (WARM, options.steps):
            clock.mark(step)
    return {"seconds": clock.seconds(WARM, options.steps)}


def ours(options, folder):
    """A whole fit: Ray, the store, the plan, the stream, the worker; scored once, at the end."""
    import ray

    from hybridtune.data.store import build_store, recipe, store_root
    from hybridtune.evaluate.benchmark import load_benchmark
    from hybridtune.runtime.local import capacity, local_cluster
    from hybridtune.train.fit import WorkerGroups, fit
    from hybridtune.train.job_queue import FitJob
    from hybridtune.train.pace import read_paces, start_monitor

    study = study_of(options, folder)
    source = str(folder / "encoder")
    with local_cluster(capacity(study.resources), folder / "ray.log"):
        store = build_store(store_root(study.data), recipe(study.data, study.encoder))
        monitor = start_monitor()
        storage = tempfile.mkdtemp(dir=folder)
        benchmark = ray.put(load_benchmark(study.benchmarks.dev))
        job = FitJob(study, str(store.path), source, benchmark, storage + "/fit", monitor=monitor)
        watch = Watch(lambda: read_paces(monitor))
        groups = WorkerGroups(study.resources, 1, folder)
        result = fit(job, groups)
        watch.stop()
        groups.close()
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
