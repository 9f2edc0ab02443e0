"""How bright a lesion is: grey values on a scale that slices share, and what their histograms say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Grey = NDArray[np.float32]
    Values = NDArray[np.float64]

# Histograms of scaled grey values.
LOWEST, HIGHEST, BIN = -4.0, 8.0, 0.25
BINS = round((HIGHEST - LOWEST) / BIN)
# Grey values and their log ratios are smoothed over so many mm.
SMOOTH_MM = 0.5
# Histograms are smoothed over so many bins and get so many counts more: a few pixels say little.
BINS_SMOOTH, PRIOR = 1.5, 0.5
# Log ratios beyond this say no more.
SUREST = 4.0
# The scale of a plane's grey values comes from so many rows and columns of it.
COARSE = 96


def scaled(plane: NDArray[Any], box: tuple[slice, slice], pixel: Sequence[float]) -> Grey | None:
    """Return the grey values in a box: less the median of the plane's bright part, over its interquartile range.

    Parameters
    ----------
    plane : numpy.ndarray
        (H, W) of any real type; values that are not finite count as 0.
    pixel : sequence of float
        Height and width of a pixel in mm.

    Returns
    -------
    numpy.ndarray or None
        (h, w) float32, smoothed a little; None where the plane is blank.
    """
    step = max(1, max(plane.shape) // COARSE)
    coarse = np.asarray(plane[::step, ::step], np.float64)
    coarse = coarse[np.isfinite(coarse)]
    if not coarse.size:
        return None
    low, high = np.percentile(coarse, (1, 99.8))
    if not high > low:
        return None
    first, middle, third = np.percentile(coarse[coarse > low + 0.1 * (high - low)], (25, 50, 75))
    spread = max(third - first, 1e-3 * (high - low))
    part = np.nan_to_num(np.asarray(plane[box], np.float64), posinf=0.0, neginf=0.0)
    return smoothed(np.clip((part - middle) / spread, LOWEST, HIGHEST).astype(np.float32), pixel)


def smoothed(values: NDArray[Any], pixel: Sequence[float]) -> NDArray[Any]:
    """Return values (h, w) smoothed over `SMOOTH_MM`."""
    found: NDArray[Any] = ndimage.gaussian_filter(values, (SMOOTH_MM / pixel[0], SMOOTH_MM / pixel[1]))
    return found


def counts(grey: Grey) -> Values:
    """Return the histograms (C, bins) of scaled grey values (C, n)."""
    return np.stack([np.bincount(_bin(one), minlength=BINS) for one in grey]).astype(float)


def log_ratio(inside: Values, around: Values) -> Values:
    """Return how much more likely a grey value is inside than around, (C, bins) from two of `counts`, +-`SUREST`."""
    ratio: Values = np.log(_density(inside)) - np.log(_density(around))
    return ratio.clip(-SUREST, SUREST)


def likely(grey: Grey, ratio: Values, pixel: Sequence[float]) -> Values:
    """Return the log ratio (h, w) of every pixel of scaled grey values (C, h, w); channels count together."""
    together = sum(one[_bin(values)] for one, values in zip(ratio, grey, strict=True)) / np.sqrt(len(grey))
    return smoothed(together, pixel).clip(-SUREST, SUREST)


def _bin(grey: Grey) -> NDArray[np.intp]:
    place: Grey = (grey - LOWEST) / BIN
    return place.clip(0, BINS - 1).astype(np.intp)


def _density(counted: Values) -> Values:
    smooth = ndimage.gaussian_filter1d(counted, BINS_SMOOTH, axis=1, mode="nearest") + PRIOR
    density: Values = smooth / smooth.sum(1, keepdims=True)
    return density
