"""A study that is about to run, in words and as plain values, and the notices on it."""

from collections import Counter
from typing import Any

import numpy as np

from hybridtune.config.fields import Mix
from hybridtune.config.names import ENDING, LEARNED
from hybridtune.config.study import Study
from hybridtune.config.training import Train
from hybridtune.data.corpus import Corpus
from hybridtune.data.plan import HybridPlan, describe
from hybridtune.data.store import outdated_stores, store_root
from hybridtune.data.weights import named_pairs, pair_name
from hybridtune.metrics.arrays import Int64
from hybridtune.metrics.groups import pairs_by_sides, touching
from hybridtune.model.folder import encoder_notices, has_dense
from hybridtune.report.text import counted
from hybridtune.runtime.local import gpus
from hybridtune.runtime.resources import cores
from hybridtune.search.arms import FEWEST_TO_STOP, arms, expected_trials, most_reruns, stops_early
from hybridtune.search.screened import screened_trials
from hybridtune.search.soups import soups_wanted
from hybridtune.study.data_scores import data_score_lines
from hybridtune.study.leak_guard import leak_counts, leak_lines
from hybridtune.study.preflight import Preflight
from hybridtune.study.teachers import projected_width, taught_trials

MOST_PAIRS = 4_000_000  # that are drawn to count them, in about 3 seconds
_FEW_CHANGES = 4  # of a learned mix: below, its ratio is still on its way when the training ends


def opening_lines(preflight: Preflight) -> list[str]:
    """Return a few lines on a study that is about to run, the notices among them."""
    study, corpus, dev = preflight.study, preflight.corpus, preflight.benchmarks["dev"]
    return [
        f"{study.name}: {_counts_line(corpus)}",
        f"dev benchmark: {len(dev.queries):,} queries, {len(dev.passages):,} passages",
        *_translation_lines(corpus),
        *_low_resource_lines(preflight),
        *leak_lines(study, preflight.guarded, preflight.benchmarks),
        *notices(preflight),
    ]


def _counts_line(corpus: Corpus) -> str:
    """Return ``90 groups in 3 languages (9 of bitext), 80 mono and 10 cross pairs (60 native, 30 translated)``."""
    pairs, native = (int(corpus.pair_counts(native=only).sum()) for only in (False, True))
    mono, bitext = int(corpus.pair_counts().diagonal().sum()), int(corpus.bitext().sum())
    line = f"{len(corpus.queries):,} groups in {len(corpus.languages)} languages"
    line += f" ({bitext:,} of bitext)" if bitext else ""
    line += f", {mono:,} mono and {pairs - mono:,} cross pairs"
    return line + (f" ({native:,} native, {pairs - native:,} translated)" if native < pairs else "")


def _translation_lines(corpus: Corpus) -> list[str]:
    """Return ``texts translated by machine, en to sw: 40 by MODEL (Apache-2.0)`` for each language and model."""
    found: Counter[tuple[str, str, str, str]] = Counter()
    for row in corpus.translations:
        found[row.translated_from, row.language, row.model or row.engine, row.licence] += row.texts
    return [
        f"texts translated by machine, {first} to {then}: {texts:,}"
        + (f" by {model}" if model else "")
        + f" ({licence or 'licence not given'})"
        for (first, then, model, licence), texts in found.items()
    ]


def describe_plan(preflight: Preflight) -> dict[str, Any]:
    """Return a study that is about to run as plain values, for ``--dry-run --json``."""
    study = preflight.study
    return {
        "study": study.model_dump(mode="json"),
        "languages": _data_table(preflight.corpus),
        "benchmarks": {
            name: {"queries": len(b.queries), "passages": len(b.passages), "settings": list(b.settings)}
            for name, b in preflight.benchmarks.items()
        },
        "low_resource": low_resource_pairs(preflight),
        "leaks": leak_counts(preflight.guarded.report),
        "objectives": dict(preflight.goals),
        "plan": describe(preflight.plan, study.train.max_steps, MOST_PAIRS),
        "notices": notices(preflight),
        "screened": screened_trials(study),
        "trials": expected_trials(study),
        "reruns": most_reruns(study),
        "soups": soups_wanted(study),
        "concurrent_trials": preflight.allocation.at_once,
        "evaluators": preflight.allocation.at_once * preflight.allocation.evaluators,
        "nodes": dict(preflight.allocation.nodes),
    }


