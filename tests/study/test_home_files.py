import json
import os

import pytest

from hybridtune.study.home_files import HomeFiles


def end_trial(home, number, status="done", part=""):
    """A trial's folder and its row, as a search leaves them."""
    folder = home / part / "trials" / f"{number:04d}"
    (folder / "fit" / "checkpoint_0000010").mkdir(parents=True, exist_ok=True)
    for name in ("plan.json", "metrics.jsonl", "fit/checkpoint_0000010/state.json"):
        (folder / name).write_text("{}")
    tell(home, number, status, part)


def tell(home, number, status, part=""):
    with (home / part / "trials.jsonl").open("a") as file:
        file.write(json.dumps({"id": f"{number:04d}", "status": status}) + "\n")


@pytest.fixture
def looked_into(monkeypatch):
    """The folders that were listed."""
    found, scandir = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda folder: (found.append(str(folder)), scandir(folder))[1])
    return found


def test_a_look_lists_the_same_folders_however_many_trials_have_settled(tmp_path, looked_into):
    files, counts = HomeFiles(tmp_path), []
    for number in range(40):
        end_trial(tmp_path, number, part="screening" if number % 2 else "")
        del looked_into[:]
        found = files.find()
        counts.append(len(looked_into))
        assert len([name for name in found if name.endswith("plan.json")]) == number + 1
    assert len(set(counts[4:])) == 1
    assert not any(name.endswith("fit") for name in looked_into)
    del looked_into[:]
    assert files.find(whole=True) == found
    assert len(looked_into) > 40


def test_what_comes_after_a_trials_row_is_found_by_the_next_look(tmp_path):
    files = HomeFiles(tmp_path)
    end_trial(tmp_path, 0)
    before = files.find()
    (tmp_path / "trials" / "0000" / "events.out.tfevents.1").write_text("end")
    found = files.find()
    assert found.keys() - before.keys() == {"trials/0000/events.out.tfevents.1"}
    assert files.find() == files.find() == found


def test_a_change_long_after_is_found_by_a_whole_look(tmp_path):
    files = HomeFiles(tmp_path)
    end_trial(tmp_path, 0)
    before = [files.find() for _ in range(4)][-1]
    (tmp_path / "trials" / "0000" / "plan.json").write_text("{} changed")
    (tmp_path / "trials" / "0000" / "metrics.jsonl").unlink()
    assert files.find() == before
    after = files.find(whole=True)
    assert before.keys() - after.keys() == {"trials/0000/metrics.jsonl"}
    assert after["trials/0000/plan.json"] != before["trials/0000/plan.json"]
    assert files.find() == after


@pytest.mark.parametrize("status", ["running", "paused", "failed", "out of budget"])
def test_the_folder_of_a_trial_that_may_go_on_is_walked(tmp_path, status):
    files = HomeFiles(tmp_path)
    end_trial(tmp_path, 0)
    for _ in range(4):
        files.find()
    tell(tmp_path, 0, status)
    (tmp_path / "trials" / "0000" / "metrics.jsonl").write_text("{} more")
    assert files.find()["trials/0000/metrics.jsonl"][0] == 7


def test_rows_that_are_written_anew_and_a_line_that_is_cut_off_are_read(tmp_path):
    files, rows = HomeFiles(tmp_path), tmp_path / "trials.jsonl"
    end_trial(tmp_path, 0)
    for _ in range(4):
        files.find()
    (tmp_path / "new").write_text('{"id": "0000", "status": "failed"}\n{"id": "0001", "sta')
    (tmp_path / "new").replace(rows)
    plan = tmp_path / "trials" / "0000" / "plan.json"
    for content in ("one", "three"):
        plan.write_text(content)
        assert files.find()["trials/0000/plan.json"][0] == len(content)
    (tmp_path / "new").write_text('no row\n{"id": "0000", "status": "done"}\n')
    (tmp_path / "new").replace(rows)
    for content in ("one", "three", "eleven"):
        plan.write_text(content)
        found = files.find()["trials/0000/plan.json"][0]
    assert found == len("three")
