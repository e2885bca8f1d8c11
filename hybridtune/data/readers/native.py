"""The native format: groups of texts that translate each other, one a line, for training and as a benchmark.

Groups come from files (`find_sources`), from rows in memory, from the embedded corpus or from a reader of the user's
own, and are checked here: `Corpus` and `read_benchmark` take them as they are.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from hybridtune.config.fields import BenchmarkSource
from hybridtune.config.json_text import json_kind
from hybridtune.config.languages import language_code
from hybridtune.data.answer_sets import answer_sets_by_key
from hybridtune.data.readers.files import check_unicode
from hybridtune.data.readers.records import BenchmarkRows, Judgement, Text, in_parts
from hybridtune.data.text_key import text_key
from hybridtune.errors import InputError

_FINITE = 2.0**127  # of margins, which are kept in float32
_TRANSLATION = ("engine", "model", "licence")


class Group(NamedTuple):
    """Texts that translate each other: any query of a group is answered by any passage of it."""

    group_id: str  # unique over all files
    document_id: str  # the article; may be empty
    queries: Mapping[str, str]  # by language; none in bitext, whose passages translate each other
    passages: Mapping[str, str]  # by language
    # Hard negatives by language: passages that look as if they answered the queries and do not.
    negatives: Mapping[str, Sequence[str]] = {}
    # By language, of each of its negatives: how much higher a reranker or teacher scores the group's passage; None: no
    # score. Other languages have none at all.
    margins: Mapping[str, Sequence[float | None]] = {}
    # Which texts a machine translated: {"queries" or "passages": {language: the one it was translated from}}.
    translated: Mapping[str, Mapping[str, str]] = {}
    translation: Mapping[str, str] = {}  # of those texts: `engine`, `model`, `licence`

    def scored_negatives(self, language: str) -> Iterator[tuple[str, float | None]]:
        """Yield the hard negatives in a language, each with its margin."""
        texts = self.negatives.get(language, ())
        return zip(texts, self.margins.get(language) or [None] * len(texts), strict=True)


def parse_group(row: Any, where: str) -> Group:
    """Check a row of the native format; ``where`` names it in messages.

    Example:
        >>> parse_group({"group_id": "1", "queries": {"en": "Who?"}, "passages": {"zh-tw": "..."}}, "row 1").passages
        {'zh-TW': '...'}
    """
    if not isinstance(row, dict):
        raise InputError(f"{where}: a group is a JSON object, not {json_kind(row)}")
    group_id = row.get("group_id")
    if not isinstance(group_id, str) or not group_id:
        raise InputError(f"{where}: group_id must be a text that is not empty (got {group_id!r})")
    document_id = str(row.get("document_id") or "")
    check_unicode(group_id, f"{where}: group_id")
    check_unicode(document_id, f"{where}: document_id")
    if row.get("queries") is None and isinstance(row.get("passages"), dict) and len(row["passages"]) > 1:
        row = {**row, "queries": {}}  # bitext; one passage alone is a line whose queries have another name
    queries, passages = (_texts(row.get(side), f"{where}: {side}") for side in ("queries", "passages"))
    if queries and not passages:
        raise InputError(f"{where}: passages is empty: nothing answers the queries of group {group_id!r}")
    negatives = _negatives(row.get("negatives"), passages, where)
    margins = _margins(row.get("margins"), passages, negatives, where)
    translated = _translated(row.get("translated"), {"queries": queries, "passages": passages}, where)
    translation = _translation(row.get("translation"), where)
    return Group(group_id, document_id, queries, passages, negatives, margins, translated, translation)


def _texts(texts: Any, where: str) -> dict[str, str]:
    if not isinstance(texts, dict):
        raise InputError(f"{where} must be an object of language: text (got {texts!r})")
    found = _by_language(texts, where)
    for language, text in found.items():
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"{where}.{language} must be a text that is not empty (got {text!r})")
        check_unicode(text, f"{where}.{language}")
    return found


def _negatives(negatives: Any, passages: Mapping[str, str], where: str) -> dict[str, list[str]]:
    if negatives is None:
        return {}
    if not isinstance(negatives, dict):
        raise InputError(f"{where}: negatives must be an object of language: list of texts (got {negatives!r})")
    found = _by_language(negatives, f"{where}: negatives")
    language_of = {text_key(text): language for language, text in passages.items()} if found else {}
    for language, texts in found.items():
        if not isinstance(texts, list) or not all(isinstance(text, str) and text.strip() for text in texts):
            raise InputError(
                f"{where}: negatives.{language} must be a list of texts that are not empty (got {texts!r})"
            )
        for index, text in enumerate(texts):
            check_unicode(text, f"{where}: negatives.{language}[{index}]")
            answered = language_of.get(text_key(text))
            if answered is not None:  # it would be pushed from the queries that it answers
                raise InputError(
                    f"{where}: negatives.{language}[{index}] is also passages.{answered} of the group: "
                    "a passage that answers its queries is no negative"
                )
    return found


def _margins(
    margins: Any, passages: Mapping[str, str], negatives: Mapping[str, Sequence[str]], where: str
) -> dict[str, list[float | None]]:
    if margins is None:
        return {}
    if not isinstance(margins, dict):
        raise InputError(f"{where}: margins must be an object of language: list of numbers (got {margins!r})")
    found = _by_language(margins, f"{where}: margins")
    for language, numbers in found.items():
        place = f"{where}: margins.{language}"
        if language not in passages:
            known = ", ".join(passages)
            raise InputError(f"{place}: the group has no passage there to be over a negative; it has {known}")
        count = len(negatives.get(language, ()))
        if not isinstance(numbers, list) or len(numbers) != count:
            raise InputError(
                f"{place} must be a list of {count} numbers, one for each of negatives.{language}, null where there is "
                f"no score (got {numbers!r})"
            )
        for index, number in enumerate(numbers):
            if number is not None and not _is_finite(number):
                raise InputError(f"{place}[{index}] must be a finite number, or null (got {number!r})")
    return found


def _is_finite(number: Any) -> bool:
    return isinstance(number, int | float) and not isinstance(number, bool) and abs(number) < _FINITE


def _translated(value: Any, texts: Mapping[str, Mapping[str, str]], where: str) -> dict[str, dict[str, str]]:
    """Check which of a group's texts are translations by machine; ``texts`` are those of both sides."""
    found: dict[str, dict[str, str]] = {}
    for side, given in _known_keys(value, [*texts], f"{where}: translated").items():
        place = f"{where}: translated.{side}"
        if not isinstance(given, dict):
            raise InputError(f"{place} must be an object of language: language it was translated from (got {given!r})")
        for language, original in _by_language(given, place).items():
            if language not in texts[side]:
                known = ", ".join(texts[side]) or "none"
                raise InputError(f"{place}.{language}: the group has no text there; its {side} are {known}")
            if not isinstance(original, str):
                text = f"must be the language that the text was translated from (got {original!r})"
                raise InputError(f"{place}.{language} {text}")
            found.setdefault(side, {})[language] = code = language_code(original, f"{place}.{language}")
            if code == language:
                raise InputError(
                    f"{place}.{language}: {code} is the language itself; name the one it was translated from"
                )
    return found


