"""`hybridtune data clean`: texts made plain, rows that teach nothing dropped, and all of it counted by reason."""

import functools
import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hybridtune.callbacks import StudyCallback, phase
from hybridtune.config.fields import DataSet, Encoder
from hybridtune.data.readers.sources import find_sources
from hybridtune.errors import InputError, nearest
from hybridtune.metrics.arrays import Bool
from hybridtune.prepare.cleaning import (
    CHANGES,
    DUPLICATE,
    MUST,
    NEAR,
    REASONS,
    RULES,
    Block,
    RowRead,
    Rules,
    Tally,
    clean_block,
    read_rows,
)
from hybridtune.prepare.duplicates import Signatures, equal_rows, joined, near_rows
from hybridtune.prepare.parts import Job, make_parts, parts_folder, read_parts
from hybridtune.prepare.writer import open_groups, output_file
from hybridtune.storage.files import write_atomically

_AT_ONCE = 1 << 14  # rows between two reports of progress


def clean(data_sets: Sequence[DataSet], out: str, rules: Rules, callback: StudyCallback) -> dict[str, Any]:
    """Write the rows that are fit for training to a file, and a report of all others beside it.

    A rerun after a kill takes up the parts that were finished.

    Raises:
        InputError: the data cannot be read, ``out`` cannot be written, or no row is left.
    """
    sources = find_sources(data_sets)
    file = output_file(out, sources)
    folder = parts_folder(file, sources, (RULES, rules))
    try:
        job = Job(sources, read_rows, functools.partial(_cleaned_part, rules=rules))
        files = make_parts(job, folder, callback, "cleaning")
        result = _write(files, file, rules, callback)
    except InputError:  # a rerun would end the same way
        shutil.rmtree(folder, ignore_errors=True)
        raise
    write_atomically(report_of(file), json.dumps(result, ensure_ascii=False, indent=1) + "\n")
    shutil.rmtree(folder)
    return result


def _cleaned_part(rows: Sequence[tuple[str, RowRead]], rules: Rules) -> bytes:
    return clean_block(rows, rules).to_bytes()


def report_of(file: Path) -> Path:
    """Return the file of the report that goes with a cleaned file."""
    return file.with_name(f"{file.name}.report.json")


def rules_of(keep: str | None, longest: int, encoder: str | None) -> Rules:
    """Return the rules that the options of the command ask for; raise InputError for a wrong one."""
    kept = frozenset(filter(None, (reason.strip() for reason in (keep or "").split(","))))
    optional = [reason for reason in REASONS if reason not in MUST]
    for reason in sorted(kept - {*optional}):
        if reason in MUST:
            raise InputError(
                f"--keep {reason}: such a text cannot be trained on; these can be kept: {', '.join(optional)}"
            )
        raise InputError(f"--keep {reason}: is no reason for which texts are dropped{nearest(reason, optional)}")
    if encoder is None:
        return Rules(kept, longest)
    from hybridtune.model.folder import longest_text, model_config
    from hybridtune.model.published import read_published
    from hybridtune.model.tokenizer import pretrained_tokenizer

    tokens = read_published(encoder).length or longest_text(model_config(Encoder(name=encoder)))
    return Rules(kept, longest, pretrained_tokenizer(encoder) if tokens else None, tokens or 0)


def _write(files: Sequence[Path], file: Path, rules: Rules, callback: StudyCallback) -> dict[str, Any]:
    tally, parts = Tally(), []
    for block in map(Block.from_bytes, read_parts(files)):
        tally.add(block.tally)
        parts.append(block.signatures)
    dropped = _duplicates(joined(parts), rules) if parts else {}
    left = sum(len(part.digests) for part in parts) - sum(int(rows.sum()) for rows in dropped.values())
    if not left:
        raise InputError(_nothing_left(tally))
    with phase(callback, "writing", "rows") as progress, open_groups(file) as write:
        progress(0, left)
        for number, group in enumerate(_kept(map(Block.from_bytes, read_parts(files)), dropped, tally), 1):
            write(group)
            if number % _AT_ONCE == 0 or number == left:
                progress(number, left)
    return _report(file, left, tally)


def _duplicates(found: Signatures, rules: Rules) -> dict[str, Bool]:
    """Return by reason the rows [n] that an earlier one says; a row has one reason."""
    equal = equal_rows(found) if DUPLICATE not in rules.keep else np.zeros(len(found.digests), bool)
    near = np.zeros(len(equal), bool)
    if NEAR not in rules.keep:
        others = np.flatnonzero(~equal)
        near[others] = near_rows(found.take(others))
        if DUPLICATE in rules.keep:
            near &= ~equal_rows(found)
    return {DUPLICATE: equal, NEAR: near}


def _kept(blocks: Iterable[Block], dropped: dict[str, Bool], tally: Tally) -> Iterable[Any]:
    """Yield the groups that no earlier row says, and count the others."""
    row = 0
    for block in blocks:
        for where, group in block.rows():
            reason = next((reason for reason, rows in dropped.items() if rows[row]), None)
            row += 1
            if reason is None:
                yield group
                continue
            language, text = next(iter(group.passages.items()))
            tally.note(reason, where, language, text)
            tally.rows[reason] += 1


def _nothing_left(tally: Tally) -> str:
    if not tally.read:
        return "there is no pair in the data"
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in tally.rows.most_common())
    first = next(example for examples in tally.examples.values() for example in examples)
    return (
        f"none of the {tally.read:,} rows is left ({reasons or 'duplicates'}); the first: {first.where}: {first.text!r}"
    )


def _report(file: Path, left: int, tally: Tally) -> dict[str, Any]:
    def about(reason: str) -> dict[str, Any]:
        examples = [example._asdict() for example in tally.examples.get(reason, [])]
        return {"texts": tally.texts[reason], "rows": tally.rows[reason], "examples": examples}

    return {
        "file": str(file),
        "report": str(report_of(file)),
        "rows": tally.read,
        "written": left,
        "changed": {reason: about(reason) for reason in CHANGES if tally.texts[reason]},
        "dropped": {reason: about(reason) for reason in REASONS if tally.texts[reason]},
        "languages": sorted(tally.languages),
        "not judged": tally.unknown(),
    }
