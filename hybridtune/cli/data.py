"""The commands on training data, `hybridtune data ...`: each reads any known format and writes groups, or a report."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hybridtune.cli.options import (
    FILE,
    LOCATION,
    NEW_FILE,
    OUT,
    PATH,
    SEED,
    answer,
    data_options,
    json_option,
    load,
    open_screen,
    seed_option,
    set_option,
)
from hybridtune.errors import InputError

if TYPE_CHECKING:
    from hybridtune.config.fields import DataSet


@click.group()
def data() -> None:
    """Look at training pairs, convert, group, clean, check and split them, before a study trains on them."""


@data.command()
@data_options
@click.option("--by", type=click.Choice(["id", "text", "alignment", "mining"]), help="Without: what each would give.")
@click.option("--alignment", type=FILE, help="CSV, TSV or JSON lines of ids that translate each other.")
@click.option(
    "--encoder", type=LOCATION, metavar="MODEL", help="Model folder or hub name that mining compares texts by."
)
@click.option("--side", type=click.Choice(["passages", "queries"]), default="passages", help="Which texts it compares.")
@click.option("--threshold", "thresholds", multiple=True, metavar="MARGIN", help="Least margin: 1.05, or de-en=1.05.")
@set_option
@click.option(
    "--out", type=LOCATION, metavar="FILE", help="The file of groups to write: .jsonl, .jsonl.gz or .parquet."
)
@json_option
def group(
    data_sets: "list[DataSet]",
    by: Any,
    alignment: Path | None,
    encoder: str | None,
    side: Any,
    thresholds: tuple[str, ...],
    overrides: tuple[str, ...],
    out: str | None,
    as_json: bool,
) -> None:
    """Make groups of translations out of pairs, which cross-lingual batches need.

    By id: rows of one id translate each other. By text: rows of equal query are one, and so are queries of several
    languages that share a passage. By alignment: ids on one line of a file translate each other. By mining: texts that
    an encoder finds to translate each other; --set takes its encoder.* and resources.* fields.
    """
    if (by is None) != (out is None):
        raise InputError("give --by and --out together; without both, what each way would give is shown")
    if (by == "alignment") != (alignment is not None):
        raise InputError("--by alignment and --alignment FILE go together")
    if (by == "mining" and encoder is None) or (encoder is not None and by in ("id", "text", "alignment")):
        raise InputError("--by mining and --encoder MODEL go together")
    if encoder is None and (thresholds or overrides):
        raise InputError("--threshold and --set are of mining: give --encoder too")
    from hybridtune.prepare import group as grouping
    from hybridtune.prepare.mining import mining_settings
    from hybridtune.terminal.grouping import grouped_summary, ways_table

    screen = open_screen(as_json)
    mining = mining_settings(encoder, side, thresholds, overrides) if encoder is not None else None
    if by is None or out is None:
        result = grouping.compare_ways(data_sets, mining, screen)
        answer(result, as_json, lambda: ways_table(result, [one.path for one in data_sets], screen))
        return
    result = grouping.group(data_sets, by, out, grouping.Given(alignment, mining), screen)
    answer(result, as_json, lambda: grouped_summary(result, screen))


@data.command()
@data_options
@click.option(
    "--encoder", type=LOCATION, metavar="MODEL", help="Lengths in its tokens, and the share of the texts that it cuts."
)
@click.option(
    "--benchmark",
    "benchmarks",
    type=LOCATION,
    multiple=True,
    metavar="PATH",
    help="Look for its texts; again for more.",
)
@click.option("--html", type=NEW_FILE, help="Also write it as a page for a browser.")
@json_option
def inspect(
    data_sets: "list[DataSet]", encoder: str | None, benchmarks: tuple[str, ...], html: Path | None, as_json: bool
) -> None:
    """Show what training data hold: pairs by language pair, lengths, repetitions, wrong languages, leaks."""
    from hybridtune.prepare.inspect import inspect as look
    from hybridtune.prepare.inspection_page import write_page
    from hybridtune.terminal.inspection import inspection_summary

    screen = open_screen(as_json)
    result = look(data_sets, encoder, benchmarks, screen)
    if html is not None:
        write_page(result, ", ".join(one.path for one in data_sets), html)
        screen.line(f"written: {html}")
    answer(result, as_json, lambda: inspection_summary(result, screen))


@data.command()
@click.argument("study", type=PATH)
@set_option
@seed_option
@json_option
def plan(study: Path, overrides: tuple[str, ...], seed: int | None, as_json: bool) -> None:
    """Show the batches that a study's fixed values draw, by kind and language pair; nothing is started or written."""
    checked = load(study, overrides, seed)
    from hybridtune.data.plan import describe
    from hybridtune.study.preflight import run_preflight
    from hybridtune.study.summary import MOST_PAIRS, notices
    from hybridtune.terminal.summary import show_batches

    screen = open_screen(as_json)
    preflight = run_preflight(checked, False, callback=screen)
    batches = describe(preflight.plan, checked.train.max_steps, MOST_PAIRS)
    described = {**batches, "notices": notices(preflight)}

    def show() -> None:
        show_batches(preflight, described, screen)
        for line in described["notices"]:
            screen.print(line)

    answer(described, as_json, show)


