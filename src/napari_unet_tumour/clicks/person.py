"""A simulated person who clicks: at the inmost point of the largest error, with an unsteady hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]


def next_click(mask: Mask, truth: Mask, rng: np.random.Generator, jitter: float = 3.0) -> tuple[int, int, int] | None:
    """Return where a person would click next, or None where nothing is wrong.

    Parameters
    ----------
    mask, truth : numpy.ndarray
        (H, W) bool: the answer so far, and what the person wants.
    rng : numpy.random.Generator
        The hand.
    jitter : float
        Most pixels by which the click misses the point that was meant.

    Returns
    -------
    tuple of int
        Row, column, and +1 to add or -1 to remove.
    """
    largest, sign = None, 0
    for wrong, kind in ((truth & ~mask, 1), (mask & ~truth, -1)):
        piece = largest_piece(wrong)
        if piece is not None and (largest is None or piece.sum() > largest.sum()):
            largest, sign = piece, kind
    if largest is None:
        return None
    row, column = shaken(inmost(largest), mask.shape, rng, jitter)
    return row, column, sign


def largest_piece(mask: Mask) -> Mask | None:
    """Return the largest connected piece of a mask, or None of an empty one."""
    if not mask.any():
        return None
    pieces, count = ndimage.label(mask)
    if count == 1:
        return mask
    return np.asarray(pieces == 1 + np.bincount(pieces.ravel())[1:].argmax())


def inmost(mask: Mask) -> tuple[int, int]:
    """Return the pixel of a mask that is farthest from its outline."""
    rows, columns = (slice(found.start, found.stop) for found in ndimage.find_objects(mask.astype(np.uint8))[0])
    depth = ndimage.distance_transform_edt(np.pad(mask[rows, columns], 1))[1:-1, 1:-1]
    row, column = np.unravel_index(depth.argmax(), depth.shape)
    return int(row) + rows.start, int(column) + columns.start


def shaken(point: tuple[int, int], shape: tuple[int, ...], rng: np.random.Generator, jitter: float) -> tuple[int, int]:
    """Return a pixel up to `jitter` pixels away, evenly over the disc, within a plane of `shape`."""
    angle, away = rng.uniform(0, 2 * np.pi), jitter * np.sqrt(rng.uniform())
    moved = (point[0] + away * np.sin(angle), point[1] + away * np.cos(angle))
    row, column = (int(np.clip(round(at), 0, size - 1)) for at, size in zip(moved, shape, strict=True))
    return row, column
