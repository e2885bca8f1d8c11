"""The launcher's files: each is good by Ray's own validation, and a mistake in any is told with its line."""

import re
import tomllib

import pytest
import yaml
from cluster_files import CLUSTERS, assert_caught, at_home, filled, refusal

from hybridtune.config.fields import Resources
from hybridtune.errors import InputError
from hybridtune.launch.cluster_file import read_cluster
from hybridtune.runtime.resources import WORKER_OVERHEAD, allocate

CLOUDS = ["aws", "gcp", "azure"]
REAL = [*CLOUDS, "on_prem"]
ALL = [*REAL, "local_autoscaling"]


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    at_home(tmp_path, monkeypatch)


def read(name, tmp_path):
    path = tmp_path / f"{name}.yaml"
    path.write_text(filled(name), encoding="utf-8")
    return read_cluster(path)


@pytest.mark.parametrize("name", ALL)
def test_every_launcher_file_passes_rays_own_validation(name):
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(yaml.safe_load(filled(name))))


@pytest.mark.parametrize("name", ALL)
def test_every_launcher_file_is_good_once_filled_in(name, tmp_path):
    cluster = read(name, tmp_path)
    assert (cluster.kind, cluster.notices) == ("launcher", [])
    [head] = [node for node in cluster.shape.types if node.head]
    assert head.cpus == 0, "a trial on the head would keep its machine's memory from the search"
    assert cluster.shape.most_nodes >= 2
    if name != "on_prem":
        assert all(node.least == 0 for node in cluster.shape.workers)
    assert allocate(Resources(), cluster.shape, 12, 32).at_once >= 2


@pytest.mark.parametrize("name", CLOUDS)
def test_clouds_have_cpu_workers_gpu_workers_and_spot_machines(name, tmp_path):
    workers = read(name, tmp_path).shape.workers
    assert {(node.gpus > 0, node.spot) for node in workers} == {(False, True), (True, True), (True, False)}
    assert all(node.accelerator for node in workers if node.gpus)


@pytest.mark.parametrize("name", REAL)
def test_a_file_that_is_not_filled_in_names_every_placeholder_with_its_lines(name):
    path = CLUSTERS / f"{name}.yaml"
    with pytest.raises(InputError) as refused:
        read_cluster(path)
    lines = path.read_text(encoding="utf-8").split("\n")
    expected = {
        (number, name)
        for number, line in enumerate(lines, 1)
        for name in re.findall(r"YOUR_[A-Z0-9_]*[A-Z0-9]", line.split(" #")[0])
        if not line.startswith("#")
    }
    assert expected
    assert {
        (int(n), name) for n, name in re.findall(r"yaml:(\d+): .*?fill in (YOUR_\w+);", str(refused.value))
    } == expected


def installed(name):
    """Packages that a file's set-up installs on every node, without extras."""
    commands = " ".join(yaml.safe_load(filled(name))["setup_commands"])
    found = re.findall(
        r"pip install --no-cache-dir -c ~/hybridtune/constraints.txt ([^;&]*?)(?= (?:~/|pip )|$)", commands
    )
    return [re.sub(r"\[.*\]", "", word.strip('"')) for part in found for word in part.split()]


