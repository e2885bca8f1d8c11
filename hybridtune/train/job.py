"""What is asked of a worker group: one training, with the places that it reads from and writes to."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hybridtune.config import Study


@dataclass(frozen=True)
class FitJob:
    """One training: everything a worker needs, and nothing that it could look up elsewhere.

    Attributes:
        study: the study file with this fit's values put in; no ``auto`` in its resources.
        store: place of the token store.
        source: place or hub name of the encoder to start from.
        benchmark: that intermediate scores are taken on; the reference of one in the object store, or a benchmark.
        storage: place of this fit's checkpoints.
        evaluators: actors that score for this fit, >= 1.
        home: local folder, on the machine of whoever hands in the job, for what is told of the fit beside its
            checkpoints; None: that above ``storage``, which is local then.
        name: what this fit is called on the board.
        board: handle of the running board that takes its progress; None: nobody watches.
    """

    study: Study
    store: str
    source: str
    benchmark: Any
    storage: str
    evaluators: int = 1
    home: str | None = None
    name: str = "fit"
    board: Any = None

    @property
    def local_folder(self) -> Path:
        """``home``, or what stands for it."""
        return Path(self.home) if self.home is not None else Path(self.storage).parent
