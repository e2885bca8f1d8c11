"""Which checkpoints stay, and that nobody ever sees a part of one."""

import itertools
import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
from damaging import WAYS
from object_store import use_memory_store

from hybridtune.storage.copies import ensure_local
from hybridtune.storage.files import base_name, exists, join, list_names, read_file, write_file
from hybridtune.storage.manifests import MANIFEST, damage
from hybridtune.train.checkpoint import STATE
from hybridtune.train.checkpoints import CheckpointManager
from hybridtune.train.progress import Progress


@pytest.fixture
def memory(monkeypatch, tmp_path):
    monkeypatch.setenv("HYBRIDTUNE_CACHE", str(tmp_path / "cache"))
    return use_memory_store(monkeypatch)


@pytest.fixture(params=["local", "remote"])
def place(request, tmp_path, memory):
    return str(tmp_path / "fit") if request.param == "local" else "memory://bucket/study/fit?region=none"


def add(checkpoints, step, value, objective="multi/AP", ended=False):
    def write(folder):
        progress = Progress(step=step, metrics={"step": step, objective: value}, ended=ended)
        for name in ("model.safetensors", "optimizer.safetensors"):
            (folder / name).write_text(f"{name} {step} {value}", encoding="utf-8")
        (folder / STATE).write_text(json.dumps(asdict(progress)), encoding="utf-8")
        return progress

    return checkpoints.add(step, write)


def steps(place):
    return [int(name.split("_")[1]) for name in list_names(place)]


def last_step(checkpoints):
    """Of the checkpoint that a training would go on from, whose files are all there."""
    last = checkpoints.last()
    if last is None:
        return None
    step = json.loads((last / STATE).read_text(encoding="utf-8"))["step"]
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert (last / name).read_text(encoding="utf-8").split()[:2] == [name, str(step)]
    return step


# Every order that four scores of at most three values can have, ties included, each once.
SCORES = [0.1, 0.2, 0.3]
ORDERS = [values for values in itertools.product(SCORES, repeat=4) if set(values) == set(SCORES[: len(set(values))])]


@pytest.mark.parametrize("keep", [1, 2, 3])
@pytest.mark.parametrize("values", ORDERS)
def test_the_best_and_the_last_two_stay_and_of_equals_the_later(place, keep, values):
    checkpoints = CheckpointManager(place, keep, "multi/AP")
    assert checkpoints.last() is None
    for number, value in enumerate(values):
        assert add(checkpoints, 4 * number + 4, value).step == last_step(checkpoints) == 4 * number + 4
    ranked = sorted(range(4), key=lambda number: (values[number], number))[-keep:]
    before = max(range(3), key=lambda number: (values[number], number))  # the best when the last was not there
    assert steps(place) == sorted({*(4 * number + 4 for number in (*ranked, before)), 12, 16})


def test_of_an_objective_that_is_to_fall_the_least_stays(place):
    checkpoints = CheckpointManager(place, 1, "multi/rank_distance")
    for step, value in ((1, 9.0), (2, 3.0), (3, 5.0), (4, 7.0)):
        add(checkpoints, step, value, "multi/rank_distance")
    assert steps(place) == [2, 3, 4]


def test_a_write_that_fails_leaves_the_last_checkpoint_and_the_next_one_succeeds(place):
    checkpoints = CheckpointManager(place, 1, "multi/AP")
    add(checkpoints, 1, 0.5)

    def half(folder):
        (folder / STATE).write_text("{", encoding="utf-8")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        checkpoints.add(2, half)
    assert last_step(checkpoints) == 1
    add(checkpoints, 2, 0.6)
    assert last_step(checkpoints) == 2
    assert steps(place) == [1, 2]


def test_a_step_that_is_scored_again_replaces_its_checkpoint(place):
    checkpoints = CheckpointManager(place, 2, "multi/AP")
    for value in (0.5, 0.6):
        add(checkpoints, 1, value)
        assert json.loads((checkpoints.last() / STATE).read_text(encoding="utf-8"))["metrics"]["multi/AP"] == value


def test_cut_off_at_any_change_of_an_object_store_the_checkpoint_before_or_the_new_one_counts(memory):
    place = "memory://bucket/fit"
    for values in ((0.5, 0.6, 0.7), (0.7, 0.6, 0.5)):  # the oldest goes, or none
        cut = 0
        while True:
            memory.objects.clear()
            memory.fail_after, memory.changes = None, 0
            checkpoints = CheckpointManager(place, 1, "multi/AP")
            for step in (1, 2):
                add(checkpoints, step, values[step - 1])
            memory.fail_after, memory.changes = cut, 0
            try:
                add(checkpoints, 3, values[2])
                break
            except OSError:
                memory.fail_after = None
            again = CheckpointManager(place, 1, "multi/AP")
            assert last_step(again) == (2 if cut < 4 else 3)
            add(again, 4, 0.1)
            assert last_step(again) == 4
            assert all(exists(join(place, name, MANIFEST)) for name in list_names(place))
            cut += 1
        assert cut >= 4


