"""The soups of a study: its contestants' weights averaged and scored on dev without training, one after the other.

A soup that is scored stays in ``soups/<id>/`` of the study folder, so that a study which goes on scores only what it
lacks. The best one on dev is a contestant on the test benchmark, and a model folder where it beats every trial.
"""

import contextlib
import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from hybridtune.callbacks import StudyCallback, phase
from hybridtune.config.names import SOUP
from hybridtune.config.study import Study
from hybridtune.data.corpus import Corpus
from hybridtune.data.plan import distinct_pairs
from hybridtune.data.training_texts import TrainingTexts
from hybridtune.evaluate.service import EvaluatorService
from hybridtune.metrics.breakdown import full_scores
from hybridtune.metrics.metrics import Scores
from hybridtune.metrics.per_query import FILE as PER_QUERY
from hybridtune.model.encoder import DualEncoder
from hybridtune.model.language_vectors import LanguageVectors
from hybridtune.model.soup import State, average_states, scale_weights, weights_digest
from hybridtune.search.soups import ENDS, MEMBERS, Proposed, next_soup, soups_wanted
from hybridtune.storage.copies import ensure_local
from hybridtune.storage.feasibility import best_soup, soup_wins
from hybridtune.storage.files import base_name, join, remove
from hybridtune.storage.manifests import MANIFEST, damage, seal
from hybridtune.storage.soup_rows import SCORES, SOUPS, SoupRow, read_soups, soup_content
from hybridtune.storage.trial_rows import TrialRow
from hybridtune.study.folder import write_json
from hybridtune.study.merged import Merged, Part, common_widths, unite_pairs, write_merged
from hybridtune.study.trial_model import trained_table
from hybridtune.train.checkpoint import served_weights
from hybridtune.train.evaluators import study_measures


@dataclass(frozen=True)
class Soup:
    """A soup that was scored, with what it is made of."""

    row: SoupRow
    state: State
    study: Study  # with the values of one of its trials; how the encoder is used is the same in all


@dataclass
class Kitchen:
    """Makes the soups of a study whose trials have ended.

    Args:
        study: with its fixed values.
        contestants: the rows of the trained ones, by name.
        folder: the study folder, or that of its repeats, which takes the soups.
        location: of the study, with the checkpoints.
    """

    study: Study
    contestants: Mapping[str, TrialRow]
    folder: Path
    location: str
    _states: dict[str, State] = field(default_factory=dict)  # of the contestants, read once

    def members(self) -> dict[str, TrialRow]:
        """Return the contestants that may be averaged, those that pool alike.

        Raises:
            LookupError: the ends of the grid are not among them; the message says why.
        """
        missing = [name for name in ENDS if name not in self.contestants]
        if missing:
            raise LookupError(f"{' and '.join(missing)} did not come to the end")
        poolings = {name: self.study_of(name).encoder.pooling for name in MEMBERS if name in self.contestants}
        if poolings[ENDS[0]] != poolings[ENDS[1]]:
            raise LookupError(f"they pool apart: {', '.join(f'{name} by {poolings[name]}' for name in ENDS)}")
        return {name: self.contestants[name] for name, one in poolings.items() if one == poolings[ENDS[0]]}

    def state(self, weights: Mapping[str, float]) -> State:
        """Return the averaged weights."""
        for name in weights:
            if name not in self._states:
                self._states[name] = served_weights(self._checkpoint(name))
        return average_states({name: self._states[name] for name in weights}, list(weights.values()))

    def soup(self, row: SoupRow) -> Soup:
        """Return a soup with its weights."""
        return Soup(row, self.state(row.weights), self.study_of(next(iter(row.weights))))

    def trained(self, name: str, corpus: Corpus) -> dict[str, int]:
        """Return the distinct pairs that a contestant's checkpoint has seen."""
        checkpoint = ensure_local(self._checkpoint(name))
        return distinct_pairs(trained_table(self.study_of(name), corpus, checkpoint))

    def parts(self, row: SoupRow) -> list[Part]:
        """Return what a soup was made of, as its folder names it."""
        shares = scale_weights(list(row.weights.values()))
        return [
            Part(f"{self.study.name}:{row.models[name]} ({name})", share, weights_digest(self._states[name]))
            for name, share in zip(row.weights, shares, strict=True)
        ]

    def _checkpoint(self, name: str) -> str:
        return join(self.location, self.contestants[name].checkpoint or "")

    def study_of(self, name: str) -> Study:
        """Return the study with the values of a contestant."""
        return self.study.with_values(self.contestants[name].values)


