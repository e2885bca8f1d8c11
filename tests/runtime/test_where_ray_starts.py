"""Ray starts in one place: `run` and `evaluate` show how all commands start it, for what listens is settled there."""

import inspect
from pathlib import Path

import hybridtune
from hybridtune.study import encoded, evaluate_model, mine, run, started

ROOT = Path(hybridtune.__file__).parent


def files_with(word):
    found = (path for path in ROOT.rglob("*.py") if word in path.read_text(encoding="utf-8"))
    return {path.relative_to(ROOT).as_posix() for path in found}


def calls(code, name):
    return f" {name}(" in inspect.getsource(code)


def test_ray_is_started_or_joined_in_the_runtime_room_alone():
    assert files_with("ray.init(") == {"runtime/local.py", "runtime/connect.py"}


def test_a_local_ray_is_started_by_one_function_that_all_commands_call():
    preparing = {"prepare/parts.py", "prepare/mining.py", "translate/translator.py"}
    assert files_with("local_cluster(") == {"runtime/local.py", "study/started.py", "study/encoded.py", *preparing}
    functions = [function for function in vars(started).values() if inspect.isfunction(function)]
    starting = {function.__name__ for function in functions if calls(function, "local_cluster")}
    assert starting == {"started", "local_cluster"}  # the latter by its own definition
    assert "local_cluster(" in inspect.getsource(encoded.encoded)
    assert calls(run._search, "started")
    assert calls(run.train_study, "started")
    assert calls(evaluate_model, "encoded")
    assert calls(mine, "encoded")
