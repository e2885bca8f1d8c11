"""Which files of a judged collection are its corpus, its topics (queries) and its qrels, by their names alone.

Both readers of such collections stand on it: `judged`, which makes training pairs, and `judged_benchmarks`.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hybridtune.data.readers.files import Source
from hybridtune.errors import InputError

FULL_NAMES = {  # of languages, in the file names of mMARCO, Mr. TyDi and CIRAL
    **{"arabic": "ar", "bengali": "bn", "chinese": "zh", "dutch": "nl", "english": "en", "finnish": "fi"},
    **{"french": "fr", "german": "de", "hausa": "ha", "hindi": "hi", "indonesian": "id", "italian": "it"},
    **{"japanese": "ja", "korean": "ko", "portuguese": "pt", "russian": "ru", "somali": "so", "spanish": "es"},
    **{"swahili": "sw", "telugu": "te", "thai": "th", "vietnamese": "vi", "yoruba": "yo"},
}
PACKED = r"(?:\.(?:gz|bz2|xz|zst))?$"
MIRACL_CORPUS = re.compile(r"(?:^|/)miracl-corpus-v1\.0-(?P<language>[a-z]+)/(?P<name>docs-[^/]+)\.jsonl(\.gz)?$")
_MIRACL_TABLE = re.compile(
    r"(?:^|/)(?P<kind>topics|qrels)\.miracl-v1\.0-(?P<language>[a-z]+)-(?P<split>[^/]+)\.tsv(\.gz)?$"
)
_CIRAL = re.compile(
    r"(?:^|/)(?P<kind>topics|qrels)\.ciral-v[\d.]+-(?P<language>[a-z]{2})-(?P<split>[^/]+)\.tsv" + PACKED
)
_CIRAL_CORPUS = re.compile(r"(?P<name>hausa|somali|swahili|yoruba)[^/]*(?:/[^/]*)?\.(?:jsonl|parquet)" + PACKED)
_NEUCLIR_TOPICS = re.compile(r"(?:^|/)news\.(?P<language>[a-z]{3})\.tsv" + PACKED)
_NEUCLIR_QRELS = re.compile(r"(?:^|/)qrels\.(?P<language>mlir|[a-z]{3})\.gains\.txt" + PACKED)
_NEUCLIR_CORPUS = re.compile(r"(?:^|[/._-])(?P<language>fas|rus|zho)(?=[/._-]).*\.(?:jsonl|parquet)" + PACKED)
# The same documents in English, under the same ids: `mt_docs` of NeuCLIR, the translations of CIRAL's passages.
_TRANSLATED = re.compile(r"(?:^|[/._-])(?:mt|translated)(?:[/._-]|$)")
_NUMBERED = r"(?:-\d+-of-\d+)?"  # of a shard on the hub
_ROWS = r"\.(?:parquet|arrow|jsonl(?:\.gz)?)$"
_CORPUS = re.compile(rf"^(?:(?P<name>corpus[^/]*)\.jsonl(\.gz)?$|corpus/(?P<shard>[^/]+?{_NUMBERED}){_ROWS})")
_TOPICS = re.compile(
    r"^(?:(?P<name>(queries|topics)[^/]*)\.(jsonl|tsv|txt)(\.gz)?$"
    rf"|(?:queries|query)/(?P<shard>[^/]+?){_NUMBERED}{_ROWS})"
)
_QRELS = (  # split: what the file is named for
    re.compile(r"^qrels/(?:qrels[._-])?(?P<split>[^/]+)\.(tsv|txt|qrels|jsonl)(\.gz)?$"),
    re.compile(r"^qrels[._-](?P<split>[^/]+)\.(tsv|txt)(\.gz)?$"),
    re.compile(r"^(?P<split>qrels)\.(tsv|txt)(\.gz)?$"),
    re.compile(r"^(?P<split>[^/]+)\.qrels(\.gz)?$"),
    re.compile(rf"^(?:data|default|qrels)/(?P<split>[^/]+?){_NUMBERED}\.(?:parquet|arrow)$"),
    re.compile(rf"^default/(?P<split>[^/]+?){_NUMBERED}\.(?:jsonl|tsv)(\.gz)?$"),
)
_KINDS = "corpus|queries|qrels|top_ranked|instruction"
_SUBSET = (  # of mteb's layout: `de-corpus`, in older data sets `corpus-de`
    re.compile(rf"^(?P<subset>[^/]+)-(?P<kind>{_KINDS})/(?P<split>[^/]+?){_NUMBERED}{_ROWS}"),
    re.compile(rf"^(?P<kind>{_KINDS})-(?P<subset>[^/]+)/(?P<split>[^/]+?){_NUMBERED}{_ROWS}"),
)
_PART = re.compile(r"-\d+-of-\d+(?=\.)")
_IN_ONE_FOLDER = re.compile(rf"^(?P<folder>[^/]+)/(?P<split>[^/]+?){_NUMBERED}{_ROWS}")


class JudgedFiles(NamedTuple):
    """The files of a collection, or of one language or subset of it; in the hub's layout a file may be in parts."""

    corpus: dict[str, list[Source]]  # by name; of a subset by split
    topics: dict[str, list[Source]]  # by name; of a language or a subset by split
    qrels: dict[str, list[Source]]  # by split