def score_soups(
    kitchen: Kitchen,
    goals: Mapping[str, str],
    digest: str,
    service: Callable[[], EvaluatorService],
    callback: StudyCallback,
) -> list[SoupRow]:
    """Score on dev all soups of a study that an earlier run has not scored; return the rows of all.

    Args:
        kitchen: of the study.
        goals: ``max`` or ``min`` by objective.
        digest: of the dev benchmark.
        service: starts evaluators of it; called where there is anything to score.
        callback: receives the progress.
    """
    wanted, members, rows = soups_wanted(kitchen.study), {}, list[SoupRow]()
    try:
        members = kitchen.members() if wanted else {}
    except LookupError as why:
        callback.on_message(f"no soups are scored: {why.args[0]}")
        wanted = 0
    known = _scored_before(kitchen.folder, callback)
    with contextlib.ExitStack() as stack:
        running, progress = None, None
        for number in range(wanted):
            weights, proposed = next_soup(kitchen.study, goals, members, rows)
            row = _row(members, f"{number:04d}", weights, digest, proposed)
            if row.id in known and dataclasses.replace(known[row.id], metrics={}) == row:
                rows.append(known[row.id])
                continue
            if running is None or progress is None:
                running, progress = service(), stack.enter_context(phase(callback, "scoring soups", "soups"))
            progress(number, wanted)
            rows.append(_score(kitchen, row, running))
        if progress is not None:
            progress(wanted, wanted)
    _remove_others(kitchen.folder / SOUPS, {row.id for row in rows})
    return rows


def score_repeats(
    kitchen: Kitchen,
    soup: SoupRow,
    repeats: Mapping[str, TrialRow],
    service: Callable[[], EvaluatorService],
    callback: StudyCallback,
) -> list[SoupRow]:
    """Score on dev the soup of each seed's own trainings, as far as an earlier run has not; return their rows.

    Args:
        kitchen: of the repeats: its folder is theirs.
        soup: of the study; the soups have its weights, and the names ``soup-s1``, ``soup-s2``, ...
        repeats: the repeats that came to their end, by name.
        service: starts evaluators of dev; called where there is anything to score.
        callback: receives the progress.
    """
    rows, known = list[SoupRow](), _scored_before(kitchen.folder, callback)
    running: EvaluatorService | None = None
    counts = range(1, kitchen.study.search.repeat_best + 1)
    with phase(callback, "scoring soups of other seeds", "soups") as progress:
        for count in counts:
            progress(count - 1, len(counts))
            parts = {name: repeats[f"{name}-s{count}"] for name in soup.weights if f"{name}-s{count}" in repeats}
            if parts.keys() == soup.weights.keys():
                row = _row(parts, f"{SOUP}-s{count}", soup.weights, soup.benchmark, soup.proposed)
                if row.id in known and dataclasses.replace(known[row.id], metrics={}) == row:
                    rows.append(known[row.id])
                    continue
                running = running or service()
                rows.append(_score(Kitchen(kitchen.study, parts, kitchen.folder, kitchen.location), row, running))
        progress(len(counts), len(counts))
    _remove_others(kitchen.folder / SOUPS, {row.id for row in rows})
    return rows


def _scored_before(folder: Path, callback: StudyCallback) -> dict[str, SoupRow]:
    """Return the soups that an earlier run scored, by id, and tell of those that are damaged: they are scored again."""
    known = {}
    for row in read_soups(folder):
        if (what := damage(folder / SOUPS / row.id)) is None:
            known[row.id] = row
        else:
            line = f"the scores of soup {row.id} in {folder / SOUPS} are damaged ({what}): it is scored again"
            callback.on_damage(None, 0, 0, line)
    return known


