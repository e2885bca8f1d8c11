"""The fingerprints of the texts that a model was trained on: a file in its folder, by which a benchmark is checked.

The file holds hashes and no text, and at most 17 MiB: 2^19 keys, 2^20 pieces of 12 bytes, and 2^17 keys of the dev
benchmark that chose the model. Of more texts it keeps one key or piece in 2, 4, ..., by its value.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TypeVar
from zipfile import BadZipFile

import numpy as np

from hybridtune.data.fingerprints import RULES, Fingerprints, UInt64, fingerprints
from hybridtune.data.leaks import SHORT, Kind, is_near
from hybridtune.data.text_index import TextIndex, TextIndexBuilder, distinct_pieces, is_kept
from hybridtune.errors import InputError
from hybridtune.metrics.arrays import Bool

_MOST_KEYS, _MOST_PIECES, _MOST_OF_DEV = 1 << 19, 1 << 20, 1 << 17
_AT_ONCE = 4096  # texts
AnyText = TypeVar("AnyText")
_NONE: UInt64 = np.zeros(0, np.uint64)


@dataclass(frozen=True)
class TrainingTexts:
    """The fingerprints of the texts of a training, and the keys of the dev benchmark that chose the model."""

    index: TextIndex
    dev: UInt64 = field(default_factory=lambda: _NONE)  # keys of its queries and passages, ascending

    @classmethod
    def of(cls, texts: Iterable[str]) -> "TrainingTexts":
        """Make the fingerprints of training texts, streamed."""
        builder = TextIndexBuilder(_MOST_KEYS, _MOST_PIECES)
        for block in in_blocks(texts):
            builder.add(fingerprints(block))
        return cls(builder.finish())

    def with_dev(self, texts: Iterable[str]) -> "TrainingTexts":
        """Return the same with the texts of the dev benchmark."""
        keys = np.unique(np.concatenate([_NONE, *(fingerprints(block).keys for block in in_blocks(texts))]))
        return replace(self, dev=keys[keys > 0][:_MOST_OF_DEV])

    def after(self, earlier: "TrainingTexts") -> "TrainingTexts":
        """Return what is known of this training and the one whose model it began with."""
        builder = TextIndexBuilder(_MOST_KEYS, _MOST_PIECES)
        builder.add_index(earlier.index)
        builder.add_index(self.index)
        return TrainingTexts(builder.finish(), np.union1d(self.dev, earlier.dev)[:_MOST_OF_DEV])

    def save(self, file: Path) -> None:
        """Write the file."""
        index = self.index
        np.savez(
            file,
            rules=np.array(RULES),
            texts=np.array(index.texts),
            key_step=np.array(index.key_step),
            piece_step=np.array(index.piece_step),
            keys=index.keys,
            pieces=index.pieces,
            piece_of=index.piece_of.astype(np.uint32),
            dev=self.dev,
        )

    @classmethod
    def load(cls, file: Path) -> "TrainingTexts | None":
        """Read what `save` wrote; None where another version of the rules made it.

        Raises:
            InputError: the file is damaged.
        """
        try:
            with np.load(file, allow_pickle=False) as found:
                if found["rules"] != RULES:
                    return None
                texts, key_step, piece_step = (int(found[name]) for name in ("texts", "key_step", "piece_step"))
                keys, pieces, of = found["keys"], found["pieces"], found["piece_of"].astype(np.int64)
                index = TextIndex(keys, np.zeros(len(keys), np.int64), pieces, of, texts, key_step, piece_step)
                return cls(index, found["dev"])
        except (OSError, ValueError, KeyError, TypeError, BadZipFile) as error:
            raise InputError(f"{file}: not the fingerprints of a training: {' '.join(str(error).split())}") from None

    def find(self, texts: Sequence[str]) -> list[Kind | None]:
        """Return how each of some texts was found among those of the training; None: it was not."""
        prints = fingerprints(texts)
        whole, short = np.zeros(len(texts), bool), prints.lengths < SHORT
        whole[self.index.same(prints)[0]] = True
        near = self._near(prints) & ~short
        kinds: tuple[Kind | None, ...] = (None, "near", "exact", "short")
        chosen = np.where(whole, np.where(short, 3, 2), near.astype(int))
        return [kinds[kind] for kind in chosen.tolist()]

    def chose(self, texts: Sequence[str]) -> int:
        """Count the texts that the dev benchmark of the training has."""
        return int(np.isin(fingerprints(texts).keys, self.dev).sum())

    def _near(self, prints: Fingerprints) -> Bool:
        theirs, _, common = self.index.shared(prints)
        pieces, of = distinct_pieces(prints)
        counts = np.bincount(of[is_kept(pieces, self.index.piece_step)], minlength=len(prints.keys))
        near = np.zeros(len(prints.keys), bool)
        near[theirs[is_near(common, counts[theirs], self.index.piece_step)]] = True
        return near


def in_blocks(texts: Iterable[AnyText]) -> Iterator[list[AnyText]]:
    """Cut texts into lists that are looked at in one go."""
    left = iter(texts)
    while block := list(islice(left, _AT_ONCE)):
        yield block
