"""Hybrid batches for other trainers: a plain DataLoader, and sentence-transformers' trainer on two ranks."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from hybridtune.data.batch_sampler import HybridBatchSampler
from hybridtune.data.newsroom import generate
from hybridtune.data.plan import HybridPlan
from hybridtune.errors import InputError

STEPS, SIZE = 6, 8


def example(**options):
    groups = [group for group in generate("dev") if group["queries"]][:60]
    plan = HybridPlan(groups, mixing_ratio=0.5, batch_size=SIZE, seed=3)
    sampler = HybridBatchSampler(plan, STEPS, **options)
    return plan, sampler, sampler.rows(groups), groups


def planned(plan, groups):
    """The texts of every batch, from the plan itself."""
    languages = plan.corpus.languages
    return [
        [
            (groups[group]["queries"][languages[x]], groups[group]["passages"][languages[y]])
            for group, (x, y) in zip(batch.groups.tolist(), batch.languages.tolist(), strict=True)
        ]
        for batch in plan.batches(0, STEPS)
    ]


def texts(rows, batch):
    return [(rows[i]["query"], rows[i]["passage"]) for i in batch]


def test_the_batches_are_the_plans():
    plan, sampler, rows, groups = example()
    assert [texts(rows, batch) for batch in sampler] == planned(plan, groups)
    assert sampler.kinds == [plan.kind(step) for step in range(STEPS)]
    assert {*sampler.kinds} == {"mono", "cross"}
    assert len(sampler) == STEPS
    for kind, batch in zip(sampler.kinds, sampler, strict=True):
        assert {bool(x == y) for _, x, y in sampler.pairs[batch].tolist()} == {kind == "mono"}


def test_rows_are_the_distinct_pairs_in_order_of_first_use():
    _, sampler, rows, _ = example()
    first_use = dict.fromkeys(i for batch in sampler for i in batch)
    assert list(first_use) == list(range(len(rows))) == list(range(len(sampler.pairs)))
    assert len({*map(tuple, sampler.pairs.tolist())}) == len(rows)


def test_a_data_loader_takes_it():
    from torch.utils.data import DataLoader

    plan, sampler, rows, groups = example()
    loader = DataLoader(rows, batch_sampler=sampler, collate_fn=list)
    assert [[(row["query"], row["passage"]) for row in batch] for batch in loader] == planned(plan, groups)


@pytest.mark.parametrize("processes", [2, 4])
def test_slices_of_the_ranks_make_the_global_batch(processes):
    from accelerate.data_loader import BatchSamplerShard

    plan, every_rank, rows, groups = example(processes=processes)
    own = [list(example(processes=processes, rank=rank)[1]) for rank in range(processes)]
    dealt = [list(BatchSamplerShard(every_rank, processes, rank, even_batches=False)) for rank in range(processes)]
    assert own == dealt
    joined = [[i for rank in own for i in rank[step]] for step in range(STEPS)]
    assert [texts(rows, batch) for batch in joined] == planned(plan, groups)
    assert len(every_rank) == STEPS * processes


def test_what_does_not_fit_is_refused(monkeypatch):
    plan, sampler, rows, groups = example(processes=2)
    with pytest.raises(InputError, match="batch_size 8 is not a multiple of processes 3"):
        HybridBatchSampler(plan, STEPS, processes=3)
    aligned = HybridPlan(groups, mixing_ratio=0.5, batch_size=SIZE, seed=3, align_share=0.5)
    with pytest.raises(InputError, match="align_share=0"):
        HybridBatchSampler(aligned, STEPS)
    with pytest.raises(InputError, match="set num_train_epochs=1"):
        sampler.set_epoch(1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert sampler(rows, batch_size=4, drop_last=True, seed=0) is sampler
    with pytest.raises(InputError, match=r"the dataset has 3 rows"):
        sampler(rows[:3], batch_size=4)
    with pytest.raises(InputError, match=r"2 processes of 8 pairs .*: 2 of 4; set processes="):
        sampler(rows, batch_size=8)
    monkeypatch.delenv("WORLD_SIZE")
    with pytest.raises(InputError, match="1 processes of 4 pairs"):
        sampler(rows, batch_size=4)


def train_rank(encoder, folder):
    """Train on one rank of two with sentence-transformers' trainer, and write what each step saw."""
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.losses import MultipleNegativesRankingLoss

    _, sampler, rows, _ = example(processes=2)
    model = SentenceTransformer(encoder, device="cpu")
    arguments = SentenceTransformerTrainingArguments(
        output_dir=folder,
        num_train_epochs=1,
        per_device_train_batch_size=SIZE // 2,
        batch_sampler=sampler,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )
    trainer = SentenceTransformerTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        loss=MultipleNegativesRankingLoss(model, gather_across_devices=True),
    )
    seen = []

    class Recorder(type(trainer.data_collator)):
        def __call__(self, features):
            seen.append([[row["query"], row["passage"]] for row in features])
            return super().__call__(features)

    trainer.data_collator.__class__ = Recorder
    steps = trainer.train().global_step
    rank = os.environ["RANK"]
    Path(folder, f"{rank}.json").write_text(json.dumps({"steps": steps, "seen": seen}), encoding="utf-8")


@pytest.mark.slow
def test_sentence_transformers_trains_on_two_ranks_with_every_global_batch_of_one_kind(tiny, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    code = "import sys, test_batch_sampler; test_batch_sampler.train_rank(*sys.argv[1:])"
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tiny[0]), str(tmp_path)],
            cwd=Path(__file__).parent,
            env=os.environ | group | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]
    try:
        assert [rank.wait(240) for rank in ranks] == [0, 0]
    finally:
        for rank in ranks:
            rank.kill()
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text(encoding="utf-8")) for rank in range(2))
    plan, _, _, groups = example()
    joined = [[tuple(pair) for pair in both] for both in map(list.__add__, first["seen"], second["seen"])]
    assert joined == planned(plan, groups)
    assert first["steps"] == second["steps"] == STEPS
