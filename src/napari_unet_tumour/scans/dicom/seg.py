"""Masks as DICOM segmentation objects: written for a source series, read from any hand."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.base.atomic_write import atomic
from napari_unet_tumour.errors import OutputError, ScanError
from napari_unet_tumour.scans.checks import decoding
from napari_unet_tumour.scans.dicom.files import read_planes
from napari_unet_tumour.scans.dicom.pixels import pixels
from napari_unet_tumour.scans.dicom.sorting import sort_slices
from napari_unet_tumour.scans.dicom.volume import scan_of
from napari_unet_tumour.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_unet_tumour.scans.dicom.header import DicomPlane
    from napari_unet_tumour.scans.scan import Scan

_MAKER = "napari-unet-tumour"
_HALF = "the segmentation holds fractions: a voxel counts where it reaches one half"


def write_dicom_seg(path: Path, mask: NDArray[Any], scan: Scan, labels: Sequence[str]) -> None:
    """Write a mask as a DICOM-SEG that refers to the series which the scan was read from.

    Parameters
    ----------
    path : Path
        A .dcm file.
    mask : numpy.ndarray
        Whole label values on the grid of `scan`.
    scan : Scan
        Read from a DICOM series with one plane a place.
    labels : sequence of str
        Names by value, background first; each of the others becomes a segment.

    Raises
    ------
    OutputError
        The scan is no DICOM series, its files are gone or incomplete, or the folder does not take the file.
    """
    if mask.dtype.kind not in "iub":
        raise OutputError(f"{path.name}: a DICOM segmentation holds labels, not probability: choose .nii.gz")
    planes, frames = _source_frames(path, mask, scan)
    names = [*labels, *(f"label {n}" for n in range(len(labels), int(frames.max(initial=0)) + 1))]
    made = _segmentation(path, _headers(path, planes), frames, names[1:] or ["tumour"])
    with atomic(path) as beside:
        made.save_as(beside)


def read_dicom_seg(path: Path) -> Scan:
    """Read a DICOM-SEG as a label map: value n is segment n; where segments overlap the later one shows.

    A FRACTIONAL segmentation counts where it reaches half of its highest value, and a note says so.

    Returns
    -------
    Scan
        Axes "zyx", uint8 or uint16, LPS+ in mm; frames left out as empty are filled in. `extra["labels"]` is True
        and `extra["names"]` gives the segments' labels, background first.
    """
    planes = read_planes(path)
    numbers, names, gap, least = _segments(path, len(planes))
    values = pixels(planes[0].head)
    places: dict[Any, NDArray[Any]] = {}
    first: dict[Any, DicomPlane] = {}
    kind = np.uint8 if max(numbers) < 256 else np.uint16
    for plane, number in zip(planes, numbers, strict=True):
        here = first.setdefault(plane.position, plane)
        label = places.setdefault(here.position, np.zeros(plane.head.shape, kind))
        label[values[plane.frame] >= least] = number
    series = sort_slices(list(first.values()), gap or _thin_enough(list(first.values())))
    empty = np.zeros(planes[0].head.shape, kind)
    stack = np.stack([empty if p is None else places[p.position] for p in series.planes])
    scan = scan_of(series, stack)
    notes = (*series.notes, *([_HALF] if least > 1 else []))
    return replace(scan, extra={**scan.extra, "labels": True, "names": ("background", *names), "notes": notes})


def _thin_enough(planes: list[DicomPlane]) -> float | None:
    """Return the slice thickness where the frames lie whole multiples of it apart: empty ones between were left out."""
    thickness = planes[0].head.thickness
    if not thickness or any(p.position is None or p.orientation is None for p in planes) or len(planes) < 2:
        return None
    along = np.asarray(planes[0].orientation, np.float64)
    normal = np.cross(along[:3], along[3:])
    gaps = np.diff(np.sort([float(np.dot(normal, p.position or ())) for p in planes])) / thickness
    return thickness if (np.abs(gaps - np.round(gaps)) < 0.02).all() and (gaps > 0.5).all() else None


def _source_frames(path: Path, mask: NDArray[Any], scan: Scan) -> tuple[list[DicomPlane], NDArray[Any]]:
    """Return the source's planes and, in the same order, the mask's (n, rows, columns)."""
    source = scan.extra.get("dicom")
    if source is None:
        raise OutputError(
            f"{path.name}: {scan.name!r} is no DICOM series, so it cannot have a DICOM-SEG: choose .nii.gz"
        )
    if source["times"] > 1:
        raise OutputError(f"{path.name}: {scan.name!r} repeats in time: choose .nii.gz for its mask")
    turned = mask.transpose(np.argsort(source["order"])) if "order" in source else mask.reshape(-1, *mask.shape[-2:])
    there = [n for n, plane in enumerate(source["planes"]) if plane is not None]
    planes = [source["planes"][n] for n in there]
    frames = turned[there]
    if planes[0].frame != planes[-1].frame or planes[0].head is planes[-1].head:
        frames = frames[np.argsort([plane.frame for plane in planes], kind="stable")]
        planes = sorted(planes, key=_frame)
    return planes, np.ascontiguousarray(frames.astype(np.uint16 if frames.max(initial=0) > 255 else np.uint8))


def _frame(plane: DicomPlane) -> int:
    return plane.frame


def _headers(path: Path, planes: list[DicomPlane]) -> list[Any]:
    import pydicom

    try:
        heads = dict.fromkeys(plane.head.path for plane in planes)
        return [pydicom.dcmread(file, stop_before_pixels=True, force=True) for file in heads]
    except OSError as error:
        raise OutputError(
            f"{path.name}: a file of the source series is gone: put it back, or choose .nii.gz"
        ) from error


def _segmentation(
    path: Path, sources: list[Any], frames: NDArray[Any], names: Sequence[str], kind: str = "BINARY"
) -> Any:
    hd: Any = _highdicom(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return hd.seg.Segmentation(
                source_images=sources,
                pixel_array=frames,
                segmentation_type=kind,
                segment_descriptions=[_described(hd, n, name) for n, name in enumerate(names, start=1)],
                series_instance_uid=hd.UID(),
                series_number=int(sources[0].get("SeriesNumber") or 0) + 1000,
                sop_instance_uid=hd.UID(),
                instance_number=1,
                manufacturer=_MAKER,
                manufacturer_model_name=_MAKER,
                software_versions=__version__,
                device_serial_number="none",
                content_label="SEGMENTATION",
                series_description="tumour segmentation",
                omit_empty_frames=bool(frames.any()),
            )
    except (AttributeError, ValueError, TypeError, KeyError) as error:
        raise OutputError(
            f"{path.name}: the source series lacks what a DICOM-SEG needs ({type(error).__name__}): choose .nii.gz"
        ) from error


def _described(hd: Any, number: int, name: str) -> Any:
    from pydicom.sr.codedict import codes

    known: Any = codes
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=name[:64],
        segmented_property_category=known.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=known.SCT.Neoplasm,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.SEMIAUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=_MAKER, version=__version__, family=known.cid7162.ArtificialIntelligence
        ),
    )


def _highdicom(path: Path) -> Any:
    try:
        import highdicom
        import highdicom.seg
    except ImportError as error:
        raise OutputError(f"{path.name}: pip install 'napari-unet-tumour[dicom]' to write DICOM-SEG") from error
    return highdicom


def _segments(path: Path, frames: int) -> tuple[list[int], list[str], float | None, int]:
    """Return the segment of every frame, the segments' names, the slices' distance, and the least value that counts."""
    import pydicom

    wanted = [
        "SegmentSequence",
        "PerFrameFunctionalGroupsSequence",
        "SharedFunctionalGroupsSequence",
        "SegmentationType",
        "MaximumFractionalValue",
    ]
    with decoding(path):
        found = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(wanted), force=True)
        if found.get("SegmentationType") not in ("BINARY", "FRACTIONAL", None):
            raise ScanError(f"{path.name} holds a {found.SegmentationType} segmentation: export it as BINARY")
        fractions = found.get("SegmentationType") == "FRACTIONAL"
        least = (int(found.get("MaximumFractionalValue") or 255) + 1) // 2 if fractions else 1
        shared = found.SharedFunctionalGroupsSequence[0]
        groups = [*found.PerFrameFunctionalGroupsSequence]
        numbers = [int(_identified(g, shared).ReferencedSegmentNumber) for g in groups]
        names = {int(s.SegmentNumber): str(s.get("SegmentLabel", "")) for s in found.SegmentSequence}
        measures: Any = next(
            (g.PixelMeasuresSequence[0] for g in (shared, groups[0]) if "PixelMeasuresSequence" in g), {}
        )
        gap = measures.get("SpacingBetweenSlices")
        if len(numbers) != frames:
            raise ScanError(f"{path.name} describes {len(numbers)} frames and holds {frames}: get the file again")
    labels = [names.get(n, f"label {n}") for n in range(1, max([*names, *numbers]) + 1)]
    return numbers, labels, None if gap is None else float(gap), least


def _identified(group: Any, shared: Any) -> Any:
    holder = group if "SegmentIdentificationSequence" in group else shared
    return holder.SegmentIdentificationSequence[0]
