"""Pixels of one slice <-> closed polygons around them, with holes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    Points = NDArray[np.float64]


def polygons_of(mask: NDArray[np.bool_]) -> list[Points]:
    """Return a polygon around every connected piece of a slice.

    Parameters
    ----------
    mask : numpy.ndarray
        (rows, columns).

    Returns
    -------
    list of numpy.ndarray
        (n, 2) float64 row and column, pixel centres at whole numbers, the first point not repeated. The polygon runs
        half-way between pixels in and out. A hole is part of the polygon: a narrow channel leads to it and back (the
        "keyhole" of DICOM PS3.3 C.8.8.6.3), since a closed contour cannot have a second border.
    """
    from scipy.ndimage import find_objects, label
    from skimage import measure

    find_contours: Any = measure.find_contours
    pieces, _ = label(mask)
    found = []
    for number, box in enumerate(find_objects(pieces), start=1):
        padded = np.pad(pieces[box] == number, 1).astype(np.float64)
        start = np.array([part.start - 1 for part in box], np.float64)
        rings = [ring[:-1] + start for ring in find_contours(padded, 0.5)]
        rings.sort(key=lambda ring: -abs(_area(ring)))
        found.append(_without_straight(_with_holes(rings[0], rings[1:])))
    return found


def filled(shape: tuple[int, int], polygons: Iterable[Points]) -> NDArray[np.bool_]:
    """Return which pixel centres lie in an odd number of polygons: one inside another is a hole.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the slice.
    polygons : iterable of numpy.ndarray
        (n, 2) each, as `polygons_of` returns them.
    """
    from skimage import draw

    polygon: Any = draw.polygon
    mask = np.zeros(shape, np.bool_)
    for points in polygons:
        rows, columns = polygon(points[:, 0], points[:, 1], shape)
        mask[rows, columns] ^= True
    return mask


def _area(ring: Points) -> float:
    row, column = ring.T
    return float(np.dot(row, np.roll(column, -1)) - np.dot(column, np.roll(row, -1))) / 2


def _with_holes(outer: Points, holes: list[Points]) -> Points:
    """Join holes to their border by channels of no width, each time the hole that is closest."""
    left = list(holes)
    while left:
        _, n, here, there = min((_bridge(outer, hole, n) for n, hole in enumerate(left)), key=lambda found: found[0])
        hole = np.roll(left.pop(n), -there, axis=0)
        outer = np.concatenate([outer[: here + 1], hole, hole[:1], outer[here:]])
    return outer


def _bridge(outer: Points, hole: Points, number: int) -> tuple[float, int, int, int]:
    """Return the shortest way between two rings: its length, the hole's number, and the points at both ends."""
    from scipy.spatial import cKDTree

    lengths, nearest = cKDTree(outer).query(hole)
    at = int(np.argmin(lengths))
    return float(lengths[at]), number, int(nearest[at]), at


def _without_straight(ring: Points) -> Points:
    """Leave out points on straight lines; the turning points of a channel stay."""
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    turn = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    straight = (np.abs(turn) < 1e-9) & ((before * after).sum(axis=1) > 0)
    kept: Any = ring[~straight]
    return np.asarray(kept, np.float64)
