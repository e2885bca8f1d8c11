import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridtune.data import corpus as corpus_module
from hybridtune.data.answer_sets import answer_sets
from hybridtune.data.corpus import Corpus, TranslatedTexts
from hybridtune.data.digests import digests_of, first_seen, is_new
from hybridtune.data.readers.native import Group
from hybridtune.data.text_key import text_key
from hybridtune.errors import InputError


def group(name, queries, passages):
    return Group(name, "", queries, passages)


# Two spellings of most words: white space, and one character or two (NFC, NFD).
WORDS = ["a", " a\n", "b", "c\u00e9  d", "ce\u0301 d", "e", "\u2003e", "f"]
TEXTS = st.dictionaries(st.sampled_from(["de", "en", "sw"]), st.sampled_from(WORDS), max_size=3)
GROUPS = st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=8).map(
    lambda rows: [group(str(i), *texts) for i, texts in enumerate(rows)]
)


def test_texts_are_numbered_in_the_order_they_are_first_seen(numbered):
    corpus, seen = numbered(
        [
            group("1", {"sw": "q1", "en": "q2"}, {"en": "p1"}),
            group("2", {"en": "p1"}, {"en": "p2", "de": "p1"}),  # p1 is a query here: another text than the passage
            group("3", {"sw": "q1", "de": "q1"}, {"sw": "p2"}),  # q1 is a query of two languages: two texts
        ]
    )
    assert seen == [(True, "q2"), (False, "p1"), (True, "q1"), (True, "p1"), (False, "p2"), (True, "q1")]
    assert corpus.languages == ("de", "en", "sw")
    assert corpus.queries.tolist() == [[-1, 0, 2], [-1, 3, -1], [5, -1, 2]]
    assert corpus.passages.tolist() == [[-1, 1, -1], [1, 4, -1], [-1, -1, 4]]


def test_the_first_spelling_of_a_text_stands_for_all(numbered):
    groups = [
        group("1", {"en": "e\u0301  x "}, {"en": "p"}),
        group("2", {"en": "\u00e9 x"}, {"en": "\tp\n", "de": "p"}),
    ]
    corpus, seen = numbered(groups)
    assert seen == [(True, "e\u0301  x "), (False, "p")]
    assert corpus.queries.tolist() == [[-1, 0], [-1, 0]]
    assert corpus.passages.tolist() == [[-1, 1], [1, 1]]


@given(GROUPS)
def test_every_number_leads_back_to_its_text(numbered, groups):
    if not any(one.queries or one.passages for one in groups):
        return
    corpus, seen = numbered(groups)
    assert len(seen) == len(
        {("passage", text_key(text)) for one in groups for text in one.passages.values()}
        | {(language, text_key(text)) for one in groups for language, text in one.queries.items()}
    )
    for row, one in enumerate(groups):
        for is_query, table, texts in ((True, corpus.queries, one.queries), (False, corpus.passages, one.passages)):
            found = {x: seen[n] for x, n in zip(corpus.languages, table[row], strict=True) if n >= 0}
            assert {x: (side, text_key(text)) for x, (side, text) in found.items()} == {
                language: (is_query, text_key(text)) for language, text in texts.items()
            }


@given(GROUPS)
def test_answer_sets_are_what_shared_passage_and_query_texts_connect(groups):
    if not any(one.queries or one.passages for one in groups):
        return
    held = [
        {("passage", text_key(text)) for text in one.passages.values()}
        | {(language, text_key(text)) for language, text in one.queries.items()}
        for one in groups
    ]
    reach = np.array([[bool(a & b) for b in held] for a in held])
    reach |= np.eye(len(groups), dtype=bool)
    for _ in groups:  # the transitive closure, by squaring
        reach = reach @ reach
    sets = Corpus.from_groups(groups).answer_sets
    assert (sets[:, None] == sets[None, :]).tolist() == reach.tolist()


def test_answer_sets_join_across_languages_and_through_a_chain():
    corpus = Corpus.from_groups(
        [
            group("1", {}, {"en": "a"}),
            group("2", {}, {"en": "b"}),
            group("3", {"en": "a"}, {"en": "c"}),  # a query is no passage
            group("4", {}, {"de": "b", "en": "d"}),
            group("5", {}, {"sw": "d", "de": "a"}),
        ],
        {},
    )
    assert corpus.answer_sets.tolist() == [0, 0, 2, 0, 0]


