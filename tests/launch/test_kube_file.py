"""KubeRay's files: good by the CRD's fields and by Kubernetes' own schemas, and a mistake in any told with its line."""

import itertools
import re
import sys
from pathlib import Path

import pytest
import yaml
from cluster_files import CLUSTERS, assert_caught, filled, read, refusal
from jsonschema import Draft202012Validator

from hybridtune.config.fields import Resources
from hybridtune.errors import InputError
from hybridtune.launch import kuberay_file as kube_file
from hybridtune.launch.cluster_file import read_cluster
from hybridtune.launch.kuberay_file import SCHEMAS, quantity
from hybridtune.runtime.resources import allocate

BOTH = ["kuberay-rayjob", "kuberay-raycluster"]


@pytest.mark.parametrize("name", BOTH)
def test_every_kuberay_file_passes_the_schemas_of_kuberay_and_kubernetes(name):
    import kubernetes_validate

    for tree in yaml.safe_load_all(filled(name)):
        if tree["kind"] in SCHEMAS:
            Draft202012Validator(SCHEMAS[tree["kind"]]).validate(tree)
            cluster = tree["spec"].get("rayClusterSpec", tree["spec"])
            groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
            templates = [group["template"] for group in groups]
            templates += [tree["spec"]["submitterPodTemplate"]] if "submitterPodTemplate" in tree["spec"] else []
            for template in templates:
                pod = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "pod"}, "template": template}
                kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)
        else:
            kubernetes_validate.validate(tree, kubernetes_validate.latest_version(), strict=True)


def test_the_schemas_are_themselves_schemas():
    for schema in SCHEMAS.values():
        Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("name", BOTH)
def test_every_kuberay_file_is_good_once_filled_in(name, tmp_path):
    cluster = read(filled(name), tmp_path)
    assert cluster.kind == name.removeprefix("kuberay-")
    assert (cluster.name, cluster.provider, cluster.notices) == ("hybridtune", "kubernetes", [])
    assert cluster.idle_minutes == 5
    [head] = [node for node in cluster.shape.types if node.head]
    assert (head.name, head.cpus) == ("headgroup", 0)
    assert [(node.name, node.cpus, node.gpus, node.least, node.most, node.spot) for node in cluster.shape.workers] == [
        ("cpu-spot", 8, 0, 0, 8, True),
        ("gpu-spot", 8, 1, 0, 4, True),
        ("gpu-kept", 8, 1, 0, 2, False),
    ]
    assert [document["kind"] for document in cluster.documents][:2] == ["ServiceAccount", "NetworkPolicy"]
    assert allocate(Resources(gpus_per_worker=1), cluster.shape, 12, 32).at_once == 6


@pytest.mark.parametrize("name", BOTH)
def test_the_autoscaler_reads_the_same_nodes_from_the_file(name, tmp_path):
    from ray.autoscaler._private.kuberay import autoscaling_config

    cluster = read(filled(name), tmp_path)
    spec = cluster.tree["spec"].get("rayClusterSpec", cluster.tree["spec"])
    rays = autoscaling_config._generate_available_node_types_from_ray_cr_spec(spec)
    ours = {node.name: node for node in cluster.shape.types}
    assert rays.keys() == ours.keys()
    for kind, found in rays.items():
        assert found["resources"].get("CPU", 0) == ours[kind].cpus
        assert found["resources"].get("GPU", 0) == ours[kind].gpus
        if not ours[kind].head:
            assert (found["min_workers"], found["max_workers"]) == (ours[kind].least, ours[kind].most)


@pytest.mark.parametrize("name", BOTH)
def test_a_kuberay_file_that_is_not_filled_in_is_refused(name):
    with pytest.raises(InputError, match=r"yaml:\d+: .*fill in YOUR_REGISTRY"):
        read_cluster(CLUSTERS / f"{name}.yaml")


@pytest.mark.parametrize("name", BOTH)
def test_every_kuberay_file_opens_with_what_to_change_what_it_costs_and_the_command(name):
    text = (CLUSTERS / f"{name}.yaml").read_text(encoding="utf-8")
    opening = text[: text.index("\napiVersion:")]
    assert all(line.startswith("#") for line in opening.splitlines())
    for wanted in ("What to change", "What it costs to leave it running", f"hybridtune launch clusters/{name}.yaml"):
        assert wanted in opening


@pytest.mark.parametrize("name", BOTH)
def test_the_pods_of_a_file_carry_the_label_that_its_network_policy_lets_in(name):
    documents = list(yaml.safe_load_all(filled(name)))
    [policy] = [tree for tree in documents if tree["kind"] == "NetworkPolicy"]
    wanted = policy["spec"]["podSelector"]["matchLabels"]
    assert {"podSelector": {"matchLabels": wanted}} in policy["spec"]["ingress"][0]["from"]
    labels = [found for tree in documents for found in labels_of_pods(tree)]
    assert labels
    assert all(found == wanted for found in labels)