def allocation_line(preflight: Preflight) -> str:
    """Return ``15 trials, 2 at once: 1 worker each, on 2 cores and 0 GPUs; 2 evaluator actors``, or on which nodes."""
    allocation, study = preflight.allocation, preflight.study
    workers = int(study.resources.workers)
    nodes = ", ".join(f"{count} x {name}" for name, count in allocation.nodes.items())
    return (
        f"{trials_line(study)}, {allocation.at_once} at once: {workers} worker{'s' * (workers > 1)} each, "
        + (f"on nodes {nodes}" if nodes else f"on {cores()} cores and {gpus()} GPUs")
        + f"; {allocation.at_once * allocation.evaluators} evaluator actors"
    )


def trials_line(study: Study) -> str:
    """Return ``48 trials in 4 arms and 1 training after them``, as far as each applies."""
    every, after, screening = arms(study), most_reruns(study), study.search.screening
    line = f"{expected_trials(study)} trials" + (f" in {len(every)} arms" if len(every) > 1 else "")
    if screening is not None:
        line += f", before them {screened_trials(study)} screened with {counted(screening.layers, 'layer')},"
    line += f" and up to {after} training{'s' * (after > 1)} after them" if after else ""
    soups = soups_wanted(study)
    return line + (f"; {soups} soup{'s' * (soups > 1)} of their weights, without training" if soups else "")


def low_resource_pairs(preflight: Preflight) -> dict[str, int]:
    """Count the training pairs that have each low-resource language on either side."""
    pairs, languages = preflight.grouping.training_pairs or {}, preflight.grouping.low_resource
    trained = pairs_by_sides(pairs, {*languages, *preflight.corpus.languages})
    return {language: touching(language, trained) for language in languages}


def _low_resource_lines(preflight: Preflight) -> list[str]:
    found, most = low_resource_pairs(preflight), preflight.fewer_than
    rule = f" (fewer than {most:,} training pairs)" if most is not None else ""
    if not found:
        return [f"low-resource languages{rule}: none"] if rule else []
    return [f"low-resource languages{rule}, by training pairs: " + ", ".join(f"{x} {n:,}" for x, n in found.items())]


def _data_table(corpus: Corpus) -> list[dict[str, Any]]:
    """Return a row for each training language; its cross pairs are those with the language on either side.

    Where there are any, pairs that a machine translated are counted again, and groups of bitext with the language.
    """
    pairs = corpus.pair_counts()
    translated = pairs - corpus.pair_counts(native=True)
    bitext = corpus.passages[corpus.bitext()] >= 0
    rows = []
    for i, language in enumerate(corpus.languages):
        row: dict[str, Any] = {"language": language}
        row |= {side: int((getattr(corpus, side)[:, i] >= 0).sum()) for side in ("queries", "passages")}
        row |= _mono_and_cross(pairs, i)
        if translated.any():
            row |= {f"{kind} translated": count for kind, count in _mono_and_cross(translated, i).items()}
        rows.append(row | ({"bitext": int(bitext[:, i].sum())} if len(bitext) else {}))
    return rows


def _mono_and_cross(pairs: Int64, column: int) -> dict[str, int]:
    own = int(pairs[column, column])
    return {"mono": own, "cross": int(pairs[column].sum() + pairs[:, column].sum()) - 2 * own}


def notices(preflight: Preflight) -> list[str]:
    """Return lines on what a user should know before the study starts."""
    study = preflight.study
    lines = [*preflight.allocation.notices, *encoder_notices(study.encoder)]
    benchmarks = preflight.benchmarks.items()
    lines += [f"benchmarks.{name}: {notice}" for name, benchmark in benchmarks for notice in benchmark.notices]
    root = store_root(study.data)
    if old := outdated_stores(root):
        lines.append(f"{root}: token stores of another version of hybridtune, not read and free to be removed: {old}")
    lines += [*_left_out(preflight), *_without_effect(study, preflight.plan), *_idle_training(study)]
    lines += [*_answer_set_lines(study, preflight.corpus), *_screening_lines(study)]
    if study.search.early_stopping is not None and not stops_early(study):
        why = f"it stops the best too often in arms of fewer than {FEWEST_TO_STOP} trials"
        why = "the rungs of search.fidelities end trials" if study.search.fidelities else why
        lines.append(f"search.early_stopping is off: {why}")
    scored = {text.language for text in preflight.benchmarks["dev"].queries}
    unseen = sorted(scored - set(preflight.corpus.languages))
    if unseen:
        lines.append(f"zero-shot languages (in the dev benchmark, not in training): {', '.join(unseen)}")
    return lines


