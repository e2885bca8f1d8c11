"""Corpora made by hand, of groups with given languages and data sets, and what a plan makes of them."""

import itertools
from collections import Counter

import numpy as np
import pytest

from hybridtune.data.corpus import Corpus, CorpusBuilder, read_texts
from hybridtune.data.plan import HybridPlan
from hybridtune.data.store import TokenStore
from hybridtune.errors import InputError


def plan(corpus, **options):
    defaults = {"mixing_ratio": 0.5, "sampling_exponent": 1.0, "batch_size": 4, "seed": 0}
    return HybridPlan(corpus, **(defaults | options))


def refusal(corpus, **options):
    """The message of a plan that cannot be made."""
    with pytest.raises(InputError) as caught:
        plan(corpus, **options)
    return str(caught.value)


def corpus_of(*kinds):
    """Groups of (count, query languages, passage languages, data set); no two share a text."""
    languages = sorted({language for _, queries, passages, _ in kinds for language in (*queries, *passages)})
    rows = [kind for count, *kind in kinds for _ in range(count)]
    numbers = np.arange(len(rows) * len(languages), dtype=np.int32).reshape(len(rows), len(languages))  # [G, L]
    queries, passages = (
        np.where([[language in row[side] for language in languages] for row in rows], 2 * numbers + side, -1)
        for side in (0, 1)
    )
    none = np.zeros(0, np.int32)
    untranslated = [np.zeros(numbers.shape, bool)] * 2
    answer_sets, sources = np.arange(len(rows), dtype=np.int32), np.array([row[2] for row in rows], np.int32)
    texts = (queries.astype(np.int32), passages.astype(np.int32))
    return Corpus(
        tuple(languages),
        *texts,
        answer_sets,
        none.astype(np.int64),
        none,
        none,
        none.astype(np.float32),
        sources,
        *untranslated,
    )


def token_store(folder, groups, ids):
    """A store whose text number n has the token ids ``ids(n)``, and its (is_query, text) by number."""
    for name in ("groups", "texts"):
        (folder / name).mkdir()
    builder = CorpusBuilder({}, folder / "texts")
    for group in groups:
        builder.add(group)
    builder.finish().save(folder / "groups")
    texts = list(read_texts(builder.parts))
    rows = [ids(number) for number in range(len(texts))]
    np.save(folder / "tokens.npy", np.concatenate(rows).astype(np.int32))
    np.save(folder / "offsets.npy", np.cumsum([0, *map(len, rows)]))
    return TokenStore.open(folder), texts


BOTH = ["de", "en"]
PARALLEL = corpus_of((30, BOTH, BOTH, 0), (30, BOTH, BOTH, 1))
WITH_BITEXT = corpus_of(
    (40, BOTH, BOTH, 0), (9, ["sw"], ["sw"], 0), (50, [], ["en", "sw"], 1), (20, [], ["sw", "yo"], 1)
)


def shares(one, steps=400):
    """Share of the rows that every (kind, pair of codes, data set) has."""
    rows = Counter()
    for batch in one.batches(0, steps):
        codes = [tuple(one.corpus.languages[x] for x in pair) for pair in batch.languages.tolist()]
        rows.update(zip(itertools.repeat(batch.kind), codes, one.corpus.sources[batch.groups].tolist()))
    return {key: count / rows.total() for key, count in rows.items()}


def by_pair(found):
    totals = Counter()
    for (_, pair, _), share in found.items():
        totals["-".join(pair)] += share
    return dict(totals)