def labels_of_pods(node):
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("template", "submitterPodTemplate"):
                yield value["metadata"]["labels"]
            yield from labels_of_pods(value)
    elif isinstance(node, list):
        for value in node:
            yield from labels_of_pods(value)


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("enableInTreeAutoscaling: true", "enableInTreAutoscaling: true", "did you mean 'enableInTreeAutoscaling'"),
        ("enableInTreeAutoscaling: true", "enableInTreeAutoscaling: false", "no worker pod is ever added"),
        ("version: v2", "version: v3", r"must be one of v1, v2 \(got 'v3'\)"),
        ("version: v2", "version: v1", "must be v2"),
        ("mode: token", "mode: tokens", "must be one of disabled, token"),
        ("maxReplicas: 8", "maxReplicas: -8", "-8 is less than the minimum of 0"),
        ("maxReplicas: 8", "maxReplicas: many", r"must be an integer \(got 'many'\)"),
        ("minReplicas: 0", "minReplicas: 9", "9 is more than maxReplicas 8"),
        ("replicas: 0", "replicas: 10", "10 is not from minReplicas 0 to maxReplicas 8"),
        ("groupName: gpu-spot", "groupName: cpu-spot", "'cpu-spot': is there twice"),
        ("groupName: cpu-spot", "groupName: CPU_spot", "lower-case letters"),
        ("rayVersion: 2.60.0", "rayVersion: 2.59.0", "2.59.0 on the pods and 2.60.0 here"),
        ("rayVersion: 2.60.0", "rayVersion: 2.6", r"must be a string \(got 2.6\)"),
        ("apiVersion: ray.io/v1\n", "apiVersion: ray.io/v1alpha1\n", "must be one of ray.io/v1"),
        ("kind: NetworkPolicy", "kind: NetworkPolice", "no kind that Kubernetes has"),
        ("policyTypes: [Ingress]", "policyType: [Ingress]", "unknown key"),
        ('memory: 32Gi, nvidia.com/gpu: "1"}\n', 'memory: 32Gi, nvidia.com/gpu: "2"}\n', "of GPUs must be equal"),
        ('limits: {cpu: "8", memory: 32Gi}', 'limits: {cpu: "8"}', "limits.memory is missing"),
        ('limits: {cpu: "8", memory: 32Gi}', "limits: {cpu: 8 cores, memory: 32Gi}", "is not a Kubernetes quantity"),
        ("serviceAccountName: hybridtune-worker", "serviceAcountName: hybridtune-worker", "unknown key"),
        ("tolerations:", "\ttolerations:", "YAML takes no tabs"),
        (
            "rayStartParams: {}",
            "rayStartParams: {num-cpus: '1', num-cpus: '2'}",
            "found duplicate key .num-cpus",
        ),
    ],
)
def test_a_mistake_in_a_kuberay_file_is_told_with_its_line(name, old, new, message, tmp_path):
    assert_caught(filled(name), old, new, message, tmp_path, BELOW.get(message, 0))


BELOW = {"limits.memory is missing": -2}  # told where the key around it is


@pytest.mark.parametrize("name", BOTH)
def test_the_autoscaler_restarts_pods_itself(name, tmp_path):
    lines = refusal(filled(name).replace("restartPolicy: Never", "restartPolicy: Always"), tmp_path)
    assert [re.search("Always: the v2 autoscaler needs Never", line) is not None for line in lines] == [True] * 4


