"""What a study file that cannot be used is answered with."""

import pytest

from hybridtune.config.study import load_study
from hybridtune.errors import InputError


def problems(path, *overrides):
    """The lines of the error, without the file's name."""
    with pytest.raises(InputError) as caught:
        load_study(path, overrides)
    lines = str(caught.value).split("\n")
    assert all(line.startswith(f"{path}: ") for line in lines)
    return [line.removeprefix(f"{path}: ") for line in lines]
