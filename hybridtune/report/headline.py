"""PURE. The line that a study ends with: the best trial beside the strongest baseline, and whether that is noise.

The terminal prints it and `result.json` holds it; the report writes it of a study that has not ended too.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hybridtune.config.study import Study
from hybridtune.metrics.metrics import direction
from hybridtune.metrics.names import is_distance

BEST = "best"  # the name of the chosen trial in a seed check; a baseline has its own
BETTER, WORSE, NOISE, UNKNOWN = "better", "worse", "within noise", "not measured"

Trial = Mapping[str, Any]


def headline(study: Study, result: Mapping[str, Any]) -> str:
    """Return one line on the first objective: the best trial beside the strongest baseline.

    Args:
        study: the study file.
        result: ``best`` and ``trials``, each a `TrialRow` as a dict, and ``repeats``: the seed check; None: not made.
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
        return f"tuned (trial {best['number']}) has {metric} {_amount(metric, value)}; no baseline beside it: {why}"
    if repeats is not None and repeats["best"] == BEST and repeats["against"]:
        return _checked(metric, repeats)
    rival = _better(metric, baselines)
    gap = value - rival["metrics"][metric]
    return (
        f"tuned is {_apart(metric, gap)} {rival['baseline']} on {_named(metric)}; one seed each, noise not measured: "
        "search.repeat_best measures it"
    )


def _baseline_won(metric: str, best: Trial, searched: Sequence[Trial]) -> str:
    start = f"{best['baseline']}, a baseline, is best on {_named(metric)}"
    if not searched:
        return f"{start}: no searched trial came to its end"
    closest = _better(metric, searched)
    gap = closest["metrics"][metric] - best["metrics"][metric]
    beside = f"trial {closest['number']}, the closest, is {_apart(metric, gap)} it"
    return f"{start}: no searched trial beats it ({beside}; one seed each)"


def _checked(metric: str, repeats: Mapping[str, Any]) -> str:
    """Return the line of a study with a seed check: means over its seeds, against the baseline with the best mean."""
    sign = 1 if direction(metric) == "max" else -1
    means = {who: repeats["contestants"][who]["metrics"][metric]["mean"] for who in repeats["against"]}
    ran = {who: mean for who, mean in means.items() if mean is not None}
    if not ran or repeats["contestants"][BEST]["metrics"][metric]["mean"] is None:
        return f"tuned could not be compared on {metric}: its repeats, or those of all baselines, failed"
    rival = max(ran, key=lambda who: sign * ran[who])
    found = repeats["against"][rival][metric]
    gap, verdict = found["difference"], found["verdict"]
    counts = [repeats["contestants"][who]["metrics"][metric]["n"] for who in (BEST, rival)]
    seeds = f"{min(counts)} seed{'s' if min(counts) > 1 else ''}"
    if verdict == UNKNOWN:
        return (
            f"tuned is {_apart(metric, gap)} {rival} on {_named(metric)} with {seeds} more; noise is not measured: "
            "that takes search.repeat_best 2 or more, and 2 topics or documents"
        )
    half = (found["high"] - found["low"]) / 2
    size, noise = _amount(metric, gap), _amount(metric, half)
    unit = repeats["unit"]
    over = f"{chance(found['p_units'])} by {unit}"
    if verdict == NOISE:
        if abs(gap) <= half:
            return (
                f"tuned and {rival} differ on {metric} by {size}, which is within the seed noise of {noise} ({seeds})"
            )
        return f"tuned and {rival} differ on {metric} by {size}, within the noise of the {unit}s ({seeds}, {over})"
    verb = {BETTER: "beats", WORSE: "is worse than"}[verdict]
    return f"tuned {verb} {rival} on {_named(metric)} by {size} +- {noise} ({seeds}, {over})"


def _amount(metric: str, value: float) -> str:
    """Return the size of a figure or of a difference, without its sign."""
    if is_distance(metric):
        return f"{abs(value):.1f}"
    return f"{abs(value):.3f}" if abs(value) >= 0.0095 or not value else f"{abs(value):.2g}"


def chance(p: float) -> str:
    """Return a p value as text; cut, not rounded: 0.0496 must not read 0.050 beside a verdict."""
    return f"p {math.floor(p * 1000 + 1e-9) / 1000:.3f}" if p >= 0.001 else "p < 0.001"


def _named(metric: str) -> str:
    return metric if direction(metric) == "max" else f"{metric} (less is better)"


def _apart(metric: str, gap: float) -> str:
    """Return ``0.031 above``, which a name follows."""
    return f"{_amount(metric, gap)} {'above' if gap > 0 else 'below'}" if gap else "no better than"


def _better(metric: str, trials: Sequence[Trial]) -> Trial:
    sign = 1 if direction(metric) == "max" else -1
    return max(trials, key=lambda trial: sign * trial["metrics"][metric])
