"""`hybridtune status`: what a study is doing, from its folder. Imports nothing heavy, so that it answers at once."""

import contextlib
import json
import socket
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from hybridtune.config.study import load_study
from hybridtune.errors import InputError
from hybridtune.launch.record import LAUNCH
from hybridtune.report.text import format_metric
from hybridtune.storage.study_folder import check_format
from hybridtune.storage.trial_rows import TrialRow, read_rows, read_running
from hybridtune.study.folder import RAY_ADDRESS
from hybridtune.terminal.screen import Screen
from hybridtune.terminal.tables import trials_table

if TYPE_CHECKING:
    from hybridtune.config.study import Study

ENDED, RUNNING, ELSEWHERE, CUT_OFF = "ended", "running", "running elsewhere", "cut off"
_BASELINES = 3


def read_study(folder: Path) -> "Study":
    """Return the study of a study folder.

    Raises:
        InputError: it holds none.
    """
    file = folder / "study.yaml"
    if not file.is_file():
        raise InputError(
            f"{folder}: is no study folder (no study.yaml); give the folder that hybridtune run wrote, its --out"
        )
    check_format(folder)
    return load_study(file)


def ray_address(folder: Path) -> str | None:
    """Return where the Ray dashboard of a study's run answers; None where it does not."""
    try:
        url = (folder / RAY_ADDRESS).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    url = url if "://" in url else f"http://{url}"
    place = urlsplit(url)
    with contextlib.suppress(OSError), socket.create_connection((place.hostname, place.port or 80), timeout=2):
        return url
    return None


def status(folder: Path) -> dict[str, Any]:
    """Return the state of a study.

    Args:
        folder: the study folder, in which nothing is changed; or one that a study was launched from, to which the
            results so far are fetched.

    Returns:
        ``{"study", "name", "state", "asked", "ended", "counts": {status: trials}, "objective", "best", "front",
        "trials", "headline", "go_on"}``, and of a launched study ``job`` (see `attach.job_summary`), which is all there
        is before it has begun to write, or ``notice``: why nothing is told of its job. ``state`` is ``running``,
        ``running elsewhere`` (another machine's process, which cannot be seen from here), ``cut off`` or ``ended``;
        ``best`` is the best trial so far or None;
        ``front`` the ids of an ended study's Pareto front; ``headline`` the sentence of an ended study or None;
        ``go_on`` the command that finishes a study that was cut off, or None.

    Raises:
        InputError: the folder holds no search, or nothing but the record of a launch that is not this user's.
    """
    job = notice = None
    if (folder / LAUNCH).exists():
        from hybridtune.launch.attach import job_summary  # heavy: it asks the cluster

        study_file = folder / "study.yaml"
        try:
            job = job_summary(folder)
        except InputError as error:
            if not study_file.exists():
                raise
            notice = str(error)
        if not study_file.exists():
            return {"study": str(folder), "job": job}
    study = read_study(folder)
    result = _result(folder)
    if result is None:
        rows, state = read_rows(folder, running=True), _state(folder)
        best = _best(rows, study.search.objective[0])
    else:
        rows, state = [TrialRow(**trial) for trial in result["trials"]], ENDED
        best = next(row for row in rows if row.id == result["best"]["id"])
    counts = Counter(row.status for row in rows)
    again = f"hybridtune run {folder / 'study.yaml'} --out {folder}"
    if job is not None and state != ENDED:
        ended = job["status"] in ("SUCCEEDED", "FAILED", "STOPPED", "LOST")
        state, again = CUT_OFF if ended else RUNNING, f"hybridtune launch CLUSTER STUDY --fetch-to {folder}"
    return {
        "study": str(folder),
        "name": study.name,
        "state": state,
        "asked": _asked(study),
        "ended": len(rows) - counts["running"],
        "counts": dict(counts),
        "objective": study.search.objective,
        "best": asdict(best) if best else None,
        "front": result["front"] if result else [],
        "trials": [asdict(row) for row in rows],
        "headline": result.get("headline") if result else None,
        "go_on": again if state == CUT_OFF else None,
    } | {key: value for key, value in (("job", job), ("notice", notice)) if value is not None}


def status_table(told: dict[str, Any], screen: Screen) -> None:
    """Print a study's status: the table of trials, and a few lines."""
    show = screen.console.print
    if "notice" in told:
        show(told["notice"], markup=False, soft_wrap=True)
    if (job := told.get("job")) is not None:
        status = "its cluster is gone" if job["status"] == "LOST" else job["status"].lower()
        show(f"job {job['name']}: {status}; results in {job['out']}", markup=False, soft_wrap=True)
        if job["status"] == "LOST" and told.get("state") != ENDED:
            show(job["message"], markup=False, soft_wrap=True)
    if "trials" not in told:
        show("the study has not begun to write yet", markup=False)
        return
    best = told["best"]
    rows = [TrialRow(**trial) for trial in told["trials"]]
    if rows:
        show(trials_table(told["objective"], rows, best["id"] if best else None))
    counts = ", ".join(f"{number} {name}" for name, number in told["counts"].items())
    show(f"{told['name']}: {told['state']}; {told['ended']} of {told['asked']} trials ended", end="", markup=False)
    show(f" ({counts})" if counts else "", markup=False, soft_wrap=True)
    if best:
        metric = told["objective"][0]
        so_far = "" if told["state"] == ENDED else " so far"
        show(f"best{so_far}: {TrialRow(**best).label}, {metric} {format_metric(metric, best['metrics'][metric])}")
    if len(told["front"]) > 1:
        show(f"Pareto front: {', '.join(told['front'])}", markup=False, soft_wrap=True)
    for line in (told["headline"], f"to go on: {told['go_on']}" if told["go_on"] else None):
        if line:
            show(line, markup=False, soft_wrap=True)


def _asked(study: "Study") -> int:
    """Return how many trials the study is to have."""
    if study.search.sampler == "grid":  # heavy: it depends on which combinations there are
        from hybridtune.search.samplers import expected_trials

        return expected_trials(study)
    return study.search.trials + (_BASELINES if study.search.baselines else 0)


def _result(folder: Path) -> dict[str, Any] | None:
    """Return what `result.json` holds; None before the study has ended."""
    file = folder / "result.json"
    if not file.exists():
        return None
    result: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if "trials" not in result:
        raise InputError(f"{folder}: holds a single training (hybridtune train), not a search; there are no trials")
    return result


def _state(folder: Path) -> str:
    """Return what a study without a result is doing. Between its phases no search runs, but its Ray does."""
    now = read_running(folder)
    if now is not None and now.alive is not False:
        return RUNNING if now.alive else ELSEWHERE
    return RUNNING if now is None and ray_address(folder) else CUT_OFF


def _best(rows: Sequence[TrialRow], metric: str) -> TrialRow | None:
    """Return the best trial of those that came to their last step; before there is one, of all that have a score."""
    scored = [row for row in rows if metric in row.metrics and row.status != "failed"]
    known = [row for row in scored if row.status == "done"] or scored
    lower = metric.endswith("/rank_distance")  # of the metrics the one where less is better
    return min(known, key=lambda row: row.metrics[metric] * (1 if lower else -1), default=None)
