"""What launch asks of `ray` and `kubectl`: recorded by programs that stand in for them."""

import os
import select
import signal

import pytest
import yaml
from stand_ins import FAILED_ONCE, Recorded, answers

from hybridtune.errors import HybridtuneError, InputError
from hybridtune.launch import kuberay as kubernetes
from hybridtune.launch import launcher
from hybridtune.launch.jobs import JobState, LostError


@pytest.fixture
def ray(tmp_path, monkeypatch):
    made = Recorded(tmp_path, "ray")
    monkeypatch.setattr(launcher, "RAY", [str(made.program)])
    return made


@pytest.fixture
def cluster_file(tmp_path):
    file = tmp_path / "ray.yaml"
    job = {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": {"name": "mine", "namespace": "lab"}}
    file.write_text(yaml.safe_dump_all([{"kind": "Secret", "metadata": {"name": "x"}}, job]))
    return file


def test_up_and_down_never_ask_and_never_use_a_cache(ray, tmp_path):
    launcher.up(tmp_path / "aws.yaml", tmp_path / "log")
    launcher.down(tmp_path / "aws.yaml", tmp_path / "log")
    launcher.copy_from_head(tmp_path / "aws.yaml", "/data/study", tmp_path / "to", tmp_path / "log")
    file = str(tmp_path / "aws.yaml")
    assert [call for call, _ in ray.calls] == [
        ["up", "--yes", "--no-config-cache", "--disable-usage-stats", file],
        ["down", "--yes", file],
        ["rsync-down", file, "/data/study/", f"{tmp_path / 'to'}/"],
    ]


def test_a_cluster_that_does_not_come_up_shows_the_last_lines_of_this_call(ray, tmp_path):
    log = tmp_path / "log"
    log.write_text("of an earlier call\n")
    ray.answer("print('working'); print('no quota left', file=sys.stderr); sys.exit(3)")
    with pytest.raises(HybridtuneError) as error:
        launcher.up(tmp_path / "aws.yaml", log)
    assert "exit code 3" in str(error.value)
    assert "no quota left" in str(error.value)
    assert "earlier" not in str(error.value)
    assert "of an earlier call" in log.read_text()  # nothing of it is lost
    with pytest.raises(HybridtuneError, match="cost money"):
        launcher.down(tmp_path / "aws.yaml", log)


def test_the_heads_address_is_the_last_word_or_none(ray, tmp_path):
    ray.answer("print('Fetched IP'); print('203.0.113.7')")
    assert launcher.head_address(tmp_path / "aws.yaml") == "203.0.113.7"
    ray.answer("sys.exit(1)")
    assert launcher.head_address(tmp_path / "aws.yaml") is None


FORWARD = """
(here / "pid").write_text(str(os.getpid()))
from http.server import BaseHTTPRequestHandler, HTTPServer
class Dashboard(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(401)
        self.end_headers()
    def log_message(self, *a):
        pass
HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Dashboard).serve_forever()
"""


def test_a_way_that_breaks_is_made_anew_and_ends_with_the_block(ray, tmp_path):
    ray.answer(FORWARD)
    with launcher.forwarded(launcher.dashboard_command(tmp_path / "aws.yaml"), tmp_path / "log") as url:
        first = url()
        assert url() == first  # as long as it holds
        lost = Process(tmp_path)
        lost.send_signal(signal.SIGTERM)
        lost.wait()
        second = url()
        held = Process(tmp_path)
    assert second != first
    held.wait()
    port = second.rpartition(":")[2]
    forward = ["dashboard", "--port", port, "--remote-port", "8265", str(tmp_path / "aws.yaml")]
    assert [call for call, _ in ray.calls][1:] == [forward]


class Process:
    """A process that is not a child of the test's own making."""

    def __init__(self, folder):
        self.handle = os.pidfd_open(int((folder / "pid").read_text()))

    def send_signal(self, how):
        signal.pidfd_send_signal(self.handle, how)

    def wait(self):
        assert select.select([self.handle], [], [], 30)[0]
        os.close(self.handle)


def test_a_head_that_cannot_be_reached_says_what_ssh_said(ray, tmp_path):
    ray.answer("print('Permission denied (publickey)'); sys.exit(255)")
    command = launcher.dashboard_command(tmp_path / "a.yaml")
    with launcher.forwarded(command, tmp_path / "log") as url, pytest.raises(HybridtuneError, match="Permission den"):
        url()


def test_no_kubectl_is_one_clear_line(tmp_path, monkeypatch, cluster_file):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="kubectl is not on the PATH"):
        kubernetes.create_cluster(cluster_file)


