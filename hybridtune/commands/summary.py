"""What a command says before it starts and after it ends: tables, counts, where things are, what to type next."""

from collections.abc import Mapping
from typing import Any

from hybridtune.commands.prepare import Prepared, data_table, notices
from hybridtune.commands.scores import groups_table
from hybridtune.commands.show import Screen, plain_table, trials_table
from hybridtune.config import Study
from hybridtune.data.table import describe
from hybridtune.search.space import BASELINES
from hybridtune.search.watch import TrialRow
from hybridtune.study_file import dump_study


def announce(prepared: Prepared, screen: Screen) -> None:
    """A few lines on what is about to run."""
    study, corpus, dev = prepared.study, prepared.corpus, prepared.benchmarks["dev"]
    pairs = corpus.pair_counts()
    mono = int(pairs.diagonal().sum())
    screen.line(
        f"{study.name}: {len(corpus.queries):,} groups in {len(corpus.languages)} languages, "
        f"{mono:,} mono and {int(pairs.sum()) - mono:,} cross pairs"
    )
    screen.line(f"dev benchmark: {len(dev.queries):,} queries, {len(dev.passages):,} passages")
    for notice in notices(prepared):
        screen.line(notice)


def describe_plan(prepared: Prepared) -> dict[str, Any]:
    """What ``--dry-run`` tells, as JSON."""
    study = prepared.study
    return {
        "study": study.model_dump(mode="json"),
        "languages": data_table(prepared.corpus),
        "benchmarks": {
            name: {"queries": len(b.queries), "passages": len(b.passages), "settings": list(b.settings())}
            for name, b in prepared.benchmarks.items()
        },
        "objectives": dict(prepared.goals),
        "plan": describe(prepared.plan, study.train.max_steps),
        "notices": notices(prepared),
        "trials": (len(BASELINES) if study.search.baselines else 0) + study.search.trials,
        "concurrent_trials": prepared.offered.concurrent_trials,
        "evaluators": prepared.offered.evaluators,
    }


def show_plan(prepared: Prepared, described: Mapping[str, Any], screen: Screen) -> None:
    """``--dry-run`` for people."""
    print_to = screen.console.print
    print_to(dump_study(prepared.study), markup=False)
    print_to(plain_table(described["languages"], "training pairs"))
    announce(prepared, screen)
    plan, mix = described["plan"], prepared.study.mix
    print_to(plain_table(plan["table"], f"batches of the fixed values, {prepared.study.train.max_steps} steps"))
    screen.line(f"mixing ratio asked {plan['asked_ratio']:.4g}, realised {plan['realised_ratio']:.4f}")
    if mix.align_share:
        screen.line(f"align share asked {mix.align_share:g}, realised {plan['realised_align_share']:.4f}")
    screen.line(
        f"{described['trials']} trials, {described['concurrent_trials']} at once, "
        f"{described['evaluators']} evaluator actors; nothing was started or written"
    )


def study_summary(study: Study, result: Mapping[str, Any], screen: Screen) -> None:
    """The table of trials, the best values, and where everything is."""
    rows = [TrialRow(**trial) for trial in result["trials"]]
    best = result["best"]
    screen.console.print(trials_table(study.search.objective, rows, best["id"]))
    screen.console.print(
        "* best; ratio: share of mono batches; mono, cross, multi: AP on the dev benchmark; x: stopped early",
        style="dim",
    )
    name = best["baseline"] or f"trial {best['number']}"
    values = ", ".join(
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in best["values"].items()
    )
    screen.console.print(f"best: {name} ({values})", soft_wrap=True, markup=False)
    if len(result["front"]) > 1:
        screen.console.print(f"Pareto front: {', '.join(result['front'])}", markup=False)
    _where(result, screen)


def train_summary(result: Mapping[str, Any], screen: Screen) -> None:
    """The scores of one fit, and where its model is."""
    shown = {key: value for key, value in result["metrics"].items() if "/" in key}
    rows = [{"metric": key, "dev": f"{value:.4f}"} for key, value in shown.items()]
    screen.console.print(plain_table(rows, "dev benchmark"))
    _where(result, screen)


def _where(result: Mapping[str, Any], screen: Screen) -> None:
    test = result["test"]
    if test is not None:
        metrics = test["metrics"]
        shown = [f"{key} {metrics[key]:.4f}" for key in ("mono/AP", "cross/AP", "multi/AP") if key in metrics]
        if "multi/rank_distance" in metrics:
            shown.append(f"rank distance {metrics['multi/rank_distance']:.1f}")
        queries = max(test["counts"]["queries"].values())
        screen.console.print(f"test benchmark ({queries:,} queries): {', '.join(shown)}", soft_wrap=True)
        if len(test["groups"]) > 1:
            screen.console.print(groups_table(test["groups"], ["AP", "nDCG@10", "R@10"]))
    screen.console.print(f"model: {result['model']}", soft_wrap=True)
    screen.console.print(f"study: {result['study']}", soft_wrap=True)
    screen.console.print(f"next:  hybridtune evaluate {result['model']} --benchmark PATH", soft_wrap=True)
