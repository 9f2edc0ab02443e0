"""Where voxels lie: between NIfTI's and DICOM's conventions and the one that Scan uses."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

Matrix = NDArray[np.float64]

# Patient x runs to the left, y to the back, z to the head in LPS+; NIfTI's RAS+ turns x and y round.
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def closest_order(ras: Matrix) -> tuple[int, int, int]:
    """Return the voxel axes that run closest to the patient's (z, y, x), each used once.

    Parameters
    ----------
    ras : numpy.ndarray
        (4, 4) voxel index -> patient position; the world may be RAS+ or LPS+.

    Returns
    -------
    tuple of int
        `order`, so that `array.transpose(order)` has its axes closest to (z, y, x).
    """
    linear = np.abs(ras[:3, :3])
    cosines = linear / np.linalg.norm(linear, axis=0)
    orders = itertools.permutations(range(3))
    z, y, x = max(orders, key=lambda o: cosines[2, o[0]] + cosines[1, o[1]] + cosines[0, o[2]])
    return z, y, x


def from_ras(ras: Matrix, order: tuple[int, int, int]) -> Matrix:
    """Turn a RAS+ affine (x, y, z rows, voxel columns) into Scan's: LPS+, world rows (z, y, x), columns in `order`."""
    return from_lps(_RAS_TO_LPS @ ras, order)


def from_lps(lps: Matrix, order: tuple[int, int, int]) -> Matrix:
    """Reorder an LPS+ affine (x, y, z rows, voxel columns) to Scan's: world rows (z, y, x), columns in `order`."""
    return np.asarray(lps[np.ix_([2, 1, 0, 3], [*order, 3])], np.float64) + 0.0


def to_ras(affine: Matrix) -> Matrix:
    """Turn Scan's affine (zyx, LPS+) into NIfTI's for the transposed (x, y, z) array; a 2D one gets z = 0."""
    full = np.eye(4)
    full[4 - len(affine) :, 4 - len(affine) :] = affine
    return np.asarray(_RAS_TO_LPS @ full[np.ix_([2, 1, 0, 3], [2, 1, 0, 3])], np.float64) + 0.0


def orientation(affine: Matrix) -> str:
    """Name the patient direction towards which every array axis runs, e.g. "SPL" for (z, y, x) in LPS+."""
    names = ("SPL"[4 - len(affine) :], "IAR"[4 - len(affine) :])
    columns = affine[:-1, :-1].T
    return "".join(names[int(c[np.abs(c).argmax()] < 0)][np.abs(c).argmax()] for c in columns)


def tilt(affine: Matrix) -> float:
    """Return the largest angle, in degrees, between an array axis and the patient axis closest to it."""
    linear = affine[:-1, :-1]
    cosines = np.abs(linear / np.linalg.norm(linear, axis=0)).max(axis=0)
    return float(np.degrees(np.arccos(np.clip(cosines.min(), -1.0, 1.0))))


def straightened(affine: Matrix, shape: Sequence[int]) -> Matrix:
    """Return an affine with the same spacing and directions along the patient's axes, centred at the same place."""
    linear = affine[:-1, :-1]
    straight = np.eye(len(affine))
    straight[:-1, :-1] = np.diag(np.where(np.diag(linear) < 0, -1.0, 1.0) * np.linalg.norm(linear, axis=0))
    centre = (np.asarray(shape, np.float64) - 1) / 2
    straight[:-1, -1] = affine[:-1, -1] + (linear - straight[:-1, :-1]) @ centre
    return straight


def is_usable(affine: Any) -> bool:
    """Tell whether an affine is finite and gives every voxel a volume."""
    matrix = np.asarray(affine, np.float64)
    if not np.isfinite(matrix).all():
        return False
    lengths = np.linalg.norm(matrix[:-1, :-1], axis=0)
    return bool((lengths > 0).all() and abs(np.linalg.det(matrix[:-1, :-1] / lengths)) > 1e-6)


def is_featureless(affine: Matrix) -> bool:
    """Tell whether an affine says nothing: spacing 1, origin 0 and straight axes, as writers leave that know none."""
    linear = np.abs(affine[:-1, :-1])
    return bool(np.allclose(np.sort(linear, axis=0)[-1], 1) and np.allclose(linear.sum(axis=0), 1)) and bool(
        np.allclose(affine[:-1, -1], 0)
    )