def test_a_job_is_created_and_the_rest_of_its_file_applied(kubectl):
    others = {"kind": "PersistentVolumeClaim", "metadata": {"name": "data"}}
    own = [{"kind": "ConfigMap", "metadata": {"name": "a"}}, {"kind": "RayJob", "metadata": {"name": "a"}}]
    kubernetes.create_job([own[0], others, own[1]])
    (applied, rest), (created, job) = kubectl.calls
    assert (applied, list(yaml.safe_load_all(rest))) == (["apply", "-f", "-"], [others])
    assert (created, list(yaml.safe_load_all(job))) == (["create", "-f", "-"], own)


def test_a_cluster_is_applied_reached_and_deleted_in_its_namespace(kubectl, cluster_file):
    kubernetes.create_cluster(cluster_file)
    assert kubernetes.dashboard_command(cluster_file)(5000)[1:] == [
        *("port-forward", "-n", "lab", "service/mine-head-svc", "5000:8265")
    ]
    kubernetes.delete_cluster(cluster_file)
    kubernetes.delete_job(cluster_file, "job")
    ready = ["--for=condition=HeadPodReady", "--timeout=900s"]
    assert [call for call, _ in kubectl.calls] == [
        ["apply", "-f", str(cluster_file)],
        ["wait", "-n", "lab", "raycluster/mine", *ready],
        ["delete", "--ignore-not-found", "-f", str(cluster_file)],
        ["delete", "-n", "lab", "--ignore-not-found", "rayjob/job", "configmap/job"],
    ]


def test_the_token_that_kuberay_made_is_read_and_may_be_missing(kubectl, cluster_file):
    kubectl.answer("print('c2VjcmV0', end='')")
    assert kubernetes.cluster_token(cluster_file) == "secret"
    kubectl.answer("sys.exit(1)")
    assert kubernetes.cluster_token(cluster_file) is None


WRONG = "Job entrypoint command failed with exit code 2, last available logs:\nhybridtune: no such corpus"


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ({}, JobState("PENDING", "", None)),
        ({"jobStatus": "", "jobDeploymentStatus": "Initializing"}, JobState("PENDING", "", None)),
        ({"jobStatus": "RUNNING", "jobDeploymentStatus": "Running"}, JobState("RUNNING", "", None)),
        ({"jobStatus": "SUCCEEDED", "jobDeploymentStatus": "Complete"}, JobState("SUCCEEDED", "", None)),
        ({"jobDeploymentStatus": "Failed", "reason": "DeadlineExceeded"}, JobState("FAILED", "DeadlineExceeded", None)),
        ({"jobDeploymentStatus": "ValidationFailed", "message": "x"}, JobState("FAILED", "x", None)),
        ({"jobStatus": "FAILED", "jobDeploymentStatus": "Failed", "message": "x"}, JobState("FAILED", "x", None)),
        ({"jobStatus": "FAILED", "jobDeploymentStatus": "Failed", "message": WRONG}, JobState("FAILED", WRONG, 2)),
        ({"jobStatus": "FAILED", "jobDeploymentStatus": "Running", "message": "x"}, JobState("RUNNING", "x", None)),
        ({"jobStatus": "FAILED", "jobDeploymentStatus": "Retrying", "message": "x"}, JobState("RETRYING", "x", None)),
        ({"jobStatus": "RUNNING", "jobDeploymentStatus": "Retrying"}, JobState("RETRYING", "", None)),
        ({"jobStatus": "STOPPED", "jobDeploymentStatus": "Complete"}, JobState("STOPPED", "", None)),
    ],
)
def test_how_a_ray_job_stands(kubectl, cluster_file, status, state):
    kubectl.answer(answers(status))
    assert kubernetes.job_state(cluster_file, "a") == state


