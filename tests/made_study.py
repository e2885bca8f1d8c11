"""A study folder made by hand: small, with real scores of made-up rankings, in the states that a study can be in."""

import dataclasses
import json

import numpy as np
import optuna

from hybridtune.config.names import contestant_name, short_name
from hybridtune.config.study import Study, dump_study
from hybridtune.config.validation import check
from hybridtune.metrics import metrics
from hybridtune.metrics.per_query import read_per_query, write_per_query
from hybridtune.report.contestants import Scored, compare_contestants
from hybridtune.storage.manifests import seal
from hybridtune.storage.soup_rows import SOUPS, SoupRow, soup_content
from hybridtune.storage.study_folder import FORMAT
from hybridtune.storage.trial_rows import checkpoint_path

LANGUAGES = ("de", "en", "sw")
TOPICS, POOL = 12, 20  # queries and passages of each language
ARMS = {"mono-only": 1.0, "half-half": 0.5, "cross-only": 0.0}
SEARCHED = [(0.3, 0.02, "done"), (0.7, 0.1, "stopped early"), (0.45, 0.04, "done"), (0.9, 0.07, "failed")]
OBJECTIVES = {"one": ["balanced/AP"], "three": ["mono/AP", "multi/AP", "multi/rank_distance"]}
STEPS = (10, 20, 30)


def made_study(folder, *, objectives="one", languages=LANGUAGES, extra=None, finished=True):
    """Write a study folder.

    Args:
        folder: made; must not be there.
        objectives: a key of OBJECTIVES.
        languages: of the benchmark.
        extra: further values of every trial.
        finished: whether there is a result.json.
    """
    goals = OBJECTIVES[objectives]
    study = check(
        Study,
        {
            "name": "made",
            "data": {"train": "newsroom:train"},
            "benchmarks": {"dev": {"path": "newsroom:dev"}, "test": {"path": "newsroom:test"}},
            "train": {"batch_size": 8, "max_steps": STEPS[-1]},
            "search": {
                "objective": goals,
                "trials": len(SEARCHED),
                "space": {"mixing_ratio": {"uniform": [0.0, 1.0]}, "temperature": {"loguniform": [0.01, 0.2]}},
            },
        },
        "made",
    )
    folder.mkdir(parents=True)
    (folder / "study.yaml").write_text(dump_study(study), encoding="utf-8")
    told = {
        "format": FORMAT,
        "id": "0" * 32,
        "command": "hybridtune run made.yaml",
        "python": "3.11.0",
        "machine": "x86_64",
        "cpus": 2,
    }
    (folder / "environment.json").write_text(json.dumps({**told, "packages": {"optuna": "5.0.0"}}), encoding="utf-8")
    asked = [(name, ratio, 0.05, "done") for name, ratio in ARMS.items()]
    asked += [("tuned", *one) for one in SEARCHED]
    rows = [made_trial(folder, number, one, languages, extra or {}) for number, one in enumerate(asked)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "trials.jsonl").write_text(text, encoding="utf-8")
    ledger(folder, study.name, goals, rows)
    if finished:
        write_result(folder, goals, rows, languages)
    return folder


