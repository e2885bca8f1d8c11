"""The command that translates training data. Heavy imports are inside."""

from typing import TYPE_CHECKING, Any

import click

from hybridtune.cli.options import FOLDER, LOCATION, answer, data_options, json_option, open_screen
from hybridtune.errors import InputError

if TYPE_CHECKING:
    from hybridtune.config.fields import DataSet

DEFAULT_MODEL = "google/madlad400-3b-mt"


@click.command()
@data_options
@click.option(
    "--model",
    type=LOCATION,
    default=DEFAULT_MODEL,
    show_default=True,
    help="Folder or hub name of a translation model.",
)
@click.option("--to", metavar="CODES", help="Languages to translate into, like sw,ha.")
@click.option("--from", "source", metavar="CODE", help="Language to translate from; else the only one of a group.")
@click.option("--pairs", metavar="PAIRS", help="In place of --to and --from: en-sw,de-sw,en-ha.")
@click.option("--side", type=click.Choice(["queries", "passages", "both"]), default="both", show_default=True)
@click.option(
    "--out", type=LOCATION, required=True, metavar="FILE", help="File to write: .jsonl, .jsonl.gz or .parquet."
)
@click.option("--engine", type=click.Choice(["ctranslate2", "transformers"]), help="Default: ctranslate2 if installed.")
@click.option("--compute-type", metavar="TYPE", help="Default: int8 on a CPU, int8_float16 on a GPU.")
@click.option("--beam", "beam_size", type=click.IntRange(1, 16), default=2, show_default=True, help="1: greedy.")
@click.option(
    "--max-tokens",
    type=click.IntRange(1, 4096),
    default=256,
    show_default=True,
    help="Of a text and of its translation; what is longer is left out and counted.",
)
@click.option("--batch-tokens", type=click.IntRange(1), help="Of a batch. Default: 1024 on a CPU, 16384 on a GPU.")
@click.option("--workers", type=click.IntRange(1), help="Engines at once. Default: one a GPU, or one.")
@click.option("--cache", type=FOLDER, help="Folder of what was translated.")
@click.option("--check", "agreement", type=click.Choice(["back", "similarity"]), help="Also measure the meaning.")
@click.option(
    "--encoder", type=LOCATION, metavar="MODEL", help="Of --check similarity: an encoder that knows the languages."
)
@click.option("--threshold", metavar="N[,PAIR=N]", help="Leave out what is below: 30,en-sw=25. Without: measure only.")
@click.option("--set", "overrides", multiple=True, metavar="A.B=C", help="Set an encoder.* field of --encoder.")
@click.option("--estimate", is_flag=True, help="Say texts, tokens, time and disk; translate a small sample alone.")
@json_option
def translate(
    data_sets: "list[DataSet]",
    to: str | None,
    source: str | None,
    pairs: str | None,
    side: str,
    encoder: str | None,
    threshold: str | None,
    overrides: tuple[str, ...],
    as_json: bool,
    **given: Any,
) -> None:
    """Make groups of translations: the texts of PATH in other languages, by a translation model.

    Texts that are there are never replaced. What was translated is cached: the same command goes on where it was
    stopped, and nothing is translated twice. Beside FILE lies FILE.report.json, with what was left out and why.
    """
    from hybridtune.translate.agreement import parse_thresholds
    from hybridtune.translate.wanted import parse_wanted

    wanted = parse_wanted(side, to, source, pairs)
    thresholds = parse_thresholds(threshold)
    if (encoder is not None or overrides) and given["agreement"] != "similarity":
        raise InputError("--encoder and --set are of --check similarity: give it too")
    from hybridtune.study.evaluate_model import evaluation_options
    from hybridtune.terminal.translation import show_estimate, translation_summary
    from hybridtune.translate.run import TranslateOptions, translate

    settings = None
    if encoder is not None:  # nothing is scored: the path stands in for a benchmark's
        settings = evaluation_options(encoder, data_sets[0].path, overrides, parts=("encoder",)).encoder
    options = TranslateOptions(wanted=wanted, thresholds=thresholds, encoder=settings, **given)
    screen = open_screen(as_json)
    result = translate(data_sets, options, screen)
    show = show_estimate if options.estimate else translation_summary
    answer(result, as_json, lambda: show(result, screen))