def test_a_ray_job_is_followed_to_its_end(kubectl, cluster_file):
    shown = []
    kubectl.answer(answers({"jobStatus": "SUCCEEDED"}, "one\ntwo\n"))
    assert kubernetes.follow(cluster_file, "a", shown.append).status == "SUCCEEDED"
    assert "".join(shown) == "one\ntwo\n"
    assert ["logs", "--follow", "-n", "lab", "job/a"] in [call for call, _ in kubectl.calls]


def test_a_driver_that_kuberay_starts_again_is_followed_from_its_first_line(kubectl, cluster_file):
    shown = []
    kubectl.answer(FAILED_ONCE)
    assert kubernetes.follow(cluster_file, "a", shown.append).status == "SUCCEEDED"
    again = "hybridtune: the driver was lost or failed; KubeRay starts it again on a new cluster\n"
    assert "".join(shown) == f"trial 1\ntrial 2\n{again}trial 2 again\n"


@pytest.mark.parametrize(
    "log", ["", "hybridtune: no such corpus\nthe input was refused: exit code 2\nJob 'a' stopped\n"]
)
def test_a_driver_that_stopped_its_job_for_wrong_input_is_told_from_one_that_was_stopped(kubectl, cluster_file, log):
    kubectl.answer(answers({"jobStatus": "STOPPED", "jobDeploymentStatus": "Complete"}, log))
    refused, stopped = JobState("FAILED", log, 2), JobState("STOPPED", "", None)
    assert kubernetes.job_state(cluster_file, "a") == (refused if log else stopped)


@pytest.mark.parametrize("status", [{}, {"jobStatus": "FAILED", "jobDeploymentStatus": "Retrying", "jobId": "a-id"}])
def test_a_ray_job_without_a_driver_is_stopped_by_its_deletion(kubectl, cluster_file, status):
    kubectl.answer(answers(status))
    assert kubernetes.stop_job(cluster_file, "a").status == "STOPPED"
    calls = [call for call, _ in kubectl.calls]
    assert ["delete", "-n", "lab", "--ignore-not-found", "rayjob/a", "configmap/a"] in calls
    assert not any("exec" in call for call in calls)


def test_kubernetes_that_does_not_answer_is_lost(kubectl, cluster_file):
    kubectl.answer("print('connection refused', file=sys.stderr); sys.exit(1)")
    with pytest.raises(LostError, match="connection refused"):
        kubernetes.follow(cluster_file, "a", str, patience=0)


def test_a_ray_job_is_stopped_on_its_own_head(kubectl, cluster_file):
    ended = answers({"jobStatus": "STOPPED"})
    status = {"jobStatus": "RUNNING", "jobDeploymentStatus": "Running", "jobId": "a-id"}
    running = answers(status | {"rayClusterName": "a-raycluster"})
    kubectl.answer(f'if sys.argv[1] == "exec":\n    (here / "answers.py").write_text({ended!r})\n{running}')
    assert kubernetes.stop_job(cluster_file, "a").status == "STOPPED"
    calls = [call for call, _ in kubectl.calls]
    assert ["exec", "-n", "lab", "a-head-xyz", "--", "ray", "job", "stop", "--no-wait", "a-id"] in calls
    assert any("ray.io/cluster=a-raycluster,ray.io/node-type=head" in call for call in calls)
