"""The commands on models: score one, compare two, mine negatives with one, export one. Heavy imports are inside."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hybridtune.cli.options import (
    FOLDER,
    LOCATION,
    NEW_FILE,
    PATH,
    SEED,
    answer,
    data_option,
    dry_run_option,
    is_given,
    json_option,
    measure_option,
    open_screen,
    out_option,
    seed_option,
    set_option,
)
from hybridtune.errors import InputError

if TYPE_CHECKING:
    from hybridtune.config.fields import DataSet


@click.command()
@click.argument("models", type=LOCATION, metavar="[MODEL]...", nargs=-1)
@click.option(
    "--benchmark", type=LOCATION, required=True, help="Folder, files or URI of any known format, or newsroom:dev."
)
@measure_option(help="ir_measures name, like nDCG@10, or package.module:function of your own; again for more.")
@click.option("--run", "run_path", type=PATH, help="Score this TREC run instead of a model.")
@click.option("--run-file", type=NEW_FILE, help="Write a TREC run, and its qrels.")
@click.option("--run-setting", type=click.Choice(["mono", "cross", "multi"]), help="Pools of the run file.")
@click.option("--depth", default=1000, type=click.IntRange(1), show_default=True, help="Passages a query in it.")
@click.option("--index", type=click.Choice(["ivf", "hnsw"]), help="Approximate lists for pools above --index-above.")
@click.option("--index-above", default=1_000_000, type=click.IntRange(0), show_default=True, help="Passages.")
@click.option("--strict", is_flag=True, help="Refuse judged ids that are not there and passages without a text.")
@click.option(
    "--on-leak",
    default="error",
    type=click.Choice(["error", "warn"]),
    show_default=True,
    help="Where MODEL was trained on texts of the benchmark: refuse, or score it all the same.",
)
@click.option("--centre", type=PATH, metavar="FILE_OR_FOLDER", help="Move vectors as `debias` or a study has fitted.")
@click.option("--mteb", type=FOLDER, metavar="DIR", help="Also write the scores as mteb does, to DIR/results.")
@click.option("--mteb-task", metavar="NAME", help="Of mteb's; without: the last part of the benchmark's path.")
@set_option
@dry_run_option
@out_option(help="Folder for the results.")
@json_option
@seed_option
def evaluate(
    models: tuple[str, ...],
    benchmark: str,
    measures: tuple[str, ...],
    run_path: Path | None,
    run_file: Path | None,
    run_setting: Any,
    depth: int,
    index: Any,
    index_above: int,
    strict: bool,
    on_leak: Any,
    centre: Path | None,
    mteb: Path | None,
    mteb_task: str | None,
    overrides: tuple[str, ...],
    dry_run: bool,
    out: Path | None,
    as_json: bool,
    seed: int | None,
) -> None:
    """Score MODEL (a model folder, a hub name, a study) in the mono, cross and multi setting.

    A folder or study may be at a URL, like s3://BUCKET/STUDY. With --out the vectors and counts are kept, and the same
    command goes on where it was stopped. --set takes encoder.*, benchmark.* and resources.* fields, like
    encoder.pooling=cls or benchmark.documents=[0,8].

    Several MODELs are scored one after the other, and --out gets a page of all, leaderboard.html; what is scored
    already is not scored again.
    """
    _check_together(models, run_path, run_file, centre, mteb, mteb_task)
    model = models[0] if models else None
    from hybridtune.study.mteb_files import MtebFiles

    results = None if mteb is None else MtebFiles(mteb, mteb_task)
    overrides = (*overrides, *["benchmark.strict=true"] * strict)
    if len(models) > 1:
        of_one = {"--run-file": run_file, "--centre": centre, "--dry-run": dry_run or None}
        if refused := [name for name, value in of_one.items() if value is not None]:
            raise InputError(f"{refused[0]} is for one MODEL; {len(models)} are given")
        asked = {"overrides": overrides, "measures": measures, "on_leak": on_leak, "mteb": results, "seed": seed or 0}
        _leaderboard(models, benchmark, out, as_json, asked)
        return
    from hybridtune.study import evaluate_model as evaluation
    from hybridtune.study.run_files import RunFile
    from hybridtune.terminal.scores import evaluation_summary

    screen = open_screen(as_json)
    with evaluation.opened_options(model, benchmark, overrides, measures) as given:
        options = given.model_copy(update={"on_leak": on_leak, "centre": centre})
        if run_path is not None:
            result = evaluation.evaluate_run(options, run_path, out, screen, dry_run)
        else:
            wanted = None if run_file is None else RunFile(run_file, run_setting, depth, index, index_above, seed or 0)
            result = evaluation.evaluate(options, out, screen, wanted, dry_run, results)
    answer({**result, "seed": seed}, as_json, lambda: evaluation_summary(result, screen))


def _check_together(
    models: tuple[str, ...],
    run_path: Path | None,
    run_file: Path | None,
    centre: Path | None,
    mteb: Path | None,
    mteb_task: str | None,
) -> None:
    """Refuse options of `evaluate` that make no sense together."""
    if bool(models) == (run_path is not None):
        raise InputError("give a MODEL, or --run with a TREC run to score; one of the two")
    if run_file is not None and run_path is not None:
        raise InputError("--run-file writes the lists of a MODEL; with --run there is nothing to write")
    of_lists = [name for name in ("run_setting", "depth", "index", "index_above") if is_given(name)]
    if run_file is None and of_lists:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in of_lists)
        raise InputError(f"{names}: of the lists that --run-file writes; give it too")
    if run_path is not None and centre is not None:
        raise InputError("--centre moves the vectors of a MODEL; a --run has none")
    if run_path is not None and is_given("on_leak"):
        raise InputError("--on-leak is about what a MODEL was trained on; of a --run that is not known")
    if mteb_task is not None and mteb is None:
        raise InputError("--mteb-task names the task of the files that --mteb DIR writes; give it too")
    if run_path is not None and mteb is not None:
        raise InputError("--mteb writes the scores of a MODEL; a --run has none that mteb knows")


def _leaderboard(
    models: tuple[str, ...], benchmark: str, out: Path | None, as_json: bool, asked: dict[str, Any]
) -> None:
    """Evaluate several models into one page."""
    from hybridtune.study.leaderboard import evaluate_several
    from hybridtune.terminal.scores import leaderboard_table

    if out is None:
        raise InputError(f"{len(models)} models make a leaderboard, which needs a folder: give --out DIR")
    screen = open_screen(as_json)
    result = evaluate_several(models, benchmark, out, screen, **asked)
    answer(result, as_json, lambda: leaderboard_table(result, screen))


@click.command()
@click.argument("a", type=LOCATION)
@click.argument("b", type=LOCATION)
@click.argument("others", type=LOCATION, metavar="[C]...", nargs=-1)
@measure_option(help="Like AP or rank_distance; again for more.")
@click.option("--unit", type=click.Choice(["topic", "document"]), help="Drawn as a whole; document from 20 on.")
@click.option("--tables", type=FOLDER, metavar="DIR", help="Also write the table to DIR, as CSV and as LaTeX.")
@out_option(help="Folder for comparison.json.")
@json_option
@click.option("--seed", default=0, type=SEED, help="Seed of the resampling.")
def compare(
    a: str,
    b: str,
    others: tuple[str, ...],
    measures: tuple[str, ...],
    unit: Any,
    tables: Path | None,
    out: Path | None,
    as_json: bool,
    seed: int,
) -> None:
    """Compare B with A, query by query: what `evaluate --out` wrote, a trial's folder, or a study; folders or URLs.

    Paired permutation test and bootstrap interval over documents, or topics where there are fewer than 20 documents,
    a setting at a time; Holm's correction over the settings. Of three and more, all in one table: each figure with its
    interval and marks of those that are significantly worse, with Holm's correction over the pairs.
    """
    from hybridtune.study.compare import compare_evaluations
    from hybridtune.study.folder import make_folder, write_json
    from hybridtune.study.several import compare_several, table_of, write_comparison
    from hybridtune.terminal.scores import comparison_tables, several_table

    if tables is not None and not others:
        raise InputError("--tables writes the table of three and more; of two, --out FOLDER has comparison.json")
    screen = open_screen(as_json)
    if out is not None:
        make_folder(out)
    if others:
        result = compare_several([a, b, *others], measures, seed, screen, unit=unit)
    else:
        result = compare_evaluations(a, b, measures, seed, screen, unit=unit)
    if out is not None:
        write_json(result, out / "comparison.json")
        screen.line(f"written: {out / 'comparison.json'}")
    if tables is not None:
        screen.line(f"tables {tables}: {len(write_comparison(result, tables))} files")
    show = (lambda: several_table(result, table_of(result), screen)) if others else None
    answer(result, as_json, show or (lambda: comparison_tables(result, screen)))


@click.command()
@click.argument("model", type=LOCATION)
@data_option
@click.option("--to", "file", required=True, type=PATH, help="File to write, .jsonl or .jsonl.gz.")
@click.option("--negatives", default=4, type=click.IntRange(1), show_default=True, help="Most a group and language.")
@click.option("--depth", default=50, type=click.IntRange(1), show_default=True, help="Best passages looked at.")
@click.option(
    "--margin",
    default=0.95,
    type=click.FloatRange(0, 1, min_open=True),
    show_default=True,
    help="What scores above this share of the own passage's score may be an answer, and is left out.",
)
@click.option("--skip", default=0, type=click.IntRange(0), show_default=True, help="First ranks left out.")
@click.option("--set", "overrides", multiple=True, metavar="A.B=C", help="Set an encoder.* or resources.* field.")
@out_option(help="Keeps the vectors, to go on after a kill.")
@json_option
def mine(
    model: str,
    data_sets: "list[DataSet]",
    file: Path,
    overrides: tuple[str, ...],
    out: Path | None,
    as_json: bool,
    **numbers: Any,
) -> None:
    """Find hard negatives for a training file: passages that MODEL ranks high for queries they do not answer.

    Writes the groups with a `negatives` field, which a study trains on (train.negatives of them a pair).
    """
    from hybridtune.study.evaluate_model import evaluation_options
    from hybridtune.study.mine import MiningOptions, mine
    from hybridtune.terminal.scores import mined_table

    screen = open_screen(as_json)
    (data,) = data_sets
    settings = evaluation_options(model, data.path, overrides, (), parts=("encoder", "resources"))
    result = mine(settings.encoder, settings.resources, data, file, MiningOptions(**numbers), out, screen)
    answer(result, as_json, lambda: mined_table(result, screen))


@click.command()
@click.argument("model", type=LOCATION)
@data_option
@click.option("--method", metavar="NAME", help="Write this way whatever it gains, like together or apart-standardised.")
@click.option(
    "--set", "overrides", multiple=True, metavar="A.B=C", help="Set an encoder.*, benchmark.* or resources.* field."
)
@dry_run_option
@out_option(help="Keeps the vectors, and takes the language vectors and debias.json.")
@json_option
@click.option("--seed", default=0, type=SEED, help="Seed of the resampling.")
def debias(
    model: str,
    data_sets: "list[DataSet]",
    method: str | None,
    overrides: tuple[str, ...],
    dry_run: bool,
    out: Path | None,
    as_json: bool,
    seed: int,
) -> None:
    """Measure how far MODEL leans on languages, and take that out of its vectors or scores, without training.

    Every way is scored on documents that it was not fitted on; the best is fitted on all texts and written to --out,
    for `evaluate --centre` and for your index, unless its gain may be chance.
    """
    from hybridtune.study.debias import debias
    from hybridtune.study.evaluate_model import evaluation_options
    from hybridtune.terminal.debias import debias_tables

    screen = open_screen(as_json)
    (data,) = data_sets
    options = evaluation_options(model, data.path, overrides, (), parts=("encoder", "benchmark", "resources"))
    result = debias(options, data, out, screen, method=method, seed=seed, dry_run=dry_run)
    answer(result, as_json, lambda: debias_tables(result, screen))


@click.command()
@click.argument("target", metavar="STUDY_OR_MODEL", type=LOCATION)
@click.option("--onnx", is_flag=True, help="As an ONNX graph, checked against torch.")
@click.option("--opset", type=click.IntRange(18, 23), help="Of the ONNX graph.")
@click.option("--int8", is_flag=True, help="The ONNX graph in int8 too, with the AP that this loses.")
@click.option("--benchmark", type=LOCATION, help="To measure that on; without: the study's dev.")
@click.option("--trial", help="Of a study: this trial's model, like 0007, not the best one's.")
@click.option("--checkpoint", type=click.IntRange(1), help="Step of the trial's checkpoint; its best without.")
@out_option(help="New folder; else beside the weights.")
@click.option("--trust-remote-code", is_flag=True, help="Run code, and ask servers, that it names.")
@click.option("--push", metavar="NAME", help="Upload the model to the Hugging Face hub as OWNER/NAME, private.")
@click.option("--public", is_flag=True, help="Pushed: for everybody to see.")
@json_option
def export(target: str, as_json: bool, **options: Any) -> None:
    """Export a study's best model, a trial's or any model folder: as ONNX, as a model folder of its own, or to the hub.

    The study or model may be at a URL, like s3://BUCKET/STUDY.

    What a study exports to best/ is a model folder already, for sentence-transformers and transformers.
    """
    from hybridtune.study.export import ExportOptions, export

    answer(export(target, ExportOptions(**options), open_screen(as_json)), as_json)


@click.command()
@click.argument("given", metavar="MODEL MODEL...", type=LOCATION, nargs=-1, required=True)
@click.option("--weights", metavar="A,B,...", help="A number above 0 for each, like 0.3,0.7; without: all alike.")
@out_option(required=True, help="New folder for the merged model.")
@click.option("--trust-remote-code", is_flag=True, help="Run code, and ask servers, that they name.")
@json_option
def merge(given: tuple[str, ...], weights: str | None, out: Path, trust_remote_code: bool, as_json: bool) -> None:
    """Average the weights of two or more trainings of one encoder; no training, no data.

    Each MODEL is a model folder, a hub name, a study (its best model), or STUDY:TRIAL like studies/news:0007; folders
    and studies may be at URLs, like s3://BUCKET/STUDY:0007.
    """
    numbers = _numbers(weights)
    from hybridtune.study.merge import MergeOptions, merge

    screen = open_screen(as_json)
    answer(merge(MergeOptions(given, out, numbers, trust_remote_code), screen), as_json)


def _numbers(text: str | None) -> list[float]:
    """Return the numbers of ``0.3,0.7``; raise InputError where one is none."""
    numbers = []
    for part in text.split(",") if text is not None else ():
        try:
            numbers.append(float(part))
        except ValueError:
            raise InputError(f"--weights {text}: {part!r} is not a number; write it like 0.3,0.7") from None
    return numbers
