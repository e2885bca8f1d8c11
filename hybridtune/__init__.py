"""Find the mix of monolingual and cross-lingual batches that makes the best multilingual retriever.

    from hybridtune import load_study, run_study

    study = load_study("study.yaml", search__trials=20, train__max_steps=500)
    result = run_study(study, out="studies/first")
    print(result.best.values, result.trials["balanced/AP"].max(), result.model)

Every public name is imported at its first use: ``import hybridtune`` is cheap.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hybridtune.callbacks import StudyCallback
    from hybridtune.config.study import Study, load_study
    from hybridtune.data.batch_sampler import HybridBatchSampler
    from hybridtune.data.plan import BatchSpec, HybridPlan
    from hybridtune.evaluate.benchmark import load_benchmark, score_vectors
    from hybridtune.metrics.ranks import RankCounter, ranks
    from hybridtune.model.encoder import DualEncoder
    from hybridtune.model.language_vectors import (
        LanguageVectors,
        fit_language_vectors,
        load_language_vectors,
    )
    from hybridtune.model.loss import info_nce
    from hybridtune.study.evaluate_model import evaluate_model
    from hybridtune.study.result import StudyResult, read_trials
    from hybridtune.study.run import run_study

    __version__: str

_HOMES = {
    "BatchSpec": "data.plan",
    "DualEncoder": "model.encoder",
    "HybridBatchSampler": "data.batch_sampler",
    "HybridPlan": "data.plan",
    "LanguageVectors": "model.language_vectors",
    "RankCounter": "metrics.ranks",
    "Study": "config.study",
    "StudyCallback": "callbacks",
    "StudyResult": "study.result",
    "evaluate_model": "study.evaluate_model",
    "fit_language_vectors": "model.language_vectors",
    "info_nce": "model.loss",
    "load_benchmark": "evaluate.benchmark",
    "load_language_vectors": "model.language_vectors",
    "load_study": "config.study",
    "ranks": "metrics.ranks",
    "read_trials": "study.result",
    "run_study": "study.run",
    "score_vectors": "evaluate.benchmark",
}

__all__ = [
    "BatchSpec",
    "DualEncoder",
    "HybridBatchSampler",
    "HybridPlan",
    "LanguageVectors",
    "RankCounter",
    "Study",
    "StudyCallback",
    "StudyResult",
    "__version__",
    "evaluate_model",
    "fit_language_vectors",
    "info_nce",
    "load_benchmark",
    "load_language_vectors",
    "load_study",
    "ranks",
    "read_trials",
    "run_study",
    "score_vectors",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("hybridtune")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
