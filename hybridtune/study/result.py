"""The result of a search, and the table of any study folder's trials, for Python."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hybridtune.config.study import Study
from hybridtune.errors import InputError
from hybridtune.storage.study_folder import check_format
from hybridtune.storage.trial_rows import TrialRow, read_rows

if TYPE_CHECKING:
    import pandas as pd


def located(result: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return what ``result.json`` holds with the study folder, and with the paths of what lies in it, as it lies now.

    The checkpoints of trials stay paths in the study folder.
    """
    paths = {name: str(folder / result[name]) for name in ("model", "report") if name in result}
    found = {"study": str(folder), **result, **paths}
    if (soups := result.get("soups")) is not None and soups["model"] is not None:
        found["soups"] = {**soups, "model": str(folder / soups["model"])}
    return found


@dataclass(frozen=True)
class StudyResult:
    """A finished study.

    Attributes:
        study: as it ran, without ``auto`` in its resources.
        result: what ``result.json`` holds, `located`: the screening, the trials, the Pareto front, the contestants,
            the scores on the test benchmark, the soups, the seed check, the headline.

    Example: see `hybridtune.run_study`.
    """

    study: Study
    result: Mapping[str, Any]

    @property
    def folder(self) -> Path:
        """The study folder on this machine."""
        return Path(self.result["study"])

    @property
    def model(self) -> Path:
        """The folder of the best model, which ``DualEncoder.load`` and sentence-transformers open."""
        return Path(self.result["model"])

    @property
    def best(self) -> TrialRow:
        """The best trial: its id, values, metrics and checkpoint."""
        return TrialRow(**self.result["best"])

    @property
    def contestants(self) -> "pd.DataFrame":
        """The contestants on the test benchmark, or on dev where there is none: a row each, by its name.

        Columns: ``trial``, then for each metric its value, the ``low`` and ``high`` end of its 95 % interval
        (``multi/AP low``), and the tuned model's value less this one (``multi/AP tuned minus it``) with the ends of
        its paired interval.
        """
        import pandas as pd

        rows = []
        for one in self.result["contestant_scores"]["rows"]:
            row = {"contestant": one["name"], "trial": one["trial"]}
            for name, found in one["metrics"].items():
                row |= {name: found["value"], f"{name} low": found["low"], f"{name} high": found["high"]}
            for name, found in one["tuned_minus_it"].items():
                apart = f"{name} tuned minus it"
                row |= {apart: found["difference"], f"{apart} low": found["low"], f"{apart} high": found["high"]}
            rows.append(row)
        return pd.DataFrame(rows).set_index("contestant")

    @property
    def trials(self) -> "pd.DataFrame":
        """The trials as `read_trials` gives them."""
        return _table([TrialRow(**trial) for trial in self.result["trials"]])


def read_trials(folder: str | Path) -> "pd.DataFrame":
    """Read the trials of a study that runs, was cut off or has ended.

    Args:
        folder: the study folder on this machine.

    Returns:
        a row a trial, in the order of their numbers, with the trial's id as index: ``number``, ``arm``, ``proposed``,
        ``status``, ``seconds``, ``began``, ``reason``, ``checkpoint``, then a column for each field that the trials set
        and one for each metric of their last report; of a trial that is done, those of its best checkpoint.

    Raises:
        InputError: the folder holds no study, or one of another format.

    Example:
        >>> read_trials("studies/newsroom").sort_values("balanced/AP")  # doctest: +SKIP
    """
    if not (Path(folder) / "study.yaml").is_file():
        raise InputError(f"{folder}: is no study folder (no study.yaml); give the folder that a study was run into")
    check_format(folder)
    return _table(read_rows(Path(folder), running=True))


def _table(rows: Sequence[TrialRow]) -> "pd.DataFrame":
    import pandas as pd

    flat = []
    for row in sorted(rows, key=lambda row: row.number):
        fields = asdict(row)
        values, metrics = fields.pop("values"), fields.pop("metrics")
        flat.append({**fields, **values, **metrics})
    names = ["id", "number", "arm", "proposed", "status", "seconds", "began", "reason", "checkpoint"]
    return pd.DataFrame(flat, columns=list(dict.fromkeys([*names, *(key for row in flat for key in row)]))).set_index(
        "id"
    )
