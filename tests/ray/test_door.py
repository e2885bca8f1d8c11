"""Nothing of ours listens beyond loopback while a command is up, and nobody runs a job there without the token.

`run`, `evaluate` and `mine` are looked at, and the local cluster of `launch` in `test_launch_local`; `train` starts Ray
where `run` does (tests/runtime/test_where_ray_starts.py).
"""

import http.client
import ipaddress
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from listening import listeners

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]

HYBRIDTUNE = [sys.executable, "-m", "hybridtune"]
JOBS = ("/api/jobs/", "/api/job_agent/jobs/")  # of the dashboard, and of a node's agent
REFUSED = (401, 403)
COMMANDS = ["run", "evaluate", "mine"]
SMALL = ["--set", "encoder.query_length=16", "--set", "encoder.passage_length=24"]  # what the tiny encoder takes


def own_address():
    """The address by which others reach this machine; nothing is sent. None where there is no network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 80))
        except OSError:
            return None
        return probe.getsockname()[0]


def post_job(host, port, path, marker, token=None, seconds=10):
    """The HTTP status with which a job is answered; None where nobody answers, or in no HTTP."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    connection = http.client.HTTPConnection(host, port, timeout=seconds)
    try:
        connection.request("POST", path, json.dumps({"entrypoint": f"touch {marker}"}), headers)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def until(condition, process):
    """What a condition gives once it gives something; the test's time limit ends it."""
    pause = threading.Event()
    while not (found := condition()):
        assert process.poll() is None, "the command ended before"
        pause.wait(0.05)
    return found


class Up:
    """A command that is held while it works: what listens, and what strangers get who post jobs there."""

    def __init__(self, command, works, environment, folder):
        self.home, self.marker = Path(environment["HOME"]), folder / "marker"
        self.log = folder / "log"
        with self.log.open("w") as log:
            self.process = process = subprocess.Popen(
                [*HYBRIDTUNE, *command],
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
                # a shell lets what it starts in the background ignore Ctrl-C, and that is inherited
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
        try:
            until(works, process)
            os.kill(process.pid, signal.SIGSTOP)  # it does not end before we have looked
            self.answers = until(self.refusals, process)
            self.listeners = listeners(process.pid)
        except BaseException:
            self.end()
            raise

    def refusals(self):
        """(host, port, path) -> answer, once anybody answers at all: a node's agent takes some seconds to be up."""
        hosts = ["127.0.0.1", *filter(None, [own_address()])]
        asked = [(host, port, path) for _, port in listeners(self.process.pid) for host in hosts for path in JOBS]
        with ThreadPoolExecutor(max(1, len(asked))) as asking:  # the held command's own ports let one wait
            answers = dict(zip(asked, asking.map(lambda place: post_job(*place, self.marker), asked), strict=True))
        return answers if any(answer in REFUSED for answer in answers.values()) else None

    def end(self):
        if self.process.poll() is not None:
            return
        os.kill(self.process.pid, signal.SIGCONT)
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait()


def settled(folder, pattern):
    return lambda: any(folder.glob(pattern))


@pytest.fixture(scope="module")
def commands(tmp_path_factory, no_ray, small_tree, tiny):
    """Name -> the command line, what stands in a folder while it works, and that folder."""
    root = tmp_path_factory.mktemp("door")
    tree = small_tree(
        resources={"evaluators": 1, "workers": 2},
        search={"trials": 1, "arms": "none", "space": {"temperature": {"loguniform": [0.02, 0.2]}}},
    )
    tree["train"] |= {"max_steps": 4000, "eval_steps": 8}
    (root / "study.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    study, model, out = str(root / "study.yaml"), str(tiny[0]), {}
    for name in COMMANDS:
        out[name] = root / name / "out"
        out[name].parent.mkdir()
    trained, encoded = "**/fit/checkpoint_*/state.json", "encoded/*/*"
    return root, {
        "run": (["run", study, "--out", str(out["run"])], settled(out["run"], trained)),
        "evaluate": (
            ["evaluate", model, *SMALL, "--benchmark", "newsroom:dev", "--out", str(out["evaluate"])],
            settled(out["evaluate"], encoded),
        ),
        "mine": (
            [
                *("mine", model, *SMALL, "--data", "newsroom:train"),
                *("--to", str(root / "mined.jsonl"), "--out", str(out["mine"])),
            ],
            settled(out["mine"], encoded),
        ),
    }


@pytest.fixture(scope="module", params=COMMANDS)
def up(request, commands):
    root, known = commands
    command, works = known[request.param]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"HOME": str(root), "HYBRIDTUNE_CACHE": str(root / "cache")}
    seen = Up(command, works, environment, root / request.param)
    try:
        yield seen
    finally:
        seen.end()


@pytest.mark.parametrize(("host", "family"), [("0.0.0.0", socket.AF_INET), ("::", socket.AF_INET6)])
def test_what_listens_everywhere_would_be_seen(host, family):
    with socket.create_server((host, 0), family=family) as server:
        (seen,) = (address for address, port in listeners(os.getpid()) if port == server.getsockname()[1])
        assert not seen.is_loopback
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert (ipaddress.ip_address("127.0.0.1"), server.getsockname()[1]) in listeners(os.getpid())


def test_all_that_listens_is_on_loopback(up):
    assert len(up.listeners) > 5  # a head, a node, its agents and its workers at least
    assert [place for place in up.listeners if not place[0].is_loopback] == []


def test_a_job_without_the_token_is_refused_wherever_it_is_posted(up):
    assert set(up.answers.values()) <= {None, *REFUSED, 404, 405}
    with_dashboard = up.marker.parent.name == "run"
    refused = {path for (_, _, path), answer in up.answers.items() if answer in REFUSED}
    assert refused >= set(JOBS if with_dashboard else JOBS[1:])
    away = own_address()
    assert {answer for (host, _, _), answer in up.answers.items() if host == away} <= {None}
    assert not up.marker.exists()


def test_the_token_is_told_to_its_user_alone_and_opens(up):
    file = up.marker.parent / "out" / "dashboard.token"
    assert not (up.home / ".ray" / "auth_token").exists()
    if up.marker.parent.name != "run":
        assert not file.exists()  # there is no dashboard
        return
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    url = (file.parent / "dashboard.txt").read_text().strip()
    port = int(url.rpartition(":")[2])
    assert post_job("127.0.0.1", port, JOBS[0], up.marker, file.read_text(), seconds=120) == 200  # beside a training
    until(up.marker.exists, up.process)  # so a stranger's would have run too
    up.marker.unlink()
    up.end()
    assert not file.exists()
