"""The constraints of a search as a study file writes them: a metric, a relation, and what it is compared with."""

import re
from dataclasses import dataclass

from hybridtune.config.names import FIXED_ARMS

FORM = "METRIC >= NUMBER, METRIC <= NUMBER, or a fixed ratio in place of the number: mono/AP >= half-half - 0.005"
_NUMBER = r"(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
_FORM = re.compile(
    rf"(?P<metric>[^\s<>=]+)\s*(?P<relation>>=|<=)\s*(?:(?P<number>[+-]?{_NUMBER})|"
    rf"(?P<contestant>{'|'.join(FIXED_ARMS)})(?:\s*(?P<sign>[+-])\s*(?P<margin>{_NUMBER}))?)"
)


@dataclass(frozen=True)
class Constraint:
    """One constraint: the metric of a trial is to be at least (``at_least``), or at most, what the right side says.

    The right side is ``number``, or the same metric of a ``contestant`` (mono-only, half-half, cross-only) plus
    ``number``.
    """

    metric: str
    at_least: bool
    number: float
    contestant: str | None = None

    def __str__(self) -> str:
        right = f"{self.number:.15g}"
        if self.contestant is not None:
            margin = f" {'+' if self.number > 0 else '-'} {abs(self.number):.15g}" if self.number else ""
            right = f"{self.contestant}{margin}"
        return f"{self.metric} {'>=' if self.at_least else '<='} {right}"


def parse_constraint(text: str) -> Constraint:
    """Return a constraint; whether there is such a metric is not checked.

    Raises:
        ValueError: it is written otherwise.

    Example:
        >>> parse_constraint("mono/AP >= half-half - 0.005")
        Constraint(metric='mono/AP', at_least=True, number=-0.005, contestant='half-half')
    """
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no constraint; write {FORM}")
    number = match["number"] or f"{match['sign'] or ''}{match['margin'] or 0}"
    return Constraint(match["metric"], match["relation"] == ">=", float(number), match["contestant"])
