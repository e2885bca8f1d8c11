import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hybridtune.errors import FitError, InputError
from hybridtune.metrics import ranks
from hybridtune.metrics.ranks import RankCounter, leave_out
from hybridtune.metrics.scores import pair_scores, slack_of
from hybridtune.metrics.ties import tie_order


class Case:
    """Queries, passages and relevance on a coarse grid, where equal scores and equal vectors are common."""

    def __init__(self, seed: int, queries: int, passages: int, dim: int, languages: int, unit: bool) -> None:
        random = torch.Generator().manual_seed(seed)

        def vectors(count: int) -> Tensor:
            grid = torch.randint(-2, 3, (count, dim), generator=random).float()
            grid[grid.abs().sum(1) == 0, 0] = 1.0
            return torch.nn.functional.normalize(grid, dim=1) if unit else grid

        self.queries, self.passages = vectors(queries), vectors(passages)
        copies = torch.randint(passages, (passages,), generator=random)
        copied = torch.rand(passages, generator=random) < 0.3
        self.passages[copied] = self.passages[copies[copied]]
        self.language = torch.randint(languages, (passages,), generator=random)
        self.languages = languages
        self.order = torch.randperm(passages, generator=random)
        relevant = torch.rand(queries, passages, generator=random) < 0.2
        self.query_index, self.passage_index = relevant.nonzero(as_tuple=True)
        self.scores = pair_scores(self.queries, self.passages, self.query_index, self.passage_index)

    def counter(self) -> RankCounter:
        return RankCounter(self.query_index, self.scores, self.order[self.passage_index], self.languages)

    def count(self, parts: list[Tensor]) -> RankCounter:
        counter = self.counter()
        for part in parts:
            counter.add(self.queries, self.passages[part], self.order[part], self.language[part])
        return counter

    def sorted_counts(self) -> Tensor:
        """The naive twin: sort every whole ranking as trec_eval does, then look who stands above."""
        every = torch.arange(len(self.passages))
        counts = torch.zeros(len(self.query_index), self.languages, dtype=torch.int64)
        for pair, (query, passage) in enumerate(zip(self.query_index, self.passage_index, strict=True)):
            scores = pair_scores(self.queries, self.passages, query.expand(len(every)), every).tolist()
            ranking = sorted(every.tolist(), key=lambda p: (-scores[p], self.order[p].item()))
            for above in ranking[: ranking.index(passage.item())]:
                counts[pair, self.language[above]] += 1
        return counts


@st.composite
def cases(draw):
    return Case(
        seed=draw(st.integers(0, 2**32)),
        queries=draw(st.integers(1, 6)),
        passages=draw(st.integers(1, 25)),
        dim=draw(st.integers(1, 7)),
        languages=draw(st.integers(1, 4)),
        unit=draw(st.booleans()),
    )


