"""What a corpus holds and what is wrong with it, found before anything is encoded; tie orders; the cut into blocks."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridtune.data.readers.records import BenchmarkRows, Judgement, Text, TextList
from hybridtune.errors import InputError
from hybridtune.evaluate import blocks, corpus_scan
from hybridtune.evaluate.blocks import blocks_of
from hybridtune.evaluate.corpus_scan import scan_corpus
from hybridtune.evaluate.encode import tie_order_among
from hybridtune.metrics.ties import tie_order

QUERIES = [Text("q1", "en", "who won"), Text("q2", "de", "wer verlor")]
ENGLISH = TextList("en", [Text(f"e{i}", "en", f"text {i}") for i in range(4)])
GERMAN = TextList("de", [Text(f"d{i}", "de", f"Satz {i}") for i in range(3)])


def rows(corpus=(ENGLISH, GERMAN), judged=((0, "d1", 1), (0, "e2", 2), (1, "e2", 1), (1, "e3", 0))):
    return BenchmarkRows("small", QUERIES, list(corpus), [Judgement(*one) for one in judged], [])


def test_what_a_benchmark_holds(tmp_path):
    found = scan_corpus(rows(), tmp_path)
    assert found.passages == {"de": 3, "en": 4}
    assert found.relevant == ["e2", "d1"]  # descending
    assert found.relevant_language == ["en", "de"]
    assert found.languages(rows()) == ("de", "en")


def test_other_benchmarks_have_other_digests(tmp_path):
    same = scan_corpus(rows(), tmp_path).digest
    assert scan_corpus(rows(), tmp_path).digest == same
    other_text = TextList("de", [*GERMAN.texts[:2], GERMAN.texts[2]._replace(text="ein anderer Satz")])
    others = [
        rows(corpus=(ENGLISH, other_text)),
        rows(judged=((0, "d1", 2), (0, "e2", 2), (1, "e2", 1), (1, "e3", 0))),
        replace(rows(), queries=[QUERIES[0], QUERIES[1]._replace(text="wer gewann")]),
    ]
    digests = {scan_corpus(other, tmp_path).digest for other in others}
    assert len(digests | {same}) == 4


def test_a_repeated_id_is_named_with_its_parts(tmp_path):
    doubled = TextList("more", [Text("x", "de", "neu"), GERMAN.texts[1]])
    with pytest.raises(InputError, match="passage id 'd1' occurs twice: in de and in more"):
        scan_corpus(rows(corpus=(ENGLISH, GERMAN, doubled)), tmp_path)
    within = TextList("en", [*ENGLISH.texts, ENGLISH.texts[0]])
    with pytest.raises(InputError, match="passage id 'e0' occurs twice: in en and in en"):
        scan_corpus(rows(corpus=(within, GERMAN)), tmp_path)


@pytest.mark.parametrize("bucket", [1, 2, 3, 100])
def test_doubles_are_found_in_any_bucket(tmp_path, monkeypatch, bucket):
    monkeypatch.setattr(corpus_scan, "BUCKET", bucket)
    many = [Text(f"p{i}", "en", f"text {i}") for i in range(40)]
    judged = ((0, "p3", 1),)
    scan_corpus(rows(corpus=[TextList("a", many[:20]), TextList("b", many[20:])], judged=judged), tmp_path)
    for again in (0, 19, 39):
        corpus = [TextList("a", many), TextList("b", [many[again]])]
        with pytest.raises(InputError, match=f"'p{again}' occurs twice: in a and in b"):
            scan_corpus(rows(corpus=corpus, judged=judged), tmp_path)


def test_two_ids_of_one_hash_are_no_double(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus_scan, "_hash", lambda text_id: 7)
    assert scan_corpus(rows(), tmp_path).passages == {"de": 3, "en": 4}


def test_a_relevant_id_that_is_not_there_is_named(tmp_path):
    judged = ((0, "d1", 1), (0, "gone", 1), (1, "lost", 1), (1, "nowhere", 0))
    with pytest.raises(InputError, match=r"passage 'gone' \(and 1 more\), which is not in the corpus"):
        scan_corpus(replace(rows(judged=judged), strict=True), tmp_path)
    found = scan_corpus(rows(judged=judged), tmp_path)
    assert found.relevant == ["lost", "gone", "d1"]
    assert found.relevant_language == ["", "", "de"]
    assert found.notices == (
        "2 relevant passages are not in the corpus (first: 'gone'): they count as not found, as in trec_eval, in the "
        "multi setting alone, for their language is not known",
    )


OWN = [Text("q1", "en", "Who  won, and when"), Text("q2", "de", "etwas anderes")]  # the ids of queries


def test_a_query_that_is_a_passage_is_known_by_id_and_text(tmp_path):
    """Ids alone do not show it: in MS MARCO queries and passages are both counted from 0."""
    corpus = [ENGLISH, GERMAN, TextList("own", OWN)]
    judged = ((0, "d1", 1), (1, "e2", 1))

    def of(ignored, judged=judged, own=OWN):
        given = replace(rows([*corpus[:2], TextList("own", own)], judged), ignore_identical_ids=ignored)
        return scan_corpus(given, tmp_path)

    off, auto, on = of(False), of(None), of(True)
    assert (off.own, off.notices, off.relevant) == (frozenset(), (), ["e2", "d1"])
    assert auto.own == on.own == {"q1", "q2"}  # q1 is the query, and half of the queries
    assert auto.relevant == ["q2", "q1", "e2", "d1"]
    assert auto.digest == on.digest != off.digest
    assert auto.notices == (
        "2 of 2 queries have the id of a passage: it is left out of their rankings, as in BEIR "
        "(benchmark.ignore_identical_ids)",
    )
    others = of(None, own=[OWN[0]._replace(text="nobody won"), OWN[1]])
    assert (others.own, others.relevant) == (frozenset(), ["e2", "d1"])
    assert others.notices == (
        "2 of 2 queries have the id of a passage, in most not the query itself, or judged relevant: it stays in their "
        "rankings (benchmark.ignore_identical_ids=true leaves it out)",
    )
    answer = of(None, judged=(*judged, (0, "q1", 1)))  # finding itself is what is asked for
    assert (answer.own, answer.relevant) == (frozenset(), ["q1", "e2", "d1"])
    assert "1 of them are judged relevant and count as not found" in of(True, judged=(*judged, (0, "q1", 1))).notices[0]


def test_a_corpus_in_which_nothing_can_be_found_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"small: none of the 2 relevant passages can be found in the corpus; do qr"):
        scan_corpus(rows(judged=((0, "gone", 1), (1, "lost", 1))), tmp_path)
    itself = rows([ENGLISH, TextList("own", OWN)], ((0, "q1", 1), (1, "q2", 1)))
    assert scan_corpus(replace(itself, ignore_identical_ids=None), tmp_path).own == frozenset()
    with pytest.raises(InputError, match="none of the 2 relevant passages can be found"):
        scan_corpus(replace(itself, ignore_identical_ids=True), tmp_path)


def test_passages_without_a_text_are_counted(tmp_path):
    blank = TextList("blank", [Text("b1", "de", ""), Text("b2", "en", ""), Text("b3", "en", "full")])
    found = scan_corpus(rows(corpus=(ENGLISH, GERMAN, blank)), tmp_path)
    assert found.notices == ("2 passages have no text (first: 'b1'); they stay in the pool, as in BEIR",)
    assert found.passages == {"de": 4, "en": 6}


def test_a_benchmark_without_an_answer_is_refused(tmp_path):
    with pytest.raises(InputError, match="no query has a relevant passage"):
        scan_corpus(rows(judged=((0, "d1", 0),)), tmp_path)


def test_exchanged_languages_are_refused(tmp_path):
    russian = TextList("ru", [Text(f"r{i}", "ru", "this is plainly English, not Russian") for i in range(5)])
    with pytest.raises(InputError, match="'ru'"):
        scan_corpus(rows(corpus=(ENGLISH, GERMAN, russian)), tmp_path)


@dataclass(frozen=True)
class Broken:
    """A part whose third line cannot be read."""

    name: str = "broken"

    def read(self):
        yield Text("b1", "en", "one")
        raise InputError("corpus.jsonl:3: no text")


def test_what_a_reader_finds_wrong_is_passed_on(tmp_path):
    with pytest.raises(InputError, match=r"^corpus\.jsonl:3: no text$"):
        scan_corpus(rows(corpus=(ENGLISH, GERMAN, Broken())), tmp_path)


@given(st.sets(st.text(max_size=4), min_size=1, max_size=12), st.data())
def test_tie_order_among_the_relevant_agrees_with_the_order_of_all(ids, data):
    ids = sorted(ids)
    relevant = data.draw(st.sets(st.sampled_from(ids), min_size=1))
    order = tie_order_among(sorted(relevant, reverse=True))
    full = dict(zip(ids, tie_order(ids).tolist(), strict=True))
    for one in relevant:
        for other in ids:
            assert (order(other) < order(one)) == (full[other] < full[one])
            assert (order(other) == order(one)) == (other == one)
    assert {one for one in ids if order(one) % 2} == relevant
    assert [order(one) // 2 for one in sorted(relevant, reverse=True)] == list(range(len(relevant)))


def test_blocks_hold_one_language_each_and_every_text_once(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_PASSAGES", 3)
    texts = [Text(str(i), "en" if i % 3 else "sw", "x") for i in range(20)]
    found = list(blocks_of(TextList("p", texts), 7))
    assert {name for name, _ in found} == {
        *(f"00007-en-{n:06d}" for n in range(5)),
        *(f"00007-sw-{n:06d}" for n in range(3)),
    }
    assert all(len(block) <= 3 and len({text.language for text in block}) == 1 for _, block in found)
    assert sorted(text for _, block in found for text in block) == sorted(texts)
    assert found == list(blocks_of(TextList("p", texts), 7))
