"""The numbers of a first study on new data: what batch its languages fill, what lengths cut little, how many steps."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from hybridtune.config.fields import HELD_OUT_DEV, HELD_OUT_TEST, BenchmarkSource, Data, DataSet, Encoder, Holdout
from hybridtune.data.corpus import Corpus
from hybridtune.data.holdout import Part
from hybridtune.data.leaks import LeakSearch, ScoredTexts
from hybridtune.data.readers.benchmarks import read_benchmark
from hybridtune.data.store import StoreRecipe, recipe
from hybridtune.data.weights import Pair, groups_of
from hybridtune.errors import InputError
from hybridtune.evaluate.benchmark import benchmark_of_rows
from hybridtune.metrics.arrays import Int64

SMALLEST_BATCH = 16  # pairs; of fewer a query has too few wrong passages to tell its own from
LARGEST_BATCH = {False: 32, True: 128}  # on CPUs, on a GPU
DOCUMENTS = 200  # from so many on parts of a tenth are cut by document
SHARES = (0.1, 0.15, 0.2, 0.3)  # of dev and of test each; a larger one where the data are too few
FEW_LEAKS = 0.2  # of the training groups, which the data can do without
TOKENS = {"queries": 64, "passages": 256}  # at most, for a first run
UNCUT = 0.98  # share of the texts that are not cut
SECONDS = 90.0  # of computing, all trainings of the study together
TRIALS = 4
FEW_TRIALS = 3  # of an encoder whose weights alone take long to move, on CPUs
TRAININGS = TRIALS + 4  # the search, and what is trained after it to compare

_PARTS: Mapping[Part, str] = {"dev": HELD_OUT_DEV, "test": HELD_OUT_TEST}
_CPU_RATE = 2e10  # multiplications and additions a second and core, of a small encoder in float32
_GPU_RATE = 2e13
_UPDATES = 3e8  # weights of the embeddings that are updated a second
_STEP_SECONDS = 0.03  # of a step whatever its size


@dataclass(frozen=True)
class Held:
    """Data without a dev and a test part."""

    holdout: Holdout
    on_leak: Literal["drop", "warn"]  # what is done with training groups that repeat a text of these parts
    leaking: int  # such groups
    corpus: Corpus  # what is left to train on
    settings: tuple[str, ...]  # that the dev part can be scored in

    @property
    def objective(self) -> str:
        """The metric that a search can go by."""
        if len(self.settings) == 3:
            return "balanced/AP"
        return "multi/AP" if "multi" in self.settings else f"{self.settings[0]}/AP"


@dataclass(frozen=True)
class Batches:
    """The batches that the data can fill.

    ``groups`` counts the distinct groups of each language that has mono pairs, ``cross`` the cross pairs with each
    language on either side.
    """

    size: int
    groups: Mapping[str, int]
    cross: Mapping[str, int]
    has_mono: bool  # whether mono batches can be made
    has_cross: bool
    pairs: int

    @property
    def too_small(self) -> list[str]:
        """The languages that cannot fill a mono batch."""
        return [language for language in self.groups if self.groups[language] < self.size]


def hold_out(file: str, documents: int) -> Held:
    """Hold out the least share of a file of groups that leaves something in every part; by document of many.

    Raises:
        InputError: the data are too few for a dev and a test part.
    """
    by_document = documents >= DOCUMENTS
    for share in SHARES:
        holdout = Holdout(documents=share) if by_document else Holdout(groups=share)
        try:
            made_of = recipe(Data(train=[DataSet(path=file)], holdout=holdout), Encoder())
            return _without_leaks(holdout, made_of)
        except InputError:  # a part is empty, or nothing is left
            continue
    raise InputError(
        "there are too few pairs to cut a dev and a test part off; add some, or write a study file with benchmarks of "
        "your own: docs/study.md"
    )


def _without_leaks(holdout: Holdout, made_of: StoreRecipe) -> Held:
    """Leave out the training groups that repeat a text of the parts, unless these are many."""
    assert made_of.cut is not None
    parts = {
        name: benchmark_of_rows(read_benchmark(BenchmarkSource(path=path), made_of.cut.parts[name]))
        for name, path in _PARTS.items()
    }
    search = LeakSearch([ScoredTexts(name, part.queries, part.passages) for name, part in parts.items()])
    for source, group in made_of.groups():
        search.add(group, source.name)
    found = search.finish()
    few = len(found.groups) <= FEW_LEAKS * found.searched
    corpus = (replace(made_of, dropped=frozenset(found.groups)) if few else made_of).read_corpus()
    return Held(holdout, "drop" if few else "warn", len(found.groups), corpus, parts["dev"].settings)


def choose_batches(corpus: Corpus, on_gpu: bool) -> Batches:
    """Choose the batch size that the smallest usable language can fill, and the kinds of batch.

    Raises:
        InputError: no batch of two pairs can be made.
    """
    counts = corpus.pair_counts()
    columns = range(len(corpus.languages))
    groups = {corpus.languages[x]: _distinct(corpus, [(x, x)]) for x in columns if counts[x, x]}
    cross = {corpus.languages[x]: int(counts[x].sum() + counts[:, x].sum() - 2 * counts[x, x]) for x in columns}
    mono_most = max(groups.values(), default=0)
    cross_most = _distinct(corpus, [(x, y) for x, y in np.argwhere(counts).tolist() if x != y])
    least = min(SMALLEST_BATCH, 1 << max(0, max(mono_most, cross_most).bit_length() - 1))
    if least < 2:
        raise InputError("there are too few pairs to train on: no batch of two can be made after dev and test are cut")
    has_mono, has_cross = mono_most >= least, cross_most >= least
    filled = [count for count in groups.values() if count >= least] if has_mono else []
    most = min([*filled, *[cross_most] * has_cross, LARGEST_BATCH[on_gpu]])
    return Batches(1 << (most.bit_length() - 1), groups, cross, has_mono, has_cross, int(counts.sum()))


def _distinct(corpus: Corpus, pairs: list[Pair]) -> int:
    """Count the distinct groups (answer sets) that have one of some language pairs."""
    found = [corpus.answer_sets[groups_of(corpus, pair, aligned=False)] for pair in pairs]
    return len(np.unique(np.concatenate(found))) if found else 0


def choose_lengths(lengths: Mapping[tuple[str, str], Int64], limits: Mapping[str, int]) -> dict[str, tuple[int, float]]:
    """Return by side the tokens that leave nearly all texts uncut, within limits, and the share that is cut."""
    found = {}
    for side, most in TOKENS.items():
        tokens = np.concatenate(
            [*(of for (of_side, _), of in lengths.items() if of_side == side), np.zeros(0, np.int64)]
        )
        wanted = int(np.ceil(np.quantile(tokens, UNCUT) / 8)) * 8 if len(tokens) else 16
        chosen = max(16, min(wanted, most, limits[side]))
        found[side] = chosen, float((tokens > chosen).mean()) if len(tokens) else 0.0
    return found


def choose_steps(batch_size: int, tokens: float, size: Mapping[str, Any], pairs: int, cores: int, gpus: int) -> int:
    """Return steps that all trainings of a first study together take about a minute and a half for.

    ``tokens`` are those of a pair on average; ``size`` has the encoder's ``layers``, ``hidden`` and ``vocabulary``. No
    pair is seen more than about ten times.
    """
    weights = 12 * size["layers"] * size["hidden"] ** 2
    rate = _GPU_RATE * gpus if gpus else _CPU_RATE * cores
    seconds = 6 * weights * tokens * batch_size / rate + _STEP_SECONDS
    seconds += 0.0 if gpus else size["vocabulary"] * size["hidden"] / _UPDATES / cores
    steps = min(SECONDS / TRAININGS / seconds, 10 * pairs / batch_size, 300.0)
    return max(20, int(steps) // 10 * 10)
