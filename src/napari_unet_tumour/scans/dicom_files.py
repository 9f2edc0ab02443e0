"""One DICOM file -> its planes: where each lies in the patient, and its pixels, read only when asked for."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.scans.dicom_quick import PIXELS, Elements, quick_elements
from napari_unet_tumour.scans.safety import check_size, damaged, decoding, unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

CODECS = "pip install 'napari-unet-tumour[codecs]'"
# Whole numbers, float32 and float64 pixels, in either byte order.
_PIXEL_TAGS = tuple(bytes(b) for n in (0x10, 8, 9) for b in ((0xE0, 0x7F, n, 0), (0x7F, 0xE0, 0, n)))
# Only these are read: nothing that names the patient stays in memory, apart from the name that is checked against.
_TAGS = (
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesDescription", "SeriesNumber", "Modality",
    "PatientName", "InstanceNumber", "AcquisitionNumber", "TemporalPositionIdentifier", "TriggerTime", "EchoNumbers",
    "DiffusionBValue", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness",
    "SpacingBetweenSlices", "Rows", "Columns", "SamplesPerPixel", "PlanarConfiguration", "PhotometricInterpretation",
    "NumberOfFrames", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "RescaleSlope",
    "RescaleIntercept", "WindowCenter", "WindowWidth", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence", "GridFrameOffsetVector", "DoseGridScaling", "EncryptedAttributesSequence",
    "DirectoryRecordSequence",
)  # fmt: skip

# What must be equal, byte for byte, for a slice to be read like the one before.
_COMMON = (
    0x00020010, 0x00080016, 0x0020000E, 0x0008103E, 0x00200011, 0x00080060, 0x00100010, 0x00189087, 0x00200037,
    0x00280030, 0x00180050, 0x00180088, 0x00280010, 0x00280011, 0x00280002, 0x00280004, 0x00280006, 0x00280100,
    0x00280101, 0x00280102, 0x00280103, 0x00281053, 0x00281052, PIXELS,
)  # fmt: skip
# Frames, groups of frames, dose: such a file is read by itself.
_SEVERAL = (0x00280008, 0x52009229, 0x52009230, 0x3004000E, 0x3004000C)
_POSITION, _INSTANCE = 0x00200032, 0x00080018
# Time, trigger, acquisition, echo, number: as `_turn` sorts.
_ORDER = (0x00200100, 0x00181060, 0x00200012, 0x00180086, 0x00200013)

Vector = tuple[float, ...]


@dataclass(frozen=True)
class Head:
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


@dataclass(frozen=True)
class Plane:
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

    head: Head
    frame: int
    position: Vector | None
    orientation: Vector | None
    spacing: Vector | None
    slope: float
    intercept: float
    turn: tuple[float, ...]


def read_planes(path: Path, known: dict[Any, Plane] | None = None) -> list[Plane]:
    """Read a file's header and return its planes, without pixels.

    Parameters
    ----------
    path : Path
        The file.
    known : dict, optional
        Planes of files read before: the same dict, handed in again and again, makes the next slice of a series quick.

    Raises
    ------
    ScanError
        The file is no DICOM, holds no pixels, is encrypted or cut, or claims absurd sizes.
    """
    with decoding(path):
        quick = None if known is None else quick_elements(path)
        key = quick and _signature(quick[0])
        if quick and known and key in known:
            plane = _like(known[key], path, *quick)
            _check(path, plane.head, 1)
            return [plane]
        planes = _read_with_care(path)
    if known is not None and key is not None and len(planes) == 1:
        known[key] = planes[0]
    return planes


def _read_with_care(path: Path) -> list[Plane]:
    found, at, start = _header(path)
    if PIXELS not in found:
        raise _without_pixels(path, found)
    head = _head(path, found, at, start)
    frames = int(found.get("NumberOfFrames") or 1)
    _check(path, head, frames)
    return [_plane(found, head, n) for n in range(frames)]


def _signature(found: Elements) -> tuple[bytes | None, ...] | None:
    """Return what slices of a series have in common, as stored; None where a file must be read by itself."""
    if any(tag in found for tag in _SEVERAL) or not found.get(_POSITION) or not found.get(PIXELS):
        return None
    return tuple(found.get(tag) for tag in _COMMON)


def _like(plane: Plane, path: Path, found: Elements, at: int) -> Plane:
    """Return the plane of a file that differs from a known one only in where it lies and in its numbers."""
    skip = 0 if plane.head.dtype is None else plane.head.at - plane.head.element
    instance = found.get(_INSTANCE, b"").rstrip(b"\0 ").decode("ascii")
    numbers = tuple(float(found.get(tag, b"").split(b"\\")[0].strip(b"\0 ") or 0) for tag in _ORDER)
    turn = (0.0, *numbers[:4], plane.turn[5], numbers[4], 0.0)
    position = _vector(found[_POSITION].rstrip(b"\0 ").split(b"\\"), 3)
    head = replace(plane.head, path=path, instance=instance, at=at + skip, element=at)
    return replace(plane, head=head, position=position, turn=turn)


def pixels(head: Head) -> NDArray[Any]:
    """Return the stored values of all frames, (n, rows, columns) or (n, rows, columns, 3), not rescaled.

    Raises
    ------
    ScanError
        The file is cut, or compressed in a way that needs another package.
    """
    if head.dtype is not None:
        try:
            count = (head.path.stat().st_size - head.at) // head.dtype.itemsize
            size = int(np.prod(head.shape))
            values = np.fromfile(head.path, head.dtype, count // size * size, offset=head.at)
        except OSError as error:
            raise unreadable(head.path, error) from error
        return values.reshape(-1, *head.shape)
    return _decoded(head)


def _header(path: Path) -> tuple[Any, int, bytes]:
    """Return the wanted elements, the byte at which the element with the pixels starts, and its first 12 bytes."""
    pydicom = _pydicom(path)
    try:
        with path.open("rb") as file:
            forced = path.suffix.lower() in (".dcm", ".ima", ".dicom")
            found = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=_tags(), force=forced)
            at = file.tell()
            start = file.read(12)
            if start[:4] in _PIXEL_TAGS:
                found.add_new(PIXELS, "OW", b"")
    except pydicom.errors.InvalidDicomError as error:
        raise ScanError(f"{path.name} is not a DICOM file: choose another file") from error
    except OSError as error:
        raise unreadable(path, error) from error
    return _with_deflated_pixels(path, found), at, start


@cache
def _tags() -> list[Any]:
    from pydicom.tag import Tag

    return [Tag(name) for name in _TAGS]


def _pydicom(path: Path) -> Any:
    try:
        import pydicom
    except ImportError as error:
        raise ScanError(f"{path.name} is DICOM: pip install 'napari-unet-tumour[dicom]' to open it") from error
    return pydicom


def _with_deflated_pixels(path: Path, found: Any) -> Any:
    import pydicom

    syntax = _syntax(found)
    if syntax == pydicom.uid.DeflatedExplicitVRLittleEndian:
        check_size(path, (int(found.Rows), int(found.Columns)), 2, compressed=True)
        whole = pydicom.dcmread(path)
        if PIXELS in whole:
            found.add_new(PIXELS, "OW", b"")
    return found


def _without_pixels(path: Path, found: Any) -> ScanError:
    if "EncryptedAttributesSequence" in found:
        return ScanError(f"{path.name} is encrypted: decrypt it, or export it again without encryption")
    if "DirectoryRecordSequence" in found:
        return ScanError(f"{path.name} is a list of files, not a scan: open the folder it lies in")
    kind = f" ({found.Modality})" if found.get("Modality") else ""
    return ScanError(f"{path.name} holds no pixels{kind}: choose an image file of the series")


def _head(path: Path, found: Any, at: int, start: bytes) -> Head:
    samples = int(found.get("SamplesPerPixel") or 1)
    shape = (int(found.Rows), int(found.Columns), *((samples,) if samples > 1 else ()))
    dtype, skip = _raw_dtype(found, start)
    return Head(
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
    )


def _raw_dtype(found: Any, start: bytes) -> tuple[np.dtype[Any] | None, int]:
    """Return how plain grey pixels are stored, and the length of the element's own header; None for all else."""
    syntax = _syntax(found)
    bits = int(found.get("BitsAllocated") or 0)
    grey = (
        int(found.get("SamplesPerPixel") or 1) == 1
        and str(found.get("PhotometricInterpretation", "MONO"))[:4] == "MONO"
    )
    if syntax is None or syntax.is_compressed or syntax.is_deflated or not grey or bits not in (8, 16, 32):
        return None, 0
    tag, kind = start[:4], start[4:6]
    length, skip = (start[4:8], 8) if syntax.is_implicit_VR else (start[8:12], 12)
    said = syntax.is_implicit_VR or kind in (b"OW", b"OB")
    if tag not in _PIXEL_TAGS[:2] or length == b"\xff\xff\xff\xff" or not said or (bits == 8 and tag[0] == 0x7F):
        return None, 0
    sign = "i" if int(found.get("PixelRepresentation") or 0) == 1 else "u"
    return np.dtype(f"{'<' if syntax.is_little_endian else '>'}{sign}{bits // 8}"), skip


