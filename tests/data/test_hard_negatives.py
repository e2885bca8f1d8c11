"""Hard negatives: from the file to the rows of a worker's batch."""

import itertools
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridtune.data.corpus import Corpus
from hybridtune.data.plan import HybridPlan
from hybridtune.data.readers.native import Group
from hybridtune.data.readers.sources import find_sources, read_groups
from hybridtune.data.stream import _texts
from hybridtune.errors import InputError

ROW = {"group_id": "1", "queries": {"en": "who?"}, "passages": {"en": "me", "sw": "mimi"}}


def read(path):
    return [dict(group.negatives) for source in find_sources([str(path)]) for group in read_groups(source)]


def group(name, passages, negatives=None, margins=None):
    return Group(name, "", dict.fromkeys(passages, f"q{name}"), passages, negatives or {}, margins or {})


def naive_negatives(groups):
    """{(group, language): [(text, answer_set), ...]} of a survey without limits, from the definition."""
    answer_sets = Corpus.from_groups(groups).answer_sets
    holders = {}  # passage text -> answer set
    for row, one in enumerate(groups):
        for text in one.passages.values():
            holders[text] = answer_sets[row]
    return {
        (row, language): [(text, holders.get(text, -1)) for text in kept]
        for row, one in enumerate(groups)
        for language in one.passages
        if (kept := [t for t in dict.fromkeys(one.negatives.get(language, ())) if holders.get(t) != answer_sets[row]])
    }


TEXTS = st.sampled_from("abcdefgh")
GROUPS = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from(["de", "en", "sw"]), TEXTS, max_size=3),
        st.dictionaries(st.sampled_from(["de", "en", "sw"]), st.lists(TEXTS, max_size=4), max_size=3),
    ),
    min_size=1,
    max_size=6,
).map(lambda rows: [group("last", {"en": "z"}), *(group(str(i), *texts) for i, texts in enumerate(rows))])


@given(GROUPS)
def test_every_negative_leads_back_to_its_text_and_its_answer_set(numbered, groups):
    corpus, seen = numbered(groups)
    found = {}
    for cell, number, answer_set in zip(
        corpus.negative_cells, corpus.negative_texts, corpus.negative_answer_sets, strict=True
    ):
        row, column = divmod(int(cell), len(corpus.languages))
        is_query, text = seen[number]
        assert not is_query
        found.setdefault((row, corpus.languages[column]), []).append((text, answer_set))
    assert found == naive_negatives(groups)
    assert corpus.most_negatives() == max(map(len, found.values()), default=0)
    without = Corpus.from_groups([one._replace(negatives={}) for one in groups])
    assert (corpus.pair_counts() == without.pair_counts()).all()
    assert (corpus.answer_sets == without.answer_sets).all()
    assert ((corpus.passages < 0) == (without.passages < 0)).all()


def test_a_negative_shares_the_number_of_the_passage_with_its_text(numbered):
    groups = [
        group("1", {"en": "a"}, {"en": ["b", "x", "b"], "de": ["never used: no German passage"]}),
        group("2", {"en": "b", "sw": "c"}, {"en": ["a", "x"]}),
    ]
    corpus, seen = numbered(groups)
    assert [text for _, text in seen] == ["q1", "a", "b", "x", "q2", "q2", "c"]  # q2 in English and in Swahili
    assert corpus.languages == ("en", "sw")
    assert corpus.passages.tolist() == [[1, -1], [2, 6]]
    assert corpus.negative_cells.tolist() == [0, 0, 2, 2]
    assert corpus.negative_texts.tolist() == [2, 3, 1, 3]
    assert corpus.negative_answer_sets.tolist() == [1, -1, 0, -1]
    assert corpus.most_negatives() == 2


