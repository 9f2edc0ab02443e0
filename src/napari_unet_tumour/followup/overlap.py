"""How much of each lesion of one mask lies within each lesion of another, by place: the grids may differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

# So many places are looked at at once.
CHUNK = 1 << 20
# Of two voxels that are equally near the lower one is taken, whatever the last digits of an affine are.
TIE = 1e-6
PARTS = 2


def overlap_volumes(first: NDArray[Any], first_world: Matrix, second: NDArray[Any], second_world: Matrix) -> Matrix:
    """Return the volumes that the pieces of two maps share.

    Each voxel of one map is looked at in twice as many places as it has voxels of the other map along its edges, so
    that nothing falls between large voxels. Exact where both maps lie on one grid.

    Parameters
    ----------
    first, second : numpy.ndarray
        (z, y, x) whole numbers: 1, 2, ... the pieces, 0 none.
    first_world, second_world : numpy.ndarray
        (4, 4) index -> place, both in the same units.

    Returns
    -------
    numpy.ndarray
        (n + 1, m + 1) float64, cubic units, by the numbers of the pieces; row and column 0 are 0.
    """
    there, back = np.linalg.inv(second_world) @ first_world, np.linalg.inv(first_world) @ second_world
    cost = [np.count_nonzero(one) * np.prod(_steps(to)) for one, to in ((first, there), (second, back))]
    if cost[1] < cost[0]:
        return np.asarray(_shared(second, first, back).T * abs(np.linalg.det(second_world[:-1, :-1])), np.float64)
    return np.asarray(_shared(first, second, there) * abs(np.linalg.det(first_world[:-1, :-1])), np.float64)


def _shared(first: NDArray[Any], second: NDArray[Any], to_second: Matrix) -> Matrix:
    """Return how many voxels of the first map each pair shares, in fractions where a voxel is in several."""
    count = int(first.max(initial=0)) + 1, int(second.max(initial=0)) + 1
    found = np.zeros(count[0] * count[1])
    steps = _steps(to_second)
    inner = np.array(list(np.ndindex(*steps)), np.float64)
    offsets = ((inner + 0.5) / steps - 0.5) @ to_second[:-1, :-1].T
    voxels = _near(first, second, to_second)
    each = max(CHUNK // len(offsets), 1)
    for part in (voxels[at : at + each] for at in range(0, len(voxels), each)):
        centres = part @ to_second[:-1, :-1].T + to_second[:-1, -1]
        at = np.floor(centres[:, None] + offsets + 0.5 - TIE).astype(np.int64)
        inside = ((at >= 0) & (at < second.shape)).all(axis=-1)
        pair = np.broadcast_to(first[tuple(part.T)][:, None], inside.shape)[inside].astype(np.int64) * count[1]
        found += np.bincount(pair + second[tuple(at[inside].T)], minlength=len(found))
    table = found.reshape(count) / len(offsets)
    table[0] = table[:, 0] = 0
    return np.asarray(table, np.float64)


def _steps(to_other: Matrix) -> Sequence[int]:
    """Return in how many parts a voxel is cut along each axis: two per voxel of the other grid, one where they fit."""
    linear = to_other[:-1, :-1]
    parts = 1 if np.abs(to_other - np.round(to_other)).max() < 1e-3 else PARTS
    return [parts * max(int(np.ceil(np.abs(column).max() - 1e-3)), 1) for column in linear.T]


def _near(first: NDArray[Any], second: NDArray[Any], to_second: Matrix) -> NDArray[np.int64]:
    """Return the index (n, 3) of the voxels of the first map's pieces that may reach into a piece of the second."""
    box = next(iter(ndimage.find_objects((second != 0).astype(np.uint8))), None)
    drawn = np.argwhere(first)
    if box is None:
        return drawn[:0]
    linear = to_second[:-1, :-1]
    margin = 0.5 + 0.5 * np.abs(linear).sum(axis=1)
    centres = drawn @ linear.T + to_second[:-1, -1]
    low, high = (np.array([getattr(one, end) for one in box], np.float64) for end in ("start", "stop"))
    kept = ((centres >= low - margin) & (centres <= high - 1 + margin)).all(axis=1)
    return np.asarray(drawn[kept], np.int64)
