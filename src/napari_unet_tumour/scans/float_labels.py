"""Label values stored as floats -> whole numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_unet_tumour.scans.scan import Scan

# A probability is no label; a label written through a header's scale lies up to half a step off its whole number.
_HAIR, _FURTHEST = 1e-3, 0.05


def whole_labels(scan: Scan) -> NDArray[Any] | None:
    """Return a scan's values as the whole numbers that they were meant as, or None where there are others between.

    Labels that went through floats, or through the scale factor of a NIfTI header, come back a hair off: 1.0000153.

    Returns
    -------
    numpy.ndarray or None
        Integer or bool values as they are; floats as uint8 where they fit, else int32, NaN as 0.
    """
    array = np.asarray(scan.array)
    if array.dtype.kind != "f":
        return array
    values = np.nan_to_num(array, nan=0.0, posinf=np.inf, neginf=-np.inf)
    if float(np.abs(values).max(initial=0)) > np.iinfo(np.int32).max:
        return None
    found: NDArray[Any] = np.rint(values)
    step = abs(float(scan.extra.get("nifti", {}).get("slope", 0.0)))
    if np.abs(values - found).max(initial=0) > min(max(_HAIR, 0.51 * step), _FURTHEST):
        return None
    small = found.min(initial=0) >= 0 and found.max(initial=0) < 256
    return np.asarray(found, np.uint8 if small else np.int32)
