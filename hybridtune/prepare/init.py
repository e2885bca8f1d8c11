"""`hybridtune init`: a first study on anybody's pairs, written as a study file in which every line is explained.

The rows are cleaned, and grouped by the way that gives most pairs; everything that the study file says is worked out of
the groups: what is held out, the batch, the lengths, the steps of a run of minutes.
"""

import json
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from hybridtune.callbacks import StudyCallback
from hybridtune.config.fields import DataSet, Encoder
from hybridtune.config.yaml_text import dump_yaml
from hybridtune.data.language_check import GROUPS, TEXTS, mostly_mislabelled
from hybridtune.data.readers.files import Source
from hybridtune.data.readers.sources import find_sources, parse_groups, read_groups
from hybridtune.data.text_sample import TextSample
from hybridtune.errors import InputError
from hybridtune.model.folder import check_fit, longest_text, model_config, with_folder_settings
from hybridtune.model.tokenizer import Tokenizer, pretrained_tokenizer, train_tokenizer
from hybridtune.prepare.clean import clean, report_of
from hybridtune.prepare.cleaning import Rules
from hybridtune.prepare.first_study import (
    FEW_TRIALS,
    TRIALS,
    Batches,
    Held,
    choose_batches,
    choose_lengths,
    choose_steps,
    hold_out,
)
from hybridtune.prepare.group import WAYS, best_way, compared, spooled, write_sets
from hybridtune.prepare.lengths import token_lengths
from hybridtune.report.render import render
from hybridtune.runtime.local import gpus
from hybridtune.runtime.resources import cores
from hybridtune.storage.files import replacing, write_atomically

_LENGTHS = {"queries": "query_length", "passages": "passage_length"}
_ANY_LENGTH = 1 << 20  # tokens
_RATES = {True: ("1e-3", "3e-4", "3e-3"), False: ("3e-5", "1e-5", "1e-4")}  # of tiny, of another encoder


def init(
    data_sets: Sequence[DataSet], out: Path, encoder: str | None, force: bool, callback: StudyCallback
) -> dict[str, Any]:
    """Write a study file, and beside it the file of its groups; return what was found and chosen.

    Raises:
        InputError: a file is there already and ``force`` is not given, the data cannot be read or are too few, or the
            encoder cannot be used.
    """
    groups = out.with_name(f"{out.stem}.groups.jsonl")
    _check_files((out, groups, report_of(groups)), force)
    start = with_folder_settings(Encoder(name=encoder or "tiny"))
    own = None if start.name == "tiny" else pretrained_tokenizer(start.name)
    sources = find_sources(data_sets)
    _check_languages(sources)
    with tempfile.TemporaryDirectory(prefix="hybridtune-") as folder:
        clean_file, written = Path(folder) / "clean.jsonl", Path(folder) / groups.name
        cleaning = clean(data_sets, str(clean_file), Rules(), callback)
        found = _group([DataSet(path=str(clean_file))], written, callback)
        sample, documents = TextSample(), set()
        for group in parse_groups(written):
            sample.add(group)
            documents.add(group.document_id)
        callback.on_message("working out the batches")
        held = hold_out(str(written), len(documents - {""}))
        batches = choose_batches(held.corpus, gpus() > 0)
        text, chosen = _study(out, groups, data_sets, start, own, sample, held, batches)
        with replacing(groups) as temporary:
            shutil.copyfile(written, temporary)
    cleaning |= {"file": str(groups), "report": str(report_of(groups))}
    write_atomically(report_of(groups), json.dumps(cleaning, ensure_ascii=False, indent=1) + "\n")
    write_atomically(out, text)
    return {"study": str(out), "groups": str(groups), "cleaning": cleaning, **found, **chosen}


def _check_languages(sources: Sequence[Source]) -> None:
    """Refuse data of which most texts of a language are in another one: cleaning would drop these."""
    groups = islice((group for source in sources for group in read_groups(source)), GROUPS)
    wrong = mostly_mislabelled(TextSample.of(groups, TEXTS))
    if wrong is not None:
        raise InputError(f"{sources[0].name}: {wrong.describe()}")


def _check_files(files: Sequence[Path], force: bool) -> None:
    if files[0].suffix not in (".yaml", ".yml"):
        raise InputError(f"--out {files[0]}: a study file ends in .yaml")
    for file in files:
        if file.exists() and not force:
            raise InputError(f"{file}: is there already; --force writes it anew, --out names another study file")


