"""The dev and the test part that `data.holdout` cuts out of the training files, so that nobody has to write a split.

What is cut is decided by the name of a document alone, and the holdout's seed: a document stays in its part when
others come or go. Groups that name no document go with their answer set, named by its first group.
"""

from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2b
from typing import Literal

from hybridtune.config.fields import Holdout
from hybridtune.data.answer_sets import answer_sets_by_key
from hybridtune.data.readers.native import Group
from hybridtune.data.text_key import text_key
from hybridtune.errors import InputError

Part = Literal["dev", "test"]


class Cut:
    """Which groups of some training files belong to which part.

    Args:
        holdout: the shares and the seed.
        read: reads all groups, from the first at every call.

    Raises:
        InputError: a part is empty.
    """

    def __init__(self, holdout: Holdout, read: Callable[[], Iterator[Group]]) -> None:
        self.holdout = holdout
        self._loose: Mapping[str, Part | None] = {}  # by group_id: of the groups that go by their answer set
        self.parts: dict[Part, list[Group]] = {"dev": [], "test": []}
        ids, keys = [], []
        for group in read():
            if self._by_document(group):
                self._keep(group)
            else:
                ids.append(group.group_id)
                keys.append(_answer_keys(group))
        if ids:
            sets = answer_sets_by_key(keys)
            self._loose = {name: self._draw(f"group {ids[first]}") for name, first in zip(ids, sets, strict=True)}
            for group in read():
                if not self._by_document(group):
                    self._keep(group)
        for part, groups in self.parts.items():
            if not groups:
                raise InputError(
                    f"data.holdout: no {'group' if ids else 'document'} of the training data falls into the {part} "
                    "part; raise the share, or set another data.holdout.seed"
                )

    def part(self, group: Group) -> Part | None:
        """Return the part that a group of the files belongs to; None: it is trained on."""
        if self._by_document(group):
            return self._draw(f"document {group.document_id}")
        return self._loose[group.group_id]

    def _keep(self, group: Group) -> None:
        part = self.part(group)
        if part is not None:
            self.parts[part].append(group)

    def _by_document(self, group: Group) -> bool:
        return self.holdout.documents is not None and bool(group.document_id)

    def _draw(self, name: str) -> Part | None:
        share = self.holdout.documents or self.holdout.groups or 0.0
        digest = blake2b(f"{self.holdout.seed} {name}".encode(), digest_size=8).digest()
        draw = int.from_bytes(digest, "big") / 2**64
        return "dev" if draw < share else "test" if draw < 2 * share else None


def _answer_keys(group: Group) -> set[int]:
    """Return what a group shares with another one of its answer set: a passage, or a query in one language."""
    passages = {hash(text_key(text)) for text in group.passages.values()}
    return passages | {hash((language, text_key(text))) for language, text in group.queries.items()}
