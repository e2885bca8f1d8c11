"""What this machine lacks to start a cluster: a provider's packages, a key, room for the paths of Ray's sockets.

The cluster file is good without it, and so is the plan: `--dry-run` tells it, and `hybridtune launch` is refused.
"""

from collections.abc import Iterator
from pathlib import Path

from hybridtune.launch.cluster_file import ClusterFile
from hybridtune.launch.launcher_file import LOCAL_NODES
from hybridtune.launch.local_head import temporary_folder_mistake
from hybridtune.launch.yaml_lines import mapping_of
from hybridtune.runtime.ray_private import provider_import_error

_PACKAGES = {"aws": "pip install boto3", "gcp": "pip install google-api-python-client"}
_NAMED = "pip install what the first lines of clusters/{}.yaml name"


def missing_here(cluster: ClusterFile) -> Iterator[str]:
    """Yield what this machine lacks to start a cluster, a line each. Asks no provider."""
    if cluster.kind != "launcher":
        return
    if cluster.tree["provider"].get("module") == LOCAL_NODES:
        if mistake := temporary_folder_mistake():
            yield mistake
        return
    kind = cluster.provider
    if error := provider_import_error(cluster.tree["provider"]):
        how = _PACKAGES.get(kind, _NAMED.format(kind))
        yield f"{cluster.path}: provider {kind}: what Ray reaches it by cannot be imported here ({error}); {how}"
    auth = mapping_of(cluster.tree.get("auth"))
    for name in ("ssh_private_key", "ssh_public_key"):
        if name in auth and not Path(auth[name]).expanduser().is_file():
            private = auth[name].removesuffix(".pub")
            make = f"make it: ssh-keygen -t rsa -b 4096 -f {private}"
            yield f"{cluster.path}: auth.{name}: {auth[name]} is not on this machine; {make}"
