"""Longest diameters of a shape in one slice, with sub-pixel precision.

A pixel is in a mask if its centre is in the shape. So a straight side of the shape lies between a line of pixel centres
and the next parallel line outside. The grown hull assumes the middle: it is the convex hull of the centres, with every
side, and the four sides of the bounding box, moved outwards by half the distance of these lines. For a box of n x m
pixels that is exact; tilted boxes and ellipses are measured without the bias of jagged pixel edges. The longest
diameter joins two corners of the grown hull. The perpendicular one goes from the lesion's lowest to its highest pixel
edge, clipped to the grown hull: it may cross a hole or a concave part, but both its ends lie on the lesion's outline.
Parts of a lesion that are separate in the slice are measured together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import HalfspaceIntersection

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_unet_tumour.measure.components import RunLengths

    Floats = NDArray[np.float64]
    Line = tuple[Floats, Floats]

# Lengths with a smaller relative difference are equal: rounding must not decide which one is chosen.
EQUAL = 1e-9
HALF = 0.5
UPRIGHT = ((1, 0), (-1, 0), (0, 1), (0, -1))

Corner = tuple[int, int]


def plane_metric(columns: Floats) -> Floats:
    """Return the matrix from (row, column) steps to plane coordinates with true lengths.

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


def grown_hull(runs: RunLengths) -> Floats:
    """Return the corners of the grown hull of one slice's runs, (n, 2) float64 as (row, column), in order.

    For a hull edge with coprime integer normal (p, q), pixel centres lie on the lines p * row + q * column = k, which
    are one unit apart. Growing by half a pixel therefore adds 1/2, independent of the spacing.
    """
    corners = _hull(runs)
    ends = np.array(corners)
    steps = np.roll(ends, -1, axis=0) - ends
    steps = steps[steps.any(axis=1)]
    normals = np.stack([steps[:, 1], -steps[:, 0]], axis=1) // np.gcd(steps[:, 0], steps[:, 1])[:, None]
    normals = np.unique(np.concatenate([normals, UPRIGHT]), axis=0)
    reach = (normals @ ends.T).max(axis=1) + HALF
    found = HalfspaceIntersection(np.column_stack([normals, -reach]), ends.mean(axis=0)).intersections
    away = found - found.mean(axis=0)
    return np.asarray(found[np.argsort(np.arctan2(away[:, 1], away[:, 0]))], np.float64)


def _hull(runs: RunLengths) -> list[Corner]:
    """Return the corners of the convex hull of the pixel centres, exactly; two for a line, one for a pixel."""
    ends = np.concatenate([np.stack([runs.row, runs.start], axis=1), np.stack([runs.row, runs.stop - 1], axis=1)])
    points = [(int(r), int(c)) for r, c in np.unique(ends, axis=0)]
    if len(points) < 3:
        return points
    return _chain(points)[:-1] + _chain(points[::-1])[:-1]


def _chain(points: list[Corner]) -> list[Corner]:
    """Return one side of the hull of sorted points (Andrew's monotone chain)."""
    side: list[Corner] = []
    for r, c in points:
        while len(side) > 1 and _turn(side[-2], side[-1], (r, c)) <= 0:
            side.pop()
        side.append((r, c))
    return side


def _turn(a: Corner, b: Corner, c: Corner) -> int:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def longest_lines(points: Floats, metric: Floats) -> tuple[float, list[Line]]:
    """Find the longest distance between two points, exactly.

    Parameters
    ----------
    points : numpy.ndarray
        (n, 2) float64 corners as (row, column).
    metric : numpy.ndarray
        (2, 2) from `plane_metric`.

    Returns
    -------
    tuple
        The length, and every pair of points at that distance.
    """
    points = np.unique(points, axis=0)
    steps = (points[:, None] - points[None]) @ metric.T
    lengths = np.hypot(steps[..., 0], steps[..., 1])
    one, other = np.nonzero(np.triu(lengths >= lengths.max() * (1 - EQUAL)))
    return float(lengths.max()), [(points[i], points[j]) for i, j in zip(one, other, strict=True)]


def perpendicular_line(runs: RunLengths, hull: Floats, axis: Line, metric: Floats) -> tuple[float, Line]:
    """Find the longest line at a right angle to the axis, from outline to outline.

    At every position along the axis the line goes from the lowest to the highest pixel edge, clipped to the hull. Its
    length changes linearly between pixel corners, hull corners and the points where the hull crosses pixel edges, so
    only these positions are checked.

    Parameters
    ----------
    runs : RunLengths
        The runs of one slice.
    hull : numpy.ndarray
        (n, 2) from `grown_hull`.
    axis : tuple of numpy.ndarray
        The two ends of the longest diameter.
    metric : numpy.ndarray
        (2, 2) from `plane_metric`.

    Returns
    -------
    tuple
        The length, and the two ends as (row, column).
    """
    along = metric @ (axis[1] - axis[0])
    along = along / np.hypot(*along)
    turn = np.stack([along, [-along[1], along[0]]]) @ metric
    sides, edges = _turned(_pixel_edges(runs), turn), _turned(_closed(hull), turn)
    at = np.unique(np.concatenate([sides[..., 0].ravel(), edges[..., 0].ravel(), _cuts(hull) @ turn[0]]))
    at = at[(at >= edges[..., 0].min()) & (at <= edges[..., 0].max())]
    (low, high), (least, most) = _across(sides, at), _across(edges, at)
    low, high = np.maximum(low, least), np.minimum(high, most)
    length = high - low
    best = int(np.argmax(np.round(length / length.max(), 9)))
    back = np.linalg.inv(turn)
    return float(length[best]), (back @ (at[best], low[best]), back @ (at[best], high[best]))


def _closed(corners: Floats) -> Floats:
    return np.stack([corners, np.roll(corners, -1, axis=0)], axis=1)


def _turned(segments: Floats, turn: Floats) -> Floats:
    """Return segments (n, 2, 2) as (position along the axis, across it), each from its lower to its higher end."""
    ends = segments @ turn.T
    return np.take_along_axis(ends, np.argsort(ends[..., :1], axis=1), axis=1)


def _pixel_edges(runs: RunLengths) -> Floats:
    """Return the four edges of every run, (n, 2, 2) float64: ends as (row, column)."""
    top, bottom, left, right = runs.row - HALF, runs.row + HALF, runs.start - HALF, runs.stop - HALF
    corners = [np.stack(corner, axis=1) for corner in ((top, left), (top, right), (bottom, right), (bottom, left))]
    edges = [np.stack([corners[i - 1], corners[i]], axis=1) for i in range(4)]
    return np.concatenate(edges)


def _cuts(hull: Floats) -> Floats:
    """Return the points where the hull crosses the lines between pixels, (n, 2) float64 as (row, column)."""
    found = [hull]
    for one, other in _closed(hull):
        for axis in (0, 1):
            first, last = sorted((one[axis], other[axis]))
            lines = np.arange(np.ceil(first - HALF), np.floor(last - HALF) + 1) + HALF
            if last > first:
                share = (lines - one[axis]) / (other[axis] - one[axis])
                found.append(one + share[:, None] * (other - one))
    return np.concatenate(found)


def _across(ends: Floats, at: Floats) -> tuple[Floats, Floats]:
    """Return the lowest and highest point at every position, a few positions at a time to save memory."""
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
