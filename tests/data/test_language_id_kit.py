"""The language of texts on real data: news in 16 languages, 9 of them low-resource."""

from collections import Counter
from pathlib import Path

import pytest

from hybridtune.data.language_id import identify, mistaken, unknown
from hybridtune.data.readers.sources import parse_groups

KIT = Path(__file__).parents[3] / "shared" / "kit"
pytestmark = [
    pytest.mark.kit,
    pytest.mark.slow,
    pytest.mark.skipif(not KIT.is_dir(), reason=f"no data kit at {KIT}"),
]
# Share of the queries and passages that are found to be in their language, both files: none lies below.
LEAST = {
    **{"am": 1.0, "ar": 0.99, "de": 0.99, "en": 0.99, "es": 0.98, "ha": 0.99, "hi": 0.98, "km": 0.99, "my": 1.0},
    **{"ru": 0.99, "so": 0.99, "sw": 0.99, "ta": 1.0, "yo": 0.99, "zh": 0.99, "zu": 0.97},
}


@pytest.fixture(scope="module")
def news():
    files = (KIT / "data" / f"news-{part}.parallel.jsonl.gz" for part in ("train", "test"))
    sides = (side for file in files for group in parse_groups(file) for side in (group.queries, group.passages))
    return [pair for side in sides for pair in side.items()]


def test_news_in_sixteen_languages(news):
    said, texts = zip(*news, strict=True)
    assert unknown(said) == []
    found = identify(texts)
    total, right = Counter(said), Counter(code for code, (other, _) in zip(said, found, strict=True) if code == other)
    shares = {code: right[code] / total[code] for code in sorted(total)}
    assert len(texts) == 21_248
    assert sum(right.values()) / len(texts) > 0.995
    assert {code: share for code, share in shares.items() if share < LEAST[code]} == {}


def test_hardly_a_right_text_is_said_to_be_in_another_language_and_hardly_a_wrong_one_is_missed(news):
    said, texts = zip(*news, strict=True)
    assert sum(code is not None for code in mistaken(texts, said)) <= 0.001 * len(texts)
    codes = sorted(set(said))
    others = [codes[(codes.index(code) + 1) % len(codes)] for code in said]
    missed = [row for row, code in enumerate(mistaken(texts, others)) if code is None]
    assert len(missed) <= 0.005 * len(texts)
