"""PURE. Smooth lines and surfaces through the scores of trials, and where they are near their top."""

import numpy as np

from hybridtune.metrics.arrays import Float64

FEWEST = 5  # trials through which a line is drawn
WINDOW = 0.2  # width of a line's kernel: of the range of mixing ratios
DENSE = 8  # trials through which a surface is drawn
_WIDTH, _REACH = 0.15, 0.22  # of the unit square: the kernel, and how far from a trial a surface goes


def line(x: Float64, y: Float64, at: Float64) -> Float64:
    """A local straight-line fit of y over x: at each place through all trials, near ones counting more.

    Args:
        x: [n], n >= 1, in [0, 1].
        y: [n].
        at: [m], where to draw.

    Returns:
        [m]. The weights are Gaussian, of standard deviation WINDOW.
    """
    away = x[None, :] - at[:, None]  # [m, n]
    squares = (away / WINDOW) ** 2
    weights = np.exp((squares.min(1, keepdims=True) - squares) / 2)  # the nearest has 1: no place is without weight
    total = weights.sum(1)
    mean_x, mean_y = (weights * away).sum(1) / total, (weights * y).sum(1) / total
    spread = (weights * (away - mean_x[:, None]) ** 2).sum(1)
    together = (weights * (away - mean_x[:, None]) * (y[None, :] - mean_y[:, None])).sum(1)
    flat = 1e-3 * total * WINDOW**2  # without a spread of x there is no slope to see
    fitted: Float64 = mean_y - together / (spread + flat) * mean_x
    return fitted


def typical_miss(x: Float64, y: Float64) -> float:
    """Median distance of each trial from the ``line`` through all the others, in units of y.

    Through a few trials a line passes almost exactly; a trial that it has not seen tells how sure it is. The median,
    for without the trial at an end the line guesses there.
    """
    others = [np.arange(len(x)) != i for i in range(len(x))]
    missed = [y[i] - line(x[rest], y[rest], x[i : i + 1])[0] for i, rest in enumerate(others)]
    return float(np.median(np.abs(missed)))


def near_top(at: Float64, fitted: Float64, within: float) -> tuple[float, float]:
    """The stretch around the highest point of a line where it is at most ``within`` below it.

    Args:
        at: [m], ascending.
        fitted: [m], more is better.
        within: in units of the line, >= 0.

    Returns:
        Its two ends, places of ``at``.
    """
    top = int(np.argmax(fitted))
    below = np.flatnonzero(fitted < fitted[top] - within)
    left = below[below < top].max(initial=-1) + 1
    right = below[below > top].min(initial=len(at)) - 1
    return float(at[left]), float(at[right])


def surface(x: Float64, y: Float64, values: Float64, across: Float64, down: Float64) -> Float64:
    """Weighted means of the trials' values over the unit square, by a Gaussian kernel.

    Args:
        x: [n], in [0, 1].
        y: [n], in [0, 1].
        values: [n].
        across: [a], places on x.
        down: [d], places on y.

    Returns:
        [d, a]; NaN where no trial is within reach: nothing is known there.
    """
    away = (across[None, :, None] - x) ** 2 + (down[:, None, None] - y) ** 2  # [d, a, n]
    weights = np.exp(-away / (2 * _WIDTH**2))
    means = (weights * values).sum(2) / np.maximum(weights.sum(2), 1e-300)
    found: Float64 = np.where(away.min(2) <= _REACH**2, means, np.nan)
    return found
