"""Judged collections as training pairs: a query and a passage that is judged relevant, with those judged not relevant.

BEIR and TREC folders, MIRACL, CIRAL, NeuCLIR, mMARCO and MS MARCO, Mr. TyDi, CLIRMatrix: queries, judgements and corpus
stand in files of their own. In memory are the ids, the queries and the passages that are wanted; the corpus is read by.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hybridtune.config.fields import language_pair
from hybridtune.data.readers.files import Source, text_lines
from hybridtune.data.readers.judged_files import (
    FULL_NAMES,
    PACKED,
    ciral_files,
    miracl_files,
    neuclir_files,
    qrels_files,
    topics_of,
    translated_files,
)
from hybridtune.data.readers.notes import Notes
from hybridtune.data.readers.records import Text
from hybridtune.data.readers.rows import object_rows
from hybridtune.data.readers.trec import PassageFile, read_qrels, read_topics
from hybridtune.data.text_key import text_key
from hybridtune.errors import InputError

MOST_NEGATIVES = 8  # of a query that are kept, of the hundreds that triples have

_MRTYDI_TOPICS = re.compile(r"(?:^|(?P<folder>.*)/)topic\.(?P<split>[^/.]+)\.tsv" + PACKED)
_MRTYDI_QRELS = re.compile(r"(?:^|(?P<folder>.*)/)qrels\.(?P<split>[^/.]+)\.txt" + PACKED)
_MRTYDI_CORPUS = re.compile(r"(?:^|(?P<folder>.*)/)docs\.jsonl" + PACKED)
_MARCO_CORPUS = re.compile(r"(?:^|/)(?:(?P<language>[a-z]+)_)?collection\.tsv" + PACKED)
_MARCO_QUERIES = re.compile(r"(?:^|/)(?:(?P<language>[a-z]+)_)?queries\.(?P<split>[^/]+?)\.tsv" + PACKED)
_MARCO_QRELS = re.compile(r"(?:^|/)qrels\.(?P<split>[^/]+?)\.tsv" + PACKED)
_MARCO_TRIPLES = re.compile(r"(?:^|/)(?:qidpidtriples|triples)\.(?P<split>train)[^/]*\.tsv" + PACKED)
_CLIR = re.compile(r"(?:^|/)(?P<query>[a-z-]+)\.(?P<passage>[a-z-]+)\.(?P<split>[^/.]+)(?:\.[^/]*)?\.jl" + PACKED)
_CLIR_CORPUS = re.compile(r"(?:^|/)(?P<language>[a-z-]+)\.tsv" + PACKED)

Rows = Iterator[tuple[str, dict[str, Any]]]


@dataclass
class _Pairs:
    """The judgements of a collection, by the ids of queries and passages; a query has a text a language."""

    name: str  # of the groups' ids
    queries: dict[str, dict[str, str]] = field(default_factory=dict)
    relevant: dict[str, dict[str, None]] = field(default_factory=dict)  # passages of a query, in their order
    others: dict[str, dict[str, None]] = field(default_factory=dict)  # judged not relevant

    def judge(
        self, query_id: str, passage_id: str, is_relevant: bool, notes: Notes, source: Source, where: str
    ) -> None:
        """Take a judgement; of those that are not relevant the first few."""
        known = (self.relevant if is_relevant else self.others).setdefault(query_id, {})
        if is_relevant or len(known) < MOST_NEGATIVES or passage_id in known:
            known.setdefault(passage_id)
        else:
            notes.leave_out(source.name, f"passages not relevant, beyond {MOST_NEGATIVES} of a query", where)

    def read_qrels(self, files: Iterable[Source], notes: Notes, source: Source) -> None:
        """Take the judgements of TREC's or BEIR's files: grades above 0 are relevant."""
        for file in files:
            for where, query_id, passage_id, grade in read_qrels(file):
                self.judge(query_id, passage_id, grade > 0, notes, source, where)

    def add_queries(self, topics: Mapping[str, Text]) -> None:
        """Take the texts of queries in a language."""
        for query_id, text in topics.items():
            self.queries.setdefault(query_id, {})[text.language] = text.text

    def rows(self, corpus: Iterable[Text], notes: Notes, source: Source) -> Rows:
        """Read the corpus for the judged passages, and yield a group for each relevant one."""
        judged = self.relevant, self.others
        wanted = {passage_id for side in judged for passages in side.values() for passage_id in passages}
        texts: dict[str, dict[str, str]] = {}
        for passage in corpus:
            if passage.text_id in wanted and passage.text.strip():
                texts.setdefault(passage.text_id, {})[passage.language] = passage.text
        for query_id, passages in self.relevant.items():
            where = f"{source.name}: query {query_id!r}"
            if query_id not in self.queries:
                notes.leave_out(source.name, "judged queries that are not among the queries", where)
                continue
            there = [passage_id for passage_id in passages if passage_id in texts]
            if len(there) < len(passages):
                absent = "relevant passages that are not in the corpus, or have no text"
                notes.leave_out(source.name, absent, where, len(passages) - len(there))
            hard = [texts[passage_id] for passage_id in self.others.get(query_id, ()) if passage_id in texts]
            for place, passage_id in enumerate(there, 1):
                yield (
                    where,
                    {
                        "group_id": f"{self.name}:{query_id}" + f"#{place}" * (place > 1),
                        "queries": self.queries[query_id],
                        "passages": texts[passage_id],
                        "negatives": _negatives(hard, texts[passage_id]),
                    },
                )


def _negatives(hard: Sequence[Mapping[str, str]], passages: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the hard negatives in the languages of a passage, without copies of it."""
    answers = {text_key(text) for text in passages.values()}
    found = {
        language: [texts[language] for texts in hard if language in texts and text_key(texts[language]) not in answers]
        for language in passages
    }
    return {language: texts for language, texts in found.items() if texts}


