"""`hybridtune translate`: groups of one language become groups of translations, written back in the native format."""

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hybridtune.callbacks import StudyCallback
from hybridtune.config.fields import DataSet, Encoder
from hybridtune.data.language_id import mistaken, unknown
from hybridtune.data.readers.files import Source
from hybridtune.data.readers.native import Group
from hybridtune.data.readers.sources import find_sources, read_groups
from hybridtune.data.text_key import text_key
from hybridtune.errors import InputError
from hybridtune.prepare.writer import open_groups, output_file
from hybridtune.runtime.resources import cores
from hybridtune.storage.files import cache_folder, write_atomically
from hybridtune.study.translated import REPORT
from hybridtune.translate.agreement import AgreementName, Measure, Similarity, Thresholds, back_measure
from hybridtune.translate.cache import Cache, open_cache
from hybridtune.translate.checks import Checks
from hybridtune.translate.engine import Decoding, EngineName
from hybridtune.translate.estimate import estimate
from hybridtune.translate.families import FamilyTokenizer
from hybridtune.translate.judge import Verdicts, agreement_report, judge, judge_agreement
from hybridtune.translate.models import Model, convert, find_model
from hybridtune.translate.recipe import EngineRecipe, choose_compute_type, choose_engine, usable_gpus
from hybridtune.translate.translator import StartPool, Translator, ray_pool
from hybridtune.translate.wanted import Wanted, Windows, gather

_BATCH_TOKENS_CPU, _BATCH_TOKENS_GPU = 1024, 16384


@dataclass(frozen=True)
class TranslateOptions:
    """The options of a translation: the texts, the model, and the bounds of what is refused."""

    model: str  # folder or hub name
    wanted: Wanted
    out: str
    engine: EngineName | None = None
    compute_type: str | None = None
    beam_size: int = 2
    max_tokens: int = 256
    batch_tokens: int | None = None
    workers: int | None = None
    cache: Path | None = None
    checks: Checks = field(default_factory=Checks)
    agreement: AgreementName | None = None
    encoder: Encoder | None = None  # of the agreement "similarity"
    thresholds: Thresholds = field(default_factory=Thresholds)
    estimate: bool = False


@dataclass(frozen=True)
class _Setup:
    """All that is found out before anything is translated."""

    sources: Sequence[Source]
    file: Path
    model: Model
    recipe: EngineRecipe
    tokenizer: FamilyTokenizer
    measure: Measure | None  # of the agreement, if it is asked for
    workers: int
    batch_tokens: int


def translate(
    data_sets: Sequence[DataSet], options: TranslateOptions, callback: StudyCallback, start_pool: StartPool = ray_pool
) -> dict[str, Any]:
    """Translate the wanted texts of some data sets and write their groups; return the report.

    Raises:
        InputError: the data, the model or an option is wrong; nothing was written then.
        FitError: an engine failed; what it had translated is cached.
    """
    began = time.perf_counter()
    setup = _set_up(data_sets, options, callback)
    windows = _gather(setup, options, callback)
    folder = options.cache or cache_folder() / "translations"
    with open_cache(folder, setup.model, setup.recipe.decoding, callback.on_message) as cache:
        weights = setup.model.folder
        if setup.recipe.decoding.engine == "ctranslate2":
            weights = convert(setup.model, setup.recipe.decoding.compute_type, callback)
        recipe = EngineRecipe(**(vars(setup.recipe) | {"weights": weights}))
        if options.estimate:
            return estimate(cache, recipe, windows, setup.workers, setup.batch_tokens, callback)
        with Translator(cache, recipe, setup.workers, setup.batch_tokens, callback, start_pool) as translator:
            translator.translate(windows.windows, "translating")
            done = {"translated": translator.translated, "from_cache": translator.cached}
            verdicts = judge(translator, windows.windows, options.checks, mistaken)
            if options.agreement is not None and setup.measure is not None:
                judge_agreement(
                    translator, windows.windows, verdicts, options.agreement, setup.measure, options.thresholds
                )
        counts = _write(setup, options.wanted, cache, verdicts)
    report = {
        "file": str(setup.file),
        **counts,
        "texts": windows.asked,
        "distinct": sum(len(window.texts) for window in windows.windows),
        **done,
        "left_alone": dict(windows.missed),
        "language_not_checked": unknown({window.direction.target for window in windows.windows}),
        **verdicts.report(),
        "agreement": agreement_report(verdicts),
        **_made_by(setup, options),
        "seconds": round(time.perf_counter() - began, 1),
    }
    file = setup.file.with_name(setup.file.name + REPORT)
    write_atomically(file, json.dumps(report, ensure_ascii=False, indent=1) + "\n")
    callback.on_message(f"written: {setup.file} and {file.name}")
    return report