def test_a_negative_that_answers_through_another_group_is_left_out():
    groups = [group("1", {"en": "a"}, {"en": ["x", "c"]}), group("2", {"en": "a", "de": "c"})]
    corpus = Corpus.from_groups(groups)
    assert corpus.answer_sets.tolist() == [0, 0]
    assert corpus.negative_answer_sets.tolist() == [-1]
    groups = [  # the same through a query that both have
        Group("1", "", {"en": "q"}, {"en": "a"}, {"en": ["x", " c\n"]}),
        Group("2", "", {"en": "q"}, {"de": "c"}),
    ]
    assert Corpus.from_groups(groups).negative_answer_sets.tolist() == [-1]


@given(GROUPS, st.randoms())
def test_every_margin_leads_back_to_its_negative(numbered, groups, random):
    """Of a text that a cell names several times, the first margin that there is."""
    scored = []
    for one in groups:
        languages = [x for x in one.negatives if x in one.passages and random.random() < 0.7]
        margins = {x: [random.choice([None, 0.5, 1.5, -2.0]) for _ in one.negatives[x]] for x in languages}
        scored.append(one._replace(margins=margins))
    corpus, seen = numbered(scored)
    expected = {}
    for row, one in enumerate(scored):
        for language in one.passages:
            for text, margin in one.scored_negatives(language):
                if margin is not None:
                    expected.setdefault((row, language, text), margin)
    cells = [divmod(int(cell), len(corpus.languages)) for cell in corpus.negative_cells]
    for (row, column), number, margin in zip(cells, corpus.negative_texts, corpus.negative_margins, strict=True):
        known = expected.get((row, corpus.languages[column], seen[number][1]), np.nan)
        assert margin == known or (np.isnan(margin) and np.isnan(known))
    bare = Corpus.from_groups(groups)
    assert (corpus.negative_texts == bare.negative_texts).all()
    assert np.isnan(bare.negative_margins).all()


def test_pairs_with_scores_are_counted_by_data_set(numbered):
    groups = [
        group("1", {"en": "a", "de": "b"}, {"en": ["x", "y"], "de": ["z"]}, {"en": [None, 1.0], "de": [2.0]}),
        group("2", {"en": "c", "de": "d"}, {"en": ["x"]}, {"en": [None]}),
        group("3", {"en": "e"}, {"en": ["x"]}, {"en": [0.0]}),
        group("4", {"en": "f", "de": "g"}, {"de": ["x", "g2"]}, {"de": [-1.0, 3.0]}),
        Group("5", "", {}, {"en": "h", "de": "i"}, {"en": ["x"]}, {"en": [1.0]}),  # bitext has no pair
    ]
    corpus, _ = numbered(groups, sources=[0, 0, 1, 1, 2])
    assert [counts.tolist() for counts in corpus.scored_pairs(4)] == [[4, 3, 0, 0], [8, 5, 0, 0]]
    assert [counts.tolist() for counts in Corpus.from_groups(groups, {"en": 0}).scored_pairs(1)] == [[2], [3]]


def test_two_spellings_of_a_negative_are_one(numbered):
    corpus, seen = numbered([group("1", {"en": "a"}, {"en": ["e\u0301", "\u00e9 ", "x"]})])
    assert [seen[number] for number in corpus.negative_texts] == [(False, "e\u0301"), (False, "x")]


def test_cells_over_the_limit_lose_their_negatives(numbered):
    groups = [group(str(i), {"en": f"e{i}", "sw": f"s{i}"}, {"en": ["x"], "sw": ["y", "z"]}) for i in range(3)]
    assert Corpus.from_groups(groups).negative_cells.tolist() == [0, 1, 1, 2, 3, 3, 4, 5, 5]
    assert Corpus.from_groups(groups, {"sw": 1}).negative_cells.tolist() == [0, 1, 1, 2, 4]
    corpus, seen = numbered(groups, {"sw": 0})
    assert corpus.most_negatives() == 1
    assert not {"y", "z"} & {text for _, text in seen}


