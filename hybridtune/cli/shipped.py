"""The commands on files that come with hybridtune, to be copied and filled in: cluster files and study files."""

from collections.abc import Callable
from pathlib import Path

import click

from hybridtune.cli.options import NEW_FILE, answer, json_option
from hybridtune.config.shipped import shipped
from hybridtune.errors import InputError

_VERSIONS = "constraints.txt"


def _cluster_files() -> dict[str, Path]:
    return _files("clusters") | {_VERSIONS: shipped(_VERSIONS)}  # which most of them send to the nodes


def _study_files() -> dict[str, Path]:
    return _files("search_spaces")


def _files(folder: str) -> dict[str, Path]:
    return {file.name: file for file in sorted(shipped(folder).glob("*.yaml"))}


def _about(file: Path) -> str:
    """Return what the comment at a file's beginning says first, after the lines for editors and on how to run it."""
    lines = (line.removeprefix("# ") for line in file.read_text(encoding="utf-8").splitlines())
    return next(line for line in lines if not line.startswith(("yaml-language-server:", "hybridtune run ")))


def _group(name: str, about: str, files: Callable[[], dict[str, Path]]) -> click.Group:
    """Return a group of two commands on some files: which there are, and a copy of one."""
    group = click.Group(name, help=about)

    @group.command("list", help="List them, with what each is for.")
    @json_option
    def list_(as_json: bool) -> None:
        found = {file: _about(path) for file, path in files().items()}
        width = max(map(len, found)) + 2
        shown = "\n".join(f"{file:<{width}}{line}" for file, line in found.items())
        answer({name: found}, as_json, lambda: click.echo(shown))

    @group.command(help="Copy one, to be filled in. A file that is there already is left as it is.")
    @click.argument("file", metavar="NAME")
    @click.option("--to", type=NEW_FILE, metavar="FILE", help="File to write; NAME in the current folder without it.")
    @json_option
    def copy(file: str, to: Path | None, as_json: bool) -> None:
        known = files()
        if file not in known:
            raise InputError(f"{file}: no such file comes with hybridtune; choose one of {', '.join(known)}")
        target = to if to is not None else Path(file)
        text = known[file].read_text(encoding="utf-8")
        _write_new(target, text)
        click.echo(f"{target} written; its first lines say what to do with it", err=as_json)
        if f": {_VERSIONS}\n" in text and not Path(_VERSIONS).exists():
            click.echo(f"it sends {_VERSIONS} to the nodes: hybridtune {name} copy {_VERSIONS}", err=as_json)
        answer({"name": file, "file": str(target)}, as_json)

    return group


def _write_new(target: Path, text: str) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("x", encoding="utf-8") as written:
            written.write(text)
    except FileExistsError:
        raise InputError(f"{target}: is there already and was left as it is; name another file with --to") from None
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error.strerror}; name another file with --to") from None


clusters = _group("clusters", "Cluster files that come with hybridtune, for `hybridtune launch`.", _cluster_files)
examples = _group("examples", "Study files that come with hybridtune, for `hybridtune run`.", _study_files)