def _translation(value: Any, where: str) -> dict[str, str]:
    found = _known_keys(value, _TRANSLATION, f"{where}: translation")
    for key, text in found.items():
        if not isinstance(text, str):
            raise InputError(f"{where}: translation.{key} must be a text (got {text!r})")
        check_unicode(text, f"{where}: translation.{key}")
    return found


def _known_keys(value: Any, known: Sequence[str], where: str) -> dict[str, Any]:
    """Return what an optional object holds; null, of it or in it, is nothing, and other keys are refused."""
    if value is None:
        return {}
    if not isinstance(value, dict) or not value.keys() <= {*known}:
        got = repr(value) if not isinstance(value, dict) else ", ".join(map(repr, value))
        raise InputError(f"{where} must be an object that holds no more than {', '.join(known)} (got {got})")
    return {key: item for key, item in value.items() if item is not None}


def _by_language(texts: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Put values by language under the canonical codes."""
    found: dict[str, Any] = {}
    written: dict[str, str] = {}
    for code, text in texts.items():
        language = language_code(code, where)
        if language in found:
            raise InputError(f"{where}: {written[language]!r} and {code!r} are one language; keep one of the two")
        found[language], written[language] = text, code
    return found


def cut_benchmark(source: BenchmarkSource, groups: Sequence[Group]) -> BenchmarkRows:
    """Make a benchmark of those of some groups that are in the documents that ``source`` names."""
    name = source.path
    if source.documents is not None:
        name += f" documents {list(source.documents)}"
        documents = [group.document_id or group.group_id for group in groups]
        chosen = {*list(dict.fromkeys(documents))[slice(*source.documents)]}
        groups = [group for group, document in zip(groups, documents, strict=True) if document in chosen]
    return benchmark_of_groups(name, groups)


def benchmark_of_groups(name: str, groups: Sequence[Group]) -> BenchmarkRows:
    """Make a benchmark of groups: every passage of a group is relevant to every query of it.

    A query text of a language is one query, under its first id, however many groups have it: the passages of all of
    them are relevant to it and to its translations in all of them. Counted once per group, it would weigh that much
    more.
    """
    # of each group, the first one that a chain of shared query texts, each of one language, connects it to
    questions = answer_sets_by_key([{(x, text_key(text)) for x, text in group.queries.items()} for group in groups])
    passages: dict[tuple[str, str], Text] = {}  # one passage however many groups share its text
    relevant: dict[int, set[str]] = {}  # the passages of all groups of a question
    passage_documents: dict[str, str] = {}
    for group, question in zip(groups, questions, strict=True):
        for language, text in group.passages.items():
            passage = Text(f"{group.group_id}:{language}", language, text)
            passage_id = passages.setdefault((language, text_key(text)), passage).text_id
            relevant.setdefault(question, set()).add(passage_id)
            passage_documents.setdefault(passage_id, group.document_id or group.group_id)
    queries: list[Text] = []
    documents: list[str] = []
    judged: list[Judgement] = []
    first_ids: dict[tuple[str, str], str] = {}  # of every text
    repeated = 0
    for group, question in zip(groups, questions, strict=True):
        if group.queries and question not in relevant:
            raise InputError(f"{name}: query of group {group.group_id!r} has no relevant passage")
        for language, text in group.queries.items():
            query = Text(f"{group.group_id}:{language}", language, text)
            if first_ids.setdefault((language, text_key(text)), query.text_id) != query.text_id:
                repeated += 1
                continue
            judged.extend(Judgement(len(queries), passage_id, 1) for passage_id in sorted(relevant[question]))
            queries.append(query)
            documents.append(group.document_id or group.group_id)
    notice = (
        f"{repeated} of the queries repeat the text of another in their language: a text is one query, and the "
        "passages of all groups that have it are relevant"
    )
    return BenchmarkRows(
        name,
        queries,
        in_parts(list(passages.values())),
        judged,
        [notice] * bool(repeated),
        documents=documents if any(group.document_id for group in groups) else None,
        passage_documents=passage_documents,
    )
