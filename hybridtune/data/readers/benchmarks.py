"""Benchmarks of any format: the format is recognised, its reader makes `BenchmarkRows`, which are checked or cut."""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from hybridtune.config.fields import BenchmarkSource, DataSet
from hybridtune.config.languages import language_code
from hybridtune.data.readers.configurations import by_configuration
from hybridtune.data.readers.files import EMBEDDED, HELD_OUT, SUFFIXES, Source, kind_of
from hybridtune.data.readers.finding import files_below
from hybridtune.data.readers.judged_benchmarks import (
    have_one_corpus,
    read_ciral,
    read_miracl,
    read_neuclir,
    read_one_corpus,
    read_qrels_folder,
    read_subsets,
    refuse_part,
)
from hybridtune.data.readers.judged_files import (
    ciral_files,
    miracl_files,
    neuclir_files,
    qrels_files,
    subset_files,
    translated_files,
)
from hybridtune.data.readers.languages import mixed_up
from hybridtune.data.readers.native import Group, benchmark_of_groups, cut_benchmark, parse_group
from hybridtune.data.readers.own import call_reader, reader_rows
from hybridtune.data.readers.records import BenchmarkRows, CorpusPart, OfLanguages, TextList, choose_split
from hybridtune.data.readers.sources import find_sources, read_groups
from hybridtune.data.readers.squad import mlqa_files, read_mlqa, read_xquad_r, xquad_r_files
from hybridtune.errors import InputError

KNOWN = (
    "<language>.json (XQuAD-R, MLQA-R); <split>-context-<xx>-question-<yy>.json (MLQA); miracl-v1.0-<xx>/ and "
    "miracl-corpus-v1.0-<xx>/ (MIRACL); topics.ciral-v1.0-<xx>-<split>.tsv (CIRAL); qrels.<xxx>.gains.txt "
    "(NeuCLIRBench); <subset>-corpus/, <subset>-queries/ and <subset>-qrels/, or the configurations of a card (mteb); "
    "corpus.jsonl, queries.jsonl and qrels/<split>.tsv (BEIR, TREC); "
    f"{', '.join(SUFFIXES)} of groups (native)"
)


_SPLITS = ("train", "dev", "validation", "test")
_NAMES_LANGUAGES = "{}: every text there names its language; leave benchmark.language out"
_NO_DOCUMENTS = "{}: has no documents to take a part of; leave benchmark.documents out"
_NO_IDENTICAL_IDS = (
    "{}: benchmark.ignore_identical_ids is for BEIR and TREC folders, whose queries may be passages; leave it out"
)


def read_benchmark(source: BenchmarkSource, held_out: Sequence[Group] | None = None) -> BenchmarkRows:
    """Read a benchmark of any known format; queries and judgements in memory, the corpus in parts that stream.

    Args:
        source: where it is, and which part of it.
        held_out: the groups that make it, where it is a part of the training files; None: it is read.

    Raises:
        InputError: unreadable, of no known format, without a query or a relevant judgement, a query id that
            occurs twice, or texts of another language than they say.
    """
    if source.languages == []:
        raise InputError("benchmark.languages is empty; leave it out to take all languages")
    rows = _read(source) if held_out is None else _only(cut_benchmark(source, held_out), source.languages)
    if not any(judgement.grade > 0 for judgement in rows.judged):
        raise InputError(f"{rows.name}: no query has a relevant passage")
    name, times = Counter(text.text_id for text in rows.queries).most_common(1)[0]
    if times > 1:
        raise InputError(f"{rows.name}: query id {name!r} occurs {times} times; ids must be unique")
    if exchanged := mixed_up(rows.queries, "queries"):
        raise InputError(f"{rows.name}: {exchanged}")
    return rows


def notices_of_languages(languages: Collection[str]) -> list[str]:
    """Return the notices on the languages of queries and passages."""
    return ["one language: the mono setting only"] * (len(set(languages)) == 1)


