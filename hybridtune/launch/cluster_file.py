"""A cluster file as the user wrote it, of Ray's cluster launcher or of KubeRay: checked offline, line by line."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hybridtune.errors import InputError
from hybridtune.launch import kuberay_file as kube_file
from hybridtune.launch import launcher_file
from hybridtune.launch.yaml_lines import Document, read_documents
from hybridtune.runtime.launcher_shape import launcher_shape
from hybridtune.runtime.resources import Shape

Kind = Literal["launcher", "raycluster", "rayjob"]
_UNFILLED = re.compile(r"YOUR_[A-Z0-9_]*[A-Z0-9]")
_EVERYBODY = re.compile(r"(?<![\d.])0\.0\.0\.0/0|(?<![0-9a-f:])::/0")


@dataclass(frozen=True)
class ClusterFile:
    """A valid cluster file.

    Attributes:
        kind: what starts it: Ray's launcher (``ray up``), or KubeRay by a RayCluster or a RayJob.
        provider: ``aws``, ``gcp``, ``azure``, ``local``, ``external``, ...; ``kubernetes`` for KubeRay.
        idle_minutes: without work, after which a worker node is taken down.
        tree: the document that describes the cluster; ``documents`` are all of the file.
        notices: of what is allowed but risky, one line each.
    """

    kind: Kind
    name: str
    provider: str
    shape: Shape
    idle_minutes: float
    tree: Mapping[str, Any]
    documents: Sequence[Mapping[str, Any]]
    notices: Sequence[str]
    path: Path


def read_cluster(path: Path) -> ClusterFile:
    """Read and check a cluster file. Starts nothing, asks no provider.

    Raises:
        InputError: with one line per mistake in the order of the file, each ``FILE:LINE: path in it: message``.
    """
    documents = read_documents(path)
    mistakes = [line for document in documents for line in _common(document)]
    if any("apiVersion" in document.tree for document in documents):
        _refuse([*mistakes, *kube_file.mistakes(documents)])
        tree = kube_file.ray_document(documents).tree
        spec = kube_file.cluster_spec(tree)
        return ClusterFile(
            kind="rayjob" if tree["kind"] == "RayJob" else "raycluster",
            name=tree["metadata"]["name"],
            provider="kubernetes",
            shape=kube_file.shape(spec),
            idle_minutes=kube_file.idle_minutes(spec),
            tree=tree,
            documents=[document.tree for document in documents],
            notices=kube_file.notices(documents),
            path=path,
        )
    document = documents[0]
    if len(documents) > 1:
        mistakes.append(documents[1].mistake((), "a cluster file of Ray's launcher is one document; remove this one"))
    _refuse([*mistakes, *launcher_file.mistakes(document)])
    return ClusterFile(
        kind="launcher",
        name=document.tree["cluster_name"],
        provider=document.tree["provider"]["type"],
        shape=launcher_shape(document.tree),
        idle_minutes=float(document.tree.get("idle_timeout_minutes", launcher_file.IDLE_MINUTES)),
        tree=document.tree,
        documents=[document.tree],
        notices=launcher_file.notices(document),
        path=path,
    )


def _common(document: Document) -> Iterator[str]:
    """Yield mistakes of any cluster file: what is not filled in, and what would be open to everybody."""
    reported: set[tuple[int, str]] = set()  # the text of an anchor has several paths, and one line
    for path, line, text in document.texts():
        for name in _UNFILLED.findall(text):
            if (line, name) not in reported:
                yield document.mistake(path, f"fill in {name}; the head of the file says how", line)
            reported.add((line, name))
        for block in dict.fromkeys(_EVERYBODY.findall(text)):
            yield document.mistake(
                path, f"{block} is everybody; give your own address (ADDRESS/32), and use ssh or port-forward", line
            )


def _refuse(mistakes: Sequence[str]) -> None:
    """Raise InputError with every mistake once, in the order of the lines."""

    def line(mistake: str) -> int:
        found = re.search(r":(\d+): ", mistake)
        return int(found[1]) if found else 0

    if mistakes:
        raise InputError("\n".join(sorted(dict.fromkeys(mistakes), key=line)))
