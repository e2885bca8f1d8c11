"""Which checkpoints stay, and that nobody ever sees a part of one."""

import itertools
import json
from dataclasses import asdict

import pytest

from hybridtune.train.checkpoint import STATE
from hybridtune.train.kept import Checkpoints
from hybridtune.train.progress import Progress


def add(kept, step, value, objective="multi/AP"):
    def write(folder):
        progress = Progress(step=step, metrics={"step": step, objective: value})
        (folder / STATE).write_text(json.dumps(asdict(progress)), encoding="utf-8")
        return progress

    return kept.add(step, write)


def steps(folder):
    return sorted(int(place.name.split("_")[1]) for place in folder.iterdir())


@pytest.mark.parametrize("keep", [1, 2, 3])
@pytest.mark.parametrize("values", itertools.product([0.1, 0.2, 0.3], repeat=4))
def test_the_best_and_the_last_stay_and_of_equals_the_later(tmp_path, keep, values):
    kept = Checkpoints(tmp_path / "fit", keep, "multi/AP")
    assert kept.last() is None
    for place, value in enumerate(values):
        assert add(kept, 4 * place + 4, value).step == 4 * place + 4
        assert kept.last() == kept.at(4 * place + 4)
    ranked = sorted(range(4), key=lambda place: (values[place], place))[-keep:]
    assert steps(tmp_path / "fit") == sorted({*(4 * place + 4 for place in ranked), 16})


def test_of_an_objective_that_is_to_fall_the_least_stays(tmp_path):
    kept = Checkpoints(tmp_path, 1, "multi/rank_distance")
    for step, value in ((1, 9.0), (2, 3.0), (3, 5.0), (4, 7.0)):
        add(kept, step, value, "multi/rank_distance")
    assert steps(tmp_path) == [2, 4]


def test_a_write_that_fails_leaves_the_last_checkpoint_and_the_next_one_succeeds(tmp_path):
    kept = Checkpoints(tmp_path, 1, "multi/AP")
    add(kept, 1, 0.5)

    def half(folder):
        (folder / STATE).write_text("{", encoding="utf-8")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        kept.add(2, half)
    assert kept.last() == kept.at(1)
    add(kept, 2, 0.6)
    assert kept.last() == kept.at(2)
    assert steps(tmp_path) == [2]


def test_a_step_that_is_scored_again_replaces_its_checkpoint(tmp_path):
    kept = Checkpoints(tmp_path, 2, "multi/AP")
    for value in (0.5, 0.6):
        add(kept, 1, value)
    assert json.loads((kept.at(1) / STATE).read_text(encoding="utf-8"))["metrics"]["multi/AP"] == 0.6
