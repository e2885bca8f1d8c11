import hashlib
import itertools
import json
import subprocess
import sys
from collections import Counter

import pytest

from hybridtune.data import newsroom
from hybridtune.data.newsroom import LANGUAGES, LOW_RESOURCE, RICH, generate
from hybridtune.errors import InputError

PARTS = ("train", "dev", "test")
SIDES = ("queries", "passages")
DIGEST = "2aae1642a2ad471f791ed01373f3e5e3898d26e8c11f703770696281a25c4b50"


def texts(rows, side, lang):
    return [row[side][lang] for row in rows if lang in row[side]]


def all_texts(rows):
    return {text for row in rows for side in SIDES for text in row[side].values()}


def digest(seed):
    rows = [row for part in PARTS for row in generate(part, seed)]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def pair_counts(rows):
    return Counter(pair for row in rows for pair in itertools.product(row["queries"], row["passages"]))


@pytest.fixture(scope="module")
def corpus():
    return {part: list(generate(part)) for part in PARTS}


def test_languages_and_scripts(corpus):
    assert len(LANGUAGES) >= 6
    assert len(set(LOW_RESOURCE)) == 2
    assert set(LOW_RESOURCE) | set(RICH) == set(LANGUAGES)
    assert {lang for row in corpus["train"] for lang in row["passages"]} == set(LANGUAGES)
    cyrillic = {
        lang
        for lang in LANGUAGES
        if any("а" <= c <= "я" for text in texts(corpus["dev"], "queries", lang) for c in text)
    }
    assert cyrillic == {"ru"}


def test_same_arguments_give_the_same_corpus_in_any_process():
    code = (
        "import hashlib, json; from hybridtune.data.newsroom import generate\n"
        "rows = [row for part in ('train', 'dev', 'test') for row in generate(part, 3)]\n"
        "print(hashlib.sha256(json.dumps(rows).encode()).hexdigest())"
    )
    for hash_seed in ("1", "2"):
        command = [sys.executable, "-c", code]
        out = subprocess.run(command, env={"PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, check=True)
        assert out.stdout.strip() == digest(3)
    assert digest(3) == digest(3) != digest(4)


def test_the_corpus_of_seed_0_is_that_of_every_version():
    rows = [row for part in PARTS for row in generate(part)]
    assert hashlib.sha256(json.dumps(rows).encode()).hexdigest() == DIGEST


def test_import_is_light():
    code = "import sys, hybridtune.data.newsroom; print({'torch', 'ray', 'transformers'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"


@pytest.mark.parametrize("other_seed", [0, 1])
def test_parts_share_no_story_and_no_text(corpus, other_seed):
    for one, other in itertools.permutations(PARTS, 2):
        rows, others = corpus[one], list(generate(other, other_seed))
        assert all_texts(rows).isdisjoint(all_texts(others))
        for key in ("document_id", "group_id"):
            assert {row[key] for row in rows}.isdisjoint(row[key] for row in others)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_texts_of_a_language_are_distinct(seed):
    for part in PARTS:
        rows = list(generate(part, seed))
        assert len({row["group_id"] for row in rows}) == len(rows)
        for side, lang in itertools.product(SIDES, LANGUAGES):
            found = texts(rows, side, lang)
            assert len(set(found)) == len(found), (part, side, lang)


@pytest.mark.parametrize("part", ["dev", "test"])
def test_held_out_parts_are_fully_parallel(corpus, part):
    assert 60 <= len(corpus[part]) <= 100
    for row in corpus[part]:
        assert tuple(row["queries"]) == tuple(row["passages"]) == LANGUAGES


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_low_resource_languages_have_few_cross_pairs(seed):
    pairs = pair_counts(generate("train", seed))
    groups = Counter()
    for row in generate("train", seed):
        both = set(row["queries"]) | set(row["passages"])
        groups.update(both if len(both) > 1 else ())
    assert groups["sw"] == 60
    assert groups["ha"] == 24
    assert all(groups[lang] == 700 for lang in RICH)
    assert pairs["sw", "ha"] == pairs["ha", "sw"] == 0  # the zero-shot pair
    rich_pairs = [pairs[pair] for pair in itertools.permutations(RICH, 2)]
    low_pairs = [n for (one, other), n in pairs.items() if one != other and {one, other} & set(LOW_RESOURCE)]
    assert max(low_pairs) * 4 < min(rich_pairs)
    assert all(pairs[lang, lang] >= 64 for lang in LANGUAGES)  # enough for a mono batch
    assert all(pairs[lang, lang] == 150 for lang in RICH)


def test_documents_hold_several_groups(corpus):
    for part in PARTS:
        per_document = Counter(row["document_id"] for row in corpus[part])
        assert len(per_document) == newsroom.STORIES[part]
        assert set(per_document.values()) == {newsroom.FACTS_PER_STORY}


def test_local_words_never_stand_in_a_translated_story(corpus):
    """What makes cross-only training weak: words that only mono pairs and the held-out parts hold."""
    towns = {place["en"][0] for place in newsroom.PLACES.concepts[newsroom.PLACES.common :]}
    local_sites = {site["en"][0] for site in newsroom.SITES.concepts[newsroom.SITES.common :]}

    def is_local(row):
        return any(word in row["passages"].get("en", "") for word in towns | local_sites)

    wire = [row for row in corpus["train"] if set(row["queries"]) != {"en"} and "en" in row["passages"]]
    local = [row for row in corpus["train"] if set(row["queries"]) == set(row["passages"]) == {"en"}]
    assert wire
    assert not any(map(is_local, wire))
    assert sum(map(is_local, local)) > len(local) / 2
    assert any(map(is_local, corpus["dev"]))


@pytest.mark.parametrize(
    "slot", [newsroom.ACTIONS, newsroom.SITES, newsroom.PLACES, newsroom.ACTORS, newsroom.REASONS, newsroom.OUTCOMES]
)
def test_no_two_concepts_share_a_word(slot):
    for lang in LANGUAGES:
        for form in (0, -1):
            forms = [concept[lang][form] for concept in slot.concepts]
            assert len(set(forms)) == len(forms)


def test_texts_are_finished():
    for part in PARTS:
        for text in all_texts(generate(part)):
            assert not set("{}/|") & set(text)
            assert "  " not in text
            assert text[0].isupper() or text[0] in "¿"
            assert text[-1] in ".?"
            assert " de el " not in text


@pytest.mark.parametrize("part", ["dev", "train"])
def test_number_of_stories(part):
    assert len(list(generate(part, stories=3))) == 6
    assert len(list(generate(part, stories=newsroom.MOST_STORIES))) == 2 * newsroom.MOST_STORIES


@pytest.mark.parametrize("stories", [0, -1, newsroom.MOST_STORIES + 1])
def test_impossible_number_of_stories(stories):
    with pytest.raises(InputError, match="1 to 1500"):
        generate("dev", stories=stories)


def test_unknown_part():
    with pytest.raises(InputError, match="train, dev, test"):
        generate("validation")
