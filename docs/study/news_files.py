"""Cut a file of parallel news into question-passage pairs and bitext: ``pairs.jsonl.gz`` and ``bitext.jsonl.gz``.

The pairs lack the held-out languages on both sides. Each held-out language has bitext instead, the passages of the
first groups in English and in it, which never meets a question.

    python docs/study/news_files.py NEWS_TRAIN FOLDER --bitext 400 yo so
"""

import argparse
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

KEPT = ("en", "de", "sw", "ha", "am", "ta")


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("news", type=Path, help="groups of translations, .jsonl.gz")
    parser.add_argument("folder", type=Path, help="takes both files")
    parser.add_argument("languages", nargs="+", help="that have bitext alone")
    parser.add_argument("--bitext", type=int, default=400, help="groups of each of them")
    given = parser.parse_args()
    with gzip.open(given.news, "rt", encoding="utf-8") as lines:
        groups = [json.loads(line) for line in lines]
    given.folder.mkdir(parents=True, exist_ok=True)
    write(given.folder / "pairs.jsonl.gz", (pairs(group) for group in groups))
    write(given.folder / "bitext.jsonl.gz", bitext(groups, given.languages, given.bitext))


def pairs(group: dict[str, Any]) -> dict[str, Any]:
    """Return a group with the texts of `KEPT` alone."""
    sides = {
        side: {name: group[side][name] for name in KEPT if name in group[side]} for side in ("queries", "passages")
    }
    return {**group, **sides}


def bitext(groups: list[dict[str, Any]], languages: list[str], most: int) -> Iterator[dict[str, Any]]:
    """Yield English passages with their translations, without queries, up to ``most`` of each language."""
    for language in languages:
        both = [group for group in groups if {"en", language} <= group["passages"].keys()]
        for group in both[:most]:
            passages = {name: group["passages"][name] for name in ("en", language)}
            name = f"{group['group_id']}-{language}"
            yield {"group_id": name, "document_id": group["document_id"], "queries": {}, "passages": passages}


def write(path: Path, groups: Iterator[dict[str, Any]]) -> None:
    """Write groups, one a line."""
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(group, ensure_ascii=False) + "\n" for group in groups)


if __name__ == "__main__":
    main()