def _group(data_sets: Sequence[DataSet], file: Path, callback: StudyCallback) -> dict[str, Any]:
    """Write the groups that the best way gives, or the rows as they are."""
    with spooled(find_sources(data_sets), callback) as rows:
        as_read, ways = compared(rows)
        way = best_way(as_read, ways)
        result = write_sets(rows, WAYS[way or "none"](rows), file, callback)
    return {"by": way, **{key: result[key] for key in ("rows", "as read", "grouped", "left_out")}}


def _study(
    out: Path,
    groups: Path,
    data_sets: Sequence[DataSet],
    start: Encoder,
    own: Tokenizer | None,
    sample: TextSample,
    held: Held,
    batches: Batches,
) -> tuple[str, dict[str, Any]]:
    """Return the study file, and what was chosen for it."""
    texts = (text for side, language in sorted(sample.counts) for text in sample.texts(side, language))
    tokenizer = own or train_tokenizer(texts, start.tiny.vocab_size)
    tokens = token_lengths(sample, tokenizer, start)
    lengths = choose_lengths(tokens, _limits(start, tokenizer))
    size = _size(start)
    of_a_pair = float(sum(length for length, _ in lengths.values())) / 2  # padding aside, about half is filled
    steps = choose_steps(batches.size, of_a_pair, size, batches.pairs, cores(), gpus())
    languages = [_language(language, batches) for language in held.corpus.languages]
    share = held.holdout.documents or held.holdout.groups or 0.0
    text = render(
        "hybridtune.prepare",
        "study.yaml.j2",
        source=", ".join(one.path for one in data_sets),
        study=str(out),
        name=re.sub(r"[^A-Za-z0-9._-]+", "-", out.stem).strip("-._") or "study",
        too_small=_scalar_list(batches.too_small),
        train=_scalar(str(groups)),
        held=("documents" if held.holdout.documents else "groups", f"{share:g}", f"{share:.0%}"),
        on_leak=held.on_leak,
        leaking=held.leaking,
        encoder={"name": _scalar(start.name)},
        lengths={side: (length, f"{cut:.1%}") for side, (length, cut) in lengths.items()},
        batches=batches,
        languages=languages,
        steps=steps,
        rate=_RATES[start.name == "tiny"],
        objective=held.objective,
        trials=TRIALS if start.name == "tiny" or gpus() else FEW_TRIALS,
    )
    return text, {
        "languages": languages,
        "batch_size": batches.size,
        "too_small": batches.too_small,
        "steps": steps,
        "on_leak": held.on_leak,
        "leaking_groups": held.leaking,
        "query_length": lengths["queries"][0],
        "passage_length": lengths["passages"][0],
    }


def _scalar(value: str) -> str:
    """Return a text as YAML that fits behind a key."""
    return dump_yaml({"key": value}, width=10_000).partition(" ")[2].rstrip("\n")


def _scalar_list(values: Sequence[str]) -> str:
    """Return texts as YAML between brackets."""
    return ", ".join(map(_scalar, values))


def _limits(start: Encoder, tokenizer: Tokenizer) -> dict[str, int]:
    """Return the longest texts that an encoder takes, of each side."""
    longest = None
    if start.name != "tiny":
        check_fit(start.model_copy(update={"query_length": 4, "passage_length": 4}), tokenizer.largest_id)
        longest = longest_text(model_config(start))
    given = {side: getattr(start, field) for side, field in _LENGTHS.items() if field in start.model_fields_set}
    return {side: min(longest or _ANY_LENGTH, given.get(side, _ANY_LENGTH)) for side in _LENGTHS}


def _size(start: Encoder) -> dict[str, int]:
    """Return the layers, width and vocabulary of an encoder, by which the time of a step is guessed."""
    if start.name == "tiny":
        tiny = start.tiny
        return {"layers": tiny.layers, "hidden": tiny.hidden_size, "vocabulary": tiny.vocab_size}
    config = model_config(start)
    names = {"layers": "num_hidden_layers", "hidden": "hidden_size", "vocabulary": "vocab_size"}
    usual = {"layers": 12, "hidden": 768, "vocabulary": 30_000}
    return {key: int(getattr(config, name, None) or usual[key]) for key, name in names.items()}


def _language(language: str, batches: Batches) -> Mapping[str, Any]:
    """Return the counts of a language, and what becomes of it."""
    groups, cross = batches.groups.get(language, 0), batches.cross.get(language, 0)
    remark = ""
    if not batches.has_mono or groups < batches.size:
        remark = "too small for mono batches" if batches.has_mono else "no mono batches"
        remark += ": only in cross batches" if cross and batches.has_cross else ": scored, but not trained on"
    return {"language": language, "groups": groups, "cross": cross, "remark": remark}
