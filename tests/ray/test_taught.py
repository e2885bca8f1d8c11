"""A study with a teacher of another tokenizer and width, from the texts to the exported model."""

import json

import numpy as np
import pytest
from conftest import Seen

from hybridtune.config.study import Study
from hybridtune.data.store import TokenStore, recipe
from hybridtune.data.teacher_vectors import META, TeacherVectors
from hybridtune.evaluate.encode import Actors
from hybridtune.model.encoder import DualEncoder
from hybridtune.study.run import train_study
from hybridtune.study.teachers import teach_all

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]
WIDTH = 48  # of the teacher; that of the encoder is 32


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("taught")


@pytest.fixture(scope="module")
def trained(shared_ray, small_tree, teacher, root):
    """What a training whose projection is kept returned, what it said, its folder, and its study."""
    tree = small_tree(resources={"workers": 1, "gpus_per_worker": 0}, mix={"align_share": 0.5})
    tree["train"] |= {"precision": "float32", "teacher": teacher, "teacher_projection": "kept"}
    tree["data"]["store"] = str(root / "stores")
    study, seen = Study.model_validate(tree), Seen()
    return train_study(study, root / "study", [seen]), seen, root / "study", study


@pytest.fixture(scope="module")
def vectors(trained, root):
    """Folder of the vectors that the training made."""
    (meta,) = (root / "stores").glob(f"*/{META}")
    return meta.parent


def test_the_teacher_reads_each_text_once_for_all_trainings(trained, vectors, teacher, root):
    _, seen, folder, study = trained
    (told,) = (message for message in seen.messages if "vectors of" in message)
    assert teacher in told
    assert str(vectors) in told
    assert ("teaching", True) in seen.phases
    meta = json.loads((vectors / META).read_text())
    assert (meta["width"], 0 < meta["texts"] < 1000) == (WIDTH, True)
    made_of, steps = recipe(study.data, study.encoder), []
    (store,) = (file.parent for file in (root / "stores").glob("*/store.json"))
    corpus, progress = TokenStore.open(store).corpus(), lambda done, total: steps.append(done)
    other = study.model_copy(update={"seed": study.seed + 1})
    source = str(folder / "encoder")
    found = teach_all(other, corpus, made_of, root / "stores", source, Actors(1, 1), progress, steps.append)
    assert [*found.values()] == [vectors]
    assert not steps  # nothing was read again, and nothing was damaged


def test_the_vectors_are_those_that_the_teacher_gives(vectors, teacher, small_study):
    found, model = TeacherVectors.open(vectors), DualEncoder.load(teacher, query_length=24, passage_length=40)
    texts = {}
    for _, group in recipe(small_study.data, small_study.encoder).groups():  # in the order of the store
        for language in sorted({*group.queries, *group.passages}):
            texts.setdefault((True, group.queries.get(language), language))
            for passage in (group.passages.get(language), *group.negatives.get(language, ())):
                texts.setdefault((False, passage, ""))
    texts = [(side, text) for side, text, _ in texts if text is not None]
    numbers = np.load(vectors / "numbers.npy")[:40]
    assert not any(texts[number][0] for number in numbers)  # of align batches, passages alone
    expected = model.encode_passages([texts[number][1] for number in numbers])
    np.testing.assert_allclose(found.take(numbers), expected, atol=1e-5)


def test_a_kept_projection_gives_the_model_the_width_of_its_teacher(trained):
    result, _, folder, study = trained
    assert DualEncoder.load(folder / "best").width == WIDTH != study.encoder.tiny.hidden_size
    assert result["metrics"]["align_loss"] < 1
    assert "Teacher: " in (folder / "best" / "README.md").read_text()
