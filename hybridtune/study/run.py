"""Run a study: the search or one fit, the soups, the contestants' scores, the best model, the result.

The trials are `search.study`'s, one fit is `train.fit`'s; `started` runs Ray and what all trainings share, `sync` opens
the folder and keeps a URL in step with it.
"""

import contextlib
import dataclasses
import functools
import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hybridtune.callbacks import Callbacks, StudyCallback
from hybridtune.config.names import CENTRED, SOUP
from hybridtune.config.study import Study
from hybridtune.data.plan import distinct_pairs
from hybridtune.evaluate.service import State
from hybridtune.metrics.breakdown import full_scores
from hybridtune.metrics.metrics import Scores
from hybridtune.metrics.per_query import FILE as PER_QUERY
from hybridtune.model.encoder import load_encoder
from hybridtune.model.language_vectors import LanguageVectors, load_language_vectors
from hybridtune.model.published import TRAINING_TEXTS
from hybridtune.report.contestants import FOLDER as CONTESTANTS
from hybridtune.report.headline import headline
from hybridtune.report.page import REPORT, write_report
from hybridtune.report.screening import screening_words
from hybridtune.runtime.connect import shape_of
from hybridtune.search.arms import contestants, reference, reruns, searched
from hybridtune.search.screening import run_screening
from hybridtune.search.seed_check import REPEATS, compare_repeats, done_repeats, run_repeats
from hybridtune.search.study import chosen, run_reruns, run_search
from hybridtune.storage.copies import ensure_local
from hybridtune.storage.feasibility import constraint_line
from hybridtune.storage.refused import refusals_told
from hybridtune.storage.screening_rows import read_screened, read_screening
from hybridtune.storage.trial_rows import TrialRow, read_rows
from hybridtune.study.card import Row
from hybridtune.study.contestants import Scoring, contestant_scores, draw_sample, fit_on_sample, list_contestants
from hybridtune.study.event_log import EventLog
from hybridtune.study.export import describe_trained, write_model
from hybridtune.study.folder import changed_packages, check_inputs, whole_folder, write_json
from hybridtune.study.leak_guard import texts_of_training
from hybridtune.study.preflight import Preflight, run_preflight
from hybridtune.study.repair import ended_result, retry_damaged
from hybridtune.study.reported import report_score, reported
from hybridtune.study.result import StudyResult, located
from hybridtune.study.room import make_room
from hybridtune.study.screening import end_screening, screening_job
from hybridtune.study.seed_scores import score_seeds
from hybridtune.study.soups import Kitchen, Soup, chosen_soup, score_repeats, score_soups, soup_result, write_soup
from hybridtune.study.started import Started, evaluators_of, started
from hybridtune.study.summary import allocation_line, opening_lines
from hybridtune.study.sync import Home, fetch_scores, study_home
from hybridtune.train.checkpoint import load_weights, served_weights
from hybridtune.train.evaluators import study_measures
from hybridtune.train.fit import fit
from hybridtune.train.job_queue import FitJob


def run_study(
    study: Study, out: str | Path | None = None, callbacks: Sequence[StudyCallback] = (), *, address: str | None = None
) -> StudyResult:
    """Run a study: search its space, export the best model, score it on the test benchmark, write the report.

    Args:
        study: from `load_study`, or built in Python.
        out: folder or URL of the results, from which a study that was cut off goes on; None: a new one in ``studies/``.
        callbacks: receive what happens, see `StudyCallback`; without one nothing is printed.
        address: of a Ray cluster to run on, ``auto`` or ``HOST:PORT``; None: Ray starts on this machine.

    Returns:
        The best trial, the table of all trials, the best model; of a study that has ended before, those of then.

    Raises:
        InputError: the study, its data or ``out`` cannot be used; nothing was started.
        FitError: no trial came to a score.

    Example:
        >>> study = load_study("study.yaml", search__trials=20)  # doctest: +SKIP
        >>> result = run_study(study, out="studies/first")  # doctest: +SKIP
        >>> result.best.values, result.trials["balanced/AP"].max()  # doctest: +SKIP
    """
    with _opened(study, out, callbacks, address, searching=True) as (preflight, home, callback):
        result = _search(preflight, home, callback)
    callback.on_study_end(result)
    return StudyResult(preflight.study, result)