def part_of(name: str, row: Any) -> str | None:
    """Return why a file, by its name and first row, is not read by itself; None for one that may be."""
    keys = row.keys() if isinstance(row, Mapping) else set()
    parts = [{"src_query", "tgt_results"}, {"id", "contents"}, {"docid", "contents"}]
    parts += [{"query-id", "corpus-id"}, {"_id", "text"}, {"docid", "text"}]
    if any(part <= keys for part in parts) or judged_kind({name.rpartition("/")[2]: Source(name, name, None)}):
        return "this is a part of a judged collection; give the folder that holds its queries, judgements and corpus"
    return None


def judged_kind(files: Mapping[str, Source]) -> str | None:
    """Return the format of a folder of a judged collection, by the names of its files; None for others."""
    for kind, find in (("miracl", miracl_files), ("ciral", ciral_files), ("neuclir", neuclir_files)):
        if find(files):
            return kind
    for kind, pattern in (
        ("mrtydi", _MRTYDI_TOPICS),
        ("mmarco", _MARCO_CORPUS),
        ("clirmatrix", _CLIR),
    ):
        if any(pattern.search(name) for name in files):
            return kind
    found = qrels_files(files)
    return "beir" if found is not None and all(found) else None


def judged_rows(source: Source, notes: Notes) -> Rows:
    """Read a judged collection as groups, one a relevant passage, unchecked."""
    return _READERS[source.kind](source, source.inside(), notes)


def _split(wanted: str | None, splits: Iterable[str], source: Source) -> str:
    """Return the split that is wanted, else train, else the only one."""
    there = sorted(set(splits))
    if wanted is None:
        if "train" in there:
            return "train"
        if len(there) == 1:
            return there[0]
    elif wanted in there:
        return wanted
    missing = "which split" if wanted is None else f"no split {wanted!r}"
    raise InputError(
        f"{source.name}: {missing}; there are queries and judgements of: {', '.join(there) or 'none'}"
        + f"; write split: {there[0]}" * bool(there)
    )