def _set_up(data_sets: Sequence[DataSet], options: TranslateOptions, callback: StudyCallback) -> _Setup:
    sources = find_sources(data_sets)
    file = output_file(options.out, sources)
    if options.agreement is None and options.thresholds != Thresholds():
        raise InputError("--threshold is of --check back or --check similarity: give one of them too")
    model = find_model(options.model)
    engine = choose_engine(options.engine, model.is_converted)
    count = usable_gpus(engine)
    on_gpu = count > 0
    compute_type = choose_compute_type(engine, options.compute_type, on_gpu)
    decoding = Decoding(engine, compute_type, options.beam_size, options.max_tokens)
    workers = options.workers or max(1, count)
    if on_gpu and workers > count:
        raise InputError(f"--workers {workers}: each takes a GPU, and this machine has {count}")
    tokenizer = FamilyTokenizer(model.family, model.folder, options.model)
    for target, named in options.wanted.sources.items():
        tokenizer.token(target, target=True)
        for source in named:
            tokenizer.token(source, target=False)
    if model.family.notice:
        callback.on_message(f"notice: {model.family.notice}")
    recipe = EngineRecipe(
        family=model.family,
        name=options.model,
        tokenizer=model.folder,
        weights=model.folder,
        decoding=decoding,
        device="cuda" if on_gpu else "cpu",
        threads=max(1, cores() // workers),
    )
    tokens = options.batch_tokens or (_BATCH_TOKENS_GPU if on_gpu else _BATCH_TOKENS_CPU)
    return _Setup(sources, file, model, recipe, tokenizer, _measure(options), workers, tokens)


def _groups(setup: _Setup) -> Iterator[Group]:
    for source in setup.sources:
        yield from read_groups(source)


def _gather(setup: _Setup, options: TranslateOptions, callback: StudyCallback) -> Windows:
    """Return the texts to translate; refuse a source language that the model lacks, and data without any such text."""
    windows = gather(_groups(setup), options.wanted, setup.batch_tokens)
    tokenizer = setup.tokenizer
    for direction in {window.direction for window in windows.windows}:
        tokenizer.token(direction.source, target=False)
        if options.agreement == "back":
            tokenizer.token(direction.source, target=True)
            tokenizer.token(direction.target, target=False)
    reasons = "; ".join(f"{count:,} {reason}" for reason, count in windows.missed.items())
    if not windows.windows:
        raise InputError(
            f"nothing to translate: no group lacks {', '.join(options.wanted.sources)} and has a text to translate"
            + (f" ({reasons})" if reasons else "")
        )
    if reasons:
        callback.on_message(f"left alone: {reasons}")
    distinct = sum(len(window.texts) for window in windows.windows)
    callback.on_message(f"{windows.asked:,} texts to translate, {distinct:,} of them different")
    return windows


def _measure(options: TranslateOptions) -> Measure | None:
    """Return how agreement is measured; refuse what is not installed or cannot be loaded before anything is done."""
    if options.estimate or options.agreement is None:
        return None
    if options.agreement == "back":
        return back_measure()
    if options.encoder is None:
        raise InputError("--check similarity needs --encoder: a model folder or hub name that knows the languages")
    return Similarity(options.encoder)


def _write(setup: _Setup, wanted: Wanted, cache: Cache, verdicts: Verdicts) -> dict[str, Any]:
    """Write all groups with what was accepted; return the numbers of groups, and of texts that were added by side."""
    made_by = {"engine": setup.recipe.decoding.engine, "model": setup.model.name, "licence": setup.model.licence}
    groups, added = 0, Counter[str]()
    with open_groups(setup.file) as write:
        for group in _groups(setup):
            write(_completed(group, wanted, cache, verdicts, made_by, added))
            groups += 1
    return {"groups": groups, "added": dict(added)}


def _completed(
    group: Group,
    wanted: Wanted,
    cache: Cache,
    verdicts: Verdicts,
    made_by: Mapping[str, str],
    added: Counter[str],
) -> Group:
    """Return a group with its accepted translations, and where they come from."""
    texts = {"queries": dict(group.queries), "passages": dict(group.passages)}
    translated = {side: dict(languages) for side, languages in group.translated.items()}
    negatives = {text_key(text) for found in group.negatives.values() for text in found}
    new = False
    for side, direction, text in wanted.of(group, Counter()):
        translation = cache.get(direction, text)
        if translation is None or not verdicts.accepts(direction, text):
            continue
        if side == "passages" and text_key(translation.text) in negatives:
            verdicts.count(direction, text, translation.text, "is a hard negative of its group")
            continue
        texts[side][direction.target] = translation.text
        translated.setdefault(side, {})[direction.target] = direction.source
        added[side] += 1
        new = True
    if not new:
        return group
    return group._replace(
        queries=texts["queries"],
        passages=texts["passages"],
        translated=translated,
        translation=_joined(group.translation, made_by),
    )


def _joined(before: Mapping[str, str], made_by: Mapping[str, str]) -> dict[str, str]:
    """Return who translated a group's texts; of one that another model translated in part, both."""
    return {
        key: "; ".join(dict.fromkeys(part for part in (*before.get(key, "").split("; "), value) if part))
        for key, value in made_by.items()
    }


def _made_by(setup: _Setup, options: TranslateOptions) -> dict[str, Any]:
    decoding = setup.recipe.decoding
    return {
        "engine": decoding.engine,
        "model": setup.model.name,
        "family": setup.model.family.name,
        "licence": setup.model.licence,
        "notice": setup.model.family.notice,
        "settings": {
            **{key: value for key, value in asdict(decoding).items() if key != "engine"},
            "device": setup.recipe.device,
            "workers": setup.workers,
            "batch_tokens": setup.batch_tokens,
            "checks": asdict(options.checks),
            "agreement": options.agreement,
            "thresholds": asdict(options.thresholds),
        },
    }
