"""The tables of the report on what was requested and what was realised: trials, ratios, pairs, versions, commands."""

import shlex
import time
from collections import Counter
from collections.abc import Sequence

from hybridtune.config.languages import readings
from hybridtune.config.names import FIXED_ARMS, ORIGINS, TUNED
from hybridtune.report.record import StudyRecord
from hybridtune.report.sentences import status_counts
from hybridtune.report.soups import merge_command
from hybridtune.report.text import Cell, Table, Value, counted, format_duration, format_metric, format_value
from hybridtune.storage.events import SHOWN, history
from hybridtune.storage.files import is_remote, join
from hybridtune.storage.trial_rows import spent, wall_seconds


def requested_vs_realised(record: StudyRecord) -> Table:
    """Return what the study file requested beside what the trials realised."""
    search, trials = record.study.search, record.trials
    ran = format_duration(wall_seconds(trials))
    last_steps = [max([e["step"] for e in t.history] or [t.metrics.get("step", 0)]) for t in trials]
    steps, reached = f"{sum(last_steps):,.0f}", [t.metrics["step"] for t in trials if "step" in t.metrics]
    low, high = min(reached, default=0), max(reached, default=0)
    reach = "none yet" if not reached else f"{low:,.0f}" if low == high else f"{low:,.0f} to {high:,.0f}"
    rows: list[Sequence[Value]] = [
        *_arms(record),
        ["steps of a trial", f"{record.study.train.max_steps:,}", reach],
    ]
    screened_steps = spent(record.screened)[1]
    used = {
        "time_budget": format_duration(wall_seconds([*record.screened, *trials])),
        "step_budget": f"{sum(last_steps) + screened_steps:,.0f}",
    }
    rows += [
        [name.replace("_", " "), format_value(getattr(search, name)), text]
        for name, text in used.items()
        if getattr(search, name) is not None
    ]
    rows += [["time with a trial running", "", ran], ["steps of all trials", "", steps]]
    plans = [(trial, trial.plan) for trial in trials if trial.plan is not None]
    if plans:
        apart = max(abs(plan["requested_ratio"] - plan["realised_ratio"]) for _, plan in plans)
        rows.append(["mixing ratio, largest distance in a plan", "0", f"{apart:.4f} ({len(plans)} trials)"])
    for trial, plan in plans:
        if trial is record.best or trial in record.contestants.values():
            realised = trial.metrics.get("realised_ratio", plan["realised_ratio"])
            rows.append([f"mixing ratio, {trial.label}", f"{plan['requested_ratio']:.4f}", f"{realised:.4f}"])
    rows += _origins(record) + _held_out(record)
    if search.screening is not None:
        asked = f"{search.screening.trials} an arm, of {search.screening.layers} layers"
        ran = f"{status_counts(record.screened)}; {screened_steps:,} steps"
        rows.append(["screened trainings", asked, ran])
    if search.repeat_best:
        rows.append(["seeds of the noise check", f"{search.repeat_best}", "run" if record.repeats else "not run yet"])
    return Table(
        "What the study requested, and what was realised", ["what", "requested", "realised"], [*rows, *_queries(record)]
    )


def training_pairs(record: StudyRecord) -> Table | None:
    """Return batches and pairs of each language pair in the best trial's plan; None where the plan is gone."""
    best = record.best
    if best is None or best.plan is None:
        return None
    parts = {"data_set": "data set", "origin": "origin"}
    columns = {"pair": "pair", "kind": "kind"}
    columns |= {key: name for key, name in parts.items() if any(key in row for row in best.plan["table"])}
    columns |= {"batches": "batches", "pairs": "pairs seen", "groups": "distinct pairs", "epochs": "epochs"}
    rows: list[Sequence[Value]] = [
        [Cell(f"{row[key]:.2f}", row[key]) if key == "epochs" else row[key] for key in columns]
        for row in best.plan["table"]
    ]
    note = (
        f"The plan of {best.label}: {best.plan['steps']:,} steps of {best.plan['batch_size']} pairs. A pair is named "
        "query language first. Batches are those that hold such a pair: a cross batch counts for each pair in it."
    )
    return Table("Training pairs by language pair", list(columns.values()), rows, note, sortable=True)


