"""How trials fit on a cluster, against a twin that tries every way of placing workers on nodes."""

import functools
import itertools
from types import SimpleNamespace

import pytest

from hybridtune.errors import InputError
from hybridtune.runtime.resources import WORKER_OVERHEAD, NodeType, Shape, allocate, explain_cap


class Asked(SimpleNamespace):
    """Resources of a study, unchecked, so that every combination can be written down."""

    def __init__(self, **values):
        defaults = {
            "workers": 1,
            "cpus_per_worker": 1,
            "gpus_per_worker": 0.0,
            "evaluators": None,
            "concurrent_trials": None,
            "accelerator_type": None,
            "placement": "pack",
        }
        super().__init__(**{**defaults, **values})

    def model_copy(self, update):
        return Asked(**{**vars(self), **update})


def head(cpus=0.0, gpus=0.0):
    return NodeType("head", cpus, gpus, None, 1, 1, head=True)


def worker(name="worker", cpus=2.0, gpus=0.0, least=0, most=2, accelerator=None, spot=False):
    return NodeType(name, cpus, gpus, accelerator, least, most, spot=spot)


def most_by_trying(asked, nodes):
    """Trials that nodes hold, found by placing one worker after the other on every node and GPU there is."""
    cpus_of_one = asked.cpus_per_worker + WORKER_OVERHEAD

    @functools.cache
    def trials(state):
        return max((1 + trials(after) for after in after_trial(state)), default=0)

    def after_trial(state):
        if asked.placement == "strict_pack":
            found = set()
            for at in range(len(state)):
                found |= after_workers(frozenset({state}), {at})
            return found
        return after_workers(frozenset({state}), set(range(len(state))))

    def after_workers(states, allowed):
        for _ in range(asked.workers):
            states = {tuple(sorted(after)) if len(allowed) > 1 else after for s in states for after in one(s, allowed)}
        return set(states)

    def one(state, allowed):
        for at in allowed:
            cpus, gpus = state[at]
            if cpus < cpus_of_one:
                continue
            for taken in gpus_taken(gpus):
                yield (*state[:at], (cpus - cpus_of_one, taken), *state[at + 1 :])

    def gpus_taken(gpus):
        each = asked.gpus_per_worker
        if not each:
            return {gpus}
        if each < 1:
            parts = [g for g in range(len(gpus)) if gpus[g] >= each - 1e-4]
            return {tuple(sorted(g - each * (i == at) for i, g in enumerate(gpus))) for at in parts}
        whole = [i for i, g in enumerate(gpus) if g == 1]
        taken = set(whole[: int(each)])
        return {tuple(sorted(0 if i in taken else g for i, g in enumerate(gpus)))} if len(whole) >= each else set()

    return trials(tuple(sorted((node.cpus, (1.0,) * int(node.gpus)) for node in nodes)))


def most_of_a_shape(asked, shape, types):
    """The best over every number of nodes that the shape allows."""
    ranges = [range(node.least, node.most + 1) for node in shape.types]
    best = 0
    for counts in itertools.product(*ranges):
        extra = sum(count for count, node in zip(counts, shape.types, strict=True) if not node.head)
        if shape.most_workers is not None and extra > max(shape.most_workers, least_of(shape)):
            continue
        nodes = [n for n, count in zip(shape.types, counts, strict=True) for _ in range(count) if n in types]
        best = max(best, most_by_trying(asked, nodes))
    return best


def least_of(shape):
    return sum(node.least for node in shape.types if not node.head)


SHAPES = [
    Shape((head(), worker()), None),
    Shape((head(3), worker(cpus=4, most=2)), None),
    Shape((head(), worker("a", 3, 1, most=2), worker("b", 6, 2, most=1)), 2),
    Shape((head(), worker("a", 2, 0, most=2), worker("b", 4, 2, least=1, most=2)), 3),
    Shape((head(4, 1),), None),
    Shape((head(), worker("a", 1.4, 0, most=3), worker("b", 8, 3, most=1)), None),
    Shape((head(2), worker("a", 5, 2, most=2, accelerator="A10G"), worker("b", 5, 4, most=1)), 2),
]
ASKED = [
    Asked(workers=workers, cpus_per_worker=cpus, gpus_per_worker=gpus, placement=placement)
    for workers in (1, 2, 3)
    for cpus in (1, 2)
    for gpus in (0.0, 0.25, 0.5, 0.4, 1.0, 2.0)
    for placement in ("pack", "strict_pack", "spread")
]


@pytest.mark.parametrize("shape", SHAPES, ids=range(len(SHAPES)))
def test_as_many_trials_at_once_as_trying_every_placement_finds(shape):
    for asked in ASKED:
        types = list(shape.types)
        if not asked.gpus_per_worker:  # nodes with GPUs are not started for them, where others will do
            thrifty = [node for node in types if not node.gpus or node.least]
            kept = Shape(tuple(thrifty_most(node) for node in types), shape.most_workers)
            if thrifty and most_of_a_shape(asked, kept, kept.types):
                expected = most_of_a_shape(asked, kept, kept.types)
            else:
                expected = most_of_a_shape(asked, shape, types)
        else:
            expected = most_of_a_shape(asked, shape, types)
        if expected:
            allocation = allocate(asked, shape, 1000, 12)
            assert allocation.at_once == expected, asked
            assert_nodes_are_enough(asked, shape, allocation)
        else:
            with pytest.raises(InputError, match=r"^resources: a trial of .* needs .* has [^\n]*$"):
                allocate(asked, shape, 1000, 12)


