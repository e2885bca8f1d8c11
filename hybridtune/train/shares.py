"""The shares of a score's units, which come with the report where a search compares trials by them."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

from hybridtune.config.study import Study
from hybridtune.storage.files import join, read_file

if TYPE_CHECKING:
    from hybridtune.metrics.racing import Shares

SHARES = "unit_shares"  # in a report
FILE = "unit_shares.npy"  # in a checkpoint


def shares_metric(study: Study) -> str | None:
    """Return the metric whose shares the study's search asks for; None: it asks for none."""
    stopping = study.search.early_stopping
    if stopping is not None and stopping.method == "paired":
        return stopping.metric or study.search.objective[0]
    return study.search.objective[0] if study.search.stop_within_noise is not None else None


def write_shares(study: Study, per_query_file: Path) -> None:
    """Write the shares of a score beside its per-query values, where the search asks for them."""
    metric = shares_metric(study)
    if metric is None:
        return
    import numpy as np

    from hybridtune.metrics.per_query import read_per_query
    from hybridtune.metrics.racing import unit_shares
    from hybridtune.metrics.units import choose_unit

    values = read_per_query(per_query_file)
    np.save(per_query_file.with_name(FILE), unit_shares(values, metric, choose_unit([values])[0]))


def read_shares(checkpoint: str) -> "dict[str, Shares]":
    """Return the shares of a checkpoint as a report has them: ``{"unit_shares": float32 [U, S]}``; {} without any."""
    content = read_file(join(checkpoint, FILE))
    if content is None:
        return {}
    import numpy as np

    return {SHARES: np.load(io.BytesIO(content))}
