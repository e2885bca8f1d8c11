"""Print the table of faults of docs/reliability.md: ``python benchmarks/reliability.py build/faults.jsonl``.

`make test-faults` writes the rows, one for each fault that was injected into a study of four trials.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_HEAD = ("fault", "injected by", "survived", "steps again", "trials lost", "equal", "goes on after", "named", "told")


def table(faults: Sequence[dict[str, Any]]) -> str:
    """Return the rows as a table of Markdown, and the sums below it."""
    lines = [f"| {' | '.join(_HEAD)} |", "|---" * len(_HEAD) + "|"]
    for fault in faults:
        seconds = "" if fault["seconds"] is None else f"{fault['seconds']:.1f} s"
        equal = {True: "yes", False: "**no**", None: ""}[fault["equal"]]
        words = [_yes(fault["survived"]), str(fault["repeated"]), str(fault["lost"]), equal, seconds]
        cells = [fault["kind"], fault["injected"], *words, _yes(fault["named"]), fault["told"].replace("|", "/")]
        lines.append(f"| {' | '.join(cells)} |")
    survived, named = (sum(bool(fault[key]) for fault in faults) for key in ("survived", "named"))
    lost, repeated = (sum(fault[key] for fault in faults) for key in ("lost", "repeated"))
    sums = f"{survived} survived, {named} were named rightly; {lost} trials lost, {repeated} steps trained again."
    return "\n".join([*lines, "", f"Of {len(faults)} faults {sums}"])


def _yes(value: bool) -> str:
    return "yes" if value else "**no**"


if __name__ == "__main__":
    print(table([json.loads(line) for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()]))
