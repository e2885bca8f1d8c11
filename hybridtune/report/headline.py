"""PURE. The line that a study ends with: how far the tuned trial is above the strongest fixed ratio, and by what.

The whole gain is over that ratio with the study file's values. Its one part comes from the mix: tuned less the ratio
with tuned's other values; its other part from these values: the ratio with them less the ratio with the file's. The
terminal and the report show the line, and ``result.json`` holds it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hybridtune.config.names import FIXED_ARMS, TUNED
from hybridtune.config.study import Study
from hybridtune.metrics.metrics import direction
from hybridtune.metrics.names import is_distance
from hybridtune.storage.trial_rows import TrialRow

BETTER, WORSE, NOISE, UNKNOWN = "better", "worse", "within noise", "not measured"


@dataclass(frozen=True)
class Share:
    """A part of the gain over the strongest fixed ratio, on the first objective.

    Where it was trained with fresh seeds, ``half`` is half its 95 % interval, and ``p`` that of the paired test over
    topics or documents, of a setting corrected for the three settings; else both are None. A part is credited where
    ``verdict`` is ``better``. ``not_above`` names the contestant over which the gain is not shown, though it is over
    the ratio with the same values.
    """

    amount: float
    half: float | None = None
    p: float | None = None
    verdict: str = UNKNOWN
    not_above: str | None = None


@dataclass(frozen=True)
class Gain:
    """The tuned trial less the strongest fixed ratio with the file's values, and the two parts of that.

    ``seeds`` are the fresh ones of the noise check, of which all amounts are means; 0: one run each, the first.
    ``unit`` is what its test pairs, topics or documents. ``benchmark`` gave the amounts: ``test`` where there is one,
    since the ``dev`` figures chose the tuned trial and favour it.
    """

    metric: str
    reference: str  # the strongest fixed ratio
    total: float
    mix: Share
    other_values: Share
    seeds: int
    unit: str = ""
    benchmark: str = "dev"


def gain(study: Study, result: Mapping[str, Any]) -> Gain | None:
    """Return what the tuned trial gains and by what; None where one of the three contestants is missing.

    The mix is credited where tuned beats the strongest fixed ratio at the same other values, and the fixed ratio, as it
    was searched, with the best mean over fresh seeds, both by the noise check's rule; the other values by this rule.

    Args:
        study: the study file.
        result: ``contestants`` (trial id by name), ``reference`` (`search.arms.Reference` as a dict), ``trials``, each
            a `TrialRow` as a dict, and where they were made ``contestant_scores`` (`report.contestants`), and
            ``repeats``, the noise check on dev.
    """
    metric, beside, who = study.search.objective[0], result["reference"], result["contestants"]
    if beside is None or TUNED not in who or None in (beside["same_values"], beside["file_values"]):
        return None
    arm, same, file = beside["arm"], beside["same_values"], beside["file_values"]
    benchmark, repeats = noise_check(result)
    if repeats is None:
        benchmark, first = _first_runs(metric, result)
        tuned, at_same, at_file = (first[name] for name in (TUNED, same, file))
        mix, values = Share(tuned - at_same), Share(at_same - at_file)
        return Gain(metric, arm, tuned - at_file, mix, values, 0, benchmark=benchmark)
    found = {name: repeats["contestants"][name]["metrics"][metric] for name in (TUNED, same, file)}
    if any(one["mean"] is None for one in found.values()):
        return None
    mix, values = _share(repeats["against"][same][metric]), _share(repeats["other_values"][metric])
    rival = _strongest(metric, repeats)
    if mix.verdict == BETTER and rival is not None:
        over = repeats["against"][rival][metric]["verdict"]
        if over != BETTER:
            mix = Share(mix.amount, mix.half, mix.p, UNKNOWN if over == UNKNOWN else NOISE, rival)
    seeds = min(one["n"] for one in found.values())
    total = found[TUNED]["mean"] - found[file]["mean"]
    return Gain(metric, arm, total, mix, values, seeds, repeats["unit"], benchmark)


def noise_check(result: Mapping[str, Any]) -> tuple[str, Mapping[str, Any] | None]:
    """Return the benchmark of the noise check, and the check itself: where the contestants were scored, else on dev.

    Args:
        result: as `gain` takes it.
    """
    scored = result.get("contestant_scores") or {}
    if scored.get("seeds"):
        return scored["benchmark"], scored["seeds"]
    return "dev", result.get("repeats")


def _first_runs(metric: str, result: Mapping[str, Any]) -> tuple[str, dict[str, float]]:
    """Return which benchmark scored the contestants last, and what each has there, by name."""
    scored = result.get("contestant_scores")
    if scored is not None:
        rows = {row["contestant"]: row["metrics"] for row in scored["rows"]}
        found = {name: rows[name][metric]["value"] for name in result["contestants"] if metric in rows.get(name, {})}
        if len(found) == len(result["contestants"]):
            return scored["benchmark"], found
    by_id = {trial["id"]: trial["metrics"].get(metric) for trial in result["trials"]}
    return "dev", {name: by_id[trial] for name, trial in result["contestants"].items()}


def _share(versus: Mapping[str, Any]) -> Share:
    low, high = versus["low"], versus["high"]
    half = None if low is None or high is None else (high - low) / 2
    return Share(versus["difference"], half, versus["p_holm"], versus["verdict"])


def _strongest(metric: str, repeats: Mapping[str, Any]) -> str | None:
    """Return the fixed ratio, as it was searched, with the best mean over fresh seeds."""
    sign = 1 if direction(metric) == "max" else -1
    who = repeats["contestants"]
    means = {arm: who[arm]["metrics"][metric]["mean"] for arm in FIXED_ARMS if arm in who}
    known = {arm: sign * mean for arm, mean in means.items() if mean is not None}
    return max(known, key=lambda arm: known[arm], default=None)


def headline(study: Study, result: Mapping[str, Any]) -> str:
    """Return one line on the first objective: the tuned trial beside the strongest fixed ratio, and what gains what.

    Args:
        study: the study file.
        result: as `gain` takes it, with ``best``: a `TrialRow` as a dict.
    """
    metric, best = study.search.objective[0], result["best"]
    among = " of those that meet the constraints" if study.search.constraints else ""
    best_of = f"{TrialRow(**best).label}, of a fixed ratio, is best{among} on {_named(metric)}; "
    won = "" if best["arm"] == TUNED else best_of
    found = gain(study, result)
    if found is None:
        return won + _not_compared(metric, study, result)
    where = " of the test benchmark" if found.benchmark == "test" else ""
    above = f"{_apart(metric, found.total)} {found.reference} with the file's values"
    line = f"{won}tuned is {above} on {_named(metric)}{where}"
    if not found.seeds:
        parts = f"{_signed(metric, found.mix.amount)} from the mix, {_signed(metric, found.other_values.amount)}"
        return (
            f"{line}: {parts} from the other values; one seed each, noise not measured: search.repeat_best measures it"
        )
    seeds = f"{found.seeds} seed{'s' if found.seeds > 1 else ''} each"
    mix = _part(found, "the mix", found.mix)
    if result["reference"]["same_values"] == result["reference"]["file_values"]:
        return f"{line} ({seeds}): {mix}; its other values are the file's"
    return f"{line} ({seeds}): {mix}; {_part(found, 'the other values', found.other_values)}"


def _part(found: Gain, what: str, share: Share) -> str:
    metric = found.metric
    amount = f"{_signed(metric, share.amount)} from {what}"
    if share.half is None or share.p is None or share.verdict == UNKNOWN:
        return f"{amount}, noise not measured (that takes search.repeat_best 2 or more, and 2 topics or documents)"
    sure = f"{chance(share.p)} by {found.unit}"
    figures = f"{_signed(metric, share.amount)} +- {_amount(metric, share.half)} from {what} ({sure})"
    if share.not_above is not None:
        return f"{figures}, not shown over {share.not_above} as it was searched"
    return figures + {BETTER: "", WORSE: ", a loss", NOISE: ", within noise"}[share.verdict]


def _not_compared(metric: str, study: Study, result: Mapping[str, Any]) -> str:
    """Return the line of a study that lacks a contestant."""
    who, best = result["contestants"], result["best"]
    value = f"{TrialRow(**best).label} has {metric} {_amount(metric, best['metrics'][metric])}"
    if study.search.arms == "none":
        return f"{value}; no fixed ratio beside it: search.arms is none"
    if TUNED not in who:
        return f"{value}; no trial with a searched ratio came to its end"
    repeats = noise_check(result)[1]
    lacking = "its repeats, or those of a fixed ratio, failed" if repeats else "no fixed ratio came to its end"
    return f"{value}; it could not be compared: {lacking}"


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


def _signed(metric: str, value: float) -> str:
    return f"{'+' if value >= 0 else '-'}{_amount(metric, value)}"
