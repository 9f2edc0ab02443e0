"""A lesion report as a DICOM structured report (TID 1500), with a DICOM segmentation of the lesions beside it."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from napari_unet_tumour.base.atomic_write import atomic
from napari_unet_tumour.errors import OutputError
from napari_unet_tumour.measure.lesion_map import lesion_map
from napari_unet_tumour.measure.sr_content import PROGRAM, SCHEME, SRContent
from napari_unet_tumour.scans.dicom.repair import printable
from napari_unet_tumour.scans.dicom.seg import TrackedSegment, lesion_segmentation

if TYPE_CHECKING:
    from pathlib import Path

    from napari_unet_tumour.measure.compare import Comparison
    from napari_unet_tumour.measure.report import Report
    from napari_unet_tumour.scans.scan import Scan

# More pieces are specks, and a group for each of them is a document that no viewer shows.
MOST_LESIONS = 500
# What a viewer shows of the two series.
REPORT, LESIONS = "lesion report, research use only", "lesions of a report, research use only"
_OTHER = "choose --html, --csv or --json, in the window HTML, CSV or JSON"


def write_dicom_sr(
    path: Path, report: Report, mask: Scan, source: Scan | None, comparison: Comparison | None = None
) -> tuple[Path, ...]:
    """Write a report as a DICOM structured report, and its lesions as a DICOM segmentation that it refers to.

    Parameters
    ----------
    path : Path
        The report; the segmentation lies beside it as `seg_path_of` says. It is not written where there is no lesion.
    report : Report
        The figures.
    mask : Scan
        Label values in the grid that was measured.
    source : Scan
        The scan as it was read from DICOM, in the same grid.
    comparison : Comparison, optional
        What changed since an earlier mask.

    Returns
    -------
    tuple of Path
        The files: the report, then the segmentation.

    Raises
    ------
    OutputError
        The scan is no DICOM series of one image per slice, or a file cannot be written; an old file stays as it was.
    ScanError
        The mask has changed since it was measured.
    """
    check_dicom_sr(path, source)
    assert source is not None
    if len(report.lesions) > MOST_LESIONS:
        raise OutputError(
            f"{path.name}: the mask has {len(report.lesions)} separate pieces, more than the {MOST_LESIONS} that a "
            f"DICOM report can hold: remove its specks, or {_OTHER}"
        )
    tracked = _tracked(report)
    seg_path = seg_path_of(path)
    seg, evidence = lesion_segmentation(seg_path, lesion_map(report, mask), source, tracked)
    made = _document(report, comparison, evidence, seg, tracked)
    if seg is not None:
        seg.SeriesDescription = LESIONS
    # The segmentation first: a report never refers to a file that is not there.
    with atomic(path) as beside:
        made.save_as(beside)
        if seg is not None:
            with atomic(seg_path) as seg_beside:
                seg.save_as(seg_beside)
    return (path,) if seg is None else (path, seg_path)


def check_dicom_sr(path: Path, source: Scan | None) -> None:
    """Raise what `write_dicom_sr` would raise because of the scan or the names, before anything is measured."""
    name = "the scan" if source is None else repr(source.name)
    found = None if source is None else source.extra.get("dicom")
    if found is None:
        raise OutputError(f"{path.name}: {name} was not read from DICOM, so it has no DICOM report: {_OTHER}")
    if found["times"] > 1:
        raise OutputError(f"{path.name}: {name} repeats in time, so it has no DICOM report: {_OTHER}")
    for target in (path, seg_path_of(path)):
        if target.exists() and not _is_of_a_report(target):
            raise OutputError(f"{target} is no earlier report, and would be replaced: choose another name")


def _is_of_a_report(path: Path) -> bool:
    """Tell whether a file is what `write_dicom_sr` has written: it replaces nothing else."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        found = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["Manufacturer", "SeriesDescription"])
    except (OSError, InvalidDicomError):
        return False
    return (found.get("Manufacturer"), found.get("SeriesDescription")) in ((PROGRAM, REPORT), (PROGRAM, LESIONS))


def seg_path_of(path: Path) -> Path:
    """Return where the segmentation of a report lies: OUT.dcm has OUT_seg.dcm."""
    return path.with_name(f"{path.stem}_seg.dcm")


def _tracked(report: Report) -> list[TrackedSegment]:
    from pydicom.uid import generate_uid

    names = [f"lesion {one.number}: {one.name}" for one in report.lesions]
    return [TrackedSegment(printable(name), name, generate_uid()) for name in names]


def _document(
    report: Report, comparison: Comparison | None, evidence: list[Any], seg: Any, tracked: list[TrackedSegment]
) -> Any:
    import highdicom
    import pydicom
    from highdicom import sr

    first = evidence[0]
    series = sr.SourceSeriesForSegmentation(first.SeriesInstanceUID)
    references = [
        sr.ReferencedSegment(seg.SOPClassUID, seg.SOPInstanceUID, n, source_series=series)
        for n in range(1, len(tracked) + 1)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content = SRContent(report, str(first.Modality), comparison)
        tree = content.document(references, [(one.tracking_id, one.tracking_uid) for one in tracked])
        made = sr.EnhancedSR(
            evidence=[*evidence, *([] if seg is None else [seg])],
            content=tree,
            series_instance_uid=highdicom.UID(),
            series_number=int(first.get("SeriesNumber") or 0) + 1001,
            sop_instance_uid=highdicom.UID(),
            instance_number=1,
            manufacturer=PROGRAM,
            is_complete=True,
        )
    made.SeriesDescription = REPORT
    made.ManufacturerModelName, made.SoftwareVersions = PROGRAM, report.version
    scheme = pydicom.Dataset()
    scheme.CodingSchemeDesignator, scheme.CodingSchemeName = SCHEME, f"codes of {PROGRAM}"
    made.CodingSchemeIdentificationSequence = [scheme]
    return made