def _read_by_hook(source: BenchmarkSource, reader: str) -> BenchmarkRows:
    """Call the user's own reader, which returns `BenchmarkRows` or groups as a file of the native format has them."""
    for name in ("documents", "language", "split", "ignore_identical_ids"):
        if getattr(source, name) is not None:
            raise InputError(f"{source.path}: benchmark.{name} is not for a reader of your own; let {reader} see to it")
    (file,) = find_sources([DataSet(path=source.path, reader=reader)])
    found = call_reader(file)
    if not isinstance(found, BenchmarkRows):
        groups = [parse_group(row, where) for where, row in reader_rows(file, found)]
        return _only(benchmark_of_groups(source.path, groups), source.languages)
    for query in found.queries:
        where = f"{source.path}: query {query.text_id!r}"
        if (code := language_code(query.language, where)) != query.language:  # passages are read later, as they are
            raise InputError(f"{where}: {query.language!r} is written {code}; let {reader} write it so")
    judged = sorted(found.judged)
    if judged and not 0 <= judged[0].query <= judged[-1].query < len(found.queries):
        raise InputError(f"{source.path}: {reader} judges a query that is not among its {len(found.queries)} queries")
    if found.documents is not None and len(found.documents) != len(found.queries):
        raise InputError(
            f"{source.path}: {reader} gives {len(found.documents)} documents for {len(found.queries)} queries; give "
            "one a query, empty where it has none"
        )
    return _only(replace(found, judged=judged, strict=source.strict), source.languages)


def _read(source: BenchmarkSource) -> BenchmarkRows:
    if source.reader is not None:
        return _read_by_hook(source, source.reader)
    if source.path.startswith(HELD_OUT):
        raise InputError(f"{source.path}: is a part of a study's training files (data.holdout), known to it alone")
    files = {} if source.path.startswith(EMBEDDED) else by_configuration(files_below(source.path))
    single = [] if files else find_sources([source.path])  # raises if nothing is there
    rows = _read_judged(files, source)
    if rows is not None:
        return rows
    mlqa = mlqa_files(files)
    xquad_r = {} if mlqa else xquad_r_files(files)
    if mlqa:
        _refuse(source, "documents", _NO_DOCUMENTS.format(source.path))
    elif not xquad_r:
        refuse_part([*single, *(file for name, file in files.items() if "/" not in name or "/docs-" in name)])
        if files and not any(kind_of(name) for name in files):
            more = f" and {len(files) - 5} more" if len(files) > 5 else ""
            found = f"found {', '.join([*files][:5])}{more}; known: {KNOWN}"
            raise InputError(f"{source.path}: no benchmark of a known format; {found}")
    if mlqa or xquad_r:
        _refuse(source, "language", _NAMES_LANGUAGES.format(source.path))
    _refuse(source, "ignore_identical_ids", _NO_IDENTICAL_IDS.format(source.path))
    if mlqa:
        return _only(read_mlqa(mlqa, source), source.languages)
    if xquad_r:
        _refuse_split(source)
        return _only(read_xquad_r(xquad_r, source), source.languages)
    return _only(_groups(files, source), source.languages)


def _read_judged(files: Mapping[str, Source], source: BenchmarkSource) -> BenchmarkRows | None:
    """Read the judged collection that files are; None where they are none."""
    miracl, ciral, neuclir = miracl_files(files), ciral_files(files), neuclir_files(files)
    subsets, only_for_reranking = subset_files(files)
    qrels = None if miracl or ciral or neuclir or subsets or mlqa_files(files) else qrels_files(files)
    if not (miracl or ciral or neuclir or subsets or qrels):
        return None
    _refuse(source, "documents", _NO_DOCUMENTS.format(source.path))
    if qrels:
        return _noting(_only(read_qrels_folder(qrels, source), source.languages), only_for_reranking)
    _refuse(source, "ignore_identical_ids", _NO_IDENTICAL_IDS.format(source.path))
    if subsets and have_one_corpus(subsets):
        return _noting(_only(read_one_corpus(subsets, source), source.languages), only_for_reranking)
    if subsets:
        return _noting(read_subsets(subsets, source), only_for_reranking)
    _refuse(source, "language", _NAMES_LANGUAGES.format(source.path))
    if miracl:
        return read_miracl(miracl, source)
    rows = _only(read_neuclir(neuclir, source), source.languages) if neuclir else read_ciral(ciral, source)
    if translated := translated_files(files):
        rows.notices.append(f"not read: {len(translated)} files of translated passages (first: {translated[0]})")
    return rows


