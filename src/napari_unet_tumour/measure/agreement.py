"""How well two masks of one place agree: two raters, before and after a correction, a network and a person."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.measure.common_grid import CommonGrid, on_common_grid
from napari_unet_tumour.measure.geometry import MaskGeometry, mask_geometry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from napari_unet_tumour.scans.scan import Scan

_OTHER_VALUES = "'{}' and '{}' hold one label each, with different values: these two are compared."
BOTH, ONLY_FIRST, ONLY_SECOND, OTHER_LABEL = 1, 2, 3, 4
ALL_LABELS = "all labels"


@dataclass(frozen=True)
class Agreement:
    """The figures of one label in one frame.

    Parameters
    ----------
    label : int or None
        Pixel value; None for all labels together.
    name : str
        Its name.
    frame : tuple of int
        Index along the axes that are not space (time), usually ().
    dice : float
        2 |both| / (|first| + |second|), 0..1.
    hd95 : float or None
        The 95th percentile of the distance between the borders, the larger of both directions, in the comparison's
        length units; None where one mask has none of the label.
    volume_first, volume_second : float
        Each counted on the mask's own grid, in the comparison's volume units.
    difference : float
        Volume of the second minus that of the first.
    difference_percent : float or None
        Of the first one's volume; None where that is 0.
    """

    label: int | None
    name: str
    frame: tuple[int, ...]
    dice: float
    hd95: float | None
    volume_first: float
    volume_second: float
    difference: float
    difference_percent: float | None


@dataclass(frozen=True, eq=False)
class MaskComparison:
    """Two masks compared.

    Parameters
    ----------
    first, second : str
        Their names.
    rows : tuple of Agreement
        Per frame and label; of several labels all together come first.
    units, volume_units : str
        "mm" and "ml", or "pixels".
    difference : numpy.ndarray
        uint8: `BOTH`, `ONLY_FIRST`, `ONLY_SECOND`, `OTHER_LABEL` (marked in both, as another label) or 0.
    grid : Scan
        The grid of `difference`.
    notes : tuple of str
        What a person must know about the figures.
    """

    first: str
    second: str
    rows: tuple[Agreement, ...]
    units: str
    volume_units: str
    difference: NDArray[np.uint8]
    grid: Scan
    notes: tuple[str, ...] = ()


def compare_masks(first: Scan, second: Scan, names: Mapping[int, str] | None = None) -> MaskComparison:
    """Compare two masks of one place.

    Parameters
    ----------
    first, second : Scan
        Label values, as `scans.read_mask` gives them; on any two grids, see `on_common_grid`. Masks with one label
        each are compared whatever their values are.
    names : mapping, optional
        Names by label value.

    Raises
    ------
    ScanError
        The two do not overlap, or cannot be brought onto one grid.
    """
    one, other = with_one_value(first, second)
    common = on_common_grid(one, other)
    shape = mask_geometry(common.first, common.grid, None, None, None, None, None, common.grid.name)
    mm = shape.mm and shape.space == 3
    labels = sorted({*_labels(common.first), *_labels(common.second)})
    rows = []
    for frame in np.ndindex(*shape.frames):
        for label in ([None] if len(labels) > 1 else []) + labels:
            name = ALL_LABELS if label is None else dict(names or {}).get(label, f"label {label}")
            rows.append(_row(label, name, frame, common, shape, (one, other)))
    notes = (*common.notes, *([_OTHER_VALUES.format(first.name, second.name)] if other is not second else []))
    units = "mm" if shape.mm else "pixels"
    difference = _difference(common)
    return MaskComparison(
        first.name, second.name, tuple(rows), units, "ml" if mm else "pixels", difference, common.grid, notes
    )


def with_one_value(first: Scan, second: Scan) -> tuple[Scan, Scan]:
    """Return two masks; where each holds one label, and not the same, with the first one's value in both."""
    mine, theirs = _labels(first.array), _labels(second.array)
    if len(mine) != 1 or len(theirs) != 1 or mine == theirs:
        return first, second
    return first, replace(second, array=np.where(np.asarray(second.array) != 0, mine[0], 0).astype(first.array.dtype))


