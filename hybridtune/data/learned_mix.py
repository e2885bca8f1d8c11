"""The rule of a learned mix: from the dev scores so far to the mixing ratio and pair weights until the next. PURE.

The aim is balanced AP, the harmonic mean H of mono, cross and multi AP: one training in place of a search of the ratio.
Let setting s have AP x_s, and let it grow like n to the power b_s with the n batches of its kind (mono batches for
mono, cross batches for cross and multi). Of a fixed number of batches, H is largest where the share r of mono ones is

    r = (b_mono / x_mono) / (b_mono / x_mono + b_cross / x_cross + b_multi / x_multi),

for a relative gain of x_s raises H by a share ~ 1 / x_s. The powers are read off the scores: the growth of ln x_s over
that of ln n, between now and half as many steps ago. Since scores are noisy, each power is moved a third of the way to
the mean of the three, and the ratio goes `mix.learned_step` of the way, in log-odds.
"""

import math
from collections.abc import Mapping, Sequence

from hybridtune.config.fields import Mix
from hybridtune.data.segments import SETTINGS, DevScores, Segment

_LEAST = 1e-4  # AP: a score of 0 has no logarithm
_DIGITS = 4  # of ratios and weights, which tables and files show


def first_segment(mix: Mix) -> Segment:
    """Return the segment that a learned mix begins with: its mixing ratio, brought into its range."""
    low, high = mix.learned_range
    return Segment(0, min(max(mix.mixing_ratio, low), high))


def next_segment(mix: Mix, segments: Sequence[Segment], step: int, scores: DevScores) -> Segment:
    """Return the segment that begins at a step, after these scores.

    Args:
        mix: the settings.
        segments: those so far, at least one, with the scores before them; the last one ends at ``step``.
        step: > the start of the last segment.
        scores: of the weights after ``step`` steps.
    """
    low, high = mix.learned_range
    before = segments[-1].mixing_ratio
    wanted = min(max(wanted_ratio(segments, step, scores.settings), low), high)
    moved = _log_odds(before) + mix.learned_step * (_log_odds(wanted) - _log_odds(before))
    ratio = round(min(max(1 / (1 + math.exp(-moved)), low), high), _DIGITS)
    return Segment(step, ratio, pair_weights(scores.pairs, mix.learned_weights), scores)


def wanted_ratio(segments: Sequence[Segment], step: int, settings: Mapping[str, float]) -> float:
    """Return the mixing ratio that the scores ask for, in (0, 1), by the formula above."""
    now = {name: max(settings[name], _LEAST) for name in SETTINGS}
    growth = dict.fromkeys(SETTINGS, 1.0)
    earlier = next((one for one in reversed(segments) if one.scores is not None and 2 * one.start <= step), None)
    if earlier is not None and earlier.scores is not None:
        measured = {}
        for name in SETTINGS:
            gain = math.log(now[name] / max(earlier.scores.settings[name], _LEAST))
            batches = [_batches(segments, at, mono=name == "mono") for at in (earlier.start, step)]
            measured[name] = max(0.0, gain / math.log(batches[1] / batches[0]))
        mean = sum(measured.values()) / len(measured)
        if mean > 0:  # else nothing grows, and nothing tells the settings apart
            growth = {name: (2 * value + mean) / 3 for name, value in measured.items()}
    worth = {name: growth[name] / now[name] for name in SETTINGS}
    return worth["mono"] / sum(worth.values())


def pair_weights(pairs: Mapping[str, float], most: float) -> dict[str, float]:
    """Return a factor on how often each pair is drawn, in [1 / most, most], by its AP; nothing where ``most`` is 1.

    It is the square root of the geometric mean of its kind, mono or cross, over the pair's own AP.
    """
    found: dict[str, float] = {}
    kinds = ([pair for pair in pairs if _is_mono(pair) == mono] for mono in (True, False))
    for kind in kinds if most > 1 else ():
        logs = {pair: math.log(max(pairs[pair], _LEAST)) for pair in kind}
        mean = sum(logs.values()) / max(1, len(logs))
        bound = math.log(most)
        found |= {
            pair: round(math.exp(min(max((mean - value) / 2, -bound), bound)), _DIGITS) for pair, value in logs.items()
        }
    return found


def _batches(segments: Sequence[Segment], step: int, *, mono: bool) -> float:
    """Integrate the share of mono batches, or of cross ones, over the first ``step`` steps."""
    total = 0.0
    ends = [*(one.start for one in segments[1:]), step]
    for one, end in zip(segments, ends, strict=True):
        steps = max(0, min(end, step) - one.start)
        total += steps * (one.mixing_ratio if mono else 1 - one.mixing_ratio)
    return total


def _is_mono(pair: str) -> bool:
    """Return whether a pair, ``en-en``, is one language twice; a code may itself hold a hyphen."""
    half = len(pair) // 2
    return len(pair) % 2 == 1 and pair[:half] == pair[half + 1 :]


def _log_odds(ratio: float) -> float:
    return math.log(ratio / (1 - ratio))
