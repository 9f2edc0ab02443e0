"""Two masks on one grid that holds all that either of them marks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.scans.placement import MisfitError, NoOverlapError, both_know_place, put_on_scan, to_grid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_unet_tumour.scans.scan import Scan


@dataclass(frozen=True, eq=False)
class CommonGrid:
    """Two masks voxel by voxel.

    Parameters
    ----------
    first, second : numpy.ndarray
        Label values, one shape.
    grid : Scan
        That grid: the one of the mask with the smaller voxels, made larger where the other mask marks something
        outside it. Its array is the mask's own.
    notes : tuple of str
        What a person must know about it.
    """

    first: NDArray[Any]
    second: NDArray[Any]
    grid: Scan
    notes: tuple[str, ...] = ()


def on_common_grid(first: Scan, second: Scan) -> CommonGrid:
    """Bring two masks onto one grid by place; voxel by voxel where one of them does not know its place.

    Which of the two comes first makes no difference to the grid, but for masks with voxels of the same size.

    Parameters
    ----------
    first, second : Scan
        Label values, without colours.

    Raises
    ------
    ScanError
        They do not overlap, or have other shapes and no common place; names both.
    """
    names = (f"{second.name!r}", f"{first.name!r}")
    if not both_know_place(first, second):
        try:
            placed = put_on_scan(second, first, names)
        except MisfitError as error:
            raise ScanError(
                f"{names[0]} has {error.has} pixels and {names[1]} has {error.needs}, and they do not both say where "
                "they lie: choose two masks of one scan"
            ) from error
        return CommonGrid(first.array, placed.mask.array, first, (placed.note,) if placed.note else ())
    turned = _voxel(second) < _voxel(first) * (1 - 1e-6)
    fine, coarse = (second, first) if turned else (first, second)
    grid = _enlarged(fine, coarse)
    placed = put_on_scan(coarse, grid, (f"{coarse.name!r}", f"{fine.name!r}"))
    notes = (f"'{coarse.name}' was put onto the grid of '{fine.name}'. {placed.note}",) if placed.note else ()
    pair = (placed.mask.array, grid.array) if turned else (grid.array, placed.mask.array)
    return CommonGrid(*pair, grid, notes)


def _voxel(scan: Scan) -> float:
    return float(abs(np.linalg.det(scan.world[:-1, :-1])))


def _enlarged(fine: Scan, coarse: Scan) -> Scan:
    """Return a mask with empty voxels around it, so that its grid holds all that the other one marks."""
    to_fine = np.linalg.inv(fine.world) @ coarse.world
    try:
        to_grid(_space(coarse), coarse.world, _space(fine), fine.world)
    except NoOverlapError as error:
        raise ScanError(
            f"'{coarse.name}' lies elsewhere than '{fine.name}', they do not overlap: choose two masks of one place"
        ) from error
    low, high = _marked(coarse)
    if low is None:
        return fine
    corners = np.array([[*corner, 1] for corner in np.ndindex(*(2,) * len(low))], np.float64)
    corners[:, :-1] = np.where(corners[:, :-1] > 0, high, low)
    ends = (corners @ to_fine.T)[:, :-1]
    before = np.maximum(np.ceil(-0.5 - ends.min(axis=0) - 0.01), 0).astype(int)
    after = np.maximum(np.ceil(ends.max(axis=0) + 0.5 - np.array(_space(fine)) - 0.01), 0).astype(int)
    if not (before.any() or after.any()):
        return fine
    widths = [(0, 0)] * fine.array.ndim
    for axis, pair in zip(fine.spatial, zip(before, after, strict=True), strict=True):
        widths[axis] = (int(pair[0]), int(pair[1]))
    affine = fine.world.copy()
    affine[:-1, -1] -= affine[:-1, :-1] @ before
    # What a writer knows of the file's own grid is not true of this one.
    return replace(fine, array=np.pad(fine.array, widths), affine=affine, extra={})


def _space(scan: Scan) -> tuple[int, ...]:
    return tuple(int(scan.array.shape[axis]) for axis in scan.spatial)


def _marked(mask: Scan) -> tuple[Any, Any]:
    """Return the lowest and the highest edge (index, float) of the voxels that a mask marks; None where it has none."""
    others = tuple(axis for axis in range(mask.array.ndim) if axis not in mask.spatial)
    drawn: NDArray[np.bool_] = np.asarray(mask.array) != 0
    marked = np.asarray(drawn.any(axis=others)) if others else drawn
    if not marked.any():
        return None, None
    spans = []
    for axis in range(marked.ndim):
        found = np.flatnonzero(marked.any(axis=tuple(other for other in range(marked.ndim) if other != axis)))
        spans.append((found[0] - 0.5, found[-1] + 0.5))
    low, high = np.array(spans).T
    return low, high