@pytest.mark.parametrize("name", REAL)
def test_nodes_install_what_hybridtune_needs_in_the_locked_versions_and_torch_first(name):
    root = CLUSTERS.parent
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {re.split(r"[\[><=]", line)[0].lower() for line in project["dependencies"]}
    pinned = {
        line.split("==")[0].lower()
        for line in (root / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line
    }
    there = [package.lower() for package in installed(name)]
    assert there[0] == "torch"
    assert needed <= set(there)
    assert set(there) <= pinned
    extras = {line.split('"')[0] for line in project["dependencies"] if line.startswith("ray[")}
    assert all(extra.split(">")[0] in filled(name) for extra in extras)


@pytest.mark.parametrize("name", REAL)
def test_ray_on_the_nodes_is_the_locked_one(name):
    constraints = (CLUSTERS.parent / "constraints.txt").read_text(encoding="utf-8")
    locked = re.search(r"^ray==(.*)$", constraints, re.MULTILINE)[1]
    assert set(re.findall(r"rayproject/ray:([\d.]+)", filled(name))) <= {locked}


@pytest.mark.parametrize("name", REAL)
def test_every_ray_start_asks_for_the_token(name):
    tree = yaml.safe_load(filled(name))
    commands = [*tree["head_start_ray_commands"], *tree["worker_start_ray_commands"]]
    starts = [command for command in commands if "ray start" in command]
    assert len(starts) == 2
    assert all(command.startswith("RAY_AUTH_MODE=token ray start") for command in starts)
    assert "~/.ray/auth_token" in tree["file_mounts"]


@pytest.mark.parametrize("name", ALL)
def test_every_file_opens_with_what_to_change_what_it_costs_and_the_command(name):
    text = (CLUSTERS / f"{name}.yaml").read_text(encoding="utf-8")
    opening = text[: text.index("\ncluster_name:")]
    assert all(line.startswith("#") for line in opening.splitlines())
    for wanted in ("What to change", "What it costs to leave it running", f"hybridtune launch clusters/{name}.yaml"):
        assert wanted in opening


IN_ANY = [  # of the four that start commands on nodes
    ("cluster_name: hybridtune\n", "cluster_nam: hybridtune\n", "unknown key; did you mean 'cluster_name'"),
    ("idle_timeout_minutes: 10", "idle_timeout_minutes: soon", r"must be a number \(got 'soon'\)"),
    ("idle_timeout_minutes: 10", "\tidle_timeout_minutes: 10", "not valid YAML: .*spaces, YAML takes no tabs"),
    ("idle_timeout_minutes: 10\n", "idle_timeout_minutes: 0\n", "takes nodes down at once"),
    ("--dashboard-host=127.0.0.1", "--dashboard-host=0.0.0.0", "shows the dashboard to the network"),
    ("--dashboard-host=127.0.0.1", "--dashboard-host 0.0.0.0", "shows the dashboard to the network"),
    (": constraints.txt", ": constraint.txt", "constraint.txt is not on this machine"),
    ("~/.ray/auth_token: ~/.ray/", "~/.ray/auth_token: ~/none/", "is not on this machine; make it: ray get-auth-token"),
    ("provider:\n  type: ", "provider:\n  type: x", r"is no provider of Ray's launcher"),
    ("file_mounts:\n", "file_mounts:\n  0.0.0.0/0: constraints.txt\n", "is everybody"),
    ("auth:\n", "auth:\n  ssh_usr: me\n", "unknown key; did you mean 'ssh_user'"),
]
BELOW = {  # where the mistake is not in the first line of what was planted
    "provider:\n  type: ": 1,
    "file_mounts:\n": 1,
    "auth:\n": 1,
}


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize(("old", "new", "message"), IN_ANY, ids=[new.strip()[:40] for _, new, _ in IN_ANY])
def test_a_mistake_in_a_file_for_machines_is_told_with_its_line(name, old, new, message, tmp_path):
    text = filled(name)
    if "--dashboard-host" in old:  # part of a folded command, which is told where it begins
        line = next(n for n, found in enumerate(text.split("\n"), 1) if "ray start --head" in found)
        lines = refusal(text.replace(old, new), tmp_path)
        assert any(re.match(rf"{line - 1}: head_start_ray_commands\[1\]: .*{message}", found) for found in lines), lines
        return
    assert_caught(text, old, new, message, tmp_path, BELOW.get(old, 0))


OF_CLOUDS = [
    ("head_node_type: head", "head_node_type: haed", "'haed' is not in available_node_types; did you mean 'head'", 0),
    ("max_workers: 10", "max_workers: ten", r"must be an integer \(got 'ten'\)", 0),
    ("max_workers: 10\n", "max_workers: 10\nmax_workers: 12\n", "not valid YAML: found duplicate key .max_workers", 1),
    ("min_workers: 0\n    max_workers: 8", "min_workers: 9\n    max_workers: 8", "9 is more than its max_workers 8", 0),
    ("resources: {CPU: 8}", "resources: {}", "say CPU .and GPU. of a node", 0),
    ("resources: {CPU: 8}", "resources: {CPU: 7.5}", "must be an integer", 0),
    ("    min_workers: 0\n", "    min_worker: 0\n", "unknown key; did you mean 'min_workers'", 0),
    ("ray:2.60.0-py311\n", "ray:2.59.0-py311\n", "Ray 2.59.0 on the nodes and 2.60.0 here", 0),
    ("    resources: {CPU: 8}\n", "", "resources is missing", -1),
    ("RAY_AUTH_MODE=token ray start --address=$RAY_HEAD_IP:6379", "ray start", "`ray start` without --address", 0),
    ("- RAY_AUTH_MODE=token ray start --address", "- echo --address", "no `ray start`", -2),
]


@pytest.mark.parametrize("name", CLOUDS)
@pytest.mark.parametrize(("old", "new", "message", "below"), OF_CLOUDS, ids=[m[:30] for _, _, m, _ in OF_CLOUDS])
def test_a_mistake_in_a_file_for_a_cloud_is_told_with_its_line(name, old, new, message, below, tmp_path):
    assert_caught(filled(name), old, new, message, tmp_path, below)


@pytest.mark.parametrize(
    ("name", "old", "new", "message", "below"),
    [
        ("aws", "      SecurityGroupIds: &group [mine]\n", "", "undefined alias 'group'", 10),
        ("aws", "      SecurityGroupIds: *group\n", "", "SecurityGroupIds is missing: .* open to everybody", -4),
        (
            "aws",
            "    node_config:\n      InstanceType: m7i.2xlarge\n",
            "    instance: m7i.2xlarge\n",
            "not valid YAML",
            1,
        ),
        ("aws", "{CPU: 8, GPU: 1,", "{CPU: 8, GPU: -1,", "-1 is less than the minimum of 0", 0),
        ("gcp", "      networkInterfaces: *network\n", "", "networkInterfaces is missing: .* by chance", -3),
        ("azure", "  use_internal_ips: true", "  use_internal_ips: false", "opens port 22 to everybody", 0),
        ("azure", "  use_internal_ips: true", "  use_external_head_ip: true", "port 22 of the head to everybody", 0),
        ("gcp", "  region: us-central1", "  region: 1", r"must be a string \(got 1\)", 0),
        ("on_prem", "  head_ip: mine", "  head_ips: mine", "head_ip is missing", -2),
        ("on_prem", " --num-cpus=16 --num-gpus=1", "", "say `ray start --num-cpus=N`", -3),
        ("on_prem", "min_workers: 2", "available_node_types: {}\nmin_workers: 2", "have no node types", 0),
        ("on_prem", "  worker_ips: [mine, mine]", "  worker_ips: mine", "must be a list", 0),
        ("local_autoscaling", "max_workers: 2", "max_workers: -1", "-1 is less than the node types", 0),
        ("local_autoscaling", "resources: {CPU: 0}", "resources: {GPU: 0}", "CPU: 0 keeps trials off the head", 0),
        ("local_autoscaling", "    max_workers: 2", "    max_workers: 2.5", "must be an integer", 0),
        (
            "local_autoscaling",
            "    min_workers: 0\n    max_workers: 2",
            "    min_workers: 3\n    max_workers: 2",
            "more than",
            0,
        ),
        ("local_autoscaling", "head_node_type: ray", "head_node_type: rya", "did you mean 'ray.head.default'", 0),
        ("local_autoscaling", "auth: {}", "auth: {}\nauths: {}", "unknown key; did you mean 'auth'", 1),
        ("local_autoscaling", "upscaling_speed: 1.0", "upscaling_sped: 1.0", "did you mean 'upscaling_speed'", 0),
    ],
)
def test_a_mistake_of_one_provider_is_told_with_its_line(name, old, new, message, below, tmp_path):
    assert_caught(filled(name), old, new, message, tmp_path, below)


def test_all_mistakes_of_a_file_are_told_at_once_in_the_order_of_the_lines(tmp_path):
    text = (
        filled("aws").replace("max_workers: 10", "max_worker: 10").replace("head_node_type: head", "head_node_type: x")
    )
    lines = refusal(text.replace("ssh_user", "ssh_usr"), tmp_path)
    numbers = [int(line.split(":")[0]) for line in lines]
    assert len(lines) >= 4
    assert numbers == sorted(numbers)


def test_what_ray_alone_refuses_is_told_as_ray_says_it(tmp_path, monkeypatch):
    import ray.autoscaler._private.util as ray_util

    def refuse(config):
        raise ValueError("a rule of a later Ray")

    monkeypatch.setattr(ray_util, "validate_config", refuse)
    line = filled("aws").split("\n").index("cluster_name: hybridtune") + 1
    assert refusal(filled("aws"), tmp_path) == [f"{line}: Ray refuses it: a rule of a later Ray"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "1: |the file is empty"),
        ("- a\n- b\n", "1: a cluster file is a mapping"),
        ("cluster_name: a\nprovider: {type: aws\n", "3: not valid YAML"),
        ("cluster_name: a\nprovider: aws\n", "2: provider: must be a mapping .got 'aws'."),
        ("cluster_name: a\nprovider: {type: kuberay}\nmax_workers: 1\n", "2: provider.type: 'kuberay' is no provider"),
        ("cluster_name: a\n---\ncluster_name: b\n", "3: a cluster file of Ray's launcher is one document"),
    ],
)
def test_what_is_no_cluster_file_is_refused_in_a_line(text, message, tmp_path):
    path = tmp_path / "cluster.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=rf"(?m)cluster\.yaml:.*({message})"):
        read_cluster(path)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot read the cluster file: No such file"):
        read_cluster(tmp_path / "none.yaml")


