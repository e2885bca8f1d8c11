"""Judged benchmarks: BEIR and TREC folders, and MIRACL. Corpus, topics (queries) and qrels, each read line by line.

First the lines of the three kinds of file, then the roles of a folder's files, then the two readers.
"""

import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from hybridtune.config.fields import BenchmarkSource
from hybridtune.config.languages import language_code
from hybridtune.data.readers.files import Source, check_unicode, text_lines
from hybridtune.data.readers.flat import looks_flat
from hybridtune.data.readers.records import BenchmarkRows, CorpusPart, Judgement, Text, choose_split
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
    return file.path.removesuffix(".gz").endswith((".jsonl", ".parquet"))


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

    def add(
        self,
        topics_files: Sequence[Source],
        qrels: Sequence[Source],
        corpus: Mapping[str, Sequence[Source]],
        language: str | None,
        strict: bool,
        prefix: str = "",
    ) -> None:
        """Read topics and judgements, each from the parts of a file, and add them and the corpus; ids get the prefix.

        Raises:
            InputError: a broken line, no judged topic, a judged query that is no topic (if strict), or two grades.
        """
        topics = read_topics(topics_files, language, prefix)
        grades: dict[str, dict[str, int]] = {}
        unknown: dict[str, str] = {}
        for where, query_id, passage_id, grade in (line for file in qrels for line in read_qrels(file)):
            if query_id not in topics:
                unknown.setdefault(query_id, where)
                continue
            before = grades.setdefault(query_id, {}).setdefault(passage_id, grade)
            if before != grade:
                raise InputError(
                    f"{where}: passage {passage_id!r} has grade {grade} for query {query_id!r}, "
                    f"in a row before {before}"
                )
        if unknown and (strict or not grades):
            query_id, where = next(iter(unknown.items()))
            raise InputError(
                f"{where}: query {query_id!r}{_more(unknown)} is not among the {len(topics)} queries of "
                f"{topics_files[0].name}" + "; without benchmark.strict they are left out" * bool(grades)
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


_MIRACL_TABLE = re.compile(
    r"(?:^|/)(?P<kind>topics|qrels)\.miracl-v1\.0-(?P<language>[a-z]+)-(?P<split>[^/]+)\.tsv(\.gz)?$"
)
_MIRACL_CORPUS = re.compile(r"(?:^|/)miracl-corpus-v1\.0-(?P<language>[a-z]+)/(?P<name>docs-[^/]+)\.jsonl(\.gz)?$")
_CORPUS = re.compile(r"^(?:(?P<name>corpus[^/]*)\.jsonl(\.gz)?|corpus/(?P<shard>[^/]+)\.parquet)$")
_TOPICS = re.compile(
    r"^(?:(?P<name>(queries|topics)[^/]*)\.(jsonl|tsv|txt)(\.gz)?|queries/(?P<shard>[^/]+?)(-\d+-of-\d+)?\.parquet)$"
)
_QRELS = (  # split: what the file is named for
    re.compile(r"^qrels/(?:qrels[._-])?(?P<split>[^/]+)\.(tsv|txt|qrels|jsonl)(\.gz)?$"),
    re.compile(r"^qrels[._-](?P<split>[^/]+)\.(tsv|txt)(\.gz)?$"),
    re.compile(r"^(?P<split>qrels)\.(tsv|txt)(\.gz)?$"),
    re.compile(r"^(?P<split>[^/]+)\.qrels(\.gz)?$"),
    re.compile(r"^(?:data|default|qrels)/(?P<split>[^/]+?)(-\d+-of-\d+)?\.parquet$"),
)


class JudgedFiles(NamedTuple):
    """The files of a BEIR or TREC folder, or of one language of MIRACL; in the hub's layout a file may be in parts."""

    corpus: dict[str, list[Source]]  # by name
    topics: dict[str, list[Source]]  # by name; of MIRACL by split
    qrels: dict[str, list[Source]]  # by split


def miracl_files(files: Mapping[str, Source]) -> dict[str, JudgedFiles]:
    """Find the files of the data sets miracl/miracl and miracl/miracl-corpus by language, at any depth."""
    languages: dict[str, JudgedFiles] = {}
    for path, file in files.items():
        table, corpus = _MIRACL_TABLE.search(path), _MIRACL_CORPUS.search(path)
        match = table or corpus
        if match is None:
            continue
        found = languages.setdefault(match["language"], JudgedFiles({}, {}, {}))
        if table:
            _put(found.topics if table["kind"] == "topics" else found.qrels, table["split"], file)
        else:
            _put(found.corpus, match["name"], file)
    return {language: found for language, found in languages.items() if found.topics or found.qrels}


def qrels_files(files: Mapping[str, Source]) -> JudgedFiles | None:
    """Find the files of a BEIR or TREC folder; return None without two of corpus, queries and qrels."""
    found = JudgedFiles({}, {}, {})
    for path, file in files.items():
        corpus, topics = _CORPUS.match(path), _TOPICS.match(path)
        qrels = next((match for pattern in _QRELS if (match := pattern.match(path))), None)
        if corpus:
            _put(found.corpus, corpus["name"] or corpus["shard"], file)
        elif topics:
            _put(found.topics, topics["name"] or topics["shard"], file)
        elif qrels:
            _put(found.qrels, qrels["split"], file)
    return found if sum(map(bool, found)) >= 2 else None


def refuse_part(files: Iterable[Source]) -> None:
    """Refuse files that are a part of a judged benchmark, where the whole is needed."""
    for file in files:
        if _MIRACL_CORPUS.search(file.path):
            raise InputError(
                f"{file.name}: the corpus of MIRACL without topics and qrels; give the folder above, that holds "
                "miracl-corpus-v1.0-<xx>/ and miracl-v1.0-<xx>/"
            )
        if not file.path.endswith((".jsonl", ".jsonl.gz")) or file.filesystem is None:
            continue
        where, row = next(object_rows(file), ("", {}))
        if (
            "group_id" not in row
            and not looks_flat(list(row))
            and row.keys() & {"_id", "docid", "id", "qid"}
            and row.keys() & {"text", "query"}
        ):
            raise InputError(
                f"{where}: a row of a corpus or of queries, not a group; a BEIR or TREC benchmark is given as the "
                "folder that holds corpus.jsonl, queries.jsonl and qrels"
            )


def read_miracl(languages: Mapping[str, JudgedFiles], source: BenchmarkSource) -> BenchmarkRows:
    """Read MIRACL, the languages of a folder or those of ``source``; judged within each language.

    With one language ids are those of the files, so that other tools' runs and qrels fit; with more, whose ids
    collide, each has its language before it: ``sw:1234#0``. The usual split is dev, which has public judgements.

    Source: MIRACL (arXiv 2210.09984).

    Raises:
        InputError: a language or split is missing or not whole, or a line is broken.
    """
    languages = {language_code(language, source.path): files for language, files in languages.items()}
    wanted = sorted(languages) if source.languages is None else list(dict.fromkeys(source.languages))
    name = source.path if source.languages is None else f"{source.path} languages {','.join(wanted)}"
    for language in wanted:
        if language not in languages:
            raise InputError(f"{name}: no topics of {language!r} there; there are: {', '.join(sorted(languages))}")
        if not languages[language].corpus:
            raise InputError(
                f"{name}: no miracl-corpus-v1.0-{language}/docs-*.jsonl.gz beside miracl-v1.0-{language}; put that "
                "folder of the data set miracl/miracl-corpus there, or give the folder that holds both"
            )
    splits = [languages[language].topics.keys() & languages[language].qrels.keys() for language in wanted]
    where = f"{name}: splits with topics and qrels in {', '.join(wanted)}"
    split = choose_split(source.split, list(set.intersection(*splits)), where)
    found = Judged()
    for language in wanted:
        files = languages[language]
        corpus = {f"{language}-{docs}": parts for docs, parts in files.corpus.items()}
        prefix = f"{language}:" if len(wanted) > 1 else ""
        found.add(files.topics[split], files.qrels[split], corpus, language, source.strict, prefix)
    return found.rows(f"{name} split {split}", source.strict, ignore_identical_ids=False)


def read_qrels_folder(files: JudgedFiles, source: BenchmarkSource) -> BenchmarkRows:
    """Read BEIR (``corpus.jsonl``, ``queries.jsonl``, ``qrels/<split>.tsv``), or the same with TREC qrels."""
    for kind, known in (
        ("corpus", "corpus.jsonl"),
        ("topics", "queries.jsonl or topics.tsv"),
        ("qrels", "qrels/<split>.tsv or qrels.txt"),
    ):
        if not getattr(files, kind):
            present = (part for kind in files for parts in kind.values() for part in parts)
            others = ", ".join(sorted(file.path.rsplit("/", 1)[-1] for file in present))
            raise InputError(f"{source.path}: no {known} beside {others}")
    split = choose_split(source.split, list(files.qrels), source.path)
    topics, found = topics_of(files.topics, split, source.path), Judged()
    found.add(topics, files.qrels[split], files.corpus, source.language, source.strict)
    return found.rows(f"{source.path} split {split}", source.strict, source.ignore_identical_ids)


def topics_of(topics: Mapping[str, list[Source]], split: str, where: str) -> list[Source]:
    """Return the only file of queries, or the one that is named for the split."""
    named = [name for name in topics if re.search(rf"(^|[._-]){re.escape(split)}$", name)]
    chosen = named if len(topics) > 1 else list(topics)
    if len(chosen) != 1:
        raise InputError(f"{where}: which file has the queries of split {split!r}? there are: {', '.join(topics)}")
    return topics[chosen[0]]


def _put(found: dict[str, list[Source]], name: str, file: Source) -> None:
    """Take a file, or the next part of one; only Parquet comes in parts."""
    before = found.setdefault(name, [])
    if before and not (file.path.endswith(".parquet") and before[0].path.endswith(".parquet")):
        raise InputError(f"{file.name}: {before[0].name} is there too; keep one of the two")
    before.append(file)
