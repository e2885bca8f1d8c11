"""The records that readers of benchmarks return: queries and judgements in memory, the corpus in parts that stream."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from hybridtune.errors import InputError


class Text(NamedTuple):
    """A query or a passage of a benchmark."""

    text_id: str
    language: str
    text: str

    def to_bytes(self) -> bytes:
        """Return the bytes that stand for the text in digests of queries and of parts of a corpus."""
        return f"{self.text_id}\0{self.language}\0{self.text}\n".encode()


class Judgement(NamedTuple):
    """A grade of a passage for a query, by its position; > 0 is relevant, the larger the more."""

    query: int
    passage_id: str
    grade: int


class CorpusPart(Protocol):
    """Some of the passages of a benchmark. It travels to other processes by pickle."""

    @property
    def name(self) -> str:
        """Unique in the benchmark, and fit for the name of a file."""

    def read(self) -> Iterator[Text]:
        """Read the passages, streamed; again from the first at every call."""


@dataclass(frozen=True)
class TextList:
    """A part of the corpus in memory."""

    name: str
    texts: Sequence[Text]

    def read(self) -> Iterator[Text]:
        """Read the passages in their order."""
        return iter(self.texts)


@dataclass(frozen=True)
class OfLanguages:
    """The passages of a part that are in some languages."""

    part: CorpusPart
    languages: frozenset[str]

    @property
    def name(self) -> str:
        """The name of the whole part."""
        return self.part.name

    def read(self) -> Iterator[Text]:
        """Read the passages in those languages, streamed."""
        return (text for text in self.part.read() if text.language in self.languages)


@dataclass(frozen=True)
class BenchmarkRows:
    """A benchmark as it was read; the reader of the corpus checks that it holds the judged passages.

    Attributes:
        name: what it was read from, and which part.
        queries: the texts with id and language, each id once.
        corpus: the passages, in parts.
        judged: sorted by query, then passage id; each pair once.
        notices: what the user should know, one line each.
        ignore_identical_ids: whether the passage with a query's own id is left out of its ranking; None: where the
            corpus shows that it is the query itself.
        strict: whether a relevant id that is not in the corpus is an error.
        documents: the id of each query's document, such as its article; empty for a query without one. None: the
            benchmark names none.
        passage_documents: the document of passages by their ids, as far as they are known.
        split: that was read, where there are several.
        subsets: of a data set in mteb's layout the subsets whose pools are those here: languages of passages and of
            queries by name, None for all; None: it is in no such layout.

    Example:
        >>> queries, passages = [Text("q1", "en", "Who?")], [Text("p1", "sw", "Yeye.")]
        >>> rows = BenchmarkRows("mine", queries, in_parts(passages), [Judgement(0, "p1", grade=1)], notices=[])
        >>> [part.name for part in rows.corpus]
        ['sw']
    """

    name: str
    queries: list[Text]
    corpus: list[CorpusPart]
    judged: list[Judgement]
    notices: list[str]
    ignore_identical_ids: bool | None = False
    strict: bool = False
    documents: list[str] | None = None
    passage_documents: Mapping[str, str] = field(default_factory=dict)
    split: str | None = None
    subsets: Mapping[str, tuple[str | None, str | None]] | None = None


def in_parts(passages: Sequence[Text]) -> list[CorpusPart]:
    """Make one part per language of passages in memory, in the order in which the languages first come."""
    by_language: dict[str, list[Text]] = {}
    for text in passages:
        by_language.setdefault(text.language, []).append(text)
    return [TextList(language, texts) for language, texts in by_language.items()]


def benchmark_digest(rows: BenchmarkRows, parts: Sequence[str]) -> str:
    """Return a digest that is equal for equal queries, judgements and digests of the corpus' parts."""
    queries = hashlib.sha256(b"".join(query.to_bytes() for query in rows.queries)).hexdigest()
    judged = [tuple(judgement) for judgement in rows.judged]
    return hashlib.sha256(repr((queries, judged, list(parts))).encode()).hexdigest()


def choose_split(wanted: str | None, splits: list[str], where: str) -> str:
    """Return the split that is wanted, else test, else dev, else the only one."""
    listed = f"there are: {', '.join(sorted(splits)) or 'none'}"
    if wanted is not None:
        if wanted not in splits:
            raise InputError(f"{where}: no split {wanted!r}; {listed}")
        return wanted
    for usual in ("test", "dev"):
        if usual in splits:
            return usual
    if len(splits) != 1:
        raise InputError(f"{where}: which split? {listed}; choose one with --set benchmark.split=...")
    return splits[0]
