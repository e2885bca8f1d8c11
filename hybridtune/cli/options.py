"""Options that several commands share, and how a command answers."""

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click
from click.shell_completion import CompletionItem

from hybridtune.cli.log import screen_level
from hybridtune.errors import InputError
from hybridtune.storage.places import check_name, check_out

if TYPE_CHECKING:
    from hybridtune.config.fields import DataSet
    from hybridtune.config.study import Study
    from hybridtune.terminal.screen import Screen

Command = TypeVar("Command", bound=Callable[..., Any])


class _Path(click.Path):
    """A path whose names are none too long, which no command would find out in one line."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        check_name(str(value), _named(param))
        return super().convert(value, param, ctx)


class _NewFile(_Path):
    """A file to write, of which the folder is there or can be made, checked before the command does anything."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        file = super().convert(value, param, ctx)
        check_out(str(file.parent), _named(param))
        return file


class _Out(click.ParamType):  # type: ignore[type-arg]
    """A folder for results, or its URL, checked before the command does anything."""

    name = "place"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Leave the completion to the shell, which knows folders."""
        return [CompletionItem(incomplete, type="dir")]

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        check_out(str(value), _named(param))
        return value


class _OutFolder(_Out):
    """A folder for results on this machine."""

    name = "directory"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return Path(super().convert(value, param, ctx))


def _named(param: click.Parameter | None) -> str:
    return param.opts[0] if param is not None else "path"


PATH = _Path(path_type=Path)
FILE = _Path(path_type=Path, dir_okay=False)
NEW_FILE = _NewFile(path_type=Path, dir_okay=False)
FOLDER = _Path(path_type=Path, file_okay=False)
OUT = _Out()
LOCATION = _Path()  # as it was given: a path or a URL
SEED = click.IntRange(0, 2**31 - 1)

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object, and nothing else.")
storage_option = click.option(
    "--storage", metavar="URL", help="The database of a study that keeps its trials in one; '${VARIABLE}' is filled in."
)
study_place = click.argument("study", type=LOCATION, metavar="STUDY")
set_option = click.option("--set", "overrides", multiple=True, metavar="A.B=C", help="Set a field of the study file.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Check everything, show the plan, start nothing.")
seed_option = click.option("--seed", type=SEED, help="Seed of everything that is drawn.")
measure_option = functools.partial(click.option, "--measure", "measures", multiple=True)
out_option = functools.partial(click.option, "--out", type=_OutFolder())


@dataclass(frozen=True)
class StudyOptions:
    """The options of a command that runs a study."""

    overrides: tuple[str, ...]
    seed: int | None
    out: str | None
    address: str | None
    dry_run: bool
    as_json: bool


def study_options(command: Command) -> Command:
    """Add the options of a command that runs a study, the fields of `StudyOptions`."""
    location = click.option(
        "--out", type=LOCATION, metavar="PLACE", help="Folder for the results, or a URL like s3://BUCKET/STUDY."
    )
    address = click.option(
        "--address",
        metavar="ADDRESS",
        help="A Ray cluster that runs: auto or HOST:PORT on its head; http://… or ray://… submits a job to it.",
    )
    for option in (seed_option, json_option, address, location, dry_run_option, set_option):
        command = option(command)
    return command


def data_options(command: Command) -> Command:
    """Add PATH... and the options that say what is there; the command gets them as ``data_sets``."""
    return click.argument("paths", nargs=-1, required=True, metavar="PATH...")(_layout_options(command))


def data_option(command: Command) -> Command:
    """Add ``--data PATH`` and the options that say what is there; the command gets it as ``data_sets``, of one."""
    option = click.option("--data", "paths", required=True, metavar="PATH", help="Training files: file, folder, URI.")
    return option(_layout_options(command))


def _layout_options(command: Command) -> Command:
    @click.option("--format", "form", metavar="NAME", help="What the files are, where names and rows do not say it.")
    @click.option("--columns", metavar="QUERY=A,PASSAGE=B", help="Columns of pairs: query=question,passage=answer,...")
    @click.option("--language", metavar="CODE", help="Language of texts that name none: sw, or en-sw (query-passage).")
    @click.option("--split", metavar="NAME", help="Which part of a data set with several; default: train.")
    @functools.wraps(command)
    def with_data_sets(paths: tuple[str, ...] | str, form: str | None, columns: str | None, **given: Any) -> Any:
        paths = (paths,) if isinstance(paths, str) else paths
        named = {"format": form, "language": given.pop("language"), "split": given.pop("split")}
        return command(data_sets=_data_sets(paths, columns, named), **given)

    return cast("Command", with_data_sets)


def _data_sets(paths: tuple[str, ...], columns: str | None, named: Mapping[str, str | None]) -> "list[DataSet]":
    """Return the data sets of a command as a study file would have them; raise InputError for a wrong option."""
    from hybridtune.config.fields import DataSet
    from hybridtune.config.validation import check

    pairs = [part.partition("=") for part in columns.split(",")] if columns else []
    for place, (role, equals, column) in enumerate(pairs):
        if not equals:
            raise InputError(f"--columns {columns}: {role!r} is not of the form query=NAME")
        if any(role == other for other, _, _ in pairs[:place]):
            raise InputError(f"--columns {columns}: {role!r} is given twice, the second time as {column!r}")
    given = {name: value for name, value in named.items() if value is not None}
    fields = given | {"columns": {role.strip(): column.strip() for role, _, column in pairs}}
    return [check(DataSet, {"path": path, **fields}, f"options for {path}") for path in paths]


def is_job_api(address: str | None) -> bool:
    """Return whether an address is that of a cluster's job API; raise InputError where it is none of Ray's either."""
    scheme, separator, _ = (address or "").partition("://")
    if separator and scheme not in ("http", "https", "ray"):
        raise InputError(
            f"--address {address}: give auto or HOST:PORT on the head of a Ray cluster, or http://HOST:8265 or "
            "ray://HOST:10001 to submit the study as a job there"
        )
    return bool(separator)


def load(path: Path | None, overrides: tuple[str, ...], seed: int | None) -> "Study":
    """Load a study file, or the demo's, before the heavy imports: a mistake in it costs no time."""
    from hybridtune.config.study import demo_study, load_study

    seeded = (*overrides, f"seed={seed}") if seed is not None else overrides
    return load_study(path if path is not None else demo_study(), seeded)


def is_given(option: str) -> bool:
    """Return whether an option of the running command, by its parameter's name, was written on the command line."""
    source = click.get_current_context().get_parameter_source(option)
    return source is click.core.ParameterSource.COMMANDLINE


def open_screen(as_json: bool) -> "Screen":
    """Return the screen of a command, on standard error where standard output is for JSON."""
    from hybridtune.terminal.screen import Screen

    return Screen(to_stderr=as_json, level=screen_level())


def answer(result: Mapping[str, Any], as_json: bool, show: Callable[[], None] = lambda: None) -> None:
    """Print a command's result as JSON, or show it to people."""
    if as_json:
        click.echo(json.dumps(result))
    else:
        show()