class NeuclirFiles(NamedTuple):
    """The files of NeuCLIRBench and of its documents, by the three letters of their language."""

    topics: dict[str, Source]
    qrels: dict[str, Source]  # `mlir` judges the documents of all languages
    corpus: dict[str, list[Source]]


def miracl_files(files: Mapping[str, Source]) -> dict[str, JudgedFiles]:
    """Find the files of the data sets miracl/miracl and miracl/miracl-corpus by language, at any depth."""
    languages: dict[str, JudgedFiles] = {}
    for path, file in files.items():
        table, corpus = _MIRACL_TABLE.search(path), MIRACL_CORPUS.search(path)
        match = table or corpus
        if match is None:
            continue
        found = languages.setdefault(match["language"], JudgedFiles({}, {}, {}))
        if table:
            _put(found.topics if table["kind"] == "topics" else found.qrels, table["split"], file)
        else:
            _put(found.corpus, match["name"], file)
    return {language: found for language, found in languages.items() if found.topics or found.qrels}


def ciral_files(files: Mapping[str, Source]) -> dict[str, JudgedFiles]:
    """Find the files of the data sets CIRAL/ciral and CIRAL/ciral-corpus by language, at any depth.

    The judgements of a pool, ``test-a-pools``, are of the topics of ``test-a``, and stand with these here.
    """
    languages: dict[str, JudgedFiles] = {}
    for path, file in files.items():
        if match := _CIRAL.search(path):
            found = languages.setdefault(match["language"], JudgedFiles({}, {}, {}))
            _put(found.topics if match["kind"] == "topics" else found.qrels, match["split"], file)
    for found in languages.values():
        found.topics.update(
            {split: topics for split in found.qrels if (topics := found.topics.get(split.removesuffix("-pools")))}
        )
    for path, file in files.items():
        match = None if _TRANSLATED.search(path) else _CIRAL_CORPUS.search(path)
        if match and FULL_NAMES[match["name"]] in languages:
            _put(languages[FULL_NAMES[match["name"]]].corpus, path.replace("/", "-"), file)
    return languages


def neuclir_files(files: Mapping[str, Source]) -> NeuclirFiles | None:
    """Find the files of the data sets neuclir/bench and neuclir/neuclir1, at any depth; None without qrels."""
    found = NeuclirFiles({}, {}, {})
    for path, file in files.items():
        if match := _NEUCLIR_TOPICS.search(path):
            found.topics[match["language"]] = file
        elif match := _NEUCLIR_QRELS.search(path):
            found.qrels[match["language"]] = file
        elif (match := _NEUCLIR_CORPUS.search(path)) and not _TRANSLATED.search(path):
            found.corpus.setdefault(match["language"], []).append(file)
    return found if found.qrels else None


def translated_files(files: Mapping[str, Source]) -> list[str]:
    """Return the names of files that hold the documents of NeuCLIR or CIRAL in a translation, which is not read."""
    corpora = _NEUCLIR_CORPUS, _CIRAL_CORPUS
    return [path for path in files if _TRANSLATED.search(path) and any(one.search(path) for one in corpora)]


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
            _put(found.qrels, qrels["split"], file, path)
    return found if sum(map(bool, found)) >= 2 else None


