"""The lines of judged collections: corpus, topics (queries) and qrels, each read line by line, and what they make.

`judged_files` says which file is which, `judged_benchmarks` and `judged` read whole collections.
"""

import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hybridtune.config.languages import language_code
from hybridtune.data.readers.files import Source, check_unicode, text_lines
from hybridtune.data.readers.records import BenchmarkRows, CorpusPart, Judgement, Text
from hybridtune.data.readers.rows import object_rows
from hybridtune.errors import InputError

_PASSAGE_ID = ("_id", "docid", "id")
_QUERY_ID = ("_id", "qid", "query_id", "query-id", "id")
_HEADER_ID = {*_QUERY_ID, "query", "topic", "topic_id"}
_HEADER_TEXT = {"query", "text", "topic", "question", "title"}
_HEADER_GRADE = {"score", "grade", "rel", "relevance", "relevancy", "judgement", "judgment", "label"}
_QRELS_COLUMNS = ("query-id", "corpus-id", "score")
_LARGEST_GRADE = 2**31
_QRELS_FORMS = "'query passage grade' or 'query 0 passage grade'"


@dataclass(frozen=True)
class PassageFile:
    """A file of passages in JSON lines or Parquet, streamed at every read; ids get the prefix."""

    name: str
    file: Source
    language: str | None  # of the rows that do not name theirs; None: all must
    prefix: str = ""
    strict: bool = False

    def read(self) -> Iterator[Text]:
        """Read the passages: ``title text`` where there is a title, as the baselines of MIRACL and BEIR feed them.

        A passage without any text is an error if strict, else it is in the pool as an empty text.
        """
        empty: list[str] = []
        for where, row in object_rows(self.file):
            passage_id = _row_id(row, _PASSAGE_ID, where)
            language = _row_language(row, self.language, where)
            if "text" not in row:  # it may stand under another name: no empty passage
                raise InputError(f"{where}: passage {passage_id!r} has no text (got None)")
            title, text = row.get("title") or "", row["text"] or ""
            for kind, value in (("title", title), ("text", text)):
                if not isinstance(value, str):
                    raise InputError(f"{where}: {kind} must be a text (got {value!r})")
            joined = f"{title} {text}".strip()
            if not joined:
                empty.append(f"{where}: passage {passage_id!r}")
            check_unicode(joined, f"{where}: passage {passage_id!r}")
            yield Text(self.prefix + passage_id, language, joined)
        if empty and self.strict:
            raise InputError(f"{empty[0]}{_more(empty)} has no text; without benchmark.strict they are counted")


def read_topics(files: Sequence[Source], language: str | None, prefix: str = "") -> dict[str, Text]:
    """Read the queries of the parts of a file (JSON lines, Parquet or ``id TAB query``) by their id in the file."""
    topics: dict[str, Text] = {}
    for file in files:
        for where, query_id, own_language, text in _topic_rows(file, language):
            if not text.strip():
                raise InputError(f"{where}: query {query_id!r} has no text")
            if query_id in topics:
                raise InputError(f"{where}: query id {query_id!r} occurs twice; ids must be unique")
            topics[query_id] = Text(prefix + query_id, own_language, text.strip())
    return topics


def _has_rows(file: Source) -> bool:
    return file.path.removesuffix(".gz").endswith((".jsonl", ".parquet", ".arrow"))


def read_qrels(file: Source) -> Iterator[tuple[str, str, str, int]]:
    """Read ``file:line``, query id, passage id and grade of the judgements of a file, streamed.

    They are in TREC's four columns, or in BEIR's three, with a header or without; JSON lines and Parquet have BEIR's
    columns by name.
    """
    if _has_rows(file):
        for where, row in object_rows(file):
            absent = sorted({*_QRELS_COLUMNS} - row.keys())
            if absent:
                raise InputError(
                    f"{where}: a judgement has the columns {', '.join(_QRELS_COLUMNS)}; no {absent[0]} there"
                )
            query_id, passage_id = (_row_id(row, (column,), where) for column in _QRELS_COLUMNS[:2])
            yield where, query_id, passage_id, _grade(str(row[_QRELS_COLUMNS[2]]), where)
        return
    columns, before = 0, "rows"
    for where, line in text_lines(file):
        cells = [cell.strip() for cell in line.split("\t")] if "\t" in line else line.split()
        if not columns:
            columns = len(cells)
            if _is_header(cells, where):
                before = "header"
                continue
        if columns not in (3, 4) or len(cells) != columns or not all(cells):
            wanted = f"{columns} columns like the {before} before" if columns in (3, 4) else "3 or 4 columns"
            raise InputError(f"{where}: a judgement has {wanted}, {_QRELS_FORMS}")
        yield where, cells[0], cells[-2], _grade(cells[-1], where)


def _is_header(cells: list[str], where: str) -> bool:
    """Return whether the first line of a file names the columns of a judgement; refuse one that names others."""
    words = [_unquoted(cell) for cell in cells]
    if len(words) in (3, 4) and words[-1] in _HEADER_GRADE:
        return True
    if (words[0] in _HEADER_ID or _HEADER_GRADE.intersection(words)) and not re.match(r"[-+.]?\d", words[-1]):
        raise InputError(f"{where}: a header of other columns ({', '.join(words)}) than {_QRELS_FORMS}")
    return False


