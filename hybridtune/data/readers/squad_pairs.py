"""Files in the SQuAD layout as training pairs: a question and its paragraph. SQuAD, XQuAD, MLQA, TyDi's gold passages.

Of several files, one a language or a pair of languages, the questions of one id are one group of translations.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from hybridtune.config.fields import language_pair
from hybridtune.data.answer_sets import answer_sets_by_key
from hybridtune.data.readers.files import Source, read_head
from hybridtune.data.readers.json_text import json_values
from hybridtune.data.readers.members import member
from hybridtune.data.readers.notes import Notes
from hybridtune.errors import InputError, short_repr

_MLQA = re.compile(r"(?:^|/)(?P<split>[^/]+)-context-(?P<passage>[^/]+)-question-(?P<query>[^/]+)\.json")
_XQUAD = re.compile(r"(?:^|/)(?:xquad\.)?(?P<query>[a-z]{2,3}(?:[-_][A-Za-z]{2,4})?)\.json")
_TYDI = {  # the language that an id of TyDi begins with
    **{"arabic": "ar", "bengali": "bn", "english": "en", "finnish": "fi", "indonesian": "id", "japanese": "ja"},
    **{"korean": "ko", "russian": "ru", "swahili": "sw", "telugu": "te", "thai": "th"},
}


class _Question(NamedTuple):
    where: str
    article: int
    title: str
    question_id: str
    text: Any
    context: Any
    is_impossible: bool


def is_squad(file: Source) -> bool:
    """Return whether a file of JSON holds paragraphs with questions."""
    head = read_head(file)
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") and b'"paragraphs"' in head


def squad_files(files: Mapping[str, Source], split: str | None, path: str) -> dict[str, Source]:
    """Return the files of a folder that are read together, by the languages in their names; of MLQA, of a split."""
    mlqa = {name: match for name in files if (match := _MLQA.search(name))}
    if not mlqa:
        return {name: file for name, file in files.items() if _XQUAD.search(name) and is_squad(file)}
    splits = sorted({match["split"] for match in mlqa.values()})
    if (split is None and len(splits) > 1) or (split is not None and split not in splits):
        raise InputError(f"{path}: which split? there are: {', '.join(splits)}; write split: {splits[0]}")
    return {name: files[name] for name, match in mlqa.items() if match["split"] == (split or splits[0])}


def squad_rows(source: Source, notes: Notes) -> Iterator[tuple[str, dict[str, Any]]]:
    """Read the questions of a file, or of files that are read together, as groups; unchecked.

    A question that its paragraph does not answer (``is_impossible``) is left out. One file is streamed; of several the
    questions are in memory.
    """
    files = source.inside()
    notes.read_as(source.name, f"questions and paragraphs in SQuAD's layout{f', {len(files)} files' * bool(files)}")
    if not files:
        for question in _questions(source, notes, source.name):
            query_language, passage_language = _languages(source.name, question, source)
            yield (
                question.where,
                {
                    "group_id": question.question_id,
                    "document_id": question.title or f"{source.stem}:{question.article}",
                    "queries": {query_language: question.text},
                    "passages": {passage_language: question.context},
                },
            )
        return
    yield from _joined(source, files, notes)


def _joined(source: Source, files: Mapping[str, Source], notes: Notes) -> Iterator[tuple[str, dict[str, Any]]]:
    """Join the questions of one id; articles that share one, or a paragraph, are one document, named as the first."""
    rows: dict[str, dict[str, Any]] = {}
    places: dict[str, str] = {}
    keys: dict[tuple[str, int], set[str]] = {}  # ids and paragraphs, by file and article
    titles: list[str] = []
    for name, file in files.items():
        for question in _questions(file, notes, source.name):
            article = keys.setdefault((name, question.article), set())
            if len(titles) < len(keys):
                titles.append(question.title or f"{source.stem}:{name}:{question.article}")
            article |= {f"q{question.question_id}", f"p{question.context}"}
            places.setdefault(question.question_id, question.where)
            row = rows.setdefault(question.question_id, {"article": len(keys) - 1, "queries": {}, "passages": {}})
            languages = _languages(name, question, source)
            for side, language, text in zip(
                ("queries", "passages"), languages, (question.text, question.context), strict=True
            ):
                if row[side].setdefault(language, text) != text:
                    raise InputError(
                        f"{question.where}: question {question.question_id!r} has two texts among the {side} in "
                        f"{language!r}: {row[side][language]!r} and {text!r}"
                    )
    first = answer_sets_by_key(keys.values())
    for question_id, row in rows.items():
        document = titles[int(first[row.pop("article")])]
        yield places[question_id], {"group_id": question_id, "document_id": document, **row}


def _languages(name: str, question: _Question, source: Source) -> tuple[str, str]:
    """Return the languages of a question and its paragraph: by the file's name, by TyDi's id, or as the user says."""
    match = _MLQA.search(name) or _XQUAD.search(name)
    if match is not None:
        named = match.groupdict()
        return named["query"], named.get("passage", named["query"])
    prefix = question.question_id.partition("-")[0]
    if prefix in _TYDI:
        return _TYDI[prefix], _TYDI[prefix]
    if source.layout.language is None:
        raise InputError(
            f"{question.where}: nothing says the language of its questions and paragraphs; give it, language: en "
            "(--language en)"
        )
    return language_pair(source.layout.language)


def _questions(file: Source, notes: Notes, source: str) -> Iterator[_Question]:
    for number, (where, article) in enumerate(json_values(file, inside="data")):
        for question in _of_article(article, number, where):
            if question.is_impossible:
                notes.leave_out(source, "questions that their paragraph does not answer (is_impossible)", where)
            else:
                yield question


def _of_article(article: Any, number: int, where: str) -> list[_Question]:
    found, place = list[_Question](), f"article {number}"
    try:
        for part, paragraph in enumerate(member(article, "paragraphs", list)):
            place = f"article {number}, paragraph {part}"
            questions = member(paragraph, "qas", list)
            context = member(paragraph, "context", str) if "context" in paragraph else _joined_sentences(paragraph)
            for row in questions:
                text, is_impossible = member(row, "question", str), bool(row.get("is_impossible"))
                title = str(article.get("title") or "")
                found.append(_Question(where, number, title, _id_of(row), text, context, is_impossible))
    except ValueError as error:
        raise InputError(
            f"{where}: {place} is not of SQuAD's layout, a context and qas, each with an id and a question: {error}"
        ) from None
    return found


def _id_of(row: dict[str, Any]) -> str:
    return str(row["id"]) if type(row.get("id")) is int else str(member(row, "id", str))


def _joined_sentences(paragraph: dict[str, Any]) -> str:
    sentences = member(paragraph, "sentences", list)
    wrong = next((one for one in sentences if not isinstance(one, str)), None)
    if wrong is not None:
        raise ValueError(f"in sentences {short_repr(wrong)} is not a text")
    return " ".join(sentences)
