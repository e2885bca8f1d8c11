"""Benchmarks in the SQuAD layout: XQuAD-R and MLQA-R (sentences), MLQA (paragraphs)."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from hybridtune.config import BenchmarkSource
from hybridtune.data.benchmark_files import choose_split, squad_articles
from hybridtune.data.benchmark_rows import BenchmarkRows, Judgement, Text, in_parts
from hybridtune.data.formats import Source, check_unicode
from hybridtune.errors import InputError
from hybridtune.language_codes import LANGUAGE, language_code

_MLQA = re.compile(r"^(?:.*/)?(?P<split>[^/]+)-context-(?P<context>[^/]+)-question-(?P<question>[^/]+)\.json$")


def xquad_r_files(files: Mapping[str, Source]) -> dict[str, Source]:
    """``{language: file}`` of the ``<language>.json`` files of a folder."""
    return {name[:-5]: file for name, file in files.items() if name.endswith(".json") and LANGUAGE.match(name[:-5])}


def read_xquad_r(files: Mapping[str, Source], source: BenchmarkSource) -> BenchmarkRows:
    """XQuAD-R and MLQA-R (arXiv 2004.05484): the sentence that holds the answer's start is the relevant one.

    A question is answered by the sentences of its id in all languages that have it: eleven in XQuAD-R, two to
    four in MLQA-R.

    Args:
        files: ``{language: file}``.
        source: the path, and documents [first, after the last) in the order in which they stand in every file.

    Raises:
        InputError: a file of another form, or a query whose answer stands in no sentence.
    """
    queries: list[Text] = []
    passages: list[Text] = []
    answers: list[tuple[str, str]] = []  # (question id, id of the sentence)
    for code, file in files.items():
        language = language_code(code, file.name)
        for number, article in enumerate(squad_articles(file, "an XQuAD-R file")):
            if source.documents is not None and not source.documents[0] <= number < source.documents[1]:
                continue
            where = f"{file.name}: article {number}"
            try:
                for part, paragraph in enumerate(article["paragraphs"]):
                    sentences, found = _paragraph(paragraph, f"{language}:{number}:{part}", language, where)
                    passages.extend(sentences)
                    for query, answer in found:
                        queries.append(query._replace(text_id=f"{query.text_id}:{language}"))
                        answers.append((query.text_id, answer))
            except (LookupError, TypeError, ValueError, AttributeError) as error:
                raise InputError(f"{where} is not of the XQuAD-R form: {error!r}") from None
    by_question: dict[str, list[str]] = {}
    for question_id, answer in answers:
        by_question.setdefault(question_id, []).append(answer)
    judged = [Judgement(q, p, 1) for q, (name, _) in enumerate(answers) for p in sorted(set(by_question[name]))]
    name = source.path if source.documents is None else f"{source.path} documents {list(source.documents)}"
    return BenchmarkRows(name, queries, in_parts(passages), judged, [])


def _paragraph(paragraph: Any, name: str, language: str, where: str) -> tuple[list[Text], list[tuple[Text, str]]]:
    """The sentences of a paragraph, and its queries with the id of the sentence that answers each."""
    cuts = list(zip(paragraph["sentences"], paragraph["sentence_breaks"], strict=True))
    sentences = [Text(f"{name}:{i}", language, _text(text, where, or_blank=True)) for i, (text, _) in enumerate(cuts)]
    queries = []
    for question in paragraph["qas"]:
        query = Text(_text(question["id"], where), language, _text(question["question"], where))
        start = question["answers"][0]["answer_start"] if question["answers"] else -1
        holds = [i for i, (_, (a, b)) in enumerate(cuts) if a <= start < b]
        if not holds:
            raise InputError(
                f"{where}: query {query.text_id!r} has no relevant passage: no sentence holds its answer at {start}"
            )
        queries.append((query, sentences[holds[0]].text_id))
    return sentences, queries


def mlqa_files(files: Mapping[str, Source]) -> dict[str, dict[tuple[str, str], list[Source]]]:
    """``{split: {(language of the context, language of the question): files}}`` of MLQA's file names."""
    splits: dict[str, dict[tuple[str, str], list[Source]]] = {}
    for name, file in files.items():
        match = _MLQA.match(name)
        if match:
            pair = (match["context"], match["question"])
            splits.setdefault(match["split"], {}).setdefault(pair, []).append(file)
    return splits


def read_mlqa(splits: Mapping[str, Mapping[tuple[str, str], list[Source]]], source: BenchmarkSource) -> BenchmarkRows:
    """MLQA (arXiv 1910.07475): a passage is a paragraph, as in mteb's MLQARetrieval; no sentence is invented.

    The same paragraph stands in every file of its context language, under other numbers and with other questions.
    So it is known by its text, and its id is a digest of that: the same whichever files and splits are there.

    Args:
        splits: as ``mlqa_files`` gives them.
        source: the path and the split.

    Raises:
        InputError: a file of another form, no such split, or a question id with two texts in one language.
    """
    split = choose_split(source.split, list(splits), source.path)
    passages: dict[str, Text] = {}
    queries: dict[tuple[str, str], Text] = {}
    stands_under: dict[str, set[str]] = {}  # question id -> ids of its paragraphs, in all languages
    for codes, files in sorted(splits[split].items()):
        for file in files:
            context, question = (language_code(code, file.name) for code in codes)
            for text, asked in _mlqa_paragraphs(file):
                passage_id = f"{context}:{hashlib.sha256(text.encode()).hexdigest()[:16]}"
                passages.setdefault(passage_id, Text(passage_id, context, text))
                for name, query in asked:
                    known = queries.setdefault((name, question), Text(f"{name}:{question}", question, query))
                    if known.text != query:
                        raise InputError(
                            f"{file.name}: question {name!r} has two texts in {question!r}: {known.text!r}, {query!r}"
                        )
                    stands_under.setdefault(name, set()).add(passage_id)
    judged = [Judgement(q, p, 1) for q, (name, _) in enumerate(queries) for p in sorted(stands_under[name])]
    name = f"{source.path} split {split}"
    return BenchmarkRows(name, list(queries.values()), in_parts(list(passages.values())), judged, [])


def _mlqa_paragraphs(file: Source) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """The paragraphs of a file, each with its questions as (id, question)."""
    for number, article in enumerate(squad_articles(file, "an MLQA file")):
        where = f"{file.name}: article {number}"
        try:
            for paragraph in article["paragraphs"]:
                asked = [(_text(query["id"], where), _text(query["question"], where)) for query in paragraph["qas"]]
                yield _text(paragraph["context"], where), asked
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{where} is not of the MLQA form: {error!r}") from None


def _text(value: Any, where: str, or_blank: bool = False) -> str:
    if not isinstance(value, str) or not (or_blank or value.strip()):
        raise TypeError(f"{value!r} is not a text")
    check_unicode(value, where)
    return value
