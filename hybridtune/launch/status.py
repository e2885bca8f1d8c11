"""`hybridtune status`: what a study is doing, from its folder. Imports nothing heavy, so that it answers at once."""

import re
import shlex
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hybridtune.config.study import load_stored_study
from hybridtune.errors import InputError
from hybridtune.launch.record import LAUNCH
from hybridtune.metrics.names import is_distance
from hybridtune.report.screening import screening_words
from hybridtune.report.text import format_metric
from hybridtune.search.arms import expected_trials, searched
from hybridtune.storage.events import SHOWN, read_events
from hybridtune.storage.feasibility import (
    best_soup,
    constraint_line,
    constraint_marks,
    constraint_metrics,
    eligible,
    limits,
)
from hybridtune.storage.files import is_remote
from hybridtune.storage.screening_rows import SCREENING, read_screened, read_screening
from hybridtune.storage.soup_rows import SoupRow, read_soups
from hybridtune.storage.study_folder import check_format
from hybridtune.storage.study_record import record_notes, whole_result
from hybridtune.storage.trial_rows import TrialRow, read_rows, whole_running
from hybridtune.storage.writer_lock import read_holder
from hybridtune.study.folder import RAY_ADDRESS
from hybridtune.study.opened import of_status, opened
from hybridtune.terminal.fitted import Fitted
from hybridtune.terminal.screen import Screen
from hybridtune.terminal.tables import explain_marks, trials_table

if TYPE_CHECKING:
    from hybridtune.config.study import Study

_ADDRESS = re.compile(r"https?://[\w.:\[\]-]{1,253}")
_EVENTS = 5  # that are shown
ENDED, RUNNING, ELSEWHERE, CUT_OFF = "ended", "running", "running elsewhere", "cut off"


def read_study(folder: Path) -> "Study":
    """Return the study of a study folder. Raises InputError where it holds none."""
    check_format(folder)
    return load_stored_study(folder)


def ray_address(folder: Path) -> str | None:
    """Return the URL of the Ray dashboard of a study's run, as it wrote it; None where no run is under way.

    It is not asked: the folder may be a stranger's, and name any machine.
    """
    held = read_holder(str(folder))
    try:
        url = (folder / RAY_ADDRESS).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    return url if held is not None and held[1] and _ADDRESS.fullmatch(url) else None


def status(location: str | Path) -> dict[str, Any]:
    """Return the state of a study.

    Args:
        location: folder or URL of the study, in which nothing is changed; or the folder of a launch, to which the
            results so far are fetched.

    Returns:
        ``{"study", "name", "seed", "state", "requested", "ended", "counts": {status: trials}, "objective",
        "constraints", "constraint_metrics", "meets", "best", "front", "trials", "screened", "screening", "soups",
        "best_soup", "events", "damaged", "headline", "go_on"}``.
        ``state`` is ``running``, ``running elsewhere`` (a process of another machine, which may have ended), ``cut
        off`` or ``ended``. ``requested`` is the number of trials that the search will have and ``ended`` how many of
        them did, both without the reruns after it; ``constraints`` says whether the best meets them, and ``meets`` of
        each trial that came to its end (yes, no), both empty without any; ``front`` the ids of an ended study's Pareto
        front, ``screened`` the trainings with few layers before the search and ``screening`` a line on them, empty
        without any, ``soups`` the averages of weights that have been scored, ``best_soup`` the id of the best,
        ``events`` the last lines on runs and lost workers, ``damaged`` a sentence on each record that could not
        be read and is left out, ``headline`` the sentence of an ended study, ``go_on`` the
        command that finishes a study that was cut off. A launched study also has ``job`` (see `attach.job_summary`),
        alone before the study has written anything, or ``notice``: why the job is not known.

    Raises:
        InputError: it holds no search, or nothing but the record of a launch that is not this user's; or the URL
            cannot be read.
    """
    with opened(location, of_status) as folder:
        return _status(folder, str(location) if is_remote(str(location)) else str(folder))


def _status(folder: Path, location: str) -> dict[str, Any]:
    job, notice = _job(folder)
    if job is not None and not (folder / "study.yaml").exists():
        return {"study": location, "job": job}
    study, result = read_study(folder), _result(folder)
    if result is None:
        state, rows = _state(folder), read_rows(folder, running=True)
        best = _best(study, rows)
    else:
        state, rows = ENDED, [TrialRow(**trial) for trial in result["trials"]]
        best = next(row for row in rows if row.id == result["best"]["id"])
    soups, screened = read_soups(folder), read_screened(folder)
    soup = best_soup(study, rows, soups)
    counts = Counter(row.status for row in rows)
    here = "STUDY.yaml" if is_remote(location) else str(folder / "study.yaml")
    again = f"hybridtune run {shlex.quote(here)} --out {shlex.quote(location)}"
    if job is not None and state != ENDED:
        ended = job["status"] in ("SUCCEEDED", "FAILED", "STOPPED", "LOST")
        state, again = CUT_OFF if ended else RUNNING, f"hybridtune launch CLUSTER STUDY --fetch-to {folder}"
    return {
        "study": location,
        "name": study.name,
        "seed": study.seed,
        "state": state,
        "requested": expected_trials(study),
        "ended": sum(row.status not in ("running", "paused") for row in searched(rows)),
        "counts": dict(counts),
        "objective": study.search.objective,
        "constraints": constraint_line(study, rows, best) if best else "",
        "constraint_metrics": constraint_metrics(study),
        "meets": constraint_marks(study, rows),
        "best": asdict(best) if best else None,
        "front": result["front"] if result else [],
        "trials": [asdict(row) for row in rows],
        "screened": [asdict(row) for row in screened],
        "screening": screening_words(study, read_screening(folder), screened, rows),
        "soups": [asdict(row) for row in soups],
        "best_soup": soup.id if soup else None,
        "events": [asdict(one) for one in read_events(folder) if one.kind in SHOWN][-_EVENTS:],
        "damaged": record_notes(folder),
        "headline": result.get("headline") if result else None,
        "go_on": again if state == CUT_OFF else None,
    } | {key: value for key, value in (("job", job), ("notice", notice)) if value is not None}