@dataclass
class Judged:
    """Queries that have a judgement, in the order of the topics, the judgements, by query, and the corpus."""

    queries: list[Text] = field(default_factory=list)
    corpus: list[CorpusPart] = field(default_factory=list)
    judged: list[Judgement] = field(default_factory=list)
    silent: int = 0  # topics without a judgement
    unknown: list[str] = field(default_factory=list)  # judged queries that are no topic

    def judge(
        self, topics: Mapping[str, Text], where: str, qrels: Sequence[Source], strict: bool, prefix: str = ""
    ) -> None:
        """Take the judgements of topics, which are given by their id in the file, read from ``where``.

        The ids of passages get the prefix, which those of the topics have already.

        Raises:
            InputError: a broken line, no judged topic, a judged query that is no topic (if strict), or two grades.
        """
        grades: dict[str, dict[str, int]] = {}
        unknown: dict[str, str] = {}
        for place, query_id, passage_id, grade in (line for file in qrels for line in read_qrels(file)):
            if query_id not in topics:
                unknown.setdefault(query_id, place)
                continue
            before = grades.setdefault(query_id, {}).setdefault(passage_id, grade)
            if before != grade:
                raise InputError(
                    f"{place}: passage {passage_id!r} has grade {grade} for query {query_id!r}, "
                    f"in a row before {before}"
                )
        if unknown and (strict or not grades):
            query_id, place = next(iter(unknown.items()))
            raise InputError(
                f"{place}: query {query_id!r}{_more(unknown)} is not among the {len(topics)} queries of "
                f"{where}" + "; without benchmark.strict they are left out" * bool(grades)
            )
        if not grades:
            raise InputError(f"{qrels[0].name}: no judgement in the file")
        with_grades = [query_id for query_id in topics if query_id in grades]
        self.judged += [
            Judgement(position, prefix + passage_id, grade)
            for position, query_id in enumerate(with_grades, len(self.queries))
            for passage_id, grade in sorted(grades[query_id].items())
        ]
        self.queries += [topics[query_id] for query_id in with_grades]
        self.silent += len(topics) - len(with_grades)
        self.unknown += [prefix + query_id for query_id in unknown]

    def add_corpus(
        self, corpus: Mapping[str, Sequence[Source]], language: str | None, strict: bool, prefix: str = ""
    ) -> None:
        """Add the files of a corpus by name; ``language`` is that of rows that do not name theirs."""
        self.corpus += [
            PassageFile(name, file, language, prefix, strict) for name, files in corpus.items() for file in files
        ]

    def rows(self, name: str, strict: bool, ignore_identical_ids: bool | None) -> BenchmarkRows:
        """Return the benchmark, with notices on what is left out."""
        notices = []
        if self.silent:
            notices.append(f"{self.silent} of the topics have no judgement in this split and are left out")
        if self.unknown:
            first = f"(first: {self.unknown[0]!r})"
            notices.append(f"{len(self.unknown)} judged queries are not among the topics and are left out {first}")
        return BenchmarkRows(name, self.queries, self.corpus, self.judged, notices, ignore_identical_ids, strict)


def _more(found: Collection[str]) -> str:
    return f" (and {len(found) - 1:,} more)" if len(found) > 1 else ""


def _topic_rows(file: Source, language: str | None) -> Iterator[tuple[str, str, str, str]]:
    """Yield ``file:line``, id, language and text of each query."""
    if _has_rows(file):
        for where, row in object_rows(file):
            query_id = _row_id(row, _QUERY_ID, where)
            text = row.get("query") if row.get("text") is None else row["text"]
            if not isinstance(text, str):
                raise InputError(f"{where}: query {query_id!r} has no text (got {text!r})")
            check_unicode(text, f"{where}: query {query_id!r}")
            yield where, query_id, _row_language(row, language, where), text
        return
    for where, line in text_lines(file):
        query_id, tab, text = line.partition("\t")
        if where.endswith(":1") and _unquoted(query_id) in _HEADER_ID and _unquoted(text) in _HEADER_TEXT:
            continue
        if not tab or not query_id.strip():
            raise InputError(f"{where}: a query is 'id TAB text' (got {line[:80]!r})")
        yield where, query_id.strip(), language or _row_language({}, None, where), text


def _row_id(row: Mapping[str, Any], keys: tuple[str, ...], where: str) -> str:
    key = next((key for key in keys if row.get(key) is not None), None)
    if key is None:
        raise InputError(f"{where}: no id in this row; it is called {', '.join(keys[:-1])} or {keys[-1]}")
    value = row[key]
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{where}: {key} must be a text that is not empty (got {value!r})")
    check_unicode(value, f"{where}: {key}")
    return value.strip()


def _row_language(row: Mapping[str, Any], language: str | None, where: str) -> str:
    code = language if row.get("language") is None else row["language"]
    if code is None:
        raise InputError(
            f"{where}: no language in this row; say that of all texts (language: en; of a benchmark --set "
            "benchmark.language=en), or each row's as its 'language'"
        )
    if not isinstance(code, str):
        raise InputError(f"{where}: language must be a code like 'sw' (got {code!r})")
    return language_code(code, where)


def _grade(cell: str, where: str) -> int:
    try:
        grade = float(cell)
    except ValueError:
        grade = math.nan
    if math.isfinite(grade) and abs(grade) > _LARGEST_GRADE:
        raise InputError(f"{where}: a grade lies between {-_LARGEST_GRADE} and {_LARGEST_GRADE} (got {cell!r})")
    if not grade.is_integer():
        raise InputError(f"{where}: a grade is a whole number (got {cell!r})")
    return int(grade)


def _unquoted(cell: str) -> str:
    return cell.strip().strip("\"'").lower()