def _row(
    members: Mapping[str, TrialRow], name: str, weights: Mapping[str, float], digest: str, proposed: Proposed
) -> SoupRow:
    of = {one: members[one] for one in weights}
    checkpoints = {one: base_name(row.checkpoint or "") for one, row in of.items()}
    return SoupRow(name, dict(weights), {one: row.id for one, row in of.items()}, checkpoints, digest, proposed, {})


def _score(kitchen: Kitchen, row: SoupRow, service: EvaluatorService) -> SoupRow:
    soup, home = kitchen.soup(row), kitchen.folder / SOUPS / row.id
    home.mkdir(parents=True, exist_ok=True)
    for name in (MANIFEST, SCORES):
        (home / name).unlink(missing_ok=True)  # of another soup: never beside the new values
    vectors = service.encode(soup.state, soup.study.encoder.pooling)
    about = {"model": f"soup {row.label}"}
    scores = service.score_vectors(vectors, home / PER_QUERY, study_measures(kitchen.study), about)
    write_json(soup_content(row, dataclasses.asdict(scores)), home / SCORES)
    seal(home)
    return dataclasses.replace(row, metrics=dict(scores.metrics))


def _remove_others(root: Path, ids: set[str]) -> None:
    for home in root.glob("*"):
        if home.name not in ids:
            remove(str(home))


def soup_scores(folder: Path, row: SoupRow) -> Scores:
    """Return the scores of a soup on dev."""
    fields = json.loads((folder / SOUPS / row.id / SCORES).read_text(encoding="utf-8"))
    return Scores(**{field.name: fields[field.name] for field in dataclasses.fields(Scores)})


def soup_result(
    study: Study, trials: Sequence[TrialRow], rows: Sequence[SoupRow], best: TrialRow
) -> dict[str, Any] | None:
    """Return what ``result.json`` holds of a study's soups; None where it has none.

    Args:
        study: the study file, by whose first objective and constraints the best is chosen.
        trials: the rows of all trials.
        rows: of the soups.
        best: the best trial.

    Returns:
        ``{"rows", "best", "wins", "model"}``: the soups, the id of the best on dev, whether it beats the best trial
        there, and its model folder, to be filled in.
    """
    chosen = best_soup(study, trials, rows)
    if chosen is None:
        return None
    wins = soup_wins(study, trials, chosen, best)
    return {"rows": [dataclasses.asdict(row) for row in rows], "best": chosen.id, "wins": wins, "model": None}


def chosen_soup(result: Mapping[str, Any] | None) -> SoupRow | None:
    """Return the best soup of a `soup_result`; None where there is none."""
    rows = [] if result is None else result["rows"]
    return next((SoupRow(**row) for row in rows if result is not None and row["id"] == result["best"]), None)


def write_soup(
    kitchen: Kitchen,
    soup: Soup,
    model: DualEncoder,
    source: str,
    trained: Sequence[Mapping[str, int] | None],
    texts: TrainingTexts,
    test: Scores | None,
    moved: LanguageVectors,
    folder: Path,
) -> None:
    """Write a soup as a model folder.

    Args:
        kitchen: of the study.
        soup: to be written.
        model: the study's encoder; its weights are replaced.
        source: folder or name that its training began with.
        trained: distinct training pairs of each of the averaged trials.
        texts: fingerprints of the study's training texts.
        test: its scores on the test benchmark, where the study has one.
        moved: what each language adds to its vectors.
        folder: new or empty.
    """
    study, row = soup.study, soup.row
    model.load_plain_state({name: torch.from_numpy(value) for name, value in soup.state.items()})
    pairs, benchmarks = unite_pairs(trained), {"dev": soup_scores(kitchen.folder, row)}
    benchmarks |= {"test": test} if test is not None else {}
    merged = Merged(
        f"{study.name} soup",
        study.encoder,
        kitchen.parts(row),
        pairs,
        texts,
        all_texts=True,
        matryoshka=common_widths([kitchen.study_of(name).train.matryoshka for name in row.weights]),
        scores={name: full_scores(one, pairs, study.low_resource_languages) for name, one in benchmarks.items()},
        chosen="Its weights were chosen by the dev scores of this study; the test benchmark, if any, chose nothing.",
        moved=moved,
    )
    write_merged(model, source, merged, folder)
