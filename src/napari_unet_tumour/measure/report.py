"""Measure a mask and report all lesions."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.base.steps import exhaust
from napari_unet_tumour.measure.components import iter_runs
from napari_unet_tumour.measure.geometry import MaskGeometry, image_of, mask_geometry
from napari_unet_tumour.measure.lesions import MEASURABLE, iter_lesions
from napari_unet_tumour.scans.placement import put_on_scan
from napari_unet_tumour.scans.scan import Scan
from napari_unet_tumour.version import __version__

if TYPE_CHECKING:
    from napari_unet_tumour.measure.types import MeasuredLesion, Total
    from napari_unet_tumour.settings import Progress

Labels = Sequence[str] | Mapping[int, str]
THICK = 5.0  # mm, RECIST 1.1: from here on a lesion must be twice the slice thickness


@dataclass(frozen=True)
class Report:
    """The measurements, their units, and their source.

    Parameters
    ----------
    lesions, totals : tuple
        Every lesion, and the totals of every label.
    units : str
        Unit of lengths: "mm" or "pixels".
    volume_units : str
        "ml", or "pixels" without millimetres or without a third axis.
    axes, slice_axis : str
        A letter per mask axis, and that of the slices ("" in 2D).
    spacing : tuple of float
        Distance of neighbouring pixels along the spatial axes, in `units`.
    scan, mask, model, model_hash, version : str
        Where the figures come from; "" if not known.
    notes : tuple of str
        What a reader must know to understand the figures.
    """

    lesions: tuple[MeasuredLesion, ...]
    totals: tuple[Total, ...]
    units: str
    volume_units: str
    axes: str
    slice_axis: str
    spacing: tuple[float, ...]
    scan: str = ""
    mask: str = ""
    model: str = ""
    model_hash: str = ""
    version: str = __version__
    notes: tuple[str, ...] = ()


def measure(mask: Any, scan: Any = None, **options: Any) -> Report:
    """Measure every lesion of a mask; see `iter_measure` for the parameters.

    Examples
    --------
    >>> import numpy as np
    >>> mask = np.zeros((3, 40, 40), np.uint8)
    >>> mask[1, 10:20, 5:25] = 1
    >>> lesion = measure(mask, spacing=(5.0, 1.0, 1.0)).lesions[0]
    >>> lesion.volume, lesion.area, lesion.measurable
    (1.0, 200.0, True)
    """
    return exhaust(iter_measure(mask, scan, **options))


def iter_measure(
    mask: Any,
    scan: Any = None,
    *,
    spacing: Sequence[float] | None = None,
    affine: Any = None,
    units: str | None = None,
    axes: str | None = None,
    labels: Labels = (),
    slice_axis: int | None = None,
    mask_name: str = "",
    model: str = "",
    model_hash: str = "",
) -> Generator[Progress, None, Report]:
    """Measure every lesion of a mask, with progress.

    Parameters
    ----------
    mask : Scan, numpy.ndarray or dask.array.Array
        Whole numbers, 0 is background. Two or three spatial axes; frames along other axes (time) are measured one by
        one. A Scan is resampled to the grid of `scan` by position, with a note in the report; without `scan` its own
        geometry is used.
    scan : Scan, numpy.ndarray or dask.array.Array, optional
        The scan under the mask, on the same grid unless the mask is a Scan. It gives the brightness (mean of the first
        three channels) and, if it is a Scan, also axes, affine and units.
    spacing : sequence of float, optional
        Millimetres (or `units`) per pixel along every spatial axis.
    affine : array_like, optional
        (s+1, s+1) index -> world, in millimetres (or `units`); instead of `spacing`.
    units : str, optional
        "mm" or "pixel". By default "mm" if spacing or affine is given, else the Scan's, else "pixel".
        With "pixel", spacing is ignored and sizes are in pixels: millimetres are never guessed.
    axes : str, optional
        A letter per mask axis; by default the last three (or two) are "zyx" and earlier ones "t".
    labels : sequence or mapping, optional
        Names by pixel value, e.g. ("background", "tumour").
    slice_axis : int, optional
        Mask axis of the slices; by default the spatial axis with the largest spacing, of equal ones the first.
    mask_name, model, model_hash : str
        Recorded in the report.

    Yields
    ------
    Progress

    Returns
    -------
    Report

    Raises
    ------
    ScanError
        If the mask is not a mask, or mask, scan and geometry are inconsistent.
    """
    moved, geometry = "", scan
    if isinstance(mask, Scan):
        mask_name = mask_name or mask.name
        mask, geometry, moved = _on_grid(mask, scan)
    grid = mask_geometry(mask, geometry, spacing, affine, units, axes, slice_axis, mask_name)
    image = image_of(scan, mask, mask_name)
    lesions: list[MeasuredLesion] = []
    totals: list[Total] = []
    for frame in np.ndindex(grid.frames):
        volume, pixels = grid.volume(mask, frame), None if image is None else grid.volume(image, frame)
        runs = yield from iter_runs(volume, mask_name or "the mask")
        more, sums = yield from iter_lesions(runs, pixels, grid, frame, _names(labels), len(lesions))
        lesions += more
        totals += sums
    return Report(
        tuple(lesions),
        tuple(totals),
        units="mm" if grid.mm else "pixels",
        volume_units="ml" if grid.mm and grid.space == 3 else "pixels",
        axes=grid.axes,
        slice_axis="" if grid.space == 2 else grid.axes[grid.order[-3]],
        spacing=grid.spacing,
        scan=scan.name if isinstance(scan, Scan) else "",
        mask=mask_name,
        model=model,
        model_hash=model_hash,
        notes=(*_notes(grid), *([moved] if moved else [])),
    )


def _on_grid(mask: Scan, scan: Any) -> tuple[Any, Any, str]:
    """Return the labels on the grid of the scan, the geometry of that grid, and a note on the resampling."""
    if not isinstance(scan, Scan):
        return mask.array, mask, ""
    placed = put_on_scan(mask, scan)
    return placed.mask.array, scan, placed.note


def _names(labels: Labels) -> dict[int, str]:
    pairs = labels.items() if isinstance(labels, Mapping) else enumerate(labels)
    return {int(value): name for value, name in pairs if value != 0}


def _notes(grid: MaskGeometry) -> tuple[str, ...]:
    if not grid.mm:
        return ("Sizes are in pixels: the spacing is not known, or not used.",)
    if grid.space == 2:
        return ("One slice has no thickness: volumes are in pixels.",)
    thickness = grid.spacing[grid.spatial.index(grid.order[-3])]
    if thickness <= THICK:
        return ()
    return (
        f"Slices are {thickness:g} mm apart: RECIST 1.1 then calls a lesion measurable from {2 * thickness:g} mm "
        f"on, not from {MEASURABLE:g}.",
    )