@pytest.mark.parametrize("most", range(5))
def test_drawing_takes_turns_from_any_start(most):
    corpus = Corpus.from_groups(
        [group("1", {"en": "a", "sw": "s"}, {"en": list("xyz"), "sw": ["w"]}), group("2", {"en": "b"})]
    )
    cells = np.array([(0, 0), (0, 1), (1, 0)], np.int32)
    starts = set()
    for draw in np.linspace(0, 0.999, 24):
        chosen = corpus.draw_negatives(*cells.T, np.full(3, draw), most)
        assert chosen.shape == (3, most)
        first = int(draw * 3)
        turn = [(first + i) % 3 for i in range(3)]
        assert chosen.tolist() == [([*order, -1, -1, -1, -1])[:most] for order in (turn, [3], [])]
        starts.add(first)
    assert starts == {0, 1, 2}


def negatives_of(plan, specs, rows, most):
    """[n, slots] text numbers, -1 behind the last one, and [n, slots] answer sets, of a worker's hard negatives."""
    texts = _texts(plan, specs, rows, most)
    numbers, answer_sets = texts.numbers, texts.answer_sets
    size = rows.stop - rows.start
    assert (numbers[:, : 2 * size] >= 0).all()
    assert answer_sets.shape == (len(specs), size * most)
    return numbers[:, 2 * size : (2 + most) * size].tolist(), answer_sets.tolist()


def planned(numbered):
    """24 groups of two languages; group i has i % 4 negatives in English and one in Swahili if i is even."""
    groups = [
        Group(
            str(i),
            "",
            {"en": f"q{i}", "sw": f"s{i}"},
            {"en": f"e{i}", "sw": f"w{i}"},
            {"en": [f"e{(i + 1 + j) % 24}" for j in range(i % 4)], "sw": [f"hard {i}"] * (i % 2 == 0)},
        )
        for i in range(24)
    ]
    corpus, seen = numbered(groups)
    texts = [text for _, text in seen]
    return groups, texts, HybridPlan(corpus, batch_size=8, seed=4)


@pytest.mark.parametrize("most", [1, 2, 5])
def test_a_worker_gets_the_negatives_of_its_pairs_in_the_passages_language(numbered, most):
    groups, texts, plan = planned(numbered)
    specs = list(plan.batches(0, 12))
    one, one_answer_sets = negatives_of(plan, specs, slice(0, 8), most)
    for workers in (1, 2, 4):
        size = 8 // workers
        parts = [negatives_of(plan, specs, slice(r * size, (r + 1) * size), most)[0] for r in range(workers)]
        for step in range(len(specs)):
            together = [n for part in parts for n in part[step] if n >= 0]
            assert together == [n for n in one[step] if n >= 0]
    given_at = {}
    for spec, numbers, answer_sets in zip(specs, one, one_answer_sets, strict=True):
        left = list(zip([texts[n] for n in numbers if n >= 0], answer_sets, strict=False))
        assert numbers[len(left) :] == [-1] * (8 * most - len(left))
        for row, (_, y) in zip(spec.groups, spec.languages, strict=True):
            has = groups[row].negatives[plan.corpus.languages[y]]
            mine, left = left[: min(most, len(has))], left[min(most, len(has)) :]
            names = [text for text, _ in mine]
            assert {*names} <= {*has}
            assert len({*names}) == min(most, len(has))
            assert [answer_set for _, answer_set in mine] == [int(t[1:]) if t[0] == "e" else -1 for t in names]
            given_at.setdefault(int(row), set()).update(names)
        assert left == []
    if most == 1:  # a pair that comes again is not always given the same one
        assert any(len([text for text in names if text[0] == "e"]) > 1 for names in given_at.values())


def test_negatives_are_a_function_of_seed_and_step(numbered):
    _, _, plan = planned(numbered)
    whole = negatives_of(plan, list(plan.batches(0, 10)), slice(0, 8), 2)
    tail = negatives_of(plan, list(plan.batches(6, 10)), slice(0, 8), 2)
    assert tail == (whole[0][6:], whole[1][6:])


