"""Masks as DICOM segmentations and label maps: written for a source series, read whoever wrote them."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_unet_tumour.base.atomic_write import atomic
from napari_unet_tumour.errors import OutputError, ScanError
from napari_unet_tumour.scans.checks import decoding
from napari_unet_tumour.scans.dicom import repair
from napari_unet_tumour.scans.dicom.files import read_planes
from napari_unet_tumour.scans.dicom.pixels import pixels
from napari_unet_tumour.scans.dicom.sorting import sort_slices
from napari_unet_tumour.scans.dicom.sources import evidence_of, headers_of, refer_to_files, source_frames, source_images
from napari_unet_tumour.scans.dicom.volume import LABELMAP, scan_of
from napari_unet_tumour.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_unet_tumour.scans.dicom.header import DicomPlane
    from napari_unet_tumour.scans.dicom.sources import SourceImage
    from napari_unet_tumour.scans.scan import Scan

MAKER = "napari-unet-tumour"
# By label value from 1, over and over; as the viewer shows them. A red that stands out on grey scans comes first.
COLOURS = ("#ff3b30", "#ffcc00", "#00c7be", "#5e8bff", "#bf5af2", "#ff9500", "#a2e635", "#f472b6")
_HALF = "the segmentation holds fractions: a voxel counts where it reaches one half"


def write_dicom_seg(path: Path, mask: NDArray[Any], scan: Scan, labels: Sequence[str], kind: str = "BINARY") -> None:
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
    kind : str
        "BINARY", one frame a slice and segment; or "LABELMAP" (supplement 243), one frame a slice.

    Raises
    ------
    OutputError
        The scan is no DICOM series, its files are gone or incomplete, or the folder does not take the file.
    """
    made = _made(path, mask, scan, labels, kind)
    with atomic(path) as beside:
        made.save_as(beside)


def write_dicom_labelmap(path: Path, mask: NDArray[Any], scan: Scan, labels: Sequence[str]) -> None:
    """Write a mask as a DICOM Label Map Segmentation (supplement 243), as `write_dicom_seg` does."""
    write_dicom_seg(path, mask, scan, labels, "LABELMAP")


class TrackedSegment(NamedTuple):
    """What a person sees of a segment, and what names its lesion in other objects, too ("" for none)."""

    label: str
    tracking_id: str = ""
    tracking_uid: str = ""


def lesion_segmentation(
    path: Path, lesions: NDArray[Any], scan: Scan, segments: Sequence[TrackedSegment]
) -> tuple[Any, list[Any]]:
    """Return a DICOM-SEG, not written yet, and the headers of the images that it refers to.

    Its n-th segment is where `lesions` is n; it is None where there are no segments. Errors as `write_dicom_seg`.
    """
    planes, frames = source_frames(path, lesions, scan)
    images = source_images(path, planes)
    made = _object(path, images, frames, segments, "BINARY") if segments else None
    return made, evidence_of(images)


def check_dicom_seg(path: Path, scan: Scan, labels: Sequence[str], kind: str = "BINARY") -> None:
    """Raise what `write_dicom_seg` would raise because of the scan, without any mask: before a network runs."""
    shape = tuple(n for n, letter in zip(scan.array.shape, scan.axes, strict=True) if letter != "c")
    made = _made(path, np.broadcast_to(np.zeros((), np.uint8), shape), scan, labels, kind)
    made.save_as(io.BytesIO())


def check_dicom_labelmap(path: Path, scan: Scan, labels: Sequence[str]) -> None:
    """Raise what `write_dicom_labelmap` would raise because of the scan, without any mask."""
    check_dicom_seg(path, scan, labels, "LABELMAP")


def names_of(frames: NDArray[Any], labels: Sequence[str]) -> list[str]:
    """Return the name of every label value from 1 on, as an element of 64 characters can hold it, never empty."""
    count = max(len(labels), int(frames.max(initial=0)) + 1, 2)
    plain = [repair.printable(name) for name in labels]
    return [(plain[n] if n < len(plain) else "") or ("tumour" if count == 2 else f"label {n}") for n in range(1, count)]


