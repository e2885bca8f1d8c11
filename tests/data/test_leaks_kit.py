"""The guard on real data: XQuAD-R and the question-passage pairs of MLQA."""

import random
import re
import unicodedata
from pathlib import Path

import pytest
from reading import passages, read

from hybridtune.data.leaks import LeakSearch, ScoredTexts
from hybridtune.data.readers.native import Group
from hybridtune.data.readers.sources import parse_groups

KIT = Path(__file__).parents[3] / "shared" / "kit"
pytestmark = [
    pytest.mark.kit,
    pytest.mark.slow,
    pytest.mark.skipif(not KIT.is_dir(), reason=f"no data kit at {KIT}"),
]


@pytest.fixture(scope="module")
def xquad_r():
    rows = read(KIT / "data" / "xquad-r")
    return ScoredTexts("test", rows.queries, passages(rows))


@pytest.fixture(scope="module")
def mlqa():
    return list(parse_groups(KIT / "data" / "mlqa-test.parallel.jsonl.gz"))


def searched(scored, groups):
    search = LeakSearch([scored])
    for group in groups:
        search.add(group, "train.jsonl.gz")
    return search.finish()


def spoiled(text, rng):
    """A text with other case, punctuation and white space."""

    def other(match):
        is_mark = unicodedata.category(match[0])[0] == "M"  # of a letter, in Hindi or Thai
        return match[0] if is_mark else rng.choice(["", " -", "…", "; "])

    cased = rng.choice([str.upper, str.lower, str.title])(text)
    marked = re.sub(r"[^\w\s]", other, cased)
    return "« " + marked.replace(" ", rng.choice(["  ", "\u00a0"])) + " »!"


def test_none_of_xquad_r_is_found_in_mlqa(xquad_r, mlqa):
    """They share no paragraph, so whatever is found is a false alarm; under 1 in 1,000 is promised."""
    assert len(searched(xquad_r, mlqa).leaks) == 0


def test_a_planted_hundredth_is_found_whole(xquad_r, mlqa):
    rng = random.Random(0)
    texts = [*xquad_r.queries, *xquad_r.passages]
    chosen = rng.sample(texts, len(texts) // 100)
    planted = [Group(f"planted {n}", "", {}, {text.language: spoiled(text.text, rng)}) for n, text in enumerate(chosen)]
    found = searched(xquad_r, rng.sample([*mlqa, *planted], len(mlqa) + len(planted)))
    whole = {leak.text_id for leak in found.leaks if leak.kind != "near"}
    assert whole >= {text.text_id for text in chosen}
    assert all(group.startswith("planted") for group in found.groups)