def _screening_lines(study: Study) -> list[str]:
    """Return a line where the screening may leave the search nothing of its steps."""
    steps, budget = screened_trials(study) * study.train.max_steps, study.search.step_budget
    if budget is None or not steps or steps < budget:
        return []
    return [
        f"search.step_budget {budget:,}: the screening before the search may use up all of it, {steps:,} steps; give "
        "more, or lower search.screening.trials"
    ]


def _left_out(preflight: Preflight) -> list[str]:
    """Return lines on the training data that no batch will hold."""
    plan, corpus, mix = preflight.plan, preflight.corpus, preflight.study.mix
    lines = []
    small = f"(fewer distinct groups than train.batch_size {plan.batch_size})"
    if plan.left_out:
        lines.append(f"left out of mono batches: {', '.join(plan.left_out)} {small}")
    if plan.left_out_pairs:
        lines.append(f"left out of cross batches: {', '.join(plan.left_out_pairs)} {small}")
    paired = (corpus.queries >= 0).any(axis=1) & (corpus.passages >= 0).any(axis=1)
    silent = int(np.count_nonzero(~paired))
    if silent and not mix.align_share:
        lines.append(
            f"{silent:,} groups have no question-passage pair and are not used: mix.align_share trains on them"
        )
    if mix.align_share:
        unread = sorted(set(corpus.languages) - plan.languages("align"))
        if unread:
            lines.append(f"left out of align batches: {', '.join(unread)} (no translation that the teacher can read)")
    if preflight.study.scored_by_teacher and plan.teacher_columns:
        both = [(side[:, plan.teacher_columns] >= 0).any(axis=1) for side in (corpus.queries, corpus.passages)]
        unscored = int(np.count_nonzero(paired & ~(both[0] & both[1])))
        if unscored:
            lines.append(
                f"left out of train.distil: {unscored:,} of {int(np.count_nonzero(paired)):,} groups, which have no "
                "query or no passage in train.teacher_languages"
            )
    lines += data_score_lines(preflight.study, corpus)
    if plan.held_out_pairs:
        held = ", ".join(plan.held_out_pairs)
        lines.append(f"held out, though the data has them: {held} (data.unseen_pairs, or a weight of 0)")
    empty = set(range(len(preflight.study.data.train))) - set(np.unique(corpus.sources).tolist())
    if empty:
        paths = [preflight.study.data.train[source].path for source in sorted(empty)]
        lines.append(f"data sets without a group: {', '.join(paths)}")
    return lines


def _without_effect(study: Study, plan: HybridPlan) -> list[str]:
    """Return lines on settings of the mix that change nothing."""
    mix, searched = study.mix, study.search.space
    lines = []
    if plan.idle_weights:
        lines.append(f"mix.weights without effect: {', '.join(plan.idle_weights)} (no batch draws from them)")
    unseen = named_pairs(plan.corpus.languages, study.data.unseen_pairs, "data.unseen_pairs")
    names = {name: {pair_name(plan.corpus.languages, sides) for sides in (p, p[::-1])} for name, p in unseen.items()}
    idle = [name for name, both in names.items() if both.isdisjoint(plan.held_out_pairs)]
    if idle:
        lines.append(f"data.unseen_pairs without effect: {', '.join(idle)} (the training data has no such pair)")
    lines += _idle_origins(study, plan.corpus)
    if mix.schedule not in ENDING and mix.final_ratio is not None and "mix.schedule" not in searched:
        lines.append(f"mix.final_ratio {mix.final_ratio:g} has no effect: mix.schedule is {mix.schedule}")
    lines += _learned_lines(study)
    if mix.schedule == "step" and mix.step_at in (0, 1) and "mix.step_at" not in searched:
        lines.append(f"mix.step_at {mix.step_at:g}: the mixing ratio never changes within the training")
    lines += _idle_teacher(study)
    if study.train.consistency and not ((plan.corpus.queries >= 0).sum(axis=1) > 1).any():
        lines.append("train.consistency has no effect: no training group has its query in two languages")
    if mix.align_share and not plan.align_batches(study.train.max_steps):
        lines.append(f"mix.align_share {mix.align_share:g}: no align batch within {study.train.max_steps} steps")
    return lines