def thrifty_most(node):
    most = node.least if node.gpus else node.most
    return NodeType(node.name, node.cpus, node.gpus, node.accelerator, node.least, most, node.head, node.spot)


def assert_nodes_are_enough(asked, shape, allocation):
    nodes = [node for node in shape.types for _ in range(allocation.nodes.get(node.name, 0))]
    assert most_by_trying(asked, nodes) >= allocation.at_once
    for node in shape.types:
        assert node.least <= allocation.nodes.get(node.name, 0) <= node.most
    if shape.most_workers is not None:
        assert sum(not node.head for node in nodes) <= shape.most_workers


def test_trials_concurrent_trials_and_room_bound_the_trials_at_once():
    shape = Shape((head(), worker(cpus=8, most=4)), None)
    assert allocate(Asked(), shape, 100, 8).at_once == 20
    assert allocate(Asked(concurrent_trials=3), shape, 100, 8).at_once == 3
    assert allocate(Asked(concurrent_trials=30), shape, 2, 8).at_once == 2


def test_a_search_that_learns_has_few_trials_at_once_and_nodes_for_these_alone():
    shape = Shape((head(), worker(cpus=8, most=4)), None)
    found = allocate(Asked(), shape, 100, 8, most=3)
    assert (found.at_once, found.nodes) == (3, {"head": 1, "worker": 1})
    assert found.notices == (explain_cap(20, 3)[0],)
    assert allocate(Asked(), shape, 12, 8, most=30).notices == ()
    asked = allocate(Asked(concurrent_trials=9), shape, 100, 8, most=3)
    assert (asked.at_once, asked.notices) == (9, ())


@pytest.mark.parametrize(("gpus", "warned"), [(0.0, True), ("auto", False), (1.0, False)])
def test_gpus_of_a_cluster_that_stand_idle_are_told(gpus, warned):
    found = allocate(Asked(gpus_per_worker=gpus), Shape((head(), worker("g", 8, 1)), None), 2, 8)
    assert [
        notice.startswith("warning: trains on CPUs, and g of the cluster has GPUs") for notice in found.notices
    ] == [True] * warned


def test_only_the_nodes_that_so_many_trials_need_are_counted():
    shape = Shape((head(), worker("cpu", 8, most=9), worker("gpu", 8, 1, most=4, least=1)), None)
    assert allocate(Asked(workers=2, gpus_per_worker=1), shape, 1, 8).nodes == {"head": 1, "gpu": 2}
    assert allocate(Asked(cpus_per_worker=7), shape, 3, 8).nodes == {"head": 1, "cpu": 2, "gpu": 1}
    assert allocate(Asked(cpus_per_worker=7), shape, 3, 8).at_once == 3


def test_spot_nodes_come_first_among_equals():
    shape = Shape((head(), worker("kept", 8), worker("spot", 8, spot=True)), 3)
    assert allocate(Asked(cpus_per_worker=7), shape, 2, 8).nodes == {"head": 1, "spot": 2}
    assert allocate(Asked(cpus_per_worker=7), shape, 9, 8).nodes == {"head": 1, "kept": 1, "spot": 2}


AUTO = {"workers": "auto", "cpus_per_worker": "auto", "gpus_per_worker": "auto"}