def train_study(
    study: Study, out: str | Path | None = None, callbacks: Sequence[StudyCallback] = (), *, address: str | None = None
) -> dict[str, Any]:
    """Train once with a study's fixed values; the model is exported and scored like a study's best.

    Args and errors are those of `run_study`; returns what it writes to ``result.json``, see `located`.
    """
    with _opened(study, out, callbacks, address, searching=False) as (preflight, home, callback):
        with started(preflight, home, callback) as running:
            with reported(callback, "fit", running.job):
                done = fit(running.job, running.groups, partial(report_score, callback))
            running.groups.close()
            with whole_folder(home.folder / "best") as best:
                scored = _score_fit(running, done.checkpoint, best / PER_QUERY)
                test = _export(running, preflight.study, done.checkpoint, *scored, best)
        folder = home.folder
        result = {"metrics": done.metrics, "test": test, "model": "best"}
        write_json(result, folder / "result.json")
        result = located(result, folder)
    callback.on_study_end(result)
    return result


@contextlib.contextmanager
def _opened(
    study: Study, out: str | Path | None, callbacks: Sequence[StudyCallback], address: str | None, searching: bool
) -> Iterator[tuple[Preflight, Home, StudyCallback]]:
    """Check a study and open its folder while the block runs; yield all callbacks as one, too."""
    callback = Callbacks(callbacks)
    preflight = run_preflight(study, searching, shape_of(address), callback)
    for line in opening_lines(preflight):
        callback.on_message(line)
    with study_home(preflight.study, None if out is None else str(out), callback.on_message) as home:
        read = {f"benchmarks.{name}": one.relevance.digest for name, one in preflight.benchmarks.items()}
        check_inputs(home.folder, {"data.train": preflight.recipe.data_digest, **read})
        other = changed_packages(home.folder)
        if other:
            callback.on_message(
                f"the study began with other versions: {other}; figures may differ in their last digits"
            )
        log = EventLog(home.folder, other)
        with log.run(), refusals_told(home.folder):
            yield preflight, dataclasses.replace(home, address=address), Callbacks([callback, log])


def _search(preflight: Preflight, home: Home, callback: StudyCallback) -> dict[str, Any]:
    """Train all that is lacking, export the best model; return what ``result.json`` holds then, or holds already.

    Its paths are as they lie now, see `located`.
    """
    study, folder = preflight.study, home.folder
    before = ended_result(folder, callback)
    if before is not None:
        callback.on_message(f"this study has ended: its result is in {folder / 'result.json'}")
        if not (folder / REPORT).exists():
            fetch_scores(home.location, folder)
            write_report(folder, study.search.storage)
        return located(before, folder)
    callback.on_message(allocation_line(preflight))
    with started(preflight, home, callback) as running:
        # The location and the folder of all trials instead of a single training's.
        job = dataclasses.replace(running.job, storage=home.inside("trials"), home=str(folder / "trials"))
        screening = _screen(running)
        retry_damaged(study, folder, home.location, callback)
        ended, repeats = _train_all(running, job)
        running.groups.close()  # scores may need what they hold
        found = chosen(study, preflight.goals, folder)
        trials = [dataclasses.asdict(row) for row in found.rows]
        best = next(trial for trial in trials if trial["id"] == found.best.id)
        ordered = [best, *(trial for trial in trials if trial is not best)]
        who = contestants(study, found.rows)
        if found.best.id not in {row.id for row in who.values()}:  # no trial came to its end
            who[found.best.id] = found.best
        kitchen = Kitchen(study, who, folder, home.location)
        soups, repeats = _score_soups(running, kitchen, found.best, repeats)
        chosen_row = chosen_soup(soups)
        soup = kitchen.soup(chosen_row) if chosen_row is not None else None
        scored, seeds = _score_contestants(running, who, soup)
        slug = next(slug for slug, row in who.items() if row.id == found.best.id)
        moved = load_language_vectors(folder / CONTESTANTS / f"{slug}{CENTRED}")
        tested = (scored[slug], folder / CONTESTANTS / slug / PER_QUERY) if study.benchmarks.test else None
        chosen_study = study.with_values(found.best.values)
        with whole_folder(folder / "best") as new:
            test = _export(running, chosen_study, home.inside(best["checkpoint"]), tested, moved, new, ordered)
        compared = {**contestant_scores(preflight, folder, who, scored, soup), "seeds": seeds}
        shutil.rmtree(folder / SOUP, ignore_errors=True)  # of a run with other soups
        if soup is not None and soups is not None and soups["wins"]:
            soups["model"] = _export_soup(running, kitchen, soup, scored[SOUP] if study.benchmarks.test else None)
    beside = reference(study, found.rows)
    objective = study.search.objective
    result = {
        "objective": objective[0] if len(objective) == 1 else objective,
        "best": best,
        "front": found.front,
        "screening": screening,
        "ended": ended,
        "constraints": constraint_line(study, found.rows, found.best),
        "contestants": {slug: row.id for slug, row in who.items()},
        "reference": dataclasses.asdict(beside) if beside is not None else None,
        "model": "best",
        "test": test,
        "trials": trials,
        "contestant_scores": compared,
        "repeats": repeats,
        "soups": soups,
    }
    result["headline"] = headline(study, result)
    result["report"] = REPORT
    write_json(result, folder / "result.json")
    make_room(study, home, found, {row.id for row in who.values()})
    fetch_scores(home.location, folder)  # which the report's intervals and language maps are drawn from
    write_report(folder, study.search.storage)
    return located(result, folder)


