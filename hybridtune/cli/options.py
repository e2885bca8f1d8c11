"""Options that several commands share, and how a command answers."""

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
measure_option = functools.partial(click.option, "--measure", "measures", multiple=True)


def out_option(text: str) -> Callable[[Command], Command]:
    """Return the option of a local folder for the results."""
    return click.option("--out", type=click.Path(path_type=Path, file_okay=False), help=text)


@dataclass(frozen=True)
class StudyOptions:
    """The options of a command that runs a study.

    Attributes:
        overrides: ``section.field=value`` texts, over the study file.
        seed: over that of the study file; None: the file's.
        out: folder or URL of the results; None: a new folder.
        address: of a Ray cluster, or of its job API; None: Ray starts on this machine.
        dry_run: whether to check everything and start nothing.
        as_json: whether the result is printed as JSON, and all else to standard error.
    """

    overrides: tuple[str, ...]
    seed: int | None
    out: str | None
    address: str | None
    dry_run: bool
    as_json: bool


def study_options(command: Command) -> Command:
    """Add the options of a command that runs a study, which takes them as one argument, ``options``."""

    @functools.wraps(command)
    def with_options(**arguments: Any) -> Any:
        options = StudyOptions(**{name: arguments.pop(name) for name in StudyOptions.__annotations__})
        return command(**arguments, options=options)

    location = click.option("--out", metavar="PLACE", help="Folder for the results, or a URL like s3://BUCKET/STUDY.")
    address = click.option(
        "--address",
        metavar="ADDRESS",
        help="A Ray cluster that runs: auto or HOST:PORT on its head; http://… or ray://… submits a job to it.",
    )
    decorated: Any = with_options
    for option in (seed_option, json_option, address, location, dry_run_option, set_option):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]


def is_job_api(address: str | None) -> bool:
    """Return whether an address is that of a cluster's job API, to which a study is submitted.

    Raises:
        InputError: it is neither that nor an address of Ray.

    Example:
        >>> is_job_api("http://head:8265"), is_job_api("auto"), is_job_api(None)
        (True, False, False)
    """
    scheme, separator, _ = (address or "").partition("://")
    if separator and scheme not in ("http", "https", "ray"):
        raise InputError(
            f"--address {address}: give auto or HOST:PORT on the head of a Ray cluster, or http://HOST:8265 or "
            "ray://HOST:10001 to submit the study as a job there"
        )
    return bool(separator)


def load(path: Path | None, overrides: tuple[str, ...], seed: int | None) -> "Study":
    """Load the study file of a command, the demo's without one, with what its options set.

    Commands call it before their heavy imports, so that a mistake in the file costs no time.
    """
    from hybridtune.config.study import demo_study, load_study

    seeded = (*overrides, f"seed={seed}") if seed is not None else overrides
    return load_study(path if path is not None else demo_study(), seeded)


def answer(result: Mapping[str, Any], as_json: bool, show: Callable[[], None] = lambda: None) -> None:
    """Print a command's result as JSON, or show it to people."""
    if as_json:
        click.echo(json.dumps(result))
    else:
        show()
