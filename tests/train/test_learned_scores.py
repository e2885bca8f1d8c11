"""Scores of a reranker, from the rows of a file to the loss of a step, without Ray: each goes to its own two texts."""

import json

import numpy as np
import pytest
import torch
from small_study import small_study
from stream_rows import stream_rows

from hybridtune.config.fields import DataSet
from hybridtune.data.corpus import CorpusBuilder, read_texts
from hybridtune.data.readers.sources import find_sources, read_groups
from hybridtune.data.store import TokenStore
from hybridtune.data.stream import _batches
from hybridtune.train.feed import on_device
from hybridtune.train.plan import make_plan
from hybridtune.train.step import TrainingStep

CPU = torch.device("cpu")
ROWS, SIZE, STEPS = 14, 6, 5


def rows():
    """Rows of FlagEmbedding in two languages; two of three have scores, one of theirs is unknown."""
    draw = np.random.default_rng(2)
    for n in range(ROWS):
        row = {"query": f"question {n}", "pos": [f"answer {n}"], "neg": [f"wrong {n} {i}" for i in range(n % 4)]}
        scores = draw.normal(2, 3, 1 + n % 4).round(3).tolist()
        scored = {"pos_scores": scores[:1], "neg_scores": [None if i == 2 else s for i, s in enumerate(scores[1:])]}
        yield {**row, "language": ("en", "sw")[n % 2], **(scored if n % 3 else {})}


@pytest.fixture(scope="module")
def made(tiny, tmp_path_factory):
    """The store of the rows, and its texts by number."""
    folder = tmp_path_factory.mktemp("store")
    file = folder / "flag.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows()))
    (folder / "groups").mkdir()
    builder = CorpusBuilder({}, folder)
    for source in find_sources([DataSet(path=str(file))]):
        for group in read_groups(source):
            builder.add(group)
    builder.finish().save(folder / "groups")
    texts = [text for _, text in read_texts(builder.parts)]
    ids, lengths = tiny[2].encode_flat(texts, "", 16)
    np.save(folder / "tokens.npy", ids)
    np.save(folder / "offsets.npy", np.cumsum([0, *lengths]))
    return TokenStore.open(folder), texts


def study_of(**train):
    fixed = {"batch_size": SIZE, "max_steps": STEPS, "negatives": 2, "dropout": 0.0, "precision": "float32"}
    return small_study(seed=1, mix={"mixing_ratio": 1.0}, train=fixed | train)


def stepped(tiny, store, study, step):
    """One step from the start: the vectors of the batch's texts before it, the texts' ids, and what it gave."""
    plan = make_plan(store.corpus(), study)
    (table,) = stream_rows(plan, store, step, step + 1, slice(0, SIZE), study.train.negatives)
    (batch,) = _batches(table)
    training = TrainingStep(study, str(tiny[0]), tiny[2].pad_id, CPU, rank=0)
    texts = np.split(batch.ids, np.cumsum(batch.lengths)[:-1])
    vectors = torch.from_numpy(training.model.embed_by_length(texts))
    return vectors, texts, training.step(on_device(batch, CPU, None, training.lay_out))


@pytest.mark.parametrize("step", range(STEPS))
def test_the_loss_is_that_of_the_scores_of_the_file(tiny, made, step):
    store, texts = made
    study = study_of(distil="margin_mse", distil_from="data")
    vectors, ids, output = stepped(tiny, store, study, step)
    number_of = {tuple(store.tokens(n)): n for n in range(len(store))}
    names = [texts[number_of[tuple(text)]] for text in ids]
    known = {(row["pos"][0], text): score for row in rows() for text, score in _margins(row).items()}
    cosines, total = vectors @ vectors.T, 0.0
    for i in range(SIZE):
        errors = [
            (float(cosines[i, SIZE + i] - cosines[i, j]) / study.train.temperature - margin) ** 2
            for j in range(2 * SIZE, len(names))
            if (margin := known.get((names[SIZE + i], names[j]))) is not None
        ]
        total += sum(errors) / max(1, len(errors))
    assert float(output.beside["distil_loss"]) == pytest.approx(total / SIZE, rel=1e-4)
    assert total > 1


def _margins(row):
    """The margin of each negative of a row that has a score."""
    scores = row.get("neg_scores", [None] * len(row["neg"]))
    return {text: row["pos_scores"][0] - s for text, s in zip(row["neg"], scores, strict=True) if s is not None}


def test_without_the_loss_the_scores_of_the_file_change_nothing(tiny, made):
    plain = [float(stepped(tiny, made[0], study_of(), step)[2].loss) for step in range(STEPS)]
    teacher = [float(stepped(tiny, made[0], study_of(distil_from="data"), step)[2].loss) for step in range(STEPS)]
    assert plain == teacher
