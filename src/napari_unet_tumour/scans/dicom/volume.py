"""A series and its stacked pixels -> Scan: axes, and where it lies in the patient."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.scans import geometry
from napari_unet_tumour.scans.dicom.header import SLICED
from napari_unet_tumour.scans.patient_id import person_in
from napari_unet_tumour.scans.scan import Scan

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_unet_tumour.scans.dicom.sorting import Series

LABELMAP = "1.2.840.10008.5.1.4.1.1.66.7"


def scan_of(series: Series, stack: NDArray[Any]) -> Scan:
    """Give the stacked planes (n, rows, columns[, 3]) of a series their axes and their place."""
    head, colours = series.first.head, stack.ndim == 4
    slices = len(series.planes) // series.times
    extra: dict[str, Any] = {"notes": series.notes, "dicom": {"planes": series.planes, "times": series.times}}
    if head.modality == "MR":
        extra |= {"contrast_agent": head.contrast, "sequence": head.sequence}
    if head.storage == LABELMAP:
        extra["labels"] = True
    if head.window is not None and not colours and head.photometric != "MONOCHROME1":
        extra["window"] = head.window
    scan = Scan(
        stack, "", None, "pixel", series.name, str(head.path), head.modality, extra,
        head.person or person_in(head.path), head.frame,
    )  # fmt: skip
    if series.step is None or series.first.spacing is None:
        return _flat(scan, series, colours)
    lps = _lps(series)
    order = geometry.closest_order(lps)
    turned = [2 - axis for axis in order]
    if series.times > 1:
        stack = stack.reshape(series.times, slices, *stack.shape[1:])
    lead = int(series.times > 1)
    stack = stack.transpose(*range(lead), *(n + lead for n in turned), *range(lead + 3, stack.ndim))
    axes = "t" * lead + "zyx" + "c" * colours
    extra["dicom"] = {**extra["dicom"], "order": tuple(turned), "lps": lps}
    return replace(scan, array=stack, axes=axes, affine=geometry.from_lps(lps, order), units="mm")


def _lps(series: Series) -> NDArray[np.float64]:
    """Return the (4, 4) affine from (column, row, slice) to the patient, LPS+ (PS3.3 C.7.6.2.1.1)."""
    plane = series.first
    gap = series.planes.index(plane)
    orientation, spacing = np.asarray(plane.orientation), plane.spacing or (1.0, 1.0)
    lps = np.eye(4)
    lps[:3, 0] = orientation[:3] * spacing[1]
    lps[:3, 1] = orientation[3:] * spacing[0]
    lps[:3, 2] = series.step
    lps[:3, 3] = np.asarray(plane.position) - gap * np.asarray(series.step)
    if not geometry.is_usable(lps):
        raise ScanError(
            f"{plane.head.path.name} has a broken position or orientation: convert the series with dcm2niix, and open "
            "the NIfTI file that it makes"
        )
    return lps


def _lacking_note(series: Series, measured: bool) -> list[str]:
    """Return what the header of a sliced scan does not say of its place; `measured`: sizes are in mm all the same."""
    planes = [plane for plane in series.planes if plane is not None]
    named = {
        "pixel spacing": all(plane.spacing for plane in planes),
        "position": all(plane.position for plane in planes),
        "orientation": all(plane.orientation for plane in planes),
    }
    lacking = [name for name, known in named.items() if not known]
    if not lacking or series.first.head.modality not in SLICED:
        return []
    unknown = "where it lies is not known" if measured else "sizes count pixels"
    return [f"its header gives no {' and no '.join(lacking)}: {unknown}"]


def _flat(scan: Scan, series: Series, colours: bool) -> Scan:
    """Return pictures without a place in the patient: one as "yx", several as "zyx" or, in time in one file, "tyx"."""
    stack, spacing, head = scan.array, series.first.spacing, series.first.head
    affine = None if spacing is None or min(spacing) <= 0 else np.diag([*spacing, 1.0])
    units = "pixel" if affine is None else "mm"
    notes = (*series.notes, *_lacking_note(series, affine is not None and len(series.planes) == 1))
    scan = replace(scan, extra={**scan.extra, "spacing_only": True, "notes": notes})
    if len(series.planes) == 1:
        return replace(scan, array=stack[0], axes="yx" + "c" * colours, affine=affine, units=units)
    one_file = all(plane is not None and plane.head is head for plane in series.planes)
    if one_file and not head.slices:
        return replace(scan, axes="tyx" + "c" * colours, affine=affine, units=units)
    if one_file and affine is not None and spacing is not None and head.thickness:
        return replace(scan, axes="zyx" + "c" * colours, affine=np.diag([head.thickness, *spacing, 1.0]), units="mm")
    return replace(scan, axes="zyx" + "c" * colours)
