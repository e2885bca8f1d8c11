"""`hybridtune compare`: two evaluations of one benchmark, and whether their difference is more than chance."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hybridtune.callbacks import StudyCallback
from hybridtune.errors import InputError
from hybridtune.metrics.groups import GROUPED_BY
from hybridtune.metrics.per_query import FILE, PerQuery, read_per_query
from hybridtune.metrics.significance import DRAWS, compare
from hybridtune.metrics.units import Unit
from hybridtune.storage.files import base_name, is_remote, join, parent
from hybridtune.storage.manifests import MANIFEST, check_whole
from hybridtune.storage.study_folder import check_format
from hybridtune.study.opened import of_comparison, opened

MEASURES = ("AP", "nDCG@10", "rank_distance")  # where both have them; few, since each may differ by chance


def find_per_query(folder: Path) -> Path:
    """Find the file of per-query values of an evaluation's ``--out``, a trial's folder or a study folder (its best).

    The file itself may be given in place of a folder.

    Raises:
        InputError: no such file.
    """
    location = str(folder)
    check_format(folder)
    tried = [folder / FILE, folder / "best" / FILE]
    of_trial = sorted(folder.glob(f"fit/checkpoint_*/{FILE}"))  # Ray Train names checkpoints by their step
    for file in (folder, *tried, *of_trial[-1:]):
        if file.is_file():
            if (file.parent / MANIFEST).is_file():
                check_whole(file.parent, "score it again", [FILE])
            return file
    made = f"make one with: hybridtune evaluate MODEL --benchmark PATH --out {location}"
    if not folder.exists():
        raise InputError(f"{location}: no such file or folder; {made}")
    raise InputError(f"{location}: no per-query values there: looked for {tried[0]} and {tried[1]}; {made}")


def read_evaluation(location: str) -> tuple[PerQuery, str]:
    """Return the per-query values at a folder or URL, and where their file is."""
    if is_remote(location) and base_name(location) == FILE:
        location = parent(location)
    with opened(location, of_comparison) as folder:
        file = find_per_query(folder)
        shown = join(location, *file.relative_to(folder).parts) if is_remote(location) else str(file)
        return read_per_query(file), shown


def compare_evaluations(
    a: str,
    b: str,
    measures: Sequence[str],
    seed: int,
    callback: StudyCallback,
    draws: int = DRAWS,
    unit: Unit | None = None,
) -> dict[str, Any]:
    """Compare B with A; a difference above 0 means that B has more of the measure.

    Args:
        a: folder or URL, see `find_per_query`.
        b: the same.
        measures: ir_measures names, rank_distance, .., or of a group, ``AP@low-resource``; none: ``MEASURES``, as far
            as both have them.
        seed: >= 0, of the permutation and the bootstrap.
        callback: receives messages.
        draws: of each.
        unit: what is resampled as a whole; None: see `metrics.units.choose_unit`.

    Raises:
        InputError: nothing to read, other benchmarks, a measure that one side does not have, documents that the
            benchmark does not name.
    """
    (one, first), (other, second) = map(read_evaluation, (a, b))
    compared = list(measures) or [name for name in MEASURES if name in one.measures and name in other.measures]
    comparison = dataclasses.asdict(compare(one, other, compared or MEASURES, unit=unit, seed=seed, draws=draws))
    for side, file in (("a", first), ("b", second)):
        about = {name: value for name, value in comparison[side].items() if name not in GROUPED_BY}
        comparison[side] = {"file": file, **about}
    found = {row["measure"] for row in comparison["differences"]}
    for measure in dict.fromkeys(measures):
        if measure not in found:
            callback.on_message(f"{measure}: no ranking defines it; left out")
    return comparison