@data.command()
@data_options
@click.option("--keep", metavar="REASON,...", help="Reasons for which nothing is dropped, as the table names them.")
@click.option("--longest", type=click.IntRange(1), default=20_000, show_default=True, help="Characters of a text.")
@click.option(
    "--encoder", type=LOCATION, metavar="MODEL", help="Drop texts of more tokens than this encoder reads, too."
)
@click.option(
    "--out", type=LOCATION, metavar="FILE", required=True, help="The file to write: .jsonl, .jsonl.gz or .parquet."
)
@json_option
def clean(
    data_sets: "list[DataSet]", keep: str | None, longest: int, encoder: str | None, out: str, as_json: bool
) -> None:
    """Make texts plain and drop rows that teach nothing or the wrong thing; a report counts all by reason."""
    from hybridtune.prepare.clean import clean as clean_rows
    from hybridtune.prepare.clean import rules_of
    from hybridtune.terminal.cleaning import cleaned_summary

    screen = open_screen(as_json)
    result = clean_rows(data_sets, out, rules_of(keep, longest, encoder), screen)
    answer(result, as_json, lambda: cleaned_summary(result, screen))


@data.command()
@data_options
@click.option(
    "--benchmark", "benchmarks", type=LOCATION, multiple=True, required=True, metavar="PATH", help="Again for more."
)
@json_option
def check(data_sets: "list[DataSet]", benchmarks: tuple[str, ...], as_json: bool) -> None:
    """Look for texts of benchmarks in training data; the exit code is 1 where some are found."""
    from hybridtune.prepare.check import check as look_for
    from hybridtune.terminal.cleaning import checked_summary

    screen = open_screen(as_json)
    result = look_for(data_sets, benchmarks, screen)
    answer(result, as_json, lambda: checked_summary(result, screen))
    if result["found"]:
        raise SystemExit(1)


@data.command()
@data_options
@click.option("--documents", type=float, metavar="SHARE", help="Of the documents, in dev and in test each: 0.1.")
@click.option("--groups", type=float, metavar="SHARE", help="Of the answer sets, where groups name no document.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Another one cuts other parts.")
@click.option("--out", type=OUT, metavar="FOLDER", required=True, help="For train.jsonl, dev.jsonl and test.jsonl.")
@json_option
def split(
    data_sets: "list[DataSet]", documents: float | None, groups: float | None, seed: int, out: str, as_json: bool
) -> None:
    """Cut training data into train, dev and test files, by document: the parts of a study's data.holdout."""
    if (documents is None) == (groups is None):
        raise InputError("give one share: --documents 0.1, or --groups 0.1 for data without documents")
    from hybridtune.config.fields import Holdout
    from hybridtune.config.validation import check as check_fields
    from hybridtune.prepare.split import split as cut
    from hybridtune.terminal.cleaning import split_summary

    share = {"documents": documents} if documents is not None else {"groups": groups}
    screen = open_screen(as_json)
    result = cut(data_sets, check_fields(Holdout, {**share, "seed": seed}, "split"), out, screen)
    answer(result, as_json, lambda: split_summary(result, screen))


@data.command()
@data_options
@click.option(
    "--out", type=LOCATION, metavar="FILE", required=True, help="The file to write: .jsonl, .jsonl.gz or .parquet."
)
@json_option
def convert(data_sets: "list[DataSet]", out: str, as_json: bool) -> None:
    """Write data of any known format as groups, one a line, as they are."""
    from hybridtune.prepare.convert import convert as convert_groups
    from hybridtune.terminal.conversion import converted_summary

    screen = open_screen(as_json)
    result = convert_groups(data_sets, out, screen)
    answer(result, as_json, lambda: converted_summary(result, screen))
