"""KubeRay's files: good by the CRD's fields and by Kubernetes' own schemas, and a mistake in any told with its line."""

import gzip
import itertools
import re
import sys
from pathlib import Path

import pytest
import yaml
from cluster_files import CLUSTERS, assert_caught, filled, refusal
from jsonschema import Draft202012Validator

from hybridtune.config.fields import Resources
from hybridtune.errors import InputError
from hybridtune.launch.cluster_file import read_cluster
from hybridtune.launch.kuberay_file import SCHEMAS, quantity
from hybridtune.runtime.resources import allocate

BOTH = ["kuberay-rayjob", "kuberay-raycluster"]


def read(text, folder):
    path = folder / "kube.yaml"
    path.write_text(text, encoding="utf-8")
    return read_cluster(path)


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
    assert [(node.name, node.cpus, node.gpus, node.least, node.most) for node in cluster.shape.workers] == [
        ("cpu-worker", 8, 0, 0, 8),
        ("gpu-worker", 8, 1, 0, 4),
    ]
    assert [document["kind"] for document in cluster.documents][:2] == ["ServiceAccount", "NetworkPolicy"]
    assert allocate(Resources(gpus_per_worker=1), cluster.shape, 12, 32).at_once == 4


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
        ("groupName: gpu-worker", "groupName: cpu-worker", "'cpu-worker': is there twice"),
        ("groupName: cpu-worker", "groupName: CPU_worker", "lower-case letters"),
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
    assert [re.search("Always: the v2 autoscaler needs Never", line) is not None for line in lines] == [True] * 3


@pytest.mark.parametrize(
    ("old", "new", "message", "below"),
    [
        ("submissionMode: K8sJobMode", "submissionMode: k8s", "must be one of K8sJobMode, HTTPMode", 0),
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


def test_quantities_are_those_of_kubernetes():
    for number, (unit, factor) in itertools.product(
        ("1", "2.5"), {"": 1, "m": 0.001, "k": 1000, "Ki": 1024, "Gi": 1024**3, "M": 1e6}.items()
    ):
        assert quantity(number + unit) == pytest.approx(float(number) * factor)
    for wrong in ("", "8 cores", "1gb", "-1", "1e", "Gi"):
        with pytest.raises(ValueError, match="is not a Kubernetes quantity"):
            quantity(wrong)


PUBLISHED = Path(__file__).parents[3] / "shared" / "kuberay"


def published(kind):
    """The schema that KubeRay publishes for a kind."""
    (file,) = PUBLISHED.glob(f"ray.io_{kind.lower()}s-*.yaml.gz")
    (version,) = [
        one for one in yaml.safe_load(gzip.decompress(file.read_bytes()))["spec"]["versions"] if one["name"] == "v1"
    ]
    return version["schema"]["openAPIV3Schema"]


def differences(ours, theirs, definitions, path=()):
    """Fields that only one of the two has, of another type, or that KubeRay alone requires."""
    if "$ref" in ours:
        ours = definitions[ours["$ref"].rpartition("/")[2]]
    if "properties" in ours and "properties" in theirs:
        if ours.get("additionalProperties") is False:
            for name in ours["properties"].keys() ^ theirs["properties"].keys() - {"status"}:
                yield ".".join((*path, name))
        filled_in = {name for name, field in theirs["properties"].items() if "default" in field}
        needed = set(theirs.get("required", ())) - filled_in - set(ours["required"])
        yield from (".".join((*path, name, "required")) for name in needed)
        for name in ours["properties"].keys() & theirs["properties"].keys():
            yield from differences(ours["properties"][name], theirs["properties"][name], definitions, (*path, name))
    elif "items" in ours and "items" in theirs:
        yield from differences(ours["items"], theirs["items"], definitions, (*path, "[]"))
    elif "enum" in ours:
        if not set(ours["enum"]) <= set(theirs.get("enum", ours["enum"])) or theirs["type"] != "string":
            yield ".".join((*path, "enum"))
    elif ours["type"] != theirs.get("type", ours["type"]):
        yield ".".join((*path, "type"))


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="KubeRay's published schemas do not lie beside the checkout")
@pytest.mark.slow
@pytest.mark.parametrize("kind", SCHEMAS)
def test_our_schema_has_the_fields_of_the_published_one(kind):
    definitions = SCHEMAS[kind]["$defs"]
    assert sorted(differences(definitions[kind], published(kind), definitions)) == []