@given(
    case=cases(),
    parts=st.integers(1, 5),
    entries=st.sampled_from([1, 7, 64]),
    many=st.sampled_from([0.0, ranks.MANY, math.inf]),  # blocks in float64: all, as usual, none
    data=st.data(),
)
def test_counts_equal_a_full_sort_for_any_partition_order_and_block(case, parts, entries, many, data):
    everything = torch.tensor(data.draw(st.permutations(range(len(case.passages)))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranks, "BLOCK_ENTRIES", entries)
        patch.setattr(ranks, "GROUP", max(1, entries // 7))
        patch.setattr(ranks, "BLOCK_GROUPS", max(1, entries // 5))
        patch.setattr(ranks, "COMPARED", entries)
        patch.setattr(ranks, "MANY", many)
        patch.setattr(ranks, "PAIRS", max(1, entries // 9))
        patch.setattr("hybridtune.metrics.scores.PIECE_NUMBERS", entries)
        counter = case.count(list(everything.chunk(parts)))
    assert torch.equal(counter.counts, case.sorted_counts())
    assert torch.equal(counter.passages, case.language.bincount(minlength=case.languages))


@given(case=cases(), data=st.data())
def test_passages_left_out_of_a_ranking_are_not_counted_in_it(case, data):
    left = torch.zeros(len(case.query_index), dtype=torch.bool)
    for query in case.query_index.unique().tolist():
        pairs = (case.query_index == query).nonzero()[:, 0].tolist()
        chosen = data.draw(st.sampled_from([None, *pairs]))
        if chosen is not None:
            left[chosen] = True
    whole = case.count([torch.arange(len(case.passages))]).counts
    order, language = case.order[case.passage_index], case.language[case.passage_index]
    found = leave_out(whole, case.query_index, case.scores, order, language, left)
    expected = case.sorted_counts()
    for out in left.nonzero()[:, 0].tolist():  # the naive twin: who stands below the passage had it above
        for pair in (case.query_index == case.query_index[out]).nonzero()[:, 0].tolist():
            scores, places = (case.scores[[out, pair]].tolist(), order[[out, pair]].tolist())
            if (-scores[0], places[0]) < (-scores[1], places[1]):
                expected[pair, language[out]] -= 1
    assert torch.equal(found, expected)


@given(case=cases())
def test_counts_of_shards_add_up(case):
    # One shard per language: in each, all other languages are without a passage.
    shards = [case.count([(case.language == code).nonzero()[:, 0]]) for code in range(case.languages)]
    whole = case.count([torch.arange(len(case.passages))])
    assert torch.equal(sum(shard.counts for shard in shards), whole.counts)
    assert torch.equal(sum(shard.passages for shard in shards), whole.passages)


@given(case=cases(), data=st.data())
def test_ranks_are_those_of_the_counts_whatever_the_order_of_the_pairs(case, data):
    """Queries and passages may come as numpy arrays; pairs in any order."""
    order = data.draw(st.permutations(range(len(case.query_index))))
    pairs = torch.stack([case.query_index, case.passage_index], 1).numpy()[order]
    names = [f"l{code}" for code in case.language.tolist()]
    ids = [f"{9999 - place:04d}" for place in case.order.tolist()]  # descending in the tie order
    found = ranks.ranks(case.queries.numpy(), case.passages.numpy(), pairs, ids, names)
    counts = case.sorted_counts()
    assert found.multi.tolist() == (counts.sum(1) + 1)[order].tolist()
    own = counts[torch.arange(len(counts)), case.language[case.passage_index]] + 1
    assert found.own.tolist() == own[order].tolist()


@pytest.mark.parametrize("spread", [1.0, 1e-6, 0.0])
def test_counts_of_near_equal_scores_do_not_depend_on_blocks_or_threads(spread, monkeypatch):
    # A collapsed encoder: at 1e-6 all scores lie within a few float32 steps, at 0 all are equal.
    random = torch.Generator().manual_seed(3)
    case = Case(seed=1, queries=9, passages=140, dim=48, languages=3, unit=True)
    centre = torch.randn(48, generator=random)
    for name in ("queries", "passages"):
        noise = torch.randn(getattr(case, name).shape, generator=random)
        setattr(case, name, torch.nn.functional.normalize(centre + spread * noise, dim=1))
    case.scores = pair_scores(case.queries, case.passages, case.query_index, case.passage_index)
    expected = case.sorted_counts()
    threads = torch.get_num_threads()
    try:
        for count, entries in ((1, 2**20), (2, 2**20), (2, 100)):
            torch.set_num_threads(count)
            monkeypatch.setattr(ranks, "BLOCK_ENTRIES", entries)
            assert torch.equal(case.count([torch.randperm(140, generator=random)]).counts, expected)
    finally:
        torch.set_num_threads(threads)


def test_a_product_that_is_off_within_its_bound_changes_no_count(monkeypatch):
    # Grid vectors that are orthogonal: around the score 0 the smallest error shows in float32, and breaks ties.
    case = Case(seed=5, queries=8, passages=120, dim=24, languages=2, unit=False)
    assert (case.queries @ case.passages.T == 0).sum() > 40
    expected = case.sorted_counts()
    products = torch.addmm, torch.Tensor.__matmul__

    def off(product: Tensor, left: Tensor, right: Tensor) -> Tensor:
        largest = left.norm(dim=1).max() * right.norm(dim=0).max()
        return product + (torch.rand_like(product) - 0.5) * 24 * torch.finfo(product.dtype).eps * largest

    def disturbed(left: Tensor, right: Tensor) -> Tensor:
        product = products[1](left, right)
        return off(product, left, right) if right.dim() == 2 else product

    monkeypatch.setattr(torch, "addmm", lambda empty, left, right: off(products[0](empty, left, right), left, right))
    monkeypatch.setattr(torch.Tensor, "__matmul__", disturbed)
    for many in (0.0, math.inf):  # all blocks in float64, none
        monkeypatch.setattr(ranks, "MANY", many)
        for _ in range(3):
            assert torch.equal(case.count([torch.arange(120)]).counts, expected)


def test_autocast_changes_no_count():
    case = Case(seed=6, queries=5, passages=60, dim=16, languages=2, unit=True)
    expected = case.sorted_counts()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = pair_scores(case.queries, case.passages, case.query_index, case.passage_index)
        assert torch.equal(scores, case.scores)
        assert torch.equal(case.count([torch.arange(60)]).counts, expected)


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_products_of_less_than_float32_change_no_count(precision):
    case = Case(seed=7, queries=5, passages=60, dim=16, languages=2, unit=True)
    expected, before = case.sorted_counts(), torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)  # TF32 or bf16, where the machine has them
    try:
        assert slack_of(case.queries, case.passages, case.passages).float32 == math.inf
        assert torch.equal(case.count([torch.arange(60)]).counts, expected)
    finally:
        torch.set_float32_matmul_precision(before)


def test_products_beyond_float32_change_no_count():
    # Of the length 2**60, so that no score is beyond float32, but products that are taken for safe must be shorter.
    case = Case(seed=8, queries=5, passages=60, dim=16, languages=2, unit=True)
    expected = case.sorted_counts()
    case.queries, case.passages, case.scores = case.queries * 2.0**60, case.passages * 2.0**60, case.scores * 2.0**120
    assert slack_of(case.queries, case.passages, case.passages).float32 == math.inf
    assert torch.equal(case.count([torch.arange(60)]).counts, expected)


def test_known_ranks_with_ties():
    queries = torch.tensor([[1.0, 0.0]])
    # ids d < c < b < a in rank at equal score: descending string order.
    ids = ["a", "b", "c", "d", "e"]
    passages = torch.tensor([[0.6, 0.8], [0.6, 0.8], [0.6, -0.8], [1.0, 0.0], [-1.0, 0.0]])
    language = torch.tensor([0, 1, 0, 1, 1])
    order = torch.from_numpy(tie_order(ids))
    query_index, passage_index = torch.tensor([0, 0, 0]), torch.tensor([1, 0, 4])
    scores = pair_scores(queries, passages, query_index, passage_index)
    counter = RankCounter(query_index, scores, order[passage_index], 2)
    counter.add(queries, passages, order, language)
    # b: below d (language 1) and c (0). a: below d, b (1) and c (0). e: below all four others.
    assert counter.counts.tolist() == [[1, 1], [1, 2], [2, 2]]
    assert counter.passages.tolist() == [2, 3]


@pytest.mark.parametrize("dim", [1, 2, 3, 31, 384])
def test_pair_scores_are_the_rounded_dot_products_whatever_the_batch(dim, monkeypatch):
    random = torch.Generator().manual_seed(dim)
    queries, passages = (torch.nn.functional.normalize(torch.randn(n, dim, generator=random), dim=1) for n in (7, 9))
    query_index, passage_index = torch.ones(7, 9).nonzero(as_tuple=True)
    scores = pair_scores(queries, passages, query_index, passage_index)
    for pair, (q, p) in enumerate(zip(query_index, passage_index, strict=True)):
        terms = zip(queries[q].tolist(), passages[p].tolist(), strict=True)
        assert scores[pair].item() == pytest.approx(math.fsum(x * y for x, y in terms), rel=6e-8, abs=1e-15)
        alone = pair_scores(queries[q : q + 1], passages[p : p + 1], torch.tensor([0]), torch.tensor([0]))
        assert torch.equal(alone, scores[pair : pair + 1])
    monkeypatch.setattr("hybridtune.metrics.scores.PIECE_NUMBERS", 5)
    assert torch.equal(pair_scores(queries, passages, query_index, passage_index), scores)


def test_no_relevant_pairs_and_no_passages():
    none = torch.empty(0, dtype=torch.int64)
    counter = RankCounter(none, torch.empty(0), none, 2)
    counter.add(torch.ones(3, 2), torch.ones(4, 2), torch.arange(4), torch.tensor([0, 1, 1, 1]))
    counter.add(torch.ones(3, 2), torch.empty(0, 2), none, none)
    assert counter.counts.shape == (0, 2)
    assert counter.passages.tolist() == [1, 3]


def test_tie_order_is_descending_string_order():
    assert tie_order(["10", "9", "a", "2", "é"]).tolist() == [4, 2, 1, 3, 0]
    assert tie_order([]).tolist() == []
    with pytest.raises(InputError, match="'x' occurs twice"):
        tie_order(["x", "y", "x"])


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_embeddings_that_are_not_finite_raise(broken):
    good, bad, index = torch.ones(2, 3), torch.tensor([[1.0, 0, 0], [0, broken, 0]]), torch.tensor([0])
    for queries, passages in ((good, bad), (bad, good)):
        with pytest.raises(FitError, match="not finite"):
            pair_scores(queries, passages, index, index)
        counter = RankCounter(index, torch.ones(1), index, 1)
        with pytest.raises(FitError, match="not finite"):
            counter.add(queries, passages, torch.arange(2), torch.zeros(2, dtype=torch.int64))


def test_wrong_arguments_raise():
    index = torch.tensor([0, 1])
    with pytest.raises(ValueError, match="one length"):
        RankCounter(index, torch.ones(3), index, 1)
    with pytest.raises(ValueError, match="must not decrease"):
        RankCounter(index.flip(0), torch.ones(2), index, 1)
    counter = RankCounter(index, torch.ones(2), index, 1)
    vectors = torch.ones(2, 3)
    for order, language, message in ((index - 1, index * 0, "order"), (index, index, "language")):
        with pytest.raises(ValueError, match=message):
            counter.add(vectors, vectors, order, language)
