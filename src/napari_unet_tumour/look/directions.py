"""Which way the patient's left, back and head lie on a screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

# Positive and negative direction of the patient axes z, y, x in LPS+: head, feet; posterior, anterior; left, right.
POSITIVE, NEGATIVE = "HPL", "FAR"


def direction_letter(direction: Sequence[float] | Matrix) -> str:
    """Name the patient direction that a vector runs closest to.

    Parameters
    ----------
    direction : sequence of float
        (z, y, x) in LPS+, as the affine of a `Scan` has it.

    Returns
    -------
    str
        "H", "F", "P", "A", "L" or "R"; "" for a vector without length.
    """
    vector = np.asarray(direction, np.float64)
    axis = int(np.abs(vector).argmax())
    if not np.isfinite(vector).all() or not vector[axis]:
        return ""
    return POSITIVE[axis] if vector[axis] > 0 else NEGATIVE[axis]


def edge_letters(patient: Matrix, shown: Matrix, down: int, right: int, signs: tuple[int, int] = (1, 1)) -> str:
    """Name the patient directions at the edges of a screen.

    Parameters
    ----------
    patient : numpy.ndarray
        (3, 3) step in the patient (z, y, x, LPS+) of one voxel along each array axis.
    shown : numpy.ndarray
        (3, 3) the same step in the viewer's world, which may be flipped, straightened or moved.
    down, right : int
        The world axes (0, 1 or 2) that run down and to the right.
    signs : tuple of int
        -1 where the screen is turned over: up, or to the left.

    Returns
    -------
    str
        Four letters: top, bottom, left, right.
    """
    to_patient = patient @ np.linalg.inv(shown)
    below, beside = signs[0] * to_patient[:, down], signs[1] * to_patient[:, right]
    return "".join(direction_letter(one) for one in (-below, below, -beside, beside))
