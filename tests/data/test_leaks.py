"""Texts of a benchmark that are looked for in training groups."""

import pytest

from hybridtune.data import leaks as leaks_module
from hybridtune.data.leaks import LeakReport, LeakSearch, ScoredTexts, dev_in_test
from hybridtune.data.readers.native import Group
from hybridtune.data.readers.records import Text

QUESTION = "Who was it that opened the old bridge across the river?"
SENTENCE = "The old bridge across the river was opened by the mayor of the town on a cold day in March 1931."
WORDS = [f"word{n}" for n in range(400)]


def report(scored, groups):
    """What is found of ``scored``, (id, side, text), in groups of (group_id, document_id, text)."""
    sides = {side: [Text(name, "en", text) for name, of, text in scored if of == side] for side in ("q", "p")}
    search = LeakSearch([ScoredTexts("test", sides["q"], sides["p"])])
    for group_id, document_id, text in groups:
        search.add(Group(group_id, document_id, {"de": text}, {"de": f"Absatz {group_id}"}), "train.jsonl")
    return search.finish()


def found(scored, *texts):
    """How each scored text was found."""
    result = report(scored, [(f"g{n}", "", text) for n, text in enumerate(texts)])
    return {leak.text_id: leak.kind for leak in result.leaks}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (SENTENCE, "exact"),
        (f"¿{SENTENCE.upper().replace(' ', '  ')}?!", "exact"),
        (f"It is told that {SENTENCE} Nobody came.", "near"),  # one that holds it
        (SENTENCE.replace("March", "April"), "near"),
        (SENTENCE.replace("mayor of the town", "king"), None),  # what is left are 10 of its 18 pieces
        (" ".join(SENTENCE.split()[:12]), None),
        (" ".join(reversed(SENTENCE.split())), None),
    ],
)
def test_a_text_is_found_whole_or_in_nearly_all_its_pieces(text, kind):
    assert found([("a", "p", SENTENCE)], text).get("a") == kind


def test_of_few_pieces_all_have_to_be_there():
    query = "Who opened the bridge in Kaluga?"
    assert found([("a", "q", query)], f"{query} Who closed it?") == {"a": "near"}
    assert found([("a", "q", query)], query.replace("Kaluga", "Pskov")) == {}


def test_scripts_without_spaces_are_found_too():
    text = "谁在一九三一年三月的一个寒冷的日子里开放了横跨这条河的旧桥？"
    assert found([("a", "q", text)], text.replace("？", "")) == {"a": "exact"}
    assert found([("a", "q", text)], f"请问：{text}没有人来。") == {"a": "near"}
    assert found([("a", "q", text)], "谁在一九三二年四月开放了新桥？") == {}


def test_short_texts_are_found_whole_alone_and_do_not_count_by_chance():
    scored = [("short", "q", "Who was it?"), *((f"{n}", "p", f"{SENTENCE} {n}") for n in range(99))]
    result = report(scored, [("g1", "", "WHO was it"), ("g2", "", "Who was it? I do not know.")])
    assert [(leak.text_id, leak.kind, leak.group_id) for leak in result.leaks] == [("short", "short", "g1")]
    assert not result.counted()
    assert result.groups == []
    scored.append(("other", "q", "Who came?"))
    planted = report(scored, [("g1", "", "WHO was it"), ("g3", "", "who came")])
    assert {leak.text_id for leak in planted.counted()} == {"short", "other"}  # two of 101 are no chance
    assert planted.groups == ["g1", "g3"]


def test_texts_are_found_wherever_they_stand():
    text = Text("a", "sw", SENTENCE)
    for group in (
        Group("g", "", {"de": SENTENCE}, {}),
        Group("g", "", {}, {"en": SENTENCE}),
        Group("g", "", {}, {"en": "x"}, {"en": ["y", SENTENCE]}),
    ):
        search = LeakSearch([ScoredTexts("dev", [], [text])])
        search.add(group, "train.jsonl")
        (leak,) = search.finish().leaks
        assert (leak.benchmark, leak.side, leak.language, leak.kind) == ("dev", "passages", "sw", "exact")


def test_blocks_make_no_difference(monkeypatch):
    scored = [(f"{n}", "q", " ".join(WORDS[n : n + 8])) for n in range(0, 400, 8)]
    groups = [(f"g{n}", f"d{n // 5}", " ".join(WORDS[n : n + 20])) for n in range(0, 360, 7)]
    whole = report(scored, groups)
    monkeypatch.setattr(leaks_module, "_AT_ONCE", 3)
    assert report(scored, groups) == whole
    assert whole.counted()


def test_the_first_whole_place_is_named_and_every_group_is_dropped():
    groups = [("near", "d1", f"{SENTENCE} Nobody came."), ("one", "", SENTENCE), ("two", "d2", SENTENCE.lower())]
    result = report([("a", "p", SENTENCE)], groups)
    (leak,) = result.leaks
    assert (leak.kind, leak.group_id, leak.document, leak.file) == ("exact", "one", "one", "train.jsonl")
    assert result.groups == ["near", "one", "two"]
    assert result.searched == 3


def test_a_report_is_described_in_one_line_and_survives_json():
    scored = [("a", "p", SENTENCE), ("b", "q", QUESTION), ("c", "q", "Something else that is nowhere in the data?")]
    result = report(scored, [("g1", "d7", SENTENCE), ("g2", "d7", QUESTION)])
    line = result.describe()
    assert line == (
        "train.jsonl: test: 1 of 2 queries and 1 of 1 passages (en 2) (2 whole); documents with most: d7 2; "
        "the first is 'b', in group 'g2'"
    )
    assert LeakReport.from_json(result.to_json()) == result


def test_dev_inside_test_is_counted():
    dev = ScoredTexts("dev", [Text("1", "en", QUESTION), Text("2", "en", "?")], [Text("p", "en", SENTENCE)])
    test = ScoredTexts("test", [Text("9", "en", QUESTION.upper()), Text("8", "en", "!")], [Text("p", "en", "Other")])
    assert dev_in_test(dev, test) == {"queries": 1, "passages": 0}
