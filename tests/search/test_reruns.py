"""What is proposed after a search: the trainings that its contestants lack, one after the other's rows."""

import json
from dataclasses import asdict

from ray.tune.search import Searcher
from small_study import small_study

from hybridtune.search.study import Lacking
from hybridtune.storage.trial_rows import ENDED, TrialRow

GOAL = "balanced/AP"
RATIOS = {"mono-only": 1.0, "half-half": 0.5, "cross-only": 0.0}


def trained(folder, *rows):
    with (folder / ENDED).open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(asdict(row)) + "\n" for row in rows)


def rerun(config, value, status="done"):
    values = {name: config[name] for name in config if "." in name}
    metrics = {GOAL: value}
    return TrialRow(config["name"], config["number"], config["arm"], values, metrics, status, proposed="rerun")


def proposer(folder):
    space = {"mixing_ratio": {"uniform": [0.0, 1.0]}, "temperature": {"loguniform": [0.01, 0.2]}}
    study = small_study(train={"temperature": 0.05}, search={"trials": 1, "arms": "rerun", "space": space})
    values = {"mix.mixing_ratio": 0.3, "train.temperature": 0.1}
    trained(folder, TrialRow("0000", 0, "tuned", values, {GOAL: 0.6}, "done"))
    return Lacking(study, folder)


def test_three_ratios_come_first_and_then_the_strongest_with_the_files_values(tmp_path):
    lacking = proposer(tmp_path)
    three = [lacking.suggest(str(n)) for n in range(3)]
    assert [one["name"] for one in three] == ["0000-mono-only", "0000-half-half", "0000-cross-only"]
    assert [one["number"] for one in three] == [1, 2, 3]
    assert {one["proposed"] for one in three} == {"rerun"}
    assert [one["mix.mixing_ratio"] for one in three] == list(RATIOS.values())
    assert lacking.suggest("3") is None  # the strongest shows when all three have ended
    trained(tmp_path, rerun(three[0], 0.2), rerun(three[2], 0.5))
    assert lacking.suggest("3") is None
    trained(tmp_path, rerun(three[1], 0.4))
    last = lacking.suggest("3")
    assert (last["name"], last["number"]) == ("file-cross-only", 4)
    assert lacking.suggest("4") is None
    trained(tmp_path, rerun(last, 0.3))
    assert lacking.suggest("4") == Searcher.FINISHED


def test_a_training_that_failed_is_tried_once(tmp_path):
    lacking = proposer(tmp_path)
    three = [lacking.suggest(str(n)) for n in range(3)]
    trained(tmp_path, *[rerun(one, 0.3, "failed" if n == 1 else "done") for n, one in enumerate(three)])
    last = lacking.suggest("3")
    assert last["name"] == "file-mono-only"
    trained(tmp_path, rerun(last, 0.3))
    assert lacking.suggest("4") == Searcher.FINISHED


def test_the_same_command_goes_on_with_what_is_left(tmp_path):
    before = proposer(tmp_path)
    first = before.suggest("0")
    trained(tmp_path, rerun(first, 0.3))
    after = Lacking(before._study, tmp_path)
    assert [after.suggest(str(n))["name"] for n in range(2)] == ["0000-half-half", "0000-cross-only"]
