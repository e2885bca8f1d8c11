"""Data in which a query has several right answers, one a group: from the groups to the loss."""

import pytest
import torch
from handmade import token_store
from hypothesis import given
from hypothesis import strategies as st
from stream_rows import stream_rows

from hybridtune.data.corpus import Corpus
from hybridtune.data.plan import HybridPlan
from hybridtune.data.readers.native import Group
from hybridtune.data.stream import _batches
from hybridtune.data.text_key import text_key
from hybridtune.model.loss import info_nce
from hybridtune.train.feed import on_device

QUESTIONS, VARIANTS = 8, 4
SPELLINGS = ("question {}", " question  {}", "question {}\n", "question\u00a0{}")


def groups():
    """Eight questions in two languages, each with four groups, an answer and a negative of its own in each."""
    return [
        Group(
            f"{n}-{variant}",
            "",
            {"en": SPELLINGS[variant].format(n), "de": f"frage {n}"},
            {"en": f"answer {n} {variant}", "de": f"antwort {n} {variant}"},
            {
                "en": [
                    f"answer {(n + 1) % QUESTIONS} {(variant + 1) % VARIANTS}",
                    f"answer {n} {(variant + 1) % VARIANTS}",
                ]
            },
        )
        for n in range(QUESTIONS)
        for variant in range(VARIANTS)
    ]


def question_of(text):
    """The number of the question that a text asks or answers."""
    return int(text.split()[1])


@pytest.mark.parametrize("cross_batch", ["mixed", "single_pair"])
def test_no_batch_holds_a_question_twice(cross_batch):
    corpus = Corpus.from_groups(groups())
    assert len(set(corpus.answer_sets.tolist())) == QUESTIONS
    plan = HybridPlan(corpus, batch_size=QUESTIONS, seed=0, cross_batch=cross_batch)
    seen = set()
    for batch in plan.batches(0, 40):
        assert sorted(group // VARIANTS for group in batch.groups.tolist()) == list(range(QUESTIONS))
        seen.update(batch.groups.tolist())
    assert seen == set(range(QUESTIONS * VARIANTS))


@given(st.data())
def test_no_batch_holds_two_groups_of_one_query_text(data):
    """Whatever the groups: neither the text of a row nor a translation of it stands in another row's group."""
    texts = st.sampled_from([*"abcdefgh", " a", "b\u0301", "\u0062\u0301 "])
    sides = st.dictionaries(st.sampled_from(["de", "en"]), texts, min_size=1)
    drawn = data.draw(st.lists(sides, min_size=6, max_size=20))
    rows = [Group(str(n), "", queries, {"de": f"p{n}", "en": f"p{n}"}) for n, queries in enumerate(drawn)]
    rows += [Group(f"last {n}", "", {"en": f"q{n}", "de": f"q{n}"}, {"de": f"l{n}", "en": f"l{n}"}) for n in range(3)]
    plan = HybridPlan(Corpus.from_groups(rows), batch_size=3, seed=1)
    held = [{(language, text_key(text)) for language, text in row.queries.items()} for row in rows]
    for batch in plan.batches(0, 12):
        together = [query for group in batch.groups.tolist() for query in held[group]]
        assert len(set(together)) == len(together)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """The store of the groups: the tokens of a text are its number; and the texts by number."""
    opened, texts = token_store(tmp_path_factory.mktemp("store"), groups(), lambda number: [number])
    return opened, [text for _, text in texts]


def test_no_right_answer_of_a_query_counts_against_it(store):
    """From the store through the stream to the loss: equal to a loss that is told the truth by the texts."""
    opened, texts = store
    corpus = opened.corpus()
    plan = HybridPlan(corpus, batch_size=QUESTIONS, seed=2)
    tables = stream_rows(plan, opened, 0, 20, slice(0, QUESTIONS), 2)
    vectors = torch.nn.functional.normalize(torch.randn(len(texts), 16, generator=torch.manual_seed(0)), dim=1)
    answering_negatives = 0
    for batch in (batch for table in tables for batch in _batches(table)):
        numbers = batch.ids.tolist()
        queries, columns = numbers[:QUESTIONS], numbers[QUESTIONS:]
        given = on_device(batch, torch.device("cpu"), None, lambda texts: texts)
        output = info_nce(
            vectors[queries],
            vectors[columns[:QUESTIONS]],
            given.answer_sets,
            0.05,
            False,
            vectors[columns[QUESTIONS:]],
            given.negative_answer_sets,
        )
        expected = []
        for row, query in enumerate(queries):
            own = question_of(texts[query])
            against = [n for place, n in enumerate(columns) if place == row or question_of(texts[n]) != own]
            answering_negatives += len(columns) - len(against)
            logits = vectors[against] @ vectors[query] / 0.05
            expected.append(torch.logsumexp(logits, 0) - vectors[columns[row]] @ vectors[query] / 0.05)
        assert output.loss.item() == pytest.approx(torch.stack(expected).mean().item(), rel=1e-5)
    assert answering_negatives > 0  # another row's hard negative that answers this row's query
