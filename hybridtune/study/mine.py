"""`hybridtune mine`: hard negatives for a training file by a model, written back in the native format."""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hybridtune.callbacks import StudyCallback, phase
from hybridtune.config.fields import BenchmarkSource, DataSet, Encoder, Resources
from hybridtune.data.corpus import Corpus
from hybridtune.data.readers.benchmarks import read_benchmark
from hybridtune.data.readers.files import Source
from hybridtune.data.readers.native import Group
from hybridtune.data.readers.notes import Notes
from hybridtune.data.readers.records import BenchmarkRows
from hybridtune.data.readers.sources import find_sources, group_rows, read_groups
from hybridtune.data.text_key import text_key
from hybridtune.errors import InputError
from hybridtune.evaluate.ann import search_pool
from hybridtune.evaluate.blocks import Block, finished_blocks
from hybridtune.evaluate.relevance import Relevance
from hybridtune.evaluate.sweep import SCORES, score_relevant
from hybridtune.metrics.negatives import Mined, Passages, Retrieved, choose_negatives
from hybridtune.storage.files import new_file
from hybridtune.study.encoded import Encoded, encoded


@dataclass(frozen=True)
class MiningOptions:
    """The numbers that choose negatives."""

    negatives: int = 4  # at most, for each group and language
    depth: int = 50  # best passages looked at for each query
    margin: float = 0.95  # in (0, 1]: above this share of its own passage's score, a passage is taken to be an answer
    skip: int = 0  # first ranks that are left out


def mine(
    encoder: Encoder,
    resources: Resources,
    data: DataSet,
    file: Path,
    options: MiningOptions,
    work: Path | None,
    callback: StudyCallback,
) -> dict[str, Any]:
    """Mine hard negatives for a training file.

    ``data`` of any format are read, and written to ``file`` as groups. The vectors stay in ``work``, so that a killed
    call goes on.

    Returns:
        ``{"file", "groups", "mined", "counts": {passage language: Counts}}``.

    Raises:
        InputError: the data or the model cannot be read.
    """
    if not file.name.endswith((".jsonl", ".jsonl.gz")):
        raise InputError(f"{file}: the file to write must end in .jsonl or .jsonl.gz")
    if not file.absolute().parent.is_dir():
        raise InputError(f"{file}: there is no folder {file.absolute().parent}")
    choose_negatives(Passages([], *[np.zeros(0, np.int64)] * 3), {}, options.negatives, options.margin, options.skip)
    sources = find_sources([data])
    if any(Path(source.path).absolute() == file.absolute() for source in sources):
        raise InputError(f"--to {file}: is one of the files of --data; give the new file another name")
    notes = Notes()
    groups = [group for source in sources for group in read_groups(source, notes)]
    for line in notes.lines():
        callback.on_message(line)
    rows = read_benchmark(BenchmarkSource(path=data.path), groups)
    with encoded(rows, encoder, resources, work, callback) as pool:
        relevance = score_relevant(pool.folder, rows, pool.scan)
        passages = _passages(rows, groups)
        with phase(callback, "searching", "queries") as progress:
            retrieved = dict(_retrieved(pool, relevance, passages, groups, options, progress))
    mined = choose_negatives(passages, retrieved, options.negatives, options.margin, options.skip)
    _write(mined, rows, groups, sources, file)
    callback.on_message(f"written: {file}")
    if not any(mined.negatives):
        callback.on_message("no hard negative was found: raise --depth, or --margin where most were too close")
    return {
        "file": str(file),
        "groups": len(groups),
        "mined": sum(map(bool, mined.negatives)),
        "counts": {language: dataclasses.asdict(counts) for language, counts in mined.counts.items()},
    }


def _passages(rows: BenchmarkRows, groups: list[Group]) -> Passages:
    """Return the distinct passages, each under the first group that has it."""
    texts = [text for part in rows.corpus for text in part.read()]
    row_of = {group.group_id: row for row, group in enumerate(groups)}
    numbers: dict[str, int] = {}
    return Passages(
        ids=[text.text_id for text in texts],
        group=np.array([row_of[text.text_id.rpartition(":")[0]] for text in texts], np.int64),
        text=np.array([numbers.setdefault(text_key(text.text), len(numbers)) for text in texts], np.int64),
        answer_set=Corpus.from_groups(groups).answer_sets.astype(np.int64),
    )