def _languages(source: Source, what: str) -> tuple[str, str]:
    if source.layout.language is None:
        raise InputError(f"{source.name}: {what} does not say its language; give it, language: en (--language en)")
    return language_pair(source.layout.language)


def _named_language(name: str | None, source: Source, what: str) -> str:
    """Return the code of a language by its English name in a file's name, else the one that the user gives."""
    if name is None:
        return _languages(source, what)[0]
    if name not in FULL_NAMES:
        raise InputError(f"{source.name}: {what} names no known language ({name!r}); known: {', '.join(FULL_NAMES)}")
    return FULL_NAMES[name]


def _corpus(files: Iterable[tuple[Source, str | None]]) -> Iterator[Text]:
    for file, language in files:
        yield from PassageFile(file.name, file, language).read()


def _read_beir(source: Source, files: Mapping[str, Source], notes: Notes) -> Rows:
    found = qrels_files(files)
    if found is None or not all(found):
        raise InputError(f"{source.name}: a BEIR or TREC folder has a corpus, queries and qrels; one is missing")
    query_language, passage_language = None, None
    if source.layout.language is not None:
        query_language, passage_language = language_pair(source.layout.language)
    split = _split(source.layout.split, found.qrels, source)
    notes.read_as(source.name, f"BEIR or TREC, judgements of split {split}")
    pairs = _Pairs(source.stem)
    pairs.read_qrels(found.qrels[split], notes, source)
    pairs.add_queries(read_topics(topics_of(found.topics, split, source.name), query_language))
    parts = [(file, passage_language) for parts in found.corpus.values() for file in parts]
    yield from pairs.rows(_corpus(parts), notes, source)


def _read_miracl(source: Source, files: Mapping[str, Source], notes: Notes) -> Rows:
    languages = miracl_files(files)
    splits = [split for found in languages.values() for split in found.topics.keys() & found.qrels.keys()]
    split = _split(source.layout.split, splits, source)
    with_split = [x for x, found in sorted(languages.items()) if split in found.topics and split in found.qrels]
    notes.read_as(source.name, f"MIRACL, split {split} of {', '.join(with_split)}")
    for language in with_split:
        found = languages[language]
        if not found.corpus:
            raise InputError(
                f"{source.name}: no miracl-corpus-v1.0-{language}/docs-*.jsonl.gz beside miracl-v1.0-{language}; put "
                "that folder of the data set miracl/miracl-corpus there"
            )
        pairs = _Pairs(f"{source.stem}:{language}")
        pairs.read_qrels(found.qrels[split], notes, source)
        pairs.add_queries(read_topics(found.topics[split], language))
        parts = [(file, language) for parts in found.corpus.values() for file in parts]
        yield from pairs.rows(_corpus(parts), notes, source)


def _read_ciral(source: Source, files: Mapping[str, Source], notes: Notes) -> Rows:
    found = ciral_files(files)
    split = _split(source.layout.split, (split for of in found.values() for split in of.qrels), source)
    languages = [language for language, of in sorted(found.items()) if split in of.qrels]
    notes.read_as(source.name, f"CIRAL, split {split} of {', '.join(languages)}, queries in English")
    _leave_out_translated(source, files, notes)
    for language in languages:
        of = found[language]
        if not of.corpus:
            raise InputError(f"{source.name}: no passages in {language} (hausa_passages.jsonl, ...) beside its qrels")
        pairs = _Pairs(f"{source.stem}:{language}")
        pairs.read_qrels(of.qrels[split], notes, source)
        pairs.add_queries(read_topics(of.topics.get(split, []), "en"))
        yield from pairs.rows(
            _corpus((file, language) for parts in of.corpus.values() for file in parts), notes, source
        )