@pytest.mark.parametrize(
    ("old", "new", "message", "below"),
    [
        ("submissionMode: K8sJobMode", "submissionMode: k8s", "must be one of K8sJobMode, HTTPMode", 0),
        ("activeDeadlineSeconds: 604800", "activeDeadlineSeconds: 0", "0 is less than the minimum of 1", 0),
        ("activeDeadlineSeconds: 604800", "activeDeadlineSeconds: 7d", r"must be an integer \(got '7d'\)", 0),
        ("preRunningDeadlineSeconds: 7200", "preRunningDeadlineSeconds: 0", "0 is less than the minimum of 1", 0),
        ("backoffLimit: 2", "backoffLimit: -2", "-2 is less than the minimum of 0", 0),
        ("backoffLimit: 2", "backofLimit: 2", "did you mean 'backoffLimit'", 0),
        ("  name: hybridtune\nspec:\n  entry", "  name: Hybrid_Tune\nspec:\n  entry", "lower-case letters", 0),
        ("  entrypoint: python", "  entrypint: python", "entrypoint is missing", -1),
        ("shutdownAfterJobFinishes: true", "shutdownAfterJobFinishes: yes please", "must be a boolean", 0),
    ],
)
def test_a_mistake_in_a_rayjob_is_told_with_its_line(old, new, message, below, tmp_path):
    assert_caught(filled("kuberay-rayjob"), old, new, message, tmp_path, below)


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ("serviceType: LoadBalancer", "must be ClusterIP; use kubectl port-forward"),
        ("serviceType: Loadbalancer", "must be one of ClusterIP, NodePort"),
        ("enableIngress: true", "must be false; use kubectl port-forward"),
        ("numReplicas: 1", "unknown key"),
    ],
)
def test_a_head_that_the_network_could_reach_is_refused(added, message, tmp_path):
    anchor = "  headGroupSpec:"
    text = filled("kuberay-raycluster")
    assert_caught(text, anchor, f"  headGroupSpec:\n    {added}\n    #", message, tmp_path, 1)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  type: NodePort\n  ports: [{port: 1}]",
            "port-forward",
        ),
        ("apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: a}", "an Ingress shows the pods"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: 1}", "is not"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndatas: {a: b}", "unknown key"),
        ("kind: ConfigMap", "apiVersion and kind are missing"),
        ("apiVersion: {a.b/v1: x}\nkind: Queue\nmetadata: {name: a}", "apiVersion and kind are missing"),
        ("apiVersion: ray.io/v1\nkind: RayCluster\nmetadata: {name: b}\nspec: {}", "2 of them"),
    ],
)
def test_what_stands_beside_the_cluster_is_checked_too(document, message, tmp_path):
    text = filled("kuberay-raycluster").rstrip() + "\n---\n"
    after = text.count("\n")
    lines = refusal(text + document + "\n", tmp_path)
    assert any(int(line.split(":")[0]) > after and re.search(message, line) for line in lines), lines


def test_a_file_without_a_ray_cluster_is_refused(tmp_path):
    assert refusal("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n", tmp_path) == [
        "1: a file for KubeRay has one RayCluster or RayJob of ray.io/v1, this one has none"
    ]


def test_without_kubernetes_schemas_pods_are_not_checked_and_that_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "kubernetes_validate", None)
    found = sys.modules["importlib.util"].find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "kubernetes_validate" else found(name))
    text = filled("kuberay-rayjob").replace("serviceAccountName", "serviceAcountName")
    assert "pod templates not checked offline" in read(text, tmp_path).notices[0]


def test_what_is_allowed_and_worth_a_word_is_noticed(tmp_path):
    text = re.sub(r" +authOptions:.*\n", "", filled("kuberay-rayjob"))
    notices = read(text.replace("shutdownAfterJobFinishes: true", "shutdownAfterJobFinishes: false"), tmp_path).notices
    assert "no authOptions.mode token" in notices[0]
    assert "the head's pod stays" in notices[1]


def test_spot_pods_and_accelerators_are_seen(tmp_path):
    tree = list(yaml.safe_load_all(filled("kuberay-raycluster")))
    group = tree[-1]["spec"]["workerGroupSpecs"][1]
    group["resources"] = {"CPU": "6", "GPU": "1", "accelerator_type:A10G": "1"}
    for key, value in (("cloud.google.com/gke-spot", "true"), ("eks.amazonaws.com/capacityType", "SPOT")):
        group["template"]["spec"]["nodeSelector"] = {key: value}
        node = read(yaml.safe_dump_all(tree), tmp_path).shape.workers[1]
        assert (node.spot, node.accelerator, node.cpus) == (True, "A10G", 6)


@pytest.mark.parametrize("name", BOTH)
def test_rays_autoscaler_starts_spot_pods_before_those_that_are_kept(name, tmp_path):
    from ray.autoscaler._private.kuberay import autoscaling_config
    from ray.autoscaler.v2.instance_manager.config import NodeTypeConfig
    from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, ResourceRequestUtil, SchedulingRequest
    from ray.core.generated.autoscaler_pb2 import ResourceRequestByCount

    spec = kube_file.cluster_spec(read(filled(name), tmp_path).tree)
    rays = autoscaling_config._generate_available_node_types_from_ray_cr_spec(spec)
    types = {
        kind: NodeTypeConfig(
            kind,
            found["min_workers"],
            found["max_workers"],
            priority=found.get("priority", 0),
            resources=found["resources"],
        )
        for kind, found in rays.items()
    }

    def started(trials):
        one = ResourceRequestUtil.make({"CPU": 7.5, "GPU": 1})
        asked = SchedulingRequest(
            True, types, 20, resource_requests=[ResourceRequestByCount(request=one, count=trials)]
        )
        launched = ResourceDemandScheduler(event_logger=None).schedule(asked).to_launch
        return {launch.instance_type: launch.count for launch in launched}

    assert started(3) == {"gpu-spot": 3}
    assert started(5) == {"gpu-spot": 4, "gpu-kept": 1}


