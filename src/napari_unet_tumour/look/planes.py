"""Axial, coronal and sagittal views of a scan: which world axes they show, which way up, and where a place is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment

from napari_unet_tumour.look.directions import direction_letter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

# Name of a view, and the patient directions at its top and left edge, as radiologists look at it.
VIEWS = {"Axial": "AR", "Coronal": "HR", "Sagittal": "HA"}
OPPOSITE = {"H": "F", "F": "H", "A": "P", "P": "A", "L": "R", "R": "L"}
STRAIGHT = 1e-6


@dataclass(frozen=True)
class PlaneView:
    """What a view of a volume shows.

    Parameters
    ----------
    name : str
        "Axial", "Coronal" or "Sagittal"; "1", "2" or "3" where the patient's directions are not known.
    order : tuple of int
        The world axes (0, 1, 2): the one that is sliced, the one that runs along the screen's height, along its width.
    signs : tuple of int
        +1 where the axis of the height runs down and that of the width to the right, else -1.
    """

    name: str
    order: tuple[int, int, int]
    signs: tuple[int, int] = (1, 1)


def plane_views(to_patient: Matrix | None) -> tuple[PlaneView, ...]:
    """Return the three views of a volume.

    Parameters
    ----------
    to_patient : numpy.ndarray or None
        (3, 3) step in the patient (z, y, x, LPS+) of one step along each axis of the world that is shown. None, or a
        world without three different directions, gives the three pairs of axes as they are.
    """
    letters = [] if to_patient is None else [direction_letter(column) for column in to_patient.T]
    if len({frozenset((one, OPPOSITE[one])) for one in letters if one}) < 3:
        return PlaneView("1", (0, 1, 2)), PlaneView("2", (1, 0, 2)), PlaneView("3", (2, 0, 1))
    return tuple(_view(name, edges, letters) for name, edges in VIEWS.items())


def _view(name: str, edges: str, letters: list[str]) -> PlaneView:
    (rows, down), (columns, right) = (_axis(edge, letters) for edge in edges)
    return PlaneView(name, (3 - rows - columns, rows, columns), (down, right))


def _axis(edge: str, letters: list[str]) -> tuple[int, int]:
    """Return the axis that leads to an edge at the top or left, and +1 where it runs away from that edge."""
    axis = next(n for n, letter in enumerate(letters) if edge in (letter, OPPOSITE[letter]))
    return axis, -1 if letters[axis] == edge else 1


def upright(affine: Matrix) -> Matrix:
    """Return the turn of the world (4, 4) after which an oblique scan's axes run along those of the world.

    Its spacing, the place of its first voxel and the direction closest to each axis stay. The identity for a scan
    that lies straight, flipped or with its axes in another order.

    Parameters
    ----------
    affine : numpy.ndarray
        (4, 4) index -> world.
    """
    linear = affine[:-1, :-1]
    lengths = np.linalg.norm(linear, axis=0)
    cosines = linear / lengths
    rows, columns = linear_sum_assignment(-np.abs(cosines))
    straight = np.zeros_like(linear)
    straight[rows, columns] = np.sign(cosines[rows, columns]) * lengths[columns]
    turn = np.eye(len(affine))
    if np.abs(straight - linear).max() > STRAIGHT * lengths.max():
        turn[:-1, :-1] = straight @ np.linalg.inv(linear)
        turn[:-1, -1] = affine[:-1, -1] - turn[:-1, :-1] @ affine[:-1, -1]
    return turn


def on_canvas(
    place: Sequence[float], centre: Sequence[float], zoom: float, size: Sequence[float], signs: Sequence[int]
) -> tuple[float, float]:
    """Return where a place of the world is drawn, in pixels from the left and from the top of a canvas.

    Parameters
    ----------
    place, centre : sequence of float
        (along the height, along the width) in the world: the place, and what is in the middle of the canvas.
    zoom : float
        Pixels per unit of the world.
    size : sequence of float
        (width, height) of the canvas in pixels.
    signs : sequence of int
        As in `PlaneView`.
    """
    down, right = (sign * (at - middle) * zoom for sign, at, middle in zip(signs, place, centre, strict=True))
    return size[0] / 2 + right, size[1] / 2 + down


def levelled(affine: Matrix, normal: int, pivot: Matrix) -> tuple[Matrix, tuple[int, int, int]]:
    """Return where a volume is shown so that its slices lie level, each axis of the array along its own axis.

    A tilt of the slices against the plane is taken out, since napari shows slices along the axes of an array only. A
    turn within the slice stays.

    Parameters
    ----------
    affine : numpy.ndarray
        (4, 4) index -> patient (z, y, x, LPS+).
    normal : int
        The patient's axis that the slices lie across.
    pivot : numpy.ndarray
        (3,) a place of the patient that keeps its numbers.

    Returns
    -------
    tuple
        (4, 4) patient -> what is shown; and, for z, y and x of the patient, the axis that runs closest to it there.
    """
    linear = affine[:-1, :-1]
    along, columns = linear_sum_assignment(-np.abs(linear / np.linalg.norm(linear, axis=0)))
    axes: tuple[int, int, int] = tuple(int(columns[list(along).index(n)]) for n in range(3))  # type: ignore[assignment]
    inner = [linear[:, axis] for n, axis in enumerate(axes) if n != normal]
    across = np.cross(inner[0], inner[1])
    across *= np.sign(across[normal]) / np.linalg.norm(across)
    target = np.eye(3)[normal]
    # The shortest turn that brings `across` to `target`.
    half = across + target
    turn = 2 * np.outer(half, half) / (half @ half) - np.eye(3)
    turn = turn @ (2 * np.outer(across, across) - np.eye(3))
    shown = turn @ linear
    thick = shown[normal, axes[normal]]
    shown[:, axes[normal]] = thick * target  # without the shear of a tilted gantry
    for n, axis in enumerate(axes):
        shown[normal, axis] = thick if n == normal else 0.0
    moved = np.eye(4)
    moved[:3, :3] = (shown @ np.linalg.inv(linear))[list(np.argsort(axes))]
    if np.abs(moved - np.eye(4)).max() < STRAIGHT:
        return np.eye(4), axes
    moved[:3, 3] = np.asarray(pivot)[list(np.argsort(axes))] - moved[:3, :3] @ pivot
    return moved, axes
