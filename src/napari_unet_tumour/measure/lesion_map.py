"""Which pixel belongs to which lesion of a report."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.base.steps import exhaust
from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.measure.components import iter_runs
from napari_unet_tumour.measure.geometry import mask_geometry
from napari_unet_tumour.measure.lesions import by_lesion

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_unet_tumour.measure.report import Report
    from napari_unet_tumour.scans.scan import Scan


def lesion_map(report: Report, mask: Scan) -> NDArray[np.uint16]:
    """Return the number of the lesion that each pixel belongs to.

    Parameters
    ----------
    report : Report
        Of a mask without further axes (time).
    mask : Scan
        Label values in the grid that was measured.

    Returns
    -------
    numpy.ndarray
        uint16, the shape of the mask; 0 where there is no lesion.

    Raises
    ------
    ScanError
        The mask is not the one that was measured.
    """
    axis = report.axes.index(report.slice_axis) if report.slice_axis else None
    grid = mask_geometry(mask.array, mask, None, None, None, report.axes, axis, mask.name)
    volume = grid.volume(mask.array, ())
    runs, ends = by_lesion(exhaust(iter_runs(volume, mask.name)))
    sizes = [int(runs.length[first:after].sum()) for first, after in pairwise(ends)]
    if sizes != [one.voxels for one in report.lesions]:
        raise ScanError(f"{mask.name} has changed since it was measured: measure it again")
    numbers = np.repeat(np.arange(1, len(ends)), np.diff(ends))
    found = np.zeros(volume.shape, np.uint16)
    first = (runs.plane * volume.shape[1] + runs.row) * volume.shape[2] + runs.start
    within = np.arange(runs.length.sum()) - np.repeat(np.cumsum(runs.length) - runs.length, runs.length)
    found.reshape(-1)[np.repeat(first, runs.length) + within] = np.repeat(numbers, runs.length)
    placed: Any = found if grid.space == 3 else found[0]
    return np.asarray(placed.transpose(np.argsort(grid.order)))