def _retrieved(
    pool: Encoded, relevance: Relevance, passages: Passages, groups: list[Group], options: MiningOptions, progress: Any
) -> Iterator[tuple[str, Retrieved]]:
    """Yield by passage language the list of every query of every group that has a passage in it, and its own score.

    A query that several groups have is searched once: each of them gets its list and the score of its own passage.
    """
    scores = np.load(pool.folder / SCORES)  # [R]
    number = {passage_id: row for row, passage_id in enumerate(passages.ids)}
    width = len(pool.scan.relevant)
    scored = relevance.query_index * width + relevance.passage_index  # [R], ascending
    by_language: dict[str, list[Block]] = {}
    for block in finished_blocks(pool.folder / "passages"):
        by_language.setdefault(block.language(), []).append(block)
    own = _own_pairs(pool, groups)
    done, total = 0, sum(map(len, own.values()))
    progress(0, total)
    for language, pairs in sorted(own.items()):
        group, query, relevant = np.array(pairs, np.int64).T
        positive = scores[np.searchsorted(scored, query * width + relevant)]
        searched, row = np.unique(query, return_inverse=True)
        found = search_pool(pool.folder, searched.tolist(), by_language[language], options.depth, None, 0).top.part(row)
        yield language, Retrieved(group, positive, found.numbers(by_language[language], number), found.scores)
        done += len(pairs)
        progress(done, total)


def _own_pairs(pool: Encoded, groups: list[Group]) -> dict[str, list[tuple[int, int, int]]]:
    """Pair every query of a group with each of its passages: (group, query, index in ``CorpusScan.relevant``).

    The keys are the languages of the passages.
    """
    index = {passage_id: n for n, passage_id in enumerate(pool.scan.relevant)}
    query_of = {(text.language, text_key(text.text)): n for n, text in enumerate(pool.rows.queries)}
    texts = (text for part in pool.rows.corpus for text in part.read())
    passage_of = {(text.language, text_key(text.text)): index.get(text.text_id, -1) for text in texts}
    found: dict[str, list[tuple[int, int, int]]] = {}
    for row, group in enumerate(groups):
        queries = [query_of[language, text_key(text)] for language, text in group.queries.items()]
        for language, text in group.passages.items() if queries else ():
            passage = passage_of[language, text_key(text)]
            found.setdefault(language, []).extend((row, query, passage) for query in queries)
    return found


def _write(mined: Mined, rows: BenchmarkRows, groups: list[Group], sources: list[Source], file: Path) -> None:
    """Write every row unchanged, but with the mined negatives after its own."""
    text_of = {text.text_id: text.text for part in rows.corpus for text in part.read()}
    more = {
        group.group_id: with_mined(
            group, {language: [text_of[name] for name in names] for language, names in chosen.items()}
        )
        for group, chosen in zip(groups, mined.negatives, strict=True)
    }
    write_with_negatives((row for source in sources for _, row in group_rows(source)), more, file)


def with_mined(group: Group, mined: Mapping[str, Sequence[str]]) -> dict[str, dict[str, list[Any]]]:
    """Return the fields of a group's negatives, each once, with mined ones after its own; these have no margin."""
    negatives: dict[str, list[Any]] = {}
    margins: dict[str, list[Any]] = {}
    for language in sorted({*group.negatives, *mined}):
        own: dict[str, float | None] = {}
        for text, margin in group.scored_negatives(language):
            own[text] = margin if own.get(text) is None else own[text]
        found = own | {text: None for text in mined.get(language, ()) if text not in own}
        negatives[language] = [*found]
        if group.margins.get(language):
            margins[language] = [*found.values()]
    return {"negatives": negatives, **({"margins": margins} if margins else {})}


def write_with_negatives(
    rows: Iterable[Mapping[str, Any]], more: Mapping[str, Mapping[str, Mapping[str, Sequence[Any]]]], path: Path
) -> None:
    """Write rows of a native file, ``.gz`` if so named, with these fields of `with_mined` by group_id, none for others.

    Other keys and the order stay; the file is there whole or not at all.
    """
    with new_file(path) as sink:
        for row in rows:
            kept = {key: value for key, value in row.items() if key != "margins"}
            line = json.dumps({**kept, **more.get(row["group_id"], {"negatives": {}})}, ensure_ascii=False)
            sink.write(f"{line}\n".encode())
