"""One pass over a corpus before anything is encoded: what is in it, and all that can be wrong with it.

A corpus may be larger than memory and may lie on many files: each part is read by a task, and what comes back is its
sizes and which relevant passages it holds. The hashes of its ids go to disk, where doubles are found.
"""

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import ray

from hybridtune.callbacks import Progress
from hybridtune.data.readers.languages import SAMPLE, mixed_up
from hybridtune.data.readers.records import BenchmarkRows, CorpusPart, Text, TextList, benchmark_digest
from hybridtune.errors import InputError
from hybridtune.evaluate.blocks import write_array
from hybridtune.evaluate.relevance import (
    Relevance,
    build_relevance,
    check_corpus,
    digest_without,
    holds_query,
    query_texts,
)

BUCKET = 4_000_000  # id hashes sorted at once: 32 MB


@dataclass(frozen=True)
class CorpusScan:
    """The content of a benchmark: passages by language, and the ids of the relevant ones in descending order.

    ``digest`` is equal for equal benchmarks. ``relevant`` has also the ids in ``own``, the queries whose passage of the
    same id is left out of their ranking; a ``relevant_language`` is empty where a passage is not in the corpus.
    ``notices`` are for the user, one line each. ``spaced`` is a passage id with white space, which TREC files cannot
    hold.
    """

    digest: str
    passages: Mapping[str, int]
    relevant: list[str]
    relevant_language: list[str]
    own: frozenset[str] = frozenset()
    notices: tuple[str, ...] = ()
    spaced: str | None = None

    def languages(self, rows: BenchmarkRows) -> tuple[str, ...]:
        """Return the codes of queries and passages, sorted."""
        return tuple(sorted({*self.passages, *(query.language for query in rows.queries)}))

    def relevance(self, rows: BenchmarkRows) -> Relevance:
        """Return the relevance of the benchmark; a passage's number is its index in ``relevant``."""
        number = {passage_id: index for index, passage_id in enumerate(self.relevant)}
        spoken = {name: code for name, code in zip(self.relevant, self.relevant_language, strict=True) if code}
        order = 2 * np.arange(len(self.relevant)) + 1  # see `tie_order_among`
        return build_relevance(rows, self.digest, self.languages(rows), number, spoken, order, self.own)


@dataclass
class PartScan:
    """The content of one part of a corpus; ``problem`` instead of an error, which would lose its kind on the way.

    ``language`` is that of the wanted ids; ``alike`` are ids whose passage holds the text of the query of the same id.
    """

    digest: str = ""
    passages: Counter[str] = field(default_factory=Counter)
    language: dict[str, str] = field(default_factory=dict)
    alike: list[str] = field(default_factory=list)
    empty: int = 0
    first_empty: str | None = None
    spaced: str | None = None
    problem: str | None = None


def scan_part(
    part: CorpusPart, number: int, wanted: frozenset[str], texts_by_id: Mapping[str, str], folder: Path
) -> PartScan:
    """Read the ``number``-th part of the corpus once; the sorted hashes of its ids go to the folder.

    ``wanted`` are the ids of the relevant passages; passages of the ids of ``relevance.query_texts`` are wanted too.
    """
    digest, found = hashlib.sha256(), PartScan()
    sample: list[Text] = []
    hashes = array("Q")
    try:
        for text in part.read():
            digest.update(text.to_bytes())
            found.passages[text.language] += 1
            hashes.append(_hash(text.text_id))
            if found.spaced is None and len(text.text_id.split()) != 1:
                found.spaced = text.text_id
            if found.passages[text.language] <= SAMPLE:
                sample.append(text)
            if not text.text:
                found.empty += 1
                found.first_empty = found.first_empty or text.text_id
            if text.text_id in texts_by_id and holds_query(text.text, texts_by_id[text.text_id]):
                found.alike.append(text.text_id)
            if text.text_id in wanted or text.text_id in texts_by_id:
                found.language[text.text_id] = text.language
    except InputError as error:
        return PartScan(problem=str(error))
    if (exchanged := mixed_up(sample)) is not None:
        return PartScan(problem=f"{part.name}: {exchanged}")
    write_array(_hash_file(folder, number), np.sort(np.frombuffer(hashes, np.uint64)))
    found.digest = digest.hexdigest()
    return found


