"""What a DICOM header says of a file and its planes: kind, name, where each plane lies, how values are meant."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.scans.dicom.pixels import raw_dtype
from napari_unet_tumour.scans.patient_id import person_id

if TYPE_CHECKING:
    from pathlib import Path

Vector = tuple[float, ...]


@dataclass(frozen=True)
class DicomHeader:
    """What all planes of one file share; nothing here names the patient.

    Parameters
    ----------
    path : Path
        The file.
    storage, series, instance : str
        What kind of object it is, and identifiers of the series and of the file.
    name, modality : str
        What a person sees, and "MR", "CT", ...
    shape : tuple of int
        Rows and columns; a third number where a pixel has several samples.
    dtype : numpy.dtype, optional
        How pixels are stored in the file; None where only pydicom can tell (compressed, colour, odd encodings).
    at, element : int
        Byte at which the first pixel is stored, when `dtype` is known, and at which its element starts.
    photometric : str
        "MONOCHROME1", "MONOCHROME2", "RGB", "PALETTE COLOR", ...
    bits : int
        Bits that a stored value really has.
    signed : bool
        Whether stored values may be negative.
    window : (float, float), optional
        Centre and width that the scanner gives.
    thickness : float
        Distance to the next slice where only one is there, in mm; 0 when not said.
    person : str
        Whose it is: an id made of the patient's number, see `patient_id.person_id`.
    """

    path: Path
    storage: str
    series: str
    instance: str
    name: str
    modality: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any] | None
    at: int
    element: int
    photometric: str
    bits: int
    signed: bool
    window: tuple[float, float] | None
    thickness: float
    person: str
    contrast: str = ""


@dataclass(frozen=True)
class DicomPlane:
    """One slice of a series.

    Parameters
    ----------
    head : Head
        Its file.
    frame : int
        Which frame of the file, from 0.
    position, orientation : tuple of float, optional
        Centre of the first pixel (x, y, z) in mm, LPS+, and the directions of a row and of a column.
    spacing : tuple of float, optional
        Distance between rows and between columns in mm.
    slope, intercept : float
        Value = stored * slope + intercept.
    turn : tuple
        Sorts planes that share a position: time, acquisition, echo, b-value, number.
    """

    head: DicomHeader
    frame: int
    position: Vector | None
    orientation: Vector | None
    spacing: Vector | None
    slope: float
    intercept: float
    turn: tuple[float, ...]


def header_of(path: Path, found: Any, at: int, start: bytes) -> DicomHeader:
    """Read what all planes of a file share; `at` and `start` are the place and the first bytes of its pixels."""
    samples = int(found.get("SamplesPerPixel") or 1)
    shape = (int(found.Rows), int(found.Columns), *((samples,) if samples > 1 else ()))
    dtype, skip = raw_dtype(found, start)
    return DicomHeader(
        path=path,
        storage=str(found.get("SOPClassUID", "")),
        series=str(found.get("SeriesInstanceUID", "")),
        instance=str(found.get("SOPInstanceUID", "")),
        name=_safe_name(found),
        modality=str(found.get("Modality") or ""),
        shape=shape,
        dtype=dtype,
        at=at + skip,
        element=at,
        photometric=str(found.get("PhotometricInterpretation") or "MONOCHROME2"),
        bits=int(found.get("BitsStored") or found.get("BitsAllocated") or 16),
        signed=int(found.get("PixelRepresentation") or 0) == 1,
        window=_window(found),
        thickness=_thickness(found),
        person=person_id(str(found.get("PatientID") or "")),
        contrast=str(found.get("ContrastBolusAgent") or "").strip(),
    )


def plane_of(found: Any, head: DicomHeader, n: int) -> DicomPlane:
    """Read where frame `n` lies and how its values are meant."""
    shared = _first(found, "SharedFunctionalGroupsSequence")
    each = found.get("PerFrameFunctionalGroupsSequence") or []
    groups = [each[n] if n < len(each) else None, shared, found]
    orientation = vector(_nested(groups, "PlaneOrientationSequence", "ImageOrientationPatient"), 6)
    position = vector(_nested(groups, "PlanePositionSequence", "ImagePositionPatient"), 3)
    frames = int(found.get("NumberOfFrames") or 1)
    if frames > 1 and not each:
        position = _stepped(found, position, orientation, n)
    slope = _nested(groups, "PixelValueTransformationSequence", "RescaleSlope")
    slope = found.get("DoseGridScaling") if slope is None else slope
    intercept = _nested(groups, "PixelValueTransformationSequence", "RescaleIntercept")
    return DicomPlane(
        head=head,
        frame=n,
        position=position,
        orientation=orientation,
        spacing=vector(_nested(groups, "PixelMeasuresSequence", "PixelSpacing"), 2),
        slope=1.0 if slope is None else float(slope),
        intercept=0.0 if intercept is None else float(intercept),
        turn=(*_sort_key(found, groups), float(n)),
    )


def _stepped(found: Any, position: Vector | None, orientation: Vector | None, n: int) -> Vector | None:
    """Return where a frame of a dose grid lies; other frames without a place of their own have none."""
    offsets = found.get("GridFrameOffsetVector")
    if offsets is None or position is None or orientation is None:
        return None
    normal = np.cross(orientation[:3], orientation[3:])
    return tuple((np.asarray(position) + normal * float(offsets[n])).tolist())


def _sort_key(found: Any, groups: list[Any]) -> tuple[float, ...]:
    content = None if groups[0] is None else _first(groups[0], "FrameContentSequence")
    time = _number(content, "TemporalPositionIndex") if content is not None else None
    names = ("TemporalPositionIdentifier", "TriggerTime", "AcquisitionNumber", "EchoNumbers", "DiffusionBValue")
    known = [_number(found, name) or 0.0 for name in names]
    return (time or 0.0, *known, _number(found, "InstanceNumber") or 0.0)


def _nested(groups: list[Any], sequence: str, name: str) -> Any:
    """Return an element from a frame's group, the shared group or the file itself, whichever has it first."""
    for group in groups[:2]:
        item = _first(group, sequence) if group is not None else None
        if item is not None and item.get(name) is not None:
            return item.get(name)
    return groups[2].get(name)


