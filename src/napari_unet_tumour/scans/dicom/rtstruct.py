"""Masks as RT Structure Sets: closed planar contours around each label, on the slices of the series they refer to."""

from __future__ import annotations

import io
import warnings
from collections import defaultdict
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.base.atomic_write import atomic
from napari_unet_tumour.errors import OutputError, ScanError
from napari_unet_tumour.scans.checks import decoding
from napari_unet_tumour.scans.contours import polygons_of
from napari_unet_tumour.scans.contours_to_labels import Structure, label_map
from napari_unet_tumour.scans.dicom import repair
from napari_unet_tumour.scans.dicom.files import is_dicom_file, read_planes
from napari_unet_tumour.scans.dicom.seg import COLOURS, MAKER, names_of
from napari_unet_tumour.scans.dicom.sorting import sort_slices
from napari_unet_tumour.scans.dicom.sources import SourceImage, source_frames, source_images
from napari_unet_tumour.scans.dicom.volume import scan_of
from napari_unet_tumour.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_unet_tumour.scans.dicom.header import DicomPlane
    from napari_unet_tumour.scans.scan import Scan

STORAGE = "1.2.840.10008.5.1.4.1.1.481.3"
_STUDY = "1.2.840.10008.3.1.2.3.1"
_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")


def write_rtstruct(path: Path, mask: NDArray[Any], scan: Scan, labels: Sequence[str]) -> None:
    """Write a mask as an RT Structure Set that refers to the series which the scan was read from.

    Parameters
    ----------
    path : Path
        A .dcm file.
    mask : numpy.ndarray
        Whole label values on the grid of `scan`.
    scan : Scan
        Read from a DICOM series with one plane a place.
    labels : sequence of str
        Names by value, background first; each of the others becomes a structure, an empty one without contours.

    Raises
    ------
    OutputError
        The scan is no DICOM series or has no place in the patient, its files are gone, or the folder does not take
        the file.
    """
    made = _structure_set(path, *source_frames(path, mask, scan), labels)
    with atomic(path) as beside:
        _save(made, beside)


def check_rtstruct(path: Path, scan: Scan, labels: Sequence[str]) -> None:
    """Raise what `write_rtstruct` would raise because of the scan, without any mask: before a network runs."""
    shape = tuple(n for n, letter in zip(scan.array.shape, scan.axes, strict=True) if letter != "c")
    empty = np.broadcast_to(np.zeros((), np.uint8), shape)
    _save(_structure_set(path, *source_frames(path, empty, scan), labels), io.BytesIO())


def is_rtstruct(path: Path) -> bool:
    """Tell whether a file is an RT Structure Set, by what it says of itself."""
    if not path.is_file() or not (is_dicom_file(path) or path.suffix.lower() in (".dcm", ".dicom")):
        return False
    with suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pydicom

        found = pydicom.dcmread(path, specific_tags=["SOPClassUID", "Modality"], stop_before_pixels=True, force=True)
        return STORAGE in (found.get("SOPClassUID"), found.file_meta.get("MediaStorageSOPClassUID"))
    return False


def read_rtstruct(path: Path, onto: Scan | None = None) -> Scan:
    """Read an RT Structure Set as a label map: value n is its nth structure; where structures overlap the later shows.

    Parameters
    ----------
    path : Path
        The file.
    onto : Scan, optional
        The grid to fill the contours in on, in mm; else that of the series that the file refers to, which is looked
        for beside the file, in folders beside it, and in folders beside its own.

    Returns
    -------
    Scan
        uint8 or uint16, LPS+ in mm. `extra["labels"]` is True, `extra["names"]` gives the structures' names,
        background first, `extra["notes"]` what was left out.

    Raises
    ------
    ScanError
        The file is damaged or holds no structures, its series is not at hand, or the contours lie outside of it.
    """
    import pydicom

    with decoding(path):
        found = pydicom.dcmread(path, force=True)
        structures, left_out = _structures(found)
        wanted = _series_in(found)
    if not structures:
        raise ScanError(f"{path.name} holds no structures: choose another file")
    grid = onto if onto is not None and onto.units == "mm" else _grid_beside(path, wanted)
    notes = (f"{left_out} contours are points or open lines and were left out",) if left_out else ()
    return label_map(path, structures, grid, same=bool(wanted & _series_of(grid)), notes=notes)


