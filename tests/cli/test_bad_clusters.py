"""Cluster files that are wrong in any way: a line a problem, and nothing started or written."""

import json
import re
from pathlib import Path

import pytest
import yaml
from bad_calls import Case
from bad_inputs import DEPTH, JUNK, PAIRS, TEXTS, changed_trees, damaged, encoded_wrong
from hypothesis import strategies as st

CLUSTERS = Path(__file__).parents[2] / "clusters"
NAMES = sorted(file.stem for file in CLUSTERS.glob("*.yaml"))
STUDY = json.dumps(
    {
        "name": "x",
        "data": {"train": "pairs.jsonl"},
        "benchmarks": {"dev": {"path": "newsroom:dev"}},
        "train": {"batch_size": 2, "max_steps": 2},
    }
).encode()


def filled(name):
    """A shipped file with something for every YOUR_..."""
    return re.sub(r"YOUR_[A-Z0-9_]*[A-Z0-9]", "mine", (CLUSTERS / f"{name}.yaml").read_text(encoding="utf-8"))


@st.composite
def cluster_bytes(draw):
    text = filled(draw(st.sampled_from(NAMES)))
    way = draw(st.sampled_from(["tree"] * 6 + ["line"] * 3 + ["bytes", "encoding", "junk"]))
    if way == "tree":
        trees = list(yaml.safe_load_all(text))
        at = draw(st.integers(0, len(trees) - 1))
        trees[at] = draw(changed_trees(trees[at]))
        return yaml.safe_dump_all(trees, allow_unicode=True, sort_keys=False).encode("utf-8", "replace")
    if way == "line":
        lines = text.splitlines()
        at = draw(
            st.sampled_from([at for at, line in enumerate(lines) if ":" in line and not line.lstrip().startswith("#")])
        )
        key = lines[at].partition(":")[0]
        depth = draw(DEPTH)
        lines[at] = draw(
            st.sampled_from(
                [
                    f"{key}: &a [*a]",
                    f"{key}: !!python/name:os.system x",
                    f"{key}: {'[' * depth}{']' * depth}",
                    f"{key}: {'9' * 5000}",
                    f"{lines[at]}\n{lines[at]}",
                    f"{key}:{key}: x",
                    f"\t{lines[at]}",
                    f" {lines[at]}",
                    f"{key}: 2024-13-45",
                    f"{key}: $(rm -rf x)",
                    f"{key}: '`x`; x'",
                    f"---\n{lines[at]}",
                    f"{key}: ${{NO_SUCH}}",
                ]
            )
            | TEXTS.map(lambda value: f"{key}: {value}")
        )
        return "\n".join(lines).encode("utf-8", "replace")
    if way == "bytes":
        return draw(damaged(text.encode()))
    if way == "encoding":
        return draw(encoded_wrong(text))
    return draw(JUNK.map(lambda value: json.dumps(value).encode()))


def case(content, words):
    return Case(
        ("launch", "c.yaml", "s.yaml", "--dry-run", *words),
        {"c.yaml": content, "s.yaml": STUDY, "pairs.jsonl": PAIRS, "constraints.txt": b""},
    )


cluster_files = st.builds(
    case,
    cluster_bytes(),
    st.sampled_from([("--out", "new", "--fetch-to", "to"), ("--out", "/mnt/x"), (), ("--out", "new", "--json")]),
)


def test_the_cluster_that_is_changed_is_a_good_one(world):
    assert world.answer(case(filled("local_autoscaling").encode(), ())).code == 0


@pytest.mark.timeout(900)
def test_a_bad_cluster_file_is_a_line_a_problem(world):
    world.refuses(cluster_files, 70)
