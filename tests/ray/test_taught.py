"""A study with a teacher of another tokenizer and width, from the texts to the exported model."""

import json

import numpy as np
import pytest
from conftest import Seen

from hybridtune.config.fields import Encoder, Tiny
from hybridtune.config.study import Study
from hybridtune.data import newsroom
from hybridtune.data.store import recipe
from hybridtune.data.teacher_vectors import META, TeacherVectors
from hybridtune.model.encoder import DualEncoder
from hybridtune.model.folder import build_tiny
from hybridtune.model.tokenizer import train_tokenizer
from hybridtune.study.run import train_study

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]
WIDTH = 48  # of the teacher; that of the encoder is 32


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher")
    texts = [text for row in list(newsroom.generate("dev"))[:60] for text in row["passages"].values()]
    encoder = Encoder(query_length=24, passage_length=40, tiny=Tiny(hidden_size=WIDTH, layers=1, heads=2))
    build_tiny(train_tokenizer(texts, 300).definition, encoder, 1, folder)
    return str(folder)


@pytest.fixture(scope="module")
def trained(shared_ray, small_tree, teacher, tmp_path_factory):
    """Trains with the teacher; what a training returned, what it said, and its folder, by how it was made."""
    done = {}

    def train(workers=1, projection="discarded", **more):
        key = workers, projection, *more
        if key not in done:
            tree = small_tree(resources={"workers": workers, "gpus_per_worker": 0}, mix={"align_share": 0.5})
            tree["train"] |= {"precision": "float32", "teacher": teacher, "teacher_projection": projection, **more}
            tree["data"]["store"] = str(root / "stores")
            folder, seen = root / f"{len(done)}", Seen()
            done[key] = train_study(Study.model_validate(tree), folder, [seen]), seen, folder
        return done[key]

    root = tmp_path_factory.mktemp("taught")
    return train


def scores(folder):
    files = sorted((folder / "fit").glob("checkpoint_*/state.json"))
    return [json.loads(file.read_text())["metrics"] for file in files]


def test_the_teacher_reads_each_text_once_for_all_trainings(trained, teacher):
    _, seen, folder = trained()
    _, again, _ = trained(2)
    (first,), (second,) = ([message for message in one.messages if "vectors of" in message] for one in (seen, again))
    assert first == second
    assert teacher in first
    (vectors,) = (path.parent for path in (folder.parent / "stores").glob(f"*/{META}"))
    assert ("teaching", True) in seen.phases
    told = json.loads((vectors / META).read_text())
    assert (told["width"], 0 < told["texts"] < 1000) == (WIDTH, True)


def test_the_vectors_are_those_that_the_teacher_gives(trained, teacher, small_tree):
    _, _, folder = trained()
    (path,) = (path.parent for path in (folder.parent / "stores").glob(f"*/{META}"))
    vectors, model = TeacherVectors.open(path), DualEncoder.load(teacher, query_length=24, passage_length=40)
    study = Study.model_validate(small_tree())
    texts = {}
    for _, group in recipe(study.data, study.encoder).groups():  # in the order of the store
        for language in sorted({*group.queries, *group.passages}):
            texts.setdefault((True, group.queries.get(language), language))
            for passage in (group.passages.get(language), *group.negatives.get(language, ())):
                texts.setdefault((False, passage, ""))
    texts = [(side, text) for side, text, _ in texts if text is not None]
    numbers = np.load(path / "numbers.npy")[:40]
    assert not any(texts[number][0] for number in numbers)  # of align batches, passages alone
    expected = model.encode_passages([texts[number][1] for number in numbers])
    np.testing.assert_allclose(vectors.take(numbers), expected, atol=1e-5)


def test_two_workers_align_what_one_aligns(trained):
    one, two = (scores(trained(workers)[2]) for workers in (1, 2))
    assert len(one) == len(two) > 1
    for metrics, others in zip(one, two, strict=True):
        for name in ("loss", "align_loss"):
            assert metrics[name] == pytest.approx(others[name], abs=1e-4), name
    assert one[-1]["align_loss"] < one[0]["align_loss"]


def test_a_kept_projection_gives_the_model_the_width_of_its_teacher(trained):
    result, _, folder = trained(1, "kept")
    _, _, discarded = trained()
    model = DualEncoder.load(folder / "best")
    assert (model.width, DualEncoder.load(discarded / "best").width) == (WIDTH, 32)
    assert result["metrics"]["align_loss"] < 1
    assert "Teacher: " in (folder / "best" / "README.md").read_text()
