"""Bitext mining: texts of the rows that translate each other, found by an encoder; they become texts of the rows.

Texts are encoded once each, by the actors of an evaluation, and compared a language pair at a time (`margin`). Pairs
are joined best first into sets of one text a language; then each row that has a text of a set gets the others.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hybridtune.callbacks import StudyCallback, phase
from hybridtune.config.fields import Encoder, Part, Resources
from hybridtune.config.study import apply_overrides
from hybridtune.config.validation import check
from hybridtune.data.readers.records import Text
from hybridtune.errors import InputError
from hybridtune.evaluate.blocks import Block, finished_blocks
from hybridtune.evaluate.encode import Actors, Side, encode_sides
from hybridtune.metrics.arrays import Float32, Float64, Int32, Int64
from hybridtune.model.folder import check_fit, with_folder_settings
from hybridtune.model.tokenizer import pretrained_tokenizer
from hybridtune.prepare.grouping import OneALanguage
from hybridtune.prepare.margin import NEIGHBOURS, candidates, choose_threshold, neighbours
from hybridtune.prepare.rows import Rows, Spool
from hybridtune.runtime.local import capacity, local_cluster

PART_TEXTS = 8192
SAMPLES = 4  # pairs of texts that are shown of a language pair


@dataclass(frozen=True)
class Mining:
    """The settings of bitext mining."""

    encoder: Encoder
    resources: Resources
    side: Literal["passages", "queries"]
    thresholds: Mapping[str, float]  # by language pair, "de-en"; "" is all that are not named


@dataclass(frozen=True)
class Distinct:
    """The n distinct texts of one side, by language: what is mined."""

    text: Int32  # [n] its number
    column: Int32  # [n] its language; of a text in several the first
    row: Int32  # [n] a row that holds it

    @classmethod
    def of(cls, rows: Rows, side: str) -> "Distinct":
        """Return the distinct texts of one side of some rows, by language and then in the order of the rows."""
        cells = np.flatnonzero(rows.is_query == (side == "queries"))
        _, first = np.unique(rows.text[cells], return_index=True)
        cells = cells[np.sort(first)]
        cells = cells[np.argsort(rows.column[cells], kind="stable")]
        return cls(rows.text[cells], rows.column[cells], rows.origin[cells])


@dataclass(frozen=True)
class SpooledTexts:
    """A part of the texts that are encoded, read from the file of the rows; its language is one."""

    name: str
    spool: Spool
    side: str
    language: str
    first: int  # the id of the first text

    def read(self) -> Iterator[Text]:
        """Read the texts, with their positions among all as ids."""
        for number in range(len(self.spool)):
            text = getattr(self.spool.read(number), self.side)[self.language]
            yield Text(str(self.first + number), self.language, text)


@dataclass(frozen=True)
class MinedPairs:
    """The pairs of texts of one language pair that were kept, and what they were chosen from."""

    languages: tuple[str, str]
    ones: Int64  # [n] numbers of texts in `Distinct`, best first
    others: Int64  # [n]
    margins: Float64  # [n]
    threshold: float
    texts: tuple[int, int]
    refused: Sequence[tuple[int, int, float]]  # the best candidate below the threshold, if any


def mine(rows: Rows, mining: Mining, callback: StudyCallback) -> tuple[Rows, list[dict[str, Any]]]:
    """Find translations among the texts of one side; return rows that have them, and a row of figures a language pair.

    Raises:
        InputError: the encoder cannot be used, or the texts are in one language.
    """
    distinct = Distinct.of(rows, mining.side)
    held = np.unique(distinct.column)
    if len(held) < 2:
        raise InputError(f"--by mining: all {mining.side} are in one language ({rows.languages[held[0]]})")
    _check_thresholds(mining.thresholds, [rows.languages[column] for column in held])
    with tempfile.TemporaryDirectory(prefix="hybridtune-") as folder:
        _encode(distinct, rows, mining, Path(folder), callback)
        found = list(_mined(distinct, rows, Path(folder), mining.thresholds, callback))
    sets = _joined(distinct, found)
    return _with_translations(rows, mining.side, distinct, sets), [
        _figures(rows, mining, distinct, one) for one in found
    ]


class _Sections(Part):
    """The sections of a study file that mining has."""

    encoder: Encoder
    resources: Resources = Resources()


def mining_settings(
    encoder: str, side: Literal["passages", "queries"], thresholds: Sequence[str], overrides: Sequence[str]
) -> Mining:
    """Check what a command line says of mining.

    Raises:
        InputError: an unknown field or a value that it does not take, or a threshold that is no margin.
    """
    tree: dict[str, Any] = {"encoder": {"name": encoder}}
    apply_overrides(tree, overrides)
    found = check(_Sections, tree, "--set")
    if found.encoder.name == "tiny":
        raise InputError("tiny is built by a study; mining takes a model folder or a hub name")
    return Mining(with_folder_settings(found.encoder), found.resources, side, _parse(thresholds))


def _parse(given: Sequence[str]) -> dict[str, float]:
    """Return thresholds, ``1.05`` or ``de-en=1.05``, by language pair."""
    found = {}
    for text in given:
        pair, _, value = text.rpartition("=")
        try:
            found[pair] = float(value)
        except ValueError:
            raise InputError(f"--threshold {text}: write 1.05 for all language pairs, or de-en=1.05") from None
        if not 0 < found[pair] < 10:
            raise InputError(f"--threshold {text}: a margin is a ratio near 1, such as 1.05")
    return found


def _check_thresholds(thresholds: Mapping[str, float], languages: Sequence[str]) -> None:
    known = {f"{one}-{other}" for one, other in combinations(sorted(languages), 2)}
    for pair in thresholds:
        if pair and pair not in known:
            raise InputError(f"--threshold {pair}=...: the pairs here are {', '.join(sorted(known)[:12])}")


def _encode(distinct: Distinct, rows: Rows, mining: Mining, folder: Path, callback: StudyCallback) -> None:
    """Write the vectors of the texts into blocks of one language each."""
    encoder = mining.encoder
    offered = capacity(mining.resources)
    tokenizer = pretrained_tokenizer(encoder.name, encoder.trust_remote_code)
    check_fit(encoder, tokenizer.largest_id)
    queries = mining.side == "queries"
    prefix = encoder.query_prefix if queries else encoder.passage_prefix
    length = encoder.query_length if queries else encoder.passage_length
    parts = list(_parts(distinct, rows, mining.side))
    side = Side(parts, prefix, length, folder, [], len(distinct.text))
    callback.on_message("starting Ray on this machine")
    with local_cluster(offered, dashboard=False), phase(callback, "encoding", "texts") as progress:
        encode_sides([side], encoder.name, encoder, tokenizer, Actors.of(offered), progress)


def _parts(distinct: Distinct, rows: Rows, side: str) -> Iterator[SpooledTexts]:
    for column in np.unique(distinct.column).tolist():
        start, end = np.searchsorted(distinct.column, [column, column + 1]).tolist()
        for first in range(start, end, PART_TEXTS):
            spool = rows.spool.part(distinct.row[first : min(end, first + PART_TEXTS)])
            yield SpooledTexts(f"{first:09d}", spool, side, rows.languages[column], first)


def _mined(
    distinct: Distinct, rows: Rows, folder: Path, thresholds: Mapping[str, float], callback: StudyCallback
) -> Iterator[MinedPairs]:
    """Mine the language pairs one after the other."""
    blocks: dict[str, list[Block]] = {}
    for block in finished_blocks(folder):
        blocks.setdefault(block.language(), []).append(block)
    pairs = list(combinations(sorted(blocks), 2))
    starts = {name: int(np.searchsorted(distinct.column, rows.languages.index(name))) for name in blocks}
    with phase(callback, "comparing", "language pairs") as progress:
        progress(0, len(pairs))
        for number, (one, other) in enumerate(pairs, 1):
            threshold = thresholds.get(f"{one}-{other}", thresholds.get(""))
            yield _pairs_of(one, other, blocks, starts, threshold)
            progress(number, len(pairs))


def _pairs_of(
    one: str, other: str, blocks: Mapping[str, Sequence[Block]], starts: Mapping[str, int], given: float | None
) -> MinedPairs:
    (vectors, numbers), (vectors_there, numbers_there) = (_vectors(blocks[name], starts[name]) for name in (one, other))
    near = neighbours(vectors, blocks[other], numbers_there, NEIGHBOURS + 1)
    near_there = neighbours(vectors_there, blocks[one], numbers, NEIGHBOURS + 1)
    threshold = choose_threshold(near, near_there) if given is None else given
    found = candidates(near.first(NEIGHBOURS), near_there.first(NEIGHBOURS))
    kept = int((found.margins >= threshold).sum())
    ones, others = found.ones + starts[one], found.others + starts[other]
    below = [(int(ones[kept]), int(others[kept]), float(found.margins[kept]))] if kept < len(ones) else []
    sizes = len(vectors), len(vectors_there)
    return MinedPairs((one, other), ones[:kept], others[:kept], found.margins[:kept], threshold, sizes, below)


def _vectors(blocks: Sequence[Block], start: int) -> tuple[Float32, dict[str, int]]:
    """Return the vectors of a language, in the order of its texts, and the position of each id."""
    read = [block.read() for block in blocks]
    ids = np.array([int(name) for _, names, _ in read for name in names], np.int64) - start
    vectors = np.concatenate([found for *_, found in read])
    ordered = np.empty_like(vectors)
    ordered[ids] = vectors
    return ordered, {str(start + number): number for number in range(len(ids))}


def _joined(distinct: Distinct, found: Sequence[MinedPairs]) -> dict[int, list[int]]:
    """Join pairs of all languages, best first, into sets of one text a language; return the set of each joined text."""
    ones, others, margins = (
        np.concatenate([getattr(one, name) for one in found]) for name in ("ones", "others", "margins")
    )
    nodes = np.unique(np.concatenate([ones, others])).tolist()
    joined = OneALanguage({node: int(distinct.column[node]) for node in nodes})
    for edge in np.lexsort((others, ones, -margins)).tolist():
        joined.join(int(ones[edge]), int(others[edge]))
    sets: dict[int, list[int]] = {}
    for node in nodes:
        sets.setdefault(joined.find(node), []).append(node)
    return {node: members for members in sets.values() for node in members}


def _with_translations(rows: Rows, side: str, distinct: Distinct, sets: Mapping[int, Sequence[int]]) -> Rows:
    """Give every row that has a text of a set the other texts of it, in languages that it lacks on that side."""
    position = {int(distinct.text[node]): node for node in sets}
    is_query = side == "queries"
    cells = np.flatnonzero(rows.is_query == is_query)
    held: dict[int, set[int]] = {}
    for row, column in zip(rows.row[cells].tolist(), rows.column[cells].tolist(), strict=True):
        held.setdefault(row, set()).add(column)
    new: list[tuple[int, int, int, int]] = []
    for row, text in zip(rows.row[cells].tolist(), rows.text[cells].tolist(), strict=True):
        for node in sets.get(position.get(text, -1), ()):
            column = int(distinct.column[node])
            if column not in held[row]:
                held[row].add(column)
                new.append((row, column, int(distinct.text[node]), int(distinct.row[node])))
    row, column, text, origin = np.array(new, np.int32).reshape(-1, 4).T
    return rows.with_cells(row, np.full(len(row), is_query), column, text, origin)


def _figures(rows: Rows, mining: Mining, distinct: Distinct, found: MinedPairs) -> dict[str, Any]:
    """Return the figures of a language pair, and pairs of texts from the best to the first that was refused."""
    kept = len(found.ones)
    shown = sorted({round(n * (kept - 1) / max(1, SAMPLES - 1)) for n in range(SAMPLES)}) if kept else []
    chosen = [(int(found.ones[n]), int(found.others[n]), float(found.margins[n])) for n in shown]

    def texts(nodes: Sequence[int]) -> list[str]:
        held = (getattr(rows.spool.read(int(distinct.row[node])), mining.side) for node in nodes)
        return [texts[language] for texts, language in zip(held, found.languages, strict=True)]

    samples = [
        {"margin": round(margin, 4), "kept": number < len(chosen), "texts": texts(pair)}
        for number, (*pair, margin) in enumerate([*chosen, *found.refused])
    ]
    return {
        "pair": "-".join(found.languages),
        "texts": list(found.texts),
        "threshold": round(found.threshold, 4),
        "kept": kept,
        "samples": samples,
    }