def _read_neuclir(source: Source, files: Mapping[str, Source], notes: Notes) -> Rows:
    found = neuclir_files(files)
    if found is None or not found.topics:
        raise InputError(f"{source.name}: no topics (news.eng.tsv, ...) beside the qrels")
    qrels = {language: file for language, file in found.qrels.items() if language != "mlir"} or found.qrels
    notes.read_as(source.name, f"NeuCLIR, topics in {', '.join(found.topics)}, judgements of {', '.join(qrels)}")
    _leave_out_translated(source, files, notes)
    pairs = _Pairs(source.stem)
    pairs.read_qrels(qrels.values(), notes, source)
    for language, file in found.topics.items():
        pairs.add_queries(read_topics([file], language))
    if not found.corpus:
        raise InputError(f"{source.name}: no documents (JSON lines in fas/, rus/ or zho/) beside the topics")
    corpus = ((file, language) for language, parts in found.corpus.items() for file in parts)
    yield from pairs.rows(_corpus(corpus), notes, source)


def _leave_out_translated(source: Source, files: Mapping[str, Source], notes: Notes) -> None:
    for name in translated_files(files):
        notes.leave_out(source.name, "files of translated passages", f"{source.name}/{name}")


def _read_mrtydi(source: Source, files: Mapping[str, Source], notes: Notes) -> Rows:
    topics, qrels, corpus = (
        [(match, file) for name, file in files.items() if (match := pattern.search(name))]
        for pattern in (_MRTYDI_TOPICS, _MRTYDI_QRELS, _MRTYDI_CORPUS)
    )
    judged = {(match["folder"], match["split"]) for match, _ in qrels}
    splits = [match["split"] for match, _ in topics if (match["folder"], match["split"]) in judged]
    split = _split(source.layout.split, splits, source)
    notes.read_as(source.name, f"Mr. TyDi, split {split}")
    for match, file in topics:
        if match["split"] != split:
            continue
        folder = match["folder"] or ""
        named = next((word for word in re.split(r"[^a-z]+", f"{source.name}/{folder}") if word in FULL_NAMES), None)
        language = _named_language(named, source, f"the folder of {file.name}")
        docs = [docs for one, docs in corpus if (one["folder"] or "").startswith(folder)]
        if not docs:
            raise InputError(f"{file.name}: no docs.jsonl.gz beside it, or in collection/")
        pairs = _Pairs(f"{source.stem}:{language}")
        pairs.read_qrels(
            (table for one, table in qrels if (one["folder"], one["split"]) == (match["folder"], split)), notes, source
        )
        pairs.add_queries(read_topics([file], language))
        yield from pairs.rows((text for one in docs for text in _contents(one, language)), notes, source)


def _contents(file: Source, language: str) -> Iterator[Text]:
    """Read the passages of Pyserini's JSON lines: an id, and title and text as its contents."""
    for where, row in object_rows(file):
        name, text = row.get("id", row.get("docid")), row.get("contents", row.get("text"))
        if name is None or not isinstance(text, str):
            raise InputError(f"{where}: a passage has an id and contents (got {', '.join(row)})")
        title = row.get("title")
        yield Text(str(name), language, f"{title} {text}" if title else text)


