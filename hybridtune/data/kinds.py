"""The three kinds of batch: what each draws from in a corpus, and whether what is asked for can be made at all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from hybridtune.data.corpus import Corpus
from hybridtune.data.pairs import Pair, distinct_answer_sets, groups_of, question_pairs, translations
from hybridtune.errors import InputError

Kind = Literal["mono", "cross", "align"]


@dataclass(frozen=True)
class Demand:
    """What is asked of the data.

    Attributes:
        batch_size: B, distinct answer sets that a batch needs.
        ratios: the shares of mono batches that occur, by the field of the study that asks: ``mixing_ratio`` and, where
            there is a schedule, ``final_ratio``.
        single_pair: whether all rows of a cross batch have one language pair.
        align_share: share of align batches.
        align_from: languages that the teacher of align batches reads.
    """

    batch_size: int
    ratios: Mapping[str, float]
    single_pair: bool
    align_share: float
    align_from: Sequence[str]


def usable_pairs(corpus: Corpus, demand: Demand) -> tuple[dict[Kind, list[Pair]], list[Pair]]:
    """The pairs that every kind of batch draws from.

    Returns:
        them, and the mono and cross pairs that are too small for a batch of their own and left out.

    Raises:
        InputError: a kind that is asked for and cannot be made.
    """
    pairs = question_pairs(corpus)
    if not pairs:
        raise InputError(
            "the training data has no question-passage pair: no group has both a query and a passage; add such groups "
            "(translations alone fill align batches, and those are never all batches)"
        )
    sizes = {pair: distinct_answer_sets(corpus, [groups_of(corpus, pair, aligned=False)]) for pair in pairs}
    mono = [pair for pair in pairs if pair[0] == pair[1]]
    cross = [pair for pair in pairs if pair[0] != pair[1]]
    alone = [*mono, *(cross if demand.single_pair else [])]  # pairs that must fill a batch by themselves
    left_out = [pair for pair in alone if sizes[pair] < demand.batch_size]
    _check(demand, "mono", max((sizes[pair] for pair in mono), default=0), "groups in the largest language")
    if demand.single_pair:
        _check(demand, "cross", max((sizes[pair] for pair in cross), default=0), "groups in the largest language pair")
    else:
        _check(
            demand,
            "cross",
            distinct_answer_sets(corpus, (groups_of(corpus, p, aligned=False) for p in cross)),
            "cross groups",
        )
    aligned: list[Pair] = []
    if demand.align_share > 0:
        aligned = translations(corpus, demand.align_from)
        _check_align(demand, distinct_answer_sets(corpus, (groups_of(corpus, p, aligned=True) for p in aligned)))
    usable: dict[Kind, list[Pair]] = {
        "mono": [pair for pair in mono if pair not in left_out],
        "cross": [pair for pair in cross if pair not in left_out],
        "align": aligned,
    }
    return usable, left_out


def _check(demand: Demand, kind: Kind, most: int, unit: str) -> None:
    """Refuse mono or cross batches that are asked for where at most ``most`` rows can stand in one."""
    none = 0 if kind == "mono" else 1  # the ratio that asks for no such batch
    asking = {name: ratio for name, ratio in demand.ratios.items() if ratio != none}
    if not asking or most >= demand.batch_size:
        return
    asked = " and ".join(f"{name} {ratio}" for name, ratio in asking.items())
    one = len(asking) == 1
    if not most:
        raise InputError(
            f"the training data has no {kind} pair, and {asked} {'asks' if one else 'ask'} for {kind} batches: set "
            f"{' and '.join(f'mix.{name}' for name in asking)} to {none} or add such pairs"
        )
    raise InputError(
        f"train.batch_size {demand.batch_size} is larger than the {most} distinct {unit}: no {kind} batch can be made "
        f"and {' and '.join(f'{name} is {ratio}' for name, ratio in asking.items())}; use a batch of at most {most}"
    )


def _check_align(demand: Demand, most: int) -> None:
    if not most:
        one = f" with one of them in mix.align_from ({', '.join(demand.align_from)})" if demand.align_from else ""
        raise InputError(
            f"the training data has no group with passages in two languages{one}, and align_share "
            f"{demand.align_share} asks for align batches: set mix.align_share to 0 or add translations"
        )
    if most < demand.batch_size:
        raise InputError(
            f"train.batch_size {demand.batch_size} is larger than the {most} distinct groups of translations: no align "
            f"batch can be made and align_share is {demand.align_share}; use a batch of at most {most}"
        )
