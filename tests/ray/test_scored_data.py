"""A study that learns the scores of its data, from the file to the reports: with two workers as with one."""

import json

import numpy as np
import pytest
from conftest import Seen, write_groups

from hybridtune.config.study import Study
from hybridtune.study.run import train_study

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def trained(shared_ray, small_tree, newsroom_file, tmp_path_factory):
    """Trains on the groups of which half have margins; the metrics of all scores, and the folder, by the workers."""
    root = tmp_path_factory.mktemp("scored")
    draw, groups = np.random.default_rng(1), []
    for line in newsroom_file.read_text(encoding="utf-8").splitlines():
        groups.append(group := json.loads(line))
        if draw.random() < 0.5:
            negatives = group.get("negatives", {})
            group["margins"] = {x: draw.normal(3, 2, len(texts)).tolist() for x, texts in negatives.items()}
    file, done = write_groups(root / "train.jsonl", groups), {}

    def train(workers):
        if workers not in done:
            tree = small_tree(resources={"workers": workers, "gpus_per_worker": 0})
            tree["data"] = {"train": str(file), "store": str(root / "stores")}
            options = {"distil": "margin_mse", "distil_from": "data", "distil_weight": 0.1, "negatives": 2}
            tree["train"] |= {"precision": "float32", **options}
            folder = root / str(workers)
            train_study(Study.model_validate(tree), folder, [Seen()])
            files = sorted((folder / "fit").glob("checkpoint_*/state.json"))
            done[workers] = [json.loads(one.read_text())["metrics"] for one in files], folder
        return done[workers]

    return train


def test_two_workers_learn_the_scores_that_one_learns(trained):
    one, two = trained(1)[0], trained(2)[0]
    assert len(one) == len(two) > 1
    for metrics, others in zip(one, two, strict=True):
        for name in ("loss", "distil_loss", "negatives"):
            assert metrics[name] == pytest.approx(others[name], rel=1e-3), name
    assert one[-1]["distil_loss"] > 0


def test_the_card_says_what_was_learnt(trained):
    text = (trained(1)[1] / "best" / "README.md").read_text(encoding="utf-8")
    assert "Scores that the training data have were distilled (margin_mse)." in text
