"""Texts that are in another language than they are said to be."""

from help_centre import help_centre

from hybridtune.data.language_check import ENOUGH, mislabelled, mostly_mislabelled
from hybridtune.data.readers.native import Group
from hybridtune.data.text_sample import TextSample


def sample(said, size=200):
    """The help centre, with some languages said to be others."""
    groups = []
    for row in help_centre():
        language = said.get(row["language"], row["language"])
        groups.append(Group(row["id"], "", {language: row["question"]}, {language: row["answer"]}))
    return TextSample.of(groups, size)


def test_texts_in_their_own_languages_are_not_named():
    assert list(mislabelled(sample({}))) == []


def test_a_wrong_code_is_named_with_the_right_one():
    found = mostly_mislabelled(sample({"de": "da", "fr": "xx"}))
    assert (found.side, found.language, found.other) == ("queries", "da", "de")
    assert 2 * found.texts > found.of == 150


def test_a_smaller_part_of_another_language_is_named_and_not_refused():
    mixed = sample({"fr": "en"}, 1000)
    assert mostly_mislabelled(mixed) is None
    (queries, passages) = mislabelled(mixed)
    assert (queries.language, queries.other, queries.of) == ("en", "fr", 380)
    assert 60 <= queries.texts <= 80
    assert passages.texts == 80


def test_of_a_few_texts_nothing_is_refused():
    few = sample({"ha": "en", "en": "fr"})
    assert few.counts["queries", "en"] < ENOUGH
    assert mostly_mislabelled(few).language == "fr"


def test_languages_that_are_alike_are_not_told_apart():
    assert mostly_mislabelled(sample({"sw": "zu", "de": "xh", "fr": "nb"})).other in ("de", "fr", "sw")
    texts = {"no": "Hvordan kan jeg endre passordet mitt i appen, og hvor finner jeg innstillingene?"}
    same = [Group(str(n), "", {"da": f"{n} {texts['no']}"}, {"da": f"{texts['no']} {n}"}) for n in range(40)]
    assert mostly_mislabelled(TextSample.of(same)) is None


def test_a_sample_has_the_same_texts_in_any_order():
    rows = [Group(str(n), "", {"en": f"text {n}"}, {"en": f"answer {n % 7}"}) for n in range(50)]
    ways = [TextSample.of(order, 5) for order in (rows, rows[::-1])]
    assert ways[0].texts("queries", "en") == ways[1].texts("queries", "en")
    assert len(ways[0].texts("queries", "en")) == 5
    assert sorted(TextSample.of(rows, 9).texts("passages", "en")) == [f"answer {n}" for n in range(7)]
    assert ways[0].counts == {("queries", "en"): 50, ("passages", "en"): 50}
