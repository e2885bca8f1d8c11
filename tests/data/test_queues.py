import dataclasses
import functools
import hashlib
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridtune.data.corpus import Corpus
from hybridtune.data.plan import HybridPlan
from hybridtune.errors import InputError

plan = functools.partial(HybridPlan, batch_size=4)


def uneven(groups, languages, seed):
    """Groups with texts missing on either side, a large answer set, and three data sets."""
    rng = np.random.default_rng(seed)
    numbers = np.arange(groups * languages, dtype=np.int32).reshape(groups, languages)  # [G, L]
    queries, passages = (
        np.where(rng.random(numbers.shape) < 0.6, 2 * numbers + side, -1).astype(np.int32) for side in (0, 1)
    )
    answer_sets = np.arange(groups, dtype=np.int32)
    answer_sets[rng.random(groups) < 0.3] = rng.integers(0, groups // 8)
    sources = rng.integers(0, 3, groups).astype(np.int32)
    none = np.zeros(0, np.int32)
    untranslated = [np.zeros(numbers.shape, bool)] * 2
    codes = tuple(f"{chr(97 + i)}a" for i in range(languages))
    return Corpus(
        codes,
        queries,
        passages,
        answer_sets,
        none.astype(np.int64),
        none,
        none,
        none.astype(np.float32),
        sources,
        *untranslated,
    )


RECORDED = [  # digests of 60 batches, from before a mix had weights and schedules: a study keeps its batches
    ((40, 3), 0.5, 0.5, 4, "mixed", "0d393edc98bcb661"),
    ((40, 3), 0.3, 0.0, 8, "mixed", "27663f9ecfa2d90d"),
    ((60, 4), 0.7, 1.0, 8, "single_pair", "e340749d66498211"),
    ((200, 2), 0.0, 0.5, 32, "mixed", "c37ea445502ff5ce"),
    ((200, 2), 1.0, 0.5, 32, "mixed", "42914ecbddfdd3d8"),
    ((90, 5), 0.25, 0.3, 16, "single_pair", "21d66ead0347c5dd"),
    ((3000, 6), 0.45, 0.5, 64, "mixed", "554e8c81dc7d5203"),
]


ALIKE = {"data_weights": {"a": 2.0, "b": 2.0, "c": 2.0}, "steps": 9, "teacher_languages": ["aa"]}
UNUSED = {"translated_weight": 3.0, "bitext_weight": 0.0}  # nothing of that kind is drawn from


@pytest.mark.parametrize("extra", [{}, ALIKE, UNUSED])
@pytest.mark.parametrize("seed", range(len(RECORDED)))
def test_batches_are_what_they_always_were(seed, extra):
    size, ratio, exponent, batch_size, cross_batch, recorded = RECORDED[seed]
    options = {"mixing_ratio": ratio, "sampling_exponent": exponent, "batch_size": batch_size, **extra}
    found = hashlib.sha256()
    for batch in plan(uneven(*size, seed), seed=seed, cross_batch=cross_batch, **options).batches(0, 60):
        found.update(batch.kind.encode() + batch.groups.tobytes() + batch.languages.tobytes())
    assert found.hexdigest()[:16] == recorded


def naive(corpus, pairs, members, size, seeds):
    """Batches row by row: lists of groups, the next one that fits, and a new epoch behind what still waits."""
    waiting, epochs = {pair: [] for pair in members}, dict.fromkeys(members, 0)

    def take(pair, used):
        for _ in range(2):
            for group in waiting[pair]:
                if corpus.answer_sets[group] not in used:
                    waiting[pair].remove(group)
                    return group
            if len(waiting[pair]) < len(members[pair]):
                order = np.random.default_rng((*seeds, *pair, epochs[pair])).permutation(members[pair]).tolist()
                waiting[pair] += [group for group in order if group not in waiting[pair]]
                epochs[pair] += 1
        return None

    order = list(members)
    for wanted in pairs:
        used, rows = set(), []
        for pair in wanted:
            first = order.index(pair)
            candidates = ((other, take(other, used)) for other in order[first:] + order[:first])
            other, group = next((other, group) for other, group in candidates if group is not None)
            used.add(corpus.answer_sets[group])
            rows.append((group, other))
        yield rows


@given(
    groups=st.integers(6, 60),
    languages=st.integers(2, 4),
    size=st.integers(1, 12),
    big=st.floats(0, 0.9),
    seed=st.integers(0, 999),
)
def test_rows_are_those_of_a_naive_queue(groups, languages, size, big, seed):
    """Batches of one language pair and of all: against lists that are searched from the start for every row."""
    corpus = uneven(max(8, groups), languages, seed)
    answer_sets = corpus.answer_sets.copy()
    answer_sets[np.random.default_rng(seed).random(len(answer_sets)) < big] = 0
    corpus = dataclasses.replace(corpus, answer_sets=answer_sets)
    for ratio in (0.0, 1.0):
        try:
            one = plan(corpus, mixing_ratio=ratio, batch_size=size, seed=seed)
        except InputError:
            continue
        members = {}
        for x, y in np.ndindex(languages, languages):
            found = np.flatnonzero((corpus.queries[:, x] >= 0) & (corpus.passages[:, y] >= 0)).astype(np.int32)
            small = x == y and len(np.unique(answer_sets[found])) < size
            if (x == y) == bool(ratio) and len(found) and not small:
                members[x, y] = found
        got = list(one.batches(0, 40))
        purpose = 3 if ratio else 4
        shares = np.cumsum([len(found) ** 0.5 for found in members.values()])
        phase = np.random.default_rng((seed, 1 if ratio else 2)).random()
        places = [(phase + n * 0.6180339887498949) % 1.0 for n in range(40 * size)]
        drawn = [list(members)[np.searchsorted(shares / shares[-1], place, "right")] for place in places]
        wanted = [[drawn[n]] * size if ratio else drawn[n * size : (n + 1) * size] for n in range(40)]
        for batch, rows in zip(got, naive(corpus, wanted, members, size, (seed, purpose)), strict=True):
            assert [(g, tuple(pair)) for g, pair in zip(batch.groups, batch.languages.tolist(), strict=True)] == rows


def test_a_large_answer_set_is_passed_over_in_blocks():
    """Ten thousand groups share a passage: what is passed over stands in front of every batch, and nothing is lost."""
    corpus = uneven(20_000, 1, 0)
    answer_sets = np.where(np.arange(20_000) % 2, np.arange(20_000), 0).astype(np.int32)
    corpus = dataclasses.replace(corpus, answer_sets=answer_sets)
    one = plan(corpus, mixing_ratio=1.0, batch_size=500)
    members = np.flatnonzero((corpus.queries[:, 0] >= 0) & (corpus.passages[:, 0] >= 0))
    seen = Counter()
    for batch in one.batches(0, 30):
        assert len(np.unique(answer_sets[batch.groups])) == 500
        seen.update(batch.groups.tolist())
    odd = [seen[group] for group in members.tolist() if group % 2]
    assert sum(seen[group] for group in members.tolist() if not group % 2) == 30
    assert max(odd) - min(odd) <= 1
    epochs = round(15000 / len(members), 3)
    (row,) = one.table(30)
    assert row == {
        "kind": "mono",
        "pair": "aa-aa",
        "batches": 30,
        "pairs": 15000,
        "groups": len(seen),
        "epochs": epochs,
    }
