"""The guard of what is scored: a study, and an evaluation of a model that says what it was trained on, are checked.

`data.leaks` looks for the texts; this module decides by `data.on_leak`, and keeps what was found for the next start.
"""

import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from hybridtune.callbacks import Progress, StudyCallback, phase
from hybridtune.config.study import Study
from hybridtune.data import fingerprints
from hybridtune.data.corpus import Corpus
from hybridtune.data.leaks import RULES, Leak, LeakReport, LeakSearch, ScoredTexts, Side, dev_in_test
from hybridtune.data.readers.files import Source
from hybridtune.data.readers.native import Group
from hybridtune.data.readers.records import BenchmarkRows, Text
from hybridtune.data.store import StoreRecipe, TokenStore, existing_store, store_root
from hybridtune.data.training_texts import TrainingTexts, in_blocks
from hybridtune.errors import InputError
from hybridtune.evaluate.benchmark import Benchmark
from hybridtune.model.published import TRAINING_TEXTS, Repository
from hybridtune.storage.files import write_atomically
from hybridtune.storage.records import DamagedError, read_object
from hybridtune.study.language_guard import LanguageGuard

REPORT = "leaks.json"  # in a study folder

_REPORTS = "leaks"  # folder beside the token stores, for the next start
_MANY = 1 << 14  # groups, of which no more are looked through in a few seconds
_AT_ONCE = 1 << 10  # groups between two reports of progress


@dataclass(frozen=True)
class Guarded:
    """The training data of a study that may go on.

    Attributes:
        recipe: without the groups that are dropped.
        corpus: of it.
        report: on all groups, before any was dropped.
        in_dev: queries and passages of the test benchmark that are in the dev benchmark too; empty without a test.
    """

    recipe: StoreRecipe
    corpus: Corpus
    report: LeakReport
    in_dev: Mapping[Side, int]


def guard(study: Study, made_of: StoreRecipe, benchmarks: Mapping[str, Benchmark], callback: StudyCallback) -> Guarded:
    """Look for the benchmarks' texts in the training data, and read its corpus; nothing is written.

    Data of which there is no token store yet are checked for their languages, too. All of that is one pass.

    Raises:
        InputError: texts were found, and ``data.on_leak`` is error; or what the readers find wrong; or texts in another
            language than they say, see `LanguageGuard`.
    """
    _check_start(study, benchmarks)
    scored = [ScoredTexts(f"benchmarks.{name}", one.queries, one.passages) for name, one in benchmarks.items()]
    root, dropping = store_root(study.data), study.data.on_leak == "drop"
    store = existing_store(root, made_of)
    corpus = store.corpus() if store is not None else None
    report = _found_before(_report_file(root, made_of, benchmarks))
    languages = LanguageGuard() if store is None else None
    if report is None or languages is not None:
        with contextlib.ExitStack() as stack:
            search = _Search(scored, study.data.language_limits, callback, stack) if report is None else None

            def look(source: Source, group: Group) -> None:
                if languages is not None:
                    languages.look(group)
                if search is not None:
                    search.look(source, group)

            if corpus is None and not dropping:
                corpus = made_of.read_corpus(look)
            else:
                for source, group in made_of.groups():
                    look(source, group)
            if search is not None:
                report = search.finish()
        if languages is not None:
            languages.check(study, callback)
        for line in made_of.notes.lines():
            callback.on_message(line)
    assert report is not None
    if report.groups and study.data.on_leak == "error":
        raise InputError(refusal(report))
    if report.groups and dropping:
        made_of, corpus = replace(made_of, dropped=frozenset(report.groups)), None
    if corpus is None:
        store = existing_store(root, made_of)
        corpus = store.corpus() if store is not None else made_of.read_corpus()
    in_dev = dev_in_test(*scored) if len(scored) > 1 else {}
    return Guarded(made_of, corpus, report, in_dev)


