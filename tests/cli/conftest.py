"""Where commands with bad input run: in one folder a module, without Ray and without a network."""

import shutil

import pytest
from bad_calls import World


def _no_ray(address=None, **_):
    if address is not None:
        raise ConnectionError(f"no cluster at {address}")
    raise AssertionError("bad input started Ray")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A `World` in which Ray is not started and the hub is not asked."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ray.init", _no_ray)
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        patch.setattr("datasets.config.HF_HUB_OFFLINE", True)
        yield World(tmp_path_factory.mktemp("world"), patch)


@pytest.fixture(scope="module")
def model(world, dense):
    """The folder of a good encoder with a Dense layer, at ``../model`` for the commands."""
    return shutil.copytree(dense[0], world.here.parent / "model")
