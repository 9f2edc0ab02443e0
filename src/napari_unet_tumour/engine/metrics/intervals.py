"""95 % confidence intervals of rates and means: Wilson's, or a bootstrap over groups.

Slices of one head are alike, so that a head counts as one.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

# Fewest groups for a bootstrap; with fewer the interval is Wilson's, which is too narrow for similar slices.
FEWEST = 5
DRAWS = 2000
NORMAL = 1.959964


def share_interval(hits: Sequence[bool], groups: Sequence[str]) -> tuple[float, float] | tuple[None, None]:
    """Return the 95 % interval of the rate of hits, (None, None) without any slices.

    Parameters
    ----------
    hits : sequence of bool
        One for every slice.
    groups : sequence of str
        The group of every slice, e.g. its patient.

    Returns
    -------
    tuple of float
        Low and high, 0..1. If none or all are hits, the bootstrap has no width; then it is Wilson's of the groups.
    """
    if not hits:
        return None, None
    names = len(set(groups))
    if names < FEWEST:
        return wilson(sum(hits), len(hits))
    if sum(hits) in (0, len(hits)):
        return wilson(names if sum(hits) else 0, names)
    return mean_interval(hits, groups)


def mean_interval(values: Sequence[float], groups: Sequence[str]) -> tuple[float, float] | tuple[None, None]:
    """Return the 95 % interval of a mean over slices, by a bootstrap over groups; (None, None) with few groups.

    Parameters
    ----------
    values : sequence of float
        One for every slice, e.g. its Dice.
    groups : sequence of str
        The group of every slice, e.g. its patient.
    """
    names, number = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < FEWEST:
        return None, None
    sums, counts = np.bincount(number, np.asarray(values, float)), np.bincount(number)
    drawn = np.random.default_rng(0).integers(0, len(names), (DRAWS, len(names)))
    low, high = np.quantile(sums[drawn].sum(1) / counts[drawn].sum(1), [0.025, 0.975])
    return float(low), float(high)


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a rate: low and high, 0..1."""
    share, square = hits / count, NORMAL**2
    middle = (share + square / (2 * count)) / (1 + square / count)
    half = NORMAL / (1 + square / count) * math.sqrt(share * (1 - share) / count + square / (4 * count**2))
    return max(0.0, middle - half), min(1.0, middle + half)
