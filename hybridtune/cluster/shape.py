"""The shape of a cluster: which kinds of nodes it has, and how many of each it may have. Nothing but numbers."""

from dataclasses import dataclass


@dataclass(frozen=True)
class NodeType:
    """One kind of node.

    Attributes:
        name: as the cluster file or Ray names it.
        cpus: logical CPUs that Ray is told of, >= 0.
        gpus: GPUs of a node, >= 0.
        accelerator: what its GPUs are, as Ray names them (``A10G``), or None.
        least: nodes that are always there, >= 0.
        most: nodes that there may be at once, >= least.
        head: whether this is the head node; one is always there, and no bound on workers counts it.
        spot: whether the provider may take a node back.
    """

    name: str
    cpus: float
    gpus: float
    accelerator: str | None
    least: int
    most: int
    head: bool = False
    spot: bool = False


@dataclass(frozen=True)
class Shape:
    """The nodes that a cluster may have.

    Attributes:
        types: in the order of the cluster file; the head among them. A head type that may also have workers stands
            twice.
        most_workers: worker nodes at once over all types; None: no bound beside the types' own.
    """

    types: tuple[NodeType, ...]
    most_workers: int | None

    @property
    def workers(self) -> tuple[NodeType, ...]:
        """The types of which there may be worker nodes."""
        return tuple(node for node in self.types if not node.head and node.most)

    @property
    def most_nodes(self) -> int:
        """Worker nodes at once, by both bounds."""
        by_types = sum(node.most for node in self.workers)
        return by_types if self.most_workers is None else min(by_types, self.most_workers)
