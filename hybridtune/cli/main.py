"""The command line. Every heavy import is inside its command, so that --help answers at once."""

import io
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hybridtune.cli import clusters, models, shipped
from hybridtune.cli.cache import cache
from hybridtune.cli.data import data
from hybridtune.cli.doctor import doctor
from hybridtune.cli.init import init
from hybridtune.cli.log import LoggedGroup
from hybridtune.cli.options import (
    NEW_FILE,
    PATH,
    StudyOptions,
    answer,
    is_job_api,
    json_option,
    load,
    open_screen,
    storage_option,
    study_options,
    study_place,
)
from hybridtune.cli.translate import translate
from hybridtune.errors import HybridtuneError, InputError, error_text, printable
from hybridtune.runtime.termination import sigterm_raises, was_terminated
from hybridtune.storage.files import is_remote, write_atomically
from hybridtune.storage.places import check_out
from hybridtune.storage.refused import refusal

if TYPE_CHECKING:
    from hybridtune.config.study import Study

_QUIET = {  # what libraries read when they are imported, here and in every worker
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_VERBOSITY": "error",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
}
_STDOUT = "-"


@click.group(cls=LoggedGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--verbose", is_flag=True, help="Also every step, score and change of a trial, to standard error.")
@click.option("--quiet", is_flag=True, help="Of what is said on the way only warnings; then the result.")
@click.option("--log-file", type=NEW_FILE, metavar="FILE", help="Add all of it to FILE too, with times.")
@click.version_option(package_name="hybridtune")
def cli(**log: Any) -> None:
    """Find the mix of mono- and cross-lingual batches that makes the best multilingual retriever.

    --verbose, --quiet and --log-file stand before COMMAND: hybridtune --quiet run STUDY. They are about the process
    that is started here, so of a study that is submitted or launched about its submission alone. schema, status and
    trials say nothing on the way; export and merge say nothing else, and with --quiet nothing but warnings.
    """


@cli.command()
@click.argument("study", type=PATH, required=False)
@click.option("--time-budget", metavar="TIME", help="Like 90s, 30m or 2h: sets search.time_budget.")
@study_options
def run(study: Path | None, time_budget: str | None, **given: Any) -> None:
    """Search the study's space; keep the best model. Without STUDY: the demo on the embedded newsroom corpus.

    Run it again with the same --out to go on where it stopped.
    """
    options = StudyOptions(**given)
    budget = (f"search.time_budget={time_budget}",) if time_budget is not None else ()
    submitted = is_job_api(options.address)
    checked = load(study, (*options.overrides, *budget), options.seed)
    if options.out is not None and not submitted:
        check_out(options.out)
    if submitted:
        clusters.submit_study(checked, options)
    elif options.dry_run:
        _show_plan(checked, True, options)
    else:
        from hybridtune.study.run import run_study
        from hybridtune.terminal.summary import study_summary

        screen = open_screen(options.as_json)
        found = run_study(checked, options.out, [screen], address=options.address)
        answer(found.result, options.as_json, lambda: study_summary(found.study, found.result, screen))


@cli.command()
@click.argument("study", type=PATH)
@study_options
def train(study: Path, **given: Any) -> None:
    """Train once, with the study's fixed values."""
    options = StudyOptions(**given)
    if is_job_api(options.address):
        raise InputError(
            f"--address {options.address}: a single training is not submitted as a job; give auto on the head"
        )
    checked = load(study, options.overrides, options.seed)
    if options.out is not None:
        check_out(options.out)
    if options.dry_run:
        _show_plan(checked, False, options)
        return
    from hybridtune.study.run import train_study
    from hybridtune.terminal.summary import train_summary

    screen = open_screen(options.as_json)
    result = train_study(checked, options.out, [screen], address=options.address)
    answer(result, options.as_json, lambda: train_summary(result, screen))


@cli.command()
@study_place
@click.option("--out", "file", type=NEW_FILE, help="File to write instead of report.html in the study's folder or URL.")
@click.option(
    "--tables",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Also write every table to DIR, as CSV and LaTeX, all trials as trials.csv, and every chart as SVG and PDF.",
)
@storage_option
@json_option
def report(study: str, file: Path | None, tables: Path | None, storage: str | None, as_json: bool) -> None:
    """Write a study's report.html: tables and charts in one file in its folder, to be opened from disk.

    STUDY is a folder, or a URL like s3://BUCKET/STUDY, to which the report is written, too.
    """
    from hybridtune.report import picture_files
    from hybridtune.report.page import write_report
    from hybridtune.report.record import read_record
    from hybridtune.report.table_files import write_tables
    from hybridtune.storage.study_folder import check_format
    from hybridtune.storage.study_record import record_notes
    from hybridtune.study.opened import of_report, opened

    screen = open_screen(as_json)
    with opened(study, of_report) as folder:
        check_format(folder)
        place = study if is_remote(study) else str(folder.absolute())
        written = write_report(folder.absolute(), storage, location=place, file=file)
        files = []
        if tables is not None:
            record = read_record(folder.absolute(), storage, place)
            files = write_tables(record, tables)
            files += picture_files.write_charts(record, tables) if picture_files.can_draw() else []
        for line in record_notes(folder):
            screen.line(line)
    found = {"study": place, "report": written, **({"tables": list(map(str, files))} if files else {})}
    answer(found, as_json, lambda: screen.print(f"report {written}"))
    if tables is not None and not as_json:
        screen.print(f"tables {tables}: {len(files)} files")
        if not picture_files.can_draw():
            screen.line(picture_files.NEEDED)


@cli.command()
@study_place
@json_option
def status(study: str, as_json: bool) -> None:
    """Show how a study is getting on: whether it runs, was cut off or has ended, what is best, and what happened.

    STUDY is a folder or a URL. For the trials alone, as a file or for a program: hybridtune trials.
    """
    from hybridtune.launch.status import status, status_table

    found = status(study)
    answer(found, as_json, lambda: status_table(found, open_screen(as_json)))


@cli.command()
@study_place
@click.option(
    "--csv",
    "file",
    is_flag=False,
    flag_value=_STDOUT,
    type=NEW_FILE,
    metavar="[FILE]",
    help="As CSV in full precision, to FILE or, without one, to standard output. Give STUDY before it.",
)
@json_option
def trials(study: str, file: Path | None, as_json: bool) -> None:
    """Give every trial of a study, running ones too: values, state, scores, steps, seconds, seed, arm.

    STUDY is a folder or a URL. How the study itself is getting on: hybridtune status.
    """
    if file is not None and as_json:
        raise InputError("--csv and --json: give one of the two")
    from hybridtune.launch.status import status, trial_rows, trials_summary
    from hybridtune.storage.trial_csv import trial_records, trials_csv

    found = status(study)
    rows, seed = trial_rows(found), found.get("seed", 0)
    screen = open_screen(as_json or file is not None)
    if file is None:
        records = trial_records(rows, seed)
        shown = {"study": found["study"], "state": found.get("state"), "trials": records}
        answer(shown, as_json, lambda: trials_summary(found, screen))
    elif str(file) == _STDOUT:
        click.echo(trials_csv(rows, seed), nl=False)
    else:
        _write(file, trials_csv(rows, seed), "--csv")
    for line in found.get("damaged", []):
        screen.print(line)


@cli.command()
@study_place
@storage_option
def dashboard(study: str, storage: str | None) -> None:
    """Look into a study by optuna-dashboard and TensorBoard, while it runs or after, until Ctrl-C.

    Both answer on this machine alone, at free ports; the Ray dashboard of a study that runs is named too. Of a study
    at a URL they show a copy of the moment when the command begins.
    """
    from hybridtune.launch.dashboard import dashboard

    dashboard(study, open_screen(False), storage)


@cli.command()
@click.option("--out", type=NEW_FILE, help="File to write instead of stdout.")
def schema(out: Path | None) -> None:
    """Print the study file's JSON Schema, by which editors complete and check it."""
    from hybridtune.config import schema

    text = json.dumps(schema.schema(), indent=1) + "\n"
    if out is None:
        click.echo(text, nl=False)
        return
    _write(out, text, "--out")


for _command in (models.evaluate, models.compare, models.debias, models.mine, models.export, models.merge):
    cli.add_command(_command)
cli.add_command(cache)
cli.add_command(doctor)
cli.add_command(data)
cli.add_command(init)
cli.add_command(translate)
cli.add_command(shipped.clusters)
cli.add_command(shipped.examples)
for _command in (clusters.launch, clusters.attach, clusters.fetch, clusters.stop, clusters.down):
    cli.add_command(_command)


def _write(file: Path, text: str, option: str) -> None:
    try:
        write_atomically(file, text)
    except OSError as error:
        raise InputError(f"{option} {file}: cannot be written: {error.strerror}") from None


def _show_plan(study: "Study", searching: bool, options: StudyOptions) -> None:
    from hybridtune.runtime.connect import shape_of
    from hybridtune.study.preflight import run_preflight
    from hybridtune.study.summary import describe_plan
    from hybridtune.terminal.summary import show_plan

    screen = open_screen(options.as_json)
    preflight = run_preflight(study, searching, shape_of(options.address), screen)
    described = describe_plan(preflight)
    answer(described, options.as_json, lambda: show_plan(preflight, described, screen))


def _leave_current_folder_out() -> None:
    """Import nothing from the current folder, here and in what is started, unless PYTHONPATH names it.

    An empty entry, as of ``PYTHONPATH=$PYTHONPATH:hooks``, means the current folder and is seldom meant.
    """
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if "" in entries and len(entries) > 1:
        named = list(filter(None, entries))
        os.environ["PYTHONPATH"] = os.pathsep.join(named)
        here = str(Path.cwd())
        if here not in map(os.path.abspath, named):
            sys.path[:] = [path for path in sys.path if path not in ("", here)]


def main() -> None:
    """Run the command line; exit code 0 done, 2 wrong input, 1 failed, 130 interrupted, 143 by SIGTERM."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    _leave_current_folder_out()
    try:
        with sigterm_raises():
            cli.main(standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(shown)
        click.echo(error_text(shown.getvalue().rstrip("\n")), err=True)
        sys.exit(2)
    except HybridtuneError as error:
        click.echo(f"hybridtune: {error_text(error)}", err=True)
        sys.exit(2 if isinstance(error, InputError) else 1)
    except OSError as error:
        line = refusal(error)
        if line is None:
            raise
        click.echo(f"hybridtune: {printable(line)}", err=True)
        sys.exit(1)
    except (click.Abort, KeyboardInterrupt) as stop:
        ended = was_terminated(stop.__cause__)  # click turns what interrupts a command into an Abort of its own
        what = "ended by SIGTERM" if ended else "interrupted"
        click.echo(
            f"hybridtune: {what}; what was done is kept in --out: the same command with the same --out goes on",
            err=True,
        )
        sys.exit(143 if ended else 130)