class _Search:
    """A search that leaves out groups of which no language is trained on, and reports its progress if it is long."""

    def __init__(
        self,
        scored: Sequence[ScoredTexts],
        limits: Mapping[str, int],
        callback: StudyCallback,
        stack: contextlib.ExitStack,
    ) -> None:
        self._search, self._callback, self._stack = LeakSearch(scored), callback, stack
        self._progress: Progress = lambda done, total: None
        self._untrained = {language for language, limit in limits.items() if limit == 0}

    def look(self, source: Source, group: Group) -> None:
        if not {*group.queries, *group.passages} <= self._untrained:
            self._search.add(group, source.name)
            searched = self._search.searched
            if searched == _MANY:
                shown = phase(self._callback, "looking for the benchmarks in the training texts", "groups")
                self._progress = self._stack.enter_context(shown)
            if searched % _AT_ONCE == 0:
                self._progress(searched, searched)

    def finish(self) -> LeakReport:
        report = self._search.finish()
        self._progress(report.searched, report.searched)
        return report


def refusal(report: LeakReport) -> str:
    """Return why a study is refused, in one line that ends with the settings that go on."""
    return (
        f"data.train: holds texts of what is scored: {report.describe()}. --set data.on_leak=drop trains without the "
        f"{len(report.groups):,} of {report.searched:,} groups that hold them, data.on_leak=warn with them; "
        "data.holdout: {documents: 0.1} in place of benchmarks cuts a dev and a test part out of the training files"
    )


def leak_lines(study: Study, guarded: Guarded, benchmarks: Mapping[str, Benchmark]) -> list[str]:
    """Return what a user should know of the guard's findings, before the study starts."""
    report, lines = guarded.report, []
    texts = sum(sum(sides.values()) for sides in report.sizes.values())
    if report.groups:
        done = f"the {len(report.groups):,} groups that hold them are left out"
        if study.data.on_leak == "warn":
            done = "trained on all the same (data.on_leak warn): scores are too good"
        lines.append(f"texts of the benchmarks in the training data: {report.describe()}; {done}")
    else:
        lines.append(f"none of the benchmarks' {texts:,} texts counts as found in {report.searched:,} training groups")
    counted = set(report.counted())
    short = [leak for leak in report.leaks if leak not in counted]
    if short:
        example = f"{short[0].side} {short[0].text_id!r} in group {short[0].group_id!r}"
        lines.append(
            f"{len(short)} texts of under 5 words are in the training data too, few enough for chance: {example}"
        )
    if guarded.in_dev.get("queries"):
        test = benchmarks["test"]
        lines.append(
            f"benchmarks.test: {guarded.in_dev['queries']:,} of its {len(test.queries):,} queries and "
            f"{guarded.in_dev['passages']:,} of its {len(test.passages):,} passages are in benchmarks.dev too, which "
            "steers the search: on these it is no test (benchmarks.test.documents leaves them out)"
        )
    return lines


def leak_counts(report: LeakReport) -> dict[str, Any]:
    """Return the numbers of a report as plain values: of each benchmark what was found, by side and by language."""
    counts: dict[str, Any] = {"searched_groups": report.searched, "leaking_groups": len(report.groups)}
    for name, sizes in report.sizes.items():
        found = report.counted(name)
        counts[name] = {
            "texts": dict(sizes),
            "found": dict(Counter(leak.side for leak in found)),
            "languages": dict(Counter(leak.language for leak in found).most_common()),
            "documents": dict(Counter(leak.document for leak in found).most_common()),
        }
    return counts


def keep_report(study: Study, guarded: Guarded, benchmarks: Mapping[str, Benchmark], folder: Path) -> None:
    """Write what was found into a study's folder, and beside the token stores for the next start."""
    content = json.dumps({"on_leak": study.data.on_leak, **guarded.report.to_json()}, indent=1)
    write_atomically(folder / REPORT, content)
    file = _report_file(store_root(study.data), replace(guarded.recipe, dropped=frozenset()), benchmarks)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, content)


def dropped_groups(study: Study, folder: Path) -> frozenset[str]:
    """Return the ids of the groups that the study of a folder left out of its training."""
    file = folder / REPORT
    if study.data.on_leak != "drop" or not file.is_file():
        return frozenset()
    groups = (read_object(file) or {}).get("groups")
    if not isinstance(groups, dict | list):
        raise DamagedError(f"{file}: 'groups' is missing; it says which texts were left out: put it back from a copy")
    return frozenset(groups)


def _found_before(file: Path) -> LeakReport | None:
    """Return what an earlier search found; None where there was none, or its file is damaged: it is searched again."""
    try:
        found = read_object(file)
        return None if found is None else LeakReport.from_json(found)
    except (DamagedError, KeyError, TypeError):
        return None


