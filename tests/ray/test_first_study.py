"""Anybody's pairs become a finished study: `init`, then `run`."""

from pathlib import Path

import pytest
from help_centre import PAIRS, write_help_centre

from hybridtune import load_study, run_study
from hybridtune.callbacks import StudyCallback
from hybridtune.config.fields import DataSet
from hybridtune.prepare.init import init

pytestmark = [pytest.mark.ray, pytest.mark.timeout(280)]


@pytest.fixture(scope="module")
def first_study(shared_ray, tmp_path_factory):
    """What `init` found in the pairs of a help centre, and the result of its study, with fewer steps."""
    folder = tmp_path_factory.mktemp("first")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HYBRIDTUNE_CACHE", str(folder / "cache"))
        table = write_help_centre(folder / "pairs.csv")
        found = init([DataSet(path=str(table))], Path("study.yaml"), None, False, StudyCallback())
        study = load_study("study.yaml", train__max_steps=4, train__eval_steps=2, search__trials=1)
        yield found, run_study(study, folder / "out")


def test_the_test_part_is_scored_in_every_language(first_study):
    found, result = first_study
    test = result.result["test"]
    assert set(test["per_language"]["multi"]) == set(PAIRS)
    assert 0 < test["counts"]["passages"] < found["grouped"]["mono"] / 5  # of a tenth of the groups
    assert 0 < sum(test["training_pairs"].values()) <= 4 * found["batch_size"]  # of the steps of one training
    assert (result.folder / "report.html").is_file()


def test_the_tuned_model_meets_the_fixed_ratios_and_the_start(first_study):
    _, result = first_study
    assert {"tuned", "mono-only", "half-half", "cross-only", "start"} <= set(result.contestants.index)
    assert result.contestants["balanced/AP"].between(0, 1, inclusive="neither").all()
