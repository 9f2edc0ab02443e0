"""Layers of two dates -> plain data: where each lies in its patient, and what keeps two of them from being compared."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.scans.frame_of_reference import FrameRelation, frame_relation
from napari_unet_tumour.scans.placement import check_place
from napari_unet_tumour.widgets.layers.labels import without_unsure
from napari_unet_tumour.widgets.layers.world import pixels_of, world_of
from napari_unet_tumour.widgets.measure.layers import grid_of

if TYPE_CHECKING:
    from napari.layers import Image, Labels
    from numpy.typing import NDArray

    from napari_unet_tumour.scans.scan import Scan

FRAMES = {
    FrameRelation.SAME: "Both dates lie in one frame of reference.",
    FrameRelation.DIFFERENT: "The two dates lie in different frames of reference: only aligned scans show one place.",
    FrameRelation.UNKNOWN: "The files do not say whether both dates lie in one frame of reference.",
}


@dataclass(frozen=True, eq=False)
class Date:
    """The layers of one date.

    Parameters
    ----------
    image, mask : layer or None
        The scan and its mask; at least one of them.
    grid : Scan
        Where the scan lies in its patient; that of the mask where there is no scan.
    """

    image: Image | None
    mask: Labels | None
    grid: Scan

    @property
    def layers(self) -> list[Any]:
        """The layers that there are, the mask above."""
        return [layer for layer in (self.image, self.mask) if layer is not None]


def date_of(image: Image | None, mask: Labels | None, when: str) -> Date:
    """Return the layers of a date; raises ScanError, which names the layer, where they cannot be compared.

    Parameters
    ----------
    when : str
        "earlier" or "later", for the line where there is no layer.
    """
    layers = [layer for layer in (image, mask) if layer is not None]
    if not layers:
        raise ScanError(f"Choose the {when} scan: open the scans of two dates, then choose them here")
    grids = [_placed(layer) for layer in layers]
    return Date(image, mask, grids[0])


def _placed(layer: Any) -> Scan:
    """Return where a layer lies in its patient; raises ScanError."""
    grid = grid_of(layer)
    if getattr(layer, "rgb", False) or grid is None or [*grid.axes.replace("c", "")][-3:] != [*"zyx"]:
        raise ScanError(f"'{layer.name}' is no grey volume: choose scans with several slices")
    check_place(replace(grid, name=layer.name))
    return grid


def check_pair(earlier: Date, later: Date) -> None:
    """Raise ScanError where two dates share a layer, or only one of them is in millimetres."""
    for layer in earlier.layers:
        if any(layer == other for other in later.layers):
            raise ScanError(f"'{layer.name}' is chosen for both dates: choose another one for the later date")
    if earlier.grid.units != later.grid.units:
        pixel = next(one for one in (earlier, later) if one.grid.units != "mm")
        raise ScanError(f"'{pixel.layers[0].name}' is not in millimetres: open it from a file that is (DICOM, NIfTI)")


def relation_of(earlier: Date, later: Date) -> FrameRelation:
    """Tell whether two dates lie in one frame of reference."""
    return frame_relation(earlier.grid, later.grid)


def patients_text(earlier: Date, later: Date) -> str:
    """Return a warning where the files say that the two are scans of different patients, else ""."""
    one, other = earlier.grid.person, later.grid.person
    if not one or not other or one == other:
        return ""
    names = (date.layers[0].name for date in (earlier, later))
    return "Different patients: the files of '{}' and '{}' have other patient numbers.".format(*names)


def to_patient(layer: Any) -> NDArray[np.float64]:
    """Return (4, 4) the world of a layer -> its patient (z, y, x, LPS+ in mm), for layers shown straightened, too."""
    return np.asarray(_placed(layer).world @ np.linalg.inv(world_of(layer)[-4:, -4:]), np.float64)


def pixels(layer: Any, grid: Scan | None = None) -> Scan:
    """Return a layer's pixels with their place in the patient; those of a mask as they are now."""
    from napari.layers import Labels

    grid = _placed(layer) if grid is None else grid
    array = pixels_of(layer)
    if isinstance(layer, Labels):
        array = without_unsure(np.array(array), layer.metadata)
    return replace(grid, array=array, axes=grid.axes.replace("c", ""), name=layer.name)
