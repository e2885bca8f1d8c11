import shutil

import pytest
from made_study import made_study


@pytest.fixture(scope="session")
def finished_study(tmp_path_factory):
    """A finished study of one objective; for reading."""
    return made_study(tmp_path_factory.mktemp("made") / "one")


@pytest.fixture(scope="session")
def three_goals(tmp_path_factory):
    """A finished study of three objectives; for reading."""
    return made_study(tmp_path_factory.mktemp("made") / "three", objectives="three")


@pytest.fixture
def study_copy(finished_study, tmp_path):
    """A copy of the finished study, to be changed."""
    return shutil.copytree(finished_study, tmp_path / "study")
