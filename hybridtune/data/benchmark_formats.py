"""Readers of benchmarks: whatever stands on disk becomes `BenchmarkRows`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from hybridtune.data.formats import EMBEDDED, LANGUAGE, Group, find_sources, read_groups
from hybridtune.errors import InputError


class Text(NamedTuple):
    """A query or a passage of a benchmark."""

    text_id: str
    language: str
    text: str


@dataclass(frozen=True)
class BenchmarkRows:
    """Queries, passages, and (query, passage, grade) positions of the judged pairs; grade > 0 is relevant."""

    queries: list[Text]
    passages: list[Text]
    relevant: list[tuple[int, int, int]]


def read_benchmark(path: str, documents: tuple[int, int] | None = None) -> BenchmarkRows:
    """A benchmark: an XQuAD-R / MLQA-R folder of ``<language>.json``, or native files.

    Args:
        path: folder, file, glob or ``newsroom:dev``.
        documents: keep documents [first, after the last) in the order they stand in the files.

    Raises:
        InputError: unreadable, empty, or a query without a relevant passage.
    """
    if not path.startswith(EMBEDDED):
        articles = _squad_files(path)
        if articles:
            return _read_squad_retrieval(articles, documents)
    groups = [group for source in find_sources([path]) for group in read_groups(source)]
    return _benchmark_of_groups(_in_documents(groups, documents), path)


def _in_documents(groups: list[Group], documents: tuple[int, int] | None) -> list[Group]:
    if documents is None:
        return groups
    order = {name: n for n, name in enumerate(dict.fromkeys(g.document_id or g.group_id for g in groups))}
    return [g for g in groups if documents[0] <= order[g.document_id or g.group_id] < documents[1]]


def _benchmark_of_groups(groups: list[Group], path: str) -> BenchmarkRows:
    queries: list[Text] = []
    relevant: list[tuple[int, int, int]] = []
    passages: dict[tuple[str, str], int] = {}  # one passage however many groups share its text
    texts: list[Text] = []
    for group in groups:
        if group.queries and not group.passages:
            raise InputError(f"{path}: query of group {group.group_id!r} has no relevant passage")
        positions = []
        for language, text in group.passages.items():
            position = passages.setdefault((language, text), len(texts))
            if position == len(texts):
                texts.append(Text(f"{group.group_id}:{language}", language, text))
            positions.append(position)
        for language, text in group.queries.items():
            relevant.extend((len(queries), position, 1) for position in dict.fromkeys(positions))
            queries.append(Text(f"{group.group_id}:{language}", language, text))
    if not queries:
        raise InputError(f"{path}: no query in the benchmark")
    return BenchmarkRows(queries, texts, relevant)


def _squad_files(path: str) -> dict[str, Path]:
    """``{language: file}`` where the path is a folder of ``<language>.json`` files."""
    folder = Path(path)
    if not folder.is_dir():
        return {}
    return {file.stem: file for file in sorted(folder.glob("*.json")) if LANGUAGE.match(file.stem)}


def _read_squad_retrieval(files: Mapping[str, Path], documents: tuple[int, int] | None) -> BenchmarkRows:
    """XQuAD-R and MLQA-R (arXiv 2004.05484): the sentence that holds the answer's start is the relevant one."""
    queries: list[Text] = []
    passages: list[Text] = []
    answers: list[tuple[str, int]] = []  # (question id, position of the sentence)
    for language, file in files.items():
        try:
            articles = json.loads(file.read_text(encoding="utf-8"))["data"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{file}: not an XQuAD-R file (a JSON object with 'data'): {error}") from None
        for number, article in enumerate(articles):
            if documents is not None and not documents[0] <= number < documents[1]:
                continue
            try:
                for part, paragraph in enumerate(article["paragraphs"]):
                    first, name = len(passages), f"{language}:{number}:{part}"
                    sentences = list(zip(paragraph["sentences"], paragraph["sentence_breaks"], strict=True))
                    passages.extend(Text(f"{name}:{i}", language, text) for i, (text, _) in enumerate(sentences))
                    for question in paragraph["qas"]:
                        start = question["answers"][0]["answer_start"] if question["answers"] else -1
                        holds = [i for i, (_, (a, b)) in enumerate(sentences) if a <= start < b]
                        if not holds:
                            raise InputError(
                                f"{file}: query {question['id']!r} has no relevant passage: "
                                f"no sentence holds its answer at {start}"
                            )
                        queries.append(Text(f"{question['id']}:{language}", language, question["question"]))
                        answers.append((question["id"], first + holds[0]))
            except (LookupError, TypeError, ValueError) as error:
                raise InputError(f"{file}: article {number} is not of the XQuAD-R form: {error!r}") from None
    if not queries:
        raise InputError(f"{next(iter(files.values())).parent}: no query in the benchmark")
    by_question: dict[str, list[int]] = {}
    for question_id, position in answers:
        by_question.setdefault(question_id, []).append(position)
    relevant = [(q, p, 1) for q, (question_id, _) in enumerate(answers) for p in by_question[question_id]]
    return BenchmarkRows(queries, passages, relevant)
