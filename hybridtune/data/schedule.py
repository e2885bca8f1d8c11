"""The schedule of a share: the number of batches of one kind among the first n. PURE, exact, in O(1).

All sums are whole numbers over one common denominator. So there is no rounding error: from one batch to the next the
count grows by 0 or by 1, however long the training is.
"""

import bisect
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Literal

Shape = Literal["constant", "linear", "cosine", "step", "learned"]

_BITS = 128  # of the fraction in a cosine's sums: an error of 2^-90 in a training of 2^31 steps
_PI = 1069028584064966747859680373161870783301  # pi * 2^128, to the nearest whole number


class Schedule:
    """A share of batches that may change over a training, realised as evenly as whole batches can.

    Args:
        start: the share at the first batch, in [0, 1].
        phase: where in the first batch to begin to count, in [0, 1): sets apart schedules of different seeds.
        shape: ``constant``; ``linear`` and ``cosine`` go from ``start`` to ``end`` over ``batches``; ``step`` jumps;
            ``learned`` changes as ``changes`` say.
        end: the share at the last batch and beyond, in [0, 1]; unused by ``constant`` and ``learned``.
        batches: M >= 1, the length of the training; unused by ``constant`` and ``learned``.
        step_at: share of the M batches before the jump, in [0, 1]; it comes before the nearest whole batch.
        changes: of ``learned``: (first batch, share from there on), ascending; of two of one batch the later holds.
    """

    def __init__(
        self,
        start: float,
        phase: float,
        *,
        shape: Shape = "constant",
        end: float = 0.0,
        batches: int = 1,
        step_at: float = 0.5,
        changes: Sequence[tuple[int, float]] = (),
    ) -> None:
        self._shape: Shape = shape
        self._batches = batches
        if shape == "step":
            changes = [(int(Fraction(repr(float(step_at))) * batches + Fraction(1, 2)), end)]
        # Shares as they were written: 0.3 is three tenths, not the binary fraction next to it.
        smooth = shape in ("linear", "cosine")
        shares = [Fraction(repr(float(share))) for share in (start, *(share for _, share in changes))]
        last, offset = Fraction(repr(float(end))) if smooth else shares[0], Fraction(phase)
        self._unit = math.lcm(*(one.denominator for one in (*shares, last, offset)))
        self._rise = int((last - shares[0]) * self._unit)
        self._phase = int(offset * self._unit)
        self._firsts = [0, *(first for first, _ in changes)]  # of the stretches of one share, or of the smooth curve
        self._shares = [int(share * self._unit) for share in shares]
        self._before = [0]  # the integral up to each stretch
        for index, first in enumerate(self._firsts[1:]):
            self._before.append(self._before[index] + self._shares[index] * (first - self._firsts[index]))

    def count(self, n: int) -> int:
        """Count the first n batches of the kind: within 1 of `requested`, and up by 0 or 1 with every batch."""
        whole, scale = self._sum(n)
        return (whole + self._phase * scale) // (self._unit * scale)

    def requested(self, n: int) -> float:
        """Integrate the share over the first n batches."""
        whole, scale = self._sum(n)
        return whole / (self._unit * scale)

    def mean(self, n: int) -> float:
        """Return the mean of the share over the first n >= 1 batches."""
        whole, scale = self._sum(n)
        return whole / (self._unit * scale * n)

    def _sum(self, n: int) -> tuple[int, int]:
        """Integrate over n batches; return a fraction: numerator in units of 1/unit, and its further denominator."""
        if self._rise == 0:
            stretch = bisect.bisect_right(self._firsts, n) - 1
            return self._before[stretch] + self._shares[stretch] * (n - self._firsts[stretch]), 1
        inside, beyond = min(n, self._batches), max(0, n - self._batches)
        if self._shape == "linear":
            risen, scale = inside * inside, 2 * self._batches
        else:
            risen, scale = _cosine_sum(inside, self._batches), 1 << _BITS
        return scale * (self._shares[0] * n + self._rise * beyond) + self._rise * risen, scale


def _cosine_sum(n: int, batches: int) -> int:
    """Integrate (1 - cos(pi t / M)) / 2 for t from 0 to n <= M, in units of 2^-128.

    It is n/2 - M sin(pi n/M) / (2 pi), by the series of the sine. What comes after M/2 is what went before, mirrored.
    """
    if 2 * n > batches:
        return ((2 * n - batches) << _BITS - 1) + _cosine_sum(batches - n, batches)
    square = (_PI * n // batches) ** 2 >> _BITS
    term, total, sign, k = n << _BITS - 1, 0, 1, 0
    while term:
        k += 2
        term = (term * square >> _BITS) // (k * (k + 1))
        total += sign * term
        sign = -sign
    return total
