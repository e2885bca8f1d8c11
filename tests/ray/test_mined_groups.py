"""Bitext mining by an encoder, from rows to groups."""

from hybridtune.config.fields import DataSet, Resources
from hybridtune.data.newsroom import generate
from hybridtune.data.readers.native import Group
from hybridtune.data.readers.sources import parse_groups
from hybridtune.prepare.group import Given, group
from hybridtune.prepare.mining import Mining
from hybridtune.terminal.grouping import grouped_summary
from hybridtune.terminal.screen import Screen


def rows():
    """English pairs, and the same with a word more as German ones; five have none."""
    texts = [one["passages"]["en"] for one in list(generate("dev"))[:40]]
    for n, text in enumerate(texts):
        yield Group(f"e{n}", "", {"en": f"{n} {text[:20]}"}, {"en": text})
        if n < 35:
            yield Group(f"d{n}", "", {"de": f"{n} {text[:20]}"}, {"de": f"{text} und"})


def test_passages_of_two_languages_are_found_again(shared_ray, tiny, tmp_path, groups_file, capsys):
    file = groups_file([one._asdict() for one in rows()])
    mining = Mining(tiny[1], Resources(evaluators=1), "passages", {"": 1.0})
    screen = Screen(to_stderr=True)
    result = group([DataSet(path=str(file))], "mining", str(tmp_path / "made.jsonl"), Given(None, mining), screen)
    grouped_summary(result, screen)
    (pair,) = result["pairs"]
    assert (pair["pair"], pair["texts"], pair["threshold"]) == ("de-en", [35, 40], 1.0)
    assert pair["kept"] >= 20
    assert result["as read"] == {"groups": 75, "mono": 75, "cross": 0}
    joined = [one for one in parse_groups(tmp_path / "made.jsonl") if len(one.passages) == 2]
    right = [one for one in joined if one.passages["de"] == f"{one.passages['en']} und"]
    assert len(right) >= 0.9 * len(joined) >= 18
    # one query of each language asks for the two passages: they are joined too
    assert all(len(one.queries) == 2 for one in right)
    assert result["grouped"]["cross"] == 2 * len(joined)
    assert "from the best to the first that is refused" in capsys.readouterr().err
