import pytest

from hybridtune.errors import InputError
from hybridtune.metrics.metrics import direction, measures_of
from hybridtune.metrics.names import is_distance, parse_metric, split_group


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("multi/AP", ("multi", "AP", "")),
        ("multi/nDCG@10", ("multi", "nDCG@10", "")),
        ("multi/nDCG@10@low-resource", ("multi", "nDCG@10", "low-resource")),
        ("balanced/AP@sw+ha", ("balanced", "AP", "sw+ha")),
        ("cross/my_measures:first_half@en-sw", ("cross", "my_measures:first_half", "en-sw")),
        ("cross/AP@", ("cross", "AP@", "")),
    ],
)
def test_a_name_is_setting_measure_and_group(name, parts):
    assert tuple(parse_metric(name)) == parts
    assert split_group(name.partition("/")[2]) == parts[1:]


def test_a_group_changes_no_direction_and_no_measure():
    assert direction("multi/rank_distance@sw") == "min"
    assert direction("cross/R@5@unseen") == "max"
    assert is_distance("multi/rank_distance@sw")
    assert is_distance("rank_distance")
    assert not is_distance("multi/AP@sw")
    for wrong in ("multi/AP@", "mono/rank_distance@sw", "all/AP@sw", "cross/XY@sw"):
        with pytest.raises(InputError, match=r"unknown metric .* and each with @GROUP"):
            direction(wrong)
    added = measures_of(["multi/R@5", "cross/AP@sw", "multi/rank_distance", "multi/rank_distance@sw"])
    assert added[-3:] == ("R@5", "AP@sw", "rank_distance@sw")
