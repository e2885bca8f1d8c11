"""How the workers of a group connect: on loopback where their Ray is, by Ray Train's own means elsewhere."""

import pytest
import ray
from ray.train.torch import TorchConfig

from hybridtune.train.rendezvous import LoopbackConfig, torch_config


@pytest.mark.parametrize(("address", "kind"), [("127.0.0.1", LoopbackConfig), ("198.51.100.4", TorchConfig)])
def test_workers_of_one_machine_meet_on_loopback_and_others_where_all_reach_it(monkeypatch, address, kind):
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: address)
    found = torch_config("gloo")
    assert (type(found), found.backend) == (kind, "gloo")
