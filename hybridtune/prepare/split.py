"""`hybridtune data split`: training data cut into train, dev and test files, as `data.holdout` cuts them."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hybridtune.callbacks import StudyCallback, phase
from hybridtune.config.fields import DataSet, Holdout
from hybridtune.data.holdout import Cut
from hybridtune.data.readers.native import Group
from hybridtune.data.readers.notes import Notes
from hybridtune.data.readers.sources import find_sources, read_groups
from hybridtune.errors import InputError
from hybridtune.prepare.writer import open_groups, output_file

_PARTS = ("train", "dev", "test")
_AT_ONCE = 1 << 12  # groups between two reports of progress


def split(data_sets: Sequence[DataSet], holdout: Holdout, out: str, callback: StudyCallback) -> dict[str, Any]:
    """Write ``train.jsonl``, ``dev.jsonl`` and ``test.jsonl`` into a folder; return the groups of each.

    Raises:
        InputError: the data cannot be read, a part is empty, or a file cannot be written.
    """
    sources = find_sources(data_sets)
    if Path(out).is_file():
        raise InputError(f"--out {out}: is a file; name a folder for the three files")
    files = {part: output_file(str(Path(out) / f"{part}.jsonl"), sources) for part in _PARTS}
    notes = Notes()

    def read() -> Iterator[Group]:
        return (group for source in sources for group in read_groups(source, notes))

    with phase(callback, "cutting", "groups") as progress:
        progress(0, 1)
        cut = Cut(holdout, read)
        counts = dict.fromkeys(_PARTS, 0)
        with contextlib.ExitStack() as stack:
            write = {part: stack.enter_context(open_groups(file)) for part, file in files.items()}
            for number, group in enumerate(read(), 1):
                part = cut.part(group) or "train"
                write[part](group)
                counts[part] += 1
                if number % _AT_ONCE == 0:
                    progress(number, number)
            if not counts["train"]:
                raise InputError(f"{data_sets[0].path}: no group is left to train on; lower the share")
        total = sum(counts.values())
        progress(total, total)
    for line in notes.lines():
        callback.on_message(line)
    return {"groups": counts, "files": {part: str(file) for part, file in files.items()}}
