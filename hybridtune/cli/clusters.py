"""The commands on clusters: launch a study on one; attach, fetch, stop, take down later. Heavy imports inside."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hybridtune.cli.options import (
    FOLDER,
    LOCATION,
    PATH,
    StudyOptions,
    answer,
    dry_run_option,
    json_option,
    load,
    open_screen,
    seed_option,
    set_option,
)
from hybridtune.errors import InputError

if TYPE_CHECKING:
    from hybridtune.config.study import Study
    from hybridtune.launch.record import Launch
    from hybridtune.terminal.screen import Screen

_launched = click.argument("folder", type=PATH)
_down = click.option("--down", is_flag=True, help="Take the cluster down when the study has ended, well or not.")


@click.command()
@click.argument("cluster", type=PATH)
@click.argument("study", type=PATH, required=False)
@set_option
@seed_option
@click.option(
    "--out", type=LOCATION, metavar="PLACE", help="Where all nodes write: s3://…, gs://… or a path they share."
)
@click.option(
    "--fetch-to",
    type=FOLDER,
    help="Folder here for the record and the results; studies/NAME-TIME without it.",
)
@_down
@click.option("--detach", is_flag=True, help="Leave once the job is submitted.")
@dry_run_option
@click.option("--yes", is_flag=True, help="Start machines without asking.")
@json_option
def launch(
    cluster: Path,
    study: Path | None,
    overrides: tuple[str, ...],
    seed: int | None,
    out: str | None,
    fetch_to: Path | None,
    down: bool,
    detach: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Start CLUSTER (a file of Ray's launcher or of KubeRay), run STUDY on it, fetch the results.

    Run it again with the same --fetch-to to go on where it stopped, also after the cluster was lost.
    """
    if down and detach:
        raise InputError("--down waits for the study's end and --detach does not; give one of them")
    checked = load(study, overrides, seed)
    from hybridtune.launch import launch
    from hybridtune.launch.cluster_file import read_cluster
    from hybridtune.launch.preview import plan_lines

    planned = launch.plan_launch(read_cluster(cluster), checked, out, fetch_to)
    if not dry_run:
        launch.check_machine(planned)
    printed = dry_run and planned.kind == "rayjob"  # standard output is what kubectl takes
    screen = open_screen(as_json or printed)
    described = launch.describe(planned)
    if dry_run and as_json:
        answer(described, as_json)
        return
    for line in plan_lines(described):
        screen.print(line)
    if dry_run:
        if printed:
            click.echo(launch.manifest(planned), nl=False)
        screen.line("nothing was started or written")
        return
    if planned.kind != "here" and not yes:
        _ask(f"start {planned.cluster.name} ({planned.cluster.provider})?")
    with _leaving():
        result = launch.launch(planned, screen, down, detach)
    answer(result, as_json)


def submit_study(study: "Study", options: StudyOptions) -> None:
    """Run a study as a job of the cluster whose job API is at ``--address``."""
    from hybridtune.launch import submit

    screen = open_screen(options.as_json)
    with _leaving():
        result = submit.run_there(str(options.address), study, options.out, screen, options.dry_run)
    answer(result, options.as_json)


@click.command()
@_launched
@_down
@json_option
def attach(folder: Path, down: bool, as_json: bool) -> None:
    """Follow a launched study to its end, and fetch it. FOLDER is the one that launch named."""
    from hybridtune.launch import attach
    from hybridtune.launch.record import read_launch

    screen = open_screen(as_json)
    found = read_launch(folder)
    with _leaving(), attach.taken_down(down, folder, screen) as started:
        started.append(found)
        result = attach.see_through(found, folder, screen)
    answer(result, as_json)


@click.command()
@_launched
@click.option("--checkpoints", is_flag=True, help="Those of all trials too.")
@json_option
def fetch(folder: Path, checkpoints: bool, as_json: bool) -> None:
    """Bring what a launched study has so far to FOLDER; report, status, dashboard and export then work there."""
    from hybridtune.launch.record import read_launch

    found = read_launch(folder)
    _fetch(found, folder, open_screen(as_json), checkpoints)
    answer({"study": found.study, "folder": str(folder), "out": found.out}, as_json)


@click.command()
@_launched
@json_option
def stop(folder: Path, as_json: bool) -> None:
    """Stop a launched study's job, and fetch what it did; its cluster goes on (see down)."""
    from hybridtune.launch.record import read_launch, stop_job

    screen = open_screen(as_json)
    found = read_launch(folder)
    state = stop_job(found, folder)
    screen.line(f"job {found.job}: {state.status.lower()}")
    _fetch(found, folder, screen)
    answer({"study": found.study, "job": found.job, "status": state.status}, as_json)


def _fetch(found: "Launch", folder: Path, screen: "Screen", checkpoints: bool = False) -> None:
    from hybridtune.launch.attach import fetch

    written = fetch(found, folder, checkpoints)
    screen.line(f"fetched {found.out} to {folder}" if written else f"nothing there yet: {found.out}")


@click.command()
@click.argument("target", metavar="FOLDER_OR_CLUSTER", type=PATH)
@click.option("--yes", is_flag=True, help="Do not ask, also where the study still runs.")
@json_option
def down(target: Path, yes: bool, as_json: bool) -> None:
    """Take the cluster of a launched study down, or that of a cluster file."""
    from hybridtune.launch import attach, record

    screen = open_screen(as_json)
    if target.is_file():
        attach.take_file_down(target, screen)
    else:
        found = record.read_launch(target)
        if record.still_runs(found, target):
            if not yes:
                _ask(f"job {found.job} still runs; stop it and take its cluster down?")
            screen.line(f"stopping job {found.job}")
            record.stop_job(found, target)  # in good order: its results reach their location
        attach.take_down(found, target, screen)
    answer({"down": str(target)}, as_json)


def _ask(question: str) -> None:
    """Ask whether to go on, where somebody can answer."""
    if sys.stdin.isatty():
        click.confirm(question, abort=True, err=True)


@contextlib.contextmanager
def _leaving() -> Iterator[None]:
    """Exit with code 130 and how to come back where Ctrl-C leaves a study running."""
    from hybridtune.launch.attach import DetachedError

    try:
        yield
    except DetachedError as leave:
        click.echo(f"hybridtune: {leave}", err=True)
        raise click.exceptions.Exit(130) from None
