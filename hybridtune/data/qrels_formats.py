"""Benchmarks with judgements in files of their own: MIRACL, BEIR, and TREC qrels beside JSON lines."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from hybridtune.config import BenchmarkSource
from hybridtune.data.benchmark_files import choose_split, json_lines
from hybridtune.data.benchmark_rows import BenchmarkRows, CorpusPart, Judgement, Text
from hybridtune.data.formats import Source
from hybridtune.data.qrels_files import PassageFile, match_judgements, read_topics
from hybridtune.errors import InputError
from hybridtune.language_codes import language_code

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


class Miracl(NamedTuple):
    """The files of one language of MIRACL."""

    topics: dict[str, Source]  # by split
    qrels: dict[str, Source]
    corpus: dict[str, Source]  # by name, docs-0


class QrelsFolder(NamedTuple):
    """The files of a BEIR or TREC folder; in the hub's layout topics and qrels may be cut into several."""

    corpus: dict[str, Source]
    topics: dict[str, list[Source]]
    qrels: dict[str, list[Source]]  # by split


def miracl_files(files: Mapping[str, Source]) -> dict[str, Miracl]:
    """``{language: files}`` of the data sets miracl/miracl and miracl/miracl-corpus, however deep they lie.

    Raises:
        InputError: a file is there twice.
    """
    languages: dict[str, Miracl] = {}
    for path, file in files.items():
        table, corpus = _MIRACL_TABLE.search(path), _MIRACL_CORPUS.search(path)
        match = table or corpus
        if match is None:
            continue
        found = languages.setdefault(match["language"], Miracl({}, {}, {}))
        if table:
            _put(found.topics if table["kind"] == "topics" else found.qrels, table["split"], file)
        else:
            _put(found.corpus, match["name"], file)
    return {language: found for language, found in languages.items() if found.topics or found.qrels}


def qrels_files(files: Mapping[str, Source]) -> QrelsFolder | None:
    """The files of a BEIR or TREC folder; None where no two of corpus, queries and qrels are there.

    Raises:
        InputError: a file is there twice, like packed and unpacked.
    """
    found = QrelsFolder({}, {}, {})
    for path, file in files.items():
        corpus, topics = _CORPUS.match(path), _TOPICS.match(path)
        qrels = next((match for pattern in _QRELS if (match := pattern.match(path))), None)
        if corpus:
            _put(found.corpus, corpus["name"] or corpus["shard"], file)
        elif topics:
            _append(found.topics, topics["name"] or topics["shard"], file)
        elif qrels:
            _append(found.qrels, qrels["split"], file)
    return found if sum(map(bool, found)) >= 2 else None


def refuse_part(files: Iterable[Source]) -> None:
    """Files that are a part of a judged benchmark, where the whole is wanted.

    Raises:
        InputError: what to give instead.
    """
    for file in files:
        if _MIRACL_CORPUS.search(file.path):
            raise InputError(
                f"{file.name}: the corpus of MIRACL without topics and qrels; give the folder above, that holds "
                "miracl-corpus-v1.0-<xx>/ and miracl-v1.0-<xx>/"
            )
        if not file.path.endswith((".jsonl", ".jsonl.gz")) or file.filesystem is None:
            continue
        where, row = next(json_lines(file), ("", {}))
        if "group_id" not in row and row.keys() & {"_id", "docid", "id", "qid"} and row.keys() & {"text", "query"}:
            raise InputError(
                f"{where}: a row of a corpus or of queries, not a group; a BEIR or TREC benchmark is given as the "
                "folder that holds corpus.jsonl, queries.jsonl and qrels"
            )