def _report_file(root: Path, made_of: StoreRecipe, benchmarks: Mapping[str, Benchmark]) -> Path:
    """Return the file of what was found, named by all that it depends on."""
    untrained = sorted(language for language, limit in made_of.limits.items() if limit == 0)
    digests = [(name, one.relevance.digest) for name, one in benchmarks.items()]
    depends = (fingerprints.RULES, RULES, made_of.data_digest, untrained, digests)
    return root / _REPORTS / f"{hashlib.sha256(repr(depends).encode()).hexdigest()}.json"


def check_evaluation(
    model: str, rows: BenchmarkRows, on_leak: Literal["error", "warn"], callback: StudyCallback
) -> None:
    """Look for a benchmark's texts among those that a model says it was trained on; without that nothing is checked.

    Raises:
        InputError: some were found, and ``on_leak`` is error.
    """
    trained = training_texts_of(model)
    if trained is None:
        return
    with phase(callback, "looking for the benchmark in the model's training texts", "texts") as progress:
        passages = chain.from_iterable(part.read() for part in rows.corpus)
        report, chosen = _find_trained(trained, rows.name, rows.queries, passages, progress)
    if report.counted():
        said = f"{model}: was trained on texts of this benchmark: {report.describe()}"
        if on_leak == "error":
            raise InputError(f"{said}. --on-leak warn scores it all the same")
        callback.on_message(f"{said}; scored all the same: the scores are too good")
    if chosen:
        of = sum(report.sizes[rows.name].values())
        callback.on_message(
            f"{chosen:,} of the {of:,} texts are of the dev benchmark that chose this model: on them it is no test"
        )


def training_texts_of(model: str) -> TrainingTexts | None:
    """Return what the folder of a model says of the texts that it was trained on; None: nothing."""
    file = Repository(model).file(TRAINING_TEXTS)
    return TrainingTexts.load(file) if file is not None else None


def texts_of_training(study: Study, store: TokenStore, dev: Benchmark) -> TrainingTexts:
    """Return the fingerprints that a model of the study carries: of its training texts, and of what chose it."""
    made = TrainingTexts.load(store.training_texts())
    assert made is not None, "a store of this format has the fingerprints of this version"
    trained = made.with_dev(text.text for text in [*dev.queries, *dev.passages])
    start = training_texts_of(study.encoder.name) if study.encoder.name != "tiny" else None
    return trained if start is None else trained.after(start)


def _check_start(study: Study, benchmarks: Mapping[str, Benchmark]) -> None:
    """Look for the benchmarks among the texts that the starting encoder was trained on."""
    trained = training_texts_of(study.encoder.name) if study.encoder.name != "tiny" else None
    for name, one in benchmarks.items() if trained is not None and study.data.on_leak == "error" else ():
        assert trained is not None
        report, _ = _find_trained(trained, f"benchmarks.{name}", one.queries, one.passages)
        if report.counted():
            raise InputError(
                f"encoder {study.encoder.name}: was trained on texts of what is scored: {report.describe()}. "
                "--set data.on_leak=warn goes on with it"
            )


def _find_trained(
    trained: TrainingTexts,
    name: str,
    queries: Iterable[Text],
    passages: Iterable[Text],
    progress: Progress = lambda done, total: None,
) -> tuple[LeakReport, int]:
    """Look for a benchmark among the texts of a training; count also those that the dev benchmark of it has."""
    leaks: list[Leak] = []
    sizes: dict[Side, int] = {"queries": 0, "passages": 0}
    chosen = 0
    progress(0, 1)  # how many there are is known at the end
    sides: tuple[tuple[Side, Iterable[Text]], ...] = (("queries", queries), ("passages", passages))
    for side, texts in sides:
        for block in in_blocks(texts):
            written = [text.text for text in block]
            kinds = zip(block, trained.find(written), strict=True)
            leaks += [Leak(name, side, text.language, text.text_id, kind) for text, kind in kinds if kind is not None]
            sizes[side] += len(block)
            chosen += trained.chose(written)
            progress(sum(sizes.values()), sum(sizes.values()))
    return LeakReport({name: sizes}, leaks), chosen