@pytest.mark.parametrize(
    ("types", "asked", "batch", "worked_out"),
    [
        ((worker(cpus=8),), AUTO, 32, (1, 7, 0)),
        ((worker(cpus=1.5),), AUTO, 32, (1, 1, 0)),
        ((worker(cpus=32, gpus=4),), AUTO, 32, (4, 7, 1)),
        ((worker(cpus=32, gpus=4),), AUTO, 30, (3, 7, 1)),  # a divisor of the batch; the fourth GPU's CPUs stay free
        ((worker(cpus=32, gpus=4),), AUTO, 7, (1, 7, 1)),
        ((worker(cpus=32, gpus=4),), {**AUTO, "gpus_per_worker": 2.0}, 32, (2, 15, 2)),
        ((worker(cpus=32, gpus=4),), {**AUTO, "gpus_per_worker": 0.5}, 32, (8, 3, 0.5)),
        ((worker(cpus=32, gpus=4),), {**AUTO, "gpus_per_worker": 0.0}, 32, (1, 31, 0)),
        ((worker(cpus=32, gpus=4),), {**AUTO, "workers": 8}, 32, (8, 7, 1)),
        ((worker(cpus=32, gpus=4),), {**AUTO, "cpus_per_worker": 10}, 32, (2, 10, 1)),  # 3 fit; 2 divides 32
        ((worker("c", 16), worker("g", 8, 1)), AUTO, 32, (1, 7, 1)),
        ((worker("c", 16), worker("g", 8, 1)), {**AUTO, "gpus_per_worker": 0.0}, 32, (1, 15, 0)),
        ((worker("small", 4), worker("big", 64)), AUTO, 32, (1, 3, 0)),  # so that all nodes are of use
        ((worker("tiny", 1), worker("big", 64)), AUTO, 32, (1, 63, 0)),  # a tiny one can hold no worker at all
        ((worker(cpus=16, most=4),), {**AUTO, "workers": 2}, 32, (2, 7, 0)),
        ((worker(cpus=16, most=4),), {**AUTO, "workers": 2, "placement": "spread"}, 32, (2, 15, 0)),
        ((worker(cpus=16, most=1),), {**AUTO, "workers": 2, "placement": "spread"}, 32, (2, 7, 0)),
        (
            (worker("a", 8, 1, accelerator="A10G"), worker("h", 64, 8, accelerator="H100")),
            {**AUTO, "accelerator_type": "A10G"},
            32,
            (1, 7, 1),
        ),
    ],
)
def test_auto_is_worked_out(types, asked, batch, worked_out):
    found = allocate(Asked(**asked), Shape((head(), *types), None), 5, batch).resources
    assert (found.workers, found.cpus_per_worker, found.gpus_per_worker) == worked_out


def test_auto_takes_the_head_where_nothing_else_is():
    found = allocate(Asked(**AUTO), Shape((head(8, 1),), None), 5, 32).resources
    assert (found.workers, found.cpus_per_worker, found.gpus_per_worker) == (1, 7, 1)
    found = allocate(Asked(**AUTO), Shape((head(64), worker(cpus=4)), None), 5, 32).resources
    assert found.cpus_per_worker == 3


def test_what_auto_works_out_fits_whenever_one_cpu_does():
    for cpus, gpus, most, workers, placement in itertools.product(
        (1.5, 2, 3, 8, 17), (0, 1, 2), (1, 3), ("auto", 1, 2, 3), ("pack", "strict_pack", "spread")
    ):
        shape = Shape((head(), worker(cpus=cpus, gpus=gpus, most=most)), None)
        asked = Asked(**{**AUTO, "workers": workers, "placement": placement})
        try:
            allocate(asked.model_copy({"cpus_per_worker": 1}), shape, 3, 12)
        except InputError:
            continue
        allocate(asked, shape, 3, 12)


@pytest.mark.parametrize(("evaluators", "each"), [(None, 2), (1, 1), (4, 1), (6, 2), (100, 2)])
def test_evaluators_are_shared_out_and_never_more_than_the_workers(evaluators, each):
    allocation = allocate(Asked(workers=2, evaluators=evaluators), Shape((head(), worker(cpus=3, most=3)), None), 9, 8)
    assert (allocation.at_once, allocation.evaluators) == (3, each)


ONE_GPU = Shape((head(), worker("cpu", 8, most=9), worker("gpu_worker", 8, 1, most=4, accelerator="A10G")), None)


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        (
            {"workers": 8, "gpus_per_worker": 1},
            r"a trial of 8 workers with 1 GPU and 1 CPU each needs 8 GPUs and 12 CPUs \(.*\); the largest worker type, "
            r"gpu_worker, has 1 GPU and 8 CPUs, and there are at most 4 nodes that hold such a worker; "
            r"lower workers or gpus_per_worker, or raise max_workers",
        ),
        (
            {"gpus_per_worker": 8},
            r"a trial of 1 worker with 8 GPUs and 1 CPU needs 8 GPUs and 1.5 CPUs on one node .* gpu_worker, has 1 GPU",
        ),
        (
            {"workers": 2, "gpus_per_worker": 1, "placement": "strict_pack"},
            r"2 workers .* needs 2 GPUs .* on one node .* gpu_worker, has 1 GPU .* placement pack, or give",
        ),
        ({"cpus_per_worker": 8}, r"needs 8.5 CPUs on one node .*, has 8 CPUs; lower cpus_per_worker"),
        ({"accelerator_type": "H100"}, r"accelerator_type 'H100': no node type .* there: A10G \(gpu_worker\)"),
        (
            {"accelerator_type": "A10G", "gpus_per_worker": 1, "workers": 5},
            r"needs 5 GPUs .* gpu_worker, has 1 GPU .* at most 4 nodes",
        ),
    ],
)
def test_a_trial_that_cannot_fit_is_refused_with_both_numbers(asked, line):
    with pytest.raises(InputError, match=line) as refused:
        allocate(Asked(**asked), ONE_GPU, 10, 8)
    assert "\n" not in str(refused.value)


def test_a_cluster_without_nodes_is_refused():
    with pytest.raises(InputError, match="no nodes at all"):
        allocate(Asked(), Shape((worker(most=0),), None), 1, 8)
    with pytest.raises(InputError, match=r"needs 1.5 CPUs .* the largest node type that can run trials, head, has 0"):
        allocate(Asked(), Shape((head(),), None), 1, 8)