def _idle_teacher(study: Study) -> list[str]:
    """Return lines on settings of a teacher that change nothing."""
    train, searched, lines = study.train, study.search.space, []
    teaches = any(taught_trials(study))
    for name in ("teacher", "teacher_languages"):
        if (getattr(train, name) or f"train.{name}" in searched) and not teaches:
            why = "train.distil null" if train.distil is None else "train.distil_from data"
            lines.append(f"train.{name} has no effect: mix.align_share is 0, and {why}")
    for name in ("distil_from", "distil_temperature"):
        if getattr(train, name) != getattr(Train(), name) and train.distil is None and "train.distil" not in searched:
            lines.append(f"train.{name} has no effect: train.distil is null")
    if train.teacher_projection == "kept" and projected_width(study) is None:
        lines.append("train.teacher_projection has no effect: the teacher's vectors have the width of the encoder's")
    return lines


def _answer_set_lines(study: Study, corpus: Corpus) -> list[str]:
    """Return a line on answer sets that are ignored, or may be: whether there is anything to be ignored."""
    if study.train.answer_sets == "apart" and "train.answer_sets" not in study.search.space:
        return []
    sizes = np.bincount(corpus.answer_sets)
    groups, negatives = int(sizes[sizes > 1].sum()), 0
    if study.train.negatives or "train.negatives" in study.search.space:
        negatives = int(np.count_nonzero(corpus.negative_answer_sets >= 0))
    if not groups and not negatives:
        return ["train.answer_sets has no effect: no training group, and no hard negative, answers another's query"]
    return [
        f"train.answer_sets ignored: {groups:,} of {len(corpus.answer_sets):,} groups and {negatives:,} of "
        f"{len(corpus.negative_texts):,} hard negatives answer queries of other groups, and may be their negatives"
    ]


def _learned_lines(study: Study) -> list[str]:
    """Return lines on a learned mix: what is not known before it runs, and settings of it without effect."""
    mix, default = study.mix, Mix()
    if not study.has_learned_mix:
        given = [name for name in Mix.model_fields if name.startswith("learned_")]
        idle = [name for name in given if getattr(mix, name) != getattr(default, name)]
        return [f"mix.{name} has no effect: no training has mix.schedule learned" for name in idle]
    changes = -(-study.train.max_steps // study.eval_steps) - 1
    lines = []
    if mix.schedule == LEARNED:
        lines.append(
            f"mix.schedule learned: the batches shown are those of the first ratio; it can change {changes} times, "
            f"after each score (train.eval_steps {study.eval_steps:,})"
        )
    if changes < _FEW_CHANGES:
        lines.append(f"a learned mix can change {changes} times only: a smaller train.eval_steps lets it follow sooner")
    return lines


def _idle_origins(study: Study, corpus: Corpus) -> list[str]:
    """Return lines on weights of pairs by their origin, of which the data has none."""
    mix, lines = study.mix, []
    translated = corpus.translated_queries.any() or corpus.translated_passages.any()
    if mix.translated_weight != 1 and not translated:
        lines.append("mix.translated_weight has no effect: no training text says that a machine translated it")
    if mix.bitext_weight != 1 and not (corpus.bitext().any() and mix.align_share):
        why = "mix.align_share is 0" if corpus.bitext().any() else "no training group is without a query"
        lines.append(f"mix.bitext_weight has no effect: {why}")
    return lines


def _idle_training(study: Study) -> list[str]:
    """Return lines on settings of the training that change nothing."""
    train, searched = study.train, study.search.space
    default = Train()
    given = {*searched, *(f"train.{key}" for key in Train.model_fields if getattr(train, key) != getattr(default, key))}
    lines = []
    if not train.lora_rank and "train.lora_rank" not in searched:
        names = ("train.lora_alpha", "train.lora_targets")
        lines += [f"{name} has no effect: train.lora_rank is 0" for name in names if name in given]
    if "train.freeze_dense" in given and not has_dense(study.encoder):
        lines.append("train.freeze_dense has no effect: the encoder has no Dense layer")
    if "train.temperature_range" in given and not train.learn_temperature and "train.learn_temperature" not in searched:
        lines.append("train.temperature_range has no effect: train.learn_temperature is false")
    scores = -(-train.max_steps // study.eval_steps)
    if train.patience is not None and train.patience >= scores - 1:  # the first score is always better than none
        lines.append(f"train.patience {train.patience} has no effect: there are {scores} scores, see train.eval_steps")
    return lines
