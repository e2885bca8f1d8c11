"""The texts of the training groups as numbers: all that the plan needs to know of the data.

A text's number is its position among the distinct texts, in the order of the files. Texts with the same `text_key` are
one, under their first spelling; a query and a passage of the same words are two texts, and so are queries of two
languages; a passage and a hard negative are one. The token store has one row per text, by the same number. Groups come
from the readers; `HybridPlan` draws its batches from a `Corpus`.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from hybridtune.data.answer_sets import answer_sets
from hybridtune.data.digests import Digests, digests_of, first_seen, is_new
from hybridtune.data.readers.native import Group
from hybridtune.data.readers.sources import parse_groups
from hybridtune.data.text_key import text_key
from hybridtune.errors import InputError
from hybridtune.metrics.arrays import Bool, Float32, Float64, Int32, Int64

BLOCK_TEXTS = 8192  # of a block, about; the unit that Ray Data hands to a tokenising actor
_ROWS = 1 << 16  # of a table that are counted at once
_TEXTS = pa.schema([("is_query", pa.bool_()), ("text", pa.large_string())])


class TranslatedTexts(NamedTuple):
    """Texts of one language and side that one model translated from one language; names are empty where not given."""

    side: str  # queries or passages
    language: str
    translated_from: str
    engine: str
    model: str
    licence: str
    texts: int


@dataclass(frozen=True)
class Corpus:
    """The texts of G groups in L languages.

    Groups that share a passage text, in any language, or a query text in one language, directly or through others, are
    one answer set: they answer each other's queries and are never each other's negatives.
    """

    languages: tuple[str, ...]  # the L language codes, sorted
    queries: Int32  # [G, L] text number of the group's query in the language, -1 for none
    passages: Int32  # [G, L] text number of its passage, -1 for none
    answer_sets: Int32  # [G] the first group of the answer set
    # [N] where each hard negative belongs, ``group * L + column of the language``, ascending; none without a passage.
    negative_cells: Int64
    negative_texts: Int32  # [N] its text number
    # [N] answer set of the groups that have its text as a passage, -1 for none. Never that of its own group: such a
    # text answers the group's queries and is left out.
    negative_answer_sets: Int32
    # [N] how much higher a reranker or teacher scores its group's passage than it; NaN where the data do not say.
    negative_margins: Float32
    sources: Int32  # [G] the entry of ``data.train`` that the group came from, from 0
    translated_queries: Bool  # [G, L] whether a machine translated the group's query in the language
    translated_passages: Bool  # [G, L] and its passage
    translations: tuple["TranslatedTexts", ...] = ()  # the texts that a machine translated, counted

    @classmethod
    def from_groups(
        cls, groups: str | Path | Iterable[Group | Mapping[str, Any]], language_limits: Mapping[str, int] | None = None
    ) -> "Corpus":
        """Number the texts of groups and join the groups that share one.

        Args:
            groups: rows of the native format (``{"group_id", "queries": {language: text}, "passages": {...}}``), or the
                path of a file, folder or glob of such rows.
            language_limits: most groups a language may have, in the order of the groups.
        """
        builder = CorpusBuilder(language_limits or {})
        for group in parse_groups(groups):
            builder.add(group)
        return builder.finish()

    @classmethod
    def open(cls, folder: Path) -> "Corpus":
        """Map what `save` wrote into memory, which all processes of a machine share."""
        files = {field.name: folder / f"{field.name}.npy" for field in fields(cls)}
        tables: dict[str, Any] = {name: np.asarray(np.load(file, mmap_mode="r")) for name, file in files.items()}
        translations = tuple(
            TranslatedTexts._make([*row[:-1], int(row[-1])]) for row in tables["translations"].tolist()
        )
        return cls(**tables | {"languages": tuple(tables["languages"].tolist()), "translations": translations})

    def save(self, folder: Path) -> None:
        """Write one ``.npy`` file a field into a folder."""
        for field in fields(self):
            np.save(folder / f"{field.name}.npy", np.asarray(getattr(self, field.name)))

    def without_answer_sets(self) -> "Corpus":
        """Return the same texts with every group an answer set of its own, and hard negatives that answer no query."""
        alone = np.arange(len(self.answer_sets), dtype=np.int32)
        return replace(self, answer_sets=alone, negative_answer_sets=np.full_like(self.negative_answer_sets, -1))

    def most_negatives(self) -> int:
        """Count the hard negatives of the cell that has most of them; 0 if there is none at all."""
        most, cells = 0, self.negative_cells
        while (cells[most:] == cells[: len(cells) - most]).any():
            most += 1
        return most

    def scored_pairs(self, data_sets: int) -> tuple[Int64, Int64]:
        """Count the pairs whose passage has a margin over some hard negative, and all pairs, of each data set."""
        queries, passages = ((side >= 0).sum(axis=1) for side in (self.queries, self.passages))  # [G]
        scored = np.unique(self.negative_cells[~np.isnan(self.negative_margins)]) // len(self.languages)
        counts = [
            np.bincount(self.sources[groups], weights, data_sets).astype(np.int64)
            for groups, weights in ((scored, queries[scored]), (slice(None), queries * passages))
        ]
        return counts[0], counts[1]

    def draw_negatives(self, groups: Int32, columns: Int32, draws: Float64, most: int) -> Int64:
        """Choose among the hard negatives of some cells: groups [B], columns [B] of the passages' languages.

        ``draws`` [B], in [0, 1), say where in a cell's list to start; from there it goes on in turn, around the end.

        Returns:
            [B, most] indices of ``negative_texts``, all different within a row; -1 where the cell has fewer.
        """
        cells = groups.astype(np.int64) * len(self.languages) + columns  # [B]
        first = np.searchsorted(self.negative_cells, cells)
        count = np.searchsorted(self.negative_cells, cells, "right") - first
        turn = (draws * count).astype(np.int64)[:, None] + np.arange(most)  # [B, n]
        indices = first[:, None] + turn % np.maximum(count, 1)[:, None]
        return np.where(np.arange(most) < count[:, None], indices, -1)

    def pair_counts(self, *, native: bool = False) -> Int64:
        """Count the pairs [L, L] by language of the query and of the passage; if ``native``, untranslated ones."""
        counts = np.zeros((len(self.languages),) * 2, np.int64)
        for start in range(0, len(self.answer_sets), _ROWS):
            rows = slice(start, start + _ROWS)
            queries, passages = self.queries[rows] >= 0, self.passages[rows] >= 0
            if native:
                queries, passages = queries & ~self.translated_queries[rows], passages & ~self.translated_passages[rows]
            counts += queries.T.astype(np.int64) @ passages.astype(np.int64)
        return counts

    def bitext(self) -> Bool:
        """Return which groups [G] are bitext: passages in two or more languages, and no query."""
        found: Bool = ~(self.queries >= 0).any(axis=1) & ((self.passages >= 0).sum(axis=1) > 1)
        return found

    def origins(self, groups: Int32, columns: Int32, *, aligned: bool) -> Int64:
        """Return where pairs come from, as indices of `ORIGINS`.

        A pair is translated where a machine translated one of its two texts; else bitext, if its group has no query.

        Args:
            groups: [n] of the pairs.
            columns: [n, 2] of their two languages, or [2] of all.
            aligned: whether both texts are passages; else the first is a query.
        """
        first = self.translated_passages if aligned else self.translated_queries
        translated = first[groups, columns[..., 0]] | self.translated_passages[groups, columns[..., 1]]
        bitext = (self.queries[groups] < 0).all(axis=1)
        found: Int64 = np.where(translated, 1, np.where(bitext, 2, 0))
        return found


class TextPart(NamedTuple):
    """The texts of one block: an Arrow file of (is_query, text), and which of them are in no earlier block."""

    path: Path
    new: Bool

    def read(self) -> pa.Table:
        """Read (is_query, text) of the new texts."""
        with pa.memory_map(str(self.path)) as source:
            return pa.ipc.open_file(source).read_all().filter(pa.array(self.new)).combine_chunks()


class CorpusBuilder:
    """Numbers the texts of groups, and joins the groups that share a passage or a query in one language.

    ``limits`` are the most groups a language may have, in the order of the groups. A ``text_folder`` gets the texts,
    block by block; ``parts`` are the files of these.
    """

    def __init__(self, limits: Mapping[str, int], text_folder: Path | None = None) -> None:
        self.parts: list[TextPart] = []
        self._limits, self._seen = limits, dict.fromkeys(limits, 0)
        self._text_folder = text_folder
        self._columns: dict[str, int] = {}  # of the languages, in the order in which they are first seen
        self._groups = self._texts = 0  # in the blocks that were ended
        # group ids, their digests, digests of texts, sources, cells [., 6] (group, column, query, passage, and whether
        # these two are translated), hard negatives [., 3] (group, column, text) and their margins
        self._blocks: list[tuple[pa.Array, Digests, Digests, Int32, Int32, Int32, Float32]] = []
        self._paths: list[Path] = []
        # texts, by all else of `TranslatedTexts`
        self._translations: Counter[tuple[str, str, str, str, str, str]] = Counter()
        self._begin()

    def _begin(self) -> None:
        self._ids: list[str] = []
        self._of: list[int] = []
        self._cells: list[int] = []
        self._negatives: list[int] = []
        self._margins: list[float] = []
        self._indices: dict[bytes, int] = {}  # what makes a text this text -> its index among those of all blocks
        self._spellings: list[tuple[bool, str]] = []  # the first one of each

    def add(self, group: Group, source: int = 0) -> None:
        """Take the next group, and the entry of ``data.train`` that it comes from."""
        row = self._groups + len(self._ids)
        self._ids.append(group.group_id)
        self._of.append(source)
        queries, passages = group.queries, group.passages
        for language in sorted({*queries, *passages}):
            if language in self._seen:
                self._seen[language] += 1
                if self._seen[language] > self._limits[language]:
                    continue
            column = self._columns.setdefault(language, len(self._columns))
            query = self._index(queries[language], language) if language in queries else -1
            passage = -1
            if language in passages:
                passage = self._index(passages[language])
                self._add_negatives(group, language, row, column)
            translated = [language in group.translated.get(side, ()) for side in ("queries", "passages")]
            if any(translated):
                self._count_translations(group, language)
            self._cells += (row, column, query, passage, *translated)
        if len(self._indices) >= BLOCK_TEXTS or len(self._ids) >= BLOCK_TEXTS:
            self._end()

    def _add_negatives(self, group: Group, language: str, row: int, column: int) -> None:
        """Take the negatives of a group in a language, each once, with the first margin that it has."""
        margins: dict[int, float] = {}
        for text, margin in group.scored_negatives(language):
            index = self._index(text)
            if math.isnan(margins.get(index, math.nan)):
                margins[index] = math.nan if margin is None else margin
        for index, margin in margins.items():
            self._negatives += (row, column, index)
            self._margins.append(margin)

    def _count_translations(self, group: Group, language: str) -> None:
        engine, model, licence = (group.translation.get(name, "") for name in ("engine", "model", "licence"))
        for side, sources in group.translated.items():
            if language in sources:
                self._translations[side, language, sources[language], engine, model, licence] += 1

    def _index(self, text: str, query_language: str | None = None) -> int:
        """Return the index of a query of a language, or of a passage in any language."""
        side = "p" if query_language is None else f"q{query_language}"
        found = self._indices.setdefault(f"{side}\0{text_key(text)}".encode(), self._texts + len(self._indices))
        if len(self._spellings) < len(self._indices):
            self._spellings.append((query_language is not None, text))
        return found

    def _end(self) -> None:
        if self._text_folder:
            path = self._text_folder / f"part-{len(self._blocks):05d}.arrow"
            sides, texts = zip(*self._spellings, strict=True) if self._spellings else ((), ())
            with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, _TEXTS) as writer:
                writer.write_table(pa.table({"is_query": list(sides), "text": list(texts)}, _TEXTS))
            self._paths.append(path)
        ids, id_digests = pa.array(self._ids, pa.large_string()), digests_of(name.encode() for name in self._ids)
        columns = ((self._of, 1), (self._cells, 6), (self._negatives, 3))
        sources, cells, negatives = (np.array(values, np.int32).reshape(-1, width) for values, width in columns)
        margins = np.array(self._margins, np.float32)
        self._blocks.append((ids, id_digests, digests_of(self._indices), sources.ravel(), cells, negatives, margins))
        self._groups += len(self._ids)
        self._texts += len(self._indices)
        self._begin()

    def finish(self) -> Corpus:
        """Number what was added; raises InputError for no text at all or a group_id that occurs twice."""
        self._end()
        ids, id_digests, digests, sources, cells, negatives, margins = zip(*self._blocks, strict=True)
        repeated = np.flatnonzero(~is_new(first_seen(np.concatenate(id_digests))))
        if len(repeated):
            name = pa.chunked_array(ids)[int(repeated[0])].as_py()
            raise InputError(
                f"group_id {name!r} occurs twice: one line holds a whole group; where rows of one id translate each "
                "other, `hybridtune data group FILE --by id --out groups.jsonl` makes groups of them"
            )
        if not self._columns:
            raise InputError("the training data holds no text: every language is limited to 0")
        numbers = first_seen(np.concatenate(digests))  # by index
        ends = np.cumsum([len(block) for block in digests])[:-1]
        self.parts = list(map(TextPart, self._paths, np.split(is_new(numbers), ends)))
        languages = sorted(self._columns)
        column_of = np.argsort(np.argsort(list(self._columns))).astype(np.int32)  # by the order of first sight
        groups, columns, *rest = np.concatenate(cells).T
        sides = rest[:2]  # queries, passages
        tables = np.full((2, self._groups, len(languages)), -1, np.int32)
        translated = np.zeros(tables.shape, bool)
        for side in range(2):
            tables[side, groups, column_of[columns]] = np.where(sides[side] >= 0, numbers[sides[side]], -1)
            translated[side, groups, column_of[columns]] = rest[2 + side]
        texts = np.concatenate([numbers[side[side >= 0]] for side in sides])  # no query has the number of a passage
        of = np.concatenate([groups[side >= 0] for side in sides])
        holders = np.full(numbers.max() + 1, -1, np.int32)  # the first group that has a text as a passage or query
        holders[texts[::-1]] = of[::-1]  # of equal ones, the first is written last
        sets = answer_sets(self._groups, holders[texts], of)
        groups, columns, hard = np.concatenate(negatives).T
        holder = holders[numbers[hard]]
        answered = np.where(holder >= 0, sets[holder], -1)
        wrong = answered != sets[groups]  # a text of the group's own answer set answers its queries
        return Corpus(
            languages=tuple(languages),
            queries=tables[0],
            passages=tables[1],
            answer_sets=sets,
            negative_cells=(groups.astype(np.int64) * len(languages) + column_of[columns])[wrong],
            negative_texts=numbers[hard][wrong],
            negative_answer_sets=answered[wrong],
            negative_margins=np.concatenate(margins)[wrong],
            sources=np.concatenate(sources),
            translated_queries=translated[0],
            translated_passages=translated[1],
            translations=tuple(TranslatedTexts(*key, count) for key, count in sorted(self._translations.items())),
        )


def read_texts(parts: Sequence[TextPart]) -> Iterator[tuple[bool, str]]:
    """Read (is_query, text) of every distinct text, in the order of the numbers."""
    for table in map(TextPart.read, parts):
        yield from zip(table.column("is_query").to_pylist(), table.column("text").to_pylist(), strict=True)