def test_the_data_without_negatives_gives_the_batches_of_before(numbered):
    groups, _, plan = planned(numbered)
    options = {"mixing_ratio": 0.5, "sampling_exponent": 0.5, "batch_size": 8, "seed": 4}
    bare = [one._replace(negatives={}) for one in groups]
    without = HybridPlan(Corpus.from_groups(bare), **options)
    for one, other in zip(plan.batches(0, 20), without.batches(0, 20), strict=True):
        assert (one.kind, one.groups.tolist()) == (other.kind, other.groups.tolist())
        assert one.languages.tolist() == other.languages.tolist()
    assert without.corpus.most_negatives() == 0
    assert negatives_of(without, list(without.batches(0, 2)), slice(0, 8), 0) == ([[], []], [[], []])


WRONG = {
    "[]": "negatives must be an object of language: list of texts (got [])",
    '"x"': "negatives must be an object of language: list of texts (got 'x')",
    '{"english": ["x"]}': "negatives: 'english' is not a language code (ISO 639-1, like 'sw')",
    '{"sw": "x"}': "negatives.sw must be a list of texts that are not empty (got 'x')",
    '{"sw": null}': "negatives.sw must be a list of texts that are not empty (got None)",
    '{"sw": ["x", " "]}': "negatives.sw must be a list of texts that are not empty (got ['x', ' '])",
    '{"sw": ["x", 7]}': "negatives.sw must be a list of texts that are not empty (got ['x', 7])",
    '{"sw": ["x"], "SW": ["y"]}': "negatives: 'sw' and 'SW' are one language; keep one of the two",
    '{"zh-TW": ["x"], "zh-tw": ["y"]}': "negatives: 'zh-TW' and 'zh-tw' are one language; keep one of the two",
    '{"de": [" mi\\nmi", "m\\u0065\\u0301", " me\\t"]}': (
        "negatives.de[2] is also passages.en of the group: a passage that answers its queries is no negative"
    ),
    '{"de": ["x", "mimi"]}': (
        "negatives.de[1] is also passages.sw of the group: a passage that answers its queries is no negative"
    ),
}


@pytest.mark.parametrize("value", WRONG)
def test_wrong_negatives_name_file_line_and_field(tmp_path, value):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({**ROW, "group_id": "0"}) + "\n" + json.dumps(ROW)[:-1] + f', "negatives": {value}}}\n')
    with pytest.raises(InputError) as caught:
        read(path)
    assert str(caught.value) == f"{path}:2: {WRONG[value]}"


@pytest.mark.parametrize("value", [{}, None, {"sw": []}, {"sw": ["a", "b"], "de": ["me, or who?"]}])
def test_negatives_that_are_fine(groups_file, value):
    assert read(groups_file([ROW, {**ROW, "negatives": value}])) == [{}, value or {}]


def test_parquet_negatives_as_struct_and_as_map(tmp_path):
    asked = [{"sw": ["a", "b"]}, {"de": ["c"], "sw": []}, None, {}]
    texts = pa.list_(pa.string())
    kinds = {"struct": pa.struct([(x, texts) for x in ("de", "sw")]), "map": pa.map_(pa.string(), texts)}
    for (name, kind), rows in itertools.product(kinds.items(), [asked, [None] * 2]):
        path = tmp_path / f"{name}.parquet"
        columns = {key: pa.array([value] * len(rows)) for key, value in ROW.items()}
        pq.write_table(pa.table(columns | {"negatives": pa.array(rows, kind)}), path)
        assert read(path) == [row or {} for row in rows]
    pq.write_table(pa.table({key: [value] for key, value in ROW.items()} | {"negatives": [["x"]]}), path)
    with pytest.raises(InputError, match=r":1: negatives must be an object of language: list of texts \(got \['x'\]\)"):
        read(path)
