"""The states of a plan on its way: with one, a training that goes on need not draw again from step 0.

A state follows from the plan and its step, and the batches are the same without it: one that is missing, damaged, or of
another plan costs time and nothing else. `HybridPlan.batches` writes and reads them, `loop` says where they lie.
"""

import contextlib
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from hybridtune.storage.files import join, list_names, read_file, remove, write_file

State = Mapping[str, np.ndarray[Any, Any]]
_PAIRS = 2**20  # drawn between two states, at least: some seconds
_PARTS = 4  # and of the steps between two scores so many parts, at most
_KEPT = 10  # those of two scores, and what the stream is ahead of the training
_NAME, _END = "plan_", ".safetensors"


@dataclass(frozen=True)
class PlanStates:
    """A folder of states, named by step, plan and content.

    Attributes:
        location: path or URL; other files may lie there.
        every: steps from one state to the next.
        writes: whether states are added; else they are only read.
    """

    location: str
    every: int
    writes: bool

    @classmethod
    def of(cls, location: str, batch_size: int, eval_steps: int, writes: bool) -> "PlanStates":
        """Return the states of a training, as often as keeps the first batch after a break a few seconds away."""
        return cls(location, max(1, _PAIRS // batch_size, eval_steps // _PARTS), writes)

    def is_due(self, step: int) -> bool:
        """Return whether a state is to be added at a step."""
        return self.writes and step > 0 and step % self.every == 0

    def add(self, step: int, plan: str, state: State) -> None:
        """Add the state before a step is drawn, of the plan with this digest; the oldest go."""
        content = save(dict(state))
        with contextlib.suppress(OSError):  # the next checkpoint says what is wrong there
            write_file(join(self.location, f"{_NAME}{step:010d}_{plan}_{_digest(content)}{_END}"), content)
            for name in self._names()[:-_KEPT]:
                remove(join(self.location, name))

    def before(self, step: int, plan: Callable[[int], str]) -> tuple[int, State] | None:
        """Return the latest state at or before a step, and its step; None: there is none of this plan.

        Args:
            step: the first one that is wanted.
            plan: returns the digest of the plan up to a step.
        """
        for name in reversed(self._names() if step >= self.every else []):
            number, digest, content_digest = name.removeprefix(_NAME).removesuffix(_END).split("_")
            if int(number) > step or plan(int(number)) != digest:
                continue
            content = read_file(join(self.location, name))
            if content is not None and _digest(content) == content_digest:
                with contextlib.suppress(SafetensorError):
                    return int(number), load(content)
        return None

    def clear(self) -> None:
        """Remove all states: the training has ended."""
        for name in self._names():
            remove(join(self.location, name))

    def _names(self) -> list[str]:
        names = [name for name in list_names(self.location) if name.startswith(_NAME) and name.endswith(_END)]
        return [name for name in names if name.count("_") == 3 and name.split("_")[1].isdigit()]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