def test_a_query_text_joins_the_groups_of_its_language():
    corpus = Corpus.from_groups(
        [
            group("1", {"en": "Paris?", "sw": "who"}, {"en": "a"}),
            group("2", {"fr": "Paris?"}, {"en": "b"}),
            group("3", {"en": "Paris?", "fr": "what"}, {"fr": "c"}),
            group("4", {"de": "wer", "sw": "who"}, {}),
            group("5", {"fr": "who"}, {"de": "wer"}),
        ],
        {},
    )
    assert corpus.answer_sets.tolist() == [0, 1, 0, 0, 4]


@given(GROUPS)
def test_pair_counts_equal_counting_one_by_one(groups):
    if not any(one.queries or one.passages for one in groups):
        return
    corpus = Corpus.from_groups(groups)
    naive = [
        [sum(x in g.queries and y in g.passages for g in groups) for y in corpus.languages] for x in corpus.languages
    ]
    assert corpus.pair_counts().tolist() == naive


def test_language_limits_keep_the_first_groups():
    groups = [group(str(i), {"en": f"q{i}"}, {"en": f"p{i}", "sw": f"s{i}"}) for i in range(4)]
    groups[0] = group("0", {"en": "q0"}, {"en": "p0"})
    corpus = Corpus.from_groups(groups, {"sw": 2})
    assert (corpus.passages[:, 1] >= 0).tolist() == [False, True, True, False]
    assert (corpus.queries[:, 0] >= 0).all()
    assert Corpus.from_groups(groups, {"sw": 0}).languages == ("en",)
    assert (
        Corpus.from_groups(groups, {"sw": 9, "de": 1}).pair_counts().tolist()
        == Corpus.from_groups(groups).pair_counts().tolist()
    )


def test_a_text_over_the_limit_joins_no_answer_set():
    groups = [group("1", {}, {"en": "a"}), group("2", {}, {"en": "b", "sw": "a"})]
    assert Corpus.from_groups(groups).answer_sets.tolist() == [0, 0]
    assert Corpus.from_groups(groups, {"sw": 0}).answer_sets.tolist() == [0, 1]
    groups = [group("1", {"sw": "q"}, {"en": "a"}), group("2", {"sw": "q"}, {"en": "b"})]
    assert Corpus.from_groups(groups).answer_sets.tolist() == [0, 0]
    assert Corpus.from_groups(groups, {"sw": 1}).answer_sets.tolist() == [0, 1]


def test_a_group_may_not_stand_twice():
    with pytest.raises(InputError, match=r"^group_id '1' occurs twice: one line holds a whole group; "):
        Corpus.from_groups([group("1", {}, {"en": "a"}), group("1", {"en": "q"}, {})])


@pytest.mark.parametrize(("groups", "limits"), [([], {}), ([group("1", {"en": "q"}, {"en": "p"})], {"en": 0})])
def test_data_without_any_text(groups, limits):
    with pytest.raises(InputError, match=r"^the training data holds no text"):
        Corpus.from_groups(groups, limits)


BY_BLOCKS = st.lists(st.tuples(TEXTS, TEXTS, st.lists(st.sampled_from("abcxyz"), max_size=3)), min_size=1, max_size=30)


@given(BY_BLOCKS, st.integers(1, 9), st.sampled_from([{}, {"sw": 2, "de": 1}]))
def test_blocks_of_any_size_give_the_tables_of_one_block(numbered, rows, size, limits):
    groups = [
        group(str(i), queries, passages)._replace(
            negatives=dict.fromkeys(passages, negatives),
            margins=dict.fromkeys(passages, [i / 4 if i % 3 else None] * len(negatives)),
        )
        for i, (queries, passages, negatives) in enumerate(rows)
    ]
    groups.append(group("last", {"en": "a"}, {"en": "b"}))
    sources = [i % 3 for i in range(len(groups))]
    whole, texts = numbered(groups, limits, sources)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus_module, "BLOCK_TEXTS", size)
        blocks, texts_of_blocks = numbered(groups, limits, sources)
    assert texts == texts_of_blocks
    assert vars(whole).keys() == vars(blocks).keys()
    for name, value in vars(whole).items():
        if name not in ("languages", "translations"):
            assert value.dtype == vars(blocks)[name].dtype
        np.testing.assert_array_equal(value, vars(blocks)[name])  # where NaN is NaN
    assert whole.sources.tolist() == sources


