"""Precision and recall of bitext mining on parallel data whose ids are taken away, a language pair at a time.

The groups of a native file become flat pairs of one language each, without their ids; what `hybridtune data group
--by mining` does puts them together again. A pair of passages is right where some group of the file has both.

    python benchmarks/mining.py FILE --encoder MODEL [--groups N] [--keep SHARE] [--threshold MARGIN] [--set A.B=C]

With --keep each pair is kept with that probability alone, so that not every passage has a translation.
"""

import argparse
import random
import tempfile
from collections import Counter
from itertools import combinations, islice
from pathlib import Path

from hybridtune.data.readers.native import Group
from hybridtune.data.readers.sources import parse_groups
from hybridtune.data.text_key import text_key
from hybridtune.prepare.group import gather
from hybridtune.prepare.grouping import by_text, into_groups
from hybridtune.prepare.mining import mine, mining_settings
from hybridtune.prepare.rows import spool_rows
from hybridtune.terminal.screen import Screen


def thinned(groups, share):
    """The groups with a random share of their languages."""
    draw = random.Random(0)
    for group in groups:
        kept = {language: text for language, text in group.passages.items() if draw.random() < share}
        yield group._replace(passages=kept)


def flat(groups):
    """Pairs of one language each, by language: nobody sees any more which of them belong together."""
    rows = []
    for number, group in enumerate(groups):
        for language in group.passages:
            query = group.queries.get(language, f"query {number}")
            rows.append(Group(f"{language}-{number}", "", {language: query}, {language: group.passages[language]}))
    return sorted(rows, key=lambda row: row.group_id)


def passage_pairs(groups):
    """The pairs of passages of each language pair."""
    found = {}
    for group in groups:
        for one, other in combinations(sorted(group.passages), 2):
            texts = text_key(group.passages[one]), text_key(group.passages[other])
            found.setdefault((one, other), set()).add(texts)
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("--encoder", required=True)
    parser.add_argument("--groups", type=int)
    parser.add_argument("--keep", type=float, default=1.0)
    parser.add_argument("--threshold", action="append", default=[])
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    given = parser.parse_args()
    groups = list(thinned(islice(parse_groups(given.file), given.groups), given.keep))
    screen = Screen(to_stderr=True)
    mining = mining_settings(given.encoder, "passages", given.threshold, given.overrides)
    with tempfile.TemporaryDirectory() as folder:
        rows = spool_rows(flat(groups), Path(folder))
        whole, figures = mine(rows, mining, screen)
        made = list(gather(whole, into_groups(whole, by_text(whole).of), Counter()))
    right, found = passage_pairs(groups), passage_pairs(made)
    chosen = {pair["pair"]: pair for pair in figures}
    print("| pair | passages | translated | threshold | joined | precision | recall |\n|---|---|---|---|---|---|---|")
    means = []
    for pair in sorted(right):
        true, told = right[pair], found.get(pair, set())
        hits = len(true & told)
        precision, recall = hits / max(1, len(told)), hits / len(true)
        means.append((precision, recall))
        about = chosen["-".join(pair)]
        sizes = " x ".join(map(str, about["texts"]))
        print(
            f"| {'-'.join(pair)} | {sizes} | {len(true)} | {about['threshold']:.3f} | {len(told)} | {precision:.3f} | "
            f"{recall:.3f} |"
        )
    print(
        f"| mean of {len(means)} | | | | | "
        + " | ".join(f"{sum(x) / len(means):.3f}" for x in zip(*means, strict=True))
        + " |"
    )


if __name__ == "__main__":
    main()
