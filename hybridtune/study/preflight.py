"""The checks of a study before anything starts: a mistake costs a second and writes nothing.

`summary` describes a study that has passed them; `run` runs it.
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hybridtune.callbacks import StudyCallback
from hybridtune.config.fields import HELD_OUT_DEV, Encoder, FewerThan, Resources
from hybridtune.config.hooks import load_hook
from hybridtune.config.names import ENDING, FIXED_ARMS, LEARNED
from hybridtune.config.space import DATA_SET_WEIGHTS, Parameter, corners
from hybridtune.config.study import Study
from hybridtune.data.corpus import Corpus
from hybridtune.data.holdout import Part
from hybridtune.data.plan import HybridPlan
from hybridtune.data.readers.benchmarks import read_benchmark
from hybridtune.data.readers.files import HELD_OUT
from hybridtune.data.store import StoreRecipe, existing_store, recipe, store_root
from hybridtune.errors import InputError
from hybridtune.evaluate.benchmark import Benchmark, benchmark_of_rows, load_benchmark
from hybridtune.metrics.groups import Grouping
from hybridtune.metrics.metrics import SETTINGS
from hybridtune.model.folder import check_fit, model_config, vector_width, with_folder_settings
from hybridtune.runtime.local import capacity
from hybridtune.runtime.resources import Allocation, Shape, allocate
from hybridtune.search.arms import expected_trials
from hybridtune.search.group_goals import check_groups, study_grouping
from hybridtune.search.samplers import check_search, most_at_once
from hybridtune.search.space import check_metric, check_stopping, objectives
from hybridtune.storage.feasibility import constraint_metrics
from hybridtune.study.data_scores import check_data_scores
from hybridtune.study.leak_guard import Guarded, guard
from hybridtune.study.teachers import check_teachers, projected_width
from hybridtune.train.plan import make_plan

_OF_RATIOS = ("mix.mixing_ratio", "mix.final_ratio", "mix.schedule")
_OF_MIX = (*_OF_RATIOS, "mix.cross_batch", "mix.align_share", "mix.weights")
_OF_TRAIN = ("train.batch_size", "train.teacher_languages", "train.answer_sets")
_SHARES = ("mix.mixing_ratio", "mix.final_ratio", "mix.align_share")
_WEIGHTS = (f"{DATA_SET_WEIGHTS}.", "mix.translated_weight", "mix.bitext_weight")


@dataclass(frozen=True)
class Preflight:
    """A study that has passed its checks.

    Attributes:
        study: resolved, with the encoder folder's own settings and the low-resource languages put in.
        guarded: what was found of the benchmarks in the training data; ``recipe`` and ``corpus`` are its.
        benchmarks: ``dev`` and, if given, ``test``.
        goals: objective -> ``max`` or ``min``.
        grouping: what the groups of languages in metrics are made by.
        plan: the batches of the study's fixed values; a final ratio that is null and searched is at its end.
        fewer_than: the training pairs that a language must lack to be low-resource, where the study says it like that.
    """

    study: Study
    recipe: StoreRecipe
    corpus: Corpus
    guarded: Guarded
    benchmarks: Mapping[str, Benchmark]
    goals: Mapping[str, str]
    grouping: Grouping
    allocation: Allocation
    plan: HybridPlan
    fewer_than: int | None = None


def run_preflight(
    study: Study, searching: bool, shape: Shape | None = None, callback: StudyCallback | None = None
) -> Preflight:
    """Check a study's data, benchmarks, objectives, batches and resources.

    Args:
        study: as read.
        searching: whether trials will be searched; else only the fixed values need to work.
        shape: of the cluster that it is to run on; None: this machine.
        callback: receives the progress of what reads all data.

    Raises:
        InputError: the first thing that is wrong.
    """
    allocation = _allocate(study, searching, shape)
    update = {"encoder": with_folder_settings(study.encoder), "resources": allocation.resources}
    study = study.model_copy(update=update)
    made_of = recipe(study.data, study.encoder)
    benchmarks = load_benchmarks(study, made_of)
    goals = objectives(study, benchmarks["dev"])
    check_encoder(study, made_of)
    guarded = guard(study, made_of, benchmarks, callback or StudyCallback())
    corpus = guarded.corpus
    check_data_scores(study, corpus)
    grouping = study_grouping(study, corpus, benchmarks.values())
    fewer_than = study.low_resource.fewer_than if isinstance(study.low_resource, FewerThan) else None
    study = study.model_copy(update={"low_resource": list(grouping.low_resource)})
    if study.mix.schedule == LEARNED or (searching and study.has_learned_mix):
        _check_settings(benchmarks["dev"])
    for benchmark in benchmarks.values():
        check_groups(study, benchmark, grouping)
    fixed, final_ratio = study, study.search.space.get("mix.final_ratio")
    if searching and study.mix.final_ratio is None and final_ratio is not None:
        fixed = study.with_values({"mix.final_ratio": final_ratio.ends()[-1]})
    plan = make_plan(corpus, fixed)
    if searching:
        check_search(study)
        for name in constraint_metrics(study):
            check_metric(name, benchmarks["dev"], "search.constraints")
        check_stopping(study, benchmarks["dev"])
        if study.search.loggers:
            from hybridtune.search.loggers import check_loggers  # imports Ray Tune

            check_loggers(study)
        tried = {_demand(fixed)}
        for values in _extremes(study):
            trial = study.with_values(values)
            if _demand(trial) not in tried:
                tried.add(_demand(trial))
                make_plan(corpus, trial)
    return Preflight(study, guarded.recipe, corpus, guarded, benchmarks, goals, grouping, allocation, plan, fewer_than)


def _check_settings(dev: Benchmark) -> None:
    """Refuse a dev benchmark that cannot steer a learned mix, which weighs the three settings against each other."""
    missing = [name for name in SETTINGS if name not in dev.settings]
    if missing:
        raise InputError(
            f"benchmarks.dev: has no {' and no '.join(missing)} setting, and a learned mix follows all of "
            f"{', '.join(SETTINGS)}: give a benchmark of several languages, or set mix.schedule to constant"
        )


def load_benchmarks(study: Study, made_of: StoreRecipe) -> dict[str, Benchmark]:
    """Load the benchmarks of a study, ``dev`` and, if given, ``test``; a part of the training files from these."""
    benchmarks = {}
    for name, source in (("dev", study.benchmarks.dev), ("test", study.benchmarks.test)):
        if source is None:
            continue
        if made_of.cut is not None and source.path.startswith(HELD_OUT):
            part: Part = "dev" if source.path == HELD_OUT_DEV else "test"
            benchmarks[name] = benchmark_of_rows(read_benchmark(source, made_of.cut.parts[part]))
        else:
            benchmarks[name] = load_benchmark(source)
    return benchmarks


def read_corpus(study: Study, made_of: StoreRecipe) -> Corpus:
    """Read the numbers of a study's training texts from its token store, or from its files before that is built."""
    found = existing_store(store_root(study.data), made_of)
    return found.corpus() if found is not None else made_of.read_corpus()