def test_bitext_is_a_group_without_queries(numbered):
    corpus, seen = numbered([group("1", {}, {"en": "a", "sw": "b"}), group("2", {"en": "q"}, {"en": "c"})])
    assert seen == [(False, "a"), (False, "b"), (True, "q"), (False, "c")]
    assert corpus.queries.tolist() == [[-1, -1], [2, -1]]
    assert corpus.passages.tolist() == [[0, 1], [3, -1]]


def test_a_later_block_finds_a_group_that_stands_twice(monkeypatch):
    monkeypatch.setattr(corpus_module, "BLOCK_TEXTS", 3)
    groups = [group(f"it's {i}\n", {}, {"en": str(i)}) for i in range(20)]
    with pytest.raises(InputError) as caught:
        Corpus.from_groups([*groups, groups[7], groups[3]])
    assert str(caught.value) == (
        f"group_id {groups[7].group_id!r} occurs twice: one line holds a whole group; where rows of one id translate "
        "each other, `hybridtune data group FILE --by id --out groups.jsonl` makes groups of them"
    )


@given(st.lists(st.binary(max_size=1), max_size=60))
def test_equal_texts_have_the_number_of_the_first(texts):
    numbers = first_seen(digests_of(texts))
    distinct = list(dict.fromkeys(texts))
    assert numbers.tolist() == [distinct.index(text) for text in texts]
    assert is_new(numbers).tolist() == [text not in texts[:place] for place, text in enumerate(texts)]


@given(st.integers(1, 30).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.tuples(*[st.integers(0, n - 1)] * 2)))))
def test_answer_sets_of_edges_are_named_by_their_smallest_member(graph):
    count, edges = graph
    reach = np.eye(count, dtype=bool)
    for one, other in edges:
        reach[one, other] = reach[other, one] = True
    for _ in range(5):  # the transitive closure, by squaring
        reach = reach @ reach
    ends = np.array(edges, np.int32).reshape(-1, 2).T
    assert answer_sets(count, *ends).tolist() == reach.argmax(axis=1).tolist()


def test_a_long_chain_is_one_answer_set():
    ones = np.random.default_rng(3).permutation(199_999).astype(np.int32)
    assert not answer_sets(200_000, ones, ones + 1).any()
    assert len(answer_sets(0, ones[:0], ones[:0])) == 0


def test_a_corpus_is_what_it_was_after_it_was_saved(numbered, tmp_path):
    corpus: Corpus = numbered([group(str(i), {"en": f"q{i}"}, {"sw": f"p{i}"}) for i in range(9)])[0]
    corpus.save(tmp_path)
    opened = Corpus.open(tmp_path)
    assert opened.languages == corpus.languages
    assert all(np.array_equal(value, vars(opened)[name]) for name, value in vars(corpus).items())
    assert not opened.passages.flags.writeable


def test_texts_that_a_machine_translated_are_counted_with_who_translated_them(tmp_path):
    made_by = {"engine": "ctranslate2", "model": "m", "licence": "mit"}
    rows = [
        {
            "group_id": f"g{n}",
            "queries": {"en": f"q{n}", "sw": f"s{n}"},
            "passages": {"en": f"p{n}", "sw": f"t{n}"},
            "translated": {"queries": {"sw": "en"}, "passages": {"sw": "en"} if n else {}},
            "translation": made_by if n < 2 else {},
        }
        for n in range(3)
    ]
    corpus = Corpus.from_groups(rows)
    assert corpus.translations == (
        TranslatedTexts("passages", "sw", "en", "", "", "", 1),
        TranslatedTexts("passages", "sw", "en", "ctranslate2", "m", "mit", 1),
        TranslatedTexts("queries", "sw", "en", "", "", "", 1),
        TranslatedTexts("queries", "sw", "en", "ctranslate2", "m", "mit", 2),
    )
    corpus.save(tmp_path)
    assert Corpus.open(tmp_path).translations == corpus.translations
    assert Corpus.from_groups(rows, {"sw": 1}).translations == (
        TranslatedTexts("queries", "sw", "en", "ctranslate2", "m", "mit", 1),
    )
    untranslated = Corpus.from_groups([{"group_id": "g", "queries": {"en": "q"}, "passages": {"en": "p"}}])
    (tmp_path / "plain").mkdir()
    untranslated.save(tmp_path / "plain")
    assert Corpus.open(tmp_path / "plain").translations == untranslated.translations == ()