def subset_files(files: Mapping[str, Source]) -> tuple[dict[str, JudgedFiles], list[str]]:
    """Find the subsets of a data set in mteb's layout: ``<subset>-corpus/``, ``<subset>-queries/`` and ``..-qrels/``.

    Older ones have ``corpus-<subset>/``, ``queries-<subset>/`` and ``<subset>/``, the judgements. Subsets without a
    corpus, or without judgements, of their own share ``corpus/`` and ``qrels/`` (or ``default/``, ``data/``).

    Returns:
        The files by subset, none where no subset has queries; and the folders beside them that only rerankers read.

    Raises:
        InputError: instructions, which belong to the queries of such a task and are not read.
    """
    subsets: dict[str, JudgedFiles] = {}
    shared = JudgedFiles({}, {}, {})
    others: dict[str, None] = {}
    for path, file in files.items():
        match = next((match for pattern in _SUBSET if (match := pattern.match(path))), None)
        folder = _IN_ONE_FOLDER.match(path)
        if match and match["kind"] not in ("top_ranked", "instruction"):
            found = subsets.setdefault(match["subset"], JudgedFiles({}, {}, {}))
            _put(_of_kind(found, match["kind"]), match["split"], file, path)
        elif match or (folder and folder["folder"] in ("top_ranked", "instruction")):
            others.setdefault(path.partition("/")[0])
        elif folder and folder["folder"] in ("corpus", "qrels", "default", "data"):
            _put(_of_kind(shared, "corpus" if folder["folder"] == "corpus" else "qrels"), folder["split"], file, path)
    for path, file in files.items():
        folder = _IN_ONE_FOLDER.match(path)
        if folder and folder["folder"] in subsets and subsets[folder["folder"]].corpus:
            _put(subsets[folder["folder"]].qrels, folder["split"], file, path)
    instructions = [name for name in others if "instruction" in name]
    if instructions and (subsets or shared.corpus):
        raise InputError(
            f"{instructions[0]}/: instructions, which the queries of such a task are read with, are not supported; "
            "give a data set without them"
        )
    if not any(found.qrels or shared.qrels for found in subsets.values() if found.topics):
        return {}, [*others]
    return {
        name: JudgedFiles(found.corpus or shared.corpus, found.topics, found.qrels or shared.qrels)
        for name, found in subsets.items()
    }, [*others]


def _of_kind(found: JudgedFiles, kind: str) -> dict[str, list[Source]]:
    return {"corpus": found.corpus, "queries": found.topics, "qrels": found.qrels}[kind]


def corpus_of(corpus: Mapping[str, list[Source]], split: str) -> dict[str, list[Source]]:
    """Return the files of a corpus that has one for each split, those of the split; else all files."""
    named = {name: parts for name, parts in corpus.items() if re.sub(f"{_NUMBERED}$", "", name) == split}
    return named or dict(corpus)


def of_split(parts: Mapping[str, Sequence[Source]], split: str, where: str) -> list[Source]:
    """Return the files of a split, else those of the only one there is, as mteb chooses them."""
    if split not in parts and len(parts) != 1:
        raise InputError(f"{where}: which files belong to split {split!r}? there are: {', '.join(parts) or 'none'}")
    return list(parts[split] if split in parts else next(iter(parts.values())))


def topics_of(topics: Mapping[str, list[Source]], split: str, where: str) -> list[Source]:
    """Return the only file of queries, or the one that is named for the split."""
    named = [name for name in topics if re.search(rf"(^|[._-]){re.escape(split)}$", name)]
    chosen = named if len(topics) > 1 else list(topics)
    if len(chosen) != 1:
        raise InputError(f"{where}: which file has the queries of split {split!r}? there are: {', '.join(topics)}")
    return topics[chosen[0]]


def _put(found: dict[str, list[Source]], name: str, file: Source, path: str = "") -> None:
    """Take a file, or the next part of one: of Parquet, or numbered by its path in the layout."""
    before = found.setdefault(name, [])
    all_parquet = all(one.path.endswith(".parquet") for one in (file, *before[:1]))
    if before and not all_parquet and not _PART.search(path):
        raise InputError(f"{file.name}: {before[0].name} is there too; keep one of the two")
    before.append(file)
