"""The geometry of a mask: frames, slices, rows and columns, and the true lengths of steps between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.base.text import shape_text
from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.measure.diameters import plane_metric
from napari_unet_tumour.scans.scan import Scan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SPACE = "zyx"


@dataclass(frozen=True, eq=False)
class MaskGeometry:
    """The axes of a mask in the order for measuring.

    Parameters
    ----------
    shape : tuple of int
        Shape of the mask.
    axes : str
        A letter per mask axis; "z", "y", "x" are space, any other is a frame axis.
    order : tuple of int
        Mask axes: frames, then the slice axis (not in 2D), then rows and columns.
    affine : numpy.ndarray
        (s+1, s+1) float64, index along the spatial axes in array order -> world.
    mm : bool
        Whether the world is in millimetres.
    """

    shape: tuple[int, ...]
    axes: str
    order: tuple[int, ...]
    affine: Floats
    mm: bool

    @property
    def spatial(self) -> tuple[int, ...]:
        """Positions of the spatial axes in the mask."""
        return spatial_of(self.axes)

    @property
    def space(self) -> int:
        """Number of spatial axes, 2 or 3."""
        return len(self.affine) - 1

    @property
    def frames(self) -> tuple[int, ...]:
        """Shape of the frame axes, () for one volume."""
        return tuple(self.shape[i] for i in self.order[: -self.space])

    @property
    def linear(self) -> Floats:
        """(s, s) steps in space of one pixel, columns in array order; the identity without millimetres."""
        return self.affine[:-1, :-1] if self.mm else np.eye(self.space)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance of neighbouring pixels along every spatial axis, mm or 1 pixel."""
        return tuple(float(s) for s in np.linalg.norm(self.linear, axis=0))

    @property
    def metric(self) -> Floats:
        """(2, 2) matrix from (row, column) steps to true lengths in the slice."""
        columns = [self.spatial.index(i) for i in self.order[-2:]]
        return plane_metric(self.linear[:, columns])

    @property
    def pixel_area(self) -> float:
        """Area of one pixel of a slice, mm² or 1 pixel."""
        return float(abs(np.linalg.det(self.metric)))

    @property
    def voxel_volume(self) -> float:
        """Volume of one voxel, ml or 1 pixel; 1 pixel in 2D, because a slice without thickness has no volume."""
        return float(abs(np.linalg.det(self.linear))) / 1000 if self.mm and self.space == 3 else 1.0

    def volume(self, array: Any, frame: tuple[int, ...]) -> Any:
        """Return one frame of an array in the mask's grid as (slices, rows, columns); a view or a lazy array."""
        found = array.transpose(self.order)[frame]
        return found[None] if self.space == 2 else found

    def point(self, frame: tuple[int, ...], *place: float) -> tuple[float, ...]:
        """Return the index position in the mask's array of (slice, row, column) in a frame."""
        sorted_index = (*frame, *place[-self.space :])
        return tuple(float(sorted_index[self.order.index(i)]) for i in range(len(self.shape)))

    def world(self, point: tuple[float, ...]) -> tuple[float, ...]:
        """Return the world position of an index position."""
        place = self.affine @ [*(point[i] for i in self.spatial), 1.0]
        return tuple(float(p) for p in place[:-1])


def spatial_of(axes: str) -> tuple[int, ...]:
    """Return the positions of the spatial letters."""
    return tuple(i for i, letter in enumerate(axes) if letter in SPACE)


def mask_geometry(
    mask: Any,
    scan: Any,
    spacing: Sequence[float] | None,
    affine: Any,
    units: str | None,
    axes: str | None,
    slice_axis: int | None,
    name: str,
) -> MaskGeometry:
    """Return the geometry of a mask from what is given; raises ScanError if it is inconsistent."""
    shape = tuple(int(n) for n in mask.shape)
    axes = _axes_of(shape, scan, axes, name)
    spatial = spatial_of(axes)
    matrix = _affine_of(scan, spacing, affine, len(spatial))
    given = spacing is not None or affine is not None
    units = units or ("mm" if given else scan.units if isinstance(scan, Scan) else "pixel")
    if units not in ("mm", "pixel", "pixels"):
        raise ScanError(f"sizes cannot be given in {units!r}: choose mm or pixel")
    across = [] if len(spatial) == 2 else [_slices_across(matrix, spatial, slice_axis, axes)]
    frames = [i for i in range(len(axes)) if i not in spatial]
    order = frames + across + [i for i in spatial if i not in across]
    return MaskGeometry(shape, axes, tuple(order), matrix, units == "mm")


def _axes_of(shape: tuple[int, ...], scan: Any, axes: str | None, name: str) -> str:
    what = name or "the mask"
    if axes is None:
        axes = scan.axes.replace("c", "") if isinstance(scan, Scan) else "t" * (len(shape) - 3) + SPACE[-len(shape) :]
    if len(axes) != len(shape):
        raise ScanError(f"{what} has {len(shape)} axes, expected are {axes!r}: choose the mask of this scan")
    if len(spatial_of(axes)) not in (2, 3) or len({axes[i] for i in spatial_of(axes)}) != len(spatial_of(axes)):
        raise ScanError(f"{what} has the axes {axes!r}: two or three of z, y, x are needed")
    if 0 in shape:
        raise ScanError(f"{what} has an axis without pixels: choose another mask")
    return axes


def _affine_of(scan: Any, spacing: Sequence[float] | None, affine: Any, space: int) -> Floats:
    if spacing is not None:
        affine = np.diag([*spacing, 1.0])
    elif affine is None:
        affine = scan.world if isinstance(scan, Scan) else np.eye(space + 1)
    matrix = np.asarray(affine, np.float64)
    if matrix.shape != (space + 1, space + 1):
        raise ScanError(
            f"the geometry is for {len(matrix) - 1} axes and the mask has {space} in space: give one per axis"
        )
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:-1, :-1])) < 1e-12:
        raise ScanError("the spacing or affine has zeros or is not finite: choose 'pixel' as the unit, or correct it")
    return matrix


def _slices_across(matrix: Floats, spatial: tuple[int, ...], wanted: int | None, axes: str) -> int:
    if wanted is None:
        spacing = np.linalg.norm(matrix[:-1, :-1], axis=0)
        return spatial[int(np.argmax(spacing > spacing.max() * 0.999))]
    wanted = wanted + len(axes) if wanted < 0 else wanted
    if wanted not in spatial:
        raise ScanError(f"axis {wanted} of {axes!r} cannot be the slice axis: choose a spatial axis")
    return wanted


def image_of(scan: Any, mask: Any, name: str) -> Any:
    """Return the scan's pixels in the mask's grid (mean of the first three channels), None without a scan."""
    if scan is None:
        return None
    array = scan.array if isinstance(scan, Scan) else scan
    axes = scan.axes if isinstance(scan, Scan) else "." * mask.ndim + "c" * (array.ndim - mask.ndim)
    if "c" in axes and array.ndim == mask.ndim + 1:
        channels = array.transpose([axes.index("c"), *(i for i, a in enumerate(axes) if a != "c")])
        array = channels[0] if len(channels) < 3 else channels[:3].mean(axis=0)
    if tuple(array.shape) != tuple(mask.shape):
        what = scan.name if isinstance(scan, Scan) else "the scan"
        raise ScanError(
            f"{name or 'the mask'} has {shape_text(mask.shape)} pixels and {what} {shape_text(array.shape)}: "
            "choose the mask of this scan"
        )
    return array