def _syntax(found: Any) -> Any:
    """Return how the file is encoded; None where it does not say or nobody knows it."""
    syntax: Any = found.file_meta.get("TransferSyntaxUID") if hasattr(found, "file_meta") else None
    return syntax if syntax is not None and syntax.is_transfer_syntax and not syntax.is_private else None


def _check(path: Path, head: Head, frames: int) -> None:
    import math

    itemsize = 4 if head.dtype is None else head.dtype.itemsize
    check_size(path, (frames, *head.shape), itemsize)
    if head.dtype is not None and head.at + frames * math.prod(head.shape) * itemsize > path.stat().st_size:
        raise damaged(path)


def _thickness(found: Any) -> float:
    shared = _first(found, "SharedFunctionalGroupsSequence")
    measures = _first(shared, "PixelMeasuresSequence") if shared is not None else None
    places = [item for item in (measures, found) if item is not None]
    known = [_number(item, name) for item in places for name in ("SpacingBetweenSlices", "SliceThickness")]
    return next((abs(n) for n in known if n), 0.0)


def _plane(found: Any, head: Head, n: int) -> Plane:
    shared = _first(found, "SharedFunctionalGroupsSequence")
    each = found.get("PerFrameFunctionalGroupsSequence") or []
    groups = [each[n] if n < len(each) else None, shared, found]
    orientation = _vector(_nested(groups, "PlaneOrientationSequence", "ImageOrientationPatient"), 6)
    position = _vector(_nested(groups, "PlanePositionSequence", "ImagePositionPatient"), 3)
    frames = int(found.get("NumberOfFrames") or 1)
    if frames > 1 and not each:
        position = _stepped(found, position, orientation, n)
    slope = _nested(groups, "PixelValueTransformationSequence", "RescaleSlope")
    slope = found.get("DoseGridScaling") if slope is None else slope
    intercept = _nested(groups, "PixelValueTransformationSequence", "RescaleIntercept")
    return Plane(
        head=head,
        frame=n,
        position=position,
        orientation=orientation,
        spacing=_vector(_nested(groups, "PixelMeasuresSequence", "PixelSpacing"), 2),
        slope=1.0 if slope is None else float(slope),
        intercept=0.0 if intercept is None else float(intercept),
        turn=(*_turn(found, groups), float(n)),
    )


