"""Native files as benchmarks: which texts are one, and what is relevant to a query that several groups have."""

import json

from hypothesis import given
from hypothesis import strategies as st
from reading import answers, error, passages, read

from hybridtune.data.text_key import text_key


def test_passages_are_compared_in_nfc_and_without_their_white_space(groups_file):
    texts = ("caf\u00e9 au lait", " cafe\u0301\n au lait ", "cafe au lait")
    rows = read(groups_file([{"group_id": t, "queries": {"en": f"q{t}"}, "passages": {"fr": t}} for t in texts]))
    assert [text.text for text in passages(rows)] == [texts[0], texts[2]]  # as it is written where it first stands
    assert [judgement.passage_id for judgement in rows.judged] == [f"{texts[0]}:fr"] * 2 + [f"{texts[2]}:fr"]


def several_positives():
    """Eight queries in two languages, each the query of four groups that have a passage each."""
    return [
        {
            "group_id": f"{n}-{variant}",
            "queries": {"en": f"question {n}", "de": f"frage {n}"},
            "passages": {"en": f"answer {n} {variant}", "de": f"antwort {n} {variant}"},
        }
        for n in range(8)
        for variant in range(4)
    ]


def test_a_query_of_several_groups_is_one_query_and_all_their_passages_are_relevant(groups_file):
    rows = read(groups_file(several_positives()))
    assert [text.text_id for text in rows.queries] == [f"{n}-0:{x}" for n in range(8) for x in ("en", "de")]
    assert answers(rows) == {
        (f"{n}-0:{x}", f"{text} {n} {variant}", 1)
        for n in range(8)
        for x in ("en", "de")
        for text in ("answer", "antwort")
        for variant in range(4)
    }
    assert len(passages(rows)) == 64
    assert rows.notices == [
        "48 of the queries repeat the text of another in their language: a text is one query, and the passages of all "
        "groups that have it are relevant"
    ]


def test_translations_of_a_repeated_query_have_the_same_passages(groups_file):
    """Two translators, one question: their German queries differ, and both are answered by all that answers it."""
    rows = read(
        groups_file(
            [
                {"group_id": "1", "queries": {"en": "who?", "de": "wer?"}, "passages": {"en": "me"}},
                {"group_id": "2", "queries": {"en": "who? ", "de": "wer denn?"}, "passages": {"en": "you"}},
                {"group_id": "3", "queries": {"sw": "who?"}, "passages": {"en": "she"}},  # another language's
            ]
        )
    )
    assert [text.text_id for text in rows.queries] == ["1:en", "1:de", "2:de", "3:sw"]
    both = {(name, text, 1) for name in ("1:en", "1:de", "2:de") for text in ("me", "you")}
    assert answers(rows) == both | {("3:sw", "she", 1)}
    assert rows.notices[0].startswith("1 of the queries repeat")


TEXTS = st.sampled_from(["a", " a", "b", "c", "\u00e9", "e\u0301"])
QUERIES, PASSAGES = (st.dictionaries(st.sampled_from(["de", "en"]), TEXTS, min_size=n, max_size=2) for n in (0, 1))


@given(st.lists(st.tuples(QUERIES, PASSAGES), min_size=1, max_size=8))
def test_native_relevance_equals_asking_every_query_of_every_group(tmp_path_factory, texts):
    """A query is answered by the passages of its groups, and by what answers a translation of it, and so on."""
    groups = [{"group_id": str(n), "queries": queries, "passages": found} for n, (queries, found) in enumerate(texts)]
    if not any(group["queries"] for group in groups):
        return
    path = tmp_path_factory.mktemp("native") / "groups.jsonl"
    path.write_text("".join(json.dumps(group) + "\n" for group in groups))
    asked = [{(x, text_key(t)) for x, t in group["queries"].items()} for group in groups]
    expected = {}
    for query in set.union(*asked):
        same = {query}
        while more := set().union(*(held for held in asked if held & same)) - same:
            same |= more
        expected[query] = {
            (x, text_key(t))
            for group, held in zip(groups, asked, strict=True)
            if held & same
            for x, t in group["passages"].items()
        }
    rows = read(path)
    of_id = {text.text_id: (text.language, text_key(text.text)) for text in passages(rows)}
    found = {}
    for judgement in rows.judged:
        query = rows.queries[judgement.query]
        found.setdefault((query.language, text_key(query.text)), []).append(of_id[judgement.passage_id])
    assert {query: set(held) for query, held in found.items()} == expected
    assert all(len(set(held)) == len(held) for held in found.values())
    assert len(rows.queries) == len(expected)


def test_a_link_to_nowhere_in_a_benchmark_is_one_line(tmp_path):
    path = tmp_path / "r"
    path.mkdir()
    (path / "en.json").write_text('{"data": []}')
    (path / "broken.json").symlink_to(tmp_path / "nowhere.json")
    broken = f"is a symbolic link to {tmp_path}/nowhere.json, which does not exist"
    assert error(path) == f"{path}/broken.json: {broken}"
    (path / "deep").mkdir()
    (path / "broken.json").rename(path / "deep" / "link")
    assert error(path) == f"{path}/deep/link: {broken}"
    (path / "deep" / "link").rename(tmp_path / "link")
    assert error(tmp_path / "link") == f"{tmp_path}/link: {broken}"
