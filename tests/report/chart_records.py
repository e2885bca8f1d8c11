"""Study records made by hand, for the tests of the charts."""

import json
import math

import optuna

from hybridtune.config.names import short_name
from hybridtune.config.study import Study
from hybridtune.metrics.metrics import direction
from hybridtune.report.record import StudyRecord, TrialRecord, _contestants
from hybridtune.storage.trial_rows import pareto_front

ARMS = {"mono-only": 1.0, "half-half": 0.5, "cross-only": 0.0}
LANGUAGES = ("en", "de", "sw")


def trial_of(number, ratio, *, arm="tuned", status="done", values=None, **metrics):
    """A trial whose metrics are given with _ for /, as mono_AP=.5."""
    named = {name.replace("_", "/", 1): value for name, value in metrics.items()}
    searched = {"mix.mixing_ratio": ratio, "train.temperature": 0.05} if values is None else values
    return TrialRecord(
        id=f"{number:04}",
        number=number,
        arm=arm,
        values=searched,
        metrics=named,
        status=status,
        seconds=100.0,
        began=1e9 + 100 * number,
        history=[{"step": step, "loss": 1 / step, **named} for step in (10, 20)],
    )


def curved_trials(count, wobble=0.001):
    """Trials of all arms whose balanced/AP peaks at a ratio of 0.5 and falls to both ends."""
    ratios = [*ARMS.values(), *((i + 0.5) / count for i in range(count))]
    names = [*ARMS, *(["tuned"] * count)]
    return [
        trial_of(
            number,
            ratio,
            arm=name,
            values={"mix.mixing_ratio": ratio, "train.temperature": 0.02 * 1.3 ** (number % 7)},
            mono_AP=0.8 + 0.1 * ratio,
            cross_AP=0.6 - 0.3 * ratio,
            multi_AP=0.5 - 0.2 * ratio,
            multi_rank_distance=100 + 200 * ratio,
            balanced_AP=0.6 - (ratio - 0.5) ** 2 + wobble * math.sin(9 * number),
        )
        for number, (ratio, name) in enumerate(zip(ratios, names, strict=True))
    ]


def record_of(
    trials, objective=("balanced/AP",), low_resource=(), space=("mix.mixing_ratio", "train.temperature"), ledger=None
):
    """A record that has read these trials, with the best as a study chooses it."""
    ranges = {"mix.mixing_ratio": {"uniform": [0.0, 1.0]}, "train.temperature": {"loguniform": [0.01, 0.2]}}
    study = Study.model_validate(
        {
            "name": "small",
            "data": {"train": "newsroom:train"},
            "benchmarks": {"dev": {"path": "newsroom:dev"}},
            "low_resource": list(low_resource),
            "search": {"objective": list(objective), "space": {name: ranges[name] for name in space}},
        }
    )
    goals = {name: str(direction(name)) for name in objective}
    front = pareto_front([trial for trial in trials if trial.status == "done"], goals)
    first, mode = next(iter(goals.items()))
    best = max(front, key=lambda t: t.metrics[first] * (1 if mode == "max" else -1)) if front else None
    return StudyRecord(
        folder=None,
        location="",
        study=study,
        goals=goals,
        trials=list(trials),
        best=best,
        contestants=_contestants(list(trials), goals, None, []),
        reference=None,
        front=front,
        environment={},
        result=None,
        repeats=None,
        optuna_study=ledger,
        state="finished",
    )


def ledger_of(trials, objective=("balanced/AP",), distributions=None):
    """Optuna's study of the same trials; stopped ones are pruned."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    modes = ["maximize" if direction(name) == "max" else "minimize" for name in objective]
    ledger = optuna.create_study(directions=modes)
    ranges = distributions or {
        "mixing_ratio": optuna.distributions.FloatDistribution(0, 1),
        "temperature": optuna.distributions.FloatDistribution(0.01, 0.2, log=True),
    }
    for trial in trials:
        done = trial.status == "done"
        between = {int(e["step"]): e[objective[0]] for e in trial.history} if len(objective) == 1 else {}
        ledger.add_trial(
            optuna.trial.create_trial(
                params={short_name(name): value for name, value in trial.values.items()},
                distributions=ranges,
                values=[trial.metrics[name] for name in objective] if done else None,
                state=optuna.trial.TrialState.COMPLETE if done else optuna.trial.TrialState.PRUNED,
                intermediate_values=between,
                user_attrs={"arm": trial.arm},
            )
        )
    return ledger


def scores_of(pairs, over_represented=None, names=LANGUAGES):
    """The fields of Scores with this AP by pair; 40 queries each."""
    cells = {pair: {"queries": 40, "AP": value} for pair, value in pairs.items()}
    alone = {name: cells[f"{name}-{name}"] for name in names if f"{name}-{name}" in cells}
    return {
        "metrics": {},
        "per_language": {"mono": alone, "multi": alone},
        "per_pair": cells,
        "counts": {
            "queries": {"mono": 120, "cross": 120, "multi": 120},
            "passages": 300,
            "passages_per_language": dict.fromkeys(names, 100),
        },
        "outranked": {},
        "over_represented": over_represented or {},
        "notes": [],
    }


def plan_of(requested, realised, rows=(), steps=100):
    """The part of plan.json that charts read; rows of (kind, pair, pairs, groups)."""
    table = [dict(zip(("kind", "pair", "pairs", "groups"), row, strict=True)) for row in rows]
    return {"steps": steps, "requested_ratio": requested, "realised_ratio": realised, "table": table}


def traces_of(chart, mode):
    """Traces of a chart's figure that have this mode."""
    return [trace for trace in chart.figure.data if trace.mode == mode]


def strict_json(figure):
    """A figure as JSON that a browser reads: no NaN, no Infinity."""

    def refuse(name):
        raise AssertionError(name)

    return json.loads(figure.to_json(), parse_constant=refuse)


def contrast(one, other):
    """The contrast of two colours, each of three parts up to 255, by WCAG's definition."""

    def luminance(colour):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (part / 255 for part in colour)]
        return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)
