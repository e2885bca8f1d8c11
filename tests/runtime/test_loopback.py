"""What keeps a Ray to this machine: in the environment while it runs, and gone after it."""

import os

import pytest
from ray._private import ray_constants, services
from ray._raylet import AuthenticationMode, AuthenticationTokenLoader, get_authentication_mode

from hybridtune.runtime.loopback import HOST, environment, job_environment, keep_direct, loopback_only


def test_a_ray_is_kept_here_while_it_runs_and_no_longer(monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # whatever the user has set
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of another cluster")
    monkeypatch.setattr("ray._private.worker._global_node", None)  # no other test's Ray
    before, tokens = dict(os.environ), []
    for _ in range(2):
        with loopback_only(6400) as token:
            tokens.append(token)
            assert (os.environ["RAY_AUTH_MODE"], os.environ["RAY_AUTH_TOKEN"]) == ("token", token)
            assert get_authentication_mode() == AuthenticationMode.TOKEN
            assert AuthenticationTokenLoader.instance().get_raw_token() == token
            assert services.resolve_ip_for_localhost(HOST) == HOST
            assert os.environ["RAY_ADDRESS"] == f"{HOST}:6400"
    assert len({*tokens, "of another cluster"}) == 3
    assert all(len(token) == 64 for token in tokens)
    assert dict(os.environ) == before
    assert ray_constants.ENABLE_RAY_CLUSTER


@pytest.mark.parametrize(
    ("lower", "upper", "hosts"),
    [
        (None, None, "127.0.0.1,localhost,::1"),
        ("a.org, localhost", "b.org", "a.org,localhost,127.0.0.1,::1"),
        (None, "b.org", "b.org,127.0.0.1,localhost,::1"),
    ],
)
def test_no_proxy_is_asked_for_this_machine(monkeypatch, lower, upper, hosts):
    for name, value in (("no_proxy", lower), ("NO_PROXY", upper)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert environment("x")["no_proxy"] == hosts
    keep_direct()
    assert os.environ["no_proxy"] == hosts


PROXIES = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY")


@pytest.mark.parametrize("name", PROXIES[:-2])
def test_workers_of_a_job_go_around_the_proxies_that_are_set(monkeypatch, name):
    for other in PROXIES:
        monkeypatch.delenv(other, raising=False)
    assert job_environment() == {}
    monkeypatch.setenv(name, "http://proxy.example:3128")
    assert job_environment() == {"no_proxy": "127.0.0.1,localhost,::1"}
