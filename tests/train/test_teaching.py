"""Teaching without Ray: a teacher of another tokenizer and width gives every text the vector that it publishes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from hybridtune.config.fields import Data, Encoder, Tiny
from hybridtune.data.store import recipe
from hybridtune.data.teacher_vectors import META, TeacherVectors
from hybridtune.evaluate.encode import Actors
from hybridtune.model.encoder import DualEncoder
from hybridtune.model.folder import build_tiny, model_digest, teacher_settings
from hybridtune.model.tokenizer import pretrained_tokenizer, train_tokenizer
from hybridtune.storage.manifests import MANIFEST
from hybridtune.train import teaching

KIT = Path(__file__).parents[3] / "shared" / "kit"
ROWS = [
    {
        "group_id": str(i),
        "queries": {"en": f"who has {i} boats", "sw": f"nani ana mashua {i}"},
        "passages": {"en": f"The harbour holds {i} boats.", "sw": f"Bandari ina mashua {i}."},
        "negatives": {"en": [f"The market sells {i} goats.", f"The harbour holds {(i + 1) % 12} boats."]},
    }
    for i in range(12)
]


def without_ray(blocks, lesson, actors, progress):
    """The pipeline in one process."""
    actor = teaching.TeacherActor(lesson.source, lesson.encoder, lesson.tokenizer, threads=1)
    for n, block in enumerate(blocks):
        if block.file.exists():
            continue
        text = block.texts
        item = {"block": n, "part": str(text.path), "texts": len(text.new), "new": np.packbits(text.new).tobytes()}
        (table,) = teaching.read_block(pa.Table.from_pylist([item]))
        ((row,),) = (found.to_pylist() for found in actor(table))
        np.save(block.file, np.asarray(row["vectors"], np.float32).reshape(block.size, -1))


@pytest.fixture
def texts(groups_file):
    """What a store is made of, and its texts in the order of their numbers."""
    made_of = recipe(Data(train=str(groups_file(ROWS))), Encoder(name="tiny"))
    seen = {}
    for row in ROWS:
        for language in ("en", "sw"):
            seen.setdefault((True, row["queries"][language]))
            seen.setdefault((False, row["passages"][language]))
            for text in row["negatives"].get(language, ()):
                seen.setdefault((False, text))
    return made_of, list(seen)


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A teacher of another tokenizer and width than any other encoder here."""
    folder = tmp_path_factory.mktemp("other")
    tokenizer = train_tokenizer([text for row in ROWS for text in row["passages"].values()], 120)
    encoder = Encoder(query_length=20, passage_length=30, tiny=Tiny(hidden_size=24, layers=1, heads=2))
    build_tiny(tokenizer.definition, encoder, 5, folder)
    return str(folder)


def lesson_of(name, numbers):
    settings = teacher_settings(name, Encoder(name="tiny", query_prefix="ask: ", query_length=16, passage_length=24))
    tokenizer = pretrained_tokenizer(name)
    return teaching.Lesson(name, settings, tokenizer, model_digest(settings), np.array(numbers, np.int32))


def expected(lesson, texts):
    settings = lesson.encoder.model_dump(include={"query_prefix", "query_length", "passage_prefix", "passage_length"})
    model = DualEncoder.load(lesson.source, **settings)
    rows = [(model.encode_queries if is_query else model.encode_passages)([text])[0] for is_query, text in texts]
    return np.stack([row / np.linalg.norm(row) for row in rows])


def taught(made_of, lesson, root, monkeypatch, blocks=5):
    monkeypatch.setattr(teaching, "_encode", without_ray)
    monkeypatch.setattr(teaching, "BLOCK_TEXTS", blocks)
    return teaching.teach(root, made_of, lesson, Actors(1, 1))