def languages(record: StudyRecord) -> Table | None:
    """Return each language's training pairs beside its scores; None before there is a best trial with a plan."""
    best = record.best
    if best is None or best.plan is None:
        return None
    scores = best.scores or {"per_language": {"mono": {}, "multi": {}}, "counts": {"passages_per_language": {}}}
    pairs = Counter({pair: distinct for pair, (distinct, _) in (best.training_pairs() or {}).items()})
    halves = [(pair[: len(pair) // 2], pair) for pair in pairs]
    trained = [half for half, pair in halves if pair == f"{half}-{half}"]
    names = list(dict.fromkeys([*scores["counts"]["passages_per_language"], *trained]))
    origins = {name: found for name in ("translated", "bitext") if (found := best.pairs_of(name))}
    low = set(record.study.low_resource_languages)
    mono, multi = scores["per_language"]["mono"], scores["per_language"]["multi"]
    rows = [
        [
            f"{name}{' (low-resource)' if name in low else ''}",
            pairs[f"{name}-{name}"],
            sum(pairs[f"{name}-{other}"] for other in names if other != name),
            sum(pairs[f"{other}-{name}"] for other in names if other != name),
            *(_touching(name, found, names) for found in origins.values()),
            mono.get(name, {}).get("queries") or multi.get(name, {}).get("queries"),
            _score("mono/AP", mono.get(name, {}).get("AP")),
            _score("multi/AP", multi.get(name, {}).get("AP")),
            _score("multi/rank_distance", multi.get(name, {}).get("rank_distance")),
        ]
        for name in names
    ]
    columns = ["language", "mono pairs", "cross as query", "as passage", *origins, "queries"]
    note = (
        f"Distinct question-passage pairs that {best.label} trained on (0 is zero-shot), and its means on the dev "
        "benchmark by language of the query."
    )
    if origins:
        note += " Translated, and bitext: of the pairs with the language on either side, those of align batches too."
    return Table(
        "Languages by training pairs and scores",
        [*columns, "mono/AP", "multi/AP", "multi/rank_distance"],
        rows,
        note,
        sortable=True,
    )


def _touching(language: str, pairs: Counter[str], languages: Sequence[str]) -> int:
    """Count the pairs that have a language on either side."""
    both = {f"{language}-{other}" for other in languages} | {f"{other}-{language}" for other in languages}
    return sum(pairs[pair] for pair in both)


def environment(record: StudyRecord) -> Table:
    """Return versions and hardware."""
    found = record.environment
    rows: list[Sequence[Value]] = [["seed", str(record.study.seed)]]
    rows += [[name, str(found[name])] for name in ("python", "machine", "cpus", "gpus") if found.get(name) is not None]
    rows += [[name, str(version)] for name, version in (found.get("packages") or {}).items() if version]
    return Table("Environment", ["what", "version or value"], rows)


def happened(record: StudyRecord) -> Table | None:
    """Return the runs of the study, what cut them off, and lost workers; None where it went through in one run."""
    shown = [one for one in record.events if one.kind in SHOWN]
    if all(one.kind in ("began", "ended") for one in shown):
        return None
    rows: list[Sequence[Value]] = [
        [time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(one.time)), one.text, one.repeated] for one in shown
    ]
    known = history(record.events)
    note = (
        f"{counted(known['runs'], 'run')}, {known['repeated_steps']:,} steps trained again; of a run that was killed "
        "it is not known how many."
    )
    return Table("What happened to the study", ["when", "what", "steps trained again"], rows, note)


def commands(record: StudyRecord) -> list[tuple[str, str]]:
    """Return the command lines that take the study further, and what each does."""
    folder = shlex.quote(record.location)
    model = shlex.quote(join(record.location, "best"))
    found = []
    if not record.finished:
        study = "STUDY.yaml" if is_remote(record.location) else shlex.quote(str(record.folder / "study.yaml"))
        found.append((f"hybridtune run {study} --out {folder}", "go on with this study"))
    else:
        found.append((f"hybridtune evaluate {model} --benchmark PATH", "score the best model on another benchmark"))
    rival = record.contestants.get("half-half")
    if record.best is not None and rival is not None and rival is not record.best:
        one, other = (shlex.quote(join(record.location, "trials", t.id)) for t in (rival, record.best))
        found.append((f"hybridtune compare {one} {other}", "test the best against half-half, query by query"))
    if record.finished:
        found.append((f"hybridtune export {folder} --onnx", "the best model as an ONNX graph"))
    if (soup := record.best_soup) is not None:
        found.append((merge_command(record.location, soup), "the best soup as a model folder"))
    found.append((f"hybridtune dashboard {folder}", "optuna-dashboard and TensorBoard on this study"))
    for name, scheme in (("optuna.db", "sqlite:///"), ("optuna.log", "")):
        if (record.folder / name).is_file() and not is_remote(record.location):
            url = shlex.quote(f"{scheme}{record.folder / name}")
            found.append((f"optuna-dashboard {url}", "every trial in Optuna's own dashboard"))
    found.append((f"hybridtune report {folder}", "write this page anew"))
    return found


def _origins(record: StudyRecord) -> list[Sequence[Value]]:
    """Return how many pairs of each origin the best trial has drawn, where it has drawn others than native ones."""
    best = record.best
    drawn = {} if best is None else {name: best.pairs_of(name, "pairs").total() for name in ORIGINS}
    if best is None or not any(drawn[name] for name in ORIGINS[1:]):
        return []
    weights = (f"{name} weight {record.value(best, f'mix.{name}_weight'):g}" for name in ORIGINS[1:])
    counts = ", ".join(f"{count:,} {name}" for name, count in drawn.items() if count)
    return [[f"pairs by origin, {best.label}", ", ".join(weights), counts]]


def _held_out(record: StudyRecord) -> list[Sequence[Value]]:
    """Return what the best trial has drawn of the pairs that the study holds out."""
    best, pairs = record.best, record.study.data.unseen_pairs
    if best is None or best.plan is None or not pairs:
        return []
    sides = [sides for pair in pairs for sides in readings(pair) if len(sides) == 2]
    both = {name for query, passage in sides for name in (f"{query}-{passage}", f"{passage}-{query}")}
    drawn = sum(best.pairs_of(name, "pairs")[pair] for name in ORIGINS for pair in both)
    return [[f"pairs of {', '.join(pairs)}, in either direction, {best.label}", "0 (held out)", f"{drawn:,} drawn"]]


def _arms(record: StudyRecord) -> list[Sequence[Value]]:
    """Return the trials of each arm, and the trainings after the search."""
    search = record.study.search
    arms = [*FIXED_ARMS, TUNED] if search.arms == "searched" else [TUNED]
    rows: list[Sequence[Value]] = []
    for arm in arms:
        own = [trial for trial in record.trials if trial.arm == arm and trial.proposed != "rerun"]
        rows.append([f"trials, {arm}", f"{search.trials:,}", status_counts(own)])
    after = [trial for trial in record.trials if trial.proposed == "rerun"]
    return [*rows, ["trials after the search", "", status_counts(after)]] if after else rows


def _queries(record: StudyRecord) -> list[Sequence[Value]]:
    """Return queries scored, and those without an answer in the pool."""
    rows: list[Sequence[Value]] = []
    found = {"dev": record.best.scores if record.best is not None else None, "test": (record.result or {}).get("test")}
    for name, counts in ((name, scores["counts"]) for name, scores in found.items() if scores is not None):
        for setting, queries in counts["queries"].items():
            without = counts["queries_without_relevant"][setting]
            got = f"{queries:,} scored" + (f", {without:,} without an answer in the pool" if without else "")
            rows.append([f"{name} queries, {setting}", f"{queries + without:,}", got])
    return rows


def _score(name: str, value: float | None) -> Value:
    return None if value is None else Cell(format_metric(name, value), value)