def test_a_study_as_a_job_has_deadlines_and_its_cluster_goes(tmp_path):
    spec = read(filled("kuberay-rayjob"), tmp_path).tree["spec"]
    assert spec["shutdownAfterJobFinishes"] is True
    assert 0 < spec["ttlSecondsAfterFinished"] < spec["preRunningDeadlineSeconds"] < spec["activeDeadlineSeconds"]


def fixed(text, **replicas):
    """A file whose autoscaler is off, with so many pods of each group."""
    trees = list(yaml.safe_load_all(text))
    spec = kube_file.cluster_spec(trees[-1])
    spec |= {"enableInTreeAutoscaling": False}
    for group in spec["workerGroupSpecs"]:
        count = replicas.get(group["groupName"].replace("-", "_"), 0)
        group |= {"replicas": count, "minReplicas": 0, "maxReplicas": max(count, 1)}
        group["template"]["spec"]["restartPolicy"] = "Always"  # nobody else restarts them
    return yaml.safe_dump_all(trees)


@pytest.mark.parametrize("name", BOTH)
def test_a_cluster_of_a_fixed_size_is_accepted_and_noticed(name, tmp_path):
    cluster = read(fixed(filled(name), cpu_spot=2, gpu_kept=2), tmp_path)
    assert [(node.name, node.least, node.most) for node in cluster.shape.workers] == [
        ("cpu-spot", 2, 2),
        ("gpu-kept", 2, 2),
    ]
    [notice] = cluster.notices
    size = "no enableInTreeAutoscaling: a fixed size, whose pods run also without work (cpu-spot 2, gpu-kept 2)"
    assert notice.endswith(f"kube.yaml: {size}")
    assert allocate(Resources(gpus_per_worker=1), cluster.shape, 12, 32).at_once == 2


OTHERS = {
    "kueue.x-k8s.io/v1beta1 LocalQueue": "",
    "scheduling.volcano.sh/v1beta1 Queue": "",
    "batch.volcano.sh/v1 Job": "",  # not Kubernetes' own batch/v1 Job
    "gateway.networking.k8s.io/v1 HTTPRoute": "; it may show the pods to the network",
}


@pytest.mark.parametrize("name", BOTH)
def test_objects_of_other_operators_are_passed_over_by_name(name, tmp_path):
    text, starts = filled(name).rstrip(), []
    for other in OTHERS:
        version, kind = other.split()
        text += "\n---\n"
        starts.append(text.count("\n") + 1)
        text += f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: mine}}\nspec: {{anything: 1}}"
    cluster = read(text + "\n", tmp_path)
    assert [notice.rpartition("kube.yaml:")[2] for notice in cluster.notices] == [
        f"{line}: {kind} mine of {version} is another operator's: applied, and not checked{more}"
        for line, (version, kind), more in zip(starts, map(str.split, OTHERS), OTHERS.values(), strict=True)
    ]
    assert len(cluster.documents) == 3 + len(OTHERS)


def test_an_object_of_another_operator_is_to_be_filled_in_too(tmp_path):
    text = (
        filled("kuberay-raycluster") + "---\napiVersion: kueue.x-k8s.io/v1beta1\nkind: LocalQueue\nspec: {a: YOUR_Q}\n"
    )
    [line] = refusal(text, tmp_path)
    assert "fill in YOUR_Q" in line


def test_the_groups_of_kubernetes_are_those_of_its_schemas():
    import kubernetes_validate

    folder = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
    newest = folder / f"v{kubernetes_validate.latest_version()}-local-strict" / "_definitions.json"
    groups = set(re.findall(r'"group": *"([a-z.0-9]+)"', newest.read_text(encoding="utf-8")))
    assert "networking.k8s.io" in groups
    assert all(kube_file._kubernetes_has(f"{group}/v1") for group in groups)
    assert {f"{group}.k8s.io" for group in kube_file._OF_KUBERNETES} <= groups


def test_quantities_are_those_of_kubernetes():
    for number, (unit, factor) in itertools.product(
        ("1", "2.5"), {"": 1, "m": 0.001, "k": 1000, "Ki": 1024, "Gi": 1024**3, "M": 1e6}.items()
    ):
        assert quantity(number + unit) == pytest.approx(float(number) * factor)
    for wrong in ("", "8 cores", "1gb", "-1", "1e", "Gi"):
        with pytest.raises(ValueError, match="is not a Kubernetes quantity"):
            quantity(wrong)
