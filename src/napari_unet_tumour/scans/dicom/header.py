"""What a DICOM header says of a file and its planes: kind, name, where each plane lies, how values are meant."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.scans.checks import damaged
from napari_unet_tumour.scans.dicom.encoding import lut_bits, raw_dtype
from napari_unet_tumour.scans.dicom.values import Vector, integer, number, numbers, text, value_of, vector
from napari_unet_tumour.scans.mr_sequences import sequence_from_timing, sequence_of
from napari_unet_tumour.scans.patient_id import person_id

if TYPE_CHECKING:
    from pathlib import Path

# Frame time, its vector, trigger time, time slot: what FrameIncrementPointer names where frames follow in time.
_TIMES = {0x00181063, 0x00181065, 0x00181060, 0x00540070}
SLICED = ("MR", "CT", "PT")
# Sine of the angle between rows and columns below which they make no plane.
_LEAST_ANGLE = 0.1


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
        Bits that a stored value really has; what lies above and below them (overlays) is no pixel.
    signed : bool
        Whether stored values may be negative.
    window : (float, float), optional
        Centre and width that the scanner gives.
    thickness : float
        Distance to the next slice where only one is there, in mm; 0 when not said.
    person : str
        Whose it is: an id made of the patient's number, see `patient_id.person_id`.
    shift : int
        Bits below the value's lowest one.
    lut : int
        Bits of an entry of the table that gives real values (Modality LUT); 0 where there is none.
    slices : bool
        Whether the frames of a file without functional groups are slices, not points in time.
    contrast : str
        The contrast agent; "" if the header has no such element.
    frame : str
        The FrameOfReferenceUID; "" where there is none.
    sequence : str
        The MR sequence that description, protocol or timing stand for, see `mr_sequences.sequence_of`; "" if unclear.
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
    shift: int = 0
    lut: int = 0
    slices: bool = False
    contrast: str = ""
    sequence: str = ""
    frame: str = ""


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
    samples = integer(found, "SamplesPerPixel", 1)
    rows, columns = number(found, "Rows"), number(found, "Columns")
    if rows is None or columns is None:
        raise damaged(path)
    dtype, skip = raw_dtype(found, start)
    allocated = integer(found, "BitsAllocated", 16)
    bits = min(integer(found, "BitsStored", allocated), allocated)
    return DicomHeader(
        path=path,
        storage=text(found, "SOPClassUID"),
        series=text(found, "SeriesInstanceUID"),
        instance=text(found, "SOPInstanceUID"),
        name=_safe_name(found),
        modality=text(found, "Modality"),
        shape=(int(rows), int(columns), *((samples,) if samples > 1 else ())),
        dtype=dtype,
        at=at + skip,
        element=at,
        photometric=text(found, "PhotometricInterpretation") or "MONOCHROME2",
        bits=bits,
        signed=number(found, "PixelRepresentation") == 1,
        window=_window(found),
        thickness=_thickness(found),
        person=person_id(text(found, "PatientID")),
        shift=min(max(integer(found, "HighBit", bits - 1) + 1 - bits, 0), allocated - bits),
        lut=lut_bits(found),
        slices=_has_slices(found),
        contrast=_contrast(found),
        sequence=_sequence(found),
        frame=text(found, "FrameOfReferenceUID"),
    )


def _contrast(found: Any) -> str:
    """Return the contrast agent; the element alone, emptied to hide the patient, says that one was given."""
    there = "ContrastBolusAgent" in found or bool(found.get("ContrastBolusAgentSequence"))
    return text(found, "ContrastBolusAgent") or ("not named" if there else "")


def _sequence(found: Any) -> str:
    """Return the sequence that the words of the header name, else the one that its timing stands for."""
    if text(found, "Modality") != "MR":
        return ""
    said = sequence_of(text(found, "SeriesDescription")) or sequence_of(text(found, "ProtocolName"))
    each = found.get("PerFrameFunctionalGroupsSequence") or [None]
    groups = [each[0], _first(found, "SharedFunctionalGroupsSequence"), found]
    places = (
        ("MREchoSequence", "EffectiveEchoTime", "EchoTime"),
        ("MRTimingAndRelatedParametersSequence", "RepetitionTime", "RepetitionTime"),
        ("MRModifierSequence", "InversionTimes", "InversionTime"),
        ("MRDiffusionSequence", "DiffusionBValue", "DiffusionBValue"),
    )
    times = [_first_number(_nested(groups, where, name)) or number(found, plain) for where, name, plain in places]
    return said or sequence_from_timing(*times)


def _first_number(value: Any) -> float | None:
    with suppress(TypeError, ValueError):
        return next(iter(numbers(value)), None)
    return None


def _has_slices(found: Any) -> bool:
    """Tell whether the frames of a file without functional groups are slices, by its modality and its pointer."""
    pointer = value_of(found, "FrameIncrementPointer")
    named = pointer if isinstance(pointer, list) or type(pointer).__name__ == "MultiValue" else [pointer]
    timed = any(isinstance(tag, int) and tag in _TIMES for tag in named)
    nuclear = text(found, "Modality") == "NM" and "RECON TOMO" in text(found, "ImageType")
    return not timed and (nuclear or text(found, "Modality") in SLICED)


def plane_of(found: Any, head: DicomHeader, n: int) -> DicomPlane:
    """Read where frame `n` lies and how its values are meant."""
    shared = _first(found, "SharedFunctionalGroupsSequence")
    each = found.get("PerFrameFunctionalGroupsSequence") or []
    groups = [each[n] if n < len(each) else None, shared, found]
    orientation = _directions(_nested(groups, "PlaneOrientationSequence", "ImageOrientationPatient"))
    position = vector(_nested(groups, "PlanePositionSequence", "ImagePositionPatient"), 3)
    if integer(found, "NumberOfFrames", 1) > 1 and not each:
        position = _stepped(found, head, position, orientation, n)
    slope = numbers(_nested(groups, "PixelValueTransformationSequence", "RescaleSlope"))
    slope = slope or numbers(value_of(found, "DoseGridScaling"))
    # A slope of 0 stands for a missing one: it would make every pixel the same.
    scaled = bool(slope and slope[0]) and not head.lut
    intercept = numbers(_nested(groups, "PixelValueTransformationSequence", "RescaleIntercept"))
    return DicomPlane(
        head=head,
        frame=n,
        position=position,
        orientation=orientation,
        spacing=_distances(_nested(groups, "PixelMeasuresSequence", "PixelSpacing")),
        slope=slope[0] if scaled else 1.0,
        intercept=intercept[0] if intercept and not head.lut else 0.0,
        turn=(*_sort_key(found, groups), float(n)),
    )


def _directions(value: Any) -> Vector | None:
    """Return the directions of a row and of a column; None where they are missing, 0 or one and the same."""
    found = vector(value, 6)
    if found is None or np.linalg.norm(np.cross(found[:3], found[3:])) < _LEAST_ANGLE:
        return None
    return found


def _distances(value: Any) -> Vector | None:
    """Return the distances of rows and of columns, whatever their sign; None where they are missing or 0."""
    found = vector(value, 2)
    return None if found is None or not all(found) else tuple(abs(one) for one in found)


def _stepped(
    found: Any, head: DicomHeader, position: Vector | None, orientation: Vector | None, n: int
) -> Vector | None:
    """Return where a frame of a dose grid or of a classic multi-frame volume lies; other frames have no place."""
    if position is None or orientation is None:
        return None
    offsets = numbers(value_of(found, "GridFrameOffsetVector"))
    if not offsets and not (head.slices and head.thickness):
        return None
    # Offsets may count from the first frame or from the patient's origin (PS3.3 C.8.8.3.2): the difference is the same.
    along = offsets[n] - offsets[0] if offsets else n * head.thickness
    normal = np.cross(orientation[:3], orientation[3:])
    return tuple((np.asarray(position) + normal * along).tolist())


def _sort_key(found: Any, groups: list[Any]) -> tuple[float, ...]:
    content = None if groups[0] is None else _first(groups[0], "FrameContentSequence")
    time = number(content, "TemporalPositionIndex") if content is not None else None
    names = ("TemporalPositionIdentifier", "TriggerTime", "AcquisitionNumber", "EchoNumbers", "DiffusionBValue")
    known = [number(found, name) or 0.0 for name in names]
    return (time or 0.0, *known, number(found, "InstanceNumber") or 0.0)


def _nested(groups: list[Any], sequence: str, name: str) -> Any:
    """Return an element from a frame's group, the shared group or the file itself, whichever has it first."""
    for group in groups[:2]:
        item = _first(group, sequence) if group is not None else None
        if item is not None and value_of(item, name) is not None:
            return value_of(item, name)
    value = value_of(groups[2], name)
    detector = _first(groups[2], "DetectorInformationSequence") if value is None else None
    return value if detector is None else value_of(detector, name)


