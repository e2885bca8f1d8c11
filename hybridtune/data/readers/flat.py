"""Flat pairs: a query and its passage, or passages, a row, in columns that are found by their usual names.

Tables (CSV, Parquet, ...) and rows of JSON alike: FlagEmbedding (query, pos, neg), Tevatron (positive_passages), DPR
(positive_ctxs), pairs and triplets of sentence-transformers, WebFAQ, AfriQA's gold passages. A row becomes one group a
positive passage.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from hybridtune.config.fields import language_pair
from hybridtune.data.readers.files import Source
from hybridtune.data.readers.notes import Notes
from hybridtune.data.readers.rows import object_row
from hybridtune.data.readers.scores import NEGATIVE_SCORES, PASSAGE_SCORES, SCORES, Margins, ScoreColumns, holds_scores
from hybridtune.data.text_key import text_key
from hybridtune.errors import InputError, nearest

QUERY = ("query", "question", "anchor", "sentence1", "query_text", "question_text")
QUERY_IF_ALONE = ("title", "headline")  # else it names the document
PASSAGE = (
    *("passage", "answer", "positive", "pos", "positives", "positive_passages", "positive_ctxs"),
    *("text", "context", "document", "sentence2", "passage_text"),
)
NEGATIVES = (
    *("negative", "negatives", "neg", "negs", "negative_passages", "hard_negatives"),
    *("negative_ctxs", "hard_negative_ctxs"),
)
LANGUAGE = ("language", "lang", "locale", "language_code", "lang_code")
QUERY_LANGUAGE = (
    *("query_language", "query_lang", "question_language", "question_lang"),
    *("source_language", "source_lang", "src_lang"),
)
PASSAGE_LANGUAGE = (
    *("passage_language", "passage_lang", "answer_language", "answer_lang", "context_language", "context_lang"),
    *("document_language", "document_lang", "doc_lang", "target_language", "target_lang", "tgt_lang"),
)
IDS = ("id", "_id", "pair_id", "guid", "uid", "group_id")
DOCUMENT = ("document_id", "doc_id", "docid", "article", "url", "source_url", "title", "document")
SCORE = ("score", "label", "relevance")

_NUMBERED = re.compile(r"negatives?_\d+")
_AFRIQA_NAME = re.compile(r"\.afriqa\.(?P<query>[a-z]{3})\.(?P<passage>[a-z]{2,3})\.")


class Columns(NamedTuple):
    """The names of the columns, as the file has them."""

    query: str
    passage: str
    language: str | None = None
    query_language: str | None = None
    passage_language: str | None = None
    id: str | None = None
    document: str | None = None
    negatives: tuple[str, ...] = ()
    score: str | None = None  # judges the pair
    # of a reranker or teacher: of passages, of negatives, or of all
    passage_scores: str | None = None
    negative_scores: str | None = None
    scores: str | None = None
    translation: str | None = None  # of the query into the passage's language

    def describe(self) -> str:
        """Return what was taken for what: ``query=question, passage=answer``."""
        taken = {**self._asdict(), "negatives": "+".join(self.negatives)}
        return ", ".join(f"{role}={name}" for role, name in taken.items() if name)

    def with_scores(self, row: Mapping[str, Any]) -> "Columns":
        """Return these columns, and those of a row that hold scores by their usual names, where none are known yet."""
        if self.scores is not None or self.passage_scores is not None:
            return self
        names = {_plain(name): name for name in row}
        passages, negatives, every = (
            next((names[word] for word in usual if word in names), None)
            for usual in (PASSAGE_SCORES, NEGATIVE_SCORES, SCORES)
        )
        if passages is not None and negatives is not None:
            return self._replace(passage_scores=passages, negative_scores=negatives)
        return self._replace(scores=every)

    @property
    def of_scores(self) -> ScoreColumns:
        """The columns that hold the scores of a reranker or teacher."""
        return ScoreColumns(self.passage_scores, self.negative_scores, self.scores)


def looks_flat(names: Sequence[str]) -> bool:
    """Return whether names of columns are among the usual ones for a query and for a passage."""
    known = [_plain(name) for name in names]
    has_query = "question_lang" in known or any(name in QUERY for name in known)  # a title alone may be a corpus'
    return has_query and any(name in PASSAGE for name in known)


def find_columns(row: Mapping[str, Any], given: Mapping[str, str]) -> Columns:
    """Find the columns of pairs: those that the user gives, the others by their usual names in the first row.

    Its values say whether a ``label`` or ``score`` judges the pair or is a teacher's, see `holds_scores`.

    Raises:
        ValueError: none, or several, may be the query or the passage; or a given one is not there.
    """
    names = list(row)
    for role, name in given.items():
        if name not in names:
            raise ValueError(f"columns.{role}: there is no column {name!r}{nearest(name, names)}")
    if not given and {"question_lang", "context"} <= {*names}:  # AfriQA, where question_lang is the question
        translation = "question_translated" if "question_translated" in names else None
        title = "title" if "title" in names else None
        return Columns("question_lang", "context", document=title, translation=translation)
    free = [name for name in names if name not in given.values()]
    found: dict[str, Any] = dict(given)
    if "query" not in given:
        found["query"] = _only(free, QUERY, "query") or _only(free, QUERY_IF_ALONE, "query")
        if found["query"] is None:
            raise ValueError(_none_there("query", QUERY + QUERY_IF_ALONE, names))
        free.remove(found["query"])
    if "passage" not in given:
        found["passage"] = _only(free, PASSAGE, "passage")
        if found["passage"] is None:
            raise ValueError(_none_there("passage", PASSAGE, names))
        free.remove(found["passage"])
    others = {"language": LANGUAGE, "query_language": QUERY_LANGUAGE, "passage_language": PASSAGE_LANGUAGE}
    for role, usual in {**others, "id": IDS, "document": DOCUMENT, "score": SCORE}.items():
        if role not in given:
            found[role] = next((name for word in usual for name in free if _plain(name) == word), None)
            free = [name for name in free if name != found[role]]
    negatives = [name for name in free if _plain(name) in NEGATIVES or _NUMBERED.fullmatch(_plain(name))]
    found["negatives"] = (given["negatives"],) if "negatives" in given else tuple(negatives)
    return _with_scores(Columns(**found), row, given)


def _with_scores(columns: Columns, row: Mapping[str, Any], given: Mapping[str, str]) -> Columns:
    """Return columns of which one kind at most holds a teacher's scores, by the values of the first row."""
    sides = [role for role in ("passage_scores", "negative_scores") if role in given]
    if len(sides) == 1 or (sides and "scores" in given):
        raise ValueError(
            f"columns.{sides[0]}: give passage_scores and negative_scores, or scores for one column of them all"
        )
    columns = columns.with_scores(row)
    score = columns.score
    if score is None or "score" in given or any(columns.of_scores):
        return columns
    number = not isinstance(row[score], list)
    if (number and _plain(score) == "relevance") or not holds_scores(row[score], [row[n] for n in columns.negatives]):
        return columns
    return columns._replace(score=None, scores=score)


