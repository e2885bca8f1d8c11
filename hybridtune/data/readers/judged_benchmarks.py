"""Judged collections as benchmarks: BEIR and TREC folders, MIRACL, CIRAL, NeuCLIRBench, and mteb's layout of subsets.

`judged_files` says which file is what, `trec` reads their lines; here they become queries, judgements and a corpus.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from hybridtune.config.fields import BenchmarkSource, language_pair
from hybridtune.config.languages import language_code
from hybridtune.data.readers.files import Source
from hybridtune.data.readers.flat import looks_flat
from hybridtune.data.readers.judged_files import (
    MIRACL_CORPUS,
    JudgedFiles,
    NeuclirFiles,
    corpus_of,
    of_split,
    topics_of,
)
from hybridtune.data.readers.records import BenchmarkRows, Judgement, Text, choose_split, in_parts
from hybridtune.data.readers.rows import object_rows
from hybridtune.data.readers.trec import Judged, PassageFile, read_qrels, read_topics
from hybridtune.data.text_key import text_key
from hybridtune.errors import InputError


def refuse_part(files: Iterable[Source]) -> None:
    """Refuse files that are a part of a judged benchmark, where the whole is needed."""
    for file in files:
        if MIRACL_CORPUS.search(file.path):
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
    found, topics = Judged(), topics_of(files.topics, split, source.path)
    found.judge(read_topics(topics, source.language), topics[0].name, files.qrels[split], source.strict)
    found.add_corpus(corpus_of(files.corpus, split), source.language, source.strict)
    rows = found.rows(f"{source.path} split {split}", source.strict, source.ignore_identical_ids)
    return replace(rows, split=split, subsets={"default": (None, None)})


def read_miracl(languages: Mapping[str, JudgedFiles], source: BenchmarkSource) -> BenchmarkRows:
    """Read MIRACL, the languages of a folder or those of ``source``; the usual split is dev, with public judgements.

    Source: MIRACL (arXiv 2210.09984).

    Raises:
        InputError: a language or split is missing or not whole, or a line is broken.
    """
    languages = {language_code(language, source.path): files for language, files in languages.items()}
    wanted = sorted(languages) if source.languages is None else list(dict.fromkeys(source.languages))
    for language in wanted:
        if language in languages and not languages[language].corpus:
            raise InputError(
                f"{_name(source)}: no miracl-corpus-v1.0-{language}/docs-*.jsonl.gz beside miracl-v1.0-{language}; put "
                "that folder of the data set miracl/miracl-corpus there, or give the folder that holds both"
            )
    return _within_languages(languages, wanted, source)


def read_ciral(languages: Mapping[str, JudgedFiles], source: BenchmarkSource) -> BenchmarkRows:
    """Read CIRAL, English queries for passages of news in Hausa, Somali, Swahili and Yoruba, or some of these.

    Source: CIRAL (SIGIR 2024), the data sets CIRAL/ciral and CIRAL/ciral-corpus.

    Raises:
        InputError: a language or split is missing or not whole, or a line is broken.
    """
    wanted = sorted(languages)
    if source.languages is not None:
        wanted = [language for language in dict.fromkeys(source.languages) if language != "en"]
        if not wanted:
            raise InputError(f"{_name(source)}: name languages of passages too; there are: {', '.join(languages)}")
    for language in wanted:
        if language in languages and not languages[language].corpus:
            raise InputError(
                f"{_name(source)}: no passages in {language} (hausa_passages.jsonl, ...) beside its qrels; put the "
                "files of the data set CIRAL/ciral-corpus there"
            )
    return _within_languages(languages, wanted, source, query_language="en")


def read_neuclir(files: NeuclirFiles, source: BenchmarkSource) -> BenchmarkRows:
    """Read NeuCLIRBench: news in Chinese, Persian and Russian, topics in these and in English, graded judgements.

    The split is a file of judgements: ``mlir``, of topics whose passages are judged in all languages, is the usual
    one; ``fas``, ``rus`` and ``zho`` judge the documents of one language, which are then the corpus, for more topics. A
    topic is a query in each language: with topics in several, ``7:en`` is its id.

    Source: NeuCLIRBench (arXiv 2511.14758), the data sets neuclir/bench and neuclir/neuclir1.

    Raises:
        InputError: topics, judgements or documents are missing, or a line is broken.
    """
    if not files.topics:
        raise InputError(f"{source.path}: no topics (news.eng.tsv, ...) beside the qrels")
    usual = "mlir" if source.split is None and "mlir" in files.qrels else source.split
    split = choose_split(usual, list(files.qrels), source.path)
    corpus = {split: files.corpus.get(split, [])} if split != "mlir" else files.corpus
    if not any(corpus.values()):
        wanted = split if split != "mlir" else "fas, rus or zho"
        raise InputError(f"{source.path}: no documents (JSON lines named for {wanted}) beside the topics")
    found = Judged()
    known: set[str] = set()
    for code, file in files.topics.items():
        topics = read_topics([file], language_code(code, file.name))
        known |= topics.keys()
        if len(files.topics) > 1:
            topics = {key: topic._replace(text_id=f"{key}:{topic.language}") for key, topic in topics.items()}
        found.judge(topics, file.name, [files.qrels[split]], strict=False)
    found.unknown = sorted({*found.unknown} - known)
    if found.unknown and source.strict:
        raise InputError(f"{files.qrels[split].name}: query {found.unknown[0]!r} is not among the topics")
    for code, parts in corpus.items():
        named = {part.name.removeprefix(source.path).strip("/").replace("/", "-"): [part] for part in parts}
        found.add_corpus(named, language_code(code, source.path), source.strict)
    rows = found.rows(f"{source.path} split {split}", source.strict, ignore_identical_ids=False)
    if split == "mlir" and (others := sorted(files.qrels.keys() - {"mlir"})):
        rows.notices.append(
            "the published mono and cross figures are of more topics, a language at a time: split "
            f"{' or '.join(others)} (--set benchmark.split={others[0]})"
        )
    return rows


def read_subsets(subsets: Mapping[str, JudgedFiles], source: BenchmarkSource) -> BenchmarkRows:
    """Read mteb's layout: subsets that are named for a language, or for a pair with the language of the passages first.

    Of subsets in a language each, as in MIRACL, every language is judged within itself. Those of pairs repeat their
    passages and queries: equal texts of a language are one, with the judgements of all, and all are held in memory.

    Raises:
        InputError: a subset that names no language, or is not whole, no such split, or a broken line.
    """
    one = source.language
    # Of each subset, the languages of passages and of queries.
    pairs = {name: _pair_of(name, source.path) if one is None else (one, one) for name in subsets}
    for name, files in subsets.items():
        there = {"corpus": files.corpus, "queries": files.topics, "qrels": files.qrels}
        for kind, part in there.items():
            if not part:
                beside = next(other for other, found in there.items() if found)
                raise InputError(f"{source.path}: no {name}-{kind}/ beside {name}-{beside}/")
    if all(passages == queries for passages, queries in pairs.values()) and len({*pairs.values()}) == len(pairs):
        languages = {pairs[name][0]: _topics_by_split(files) for name, files in subsets.items()}
        wanted = sorted(languages) if source.languages is None else list(dict.fromkeys(source.languages))
        rows = _within_languages(languages, wanted, source)
        return replace(rows, subsets={name: pair for name, pair in pairs.items() if pair[0] in wanted})
    only = None if source.languages is None else {*source.languages}
    chosen = {name: (subsets[name], *pair) for name, pair in pairs.items() if only is None or only.issuperset(pair)}
    if not chosen:
        raise InputError(f"{_name(source)}: no subset is in these languages; there are: {', '.join(subsets)}")
    return _merged(chosen, source)


def have_one_corpus(subsets: Mapping[str, JudgedFiles]) -> bool:
    """Return whether subsets are queries for the passages of one corpus."""
    first, *others = subsets.values()
    return bool(others and first.corpus) and all(files.corpus == first.corpus for files in others)


def read_one_corpus(subsets: Mapping[str, JudgedFiles], source: BenchmarkSource) -> BenchmarkRows:
    """Read queries that are named for their language, or for a pair, and one corpus whose rows name their language.

    A corpus whose rows do not is in ``source.language``, else in that which all pairs have for their passages. Each
    query has its subset before its id, ``sw:7``, since subsets may repeat ids.

    Raises:
        InputError: a subset that names no language, no such split, a row without a language, or a broken line.
    """
    pairs = {name: _pair_of(name, source.path) for name in subsets}
    passages = {first for first, _ in pairs.values()}
    language = source.language or (passages.pop() if len(passages) == 1 else None)
    split = choose_split(
        source.split, list(set.intersection(*({*files.qrels} for files in subsets.values()))), source.path
    )
    found, known = Judged(), set[str]()
    for name, files in subsets.items():
        parts = of_split(files.topics, split, f"{source.path}: subset {name}, queries")
        topics = read_topics(parts, pairs[name][1], f"{name}:")
        known |= topics.keys()
        found.judge(topics, parts[0].name, files.qrels[split], strict=False)
    found.unknown = sorted({*found.unknown} - known)  # judgements of all subsets may stand in one file
    if found.unknown and source.strict:
        raise InputError(f"{source.path}: query {found.unknown[0]!r} is judged and in no subset")
    found.add_corpus(corpus_of(next(iter(subsets.values())).corpus, split), language, source.strict)
    rows = found.rows(f"{source.path} split {split}", source.strict, ignore_identical_ids=False)
    return replace(rows, split=split, subsets={name: (None, queries) for name, (_, queries) in pairs.items()})


def _pair_of(name: str, path: str) -> tuple[str, str]:
    """Return the languages of passages and of queries that a subset is named for."""
    try:
        return language_pair(name)
    except ValueError as error:
        raise InputError(
            f"{path}: subset {name!r} names no language: {error}; say that of all its texts with --set "
            "benchmark.language=en"
        ) from None


def _topics_by_split(files: JudgedFiles) -> JudgedFiles:
    """Put the queries under the splits that have judgements: they stand under the same, or under the only one."""
    usable = [split for split in files.qrels if split in files.topics or len(files.topics) == 1]
    return files._replace(topics={split: of_split(files.topics, split, "queries") for split in usable})


def _name(source: BenchmarkSource) -> str:
    return source.path if source.languages is None else f"{source.path} languages {','.join(source.languages)}"


def _within_languages(
    languages: Mapping[str, JudgedFiles],
    wanted: Sequence[str],
    source: BenchmarkSource,
    query_language: str | None = None,
) -> BenchmarkRows:
    """Read collections of a language each, whose passages are judged for the queries of their own collection.

    With one language ids are those of the files, so that other tools' runs and qrels fit; with more, whose ids
    collide, each has its language before it: ``sw:1234#0``. ``query_language``: where it is not the passages'.
    """
    name = _name(source)
    for language in wanted:
        if language not in languages:
            raise InputError(f"{name}: no topics of {language!r} there; there are: {', '.join(sorted(languages))}")
    splits = [languages[language].topics.keys() & languages[language].qrels.keys() for language in wanted]
    where = f"{name}: splits with topics and qrels in {', '.join(wanted)}"
    split = choose_split(source.split, list(set.intersection(*splits)), where)
    found = Judged()
    for language in wanted:
        files = languages[language]
        prefix = f"{language}:" if len(wanted) > 1 else ""
        topics = read_topics(files.topics[split], query_language or language, prefix)
        found.judge(topics, files.topics[split][0].name, files.qrels[split], source.strict, prefix)
        corpus = {f"{language}-{docs}": parts for docs, parts in corpus_of(files.corpus, split).items()}
        found.add_corpus(corpus, language, source.strict, prefix)
    return replace(found.rows(f"{name} split {split}", source.strict, ignore_identical_ids=False), split=split)


def _merged(subsets: Mapping[str, tuple[JudgedFiles, str, str]], source: BenchmarkSource) -> BenchmarkRows:
    """Read subsets of language pairs: (files, language of the passages, of the queries) of each."""
    splits = set.intersection(*({*files.qrels} for files, _, _ in subsets.values()))
    split = choose_split(source.split, list(splits), source.path)
    passages: dict[tuple[str, str], Text] = {}  # by language and key of the text, under their first id
    queries: dict[tuple[str, str], Text] = {}
    grades: dict[tuple[str, str], dict[str, int]] = {}  # of the passages of a query
    unknown: list[str] = []
    sizes: dict[str, int] = {}  # of the corpora of subsets that have no text twice, of passages or judged queries
    for subset, (files, passage_language, query_language) in subsets.items():
        where = f"{source.path}: subset {subset}"
        own: dict[str, str] = {}  # the id under which a passage of this subset stands
        for file in of_split(files.corpus, split, f"{where}, corpus"):
            for text in PassageFile(subset, file, passage_language, strict=source.strict).read():
                first = text._replace(text_id=f"{subset}:{text.text_id}")
                own[text.text_id] = passages.setdefault((text.language, text_key(text.text)), first).text_id
        topics = read_topics(of_split(files.topics, split, f"{where}, queries"), query_language, f"{subset}:")
        answered: dict[str, bool] = {}  # by the id of a judged query
        for place, query_id, passage_id, grade in _lines(files.qrels[split]):
            if query_id not in topics:
                unknown.append(place)
                continue
            topic = topics[query_id]
            key = topic.language, text_key(topic.text)
            queries.setdefault(key, topic)
            known = grades.setdefault(key, {})
            name = own.get(passage_id, f"{subset}:{passage_id}")
            known[name] = max(known.get(name, grade), grade)
            answered[query_id] = answered.get(query_id, False) or grade > 0
        once = len({text_key(topics[query_id].text) for query_id in answered}) == len(answered)
        if once and all(answered.values()) and len({*own.values()}) == len(own):
            sizes[subset] = len(own)
    if unknown and source.strict:
        raise InputError(f"{unknown[0]}: the query is not among those of its subset (and {len(unknown) - 1} more)")
    judged = [Judgement(n, name, grades[key][name]) for n, key in enumerate(queries) for name in sorted(grades[key])]
    notices = [f"{len(unknown)} judgements are of queries that are not there, and are left out"] * bool(unknown)
    pools = Counter(language for language, _ in passages)
    pairs = {subset: (of_passages, of_queries) for subset, (_, of_passages, of_queries) in subsets.items()}
    often = Counter(pairs.values())
    # Those whose pools and queries are the ones that mteb has.
    alike = {name: pair for name, pair in pairs.items() if sizes.get(name) == pools[pair[0]] and often[pair] == 1}
    if others := [name for name in subsets if name not in alike]:
        notices.append(
            f"{len(others)} subsets (first: {others[0]}) are scored otherwise than by mteb: texts that are there twice "
            "are one, and so is the pool of a language's passages in all subsets"
        )
    name = f"{_name(source)} split {split}"
    corpus = in_parts([*passages.values()])
    rows = BenchmarkRows(name, [*queries.values()], corpus, judged, notices, strict=source.strict)
    return replace(rows, split=split, subsets=alike)


def _lines(files: Iterable[Source]) -> Iterator[tuple[str, str, str, int]]:
    return (line for file in files for line in read_qrels(file))
