"""Benchmarks in the SQuAD layout: XQuAD-R and MLQA-R (sentences), MLQA (paragraphs)."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from hybridtune.config.fields import BenchmarkSource
from hybridtune.config.json_text import parse_json
from hybridtune.config.languages import is_language, language_code
from hybridtune.data.answer_sets import answer_sets_by_key
from hybridtune.data.readers.files import Source, check_unicode, read_bytes
from hybridtune.data.readers.members import member
from hybridtune.data.readers.records import BenchmarkRows, Judgement, Text, choose_split, in_parts
from hybridtune.errors import InputError, one_line, short_repr

_MLQA = re.compile(r"^(?:.*/)?(?P<split>[^/]+)-context-(?P<context>[^/]+)-question-(?P<question>[^/]+)\.json$")


def xquad_r_files(files: Mapping[str, Source]) -> dict[str, Source]:
    """Return ``{language: file}`` of the ``<language>.json`` files of a folder."""
    return {name[:-5]: file for name, file in files.items() if name.endswith(".json") and _is_code(name[:-5])}


def _is_code(name: str) -> bool:
    """Return whether a file is named for a language; one like ``xx`` is too, and refused when it is read."""
    return re.fullmatch("[a-z]{2,3}(-[A-Za-z0-9]+)*", name) is not None or is_language(name)


def read_xquad_r(files: Mapping[str, Source], source: BenchmarkSource) -> BenchmarkRows:
    """Read XQuAD-R or MLQA-R: the sentence that holds the answer's start is the relevant one.

    A question is answered by the sentences of its id in all languages that have it: eleven in XQuAD-R, two to
    four in MLQA-R.

    Articles that share a question, in any languages, are one document. MLQA-R has other articles in every language,
    each file in an order of its own, so documents are numbered in the order in which the languages' files, sorted, name
    them first; where all files hold the same articles in one order, as in XQuAD-R, that is the order in the file.

    Source: LAReQA (arXiv 2004.05484).

    Raises:
        InputError: a file of another form, or a query whose answer is in no sentence.
    """
    paragraphs: list[tuple[tuple[str, int], str, str, str, Any]] = []
    question_ids: dict[tuple[str, int], list[str]] = {}  # of every article, by language and number
    for code, file in files.items():
        language = language_code(code, file.name)
        for number, parts in enumerate(_articles(file, "XQuAD-R")):
            names: list[str] = []
            question_ids[code, number] = names  # an article without a paragraph takes a document's number too
            for part, (where, content) in enumerate(parts):
                with _form("XQuAD-R", where):
                    names += [_text(question, "id", where) for question in member(content, "qas", list)]
                paragraphs.append(((code, number), f"{language}:{number}:{part}", language, where, content))
    _, documents = np.unique(answer_sets_by_key(question_ids.values()), return_inverse=True)
    document_of = dict(zip(question_ids, documents.tolist(), strict=True))
    first, last = source.documents or (0, len(documents))
    queries: list[Text] = []
    passages: list[Text] = []
    answers: list[tuple[str, str]] = []  # (question id, id of the sentence)
    document_ids: list[str] = []
    passage_documents: dict[str, str] = {}
    for article, name, language, where, content in paragraphs:
        if not first <= document_of[article] < last:
            continue
        with _form("XQuAD-R", where):
            sentences, found = _sentences(content, name, language, where)
        passages.extend(sentences)
        passage_documents |= dict.fromkeys((text.text_id for text in sentences), str(document_of[article]))
        for query, answer in found:
            queries.append(query._replace(text_id=f"{query.text_id}:{language}"))
            answers.append((query.text_id, answer))
            document_ids.append(str(document_of[article]))
    by_question: dict[str, list[str]] = {}
    for question_id, answer in answers:
        by_question.setdefault(question_id, []).append(answer)
    judged = [Judgement(q, p, 1) for q, (name, _) in enumerate(answers) for p in sorted(set(by_question[name]))]
    name = source.path if source.documents is None else f"{source.path} documents {list(source.documents)}"
    return BenchmarkRows(
        name, queries, in_parts(passages), judged, [], documents=document_ids, passage_documents=passage_documents
    )


@contextmanager
def _form(kind: str, where: str) -> Iterator[None]:
    """Turn what is wrong with a piece of another form into one line that names the piece."""
    try:
        yield
    except ValueError as error:
        raise InputError(f"{where} is not of the {kind} form: {error}") from None


def _sentences(paragraph: Any, name: str, language: str, where: str) -> tuple[list[Text], list[tuple[Text, str]]]:
    """Return the sentences of a paragraph, and its queries with the id of the sentence that answers each."""
    if "context" in paragraph:  # not used, but it must be what the format says
        member(paragraph, "context", str)
    breaks = [_break(one) for one in member(paragraph, "sentence_breaks", list)]
    texts = [_sentence(one, where) for one in member(paragraph, "sentences", list)]
    if len(texts) != len(breaks):
        raise ValueError(f"it has {len(texts)} sentences and {len(breaks)} sentence_breaks")
    sentences = [Text(f"{name}:{index}", language, text) for index, text in enumerate(texts)]
    queries = []
    for question in member(paragraph, "qas", list):
        query = Text(_text(question, "id", where), language, _text(question, "question", where))
        answers = member(question, "answers", list)
        start = member(answers[0], "answer_start", int) if answers else -1
        holds = [index for index, (first, after) in enumerate(breaks) if first <= start < after]
        if not holds:
            raise InputError(
                f"{where}: query {query.text_id!r} has no relevant passage: no sentence holds its answer at {start}"
            )
        queries.append((query, sentences[holds[0]].text_id))
    return sentences, queries


def _break(value: Any) -> tuple[int, int]:
    if not isinstance(value, list) or [type(one) for one in value] != [int, int]:
        raise ValueError(f"in sentence_breaks {short_repr(value)} is not [first, after the last] character")
    return value[0], value[1]


def _sentence(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"in sentences {short_repr(value)} is not a text")
    check_unicode(value, where)
    return value


def mlqa_files(files: Mapping[str, Source]) -> dict[str, dict[tuple[str, str], list[Source]]]:
    """Return ``{split: {(language of the context, of the question): files}}`` of MLQA's file names."""
    splits: dict[str, dict[tuple[str, str], list[Source]]] = {}
    for name, file in files.items():
        match = _MLQA.match(name)
        if match:
            pair = (match["context"], match["question"])
            splits.setdefault(match["split"], {}).setdefault(pair, []).append(file)
    return splits