def refers_to(path: Path, scan: Scan) -> bool:
    """Tell whether an RT Structure Set was drawn on the series that a scan was read from."""
    import pydicom

    with decoding(path):
        found = pydicom.dcmread(path, specific_tags=["ReferencedFrameOfReferenceSequence"], force=True)
        return bool(_series_in(found) & _series_of(scan))


def _save(made: Any, target: Any) -> None:
    # Implicit VR: in the explicit one the data of a contour could not be longer than 64 KiB.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made.save_as(target, enforce_file_format=True)


def _structure_set(path: Path, planes: list[DicomPlane], frames: NDArray[Any], labels: Sequence[str]) -> Any:
    import pydicom
    from pydicom.uid import ImplicitVRLittleEndian, generate_uid

    if planes[0].orientation is None or any(plane.position is None for plane in planes):
        raise OutputError(
            f"{path.name}: the slices of the series have no place in the patient, where contours could lie: "
            "choose .nii.gz"
        )
    sources = source_images(path, planes)
    names = names_of(frames, labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = _derived(sources[0].header)
        made.file_meta = pydicom.dataset.FileMetaDataset()
        made.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = STORAGE
        made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = generate_uid()
        made.ReferencedFrameOfReferenceSequence = [_referenced(sources)]
        made.StructureSetROISequence = [_roi(n, name, made.FrameOfReferenceUID) for n, name in enumerate(names, 1)]
        made.ROIContourSequence = [_outlined(n, planes, frames == n, sources) for n in range(1, len(names) + 1)]
        made.RTROIObservationsSequence = [_observed(n) for n in range(1, len(names) + 1)]
    return made


def _derived(header: Any) -> Any:
    """Return a data set with patient and study of a source and all else that a structure set needs once."""
    import pydicom
    from pydicom.uid import generate_uid

    now = datetime.now()
    made = pydicom.Dataset()
    kept = (*repair.REQUIRED, "StudyDescription", "PatientAge", "PatientSize", "PatientWeight",
            "PatientIdentityRemoved", "DeidentificationMethod", "SpecificCharacterSet", "StudyInstanceUID",
            "FrameOfReferenceUID")  # fmt: skip
    for keyword in kept:
        if keyword in header:
            setattr(made, keyword, header.get(keyword))
    made.PositionReferenceIndicator = header.get("PositionReferenceIndicator", "")
    made.Modality, made.SeriesInstanceUID, made.SeriesNumber = "RTSTRUCT", generate_uid(), header.SeriesNumber + 1000
    made.SeriesDescription, made.OperatorsName, made.InstanceNumber = "tumour contours", "", 1
    made.Manufacturer = made.ManufacturerModelName = MAKER
    made.SoftwareVersions, made.DeviceSerialNumber = __version__, "none"
    made.InstanceCreationDate = made.StructureSetDate = f"{now:%Y%m%d}"
    made.InstanceCreationTime = made.StructureSetTime = f"{now:%H%M%S}"
    made.StructureSetLabel, made.ApprovalStatus = "TUMOUR", "UNAPPROVED"
    return made


def _referenced(sources: list[SourceImage]) -> Any:
    study, series, frame = _items(3)
    header = sources[0].header
    files = {source.instance: replace(source, frame=0) for source in sources if source.instance}
    series.SeriesInstanceUID = header.SeriesInstanceUID
    series.ContourImageSequence = [file.refer(*_items(1)) for file in files.values()]
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = _STUDY, header.StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID = header.FrameOfReferenceUID
    frame.RTReferencedStudySequence = [study]
    return frame


def _items(count: int) -> list[Any]:
    import pydicom

    return [pydicom.Dataset() for _ in range(count)]


def _roi(number: int, name: str, frame: str) -> Any:
    (item,) = _items(1)
    item.ROINumber, item.ReferencedFrameOfReferenceUID = number, frame
    item.ROIName, item.ROIGenerationAlgorithm = name, "SEMIAUTOMATIC"
    return item


def _observed(number: int) -> Any:
    (item,) = _items(1)
    item.ObservationNumber = item.ReferencedROINumber = number
    item.RTROIInterpretedType = item.ROIInterpreter = ""
    return item


def _outlined(number: int, planes: list[DicomPlane], mask: NDArray[np.bool_], sources: list[SourceImage]) -> Any:
    (item,) = _items(1)
    word = COLOURS[(number - 1) % len(COLOURS)]
    item.ROIDisplayColor = [int(word[at : at + 2], 16) for at in (1, 3, 5)]
    item.ReferencedROINumber = number
    contours = [
        _contour(planes, plane, points, source)
        for plane, here, source in zip(planes, mask, sources, strict=True)
        for points in polygons_of(here)
    ]
    if contours:
        item.ContourSequence = contours
        for n, contour in enumerate(contours, 1):
            contour.ContourNumber = n
    return item


def _contour(planes: list[DicomPlane], plane: DicomPlane, points: NDArray[np.float64], source: SourceImage) -> Any:
    (item,) = _items(1)
    orientation, spacing = np.asarray(planes[0].orientation), planes[0].spacing or (1.0, 1.0)
    along = points[:, 1:] * orientation[:3] * spacing[1] + points[:, :1] * orientation[3:] * spacing[0]
    if source.instance:
        item.ContourImageSequence = [source.refer(*_items(1))]
    item.ContourGeometricType, item.NumberOfContourPoints = "CLOSED_PLANAR", len(points)
    item.ContourData = [f"{value:.4f}" for value in (np.asarray(plane.position) + along).ravel() + 0.0]
    return item


def _structures(found: Any) -> tuple[list[Structure], int]:
    """Return the structures with their closed contours, and how many contours are none."""
    outlines: dict[int, list[NDArray[np.float64]]] = defaultdict(list)
    left_out = 0
    for item in found.get("ROIContourSequence") or []:
        for contour in item.get("ContourSequence") or []:
            closed = str(contour.get("ContourGeometricType") or "CLOSED_PLANAR") in _CLOSED
            points = np.asarray(contour.get("ContourData") or [], np.float64).reshape(-1, 3)
            if closed and len(points) > 2:
                outlines[int(item.ReferencedROINumber)].append(points)
            left_out += not (closed and len(points) > 2)
    rois = [(int(roi.ROINumber), str(roi.get("ROIName") or "")) for roi in found.get("StructureSetROISequence") or []]
    return [Structure(name or f"label {n}", outlines[number]) for n, (number, name) in enumerate(rois, 1)], left_out


def _series_in(found: Any) -> set[str]:
    """Return the identifiers of the series that a structure set refers to."""
    return {
        str(series.SeriesInstanceUID)
        for frame in found.get("ReferencedFrameOfReferenceSequence") or []
        for study in frame.get("RTReferencedStudySequence") or []
        for series in study.get("RTReferencedSeriesSequence") or []
        if "SeriesInstanceUID" in series
    }


def _series_of(scan: Scan) -> set[str]:
    planes = scan.extra.get("dicom", {}).get("planes", ())
    return {plane.head.series for plane in planes if plane is not None}


def _grid_beside(path: Path, wanted: set[str]) -> Scan:
    for folder, all_files in _places(path):
        planes = [plane for plane in _planes_in(folder, all_files, wanted) if plane.position is not None]
        if planes:
            series = sort_slices(planes)
            shape = (len(series.planes), *planes[0].head.shape[:2])
            return scan_of(series, np.broadcast_to(np.zeros((), np.uint8), shape))
    raise ScanError(
        f"{path.name} holds contours, which need the series that they were drawn on: put the series' folder beside "
        f"it (series {', '.join(sorted(wanted)) or 'not said'})"
    )


def _places(path: Path) -> Iterator[tuple[Path, bool]]:
    """Yield where a series may lie, and whether that is so near that any of the files there may belong to it."""
    here = path.resolve().parent
    yield here, True
    for folder in sorted(one for one in here.iterdir() if one.is_dir()):
        yield folder, True
    with suppress(OSError):
        for folder in sorted(one for one in here.parent.iterdir() if one.is_dir() and one != here):
            yield folder, False


def _planes_in(folder: Path, all_files: bool, wanted: set[str]) -> list[DicomPlane]:
    """Return the planes of the wanted series right in a folder; elsewhere only where its first file belongs to it."""
    planes: list[DicomPlane] = []
    known: dict[Any, DicomPlane] = {}
    with suppress(OSError):
        files = sorted(one for one in folder.iterdir() if one.is_file() and not one.name.startswith("."))
        for file in (one for one in files if one.suffix.lower() in (".dcm", ".dicom", ".ima") or is_dicom_file(one)):
            try:
                found = [plane for plane in read_planes(file, known) if plane.head.series in wanted]
            except ScanError:
                continue
            if not found and not all_files:
                break
            planes += found
    return planes