def _first(found: Any, sequence: str) -> Any:
    items = found.get(sequence)
    return items[0] if items else None


def vector(values: Any, count: int) -> Vector | None:
    """Return finite numbers, or None where they are missing or nonsense."""
    with suppress(TypeError, ValueError):
        numbers = tuple(float(v) for v in values)
        if len(numbers) == count and np.isfinite(numbers).all():
            return numbers
    return None


def _number(found: Any, name: str) -> float | None:
    value = found.get(name)
    with suppress(TypeError, ValueError, IndexError):
        return float(value[0] if isinstance(value, (list, tuple)) or type(value).__name__ == "MultiValue" else value)
    return None


def _thickness(found: Any) -> float:
    shared = _first(found, "SharedFunctionalGroupsSequence")
    measures = _first(shared, "PixelMeasuresSequence") if shared is not None else None
    places = [item for item in (measures, found) if item is not None]
    known = [_number(item, name) for item in places for name in ("SpacingBetweenSlices", "SliceThickness")]
    return next((abs(n) for n in known if n), 0.0)


def _window(found: Any) -> tuple[float, float] | None:
    groups = (_first(found, "SharedFunctionalGroupsSequence"), _first(found, "PerFrameFunctionalGroupsSequence"))
    items = [_first(group, "FrameVOILUTSequence") for group in groups if group is not None]
    for item in [*(i for i in items if i is not None), found]:
        centre, width = _number(item, "WindowCenter"), _number(item, "WindowWidth")
        if centre is not None and width is not None and width > 0:
            return centre, width
    return None


def _safe_name(found: Any) -> str:
    """Return the description of the series; what could name the patient gives way to modality and number."""
    described = re.sub(r"\s+", " ", str(found.get("SeriesDescription") or "")).strip()
    who = re.split(r"[\^=\s,.]+", str(found.get("PatientName") or "").lower())
    words = re.split(r"[\W_]+", described.lower())
    plain = f"{found.get('Modality') or 'DICOM'} series {found.get('SeriesNumber') or ''}".strip()
    named = any(len(part) > 1 and part in words for part in who)
    return plain if named or not described else described
