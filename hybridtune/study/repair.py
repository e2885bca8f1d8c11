"""What is damaged of a study that goes on, and what is therefore done again."""

from pathlib import Path
from typing import Any

from hybridtune.callbacks import StudyCallback
from hybridtune.config.names import SOUP
from hybridtune.config.study import Study
from hybridtune.search.arms import contestants
from hybridtune.search.seed_check import REPEATS, done_repeats
from hybridtune.storage.files import join
from hybridtune.storage.manifests import damage
from hybridtune.storage.study_record import record_notes, whole_result
from hybridtune.storage.trial_rows import read_rows, rewrite_status
from hybridtune.train.checkpoint import SERVED


def ended_result(folder: Path, callback: StudyCallback) -> dict[str, Any] | None:
    """Return the result of a search that left nothing to do: no trial failed, in whichever folder.

    What is damaged is told of: records, and the model folders, which are to be written again.
    """
    for line in record_notes(folder):
        callback.on_damage(None, 0, 0, line)
    result = whole_result(folder) or {}
    failed = [trial for trial in result.get("trials", []) if trial["status"] == "failed"]
    if not result.get("trials") or failed:
        return None
    models = ["best", *[SOUP] * bool((result.get("soups") or {}).get("model"))]
    damaged = {name: what for name in models if (what := damage(folder / name)) is not None}
    for name, what in damaged.items():
        callback.on_damage(None, 0, 0, f"{folder / name} is damaged ({what}): it is written again")
    return None if damaged else result


def retry_damaged(study: Study, folder: Path, location: str, callback: StudyCallback) -> None:
    """Let contestants be trained again whose best checkpoints are damaged, and the same of other seeds.

    The checkpoints are at the location of the study, which the folder is the home of.
    """
    trained = contestants(study, read_rows(folder)).values()
    for home, rows in ((folder, trained), (folder / REPEATS, done_repeats(folder).values())):
        places = {row.id: (row, join(location, row.checkpoint)) for row in rows if row.checkpoint is not None}
        found = {name: (row, damage(place, SERVED)) for name, (row, place) in places.items()}
        damaged = {name: (row, what) for name, (row, what) in found.items() if what is not None}
        for row, what in damaged.values():
            callback.on_damage(None, 0, 0, f"{row.label}: its best checkpoint is damaged ({what}): it is trained again")
        rewrite_status(home, damaged, "failed")
