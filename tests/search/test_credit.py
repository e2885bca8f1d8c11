"""The headline on made studies whose truth is known; `benchmarks/credit.py` does it on hundreds."""

import importlib.util
import warnings
from pathlib import Path

import optuna
import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def credit():
    file = Path(__file__).parents[2] / "benchmarks" / "credit.py"
    spec = importlib.util.spec_from_file_location("credit", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return module


@pytest.mark.parametrize("arms", ["searched", "rerun"])
@pytest.mark.parametrize(
    ("truth", "mix", "values"), [("none", (0, 0), (0, 0)), ("mix", (0.3, 1), (0, 0)), ("temperature", (0, 0), (0.6, 1))]
)
def test_only_what_gains_is_credited(credit, tmp_path, arms, truth, mix, values):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = credit.shares(truth, arms, 6, 6, 3, tmp_path)
    assert mix[0] <= found["mix"] <= mix[1]
    assert values[0] <= found["other values"] <= values[1]
