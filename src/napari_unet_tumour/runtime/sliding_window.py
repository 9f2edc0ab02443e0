"""Sliding windows over a large plane, blended with Gaussian weights, in numpy."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from napari_unet_tumour.runtime.preprocess import STEP, resize
from napari_unet_tumour.tiling.grid import window_starts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    Array = NDArray[np.float32]
    Place = tuple[slice, slice]
    # Windows (C, h, w), one after another -> their probabilities (L, h, w), in order.
    Probabilities = Callable[[Iterable[Array]], Iterable[Array]]


def blend(probabilities: Probabilities, working: Array, window: int, empty: float) -> Array | None:
    """Run a network over windows of an image and blend them.

    Parameters
    ----------
    probabilities : callable
        Windows (C, h, w) float32 -> the probability (L, h, w) float32 of each.
    working : numpy.ndarray
        (C, H, W) float32, normalised.
    window : int
        Side of a window, a multiple of 32; a shorter axis is padded with its last value.
    empty : float
        Windows with only this value are skipped; their prediction is 0.

    Returns
    -------
    numpy.ndarray or None
        (L, H, W) float32; None if every window is empty.
    """
    height, width = working.shape[1:]
    sides = [min(window, -(-length // STEP) * STEP) for length in (height, width)]
    grown = [(0, max(0, side - length)) for side, length in zip(sides, (height, width), strict=True)]
    padded = np.pad(working, [(0, 0), *grown], mode="edge")
    weight, (places, shown) = importance(*sides), _places(padded, sides, empty)
    if not shown:
        return None
    total = np.zeros(padded.shape[1:], np.float32)
    for place in places:
        total[place] += weight
    found: Array | None = None
    for (rows, columns), one in zip(shown, probabilities(padded[:, y, x] for y, x in shown), strict=True):
        if found is None:
            found = np.zeros((len(one), *padded.shape[1:]), np.float32)
        found[:, rows, columns] += one * weight
    assert found is not None
    return (found / total)[:, :height, :width]


def _places(padded: Array, sides: list[int], empty: float) -> tuple[list[Place], list[Place]]:
    """Return the positions of all windows, and of those that are not empty."""
    rows, columns = (window_starts(length, side) for length, side in zip(padded.shape[1:], sides, strict=True))
    places = [(slice(y, y + sides[0]), slice(x, x + sides[1])) for y in rows for x in columns]
    full = (padded != np.float32(empty)).any(0)
    return places, [one for one in places if full[one].any()]


@lru_cache(maxsize=4)
def importance(height: int, width: int) -> Array:
    """Return the weights of a window (height, width), equal to MONAI's."""
    down, across = (np.exp(-((np.arange(n) - (n - 1) / 2) ** 2) / (2 * (0.125 * n) ** 2)) for n in (height, width))
    return np.maximum(np.outer(down, across), 1e-3).astype(np.float32)


def downsampled(values: Array, factor: int) -> Array:
    """Return means over square blocks of pixels (N, C, h, w); those at the far edges may be incomplete."""
    if factor == 1:
        return values
    rows, columns = (range(0, length, factor) for length in values.shape[2:])
    sums = np.add.reduceat(np.add.reduceat(values, rows, axis=2), columns, axis=3)
    counts = np.outer(*(np.diff([*range(0, length, factor), length]) for length in values.shape[2:]))
    return np.asarray(sums / counts, np.float32)


def upsampled(found: Array, before: tuple[int, int], factor: int) -> Array:
    """Invert `downsampled` for (L, h, w) by bilinear interpolation."""
    if factor == 1:
        return found
    larger = resize(found[None], (found.shape[1] * factor, found.shape[2] * factor))[0]
    return np.asarray(larger[:, before[0] * factor :, before[1] * factor :])
