"""All contestants on one benchmark: what each scores there, and how far each is from the tuned model.

The trained ones are rows of trials; ``start``, the encoder that every training began from, cost none. Each is scored
twice: as it is, and ``centred``, with what each language adds to its vectors removed (`model.language_vectors`), fitted
on training texts. The start is the line that costs nothing, so it is scored in all of `WAYS`, and the tuned model in
the best of them, which says whether they add up. Per-query values and scores go to ``contestants/<slug>/`` of the study
folder, and what was removed beside them; `report.contestants` compares them.
"""

import dataclasses
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hybridtune.callbacks import StudyCallback, phase
from hybridtune.config.names import CENTRED, SOUP, START, TUNED, WITHOUT_TRAINING, contestant_name
from hybridtune.config.study import Study
from hybridtune.data.corpus import Corpus
from hybridtune.evaluate.service import EvaluatorService, State, Vectors
from hybridtune.metrics.arrays import Float32, Int64
from hybridtune.metrics.metrics import Scores
from hybridtune.metrics.per_query import FILE as PER_QUERY
from hybridtune.metrics.per_query import read_per_query
from hybridtune.model.language_vectors import FILE as LANGUAGE_VECTORS
from hybridtune.model.language_vectors import (
    SIDES,
    LanguageVectors,
    Method,
    Side,
    fit_language_vectors,
    load_language_vectors,
)
from hybridtune.model.soup import weights_digest
from hybridtune.report.contestants import FOLDER, Scored, compare_contestants
from hybridtune.storage.files import join, remove, write_atomically
from hybridtune.storage.manifests import MANIFEST, damage, seal
from hybridtune.storage.trial_rows import TrialRow
from hybridtune.study.folder import write_json
from hybridtune.study.preflight import Preflight
from hybridtune.study.soups import Soup
from hybridtune.train.checkpoint import served_weights
from hybridtune.train.evaluators import study_measures

SCORES = "scores.json"  # beside the per-query values, and written after them
TEXTS = 256  # training texts of a language, of each side, that its means are fitted on
STANDARDISED = "-standardised"
# What is done without training, by the end of its slug: how vectors move, and whether scores are standardised.
WAYS: dict[str, tuple[Method, bool]] = {
    CENTRED: ("apart", False),
    "-together": ("together", False),
    "-shift": ("shift", False),
    STANDARDISED: ("apart", True),
}


@dataclass(frozen=True)
class Contestant:
    """Weights to be scored, and how: a trial's, a soup's, or without either those of the starting encoder."""

    slug: str  # its folder
    name: str  # in tables
    row: TrialRow | None = None
    soup: Soup | None = None
    way: str = ""  # one of `WAYS`; empty: as it is

    def moved(self, way: str) -> "Contestant":
        """Return the same weights with that done to their vectors."""
        slug = f"{self.slug}{way}"
        name = contestant_name(slug, self.row.arm if self.row is not None else None)
        return dataclasses.replace(self, slug=slug, name=name, way=way)


@dataclass(frozen=True)
class Sample:
    """Training texts to fit means on: numbers of the token store by language, of each side."""

    queries: Mapping[str, Int64]
    passages: Mapping[str, Int64]

    def blocks(self) -> list[Int64]:
        """Return the numbers language by language, first all queries."""
        return [*self.queries.values(), *self.passages.values()]

    def fit(self, vectors: Sequence[Float32], method: Method = "apart") -> LanguageVectors:
        """Return what the vectors of the blocks say of each language and side."""
        first = len(self.queries)
        sides: list[tuple[Side, Mapping[str, Int64], Sequence[Float32]]] = [
            ("queries", self.queries, vectors[:first]),
            ("passages", self.passages, vectors[first:]),
        ]
        texts = {side: (np.concatenate(own), _languages(numbers)) for side, numbers, own in sides}
        return fit_language_vectors(method, texts)


def _languages(numbers: Mapping[str, Int64]) -> list[str]:
    return [language for language, block in numbers.items() for _ in block]


