"""Longest diameters of a shape in one slice.

The convention is scikit-image's: a pixel reaches half a pixel beyond its centre along its row and its column, so the
outline runs through the middles of the pixels' outer edges. One pixel is 1 wide, a row of n pixels is n long. Pieces of
a lesion that lie apart in the slice are measured together, and a diameter may cross a hole or a bay, but both its ends
lie on the outline.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import ConvexHull
from skimage.measure import find_contours

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_unet_tumour.measure.runs import Runs

    Floats = NDArray[np.float64]
    Line = tuple[Floats, Floats]

# Lengths that differ by less than this share are equal; which of them is taken must not hang on rounding.
EQUAL = 1e-9


def plane_metric(columns: Floats) -> Floats:
    """Return the matrix that turns (row, column) steps into plane coordinates with true lengths.

    Parameters
    ----------
    columns : numpy.ndarray
        (s, 2) float64: world steps of one row and of one column; they may be oblique to each other.

    Returns
    -------
    numpy.ndarray
        (2, 2) float64 upper triangle.
    """
    return np.asarray(np.linalg.qr(columns)[1], np.float64)


def outer_points(runs: Runs) -> Floats:
    """Return the outline points at the ends of all runs of one slice, (n, 2) float64 as (row, column)."""
    row, first, last = runs.row, runs.start, runs.stop - 1
    sides = [np.stack([row, first - 0.5], axis=1), np.stack([row, last + 0.5], axis=1)]
    caps = [np.stack([row + half, column], axis=1) for half in (-0.5, 0.5) for column in (first, last)]
    return np.concatenate(sides + caps)


def longest_lines(points: Floats, metric: Floats) -> tuple[float, list[Line]]:
    """Find the longest distance between two points, exactly.

    Parameters
    ----------
    points : numpy.ndarray
        (n, 2) float64 outline points as (row, column).
    metric : numpy.ndarray
        (2, 2) from `plane_metric`.

    Returns
    -------
    tuple
        The length, and every pair of points that has it.
    """
    if len(points) > 32:
        points = points[ConvexHull(points).vertices]
    points = np.unique(points, axis=0)
    steps = (points[:, None] - points[None]) @ metric.T
    lengths = np.hypot(steps[..., 0], steps[..., 1])
    one, other = np.nonzero(np.triu(lengths >= lengths.max() * (1 - EQUAL)))
    return float(lengths.max()), [(points[i], points[j]) for i, j in zip(one, other, strict=True)]


def outline(runs: Runs) -> Floats:
    """Return the outline of one slice's runs as segments, (n, 2, 2) float64: ends as (row, column)."""
    top, left = int(runs.row.min()) - 1, int(runs.start.min()) - 1
    steps = np.zeros((int(runs.row.max()) - top + 2, int(runs.stop.max()) - left + 2), np.int8)
    np.add.at(steps, (runs.row - top, runs.start - left), 1)
    np.add.at(steps, (runs.row - top, runs.stop - left), -1)
    filled = np.cumsum(steps, axis=1, dtype=np.int8).astype(np.float64)
    lines = find_contours(filled, 0.5, fully_connected="high")  # type: ignore[no-untyped-call]
    segments = [np.stack([line[:-1], line[1:]], axis=1) for line in lines]
    return np.asarray(np.concatenate(segments) + np.array([top, left]), np.float64)


def perpendicular_line(segments: Floats, axis: Line, metric: Floats) -> tuple[float, Line]:
    """Find the longest line across the axis, at a right angle to it, that ends on the outline.

    At every position along the axis the line goes from the outline's lowest to its highest point
    there. Between two outline corners its length changes linearly, so the corners are all that
    need to be looked at.

    Parameters
    ----------
    segments : numpy.ndarray
        (n, 2, 2) float64 from `outline`.
    axis : tuple of numpy.ndarray
        The two ends of the long diameter.
    metric : numpy.ndarray
        (2, 2) from `plane_metric`.

    Returns
    -------
    tuple
        The length, and the two ends as (row, column).
    """
    along = metric @ (axis[1] - axis[0])
    along = along / np.hypot(*along)
    turn = np.stack([along, [-along[1], along[0]]])
    ends = segments @ (turn @ metric).T
    ends = np.take_along_axis(ends, np.argsort(ends[..., :1], axis=1), axis=1)
    at = np.unique(ends[..., 0])
    low, high = _across(ends, at)
    best = int(np.argmax(np.round((high - low) / (high - low).max(), 9)))
    back = np.linalg.inv(turn @ metric)
    return float(high[best] - low[best]), (back @ (at[best], low[best]), back @ (at[best], high[best]))


def _across(ends: Floats, at: Floats) -> tuple[Floats, Floats]:
    """Return the lowest and highest outline point at every position, a few positions at a time to spare memory."""
    low, high = np.empty(len(at)), np.empty(len(at))
    (t0, s0), (t1, s1) = ends[:, 0].T, ends[:, 1].T
    bottom, top = np.minimum(s0, s1), np.maximum(s0, s1)
    near = EQUAL * (at[-1] - at[0])
    steep = t1 - t0 <= near
    slope = np.where(steep, 0.0, (s1 - s0) / np.where(steep, 1.0, t1 - t0))
    for i in range(0, len(at), 256):
        t = at[i : i + 256, None]
        here = np.clip(s0 + slope * (t - t0), bottom, top)
        missed = (t < t0 - near) | (t > t1 + near)
        low[i : i + 256] = np.where(missed, np.inf, np.where(steep, bottom, here)).min(axis=1)
        high[i : i + 256] = np.where(missed, -np.inf, np.where(steep, top, here)).max(axis=1)
    return low, high
