"""A range of grey values around those where a stroke begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# Rounding of a linear interpolation between equal grey values.
ROUNDING = 1e-5


@dataclass(frozen=True)
class GreyRange:
    """Grey values from `low` to `high`, both included."""

    low: float
    high: float

    def holds(self, values: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Return which values lie in the range; NaN, which stands outside the image, never does."""
        return np.asarray((values >= self.low) & (values <= self.high))


def range_around(values: NDArray[np.floating], centre: Sequence[int], radius: int, width: float) -> GreyRange | None:
    """Return mean +- width x standard deviation of the values in a small disc (or ball).

    Parameters
    ----------
    values : numpy.ndarray
        Grey values of a window; NaN stands outside the image.
    centre : sequence of int
        Middle of the disc in the window.
    radius : int
        Of the disc in pixels, 0 or more.
    width : float
        How many standard deviations the range reaches to either side, above 0.

    Returns
    -------
    GreyRange or None
        None where the middle lies outside the image.
    """
    if not np.isfinite(values[tuple(centre)]):
        return None
    away = sum((one - at) ** 2 for one, at in zip(np.ogrid[tuple(map(slice, values.shape))], centre, strict=True))
    inside = values[np.broadcast_to(away <= radius**2, values.shape)]
    inside = inside[np.isfinite(inside)].astype(np.float64)
    mean = float(inside.mean())
    half = width * float(inside.std()) + ROUNDING * max(abs(mean), 1e-12)
    return GreyRange(mean - half, mean + half)
