"""Options that several commands of the command line share."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from hybridtune.errors import InputError

if TYPE_CHECKING:
    from hybridtune.config.study import Study

Command = TypeVar("Command", bound=Callable[..., Any])

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object, and nothing else, to stdout."
)
study_folder = click.argument("study", type=click.Path(path_type=Path))
set_option = click.option("--set", "overrides", multiple=True, metavar="A.B=C", help="Set a field of the study file.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Check everything, show the plan, start nothing.")
seed_option = click.option("--seed", type=click.IntRange(0, 2**31 - 1), help="Seed of everything that is drawn.")
_out = click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for the results.")
_place = click.option("--out", metavar="PLACE", help="Folder for the results, or a URL like s3://BUCKET/STUDY.")
_address = click.option(
    "--address",
    metavar="ADDRESS",
    help="A Ray cluster that runs: auto or HOST:PORT on its head; http://… or ray://… submits a job to it.",
)


def shared_options(command: Command) -> Command:
    """The options of every command that starts something: what, whether, where, how it tells, from which seed."""
    return _with(command, set_option, dry_run_option, _out, json_option, seed_option)


def study_options(command: Command) -> Command:
    """Those of a command that runs a study: the same, and on which cluster; its results may go to shared storage."""
    return _with(command, set_option, dry_run_option, _place, _address, json_option, seed_option)


def is_job_api(address: str | None) -> bool:
    """Whether an address is that of a cluster's job API, to which a study is submitted, not one to run on from here.

    Raises:
        InputError: it is neither.
    """
    scheme = (address or "").partition("://")[0] if "://" in (address or "") else ""
    if scheme not in ("", "http", "https", "ray"):
        raise InputError(
            f"--address {address}: give auto or HOST:PORT on the head of a Ray cluster, or http://HOST:8265 or "
            "ray://HOST:10001 to submit the study as a job there"
        )
    return bool(scheme)


def load(path: Path | None, overrides: tuple[str, ...], seed: int | None) -> "Study":
    """The study file of a command, the demo's without one, with what its options set."""
    from hybridtune.config.study import demo_study, load_study

    seeded = (*overrides, f"seed={seed}") if seed is not None else overrides
    return load_study(path if path is not None else demo_study(), seeded)


def _with(command: Command, *options: Callable[[Command], Command]) -> Command:
    for option in reversed(options):
        command = option(command)
    return command