def _allocate(study: Study, searching: bool, shape: Shape | None) -> Allocation:
    """Return what each trial takes and how many run at once, with numbers in place of ``auto``."""
    divided = _divided_by_workers(study)
    trials, most = (max(1, expected_trials(study)), most_at_once(study)) if searching else (1, None)
    if shape is not None:
        allocation = allocate(study.resources, shape, trials, divided, most)
    else:
        here = capacity(study.resources, divided, most)
        at_once = here.concurrent_trials if searching else 1
        allocation = Allocation(here.resources, at_once, max(1, here.evaluators // at_once), {}, here.notices)
    return replace(allocation, notices=(*allocation.notices, *_of_attention(study, allocation.resources)))


def _of_attention(study: Study, resources: Resources) -> list[str]:
    """Return a notice of the one setting of an encoder that a GPU changes, where it may."""
    half = study.train.precision not in ("float32", "tf32")
    if not (resources.gpus_per_worker and half and study.train.dropout is None):
        return []
    return [
        "on GPUs that attend to texts of any length no attention weights are dropped, whatever the encoder's own rate; "
        "a number in train.dropout keeps that, and costs padding"
    ]


def _divided_by_workers(study: Study) -> int:
    """Return the largest number that divides every batch size of the study."""
    size = study.train.batch_size
    searched = study.search.space.get("train.batch_size")
    divisors = (number for number in range(size, 0, -1) if size % number == 0)
    return next(number for number in divisors if searched is None or searched.not_multiple_of(number) is None)


def _extremes(study: Study) -> Iterator[dict[str, Any]]:
    """Yield the values of the plan at which a batch could turn out impossible: if these work, all between do."""
    space = {name: _one_of_each_kind(one) if name in _SHARES else one for name, one in study.search.space.items()}
    never = [name for name in space if name.startswith(_WEIGHTS) and not all(space[name].ends())]
    found = list(corners(space, (*_OF_MIX, *_OF_TRAIN, *never)))
    if study.search.arms != "none":
        for values, ratio in itertools.product(found, FIXED_ARMS.values()):
            others = {key: value for key, value in values.items() if key not in _OF_RATIOS}
            yield {**others, "mix.mixing_ratio": ratio, "mix.schedule": "constant"}
    if study.search.learned:
        for values in found:
            yield {key: value for key, value in values.items() if key not in _OF_RATIOS} | {"mix.schedule": LEARNED}
    yield from found


def _one_of_each_kind(share: Parameter) -> Parameter:
    """Return a choice of shares with one of each that `_demand` tells apart: none, 0, 1, and what lies between."""
    if share.choice is None:
        return share
    kinds = {None if value is None else (value > 0, value < 1): value for value in share.choice}
    return share.model_copy(update={"choice": list(kinds.values())})


def _demand(study: Study) -> tuple[object, ...]:
    """Return what decides whether a study's batches can be made: of two studies of one demand both can, or neither."""
    mix, train = study.mix, study.train
    ratios = [mix.mixing_ratio, mix.final_ratio or 0.0] if mix.schedule in ENDING else [mix.mixing_ratio]
    ratios = [0.5] if mix.schedule == LEARNED else ratios  # brought into a range that has both kinds
    kinds = (max(ratios) > 0, min(ratios) < 1, mix.align_share > 0)
    never = [name for name, weight in (mix.weights | mix.data_set_weights).items() if not weight]
    never += [name for name in ("translated_weight", "bitext_weight") if not getattr(mix, name)]
    named = tuple(sorted(mix.weights)), tuple(sorted(never))
    return train.batch_size, mix.cross_batch, kinds, tuple(train.teacher_languages), train.answer_sets, *named


def check_encoder(study: Study, made_of: StoreRecipe) -> None:
    """Check that lengths, widths, layers, adapters and the teacher fit the encoder, searched values too.

    Raises:
        InputError: the first thing that does not fit.
    """
    if made_of.tokenizer is not None:
        check_fit(study.encoder, made_of.tokenizer.largest_id)
    check_teachers(study)
    width, layers = _size(study.encoder)
    width = projected_width(study) or width
    for cut in itertools.chain.from_iterable(_values(study, "train.matryoshka")):
        if width is not None and cut >= width:
            raise InputError(
                f"train.matryoshka {cut}: is not below the width {width} of {study.encoder.name}, which is trained "
                "anyway; give smaller widths"
            )
    for frozen in _values(study, "train.freeze_layers"):
        if layers is not None and frozen >= layers:
            raise InputError(
                f"train.freeze_layers {frozen}: {study.encoder.name} has {layers} layers, and one at least is to be "
                f"trained; give at most {layers - 1}"
            )
    adapted = list(_values(study, "train.lora_targets")) if any(_values(study, "train.lora_rank")) else []
    if adapted or study.search.screening is not None:
        from hybridtune.study.layer_checks import check_layers  # imports torch, which other studies do not need here

        check_layers(study, adapted)
    for hook in filter(None, _values(study, "train.loss")):
        load_hook(hook, "train.loss")


def _values(study: Study, field: str) -> Iterator[Any]:
    """Yield the fixed value of a field, and the ends of its searched range."""
    yield study.value(field)
    if field in study.search.space:
        yield from study.search.space[field].ends()


def _size(encoder: Encoder) -> tuple[int | None, int | None]:
    """Return the width of a vector and the number of transformer layers; None where the settings do not say."""
    if encoder.name == "tiny":
        return encoder.tiny.hidden_size, encoder.tiny.layers
    return vector_width(encoder), getattr(model_config(encoder), "num_hidden_layers", None)