def _plain(name: str) -> str:
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def _only(names: Sequence[str], usual: Sequence[str], role: str) -> str | None:
    """Return the one column that has a usual name of a role; None if none has."""
    found = [name for name in names if _plain(name) in usual]
    if len(found) > 1:
        raise ValueError(
            f"the {role} may be {' or '.join(map(repr, found))}; say which: columns: {{{role}: {found[0]}}} "
            f"(--columns {role}={found[0]})"
        )
    return found[0] if found else None


def _none_there(role: str, usual: Sequence[str], names: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:40]) for name in names[:12]) or "none"
    return (
        f"no column has a usual name of a {role} ({', '.join(usual)}); there are {shown}: say which it is, columns: "
        f"{{{role}: NAME}} (--columns {role}=NAME), by its number in a file whose first line holds no names"
    )


def flat_rows(
    rows: Iterator[tuple[str, Any]], columns: Columns, source: Source, notes: Notes, strict: bool
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Turn rows of pairs into groups as the native format has them, one a positive passage, unchecked.

    With ``strict``, a row whose query or passage is empty is an error that names the column.
    """
    languages = _file_languages(source)
    names: set[str] = set()
    for number, (where, row) in enumerate(rows, 1):
        object_row(row, where)
        if not row.keys() <= names:  # rows of JSON may have scores that the first one lacks
            names |= row.keys()
            columns = columns.with_scores(row)
            notes.read_as(source.name, f"pairs by columns, {columns.describe()}")
        query, passages = _cell(row, columns.query, where), _texts(_cell(row, columns.passage, where), where)
        if columns.score is not None and not _is_positive(row.get(columns.score), f"{where}: {columns.score}"):
            notes.leave_out(source.name, f"rows whose {columns.score} is not above 0", where)
            continue
        if strict:
            for name, text in ((columns.query, query), *((columns.passage, text) for text in passages)):
                if not isinstance(text, str) or not text.strip():
                    raise InputError(
                        f"{where}: {name} must be a text that is not empty (got {text!r}); "
                        "hybridtune data clean leaves such rows out"
                    )
        if not passages:
            notes.leave_out(source.name, f"rows without a text in {columns.passage}", where)
        query_language, passage_language = _row_languages(row, columns, languages, where)
        queries = {query_language: query}
        translation = row.get(columns.translation) if columns.translation is not None else None
        if translation:
            queries.setdefault(passage_language, translation)
        negatives, margins = _negatives(row, columns, passages, source, notes, where)
        own_id = row.get(columns.id) if columns.id is not None else None
        group_id = f"{source.stem}:{number}" if own_id is None or own_id == "" else str(own_id)
        document = row.get(columns.document) if columns.document is not None else None
        shared = {"document_id": str(document or ""), "queries": queries}
        for place, passage in enumerate(dict.fromkeys(passages), 1):
            row_id = group_id if place == 1 else f"{group_id}#{place}"
            hard: dict[str, Any] = {"negatives": {passage_language: negatives}} if negatives else {}
            own = margins[passages.index(passage)]
            if any(margin is not None for margin in own):
                hard["margins"] = {passage_language: own}
            yield where, {"group_id": row_id, **shared, "passages": {passage_language: passage}, **hard}


def _cell(row: Mapping[str, Any], column: str, where: str) -> Any:
    if column not in row:
        raise InputError(f"{where}: there is no {column!r} in this row; the first row has one")
    return row[column]


def _texts(value: Any, where: str) -> list[Any]:
    """Return the texts of a cell: one, a list of them, or passages with a title and a text."""
    values = value if isinstance(value, list) else [value]
    return [_passage(one, where) if isinstance(one, Mapping) else one for one in values]


def _passage(value: Mapping[str, Any], where: str) -> str:
    text = value.get("text", value.get("contents"))
    if not isinstance(text, str):
        raise InputError(f"{where}: a passage that is an object has its text as 'text' (got {', '.join(value)})")
    title = value.get("title")
    return f"{title} {text}".strip() if isinstance(title, str) else text


def _negatives(
    row: Mapping[str, Any], columns: Columns, passages: Sequence[str], source: Source, notes: Notes, where: str
) -> tuple[list[str], list[Margins]]:
    """Return the negatives of a row that are none of its passages, and their margins: a list for each passage."""
    found = [
        text for name in columns.negatives if row.get(name) not in (None, "", {}) for text in _texts(row[name], where)
    ]
    margins = columns.of_scores.margins(row, len(passages), len(found), where)
    answers = {text_key(text) for text in passages if isinstance(text, str)} if found else set()
    kept = [n for n, text in enumerate(found) if not isinstance(text, str) or text_key(text) not in answers]
    if len(kept) < len(found):
        notes.leave_out(source.name, "negatives that are a passage of their own row", where, len(found) - len(kept))
    return [found[n] for n in kept], [[own[n] for n in kept] for own in margins]


def _is_positive(value: Any, where: str) -> bool:
    if value is None:
        return True
    try:
        return float(value) > 0
    except (TypeError, ValueError):
        raise InputError(
            f"{where} must be a number: a row is a pair where it is above 0 (got {value!r}); a column of scores of a "
            "reranker or teacher is named by columns: {scores: NAME} (--columns scores=NAME)"
        ) from None


def _file_languages(source: Source) -> tuple[str, str] | None:
    """Return the languages of queries and passages that the user, or AfriQA's file name, says; None if neither does."""
    named = _AFRIQA_NAME.search(source.name)
    if source.layout.language is not None:
        return language_pair(source.layout.language)
    return (named["query"], named["passage"]) if named else None


def _row_languages(
    row: Mapping[str, Any], columns: Columns, languages: tuple[str, str] | None, where: str
) -> tuple[str, str]:
    """Return the languages of a row's query and passage: its own, else those of the file."""
    own = row.get(columns.language) if columns.language is not None else None
    found = []
    for side, column in enumerate((columns.query_language, columns.passage_language)):
        code = (row.get(column) if column is not None else None) or own or (languages[side] if languages else None)
        if not isinstance(code, str):
            named = [name for name in (column, columns.language) if name is not None]
            empty = f"{' and '.join(named)} are empty, and nothing else" if named else "nothing"
            raise InputError(
                f"{where}: {empty} says the language of the {('query', 'passage')[side]}; give that of all texts, "
                "language: en (or en-de: queries in English, passages in German; --language), or name the column "
                "that holds it, columns: {language: NAME} (--columns language=NAME)"
            )
        found.append(code.strip())
    return found[0], found[1]
