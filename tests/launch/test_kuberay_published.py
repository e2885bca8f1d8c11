"""KubeRay's published schemas: ours has their fields, and the shipped files pass them."""

import gzip
from functools import cache
from pathlib import Path

import pytest
import yaml
from cluster_files import filled, planted, read
from jsonschema import Draft202012Validator

from hybridtune.launch.kuberay import job_manifest
from hybridtune.launch.kuberay_file import SCHEMAS

PUBLISHED = Path(__file__).parents[3] / "shared" / "kuberay"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PUBLISHED.is_dir(), reason="KubeRay's published schemas do not lie beside the checkout"),
]


@cache
def published(kind):
    """The schema that KubeRay publishes for a kind."""
    (file,) = PUBLISHED.glob(f"ray.io_{kind.lower()}s-*.yaml.gz")
    definition = yaml.load(gzip.decompress(file.read_bytes()), yaml.CSafeLoader)
    (version,) = [one for one in definition["spec"]["versions"] if one["name"] == "v1"]
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


@pytest.mark.parametrize("kind", SCHEMAS)
def test_our_schema_has_the_fields_of_the_published_one(kind):
    definitions = SCHEMAS[kind]["$defs"]
    assert sorted(differences(definitions[kind], published(kind), definitions)) == []


def strict(schema):
    """A published schema as the API server applies it: no field that it does not name, null where it says nullable."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: strict(part) for key, part in schema.items()}
    if isinstance(found.get("properties"), dict) and not found.get("x-kubernetes-preserve-unknown-fields"):
        found.setdefault("additionalProperties", False)
    if found.get("x-kubernetes-int-or-string"):
        found.pop("type", None)
    return found


def published_mistakes(tree):
    """What the published schema of its kind finds wrong with an object, without what the server fills in."""
    schema = strict(published(tree["kind"]))
    schema["properties"]["metadata"] = {"type": "object"}
    return [
        f"{'.'.join(map(str, error.absolute_path))}: {error.message}"
        for error in Draft202012Validator(schema).iter_errors(tree)
    ]


def rays_of(documents):
    return next(tree for tree in documents if tree["kind"] in SCHEMAS)


@pytest.mark.parametrize("name", ["kuberay-rayjob", "kuberay-raycluster"])
def test_every_kuberay_file_passes_the_published_schema(name, tmp_path):
    cluster = read(filled(name), tmp_path)
    assert published_mistakes(rays_of(cluster.documents)) == []
    if cluster.kind == "rayjob":
        made = job_manifest(cluster.documents, "news-1", "name: news\n", "python -m hybridtune run x")
        assert published_mistakes(rays_of(made)) == []
    wrong, _ = planted(filled(name), "  idleTimeoutSeconds: 300", "  idleTimeoutSecond: 300")
    [mistake] = published_mistakes(rays_of(yaml.safe_load_all(wrong)))
    assert "idleTimeoutSecond" in mistake