def read_mlqa(splits: Mapping[str, Mapping[tuple[str, str], list[Source]]], source: BenchmarkSource) -> BenchmarkRows:
    """Read MLQA: a passage is a paragraph, as in mteb's MLQARetrieval; no sentence is invented.

    The same paragraph is in every file of its context language, under other numbers and with other questions.
    So its id is a digest of its text: the same whichever files and splits are there. Articles that share a question or
    a paragraph, in any languages, are one document.

    Source: MLQA (arXiv 1910.07475).

    Raises:
        InputError: a file of another form, no such split, or a question id with two texts in one language.
    """
    split = choose_split(source.split, list(splits), source.path)
    passages: dict[str, Text] = {}
    queries: dict[tuple[str, str], Text] = {}
    paragraphs: dict[str, set[str]] = {}  # question id -> ids of its paragraphs, in all languages
    articles: list[list[str]] = []  # ids of the paragraphs and questions of every article of a file
    for codes, files in sorted(splits[split].items()):
        for file in files:
            context, question = (language_code(code, file.name) for code in codes)
            for parts in _articles(file, "MLQA"):
                articles.append([])
                for where, paragraph in parts:
                    passage, texts = _paragraph(paragraph, context, question, where)
                    passages.setdefault(passage.text_id, passage)
                    articles[-1] += [passage.text_id, *(name for name, _ in texts)]
                    for name, query in texts:
                        known = queries.setdefault((name, question), query)
                        if known.text != query.text:
                            raise InputError(
                                f"{file.name}: question {name!r} has two texts in {question!r}: {known.text!r}, "
                                f"{query.text!r}"
                            )
                        paragraphs.setdefault(name, set()).add(passage.text_id)
    judged = [Judgement(q, p, 1) for q, (name, _) in enumerate(queries) for p in sorted(paragraphs[name])]
    document_of = {
        key: str(first) for first, keys in zip(answer_sets_by_key(articles), articles, strict=True) for key in keys
    }
    documents = [document_of[name] for name, _ in queries]
    name = f"{source.path} split {split}"
    return BenchmarkRows(
        name, list(queries.values()), in_parts(list(passages.values())), judged, [], documents=documents
    )


def _paragraph(paragraph: Any, context: str, question: str, where: str) -> tuple[Text, list[tuple[str, Text]]]:
    """Return a paragraph of MLQA as a passage, and its questions, each with the id that its translations share."""
    with _form("MLQA", where):
        questions = member(paragraph, "qas", list)
        texts = [(_text(query, "id", where), _text(query, "question", where)) for query in questions]
        text = _text(paragraph, "context", where)
    passage = Text(f"{context}:{hashlib.sha256(text.encode()).hexdigest()[:16]}", context, text)
    return passage, [(name, Text(f"{name}:{question}", question, query)) for name, query in texts]


def _articles(file: Source, kind: str) -> Iterator[list[tuple[str, Any]]]:
    """Yield the paragraphs of each article: the name of a paragraph in messages, and its content."""
    try:
        articles = member(parse_json(b"".join(read_bytes(file))), "data", list)
    except (InputError, ValueError) as error:
        raise InputError(f"{file.name}: not an {kind} file (a JSON object with 'data'): {one_line(error)}") from None
    for number, article in enumerate(articles):
        where = f"{file.name}: article {number}"
        with _form(kind, where):
            paragraphs = member(article, "paragraphs", list)
        yield [(f"{where}, paragraph {part}", paragraph) for part, paragraph in enumerate(paragraphs)]


def _text(piece: Any, key: str, where: str) -> str:
    value: str = member(piece, key, str)
    if not value.strip():
        raise ValueError(f"{key} is empty")
    check_unicode(value, where)
    return value
