"""`hybridtune mine`: hard negatives for a training file by a model, written back in the native format."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hybridtune.commands.encoded import Encoded, encoded
from hybridtune.commands.show import Screen, plain_table
from hybridtune.config import BenchmarkSource, Encoder, Resources
from hybridtune.data.benchmark_formats import read_benchmark
from hybridtune.data.benchmark_rows import BenchmarkRows
from hybridtune.data.corpus import survey
from hybridtune.data.formats import Group, Source, find_sources, read_groups, read_rows
from hybridtune.errors import InputError
from hybridtune.evaluate.blocks import Block, finished_blocks
from hybridtune.evaluate.judged import Judged
from hybridtune.evaluate.negatives import Mined, Passages, Retrieved, choose_negatives, write_with_negatives
from hybridtune.evaluate.search import search_pool
from hybridtune.evaluate.sweep import SCORES, score_relevant


@dataclass(frozen=True)
class Wish:
    """What to mine.

    Attributes:
        negatives: most a group and language gets.
        depth: best passages looked at for each query.
        margin: a passage above this share of the own passage's score is taken to be an answer, in (0, 1].
        skip: first ranks that are left out.
    """

    negatives: int = 4
    depth: int = 50
    margin: float = 0.95
    skip: int = 0


def mine(
    encoder: Encoder, resources: Resources, data: str, file: Path, wish: Wish, work: Path | None, screen: Screen
) -> dict[str, Any]:
    """Mine a training file.

    Args:
        encoder: the current model.
        resources: how many actors encode.
        data: native files.
        file: to write, ``.jsonl`` or ``.jsonl.gz``.
        wish: how many, and which are left out.
        work: folder that keeps the vectors, so that a killed call goes on; None: kept nowhere.
        screen: told the progress.

    Returns:
        ``{"file", "groups", "mined", "counts": {passage language: Counts}}``.

    Raises:
        InputError: the data or the model cannot be read.
    """
    if not file.name.endswith((".jsonl", ".jsonl.gz")):
        raise InputError(f"{file}: the file to write must end in .jsonl or .jsonl.gz")
    if not file.absolute().parent.is_dir():
        raise InputError(f"{file}: there is no folder {file.absolute().parent}")
    choose_negatives(Passages([], *[np.zeros(0, np.int64)] * 3), {}, wish.negatives, wish.margin, wish.skip)
    rows = read_benchmark(BenchmarkSource(path=data))
    sources = find_sources([data])
    if any(Path(source.path).absolute() == file.absolute() for source in sources):
        raise InputError(f"--to {file}: is one of the files of --data; give the new file another name")
    groups = [group for source in sources for group in read_groups(source)]
    with encoded(rows, encoder, resources, work, screen) as pool:
        judged = score_relevant(pool.folder, rows, pool.survey)
        passages = _passages(rows, groups)
        with screen.progress("searching", "queries") as progress:
            retrieved = dict(_retrieved(pool, judged, passages, groups, wish, progress))
    mined = choose_negatives(passages, retrieved, wish.negatives, wish.margin, wish.skip)
    _write(mined, rows, groups, sources, file)
    screen.line(f"written: {file}")
    if not any(mined.negatives):
        screen.line("no hard negative was found: raise --depth, or --margin where most were too close")
    return {
        "file": str(file),
        "groups": len(groups),
        "mined": sum(map(bool, mined.negatives)),
        "counts": {language: dataclasses.asdict(counts) for language, counts in mined.counts.items()},
    }


def mined_table(result: dict[str, Any], screen: Screen) -> None:
    """What became of the candidates, for people."""
    rows = [{"passages in": language, **counts} for language, counts in result["counts"].items()]
    screen.console.print(plain_table(rows, "candidates, and why they were left out"))
    screen.console.print(
        f"hard negatives for {result['mined']:,} of {result['groups']:,} groups: {result['file']}",
        soft_wrap=True,
    )


def _passages(rows: BenchmarkRows, groups: list[Group]) -> Passages:
    """The distinct passages, each under the first group that has it."""
    texts = [text for part in rows.corpus for text in part.read()]
    place = {group.group_id: row for row, group in enumerate(groups)}
    numbers: dict[str, int] = {}
    return Passages(
        ids=[text.text_id for text in texts],
        group=np.array([place[_group_of(text.text_id)] for text in texts], np.int64),
        text=np.array([numbers.setdefault(text.text, len(numbers)) for text in texts], np.int64),
        cluster=survey(groups, {}).clusters.astype(np.int64),
    )


def _group_of(text_id: str) -> str:
    return text_id.rsplit(":", 1)[0]


def _retrieved(
    pool: Encoded, judged: Judged, passages: Passages, groups: list[Group], wish: Wish, progress: Any
) -> Iterator[tuple[str, Retrieved]]:
    """By passage language: the lists of all queries whose group has a passage in it, and their own scores."""
    scores = np.load(pool.folder / SCORES)  # [R]
    place = {group.group_id: row for row, group in enumerate(groups)}
    number = {passage_id: row for row, passage_id in enumerate(passages.ids)}
    group = np.array([place[_group_of(query.text_id)] for query in pool.rows.queries], np.int64)
    spoken = np.array(pool.survey.relevant_language)[judged.passage_index]
    by_language: dict[str, list[Block]] = {}
    for block in finished_blocks(pool.folder / "passages"):
        by_language.setdefault(block.language(), []).append(block)
    done, total = 0, len(judged.query_index)
    progress(0, total)
    for language, blocks in sorted(by_language.items()):
        pairs = np.flatnonzero(spoken == language)  # a query has one passage of its own in a language
        queries = judged.query_index[pairs]
        found = search_pool(pool.folder, queries.tolist(), blocks, wish.depth, None, 0).lists
        yield (
            language,
            Retrieved(group[queries], scores[pairs], found.numbers(blocks, number), found.scores),
        )
        done += len(queries)
        progress(done, total)


def _write(mined: Mined, rows: BenchmarkRows, groups: list[Group], sources: list[Source], file: Path) -> None:
    """Every row as it stands, with its own negatives first and the mined ones behind them."""
    text_of = {text.text_id: text.text for part in rows.corpus for text in part.read()}
    negatives = {}
    for group, chosen in zip(groups, mined.negatives, strict=True):
        found = {language: [text_of[name] for name in names] for language, names in chosen.items()}
        negatives[group.group_id] = {
            language: list(dict.fromkeys([*group.negatives.get(language, ()), *found.get(language, ())]))
            for language in sorted({*group.negatives, *found})
        }
    write_with_negatives((row for source in sources for _, row in read_rows(source)), negatives, file)