def test_what_is_allowed_and_worth_a_word_is_noticed(tmp_path):
    text = filled("aws").replace("idle_timeout_minutes: 10\n", "").replace("RAY_AUTH_MODE=token ", "")
    path = tmp_path / "aws.yaml"
    path.write_text(text.replace("max_workers: 8", "max_workers: 80"), encoding="utf-8")
    cluster = read_cluster(path)
    assert cluster.idle_minutes == 5
    assert re.search("after 5.*80 nodes are never up: .* 10.*no RAY_AUTH_MODE=token", " ".join(cluster.notices))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*CLOUDS, "local_autoscaling"])
@pytest.mark.parametrize(("gpus", "cpus"), [(0.0, 1), (0.0, 7), (1.0, 1), (1.0, 7), (0.5, 3)])
@pytest.mark.parametrize("trials", [1, 2, 3, 5, 8, 40])
def test_rays_own_autoscaler_starts_the_nodes_that_were_foretold(name, gpus, cpus, trials, tmp_path):
    from ray.autoscaler._private import resource_demand_scheduler as scheduler
    from ray.autoscaler._private.node_provider_availability_tracker import NodeAvailabilitySummary

    if name == "local_autoscaling":
        gpus, cpus = 0.0, 1
    cluster = read(name, tmp_path)
    types, head = cluster.tree["available_node_types"], cluster.tree["head_node_type"]
    allocation = allocate(Resources(cpus_per_worker=cpus, gpus_per_worker=gpus), cluster.shape, trials, 32)
    demand = {"CPU": cpus + WORKER_OVERHEAD} | ({"GPU": gpus} if gpus else {})

    def score(*args):
        return scheduler._default_utilization_scorer(*args, node_availability_summary=NodeAvailabilitySummary({}))

    started, unmet = scheduler.get_nodes_for(
        types, {head: 1}, head, cluster.shape.most_nodes, [demand] * allocation.at_once, score
    )
    assert not unmet
    assert {head: 1, **started} == allocation.nodes