def scan_corpus(rows: BenchmarkRows, folder: Path, progress: Progress = lambda done, total: None) -> CorpusScan:
    """Scan all parts of a benchmark's corpus, in Ray tasks where Ray runs and files are to be read.

    The folder takes hashes of ids, and must be one that every machine sees; ``progress`` gets (parts done, parts in
    all).

    Raises:
        InputError: an unreadable line, an id that occurs twice, texts in another script than their language's, no
            relevant passage that could be found; where the benchmark is strict, a passage without a text or a missing
            relevant id.
    """
    wanted = frozenset(judged.passage_id for judged in rows.judged if judged.grade > 0)
    if not wanted:
        raise InputError(f"{rows.name}: no query has a relevant passage")
    parts: list[PartScan] = [PartScan()] * len(rows.corpus)
    progress(0, len(parts))
    for done, (number, part) in enumerate(_scans(rows.corpus, wanted, query_texts(rows), folder), 1):
        if part.problem is not None:
            raise InputError(part.problem)
        parts[number] = part
        progress(done, len(parts))
    _check_doubles(rows.corpus, folder)
    language = {key: code for part in parts for key, code in part.language.items()}
    sizes: Counter[str] = sum((part.passages for part in parts), Counter())
    own, notices = check_corpus(
        rows,
        language,
        languages=len({*sizes, *(query.language for query in rows.queries)}),
        alike=[name for part in parts for name in part.alike],
        empty=sum(part.empty for part in parts),
        first_empty=next((part.first_empty for part in parts if part.first_empty is not None), None),
    )
    relevant = sorted(wanted | own, reverse=True)
    return CorpusScan(
        digest=digest_without(benchmark_digest(rows, [part.digest for part in parts]), own),
        passages=dict(sorted(sizes.items())),
        relevant=relevant,
        relevant_language=[language.get(key, "") for key in relevant],
        own=own,
        notices=notices,
        spaced=next((part.spaced for part in parts if part.spaced is not None), None),
    )


def _scans(
    corpus: Sequence[CorpusPart], wanted: frozenset[str], texts_by_id: Mapping[str, str], folder: Path
) -> Iterator[tuple[int, PartScan]]:
    """Yield the scan of every part, in the order they end; what is in memory already is not sent away to be read."""
    if not ray.is_initialized() or all(isinstance(part, TextList) for part in corpus):
        for number, part in enumerate(corpus):
            yield number, scan_part(part, number, wanted, texts_by_id, folder)
        return
    shared = ray.put(wanted), ray.put(texts_by_id)
    task = ray.remote(scan_part).options(num_cpus=0.25)
    waiting = {task.remote(part, number, *shared, folder): number for number, part in enumerate(corpus)}
    while waiting:
        ready, _ = ray.wait(list(waiting))
        yield waiting.pop(ready[0]), ray.get(ready[0])


def _check_doubles(corpus: Sequence[CorpusPart], folder: Path) -> None:
    """Find ids that occur twice, a range of hashes at a time."""
    files = [np.load(_hash_file(folder, number), mmap_mode="r") for number in range(len(corpus))]
    buckets = max(1, -(-sum(map(len, files)) // BUCKET))
    for low, high in pairwise(2**64 * bucket // buckets for bucket in range(buckets + 1)):
        first, last = np.uint64(low), np.uint64(high - 1)
        ranges = [file[np.searchsorted(file, first) : np.searchsorted(file, last, "right")] for file in files]
        hashes = np.sort(np.concatenate(ranges))
        doubled = hashes[1:][hashes[1:] == hashes[:-1]]
        if len(doubled):
            _name_double(corpus, set(doubled.tolist()))


def _name_double(corpus: Sequence[CorpusPart], doubled: set[int]) -> None:
    """Read again to name an id whose hash occurs twice; two ids of one hash are no error."""
    seen: dict[str, str] = {}
    for part in corpus:
        for text in part.read():
            if _hash(text.text_id) not in doubled:
                continue
            if text.text_id in seen:
                raise InputError(
                    f"passage id {text.text_id!r} occurs twice: in {seen[text.text_id]} and in {part.name}; "
                    "ids must be unique, or it is open which passage the qrels mean"
                )
            seen[text.text_id] = part.name


def _hash(text_id: str) -> int:
    return int.from_bytes(hashlib.blake2b(text_id.encode(), digest_size=8).digest(), "little")


def _hash_file(folder: Path, number: int) -> Path:
    return folder / "ids" / f"{number:05d}.npy"
