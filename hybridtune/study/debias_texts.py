"""`hybridtune debias` on plain texts: how far vectors tell their language, before and after, and no ranking at all.

Without queries and their answers nothing can be ranked: the ways that move vectors by texts of one side are measured by
`metrics.agnostic` on texts that they were not fitted on.
"""

import contextlib
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from hybridtune.callbacks import StudyCallback
from hybridtune.data.readers.records import Text, TextList
from hybridtune.errors import InputError
from hybridtune.evaluate.debias import FOLDS
from hybridtune.evaluate.sweep import passage_vectors
from hybridtune.metrics.agnostic import measure_agnosticism
from hybridtune.metrics.arrays import Float32, Int64
from hybridtune.model.folder import vectors_digest
from hybridtune.model.language_vectors import LanguageVectors, Method, fit_language_vectors
from hybridtune.study.encoded import check_model, encoded_texts
from hybridtune.study.evaluate_model import EvaluationOptions

METHODS: tuple[Method, ...] = ("together", "coral", "directions-5", "directions-10")
_SHOWN = ("mean_distance", "probe_accuracy")


def debias_texts(
    options: EvaluationOptions,
    name: str,
    texts: Sequence[Text],
    out: Path | None,
    callback: StudyCallback,
    method: str | None,
    dry_run: bool,
) -> tuple[dict[str, Any], LanguageVectors | None]:
    """Measure vectors of plain texts with and without what their language adds, and fit ``method``, or the means.

    Returns:
        ``{"model", "texts", "name", "plain": True, "rows": [{"name", "mean_distance", "probe_accuracy"}], "chosen"}``,
        and what was fitted on all texts; of a dry run the sizes, and None.

    Raises:
        InputError: texts in one language, or a method that needs queries.
    """
    languages = [text.language for text in texts]
    if len(set(languages)) < 2:
        raise InputError(f"{name}: all texts are in one language: there is no language to take out of the vectors")
    if method not in (None, *METHODS):
        raise InputError(f"--method {method}: needs queries and answers; of plain texts: {', '.join(METHODS)}")
    about = {"model": options.encoder.name, "name": name, "texts": len(texts), "plain": True}
    callback.on_message(f"{name}: plain texts, without queries: language means and direct measures are all there is")
    if dry_run:
        check_model(options.encoder, options.resources, callback)
        return {**about, "methods": ", ".join(METHODS)}, None
    with contextlib.ExitStack() as stack:
        home = out or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hybridtune-")))
        folder = encoded_texts(
            [TextList("texts", texts)], len(texts), options.encoder, options.resources, home, callback
        )
        vectors = passage_vectors(folder, [text.text_id for text in texts])
    folds = np.arange(len(texts)) % FOLDS
    rows = [{"name": "start", **_measured(vectors, languages)}]
    rows += [{"name": one, **_measured(_held_out(one, vectors, languages, folds), languages)} for one in METHODS]
    chosen: Method = next((one for one in METHODS if one == method), "together")
    fitted = fit_language_vectors(chosen, {"passages": (vectors, languages)}, vectors_digest(options.encoder))
    return {**about, "rows": rows, "chosen": chosen}, fitted


def _measured(vectors: Float32, languages: Sequence[str]) -> dict[str, Any]:
    found = asdict(measure_agnosticism(vectors, languages, np.full(len(vectors), -1)))
    return {name: found[name] for name in _SHOWN}


def _held_out(method: Method, vectors: Float32, languages: Sequence[str], folds: Int64) -> Float32:
    """Return the vectors, each moved by what was fitted on the texts of the other fold."""
    moved, codes = np.empty_like(vectors), np.array(languages)
    for fold in range(FOLDS):
        own = folds == fold
        fitted = fit_language_vectors(method, {"passages": (vectors[~own], codes[~own].tolist())})
        moved[own] = fitted.move("passages", vectors[own], codes[own].tolist())
    return moved