def trial_rows(found: Mapping[str, Any]) -> list[TrialRow]:
    """Return the trials of a `status`: those that ran when the study was cut off are ``cut off``."""
    rows = [TrialRow(**trial) for trial in found.get("trials", [])]
    over = found.get("state") == CUT_OFF
    return [replace(row, status="cut off") if over and row.status == "running" else row for row in rows]


def _job(folder: Path) -> tuple[dict[str, Any] | None, str | None]:
    """Return the job of a launched study, see `attach.job_summary`, or why it is not known; two times None of others.

    Raises:
        InputError: it is not known, and the study has not written anything either.
    """
    if not (folder / LAUNCH).exists():
        return None, None
    from hybridtune.launch.attach import job_summary  # heavy: it asks the cluster

    try:
        return job_summary(folder), None
    except InputError as error:
        if not (folder / "study.yaml").exists():
            raise
        return None, str(error)


def _state(folder: Path) -> str:
    """Return the state of a study that has no result yet, by the process that runs it."""
    held = read_holder(str(folder))
    if held is not None:
        holder, alive = held
        return CUT_OFF if not alive else RUNNING if holder.is_here else ELSEWHERE
    now = whole_running(folder) or whole_running(folder / SCREENING)  # of a copy, which holds no lock
    if now is not None and now.alive is not False:
        return RUNNING if now.alive else ELSEWHERE
    return CUT_OFF


def status_table(found: dict[str, Any], screen: Screen) -> None:
    """Print a study's `status`: the table of trials, and a few lines."""
    if "notice" in found:
        screen.print(found["notice"])
    if (job := found.get("job")) is not None:
        lost = job["status"] == "LOST"
        screen.print(
            f"job {job['name']}: {'its cluster is gone' if lost else job['status'].lower()}; results in {job['out']}"
        )
        if lost and found.get("state") != ENDED:
            screen.print(job["message"])
    if "trials" not in found:
        screen.print("the study has not begun to write yet")
        return
    best = found["best"]
    if found["trials"]:
        screen.console.print(_table(found, [TrialRow(**trial) for trial in found["trials"]]))
    counts = ", ".join(f"{number} {name}" for name, number in found["counts"].items())
    ended = f"{found['name']}: {found['state']}; {found['ended']} of {found['requested']} trials ended"
    screen.print(f"{ended} ({counts})" if counts else ended)
    if best:
        metric = found["objective"][0]
        so_far = "" if found["state"] == ENDED else " so far"
        screen.print(
            f"best{so_far}: {TrialRow(**best).label}, {metric} {format_metric(metric, best['metrics'][metric])}"
        )
    if found["screening"]:
        screen.print(found["screening"])
    if found["soups"]:
        soup = next(SoupRow(**row) for row in found["soups"] if row["id"] == found["best_soup"])
        metric = found["objective"][0]
        shown = f"{metric} {format_metric(metric, soup.metrics[metric])}"
        screen.print(f"{len(found['soups'])} soups, without training: the best is {soup.label}, {shown}")
    if found["constraints"]:
        screen.print(found["constraints"])
    if len(found["front"]) > 1:
        screen.print(f"Pareto front: {', '.join(found['front'])}")
    for event in found["events"]:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event["time"]))
        screen.print(f"{when}  {event['text']}", style="dim")
    for line in found["damaged"]:
        screen.print(line)
    if found["headline"]:
        screen.print(found["headline"])
    if found["go_on"]:
        screen.print(f"to go on: {found['go_on']}")


def trials_summary(found: dict[str, Any], screen: Screen) -> None:
    """Print the trials of a `status` alone, and what the marks after their steps mean."""
    rows = trial_rows(found)
    if not rows:
        screen.print("no trial has begun yet")
        return
    screen.console.print(_table(found, rows))
    for line in filter(None, ("* best" if found["best"] else "", explain_marks(rows))):
        screen.print(line, style="dim")


def _table(found: dict[str, Any], rows: Sequence[TrialRow]) -> Fitted:
    goals, best = [*found["objective"], *found["constraint_metrics"]], found["best"]
    return trials_table(goals, rows, best["id"] if best else None, meet=found["meets"])


def _result(folder: Path) -> dict[str, Any] | None:
    """Return what `result.json` holds; None before the study has ended, and where it is damaged."""
    result = whole_result(folder)
    if result is not None and "trials" not in result:
        raise InputError(f"{folder}: holds a single training (hybridtune train), not a search; there are no trials")
    return result


def _best(study: "Study", rows: Sequence[TrialRow]) -> TrialRow | None:
    """Return the best trial of those that came to their last step; without any, of all that have a score."""
    metric = study.search.objective[0]
    scored = [row for row in rows if metric in row.metrics and row.status != "failed"]
    done = [row for row in scored if row.status == "done"]
    known = eligible(limits(study, rows), done) or scored
    lower = is_distance(metric)  # of the metrics the one where less is better
    return min(known, key=lambda row: row.metrics[metric] * (1 if lower else -1), default=None)
