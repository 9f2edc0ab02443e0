"""What the click network is shown: grey values, the automatic answer, clicks, a rough region, the answer before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Places = Sequence[tuple[float, float]]
    Grey = NDArray[np.float32]

CHANNELS = ("grey", "base", "add", "remove", "region", "before", "like", "unlike")
# Of a click's disc, in pixels of the picture: full up to the first radius, nothing from the second on.
DISC = (1.5, 4.5)
# Grey values, in standard deviations of the slice's brighter part.
LOW, HIGH, BINS, BLUR = -5.0, 9.0, 140, 4.0
TAIL = 0.005
LUMINANCE = np.array([0.299, 0.587, 0.114])
# Pixels along a side of which a slice's range is found.
THIN = 128


@dataclass(frozen=True)
class Range:
    """Where a slice's grey values lie: extremes to clip at, mean and deviation of its brighter part."""

    low: float
    high: float
    mean: float
    spread: float

    def of(self, plane: NDArray[Any]) -> Grey:
        """Return a plane (H, W), of this slice or of another of its volume, as z-scores; NaN becomes its minimum."""
        if not self.spread:
            return np.zeros(plane.shape, np.float32)
        return np.asarray((np.clip(_finite(plane), self.low, self.high) - self.mean) / self.spread, np.float32)


def robust(plane: NDArray[Any]) -> Grey:
    """Bring a plane (H, W) to robust z-scores, as `engine.normalisation.robust_zscore` does; NaN becomes its minimum.

    A plane in which nothing varies becomes zeros.
    """
    return robust_range(plane).of(plane)


def robust_range(plane: NDArray[Any]) -> Range:
    """Return the range of a plane's grey values; its spread is 0 where nothing varies."""
    thin = max(2, max(plane.shape) // THIN)
    values = _finite(plane)[::thin, ::thin] if min(plane.shape) > 2 * thin else _finite(plane)
    low, high = (float(end) for end in np.quantile(values, (TAIL, 1 - TAIL)))
    if not high > low:
        return Range(low, high, low, 0.0)
    clipped = np.clip(values, low, high)
    bright = clipped[clipped > clipped.mean()]
    return Range(low, high, float(bright.mean()), max(float(bright.std()), 1e-3 * (high - low)))


def grey_of(plane: NDArray[Any], colours: bool = False) -> NDArray[Any]:
    """Return what clicks look at (H, W) of a plane (C, H, W): its first channel, or the luminance of colours."""
    if colours and len(plane) in (3, 4):
        return np.asarray(np.tensordot(LUMINANCE, plane[:3].astype(np.float64), 1))
    return np.asarray(plane[0])


def _finite(plane: NDArray[Any]) -> NDArray[np.float64]:
    values = np.asarray(plane, np.float64)
    known = np.isfinite(values)
    if known.all():
        return values
    low, high = (float(values[known].min()), float(values[known].max())) if known.any() else (0.0, 0.0)
    return np.nan_to_num(values, nan=low, posinf=high, neginf=low)


def draw(
    grey: Grey,
    add: Places = (),
    remove: Places = (),
    base: Grey | None = None,
    region: Grey | None = None,
    before: Grey | None = None,
    like: Grey | None = None,
    unlike: Grey | None = None,
) -> Grey:
    """Return the picture of `CHANNELS`.

    Parameters
    ----------
    grey : numpy.ndarray
        (S, S) float32, z-scores.
    add, remove : sequence of (row, column)
        Clicks, as indices of the picture.
    base, region, before : numpy.ndarray, optional
        (S, S) float32, 0..1: the automatic answer, a rough region that the lesion lies in or near (a box, or the mask
        of the slice before), and the answer before these clicks.
    like, unlike : numpy.ndarray, optional
        (n,) float32: grey values of the lesion and of what is around it; from the pixels around the clicks by default.

    Returns
    -------
    numpy.ndarray
        (8, S, S) float32; what was not given is 0.
    """
    picture = np.zeros((len(CHANNELS), *grey.shape), np.float32)
    picture[0] = np.clip(grey, LOW, HIGH) / 2
    for place, values in ((1, base), (5, before)):
        if values is not None:
            picture[place] = 2 * values - 1
    picture[2], picture[3] = discs(add, grey.shape), discs(remove, grey.shape)
    if region is not None:
        picture[4] = region
    picture[6] = likeness(grey, around(grey, add) if like is None else like)
    picture[7] = likeness(grey, around(grey, remove) if unlike is None else unlike)
    return picture


def discs(places: Places, shape: tuple[int, ...]) -> Grey:
    """Return discs with a slope, 1 in their middle, 0 outside; (S, S) float32."""
    found = np.zeros(shape, np.float32)
    reach = int(DISC[1]) + 1
    for row, column in places:
        rows, columns = (
            np.arange(max(0, round(at) - reach), min(size, round(at) + reach + 1))
            for at, size in zip((row, column), shape, strict=True)
        )
        if not len(rows) or not len(columns):
            continue
        away = np.hypot(rows[:, None] - row, columns - column)
        disc = np.clip((DISC[1] - away) / (DISC[1] - DISC[0]), 0, 1)
        part = found[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        np.maximum(part, disc, out=part)
    return found


def around(grey: Grey, places: Places) -> Grey:
    """Return the grey values of 3 x 3 pixels around each place, (n,) float32."""
    found = [
        grey[max(0, round(r) - 1) : max(0, round(r) + 2), max(0, round(c) - 1) : max(0, round(c) + 2)].ravel()
        for r, c in places
    ]
    return np.concatenate([*found, np.zeros(0, np.float32)])


def likeness(grey: Grey, values: Grey) -> Grey:
    """Return how usual a pixel's grey value is among `values` (n,): 1 most, 0 not at all; (S, S) float32."""
    if not len(values):
        return np.zeros_like(grey)
    counts, edges = np.histogram(np.clip(values, LOW, HIGH), BINS, (LOW, HIGH))
    smooth = ndimage.gaussian_filter1d(counts.astype(np.float32), BLUR, mode="constant")
    middles = (edges[1:] + edges[:-1]) / 2
    return np.asarray(np.interp(grey, middles, smooth / smooth.max()), np.float32)
