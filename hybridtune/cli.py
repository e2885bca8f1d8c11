"""The command line. Every heavy import stands inside its command, so that --help answers at once."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from hybridtune.errors import HybridtuneError, InputError

if TYPE_CHECKING:
    from hybridtune.config import Study

_QUIET = {  # what libraries read when they are imported, here and in every worker
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_VERBOSITY": "error",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
}

Command = TypeVar("Command", bound=Callable[..., Any])


def _shared_options(command: Command) -> Command:
    options = [
        click.option("--set", "overrides", multiple=True, metavar="A.B=C", help="Set a field of the study file."),
        click.option("--dry-run", is_flag=True, help="Check everything, show what would happen, start nothing."),
        click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for the results."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object, and nothing else, to stdout."),
        click.option("--seed", type=click.IntRange(0, 2**31 - 1), help="Seed of everything that is drawn."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="hybridtune")
def cli() -> None:
    """Find the mix of mono- and cross-lingual batches that makes the best multilingual retriever."""


@cli.command()
@click.argument("study", type=click.Path(path_type=Path), required=False)
@_shared_options
def run(
    study: Path | None, overrides: tuple[str, ...], dry_run: bool, out: Path | None, as_json: bool, seed: int | None
) -> None:
    """Search the study's space; keep the best model. Without STUDY: the demo on the embedded newsroom corpus.

    Run it again with the same --out to go on where it stopped.
    """
    checked = _load(study, overrides, seed)  # a mistake in the file is told before the heavy imports
    from hybridtune.commands import folder, prepare, run, show, summary

    screen = show.Screen(to_stderr=as_json)
    prepared = prepare.prepare(checked, searching=True)
    if dry_run:
        _show_plan(prepared, screen, as_json)
        return
    summary.announce(prepared, screen)
    target = folder.open_study_folder(prepared.study, out)
    result = run.run_study(prepared, target, screen)
    if as_json:
        click.echo(json.dumps(result))
    else:
        summary.study_summary(prepared.study, result, screen)


@cli.command()
@click.argument("study", type=click.Path(path_type=Path))
@_shared_options
def train(
    study: Path, overrides: tuple[str, ...], dry_run: bool, out: Path | None, as_json: bool, seed: int | None
) -> None:
    """Train once, with the study's fixed values."""
    checked = _load(study, overrides, seed)  # a mistake in the file is told before the heavy imports
    from hybridtune.commands import folder, prepare, run, show, summary

    screen = show.Screen(to_stderr=as_json)
    prepared = prepare.prepare(checked, searching=False)
    if dry_run:
        _show_plan(prepared, screen, as_json)
        return
    summary.announce(prepared, screen)
    result = run.train_study(prepared, folder.open_study_folder(prepared.study, out), screen)
    if as_json:
        click.echo(json.dumps(result))
    else:
        summary.train_summary(result, screen)


@cli.command()
@click.argument("model")
@click.option("--benchmark", required=True, help="XQuAD-R folder, native files, or newsroom:dev.")
@_shared_options
def evaluate(
    model: str,
    benchmark: str,
    overrides: tuple[str, ...],
    dry_run: bool,
    out: Path | None,
    as_json: bool,
    seed: int | None,
) -> None:
    """Score MODEL (a model folder, a hub name, a study folder) in the mono, cross and multi setting.

    --set takes encoder.*, benchmark.* and resources.* fields, like encoder.pooling=cls or benchmark.documents=[0,8].
    """
    from hybridtune.commands import evaluate, show, summary

    screen = show.Screen(to_stderr=as_json)
    encoder, source, resources = evaluate.read_settings(model, benchmark, overrides)
    result = evaluate.evaluate_model(encoder, source, resources, screen, dry_run)
    if out is not None and not dry_run:
        screen.line(f"written: {evaluate.write_scores(result, out)}")
    if as_json:
        click.echo(json.dumps({**result, "seed": seed}))
    else:
        summary.evaluation_summary(result, screen)


def _load(path: Path | None, overrides: tuple[str, ...], seed: int | None) -> "Study":
    from hybridtune.study_file import demo_study, load_study

    seeded = (*overrides, f"seed={seed}") if seed is not None else overrides
    return load_study(path if path is not None else demo_study(), seeded)


def _show_plan(prepared: Any, screen: Any, as_json: bool) -> None:
    from hybridtune.commands import summary

    described = summary.describe_plan(prepared)
    if as_json:
        click.echo(json.dumps(described))
    else:
        summary.show_plan(prepared, described, screen)


def main() -> None:
    """Run the command line; exit code 0 done, 2 wrong input, 1 failed, 130 interrupted."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except InputError as error:
        click.echo(f"hybridtune: {error}", err=True)
        sys.exit(2)
    except HybridtuneError as error:
        click.echo(f"hybridtune: {error}", err=True)
        sys.exit(1)
    except (click.Abort, KeyboardInterrupt):
        click.echo(
            "hybridtune: interrupted; trials that ended are kept: the same command with the same --out goes on",
            err=True,
        )
        sys.exit(130)