def list_contestants(rows: Mapping[str, TrialRow], soup: Soup | None = None) -> list[Contestant]:
    """Return the trained contestants, slug -> row, in their order, the soup and the start; each plain, then moved."""
    every = [Contestant(slug, contestant_name(slug, row.arm), row) for slug, row in rows.items()]
    every += [Contestant(SOUP, contestant_name(SOUP, None), soup=soup)] if soup is not None else []
    every.append(Contestant(START, contestant_name(START, None)))
    more = {START: list(WAYS), TUNED: [CENTRED, STANDARDISED]}
    return [one for plain in every for one in (plain, *map(plain.moved, more.get(plain.slug, [CENTRED])))]


def draw_sample(corpus: Corpus, seed: int, most: int = TEXTS) -> Sample:
    """Draw the texts that means are fitted on: up to ``most`` different ones a language and side."""
    random = np.random.default_rng([seed, 0xCE47])
    drawn: dict[str, dict[str, Int64]] = {}
    for side in SIDES:
        drawn[side] = {}
        for column, language in enumerate(corpus.languages):
            numbers = getattr(corpus, side)[:, column]
            distinct = np.unique(numbers[numbers >= 0]).astype(np.int64)
            if len(distinct):
                drawn[side][language] = np.sort(random.permutation(distinct)[:most])
    return Sample(drawn["queries"], drawn["passages"])


def fit_on_sample(service: EvaluatorService, state: State, sample: Sample, pooling: str) -> LanguageVectors:
    """Return what each language adds to the vectors of an encoder with these weights, by training texts."""
    return sample.fit(service.embed_stored(state, sample.blocks(), pooling))


@dataclass
class Scoring:
    """Scores contestants into their folders; weights that have been scored on this benchmark are not scored again.

    Args:
        service: of the test benchmark, or of dev where there is no test.
        study: with its fixed values.
        root: takes a folder for each contestant, with its per-query values and its scores.
        location: of the study, with the checkpoints.
        start: weights of the encoder that all trainings began from.
        sample: training texts that what is moved is fitted on.
    """

    service: EvaluatorService
    study: Study
    root: Path
    location: str
    start: State
    sample: Sample
    # By the digest of the weights, for a contestant's further rows: of the benchmark, and of the sample.
    _encoded: tuple[str, Vectors] | None = None
    _embedded: tuple[str, list[Float32]] | None = None

    def all_scores(self, contestants: Sequence[Contestant], what: str, callback: StudyCallback) -> dict[str, Scores]:
        """Score contestants one after the other, and remove the folders of all others.

        Args:
            contestants: in the order of the tables; those of the same weights side by side.
            what: names this phase for people.
            callback: receives the progress.

        Returns:
            The scores by slug, in the same order.
        """
        found = {}
        with phase(callback, what, "contestants") as progress:
            for done, contestant in enumerate(contestants):
                progress(done, len(contestants))
                found[contestant.slug] = self._scores(contestant)
            progress(len(contestants), len(contestants))
        for home in self.root.glob("*"):
            if home.name not in found:  # no contestant any more, as where a search went on
                remove(str(home))
        return found

    def _scores(self, contestant: Contestant) -> Scores:
        """Return a contestant's scores, with their files in its folder."""
        home, row = self.root / contestant.slug, contestant.row
        study = self.study if row is None else self.study.with_values(row.values)
        state = self.start if row is None else served_weights(join(self.location, row.checkpoint or ""))
        if contestant.soup is not None:
            study, state = contestant.soup.study, contestant.soup.state
        pooling = study.encoder.pooling
        weights = _what(state, pooling)
        way = contestant.way
        key = {"weights": weights + _words(way), "benchmark": self.service.ready().digest}
        files = (PER_QUERY, *[LANGUAGE_VECTORS] * bool(way), SCORES)  # in the order of writing
        before = self._scored_before(key, files)
        if before is not None:
            if before != home:
                _copy(before, home, (*files, MANIFEST))
            return _read(home)[1]
        home.mkdir(parents=True, exist_ok=True)
        (home / MANIFEST).unlink(missing_ok=True)  # of other weights: never beside the new values
        if self._encoded is None or self._encoded[0] != weights:
            self._encoded = weights, self.service.encode(state, pooling)
        vectors = self._encoded[1]
        standardised = False
        if way:
            method, standardised = WAYS[way]
            if self._embedded is None or self._embedded[0] != weights:
                self._embedded = weights, self.service.embed_stored(state, self.sample.blocks(), pooling)
            fitted = self.sample.fit(self._embedded[1], method)
            fitted = dataclasses.replace(fitted, standardised=standardised)
            vectors = self.service.move(vectors, fitted)
            write_atomically(home / LANGUAGE_VECTORS, fitted.to_bytes())
        about = {"model": contestant.name if row is None else f"{contestant.name} (trial {row.id})"}
        measures = study_measures(self.study)
        scores = self.service.score_vectors(vectors, home / PER_QUERY, measures, about, standardised)
        write_json({**key, **dataclasses.asdict(scores)}, home / SCORES)
        seal(home)
        return scores

    def _scored_before(self, key: Mapping[str, str], files: Sequence[str]) -> Path | None:
        """Return the folder with all files of these weights on this benchmark, by whatever contestant."""
        for home in _homes(self.root):
            if damage(home) is None and all((home / name).is_file() for name in files) and _read(home)[0] == key:
                return home
        return None