def _screen(running: Started) -> dict[str, Any] | None:
    """Train the screening that a study asks for, unless it has ended; return what ``result.json`` holds of it."""
    study, folder, callback = running.preflight.study, running.home.folder, running.callback
    if study.search.screening is None:
        return None
    if read_screening(folder) is None:
        job, of = screening_job(running)
        callback.on_message(f"screening with the lowest {study.search.screening.layers} of {of} layers")
        with reported(callback, "screening", job, running.groups.at_once, read_screened(folder)) as display:
            run_screening(study, job, of, folder, running.groups, display)
        end_screening(folder)
    rows, found = read_screened(folder), read_screening(folder)
    assert found is not None
    callback.on_message(screening_words(study, found, rows, []))
    return {**dataclasses.asdict(found), "trials": [dataclasses.asdict(row) for row in rows]}


def _train_all(running: Started, job: FitJob) -> tuple[list[str], dict[str, Any] | None]:
    """Train what an earlier run has not: the search, the contestants it lacks, their seeds.

    Returns:
        Lines on why the search of an arm ended before its last trial, and the noise check.
    """
    preflight, home, groups, callback = running.preflight, running.home, running.groups, running.callback
    study, folder, at_once = preflight.study, home.folder, groups.at_once
    before = [*read_screened(folder), *searched(read_rows(folder, running=True))]
    tell = partial(callback.on_damage, None, 0, 0)
    with reported(callback, "search", job, at_once, before) as display:
        ended = run_search(job, preflight.goals, folder, groups, display, tell)
    for line in ended:
        callback.on_message(line)
    if reruns(study, read_rows(folder)):
        callback.on_message("training the contestants that the search lacks: fixed ratios beside the best trial")
        with reported(callback, "reruns", job, at_once) as display:
            run_reruns(job, folder, groups, display)
    who = contestants(study, read_rows(folder))
    if not study.search.repeat_best or not who:
        return ended, None
    callback.on_message(f"noise check: {', '.join(who)} again, {study.search.repeat_best} seeds each")
    with reported(callback, "seed check", job, at_once) as display:
        repeats = run_repeats(job, folder, home.location, groups, display)
    write_json(repeats, folder / "repeats.json")
    return ended, repeats