def read_dicom_seg(path: Path) -> Scan:
    """Read a DICOM-SEG or a Label Map Segmentation as a label map: value n is segment n.

    Where segments overlap the later one shows. A FRACTIONAL segmentation counts where it reaches half of its highest
    value, and a note says so.

    Returns
    -------
    Scan
        Axes "zyx", uint8 or uint16, LPS+ in mm; frames left out as empty are filled in. `extra["labels"]` is True
        and `extra["names"]` gives the segments' labels, background first.
    """
    planes = read_planes(path)
    found = _segments(path, len(planes))
    values = pixels(planes[0].head)
    places: dict[Any, NDArray[Any]] = {}
    first: dict[Any, DicomPlane] = {}
    kind = np.uint8 if len(found.names) < 256 else np.uint16
    for plane, number in zip(planes, found.numbers, strict=True):
        here = first.setdefault(plane.position, plane)
        label = places.setdefault(here.position, np.zeros(plane.head.shape, kind))
        if found.kind == "LABELMAP":
            np.copyto(label, values[plane.frame], where=values[plane.frame] != found.background, casting="same_kind")
        else:
            label[values[plane.frame] >= found.least] = number
    series = sort_slices(list(first.values()), found.gap or _thin_enough(list(first.values())))
    empty = np.zeros(planes[0].head.shape, kind)
    stack = np.stack([empty if p is None else places[p.position] for p in series.planes])
    scan = scan_of(series, stack)
    notes = (*series.notes, *([_HALF] if found.kind == "FRACTIONAL" else []))
    return replace(
        scan, extra={**scan.extra, "labels": True, "names": ("background", *found.names[1:]), "notes": notes}
    )


def _thin_enough(planes: list[DicomPlane]) -> float | None:
    """Return the slice thickness where the frames lie whole multiples of it apart: empty ones between were left out."""
    thickness = planes[0].head.thickness
    if not thickness or any(p.position is None or p.orientation is None for p in planes) or len(planes) < 2:
        return None
    along = np.asarray(planes[0].orientation, np.float64)
    normal = np.cross(along[:3], along[3:])
    gaps = np.diff(np.sort([float(np.dot(normal, p.position or ())) for p in planes])) / thickness
    return thickness if (np.abs(gaps - np.round(gaps)) < 0.02).all() and (gaps > 0.5).all() else None


def _made(path: Path, mask: NDArray[Any], scan: Scan, labels: Sequence[str], kind: str) -> Any:
    planes, frames = source_frames(path, mask, scan)
    return _object(path, source_images(path, planes), frames, names_of(frames, labels), kind)


def _object(
    path: Path, images: Sequence[SourceImage], frames: NDArray[Any], segments: Sequence[str | TrackedSegment], kind: str
) -> Any:
    made = _segmentation(path, headers_of(images), frames, segments, kind)
    refer_to_files(made, images)
    return made


def _segmentation(
    path: Path,
    sources: list[Any],
    frames: NDArray[Any],
    segments: Sequence[str | TrackedSegment],
    kind: str = "BINARY",
) -> Any:
    hd: Any = _highdicom(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = hd.seg.Segmentation(
                source_images=sources,
                pixel_array=frames,
                segmentation_type=kind,
                segment_descriptions=[_described(hd, n, one) for n, one in enumerate(segments, start=1)],
                series_instance_uid=hd.UID(),
                series_number=int(sources[0].get("SeriesNumber") or 0) + 1000,
                sop_instance_uid=hd.UID(),
                instance_number=1,
                manufacturer=MAKER,
                manufacturer_model_name=MAKER,
                software_versions=__version__,
                device_serial_number="none",
                content_label="SEGMENTATION",
                series_description="tumour segmentation",
                omit_empty_frames=bool(frames.any()),
            )
            if "FrameOfReferenceUID" not in made or "ImageOrientationPatient" not in sources[0]:
                made.PatientOrientation = made.get("PatientOrientation")  # required, and may be empty
            return made
    except (AttributeError, ValueError, TypeError, KeyError) as error:
        raise OutputError(
            f"{path.name}: the source series lacks what a DICOM segmentation needs ({error}): "
            "choose --format nifti, or .nii.gz in napari"
        ) from error


def _described(hd: Any, number: int, segment: str | TrackedSegment) -> Any:
    from pydicom.sr.codedict import codes

    segment = TrackedSegment(segment) if isinstance(segment, str) else segment
    known: Any = codes
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=segment.label,
        segmented_property_category=known.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=known.SCT.Neoplasm,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.SEMIAUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=MAKER, version=__version__, family=known.cid7162.ArtificialIntelligence
        ),
        display_color=_colour(hd, number),
        tracking_id=segment.tracking_id or None,
        tracking_uid=segment.tracking_uid or None,
    )


