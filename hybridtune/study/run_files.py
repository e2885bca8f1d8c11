"""Run files: ours written as lists of the best passages, and somebody else's scored like a model."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from hybridtune.callbacks import StudyCallback, phase
from hybridtune.data.readers.records import BenchmarkRows
from hybridtune.errors import InputError
from hybridtune.evaluate.ann import IndexKind, search_pool
from hybridtune.evaluate.blocks import Block, finished_blocks
from hybridtune.evaluate.corpus_scan import CorpusScan
from hybridtune.evaluate.trec import rank_run, read_run, write_qrels, write_run
from hybridtune.metrics.metrics import Ranked
from hybridtune.study.encoded import Encoded, scan_locally

QUERIES_AT_ONCE = 8192  # whose lists are held before they are written

Setting = Literal["mono", "cross", "multi"]


@dataclass(frozen=True)
class RunFile:
    """A run file that is wanted.

    Attributes:
        path: of the run; its qrels go beside it, as ``<path>.qrels``.
        setting: which pools the lists are of; in cross the query ids are ``<id>@<language of the pool>``. None: all
            passages (multi, or mono where there is one language).
        depth: passages a query.
        index: faiss index of pools larger than ``above``; None: exact lists always.
        above: passages.
        seed: of the index.
    """

    path: Path
    setting: Setting | None = None
    depth: int = 1000
    index: IndexKind | None = None
    above: int = 1_000_000
    seed: int = 0


class Pool(NamedTuple):
    """The queries that are ranked against some blocks, and what is put behind their ids."""

    queries: list[int]
    blocks: list[Block]
    suffix: str = ""


def write_run_file(pool: Encoded, wanted: RunFile, callback: StudyCallback) -> dict[str, Any]:
    """Write the best passages of every query as a TREC run, and the qrels to judge it by.

    Returns:
        ``{"path", "qrels", "setting", "depth", "recall"}``; recall of the approximate lists against exact ones on a
        sample of the queries, None for exact lists.
    """
    blocks = finished_blocks(pool.folder / "passages")
    languages = {block: block.language() for block in blocks}
    setting = wanted.setting or ("multi" if len(pool.scan.passages) > 1 else "mono")
    pools = [
        Pool(queries[first : first + QUERIES_AT_ONCE], searched, suffix)
        for queries, searched, suffix in _pools(setting, pool.rows, languages)
        for first in range(0, len(queries), QUERIES_AT_ONCE)
    ]
    names = (pool.rows.queries[query].text_id + one.suffix for one in pools for query in one.queries)
    recalls: list[tuple[float, int]] = []

    own = pool.scan.own
    deep = wanted.depth + bool(own)  # one more where one may be left out

    def lists(progress: Callable[[int, int], None]) -> Iterator[tuple[list[str], Any]]:
        done, total = 0, sum(len(one.queries) for one in pools)
        progress(0, total)
        for one in pools:
            approximate = wanted.index if sum(map(len, one.blocks)) > wanted.above else None
            found, recall, sampled = search_pool(pool.folder, one.queries, one.blocks, deep, approximate, wanted.seed)
            if sampled:
                recalls.append((recall, sampled))
            asked = (pool.rows.queries[query].text_id for query in one.queries)
            for query_id, best, scores in zip(asked, found.ids(one.blocks), found.scores, strict=True):
                kept = [place for place, name in enumerate(best) if name != query_id or name not in own][: wanted.depth]
                yield [best[place] for place in kept], scores[kept]
            done += len(one.queries)
            progress(done, total)

    with phase(callback, f"searching ({setting})", "queries") as progress:
        write_run(wanted.path, names, lists(progress), "hybridtune")
    qrels = wanted.path.with_name(f"{wanted.path.name}.qrels")
    _write_qrels(qrels, setting, pool.rows, pool.scan)
    measured = None
    if recalls:
        sampled = sum(number for _, number in recalls)
        measured = sum(value * number for value, number in recalls) / sampled
        callback.on_message(
            f"lists by an approximate index ({wanted.index}): recall@{wanted.depth} {measured:.4f} against exact "
            f"lists, measured on {sampled:,} queries"
        )
    callback.on_message(f"written: {wanted.path} ({setting}, {wanted.depth} passages a query) and {qrels.name}")
    written = {"path": str(wanted.path), "qrels": str(qrels), "setting": setting}
    return {**written, "depth": wanted.depth, "recall": measured}


def _pools(setting: Setting, rows: BenchmarkRows, languages: dict[Block, str]) -> Iterator[Pool]:
    if setting == "multi":
        yield Pool(list(range(len(rows.queries))), list(languages))
        return
    for language in sorted(set(languages.values())):
        asked = [q for q, query in enumerate(rows.queries) if (query.language == language) == (setting == "mono")]
        blocks = [block for block, spoken in languages.items() if spoken == language]
        if asked:
            yield Pool(asked, blocks, "" if setting == "mono" else f"@{language}")


def _write_qrels(path: Path, setting: Setting, rows: BenchmarkRows, scan: CorpusScan) -> None:
    """The relevant pairs, those that no ranking can hold among them: whoever reads the run counts them as missed."""
    judged = scan.relevance(rows)
    relevant = judged.grades > 0
    pairs = zip(
        [*judged.query_index[relevant], *judged.lost.query_index],
        [*judged.passage_index[relevant], *judged.lost.passage_index],
        [*judged.grades[relevant], *judged.lost.grades],
        strict=True,
    )
    only = next(iter(scan.passages)) if len(scan.languages(rows)) == 1 else ""
    query_ids, passage_ids, grades = [], [], []
    for q, r, grade in pairs:
        query, language = rows.queries[q], scan.relevant_language[r] or only
        if not language and setting != "multi":
            continue
        if setting == "multi" or (query.language == language) == (setting == "mono"):
            query_ids.append(f"{query.text_id}@{language}" if setting == "cross" else query.text_id)
            passage_ids.append(scan.relevant[r])
            grades.append(grade)
    write_qrels(path, query_ids, passage_ids, grades)


def rank_run_file(path: Path, rows: BenchmarkRows, callback: StudyCallback) -> tuple[CorpusScan, Ranked, list[str]]:
    """Read somebody's run and rank the relevant passages in it.

    Returns:
        The scan, the ranking, and what a reader of the figures has to know, one sentence each.

    Raises:
        InputError: the run or the benchmark cannot be read, or they do not belong together.
    """
    run = read_run(path)
    scan = scan_locally(rows, callback)
    column = {language: i for i, language in enumerate(scan.languages(rows))}
    spoken: dict[str, int] = {}
    listed = {*run.passage_ids, *scan.relevant}
    for part in rows.corpus:
        spoken |= {text.text_id: column[text.language] for text in part.read() if text.text_id in listed}
    sizes = np.array([scan.passages.get(language, 0) for language in column], np.int64)
    ranked, _, notes = rank_run(run, scan.relevance(rows), scan.relevant, spoken, sizes, scan.own)
    return scan, ranked, notes


def check_run_file(wanted: RunFile, rows: BenchmarkRows, scan: CorpusScan) -> None:
    """What can be wrong with the wish for a run file, before anything is encoded.

    Raises:
        InputError: no such folder, a setting that the benchmark does not have, an id that TREC files cannot hold.
    """
    if not wanted.path.absolute().parent.is_dir():
        raise InputError(f"--run-file {wanted.path}: there is no folder {wanted.path.absolute().parent}")
    settings = scan.relevance(rows).settings
    if wanted.setting is not None and wanted.setting not in settings:
        raise InputError(f"--run-setting {wanted.setting}: {rows.name} has only {', '.join(settings)}")
    named = [*(query.text_id for query in rows.queries), *scan.relevant]  # relevant ones that are not there too
    spaced = scan.spaced or next((text_id for text_id in named if len(text_id.split()) != 1), None)
    if spaced is not None:
        raise InputError(f"--run-file: id {spaced!r} holds white space, which separates the columns of TREC files")
