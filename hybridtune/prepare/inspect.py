"""`hybridtune data inspect`: what training data hold, in one pass: pairs, lengths, repetitions, languages, leaks."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hybridtune.callbacks import StudyCallback, phase
from hybridtune.config.fields import BenchmarkSource, DataSet, Encoder
from hybridtune.data.corpus import Corpus, CorpusBuilder
from hybridtune.data.digests import digests_of, first_seen
from hybridtune.data.language_check import mislabelled
from hybridtune.data.language_id import unknown
from hybridtune.data.leaks import LeakSearch, ScoredTexts
from hybridtune.data.readers.native import Group
from hybridtune.data.readers.notes import Notes
from hybridtune.data.readers.sources import find_sources, read_groups
from hybridtune.data.text_sample import TextSample
from hybridtune.errors import InputError
from hybridtune.evaluate.benchmark import load_benchmark
from hybridtune.metrics.arrays import Bool
from hybridtune.model.folder import with_folder_settings
from hybridtune.model.tokenizer import pretrained_tokenizer
from hybridtune.prepare.lengths import token_lengths

_AT_ONCE = 1 << 14  # groups between two reports of progress
_QUANTILES = {"median": 0.5, "98 %": 0.98, "longest": 1.0}


@dataclass
class _Seen:
    """The findings of one pass over the groups."""

    corpus: Corpus
    sample: TextSample
    documents: int
    repeated_ids: int
    negatives: int
    scored: int


def inspect(
    data_sets: Sequence[DataSet], encoder: str | None, benchmarks: Sequence[str], callback: StudyCallback
) -> dict[str, Any]:
    """Return what the data hold, as plain values.

    Lengths, in the tokens of an ``encoder`` or in characters, and languages are those of a sample of 1,000 texts a
    language and side.

    Raises:
        InputError: the data, the encoder or a benchmark cannot be read.
    """
    start = with_folder_settings(Encoder(name=encoder)) if encoder is not None else None
    if start is not None and start.name == "tiny":
        raise InputError("tiny is built by a study; --encoder takes a model folder or a hub name")
    searches = {path: _search(path) for path in benchmarks}
    seen = _read(data_sets, list(searches.values()), callback)
    corpus = seen.corpus
    pairs = corpus.pair_counts()
    return {
        "groups": len(corpus.queries),
        "documents": seen.documents,
        "answer_sets": len(np.unique(corpus.answer_sets)),
        "bitext": int(corpus.bitext().sum()),
        "hard_negatives": seen.negatives,
        "scored_negatives": seen.scored,
        "translated_pairs": int(pairs.sum() - corpus.pair_counts(native=True).sum()),
        "languages": list(corpus.languages),
        "pairs": pairs.tolist(),
        "mono": int(pairs.diagonal().sum()),
        "cross": int(pairs.sum() - pairs.diagonal().sum()),
        "repeated": {"ids": seen.repeated_ids, **_repeated(corpus)},
        "lengths": _lengths(seen.sample, start),
        "unit": "characters" if start is None else "tokens",
        "mislabelled": [{**one._asdict(), "line": one.describe()} for one in mislabelled(seen.sample)],
        "not_identified": list(unknown(seen.sample.languages)),
        "leaks": {path: _leaks(search) for path, search in searches.items()},
    }


def _read(data_sets: Sequence[DataSet], searches: Sequence[LeakSearch], callback: StudyCallback) -> _Seen:
    """Read all groups once. Ids may repeat here: each group gets a number of its own."""
    builder, sample = CorpusBuilder({}), TextSample()
    documents: set[bytes] = set()
    ids: list[Any] = []
    waiting: list[bytes] = []
    negatives, scored, notes = 0, 0, Notes()
    with phase(callback, "reading", "groups") as progress:
        progress(0, 1)  # how many there are is known at the end
        number = -1
        for number, (name, group) in enumerate(_named(data_sets, notes)):
            builder.add(group._replace(group_id=str(number)))
            sample.add(group)
            documents.add(group.document_id.encode())
            negatives += sum(map(len, group.negatives.values()))
            scored += sum(margin is not None for margins in group.margins.values() for margin in margins)
            waiting.append(group.group_id.encode())
            for search in searches:
                search.add(group, name)
            if len(waiting) == _AT_ONCE:
                ids.append(digests_of(waiting))
                waiting.clear()
                progress(number, number)
        if number < 0:
            raise InputError(f"{', '.join(one.path for one in data_sets)}: there is no pair in it")
        progress(number + 1, number + 1)
    for line in notes.lines():
        callback.on_message(line)
    numbers = first_seen(np.concatenate([*ids, digests_of(waiting)]))
    repeated = len(numbers) - int(numbers.max()) - 1
    return _Seen(builder.finish(), sample, len(documents - {b""}), repeated, negatives, scored)


def _named(data_sets: Sequence[DataSet], notes: Notes) -> Iterator[tuple[str, Group]]:
    for source in find_sources(data_sets):
        for group in read_groups(source, notes):
            yield source.name, group


def _repeated(corpus: Corpus) -> dict[str, int]:
    """Count what occurs again: groups of the same texts, and queries and passages in further groups."""
    rows = np.ascontiguousarray(np.concatenate([corpus.queries, corpus.passages], axis=1))
    groups = first_seen(digests_of(row.tobytes() for row in rows))
    found = {"groups": len(groups) - int(groups.max()) - 1}
    for side, texts in (("queries", corpus.queries), ("passages", corpus.passages)):
        held: Bool = texts >= 0
        found[side] = int(held.sum()) - len(np.unique(texts[held]))
    return found


def _lengths(sample: TextSample, start: Encoder | None) -> list[dict[str, Any]]:
    """Return a row a language and side: how long its texts are, and the share that the encoder cuts."""
    rows = []
    limits = {} if start is None else {"queries": start.query_length, "passages": start.passage_length}
    for (side, language), lengths in sorted(_measured(sample, start).items()):
        row: dict[str, Any] = {"side": side, "language": language, "texts": sample.counts[side, language]}
        row |= {name: int(np.quantile(lengths, share)) for name, share in _QUANTILES.items()}
        if side in limits:
            row |= {"cut at": limits[side], "cut": round(float((lengths > limits[side]).mean()), 4)}
        rows.append(row)
    return rows


def _measured(sample: TextSample, start: Encoder | None) -> Mapping[tuple[str, str], Any]:
    if start is not None:
        return token_lengths(sample, pretrained_tokenizer(start.name), start)
    return {key: np.array([len(text) for text in sample.texts(*key)]) for key in sample.counts}


def _search(path: str) -> LeakSearch:
    benchmark = load_benchmark(BenchmarkSource(path=path))
    return LeakSearch([ScoredTexts(path, benchmark.queries, benchmark.passages)])


def _leaks(search: LeakSearch) -> dict[str, Any]:
    """Return how many texts of a benchmark stand in the data, and in words which."""
    report = search.finish()
    found = report.counted()
    return {
        "texts": sum(sum(sides.values()) for sides in report.sizes.values()),
        "found": len(found),
        "groups": len(report.groups),
        "line": report.describe() if found else "",
    }