def _colour(hd: Any, number: int) -> Any:
    word = COLOURS[(number - 1) % len(COLOURS)]
    return hd.color.CIELabColor.from_rgb(*(int(word[at : at + 2], 16) for at in (1, 3, 5)))


def _highdicom(path: Path) -> Any:
    try:
        import highdicom
        import highdicom.seg
    except ImportError as error:
        raise OutputError(f"{path.name}: pip install 'napari-unet-tumour[dicom]' to write DICOM-SEG") from error
    return highdicom


@dataclass(frozen=True)
class _Segments:
    """What a segmentation says of its frames.

    Parameters
    ----------
    kind : str
        "BINARY", "FRACTIONAL" or "LABELMAP".
    numbers : list of int
        The segment of every frame, 0 in a label map.
    names : list of str
        Labels by segment number; the one of 0 means nothing.
    gap : float, optional
        Distance of the slices in mm, where it is said.
    least, background : int
        The lowest stored value that counts, and the value of a label map that is no segment.
    """

    kind: str
    numbers: list[int]
    names: list[str]
    gap: float | None
    least: int
    background: int


_WANTED = (
    "SOPClassUID", "SegmentSequence", "PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence",
    "SegmentationType", "MaximumFractionalValue", "SpecificCharacterSet",
)  # fmt: skip


def _segments(path: Path, frames: int) -> _Segments:
    import pydicom

    with decoding(path):
        found = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_WANTED), force=True)
        kind = str(found.get("SegmentationType") or ("LABELMAP" if found.get("SOPClassUID") == LABELMAP else "BINARY"))
        if kind not in ("BINARY", "FRACTIONAL", "LABELMAP"):
            raise ScanError(f"{path.name} holds a {kind} segmentation: export it as BINARY")
        shared = found.SharedFunctionalGroupsSequence[0]
        groups = [*found.PerFrameFunctionalGroupsSequence]
        if len(groups) != frames:
            raise ScanError(f"{path.name} describes {len(groups)} frames and holds {frames}: get the file again")
        mapped = kind == "LABELMAP"
        numbers = [0 if mapped else int(_identified(g, shared).ReferencedSegmentNumber) for g in groups]
        segments = [(int(s.SegmentNumber), s) for s in found.SegmentSequence]
        # A background need not be number 0: it is known by its code.
        background = next((n for n, s in segments if mapped and _is_background(s)), 0)
        names = {n: str(s.get("SegmentLabel", "")) for n, s in segments}
        holders = [g.PixelMeasuresSequence[0] for g in (shared, groups[0]) if "PixelMeasuresSequence" in g]
        gap = holders[0].get("SpacingBetweenSlices") if holders else None
    least = (int(found.get("MaximumFractionalValue") or 255) + 1) // 2 if kind == "FRACTIONAL" else 1
    labels = [names.get(n, f"label {n}") for n in range(max([*names, *numbers]) + 1)]
    return _Segments(kind, numbers, labels, None if gap is None else float(gap), least, background)


def _is_background(segment: Any) -> bool:
    codes = segment.get("SegmentedPropertyTypeCodeSequence") or [{}]
    return bool(codes[0].get("CodeValue") == "125040" and codes[0].get("CodingSchemeDesignator") == "DCM")


def _identified(group: Any, shared: Any) -> Any:
    holder = group if "SegmentIdentificationSequence" in group else shared
    return holder.SegmentIdentificationSequence[0]
