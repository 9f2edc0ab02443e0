"""95 % confidence intervals of rates: Wilson's, or a bootstrap over groups, because slices of one head are alike."""

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
    names, number = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < FEWEST:
        return wilson(sum(hits), len(hits))
    sums = np.bincount(number, np.asarray(hits, float))
    counts = np.bincount(number)
    drawn = np.random.default_rng(0).integers(0, len(names), (DRAWS, len(names)))
    low, high = np.quantile(sums[drawn].sum(1) / counts[drawn].sum(1), [0.025, 0.975])
    if sum(hits) in (0, len(hits)):
        return wilson(len(names) if sum(hits) else 0, len(names))
    return float(low), float(high)


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a rate: low and high, 0..1."""
    share, square = hits / count, NORMAL**2
    middle = (share + square / (2 * count)) / (1 + square / count)
    half = NORMAL / (1 + square / count) * math.sqrt(share * (1 - share) / count + square / (4 * count**2))
    return max(0.0, middle - half), min(1.0, middle + half)