def _read_mmarco(source: Source, files: Mapping[str, Source], notes: Notes) -> Rows:
    def matches(pattern: re.Pattern[str]) -> list[tuple[re.Match[str], Source]]:
        return [(match, file) for name, file in files.items() if (match := pattern.search(name))]

    triples, qrels, queries = matches(_MARCO_TRIPLES), matches(_MARCO_QRELS), matches(_MARCO_QUERIES)
    split = _split(source.layout.split, (match["split"] for match, _ in (*triples, *qrels)), source)
    # The queries of dev.small are among those of dev.
    usable = [
        match["split"] for match, _ in queries if split == match["split"] or split.startswith(f"{match['split']}.")
    ]
    if not usable:
        raise InputError(f"{source.name}: no queries.{split}.tsv beside the judgements of {split}")
    pairs = _Pairs(source.stem)
    chosen = [file for match, file in triples if match["split"] == split]
    if chosen:
        for file in chosen:
            _read_triples(pairs, file, notes, source)
    else:
        pairs.read_qrels((file for match, file in qrels if match["split"] == split), notes, source)
    languages = []
    for match, file in queries:
        if match["split"] == max(usable, key=len):
            languages.append(_named_language(match["language"], source, file.name))
            pairs.add_queries(read_topics([file], languages[-1]))
    judgements = "triples" if chosen else "qrels"
    notes.read_as(source.name, f"MS MARCO's files, {judgements} of {split} in {', '.join(languages)}")
    corpus = [(file, _named_language(match["language"], source, file.name)) for match, file in matches(_MARCO_CORPUS)]
    yield from pairs.rows((text for file, x in corpus for text in _id_lines(file, x)), notes, source)


def _read_triples(pairs: _Pairs, file: Source, notes: Notes, source: Source) -> None:
    for where, line in text_lines(file):
        ids = line.split()
        if len(ids) != 3 or not all(name.isdecimal() for name in ids):
            raise InputError(
                f"{where}: a line has the ids of a query, of a relevant passage and of another one (got {line[:80]!r})"
            )
        pairs.judge(ids[0], ids[1], True, notes, source, where)
        pairs.judge(ids[0], ids[2], False, notes, source, where)


def _id_lines(file: Source, language: str) -> Iterator[Text]:
    for where, line in text_lines(file):
        name, tab, text = line.partition("\t")
        if not tab:
            raise InputError(f"{where}: a passage is 'id TAB text' (got {line[:80]!r})")
        yield Text(name.strip(), language, text)


def _read_clirmatrix(source: Source, files: Mapping[str, Source], notes: Notes) -> Rows:
    tables = [(match, file) for name, file in files.items() if (match := _CLIR.search(name))]
    split = _split(source.layout.split, (match["split"] for match, _ in tables), source)
    corpora = {match["language"]: file for name, file in files.items() if (match := _CLIR_CORPUS.search(name))}
    notes.read_as(source.name, f"CLIRMatrix, the best passages of each query of {split}")
    for match, file in tables:
        if match["split"] != split:
            continue
        if match["passage"] not in corpora:
            raise InputError(f"{file.name}: no {match['passage']}.tsv with its passages beside it")
        pairs = _Pairs(f"{source.stem}:{match['query']}-{match['passage']}")
        for where, row in object_rows(file):
            _judge_results(pairs, row, match["query"], notes, source, where)
        yield from pairs.rows(_id_lines(corpora[match["passage"]], match["passage"]), notes, source)


def _judge_results(
    pairs: _Pairs, row: Mapping[str, Any], language: str, notes: Notes, source: Source, where: str
) -> None:
    """Take a query of CLIRMatrix: its passages with the best grade are relevant, those of grade 0 are not."""
    try:
        query_id, text = str(row["src_id"]), row["src_query"]
        grades = [(str(passage_id), float(grade)) for passage_id, grade in row["tgt_results"]]
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"{where}: a row has src_id, src_query and tgt_results, a list of [id, grade] (got {', '.join(row)})"
        ) from None
    pairs.queries[query_id] = {language: text}
    best = max((grade for _, grade in grades), default=0.0)
    for passage_id, grade in grades:
        if grade == 0 or grade == best:
            pairs.judge(query_id, passage_id, grade > 0, notes, source, where)


_READERS: dict[str, Callable[[Source, Mapping[str, Source], Notes], Rows]] = {
    "beir": _read_beir,
    "miracl": _read_miracl,
    "ciral": _read_ciral,
    "neuclir": _read_neuclir,
    "mmarco": _read_mmarco,
    "mrtydi": _read_mrtydi,
    "clirmatrix": _read_clirmatrix,
}