def _score_soups(
    running: Started, kitchen: Kitchen, best: TrialRow, repeats: dict[str, Any] | None
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Score the soups that the study asks for on dev, the best one also of the trainings of each seed.

    Returns what ``result.json`` holds of them, see `soup_result`, and the noise check with the best one in it.
    """
    study, folder, callback = kitchen.study, kitchen.folder, running.callback
    dev, goals = running.preflight.benchmarks["dev"], running.preflight.goals
    service = functools.cache(lambda: evaluators_of(dev, running))
    rows = score_soups(kitchen, goals, dev.relevance.digest, service, callback)
    soups = soup_result(study, read_rows(folder), rows, best)
    soup = chosen_soup(soups)
    if soup is not None and repeats is not None:
        of_seeds = Kitchen(study, {}, folder / REPEATS, kitchen.location)
        seeds = score_repeats(of_seeds, soup, done_repeats(folder), service, callback)
        repeats = compare_repeats(study, folder, kitchen.location, soup, seeds)
        write_json(repeats, folder / "repeats.json")
    return soups, repeats


def _export_soup(running: Started, kitchen: Kitchen, soup: Soup, test: Scores | None) -> str:
    """Write the best soup, with its scores on the test benchmark where there is one, as a model folder of the study's.

    Returns the path of that in the study folder.
    """
    study, corpus = running.preflight.study, running.store.corpus()
    model = load_encoder(running.source, soup.study.encoder, running.store.tokenizer().pad_id)
    trained = [kitchen.trained(name, corpus) for name in soup.row.weights]
    texts = texts_of_training(study, running.store, running.preflight.benchmarks["dev"])
    moved = load_language_vectors(running.home.folder / CONTESTANTS / f"{SOUP}{CENTRED}")
    with whole_folder(running.home.folder / SOUP) as folder:
        write_soup(kitchen, soup, model, running.source, trained, texts, test, moved, folder)
    return SOUP


def _score_contestants(
    running: Started, rows: Mapping[str, TrialRow], soup: Soup | None = None
) -> tuple[dict[str, Scores], dict[str, Any] | None]:
    """Score all contestants, trained (slug -> row) or not, on the test benchmark, or on dev where there is none.

    The second is their comparison over the seeds of the noise check there, see `score_seeds`.
    """
    preflight, study, callback = running.preflight, running.preflight.study, running.callback
    part = "test" if "test" in preflight.benchmarks else "dev"
    service = evaluators_of(preflight.benchmarks[part], running)
    soups = ", the best soup" if soup is not None else ""
    callback.on_message(f"scoring {len(rows)} trained models{soups} and the start on the {part} benchmark")
    folder, sample = running.home.folder, draw_sample(running.store.corpus(), study.seed)
    scoring = Scoring(service, study, folder / CONTESTANTS, running.home.location, _start_weights(running), sample)
    contestants = list_contestants(rows, soup)
    scored = scoring.all_scores(contestants, "scoring the contestants", callback)
    return scored, score_seeds(scoring, study, folder, contestants, scored, callback)


def _start_weights(running: Started) -> State:
    model = load_encoder(running.source, running.preflight.study.encoder, running.store.tokenizer().pad_id)
    return {name: value.numpy() for name, value in model.plain_state().items()}


def _score_fit(running: Started, checkpoint: str, file: Path) -> tuple[tuple[Scores, Path] | None, LanguageVectors]:
    """Score a single training on the test benchmark, where the study has one, with the ``file`` of per-query values.

    The second is what each language adds to its vectors.
    """
    study, benchmarks = running.preflight.study, running.preflight.benchmarks
    service, weights = evaluators_of(benchmarks.get("test", benchmarks["dev"]), running), served_weights(checkpoint)
    sample = draw_sample(running.store.corpus(), study.seed)
    moved = fit_on_sample(service, weights, sample, study.encoder.pooling)
    if "test" not in benchmarks:
        return None, moved
    running.callback.on_message("scoring the model on the test benchmark")
    return (service.score(weights, file, study.encoder.pooling, study_measures(study)), file), moved


def _export(
    running: Started,
    study: Study,
    location: str,
    tested: tuple[Scores, Path] | None,
    moved: LanguageVectors,
    best: Path,
    rows: Sequence[Row] = (),
) -> dict[str, Any] | None:
    """Write ``best/`` from a checkpoint, with its scores on the test benchmark where there are any; return those.

    Args:
        running: the whole study.
        study: with the values of the fit that wrote the checkpoint.
        location: of the checkpoint.
        tested: its scores on the test benchmark, and the file of the per-query values.
        moved: what each language adds to its vectors.
        best: the folder to fill.
        rows: of the study's trials, the model's own first; none of a single training.
    """
    checkpoint = ensure_local(location)
    model = load_encoder(running.source, study.encoder, running.store.tokenizer().pad_id)
    load_weights(checkpoint, model)
    trained = describe_trained(study, running.store.corpus(), checkpoint, rows, rows[0]["id"] if rows else None)
    trained = dataclasses.replace(trained, moved=moved)
    values = checkpoint / PER_QUERY  # on dev
    if tested is not None and study.benchmarks.test is not None:
        scores, values = tested
        test = full_scores(scores, distinct_pairs(trained.table), study.low_resource_languages)
        trained = dataclasses.replace(trained, test=test)
    if values.parent != best:
        shutil.copy(values, best / PER_QUERY)
    write_model(model, running.source, trained, best)
    texts_of_training(study, running.store, running.preflight.benchmarks["dev"]).save(best / TRAINING_TEXTS)
    return dict(trained.test) if trained.test is not None else None