@pytest.mark.parametrize("every", [1, 3])
def test_every_text_has_the_vector_that_the_teacher_itself_gives_it(texts, other, tmp_path, monkeypatch, every):
    made_of, read = texts
    numbers = list(range(1, len(read), every))
    lesson = lesson_of(other, numbers)
    folder = taught(made_of, lesson, tmp_path, monkeypatch)
    found = TeacherVectors.open(folder)
    assert found.width == 24
    np.testing.assert_allclose(
        found.take(lesson.texts), expected(lesson, [read[number] for number in numbers]), atol=1e-6
    )
    assert sorted(path.name for path in folder.iterdir()) == [MANIFEST, "numbers.npy", META, "vectors.npy"]


@pytest.mark.kit
@pytest.mark.skipif(not KIT.is_dir(), reason=f"no data kit at {KIT}")
def test_a_pretrained_encoder_teaches_by_its_own_tokenizer(texts, tmp_path, monkeypatch):
    unpack = [sys.executable, str(KIT / "unpack_encoder.py"), str(tmp_path / "teacher"), "--layers", "1"]
    subprocess.run(unpack, check=True, capture_output=True)
    made_of, read = texts
    lesson = lesson_of(str(tmp_path / "teacher"), range(len(read)))
    found = TeacherVectors.open(taught(made_of, lesson, tmp_path, monkeypatch))
    assert found.width == 384
    np.testing.assert_allclose(found.take(lesson.texts), expected(lesson, read), atol=2e-5)


def test_what_is_there_is_found_and_what_a_killed_run_left_is_used(texts, other, tmp_path, monkeypatch):
    made_of, read = texts
    lesson = lesson_of(other, range(len(read)))
    calls = []

    def killed(blocks, *rest):
        calls.append([block.file.exists() for block in blocks])
        without_ray(blocks[:3], *rest)
        raise KeyboardInterrupt

    monkeypatch.setattr(teaching, "BLOCK_TEXTS", 5)
    monkeypatch.setattr(teaching, "_encode", killed)
    with pytest.raises(KeyboardInterrupt):
        teaching.teach(tmp_path, made_of, lesson, Actors(1, 1))
    assert not (tmp_path / lesson.address(made_of, False)).exists()
    monkeypatch.setattr(
        teaching, "_encode", lambda *rest: (calls.append([b.file.exists() for b in rest[0]]), without_ray(*rest))
    )
    folder = teaching.teach(tmp_path, made_of, lesson, Actors(1, 1))
    assert (sum(calls[0]), sum(calls[1]), len(calls[1])) == (0, 3, -(-len(read) // 5))
    assert teaching.teach(tmp_path, made_of, lesson, Actors(1, 1)) == folder
    assert len(calls) == 2
    np.testing.assert_allclose(TeacherVectors.open(folder).take(lesson.texts), expected(lesson, read), atol=1e-6)


def test_other_texts_settings_or_stores_are_other_vectors(texts, other):
    made_of, _ = texts
    lesson = lesson_of(other, [1, 2])
    changed = [
        lesson_of(other, [1, 3]),
        teaching.Lesson(**vars(lesson) | {"encoder": lesson.encoder.model_copy(update={"query_prefix": "other: "})}),
        teaching.Lesson(**vars(lesson) | {"digest": "another"}),
    ]
    assert lesson.address(made_of, False) == lesson_of(other, [1, 2]).address(made_of, False)
    addresses = {one.address(made_of, False) for one in (lesson, *changed)} | {lesson.address(made_of, True)}
    assert len(addresses) == 5


def test_a_teacher_is_used_as_it_publishes_and_else_as_the_encoder(other, dense):
    encoder = Encoder(name="tiny", query_prefix="ask: ", passage_prefix="read: ", query_length=16, pooling="cls")
    assert teacher_settings(None, encoder) is encoder
    plain = teacher_settings(other, encoder)
    assert (plain.name, plain.query_prefix, plain.query_length, plain.pooling) == (other, "ask: ", 16, "cls")
    published = teacher_settings(str(dense[0]), encoder)
    assert (published.query_prefix, published.pooling) == ("", "mean")  # its folder has a modules.json, and no prompts
