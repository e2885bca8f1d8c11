"""What a study file that cannot be used is answered with."""

import re

import pytest

from hybridtune.config.study import load_study
from hybridtune.errors import InputError


def problems(path, *overrides):
    """The lines of the error, without the file's name and line."""
    with pytest.raises(InputError) as caught:
        load_study(path, overrides)
    lines = str(caught.value).split("\n")
    assert all(re.match(rf"{re.escape(str(path))}(:\d+)?: ", line) for line in lines)
    return [re.sub(r"^[^:]*(:\d+)?: ", "", line) for line in lines]