def _stepped(found: Any, position: Vector | None, orientation: Vector | None, n: int) -> Vector | None:
    """Return where a frame of a dose grid lies; other frames without a place of their own have none."""
    offsets = found.get("GridFrameOffsetVector")
    if offsets is None or position is None or orientation is None:
        return None
    normal = np.cross(orientation[:3], orientation[3:])
    return tuple((np.asarray(position) + normal * float(offsets[n])).tolist())


def _turn(found: Any, groups: list[Any]) -> tuple[float, ...]:
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


def _vector(values: Any, count: int) -> Vector | None:
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


def _decoded(head: Head) -> NDArray[Any]:
    """Let pydicom decode: compressed, colour and odd encodings; palettes become 8-bit colours."""
    import pydicom
    import pydicom.pixels

    decode: Any = pydicom.pixels
    with decoding(head.path):
        found = pydicom.dcmread(head.path, force=True)
        try:
            values: NDArray[Any] = decode.pixel_array(found)
        except (NotImplementedError, RuntimeError, AttributeError) as error:
            raise _no_decoder(head, found) from error
        if head.photometric == "PALETTE COLOR":
            colours = decode.apply_color_lut(values, found)
            values = (colours >> 8).astype(np.uint8) if colours.dtype == np.uint16 else colours
        last = values.shape[-1:] if len(head.shape) == 3 or head.photometric == "PALETTE COLOR" else ()
        return values.reshape(-1, *head.shape[:2], *last)


def _no_decoder(head: Head, found: Any) -> ScanError:
    import pydicom.pixels

    syntax, decode = _syntax(found), pydicom.pixels
    if syntax is None:
        return ScanError(f"{head.path.name} is stored in a way that is not known: export it again uncompressed")
    with suppress(NotImplementedError):
        if not syntax.is_compressed or decode.get_decoder(syntax).is_available:  # type: ignore[attr-defined]
            if not syntax.is_compressed:
                return damaged(head.path)
            return ScanError(f"{head.path.name} ({syntax.name}) is damaged, or needs another codec: {CODECS}")
    return ScanError(f"{head.path.name} is compressed as {syntax.name}, which needs a codec: {CODECS}")


def dicom_files(folder: Path) -> Iterator[Path]:
    """Yield the files under a folder that look like DICOM by their first bytes or suffix, in order of their paths."""
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith((".", "DICOMDIR"))):
        if path.suffix.lower() in (".dcm", ".ima") or has_mark(path):
            yield path


def has_mark(path: Path) -> bool:
    """Tell whether a file has DICOM's mark after its preamble."""
    with suppress(OSError), path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"
    return False