def _first(found: Any, sequence: str) -> Any:
    items = found.get(sequence)
    return items[0] if items else None


def _thickness(found: Any) -> float:
    shared = _first(found, "SharedFunctionalGroupsSequence")
    measures = _first(shared, "PixelMeasuresSequence") if shared is not None else None
    places = [item for item in (measures, found) if item is not None]
    known = [number(item, name) for item in places for name in ("SpacingBetweenSlices", "SliceThickness")]
    return next((abs(n) for n in known if n), 0.0)


def _window(found: Any) -> tuple[float, float] | None:
    groups = (_first(found, "SharedFunctionalGroupsSequence"), _first(found, "PerFrameFunctionalGroupsSequence"))
    items = [_first(group, "FrameVOILUTSequence") for group in groups if group is not None]
    for item in [*(i for i in items if i is not None), found]:
        centre, width = number(item, "WindowCenter"), number(item, "WindowWidth")
        if centre is not None and width is not None and width > 0:
            return centre, width
    return None


def _safe_name(found: Any) -> str:
    """Return the description of the series; what could name the patient gives way to modality and number."""
    described = re.sub(r"\s+", " ", text(found, "SeriesDescription")).strip()
    who = re.split(r"[\^=\s,.]+", text(found, "PatientName").lower())
    words = re.split(r"[\W_]+", described.lower())
    plain = f"{text(found, 'Modality') or 'DICOM'} series {text(found, 'SeriesNumber')}".strip()
    named = any(len(part) > 1 and part in words for part in who)
    return plain if named or not described else described