def made_trial(folder, number, asked, languages, extra):
    """One trial's folder; returns its row."""
    arm, ratio, temperature, status = asked
    name = f"{number:04d}"
    place = folder / "trials" / name
    place.mkdir(parents=True)
    row = {
        "id": name,
        "number": number,
        "arm": arm,
        "proposed": "sampler" if arm == "tuned" else "file",
        "values": {"mix.mixing_ratio": ratio, "train.temperature": temperature, **extra},
        "metrics": {},
        "status": status,
        "checkpoint": None,
        "seconds": 20.0 + number,
        "began": 1_700_000_000.0 + 25 * number,
    }
    plan = {
        **{"steps": STEPS[-1], "batch_size": 8, "requested_ratio": ratio, "realised_ratio": round(ratio * 30) / 30},
        **{"requested_align_share": 0.0, "realised_align_share": 0.0, "left_out_of_mono": [], "left_out_of_cross": []},
        "table": [
            {
                **{"kind": "mono" if x == y else "cross", "pair": f"{x}-{y}"},
                **{"batches": 3, "pairs": 24, "groups": 12, "epochs": 2.0},
            }
            for x in languages
            for y in languages
        ],
    }
    (place / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    if status == "failed":
        return row
    history = []
    for step in STEPS[: 1 if status == "stopped early" else None]:
        checkpoint = place / "fit" / f"checkpoint_{step:07d}"
        scores = made_scores(number, step, ratio, languages, checkpoint if step == STEPS[-1] or number == 4 else None)
        row["checkpoint"] = checkpoint_path(name, step)
        entry = {
            **{"step": step, "loss": 5.0 / step, "accuracy": 0.5 + step / 100, "spread": 0.8},
            **{"temperature": temperature, "realised_ratio": plan["realised_ratio"], "pairs": 8 * step},
            **{"best_step": step, "data_wait": 0.01, "train_seconds": step / 3, "score_seconds": step / 15},
            **{"setup_seconds": 2.0, **scores["metrics"]},
        }
        history.append(entry)
    lines = "".join(json.dumps(entry) + "\n" for entry in history)
    (place / "metrics.jsonl").write_text(lines, encoding="utf-8")
    return {**row, "metrics": history[-1]}


def made_scores(number, step, ratio, languages, checkpoint, about="dev"):
    """Scores of random ranks that get better with the steps and with an even mix; written if there is a folder."""
    size = len(languages)
    random = np.random.default_rng([number, step])
    query = np.repeat(np.arange(TOPICS * size), size)
    asked, passage = query % size, np.tile(np.arange(size), TOPICS * size)
    hard = 1 + 6 * (asked != passage) * ratio + 3 * (1 - ratio) * (asked == passage) + 20 / step
    counts = random.poisson(hard[:, None], (len(query), size)).clip(0, POOL - 1)
    ranked = metrics.Ranked(
        counts=counts,
        query_index=query,
        passage_language=passage,
        query_language=np.arange(TOPICS * size) % size,
        languages=languages,
        passages=np.full(size, POOL),
    )
    columns = metrics.per_query(ranked)
    scores = dataclasses.asdict(metrics.score(ranked, columns))
    if checkpoint is not None:
        checkpoint.mkdir(parents=True, exist_ok=True)
        (checkpoint / "scores.json").write_text(json.dumps(scores), encoding="utf-8")
        ids = [f"q{i // size}:{i % size}" for i in range(TOPICS * size)]
        digest = {"benchmark": f"made:{about}", "benchmark_digest": about, "model": str(number)}
        topics = np.arange(TOPICS * size) // size
        write_per_query(checkpoint / "per_query.parquet", columns, ids, languages, topics, digest)
        seal(checkpoint)
    return scores


def ledger(folder, name, goals, rows):
    """Optuna's storage with the trials in their states."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    directions = ["minimize" if goal.endswith("rank_distance") else "maximize" for goal in goals]
    storage = f"sqlite:///{folder / 'optuna.db'}"
    study = optuna.create_study(storage=storage, study_name=name, directions=directions)
    space = {
        "mixing_ratio": optuna.distributions.FloatDistribution(0.0, 1.0),
        "temperature": optuna.distributions.FloatDistribution(0.01, 0.2, log=True),
    }
    states = {"done": "COMPLETE", "stopped early": "PRUNED", "failed": "FAIL"}
    for row in rows:
        state = optuna.trial.TrialState[states[row["status"]]]
        done = row["status"] == "done"
        history = [] if len(goals) > 1 or not row["metrics"] else [(row["metrics"]["step"], row["metrics"][goals[0]])]
        trial = optuna.create_trial(
            state=state,
            params={short_name(key): value for key, value in row["values"].items() if short_name(key) in space},
            distributions=space,
            values=[row["metrics"][goal] for goal in goals] if done else None,
            intermediate_values=dict(history),
            user_attrs={"arm": row["arm"], "proposed": row["proposed"]},
        )
        study.add_trial(trial)


def made_soups(folder, rows, goals, languages):
    """What a result holds of the averages of the first mono-only and the first cross-only trial."""
    first = {arm: next(row["id"] for row in rows if row["arm"] == arm) for arm in ("mono-only", "cross-only")}
    soups = []
    for number in range(3):
        home = folder / SOUPS / f"{number:04d}"
        scores = made_scores(70 + number, STEPS[-1], (3 - number) / 4, languages, home)
        weights = dict(zip(first, (3.0 - number, 1.0 + number), strict=True))
        checkpoints = dict.fromkeys(first, f"checkpoint_{STEPS[-1]:07d}")
        row = SoupRow(home.name, weights, first, checkpoints, "dev", "grid", scores["metrics"])
        (home / "scores.json").write_text(json.dumps(soup_content(row, scores)), encoding="utf-8")
        soups.append(dataclasses.asdict(row))
    sign = -1 if goals[0].endswith("rank_distance") else 1
    best = max(soups, key=lambda row: sign * row["metrics"][goals[0]])
    return {"rows": soups, "best": best["id"], "wins": False, "model": None}


def write_result(folder, goals, rows, languages):
    """What a study ends with: the best of the first goal, the front, the scores on a test benchmark."""
    done = [row for row in rows if row["status"] == "done"]
    best = max(done, key=lambda row: row["metrics"][goals[0]])
    signs = [-1 if goal.endswith("rank_distance") else 1 for goal in goals]
    points = {row["id"]: [s * row["metrics"][goal] for s, goal in zip(signs, goals, strict=True)] for row in done}
    front = [
        name
        for name, p in points.items()
        if not any(o != p and all(a >= b for a, b in zip(o, p, strict=True)) for o in points.values())
    ]
    test = made_scores(99, STEPS[-1], 0.4, languages, folder / "best", about="test")
    result = {
        "objective": goals if len(goals) > 1 else goals[0],
        "best": best,
        "front": front if len(goals) > 1 else [best["id"]],
        "model": "best",
        "test": {**test, "training_pairs": None, "pairs": [], "groups": {}},
        "trials": rows,
        **made_contestants(folder, done, goals, languages),
        "soups": made_soups(folder, done, goals, languages),
    }
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")


def made_contestants(folder, done, goals, languages):
    """What a result holds of its contestants: the best of each arm, and two that cost no training."""
    sign = -1 if goals[0].endswith("rank_distance") else 1

    def best(rows):
        return max(rows, key=lambda row: sign * row["metrics"][goals[0]])

    trained = {arm: best([row for row in done if row["arm"] == arm]) for arm in ("tuned", *ARMS)}
    strongest = best([trained[arm] for arm in ARMS])["arm"]
    scored = []
    for number, slug in enumerate([*trained, "start", "start-centred"]):
        home, row = folder / "contestants" / slug, trained.get(slug)
        ratio = row["values"]["mix.mixing_ratio"] if row else 1.0
        scores = made_scores(50 + number, STEPS[-1] if row else STEPS[0], ratio, languages, home, about="test")
        values, trial = read_per_query(home / "per_query.parquet"), row and row["id"]
        scored.append(Scored(slug, contestant_name(slug, None), trial, scores["metrics"], values))
    return {
        "contestants": {slug: row["id"] for slug, row in trained.items()},
        "reference": {"arm": strongest, "same_values": None, "file_values": strongest},
        "contestant_scores": {
            "benchmark": "test",
            **compare_contestants(scored, goals),
            "counts": scores["counts"],
            "centring": {"texts": 256, "without_texts": ["sw"]},
        },
    }