def read_miracl(languages: Mapping[str, Miracl], source: BenchmarkSource) -> BenchmarkRows:
    """MIRACL (arXiv 2210.09984), the languages of a folder or those asked for; judged within each language.

    With one language ids are those of the files, so that other tools' runs and qrels fit; with more, whose ids
    collide, each has its language before it: ``sw:1234#0``.

    Args:
        languages: as ``miracl_files`` gives them.
        source: the path, the languages and the split (usual: dev, the only one with public judgements).

    Raises:
        InputError: a language or split is not there or not whole, or a line is broken.
    """
    wanted = sorted(languages) if source.languages is None else list(dict.fromkeys(source.languages))
    name = source.path if source.languages is None else f"{source.path} languages {','.join(wanted)}"
    for language in wanted:
        language_code(language, source.path)
        if language not in languages:
            raise InputError(f"{name}: no topics of {language!r} there; there are: {', '.join(sorted(languages))}")
        if not languages[language].corpus:
            raise InputError(
                f"{name}: no miracl-corpus-v1.0-{language}/docs-*.jsonl.gz beside miracl-v1.0-{language}; put that "
                "folder of the data set miracl/miracl-corpus there, or give the folder that holds both"
            )
    whole = [set(languages[language].topics) & set(languages[language].qrels) for language in wanted]
    where = f"{name}: splits with topics and qrels in {', '.join(wanted)}"
    split = choose_split(source.split, list(set.intersection(*whole)), where)
    queries: list[Text] = []
    judged: list[Judgement] = []
    corpus: list[CorpusPart] = []
    topics_read = 0
    unknown: list[str] = []
    for language in wanted:
        files, prefix = languages[language], f"{language}:" if len(wanted) > 1 else ""
        topics = read_topics([files.topics[split]], language, prefix)
        named, qrels = files.topics[split].name, [files.qrels[split]]
        found = match_judgements(topics, named, qrels, len(queries), prefix, source.strict)
        topics_read += len(topics)
        queries.extend(found.queries)
        judged.extend(found.judged)
        unknown.extend(prefix + query_id for query_id in found.unknown)
        corpus.extend(
            PassageFile(f"{language}-{n}", file, language, prefix, source.strict) for n, file in files.corpus.items()
        )
    notices = _left_out(topics_read - len(queries), unknown)
    return BenchmarkRows(f"{name} split {split}", queries, corpus, judged, notices, strict=source.strict)


def read_qrels_folder(files: QrelsFolder, source: BenchmarkSource) -> BenchmarkRows:
    """BEIR (arXiv 2104.08663): ``corpus.jsonl``, ``queries.jsonl`` and ``qrels/<split>.tsv``; or TREC qrels.

    Args:
        files: as ``qrels_files`` gives them.
        source: the path, the split, and the language of the rows that do not say theirs.

    Raises:
        InputError: a file is missing, there is no telling which one is meant, or a line is broken.
    """
    for kind, known in (
        ("corpus", "corpus.jsonl"),
        ("topics", "queries.jsonl or topics.tsv"),
        ("qrels", "qrels/<split>.tsv or qrels.txt"),
    ):
        if not getattr(files, kind):
            there = [*files.corpus.values(), *(part for kind in files[1:] for parts in kind.values() for part in parts)]
            others = ", ".join(sorted(file.path.rsplit("/", 1)[-1] for file in there))
            raise InputError(f"{source.path}: no {known} beside {others}")
    split = choose_split(source.split, list(files.qrels), source.path)
    asked = _topics_of(files.topics, split, source.path)
    topics = read_topics(asked, source.language)
    found = match_judgements(topics, asked[0].name, files.qrels[split], strict=source.strict)
    corpus: list[CorpusPart] = [
        PassageFile(name, part, source.language, strict=source.strict) for name, part in files.corpus.items()
    ]
    return BenchmarkRows(
        name=f"{source.path} split {split}",
        queries=found.queries,
        corpus=corpus,
        judged=found.judged,
        notices=_left_out(len(topics) - len(found.queries), found.unknown),
        ignore_identical_ids=source.ignore_identical_ids,
        strict=source.strict,
    )


def _topics_of(topics: Mapping[str, list[Source]], split: str, where: str) -> list[Source]:
    """The only file of queries, or the one that is named for the split."""
    named = [name for name in topics if re.search(rf"(^|[._-]){re.escape(split)}$", name)]
    chosen = named if len(topics) > 1 else list(topics)
    if len(chosen) != 1:
        raise InputError(f"{where}: which file has the queries of split {split!r}? there are: {', '.join(topics)}")
    return topics[chosen[0]]


def _put(found: dict[str, Source], name: str, file: Source) -> None:
    if name in found:
        raise InputError(f"{file.name}: {found[name].name} is there too; keep one of the two")
    found[name] = file


def _append(found: dict[str, list[Source]], name: str, file: Source) -> None:
    """Take the next part of a file; only what is Parquet comes in parts."""
    before = found.setdefault(name, [])
    if before and not (file.path.endswith(".parquet") and before[0].path.endswith(".parquet")):
        raise InputError(f"{file.name}: {before[0].name} is there too; keep one of the two")
    before.append(file)


def _left_out(queries: int, unknown: Sequence[str]) -> list[str]:
    """What to tell of the queries without a judgement, and of the judged ones that are not there."""
    silent = f"{queries} of the topics have no judgement in this split and are left out"
    lost = (
        f"{len(unknown)} judged queries are not among the topics and are left out (first: {next(iter(unknown), '')!r})"
    )
    return [silent] * (queries > 0) + [lost] * bool(unknown)
