"""The vectors of a frozen teacher: of every text that it reads, made once, and mapped by all who train.

Texts go by the numbers of a token store, whatever the teacher's own tokenizer makes of them. `teaching` in the training
room fills a folder, `feed` reads it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hybridtune.data.corpus import Corpus
from hybridtune.data.sampling import language_columns, translations
from hybridtune.metrics.arrays import Float32, Int32

META = "teacher.json"


@dataclass(frozen=True)
class TeacherVectors:
    """The opened vectors of m of the n texts of a store; cheap to open, shared by all processes of a machine."""

    path: Path
    _numbers: Int32 = field(repr=False)  # [m] of the texts, ascending
    _vectors: Float32 = field(repr=False)  # [m, D]

    @classmethod
    def open(cls, path: Path) -> "TeacherVectors":
        """Map the vectors in a folder into memory."""
        return cls(path, np.load(path / "numbers.npy"), np.load(path / "vectors.npy", mmap_mode="r"))

    @property
    def width(self) -> int:
        """The numbers of a vector."""
        return int(self._vectors.shape[1])

    def take(self, numbers: Int32) -> Float32:
        """Return the unit vectors [k, D] of texts by number [k]; zeros for -1.

        Raises:
            KeyError: the teacher has not read such a text.
        """
        rows = np.minimum(np.searchsorted(self._numbers, numbers), len(self._numbers) - 1)
        unknown = (numbers >= 0) & (self._numbers[rows] != numbers)
        if unknown.any():
            raise KeyError(f"{self.path} has no vector of text {numbers[unknown][0]}")
        taken: Float32 = np.zeros((len(numbers), self.width), np.float32)
        taken[numbers >= 0] = self._vectors[rows[numbers >= 0]]
        return taken


def save_vectors(folder: Path, numbers: Int32, blocks: Sequence[Path], teacher: str) -> None:
    """Write the vectors of texts [m] into a folder; ``blocks`` are ``.npy`` files of them, in the order of the texts.

    ``teacher`` is whose they are, for people who look into the folder.
    """
    width = np.load(blocks[0], mmap_mode="r").shape[1]
    vectors = np.lib.format.open_memmap(folder / "vectors.npy", "w+", np.float32, (len(numbers), width))
    first = 0
    for block in blocks:
        part = np.load(block)
        vectors[first : first + len(part)] = part
        first += len(part)
    assert first == len(numbers), "a block of vectors is missing"
    vectors.flush()
    np.save(folder / "numbers.npy", numbers)
    said = {"teacher": teacher, "texts": len(numbers), "width": width}
    (folder / META).write_text(json.dumps(said, indent=1), encoding="utf-8")


def aligned_texts(corpus: Corpus, teacher_languages: Sequence[str]) -> Int32:
    """Return the numbers, ascending, of the texts that a teacher may read in align batches."""
    others: dict[int, list[int]] = {}  # of each language that it reads
    for first, other in translations(corpus, teacher_languages):
        others.setdefault(first, []).append(other)
    texts = [
        corpus.passages[(corpus.passages[:, columns] >= 0).any(axis=1), first] for first, columns in others.items()
    ]
    found: Int32 = np.unique(np.concatenate([*texts, np.zeros(0, np.int32)]))
    return found[found >= 0]


def scored_texts(corpus: Corpus, teacher_languages: Sequence[str], *, negatives: bool) -> Int32:
    """Return the numbers, ascending, of the texts that a teacher may read in mono and cross batches.

    With ``negatives`` the hard ones are among them.
    """
    columns = language_columns(corpus, teacher_languages) or list(range(len(corpus.languages)))
    texts = [side[:, columns].ravel() for side in (corpus.queries, corpus.passages)]
    if negatives:
        texts.append(corpus.negative_texts[np.isin(corpus.negative_cells % len(corpus.languages), columns)])
    found: Int32 = np.unique(np.concatenate(texts))
    return found[found >= 0]


def read_instead(side: Int32, groups: Int32, columns: Int32, readers: Sequence[int]) -> Int32:
    """Return the numbers of the texts that a teacher reads in place of some: of a group, in a language that it knows.

    Args:
        side: [G, L] the queries, or the passages, of a corpus.
        groups: of the texts, of any shape.
        columns: of their languages, of the same shape.
        readers: columns of the languages that the teacher reads; none: all.

    Returns:
        The text itself in such a language, else the group's in the first of these that it has, else -1.
    """
    own: Int32 = side[groups, columns]
    if not readers:
        return own
    others = side[groups][..., readers]  # [..., R]
    first = np.take_along_axis(others, (others >= 0).argmax(-1)[..., None], -1)[..., 0]
    return np.where(np.isin(columns, readers), own, first)
