"""PURE. The names of metrics: ``SETTING/MEASURE``, or ``SETTING/MEASURE@GROUP`` of some languages or pairs.

Nothing heavy is imported: who only prints figures needs no more.
"""

from typing import NamedTuple


class MetricName(NamedTuple):
    """The parts of a metric's name; an empty group is all languages and pairs."""

    setting: str
    measure: str
    group: str = ""


def parse_metric(name: str) -> MetricName:
    """Return the parts of a metric's name; whether there is such a metric is not checked.

    Example:
        >>> tuple(parse_metric("multi/nDCG@10@low-resource"))
        ('multi', 'nDCG@10', 'low-resource')
    """
    setting, _, rest = name.partition("/")
    return MetricName(setting, *split_group(rest))


def split_group(measure: str) -> tuple[str, str]:
    """Split ``AP@en-sw`` into measure and group; a cutoff (``nDCG@10``) is part of the measure."""
    name, at, group = measure.rpartition("@")
    return (name, group) if at and group[:1].isalpha() else (measure, "")


def is_distance(name: str) -> bool:
    """Return whether a metric is a rank distance: in ranks, and the less the better."""
    return split_group(name)[0].rpartition("/")[2] == "rank_distance"
