"""How large a label is, quickly: its volume, and its area in one slice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class LabelSize:
    """Size of a label.

    Parameters
    ----------
    volume : float
        ml; voxels where `mm` is False.
    area : float or None
        mm² in one slice; pixels where `mm` is False; None without a slice.
    mm : bool
        Whether the spacing is known in millimetres.
    """

    volume: float
    area: float | None
    mm: bool

    def __str__(self) -> str:
        """Return the size in words, e.g. "12.3 ml, 245 mm² on this slice"."""
        volume = f"{self.volume:.3g} ml" if self.mm else f"{self.volume:,.0f} voxels"
        if self.area is None:
            return volume
        area = f"{self.area:,.4g} mm²" if self.mm else f"{self.area:,.0f} pixels"
        return f"{volume}, {area} on this slice"


def label_size(
    mask: NDArray[Any], label: int, linear: NDArray[np.float64] | None, slice_index: tuple[Any, ...] | None
) -> LabelSize:
    """Measure a label of a volume.

    Parameters
    ----------
    mask : numpy.ndarray
        (z, y, x) label values.
    label : int
        The value.
    linear : numpy.ndarray or None
        (3, 3) step in mm of one voxel along each array axis; None counts voxels.
    slice_index : tuple or None
        What cuts the slice out of the mask: one integer, else slices.
    """
    voxels = int(np.count_nonzero(mask == label))
    pixels = None if slice_index is None else int(np.count_nonzero(mask[slice_index] == label))
    if linear is None:
        return LabelSize(float(voxels), None if pixels is None else float(pixels), False)
    volume = voxels * abs(float(np.linalg.det(linear))) / 1000
    if pixels is None or slice_index is None:
        return LabelSize(volume, None, True)
    rows, columns = (linear[:, axis] for axis, part in enumerate(slice_index) if isinstance(part, slice))
    return LabelSize(volume, pixels * float(np.linalg.norm(np.cross(rows, columns))), True)
