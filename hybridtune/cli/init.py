"""The command that writes a first study file out of anybody's pairs."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hybridtune.cli.options import LOCATION, NEW_FILE, answer, data_options, json_option, open_screen

if TYPE_CHECKING:
    from hybridtune.config.fields import DataSet


@click.command()
@data_options
@click.option("--out", type=NEW_FILE, default="study.yaml", show_default=True, help="The study file to write.")
@click.option(
    "--encoder",
    type=LOCATION,
    metavar="MODEL",
    help="Model folder or hub name to start from; else tiny, to try things.",
)
@click.option("--force", is_flag=True, help="Overwrite files that are there.")
@json_option
def init(data_sets: "list[DataSet]", out: Path, encoder: str | None, force: bool, as_json: bool) -> None:
    """Write a study file for question-passage pairs of any known format, with a comment on every line.

    Pairs that translate each other become groups (beside the study file), a dev and a test part are held out, and
    batch, lengths and steps fit the data and a first run of minutes. Then: hybridtune run study.yaml
    """
    from hybridtune.prepare.init import init as write_study
    from hybridtune.terminal.init import init_summary

    screen = open_screen(as_json)
    result = write_study(data_sets, out, encoder, force, screen)
    answer(result, as_json, lambda: init_summary(result, screen))
