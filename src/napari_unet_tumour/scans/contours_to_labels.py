"""Contours in the patient -> a label map on a grid."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.scans.contours import filled
from napari_unet_tumour.scans.placement import NoOverlapError, put_on_scan
from napari_unet_tumour.scans.scan import Scan

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Points = NDArray[np.float64]

# How far the points of a contour may lie off one slice, in slices.
_FLAT = 0.5


@dataclass(frozen=True)
class Structure:
    """A named region.

    Parameters
    ----------
    name : str
        What a person sees.
    contours : list of numpy.ndarray
        (n, 3) float64 each: x, y, z in mm, LPS+, the first point not repeated.
    """

    name: str
    contours: list[Points]


def label_map(
    path: Path, structures: Sequence[Structure], grid: Scan, *, same: bool, notes: tuple[str, ...] = ()
) -> Scan:
    """Fill structures in on a grid: value n is the nth one.

    Parameters
    ----------
    path : Path
        The file that they come from.
    grid : Scan
        In mm, three spatial axes; its array is not looked at.
    same : bool
        The contours were drawn on the slices of this grid.
    notes : tuple of str
        What a person should know already.

    Raises
    ------
    ScanError
        There are contours, and none lies inside the grid.
    """
    if len(grid.spatial) != 3:
        raise ScanError(f"{grid.name} has no slices in the patient, where {path.name} could lie: choose its series")
    empty = _labels(path, grid, structures, notes)
    if not any(structure.contours for structure in structures):
        return empty
    at = _by_index(structures, grid.world)
    axis, off = _slice_axis(at)
    if off < _FLAT:
        found = _filled(at, grid, axis, same)
    else:
        turned = _own_grid(path, structures, grid)
        at = _by_index(structures, turned.world)
        try:
            found = put_on_scan(replace(turned, array=_filled(at, turned, 0, same=True)), grid).mask.array
        except NoOverlapError:
            found = np.zeros_like(empty.array)
    if not found.any():
        raise ScanError(f"the contours of {path.name} lie outside of {grid.name}: choose their series")
    return replace(empty, array=found)


def _labels(path: Path, grid: Scan, structures: Sequence[Structure], notes: tuple[str, ...]) -> Scan:
    kind = np.uint8 if len(structures) < 256 else np.uint16
    axes = "".join(letter for letter in grid.axes if letter in "zyx")
    array = np.zeros(_shape(grid), kind)
    names = ("background", *(structure.name for structure in structures))
    extra: dict[str, Any] = {"labels": True, "names": names, "notes": notes}
    if "dicom" in grid.extra:
        extra["dicom"] = grid.extra["dicom"]
    return Scan(
        array, axes, grid.world, "mm", path.stem, str(path), "RTSTRUCT", extra, grid.person, grid.frame_of_reference
    )


def _shape(grid: Scan) -> tuple[int, ...]:
    return tuple(grid.array.shape[axis] for axis in grid.spatial)


def _by_index(structures: Sequence[Structure], world: Points) -> list[list[Points]]:
    """Return the contours in indices of a grid, (n, 3) in the order of its axes."""
    back = np.linalg.inv(world)
    return [[points[:, ::-1] @ back[:3, :3].T + back[:3, 3] for points in one.contours] for one in structures]


def _slice_axis(at: list[list[Points]]) -> tuple[int, float]:
    """Return the axis across which the contours are flat, and how far, at most, a point lies off its slice."""
    spreads = np.max([np.ptp(points, axis=0) for contours in at for points in contours], axis=0)
    axis = int(np.argmin(spreads))
    return axis, float(spreads[axis])


def _filled(at: list[list[Points]], grid: Scan, axis: int, same: bool) -> NDArray[Any]:
    shape = _shape(grid)
    found = np.zeros(shape, np.uint8 if len(at) < 256 else np.uint16)
    stack = np.moveaxis(found, axis, 0)
    kept = [n for n in range(3) if n != axis]
    reach = 0.5 if same else max(0.5, _distance(at, axis) / 2)
    for label, contours in enumerate(at, start=1):
        where = np.array([points[:, axis].mean() for points in contours])
        for n in range(shape[axis]) if contours else ():
            off = np.abs(where - n)
            # Contours of one plane count together: one inside another is a hole.
            chosen = np.flatnonzero((off <= off.min() + 0.05) & (off <= reach + 1e-3))
            if chosen.size:
                sides = where[chosen] - n
                chosen = chosen[np.abs(sides - sides[0]) < 0.1]
                stack[n][filled(stack[n].shape, (contours[i][:, kept] for i in chosen))] = label
    return found


def _distance(at: list[list[Points]], axis: int) -> float:
    """Return how many slices of the grid lie from one plane with contours to the next, as a rule; 1 where unclear."""
    places = np.unique([round(float(points[:, axis].mean()), 2) for contours in at for points in contours])
    gaps = Counter(np.diff(places).round(1).tolist())
    usual, times = gaps.most_common(1)[0] if gaps else (1.0, 0)
    return float(usual) if times >= 2 and 2 * times >= sum(gaps.values()) and usual > 1 else 1.0


def _own_grid(path: Path, structures: Sequence[Structure], grid: Scan) -> Scan:
    """Return a grid whose first axis runs across the contours, as fine as the one that they are wanted on."""
    contours = [points for one in structures for points in one.contours]
    largest = max(contours, key=lambda points: float(np.ptp(points, axis=0).sum()))
    u, v, normal = np.linalg.svd(largest - largest.mean(axis=0), full_matrices=True)[2]
    along = np.unique([round(float((points @ normal).mean()), 2) for points in contours])
    gaps = Counter(np.diff(along).round(2).tolist())
    step = gaps.most_common(1)[0][0] if gaps else float(max(grid.spacing))
    fine = min(grid.spacing) / 2
    points = np.concatenate(contours)
    low = np.array([along[0], (points @ v).min() - fine, (points @ u).min() - fine])
    high = np.array([along[-1], (points @ v).max() + fine, (points @ u).max() + fine])
    steps = np.array([step, fine, fine])
    shape = np.ceil((high - low) / steps - 1e-6).astype(int) + 1
    lps = np.stack([normal * step, v * fine, u * fine], axis=1)
    affine = np.eye(4)
    affine[:3, :3] = lps[::-1]
    affine[:3, 3] = (normal * low[0] + v * low[1] + u * low[2])[::-1]
    return Scan(np.broadcast_to(np.zeros((), np.uint8), tuple(shape)), "zyx", affine, "mm", path.stem)
