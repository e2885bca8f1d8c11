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
from hybridtune.study.encoded import Encoded, scan_benchmark

QUERIES_AT_ONCE = 8192  # their lists are in memory until they are written

Setting = Literal["mono", "cross", "multi"]


@dataclass(frozen=True)
class RunFile:
    """A run file to be written, with its qrels beside it as ``<path>.qrels``.

    The setting says which pools are ranked; in cross the query ids are ``<id>@<language of the pool>``. None: all
    passages (multi, or mono where there is one language).
    """

    path: Path
    setting: Setting | None = None
    depth: int = 1000  # passages a query
    index: IndexKind | None = None  # of pools of more than ``above`` passages; None: exact lists always
    above: int = 1_000_000
    seed: int = 0


class _Pool(NamedTuple):
    """The queries that are ranked against some blocks, and the end of their ids."""

    queries: list[int]
    blocks: list[Block]
    suffix: str = ""


def write_run_file(pool: Encoded, run_file: RunFile, callback: StudyCallback) -> dict[str, Any]:
    """Write the best passages of every query as a TREC run, and the qrels to judge it by.

    Returns:
        ``{"path", "qrels", "setting", "depth", "recall"}``; recall of the approximate lists against exact ones on a
        sample of the queries, None for exact lists.
    """
    blocks = finished_blocks(pool.folder / "passages")
    languages = {block: block.language() for block in blocks}
    setting = run_file.setting or ("multi" if len(pool.scan.passages) > 1 else "mono")
    pools = [
        _Pool(queries[first : first + QUERIES_AT_ONCE], searched, suffix)
        for queries, searched, suffix in _pools(setting, pool.rows, languages)
        for first in range(0, len(queries), QUERIES_AT_ONCE)
    ]
    names = (pool.rows.queries[query].text_id + one.suffix for one in pools for query in one.queries)
    recalls: list[tuple[float, int]] = []
    own = pool.scan.own
    deep = run_file.depth + bool(own)  # one more where one may be left out

    def lists(progress: Callable[[int, int], None]) -> Iterator[tuple[list[str], Any]]:
        done, total = 0, sum(len(one.queries) for one in pools)
        progress(0, total)
        for one in pools:
            approximate = run_file.index if sum(map(len, one.blocks)) > run_file.above else None
            found, recall, sampled = search_pool(pool.folder, one.queries, one.blocks, deep, approximate, run_file.seed)
            if sampled:
                recalls.append((recall, sampled))
            query_ids = (pool.rows.queries[query].text_id for query in one.queries)
            for query_id, best, scores in zip(query_ids, found.ids(one.blocks), found.scores, strict=True):
                others = [n for n, name in enumerate(best) if name != query_id or name not in own][: run_file.depth]
                yield [best[n] for n in others], scores[others]
            done += len(one.queries)
            progress(done, total)

    with phase(callback, f"searching ({setting})", "queries") as progress:
        write_run(run_file.path, names, lists(progress), "hybridtune")
    qrels = run_file.path.with_name(f"{run_file.path.name}.qrels")
    _write_qrels(qrels, setting, pool.rows, pool.scan)
    measured = None
    if recalls:
        sampled = sum(number for _, number in recalls)
        measured = sum(value * number for value, number in recalls) / sampled
        callback.on_message(
            f"lists by an approximate index ({run_file.index}): recall@{run_file.depth} {measured:.4f} against exact "
            f"lists, measured on {sampled:,} queries"
        )
    callback.on_message(f"written: {run_file.path} ({setting}, {run_file.depth} passages a query) and {qrels.name}")
    written = {"path": str(run_file.path), "qrels": str(qrels), "setting": setting}
    return {**written, "depth": run_file.depth, "recall": measured}


def _pools(setting: Setting, rows: BenchmarkRows, languages: dict[Block, str]) -> Iterator[_Pool]:
    if setting == "multi":
        yield _Pool(list(range(len(rows.queries))), list(languages))
        return
    for language in sorted(set(languages.values())):
        queries = [q for q, query in enumerate(rows.queries) if (query.language == language) == (setting == "mono")]
        if queries:
            blocks = [block for block, one in languages.items() if one == language]
            yield _Pool(queries, blocks, "" if setting == "mono" else f"@{language}")


def _write_qrels(path: Path, setting: Setting, rows: BenchmarkRows, scan: CorpusScan) -> None:
    """Write the relevant pairs, those that no ranking can hold among them: they count as missed."""
    relevance = scan.relevance(rows)
    relevant = relevance.grades > 0
    pairs = zip(
        [*relevance.query_index[relevant], *relevance.lost.query_index],
        [*relevance.passage_index[relevant], *relevance.lost.passage_index],
        [*relevance.grades[relevant], *relevance.lost.grades],
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
    """Read a TREC run and rank the relevant passages in it; return also notes on its figures, one sentence each.

    Raises:
        InputError: the run or the benchmark cannot be read, or they do not belong together.
    """
    run = read_run(path)
    scan = scan_benchmark(rows, callback)
    column = {language: i for i, language in enumerate(scan.languages(rows))}
    language_of: dict[str, int] = {}
    listed = {*run.passage_ids, *scan.relevant}
    for part in rows.corpus:
        language_of |= {text.text_id: column[text.language] for text in part.read() if text.text_id in listed}
    sizes = np.array([scan.passages.get(language, 0) for language in column], np.int64)
    ranked, _, notes = rank_run(run, scan.relevance(rows), scan.relevant, language_of, sizes, scan.own)
    return scan, ranked, notes


def check_run_file(run_file: RunFile | None, rows: BenchmarkRows, scan: CorpusScan) -> None:
    """Refuse a missing folder, a setting that the benchmark does not have and ids that TREC files cannot hold."""
    if run_file is None:
        return
    if not run_file.path.absolute().parent.is_dir():
        raise InputError(f"--run-file {run_file.path}: there is no folder {run_file.path.absolute().parent}")
    settings = scan.relevance(rows).settings
    if run_file.setting is not None and run_file.setting not in settings:
        raise InputError(f"--run-setting {run_file.setting}: {rows.name} has only {', '.join(settings)}")
    named = [*(query.text_id for query in rows.queries), *scan.relevant]  # also ids that the corpus lacks
    spaced = scan.spaced or next((text_id for text_id in named if len(text_id.split()) != 1), None)
    if spaced is not None:
        raise InputError(f"--run-file: id {spaced!r} holds white space, which separates the columns of TREC files")
