"""What a study that has ended gives back of its disk, and whose models stay."""

import json

import pytest
from small_study import small_study

from hybridtune.search.study import SearchResult
from hybridtune.storage.manifests import damage, seal
from hybridtune.storage.trial_rows import TrialRow
from hybridtune.study.room import make_room
from hybridtune.study.sync import Home

STATUSES = ("done", "done", "done", "stopped early", "failed", "out of budget")
FILES = ("model.safetensors", "training.safetensors", "optimizer.safetensors", "state.json", "scores.json")


def ended(tmp_path, **search):
    """A study of six trials with two checkpoints each: the best is 0, on the front is 1, a contestant is 2."""
    rows = [TrialRow(f"{n:04d}", n, "tuned", {}, {"balanced/AP": 0.5}, status) for n, status in enumerate(STATUSES)]
    for row in rows:
        for step in (4, 8):
            folder = tmp_path / "trials" / row.id / "fit" / f"checkpoint_{step:07d}"
            folder.mkdir(parents=True)
            for name in FILES:
                if not (row.status == "done" and name == "optimizer.safetensors"):  # its worker has removed that
                    (folder / name).write_text(json.dumps({"step": step}))
            seal(folder)
    make_room(
        small_study(search=search),
        Home(tmp_path, str(tmp_path)),
        SearchResult(rows, rows[0], ["0000", "0001"]),
        {"0002"},
    )
    assert not [folder for folder in tmp_path.glob("trials/*/fit/*") if damage(folder)]
    return {
        row.id: {file.name for file in tmp_path.glob(f"trials/{row.id}/fit/*/*")} - {"hybridtune_manifest.json"}
        for row in rows
    }


@pytest.mark.parametrize(("keep", "kept"), [("best", "0 2"), ("front", "0 1 2"), ("all", "0 1 2 3")])
def test_the_weights_that_stay_are_those_asked_for_and_the_contestants(tmp_path, keep, kept):
    found = ended(tmp_path, keep_models=keep)
    for number in range(4):
        weights = {"model.safetensors", "training.safetensors"} if str(number) in kept.split() else set()
        assert found[f"{number:04d}"] == {"state.json", "scores.json", *weights}


@pytest.mark.parametrize("keep", ["best", "all"])
def test_a_trial_that_may_go_on_keeps_all(tmp_path, keep):
    found = ended(tmp_path, keep_models=keep)
    assert found["0004"] == found["0005"] == set(FILES)
