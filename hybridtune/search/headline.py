"""PURE. A finished study in one line: what was gained over the best baseline, and whether that is more than noise."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hybridtune.config import Study
from hybridtune.evaluate.metrics import direction
from hybridtune.search.repeat import BEST, BETTER, NOISE, UNKNOWN, WORSE

Trial = Mapping[str, Any]  # a TrialRow as JSON


def headline(study: Study, result: Mapping[str, Any]) -> str:
    """One line on the first objective: the best trial beside the strongest baseline.

    Args:
        study: the study file.
        result: ``best`` and ``trials`` of a finished study, and ``repeats``: the noise check; None: there is none.
    """
    metric, best = study.search.objective[0], result["best"]
    repeats = result.get("repeats")
    done = [trial for trial in result["trials"] if trial["status"] == "done" and metric in trial["metrics"]]
    if best["baseline"] is not None:
        return _baseline_won(metric, best, [trial for trial in done if trial["baseline"] is None])
    value = best["metrics"][metric]
    baselines = [trial for trial in done if trial["baseline"] is not None]
    if not baselines:
        why = "none came to its end" if study.search.baselines else "search.baselines is false"
        return f"tuned (trial {best['number']}) has {metric} {amount(metric, value)}; no baseline beside it: {why}"
    if repeats is not None and repeats["best"] == BEST and repeats["against"]:
        return _checked(metric, repeats)
    rival = _better(metric, baselines)
    gap = value - rival["metrics"][metric]
    return (
        f"tuned is {_apart(metric, gap)} {rival['baseline']} on {_told(metric)}; one seed each, noise not measured: "
        "search.repeat_best measures it"
    )


def _baseline_won(metric: str, best: Trial, searched: Sequence[Trial]) -> str:
    start = f"{best['baseline']}, a baseline, is best on {_told(metric)}"
    if not searched:
        return f"{start}: no searched trial came to its end"
    closest = _better(metric, searched)
    gap = closest["metrics"][metric] - best["metrics"][metric]
    beside = f"trial {closest['number']}, the closest, is {_apart(metric, gap)} it"
    return f"{start}: no searched trial beats it ({beside}; one seed each)"


def _checked(metric: str, repeats: Mapping[str, Any]) -> str:
    """The line of a study with a noise check: means over the fresh seeds, against the baseline with the best mean."""
    sign = 1 if direction(metric) == "max" else -1
    means = {who: repeats["contestants"][who]["metrics"][metric]["mean"] for who in repeats["against"]}
    ran = {who: mean for who, mean in means.items() if mean is not None}
    if not ran or repeats["contestants"][BEST]["metrics"][metric]["mean"] is None:
        return f"tuned could not be compared on {metric}: its repeats, or those of all baselines, failed"
    rival = max(ran, key=lambda who: sign * ran[who])
    told = repeats["against"][rival][metric]
    gap, verdict = told["difference"], told["verdict"]
    counts = [repeats["contestants"][who]["metrics"][metric]["n"] for who in (BEST, rival)]
    seeds = f"{min(counts)} seed{'s' if min(counts) > 1 else ''}"
    if verdict == UNKNOWN:
        return (
            f"tuned is {_apart(metric, gap)} {rival} on {_told(metric)} with {seeds} more; noise is not measured: that "
            "takes search.repeat_best 2 or more, and 2 topics or more"
        )
    half = (told["high"] - told["low"]) / 2
    size, noise = amount(metric, gap), amount(metric, half)
    if verdict == NOISE:
        if abs(gap) <= half:
            return (
                f"tuned and {rival} differ on {metric} by {size}, which is within the seed noise of {noise} ({seeds})"
            )
        over = f"{seeds}, {chance(told['p_topics'])}"
        return f"tuned and {rival} differ on {metric} by {size}, within the noise of the topics ({over})"
    verb = {BETTER: "beats", WORSE: "is worse than"}[verdict]
    return f"tuned {verb} {rival} on {_told(metric)} by {size} +- {noise} ({seeds}, {chance(told['p_topics'])})"


def amount(metric: str, value: float) -> str:
    """The size of a figure or of a difference, without its sign."""
    if metric.endswith("rank_distance"):
        return f"{abs(value):.1f}"
    return f"{abs(value):.3f}" if abs(value) >= 0.0095 or not value else f"{abs(value):.2g}"


def chance(p: float) -> str:
    """A p value; cut, not rounded: 0.0496 must not read 0.050 beside a verdict."""
    return f"p {math.floor(p * 1000 + 1e-9) / 1000:.3f}" if p >= 0.001 else "p < 0.001"


def _told(metric: str) -> str:
    return metric if direction(metric) == "max" else f"{metric} (less is better)"


def _apart(metric: str, gap: float) -> str:
    """``0.031 above``, as what follows is read after it."""
    return f"{amount(metric, gap)} {'above' if gap > 0 else 'below'}" if gap else "no better than"


def _better(metric: str, trials: Sequence[Trial]) -> Trial:
    sign = 1 if direction(metric) == "max" else -1
    return max(trials, key=lambda trial: sign * trial["metrics"][metric])
