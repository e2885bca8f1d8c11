"""A provider whose name is not known here is told at once; servers of one's own are the client's to ask."""

import socket

import pytest

from hybridtune.errors import InputError
from hybridtune.storage import reachable
from hybridtune.storage.reachable import check_reachable


@pytest.fixture
def offline(monkeypatch):
    """A machine on which no name is known, and what was asked for."""
    asked = []
    reachable._look_up.cache_clear()

    def unknown(host, port):
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    for name in (*reachable._ELSEWHERE, reachable._EMULATOR):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(reachable.socket, "getaddrinfo", unknown)
    return asked


@pytest.mark.parametrize(
    ("url", "host"),
    [("s3://b/x", "s3.us-east-1.amazonaws.com"), ("gs://b/x?retry_limit_seconds=1", "storage.googleapis.com")],
)
def test_a_machine_without_a_network_is_told_at_once(offline, url, host):
    with pytest.raises(InputError) as caught:
        check_reachable(url)
    assert str(caught.value) == f"{url}: cannot be reached: {host}: name or service not known; check the network"
    assert offline == [host]


@pytest.mark.parametrize(
    "url",
    ["s3://b/x?region=eu-west-1", "s3://b/x?endpoint_override=http://h:1&scheme=http", "hdfs://h/x", "memory://x"],
)
def test_a_server_of_ones_own_is_not_looked_up(offline, url):
    check_reachable(url)
    assert offline == []


@pytest.mark.parametrize("name", ["https_proxy", "AWS_ENDPOINT_URL", "CLOUD_STORAGE_EMULATOR_ENDPOINT"])
def test_behind_a_proxy_names_may_be_known_there_alone(offline, name, monkeypatch):
    monkeypatch.setenv(name, "http://127.0.0.1:1")
    check_reachable("s3://b/x")
    check_reachable("gs://b/x")
    assert offline == []


def test_a_name_that_is_known_is_looked_up_once(offline, monkeypatch):
    monkeypatch.setattr(reachable.socket, "getaddrinfo", lambda host, port: offline.append(host))
    check_reachable("s3://b/x")
    check_reachable("s3://b/y")
    assert offline == ["s3.us-east-1.amazonaws.com"]
    reachable._look_up.cache_clear()  # it was never asked for