def _noting(rows: BenchmarkRows, only_for_reranking: Sequence[str]) -> BenchmarkRows:
    """Say which folders of mteb's layout are not read: candidates, among which its own figures rank."""
    if only_for_reranking:
        more = f" and {len(only_for_reranking) - 1} more" * (len(only_for_reranking) > 1)
        rows.notices.append(f"not read, for reranking alone: {only_for_reranking[0]}/{more}")
    return rows


def _refuse(source: BenchmarkSource, field: str, reason: str) -> None:
    """Refuse a field of the benchmark that what lies there has no use for."""
    if getattr(source, field) is not None:
        raise InputError(reason)


def _refuse_split(source: BenchmarkSource) -> None:
    if source.split is not None:
        raise InputError(f"{source.path}: no splits there, yet split {source.split!r} is asked for")


def _groups(files: Mapping[str, Source], source: BenchmarkSource) -> BenchmarkRows:
    """Read the groups, or pairs, that make a benchmark: their passages are the corpus.

    Of files that are named for several splits one split is read: AfriQA's ``...en.dev.json`` and ``...en.test.json``.
    """
    there = [word for word in _SPLITS if any(re.search(rf"(^|[/._-]){word}([/._-]|$)", name) for name in files)]
    split = choose_split(source.split, there, source.path) if len(there) > 1 or source.split in there else None
    if split is None:
        _refuse_split(source)
    sources = find_sources([DataSet(path=source.path, language=source.language, split=split)])
    for found in sources:
        if found.kind not in ("", "squad", "hub"):
            raise InputError(
                f"{source.path}: the files of {found.kind} are read as training pairs; as a benchmark, with the whole "
                "corpus, they are converted to BEIR's files: docs/data.md#data-in-other-formats has the code"
            )
    rows = cut_benchmark(source, [group for found in sources for group in read_groups(found)])
    return rows if split is None else replace(rows, name=f"{rows.name} split {split}")


def _only(rows: BenchmarkRows, wanted: Sequence[str] | None) -> BenchmarkRows:
    """Cut a benchmark to some languages; judged pairs that lose a side go, and queries that lose all pairs.

    Only the corpus knows the language of a judged passage: it is read once, for the ids of those that go.
    """
    if not rows.queries:
        raise InputError(f"{rows.name}: no query in the benchmark")
    if wanted is None:
        return rows
    languages = frozenset(wanted)
    judged_ids = {judgement.passage_id for judgement in rows.judged}
    gone = {
        text.text_id
        for part in rows.corpus
        for text in part.read()
        if text.language not in languages and text.text_id in judged_ids
    }
    chosen = {n for n, text in enumerate(rows.queries) if text.language in languages}
    judged = [pair for pair in rows.judged if pair.query in chosen and pair.passage_id not in gone]
    numbers = sorted({pair.query for pair in judged})
    position = {old: new for new, old in enumerate(numbers)}
    judged = [pair._replace(query=position[pair.query]) for pair in judged]
    corpus = [cut for part in rows.corpus if (cut := _cut(part, languages)) is not None]
    queries = [rows.queries[n] for n in numbers]
    documents = None if rows.documents is None else [rows.documents[n] for n in numbers]
    notices = list(rows.notices)
    if absent := sorted(languages - {text.language for text in queries}):
        notices.append(f"no query in {', '.join(absent)}")
    if lost := len(chosen) - len(queries):
        notices.append(f"{lost} of the queries have no judged passage in these languages and are left out")
    name = f"{rows.name} languages {','.join(wanted)}"
    return replace(
        rows,
        name=name,
        queries=queries,
        corpus=corpus,
        judged=judged,
        notices=notices,
        documents=documents,
        subsets=rows.subsets and {},  # the pools are no more those of mteb's subsets
    )


def _cut(part: CorpusPart, languages: frozenset[str]) -> CorpusPart | None:
    """Cut a part to the texts in some languages; return None if those in memory have none."""
    if not isinstance(part, TextList):
        return OfLanguages(part, languages)
    texts = [text for text in part.texts if text.language in languages]
    return TextList(part.name, texts) if texts else None