def _labels(array: Any) -> list[int]:
    return [int(value) for value in np.unique(np.asarray(array)) if value]


def _row(
    label: int | None,
    name: str,
    frame: tuple[int, ...],
    common: CommonGrid,
    shape: MaskGeometry,
    own: tuple[Scan, Scan],
) -> Agreement:
    mine, theirs = (_where(shape.volume(array, frame), label) for array in (common.first, common.second))
    both, total = np.count_nonzero(mine & theirs), np.count_nonzero(mine) + np.count_nonzero(theirs)
    volumes = [_volume(mask, label, frame) for mask in own]
    linear = shape.linear[:, [shape.spatial.index(axis) for axis in shape.order[-shape.space :]]]
    return Agreement(
        label,
        name,
        tuple(int(at) for at in frame),
        float(2 * both / total) if total else 1.0,
        hd95(mine, theirs, linear),
        volumes[0],
        volumes[1],
        volumes[1] - volumes[0],
        100 * (volumes[1] - volumes[0]) / volumes[0] if volumes[0] else None,
    )


def _where(array: Any, label: int | None) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = np.asarray(array) != 0 if label is None else np.asarray(array) == label
    return found


def _volume(mask: Scan, label: int | None, frame: tuple[int, ...]) -> float:
    shape = mask_geometry(mask.array, mask, None, None, None, None, None, mask.name)
    part = shape.volume(mask.array, frame if len(shape.frames) == len(frame) else (0,) * len(shape.frames))
    return float(np.count_nonzero(_where(part, label)) * shape.voxel_volume)


def hd95(first: NDArray[np.bool_], second: NDArray[np.bool_], linear: NDArray[np.float64]) -> float | None:
    """Return the 95th percentile of the distance between the borders of two masks, the larger of both directions.

    The same as MONAI's compute_hausdorff_distance(percentile=95), with true distances on turned and sheared grids too.

    Parameters
    ----------
    first, second : numpy.ndarray
        (slices, rows, columns) bool.
    linear : numpy.ndarray
        (s, s) step in space of one voxel, columns in the order of the last s axes of the masks.

    Returns
    -------
    float or None
        In the units of `linear`; None where one of the masks is empty.
    """
    from scipy.spatial import cKDTree

    if not (first.any() and second.any()):
        return None
    # A border is in the plane where there is but one slice.
    kept = [axis for axis in range(3) if first.shape[axis] > 1]
    if not kept:
        return 0.0
    steps = linear[:, [axis - 3 + linear.shape[1] for axis in kept]]
    mine, theirs = (_border(np.squeeze(mask)) @ steps.T for mask in (first, second))
    there = cKDTree(theirs).query(mine)[0]
    back = cKDTree(mine).query(theirs)[0]
    return float(max(np.percentile(there, 95), np.percentile(back, 95)))


def _border(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the index positions (n, axes) of the voxels of a mask that touch the background by a face."""
    from scipy import ndimage

    box = ndimage.find_objects(mask.view(np.uint8))[0]
    inside = mask[box]
    at = np.argwhere(inside & ~ndimage.binary_erosion(inside))
    return np.asarray(at + [one.start for one in box], np.float64)


def _difference(common: CommonGrid) -> NDArray[np.uint8]:
    mine, theirs = np.asarray(common.first), np.asarray(common.second)
    found = np.where(mine != 0, ONLY_FIRST, 0).astype(np.uint8)
    found[(mine == 0) & (theirs != 0)] = ONLY_SECOND
    found[(mine != 0) & (theirs != 0)] = OTHER_LABEL
    found[(mine != 0) & (mine == theirs)] = BOTH
    return found