def _what(state: State, pooling: str) -> str:
    """Return what is scored, as its folder says it; `_words` follow."""
    return f"{weights_digest(state)}, pooled by {pooling}"


def _words(way: str) -> str:
    return f", {WITHOUT_TRAINING[way]} by {TEXTS} texts" if way else ""


def _homes(root: Path) -> list[Path]:
    return [file.parent for file in sorted(root.glob(f"*/{SCORES}"))]


def kept_language_vectors(folder: Path, state: State, pooling: str) -> LanguageVectors | None:
    """Return what each language adds to the vectors of these weights; None where no contestant of a study has them."""
    wanted = _what(state, pooling) + _words(CENTRED)
    for home in _homes(folder / FOLDER):
        if damage(home) is None and (home / LANGUAGE_VECTORS).is_file() and _read(home)[0]["weights"] == wanted:
            return load_language_vectors(home / LANGUAGE_VECTORS)
    return None


def _read(home: Path) -> tuple[dict[str, str], Scores]:
    """Return what was scored, and its scores."""
    fields = json.loads((home / SCORES).read_text(encoding="utf-8"))
    key = {name: fields.pop(name) for name in ("weights", "benchmark")}
    return key, Scores(**fields)


def _copy(before: Path, home: Path, files: Sequence[str]) -> None:
    home.mkdir(parents=True, exist_ok=True)
    (home / MANIFEST).unlink(missing_ok=True)
    for name in files:
        shutil.copy(before / name, home / name)


def contestant_scores(
    preflight: Preflight,
    folder: Path,
    rows: Mapping[str, TrialRow],
    scored: Mapping[str, Scores],
    soup: Soup | None = None,
) -> dict[str, Any]:
    """Return what ``result.json`` holds of the scored contestants, see `compare_contestants`."""
    part = "test" if "test" in preflight.benchmarks else "dev"
    benchmark = preflight.benchmarks[part]
    found = [
        Scored(
            slug=one.slug,
            name=one.name,
            trial=one.row.id if one.row is not None else None,
            metrics=scored[one.slug].metrics,
            values=read_per_query(folder / FOLDER / one.slug / PER_QUERY),
        )
        for one in list_contestants(rows, soup)
    ]
    languages = {text.language for texts in (benchmark.queries, benchmark.passages) for text in texts}
    return {
        "benchmark": part,
        **compare_contestants(found, list(preflight.goals)),
        "counts": scored[START].counts,
        "centring": {"texts": TEXTS, "without_texts": sorted(languages - set(preflight.corpus.languages))},
    }
