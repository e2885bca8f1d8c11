"""Options that several commands of the command line share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object, and nothing else, to stdout."
)
study_folder = click.argument("study", type=click.Path(path_type=Path))


def shared_options(command: Command) -> Command:
    """The options of every command that starts something: what, whether, where, how it tells, from which seed."""
    options = [
        click.option("--set", "overrides", multiple=True, metavar="A.B=C", help="Set a field of the study file."),
        click.option("--dry-run", is_flag=True, help="Check everything, show what would happen, start nothing."),
        click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for the results."),
        json_option,
        click.option("--seed", type=click.IntRange(0, 2**31 - 1), help="Seed of everything that is drawn."),
    ]
    for option in reversed(options):
        command = option(command)
    return command
