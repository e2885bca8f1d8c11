"""The embedded corpus `newsroom`: short news in six languages and two scripts, generated from a seed.

A story says who did what to which site, and where. Each of its groups asks for one more fact (who, why, how much,
when, what then): the query is a headline with that question, the passage the sentences with the answer. It is uneven as
real news is: wire stories are translated between some of the languages, local stories exist in one language only and
speak of things that no wire story names, and the two low-resource languages are hardly ever translated.

The words are in ``newsroom_words.json``, one concept a line, one column a language; they were written for this project.
``a/b`` holds two forms: of an action the noun and the past tense, of a site the object form and the form after a noun,
of a place how a headline and how a story name it, of a question two phrasings. Local words occur only in local stories
and in the held-out parts.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, Literal, NamedTuple, get_args
from zlib import crc32

from hybridtune.errors import InputError

Part = Literal["train", "dev", "test"]
Concept = dict[str, list[str]]  # language -> the forms of the word
Event = tuple[int, ...]  # the numbers of the concepts in EVENT
Coverage = tuple[tuple[str, ...], tuple[str, ...], float]  # languages of queries, of passages; chance of local words

_WORDS: dict[str, Any] = json.loads(Path(__file__).with_name("newsroom_words.json").read_text(encoding="utf-8"))
LANGUAGES: tuple[str, ...] = tuple(_WORDS["languages"])
LOW_RESOURCE: tuple[str, ...] = ("sw", "ha")
RICH: tuple[str, ...] = tuple(lang for lang in LANGUAGES if lang not in LOW_RESOURCE)

STORIES: dict[str, int] = {"train": 700, "dev": 40, "test": 40}
MOST_STORIES = 1500  # beyond it the held-out parts run out of events
FACTS_PER_STORY = 2
FOLLOW_UPS = 0.7  # chance that a story differs from an earlier one only in what was done, or to what, or where
LOCAL_WORDS = 0.5  # chance that a word of a local story is one that no wire story uses
HELD_OUT_LOCAL_WORDS = 0.3  # the same in dev and test: the news to be searched is of both kinds

# Every second train story is a wire story: passages in two of the rich languages, queries in the two others. Every n-th
# is translated into a low-resource language too: (n, first). The two never meet, so the pair sw-ha stays zero-shot.
PASSAGE_LANGUAGES = 2
TRANSLATED: dict[str, tuple[int, int]] = {"sw": (12, 0), "ha": (30, 7)}
# The other stories are local; their languages take turns.
LOCAL_TURNS = RICH * 3 + LOW_RESOURCE


class Slot(NamedTuple):
    """The concepts that can fill one position of a sentence: the common ones, then the local ones."""

    concepts: list[Concept]
    common: int

    def draw(self, rng: Random, local_words: float) -> int:
        """Draw a concept's number, a local one's with the chance `local_words`."""
        if rng.random() < local_words:
            return rng.randrange(self.common, len(self.concepts))
        return rng.randrange(self.common)


def _concepts(rows: Sequence[Sequence[str]]) -> list[Concept]:
    return [{lang: cell.split("/") for lang, cell in zip(LANGUAGES, row, strict=True)} for row in rows]


def _slot(words: dict[str, list[list[str]]]) -> Slot:
    return Slot(_concepts(words["common"] + words["local"]), len(words["common"]))


ACTIONS, SITES, PLACES = EVENT = tuple(_slot(_WORDS[name]) for name in ("actions", "sites", "places"))
ACTORS, REASONS, OUTCOMES = (_slot(_WORDS[name]) for name in ("actors", "reasons", "outcomes"))
MONTHS, QUESTIONS, ANSWERS = (_concepts(_WORDS[name]) for name in ("months", "questions", "answers"))
HELD_OUT: Coverage = (LANGUAGES, LANGUAGES, HELD_OUT_LOCAL_WORDS)


def generate(part: Part, seed: int = 0, stories: int | None = None) -> Iterator[dict[str, Any]]:
    """Generate the groups of one part of the corpus, in a fixed order, always the same for the same arguments.

    Most groups of `train` exist in few languages, those of `dev` and `test` in all. Parts share no document and no
    text, whatever their seeds. A story is a document of two groups; there are 1 to 1500, or the part's usual number.

    Example:
        >>> next(generate("dev"))["queries"]["en"]
        'Abandonment of the tower in Kaluga: what was the reason?'
    """
    if part not in get_args(Part):
        raise InputError(f"newsroom has no part {part!r}; its parts are {', '.join(get_args(Part))}.")
    count = STORIES[part] if stories is None else stories
    if not 1 <= count <= MOST_STORIES:
        raise InputError(f"newsroom can tell 1 to {MOST_STORIES} stories, not {count}.")
    return _generate(part, seed, count)


def _generate(part: Part, seed: int, count: int) -> Iterator[dict[str, Any]]:
    rng = Random(f"newsroom {part} {seed}")  # a string seeds by its digest: the same in every process
    # Wire stories follow up wire stories only, or local words would leak into them.
    earlier: dict[float, list[Event]] = {0.0: [], LOCAL_WORDS: [], HELD_OUT_LOCAL_WORDS: []}
    for number in range(count):
        coverage = _train_coverage(rng, number) if part == "train" else HELD_OUT
        query_languages, passage_languages, local_words = coverage
        event = _new_event(rng, part, local_words, earlier)
        earlier[local_words].append(event)
        actor = ACTORS.draw(rng, local_words)
        document_id = f"{part}-{seed}-{number:04d}"
        for fact in sorted(rng.sample(range(len(QUESTIONS)), FACTS_PER_STORY)):
            queries, passages = _texts(rng, event, actor, fact, local_words)
            yield {
                "group_id": f"{document_id}-{fact}",
                "document_id": document_id,
                "queries": {lang: queries[lang] for lang in query_languages},
                "passages": {lang: passages[lang] for lang in passage_languages},
            }


def _train_coverage(rng: Random, number: int) -> Coverage:
    """Choose the languages by turns where it matters: how rare a language is shall not depend on the seed."""
    wire, is_local = divmod(number, 2)
    if is_local:
        lang = LOCAL_TURNS[wire % len(LOCAL_TURNS)]
        return (lang,), (lang,), LOCAL_WORDS
    passages = rng.sample(RICH, PASSAGE_LANGUAGES)
    queries = [lang for lang in RICH if lang not in passages]
    low = [lang for lang, (every, first) in TRANSLATED.items() if wire % every == first]
    return (*queries, *low), (*passages, *low), 0.0


def _new_event(rng: Random, part: Part, local_words: float, earlier: dict[float, list[Event]]) -> Event:
    """Draw what happened, to what and where: new, and of the one part that owns the event, so parts share no text."""
    similar = earlier[local_words]
    while True:
        event: Event = tuple(slot.draw(rng, local_words) for slot in EVENT)
        if similar and rng.random() < FOLLOW_UPS:
            known, changed = rng.choice(similar), rng.randrange(len(EVENT))
            event = (*known[:changed], event[changed], *known[changed + 1 :])
        draw = crc32(repr(event).encode()) % 10
        owner = "dev" if draw == 0 else "test" if draw == 1 else "train"
        if owner == part and not any(event in events for events in earlier.values()):
            return event


def _texts(
    rng: Random, event: Event, actor: int, fact: int, local_words: float
) -> tuple[dict[str, str], dict[str, str]]:
    """Put one fact of an event into words: its query and its passage in every language."""
    action, site, place = (slot.concepts[number] for slot, number in zip(EVENT, event, strict=True))
    reason = REASONS.concepts[REASONS.draw(rng, local_words)]
    outcome = OUTCOMES.concepts[OUTCOMES.draw(rng, local_words)]
    month, number, phrasing = rng.choice(MONTHS), rng.randint(5, 20), rng.randrange(2)
    queries, passages = {}, {}
    for lang in LANGUAGES:
        headline = f"{action[lang][0]} {site[lang][-1]} {place[lang][0]}"
        story = f"{ACTORS.concepts[actor][lang][0]} {action[lang][1]} {site[lang][0]} {place[lang][-1]}"
        answer = ANSWERS[fact][lang][0].format(
            story=story, reason=reason[lang][0], number=number, month=month[lang][0], outcome=outcome[lang][0]
        )
        queries[lang] = _finish(f"{headline}: {QUESTIONS[fact][lang][phrasing]}", lang)
        passages[lang] = _finish(answer, lang)
    return queries, passages


def _finish(text: str, lang: str) -> str:
    """Contract preposition and article in Spanish, and start with a capital."""
    if lang == "es":
        text = text.replace(" de el ", " del ").replace(" a el ", " al ")
    return text[0].upper() + text[1:]
