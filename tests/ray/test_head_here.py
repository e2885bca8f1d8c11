"""A head on this machine that cannot start: told why, and nothing of it is left."""

import tempfile
from pathlib import Path

import pytest
import yaml

from hybridtune.errors import HybridtuneError
from hybridtune.launch.local_head import start_head

pytestmark = [pytest.mark.ray, pytest.mark.cluster, pytest.mark.timeout(120)]

CLUSTER = Path(__file__).parents[2] / "clusters" / "local_autoscaling.yaml"


def test_a_head_that_does_not_start_says_why_and_leaves_nothing(no_ray, tmp_path, monkeypatch):
    folder = tmp_path / ("deep" * 25)  # the system takes no longer names of sockets
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with pytest.raises(HybridtuneError, match=r"the head did not start: .*length"):
        start_head(yaml.safe_load(CLUSTER.read_text(encoding="utf-8")))
    assert list(folder.iterdir()) == []