def test_a_remote_checkpoint_is_fetched_by_who_asks_and_not_kept_by_who_wrote_it(memory, tmp_path):
    checkpoints = CheckpointManager("memory://bucket/fit", 1, "multi/AP")
    add(checkpoints, 1, 0.5)
    assert list((tmp_path / "cache" / "outgoing").iterdir()) == []
    assert ensure_local(checkpoints.at(1)) == checkpoints.last()
    assert base_name(checkpoints.at(1)) == "checkpoint_0000001"


def test_what_a_killed_process_was_sending_is_cleaned_up(memory, tmp_path):
    left = tmp_path / "cache" / "outgoing" / "999999999-1-abcdef01"
    left.mkdir(parents=True)
    add(CheckpointManager("memory://bucket/fit", 1, "multi/AP"), 1, 0.5)
    assert not left.exists()


def test_a_checkpoint_that_was_half_removed_does_not_count(tmp_path):
    checkpoints = CheckpointManager(str(tmp_path), 2, "multi/AP")
    for step in (1, 2):
        add(checkpoints, step, 0.5)
    (Path(checkpoints.at(2)) / MANIFEST).unlink()
    assert last_step(checkpoints) == 1
    add(checkpoints, 3, 0.4)
    assert steps(str(tmp_path)) == [1, 3]
    shutil.rmtree(tmp_path)
    assert checkpoints.last() is None


def add_best(checkpoints, step, value, best_step):
    """A checkpoint as a training writes it, with the best so far named in it."""

    def write(folder):
        metrics = {"step": step, "multi/AP": value}
        progress = Progress(step=step, metrics=metrics, best_step=best_step, best_metrics=metrics)
        for name in ("model.safetensors", "optimizer.safetensors"):
            (folder / name).write_text(f"{name} {step} {value}", encoding="utf-8")
        (folder / STATE).write_text(json.dumps(asdict(progress)), encoding="utf-8")
        return progress

    return checkpoints.add(step, write)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", STATE, MANIFEST])
@pytest.mark.parametrize("way", WAYS)
def test_a_damaged_checkpoint_is_told_and_the_one_before_it_is_used(tmp_path, name, way):
    checkpoints, told = CheckpointManager(str(tmp_path), 1, "multi/AP"), []
    for step, value in ((10, 0.1), (20, 0.2), (30, 0.3)):
        add_best(checkpoints, step, value, step)
    assert steps(str(tmp_path)) == [20, 30]
    WAYS[way](Path(checkpoints.at(30)) / name)
    last = checkpoints.last(lambda *damage: told.append(damage))
    assert last == Path(checkpoints.at(20))
    if (name, way) == (MANIFEST, "delete"):  # as a kill leaves one that was being removed
        assert told == []
    else:
        ((step, goes_on_from, what),) = told
        assert (step, goes_on_from) == (30, 20)
        assert what.startswith(name)
        assert steps(str(tmp_path)) == [20]
    add_best(checkpoints, 30, 0.3, 30)
    assert last_step(checkpoints) == 30
    assert told[1:] == []


def test_the_one_before_the_last_keeps_its_own_best(tmp_path):
    checkpoints = CheckpointManager(str(tmp_path), 1, "multi/AP")
    for step, value, best in ((10, 0.2, 10), (20, 0.1, 10), (30, 0.3, 30)):
        add_best(checkpoints, step, value, best)
    assert steps(str(tmp_path)) == [10, 20, 30]
    WAYS["flip"](Path(checkpoints.at(30)) / "model.safetensors")
    assert last_step(checkpoints) == 20
    add_best(checkpoints, 30, 0.3, 30)
    add_best(checkpoints, 40, 0.1, 30)
    assert steps(str(tmp_path)) == [30, 40]


def test_where_none_is_whole_the_training_starts_again(tmp_path):
    checkpoints, told = CheckpointManager(str(tmp_path), 2, "multi/AP"), []
    for step in (10, 20):
        add_best(checkpoints, step, 0.5, step)
        WAYS["flip"](Path(checkpoints.at(step)) / "model.safetensors")
    assert checkpoints.last(lambda *damage: told.append(damage)) is None
    what = "model.safetensors holds other bytes than were written"
    assert told == [(20, 0, what), (10, 0, what)]
    assert steps(str(tmp_path)) == []


