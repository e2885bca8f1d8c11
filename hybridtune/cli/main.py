"""The command line. Every heavy import stands inside its command, so that --help answers at once."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from hybridtune.cli import clusters, models
from hybridtune.cli.options import is_job_api, json_option, load, study_folder, study_options
from hybridtune.errors import HybridtuneError, InputError

_QUIET = {  # what libraries read when they are imported, here and in every worker
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_VERBOSITY": "error",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="hybridtune")
def cli() -> None:
    """Find the mix of mono- and cross-lingual batches that makes the best multilingual retriever."""


@cli.command()
@click.argument("study", type=click.Path(path_type=Path), required=False)
@click.option("--time-budget", metavar="TIME", help="Like 90s, 30m or 2h: sets search.time_budget.")
@study_options
def run(
    study: Path | None,
    time_budget: str | None,
    overrides: tuple[str, ...],
    dry_run: bool,
    out: str | None,
    address: str | None,
    as_json: bool,
    seed: int | None,
) -> None:
    """Search the study's space; keep the best model. Without STUDY: the demo on the embedded newsroom corpus.

    Run it again with the same --out to go on where it stopped.
    """
    if time_budget is not None:
        overrides = (*overrides, f"search.time_budget={time_budget}")
    elsewhere = is_job_api(address)
    checked = load(study, overrides, seed)  # a mistake in the file is told before the heavy imports
    if elsewhere:
        clusters.run_there(str(address), checked, out, dry_run, as_json)
        return
    from hybridtune.runtime.connect import shape_of
    from hybridtune.study import mirror, run, summary
    from hybridtune.study import preflight as prepare
    from hybridtune.terminal import screen as show

    screen = show.Screen(to_stderr=as_json)
    prepared = prepare.prepare(checked, searching=True, shape=shape_of(address))
    if dry_run:
        _show_plan(prepared, screen, as_json)
        return
    summary.announce(prepared, screen)
    with mirror.study_home(prepared.study, out, screen.line) as home:
        result = run.run_study(prepared, home.folder, screen, address, home.place)
    if as_json:
        click.echo(json.dumps(result))
    else:
        summary.study_summary(prepared.study, result, screen)


@cli.command()
@click.argument("study", type=click.Path(path_type=Path))
@study_options
def train(
    study: Path,
    overrides: tuple[str, ...],
    dry_run: bool,
    out: str | None,
    address: str | None,
    as_json: bool,
    seed: int | None,
) -> None:
    """Train once, with the study's fixed values."""
    if is_job_api(address):
        raise InputError(f"--address {address}: a single training is not submitted as a job; give auto on the head")
    checked = load(study, overrides, seed)  # a mistake in the file is told before the heavy imports
    from hybridtune.runtime.connect import shape_of
    from hybridtune.study import mirror, run, summary
    from hybridtune.study import preflight as prepare
    from hybridtune.terminal import screen as show

    screen = show.Screen(to_stderr=as_json)
    prepared = prepare.prepare(checked, searching=False, shape=shape_of(address))
    if dry_run:
        _show_plan(prepared, screen, as_json)
        return
    summary.announce(prepared, screen)
    with mirror.study_home(prepared.study, out, screen.line) as home:
        result = run.train_study(prepared, home.folder, screen, address, home.place)
    if as_json:
        click.echo(json.dumps(result))
    else:
        summary.train_summary(result, screen)


@cli.command()
@study_folder
@json_option
def report(study: Path, as_json: bool) -> None:
    """Write a study's report.html: tables and charts in one file in its folder, to be opened from disk."""
    from hybridtune.study import report
    from hybridtune.terminal import screen as show

    result = report.report(study, show.Screen(to_stderr=as_json))
    if as_json:
        click.echo(json.dumps(result))


@cli.command()
@study_folder
@json_option
def status(study: Path, as_json: bool) -> None:
    """Tell how a study stands: its trials so far, and whether it runs, was cut off or has ended."""
    from hybridtune.launch import status
    from hybridtune.terminal import screen as show

    told = status.status(study)
    if as_json:
        click.echo(json.dumps(told))
    else:
        status.status_table(told, show.Screen(to_stderr=False))


@cli.command()
@study_folder
def dashboard(study: Path) -> None:
    """Look into a study by optuna-dashboard and TensorBoard, while it runs or after, until Ctrl-C.

    Both answer on this machine alone, at free ports; the Ray dashboard of a study that runs is named too.
    """
    from hybridtune.launch import dashboard
    from hybridtune.terminal import screen as show

    dashboard.dashboard(study, show.Screen(to_stderr=False))


@cli.command()
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="File to write instead of stdout.")
def schema(out: Path | None) -> None:
    """Print the study file's JSON Schema, by which editors complete and check it."""
    from hybridtune.config import schema

    text = json.dumps(schema.schema(), indent=1) + "\n"
    if out is None:
        click.echo(text, nl=False)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"--out {out}: cannot be written: {error.strerror}") from None


_OF_MODELS = (models.evaluate, models.compare, models.mine, models.export)
_OF_CLUSTERS = (clusters.launch, clusters.attach, clusters.fetch, clusters.stop, clusters.down)
for _command in (*_OF_MODELS, *_OF_CLUSTERS):
    cli.add_command(_command)


def _show_plan(prepared: Any, screen: Any, as_json: bool) -> None:
    from hybridtune.study import summary

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
            "hybridtune: interrupted; what was done is kept in --out: the same command with the same --out goes on",
            err=True,
        )
        sys.exit(130)