def test_a_training_goes_on_from_where_its_best_checkpoint_is_whole_too(tmp_path):
    checkpoints, told = CheckpointManager(str(tmp_path), 1, "multi/AP"), []
    for step, value, best in ((10, 0.2, 10), (20, 0.4, 20), (30, 0.3, 20), (40, 0.1, 20)):
        add_best(checkpoints, step, value, best)
    assert steps(str(tmp_path)) == [20, 30, 40]
    WAYS["truncate"](Path(checkpoints.at(20)) / "model.safetensors")
    assert checkpoints.last(lambda *damage: told.append(damage)) is None
    assert [(step, goes_on_from) for step, goes_on_from, _ in told] == [(40, 0), (30, 0), (20, 0)]
    assert told[0][2].startswith("its best checkpoint, checkpoint_0000020, is damaged: model.safetensors has ")


def test_a_damaged_checkpoint_is_no_best_one(tmp_path):
    checkpoints = CheckpointManager(str(tmp_path), 1, "multi/AP")
    for step, value in ((10, 0.9), (20, 0.2)):
        add_best(checkpoints, step, value, step)
    WAYS["truncate"](Path(checkpoints.at(10)) / STATE)
    for step, value in ((30, 0.3), (40, 0.1)):
        add_best(checkpoints, step, value, step)
    assert steps(str(tmp_path)) == [30, 40]


@pytest.mark.parametrize("way", ["truncate", "delete"])
def test_a_checkpoint_that_is_damaged_at_a_url_is_told(memory, tmp_path, way):
    checkpoints, told = CheckpointManager("memory://bucket/fit", 1, "multi/AP"), []
    for step, value in ((10, 0.1), (20, 0.2)):
        add_best(checkpoints, step, value, step)
    (key,) = [key for key in memory.objects if key.endswith("20/model.safetensors")]
    memory.objects[key] = memory.objects[key][:5]
    if way == "delete":
        del memory.objects[key]
    assert checkpoints.last(lambda *damage: told.append(damage)) == ensure_local(checkpoints.at(10))
    ((step, goes_on_from, what),) = told
    assert (step, goes_on_from) == (20, 10)
    assert "model.safetensors" in what


def test_a_checkpoint_between_two_scores_stays_until_the_next_and_is_never_the_best(place):
    checkpoints = CheckpointManager(place, 1, "multi/AP")

    def early(step, scored):
        def write(folder):
            progress = Progress(step=step, metrics=scored, sums=((1.0,), (0.0,)))
            for name in ("model.safetensors", "optimizer.safetensors"):
                (folder / name).write_text(f"{name} {step} early", encoding="utf-8")
            (folder / STATE).write_text(json.dumps(asdict(progress)), encoding="utf-8")
            return progress

        checkpoints.add(step, write)

    early(2, {})
    assert (steps(place), last_step(checkpoints)) == ([2], 2)
    add(checkpoints, 4, 0.3)
    add(checkpoints, 8, 0.2)
    early(9, {"step": 8, "multi/AP": 0.2})
    early(10, {"step": 8, "multi/AP": 0.2})
    assert (steps(place), last_step(checkpoints)) == ([4, 8, 10], 10)
    add(checkpoints, 12, 0.1)
    assert steps(place) == [4, 8, 12]


@pytest.mark.parametrize("ended", [True, False])
def test_what_has_ended_is_whole_without_its_optimizer_and_nothing_goes_on_from_it(place, ended):
    checkpoints, told = CheckpointManager(place, 1, "multi/AP"), []
    for step in (4, 8):
        add(checkpoints, step, 0.5)
    if ended:
        add(checkpoints, 12, 0.6, ended=True)
    checkpoints.end()
    checkpoints.end()  # what a kill left undone, and nothing more
    for name in list_names(place):
        assert sorted(list_names(join(place, name))) == sorted([MANIFEST, "model.safetensors", STATE])
        assert damage(join(place, name)) is None
    last = checkpoints.last(lambda *what: told.append(what))
    if ended:  # its progress says all that there is to report
        assert json.loads((last / STATE).read_text())["step"] == 12
        assert not told
    else:
        assert last is None
        assert [(step, on) for step, on, _ in told] == [(8, 0), (4, 0)]
        assert "optimizer" in told[0][2]


def test_a_kill_between_manifest_and_file_leaves_a_whole_checkpoint(place):
    checkpoints = CheckpointManager(place, 1, "multi/AP")
    add(checkpoints, 4, 0.5, ended=True)
    of_before = read_file(join(checkpoints.at(4), "optimizer.safetensors"))
    checkpoints.end()
    write_file(join(checkpoints.at(4), "optimizer.safetensors"), of_before)  # it would have been removed next
    assert damage(checkpoints.at(4)) is None
    checkpoints.end()
    assert not exists(join(checkpoints.at(4), "optimizer.safetensors"))
