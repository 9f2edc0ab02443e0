"""DICOM files -> their planes: one header read with care, the alike ones of a series quickly."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from napari_unet_tumour.errors import ScanError, UnsupportedError
from napari_unet_tumour.scans.checks import check_size, damaged, decoding, kind_of, unreadable
from napari_unet_tumour.scans.dicom.encoding import PIXEL_TAGS, syntax_of
from napari_unet_tumour.scans.dicom.fast_header import PIXELS, Elements, is_bare, quick_elements
from napari_unet_tumour.scans.dicom.header import DicomHeader, DicomPlane, header_of, plane_of
from napari_unet_tumour.scans.dicom.values import integer, text, vector

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SUFFIXES = (".dcm", ".dicom", ".ima")
# Only these are read: nothing that names the patient stays in memory; the name is checked against, the number hashed.
_TAGS = (
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesDescription", "SeriesNumber", "Modality",
    "PatientName", "PatientID", "InstanceNumber", "AcquisitionNumber", "TemporalPositionIdentifier", "TriggerTime",
    "EchoNumbers", "DiffusionBValue", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing",
    "SliceThickness", "SpacingBetweenSlices", "Rows", "Columns", "SamplesPerPixel", "PlanarConfiguration",
    "PhotometricInterpretation", "NumberOfFrames", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence", "GridFrameOffsetVector", "DoseGridScaling", "EncryptedAttributesSequence",
    "DirectoryRecordSequence", "ModalityLUTSequence", "ImageType", "FrameIncrementPointer",
    "DetectorInformationSequence", "ContrastBolusAgent", "ContrastBolusAgentSequence", "ProtocolName", "EchoTime",
    "RepetitionTime", "InversionTime", "FrameOfReferenceUID",
)  # fmt: skip

# What must be equal, byte for byte, for a slice to be read like the one before.
_COMMON = (
    0x00020010, 0x00080016, 0x0020000E, 0x0008103E, 0x00200011, 0x00080060, 0x00100010, 0x00100020, 0x00189087,
    0x00200037, 0x00280030, 0x00180050, 0x00180088, 0x00280010, 0x00280011, 0x00280002, 0x00280004, 0x00280006,
    0x00280100, 0x00280101, 0x00280102, 0x00280103, 0x00281053, 0x00281052, 0x00200052, PIXELS,
)  # fmt: skip
# Frames, groups of frames, dose, a table of values: such a file is read by itself.
_SEVERAL = (0x00280008, 0x52009229, 0x52009230, 0x3004000E, 0x3004000C, 0x00283000)
_START = 1024
_POSITION, _INSTANCE, _IMAGE_TYPE = 0x00200032, 0x00080018, 0x00080008
# ImageType of Siemens and United Imaging for a picture that is a sheet of small slices.
_SHEETS = ("MOSAIC", "VFRAME")
# Time, trigger, acquisition, echo, number: as `_turn` sorts.
_ORDER = (0x00200100, 0x00181060, 0x00200012, 0x00180086, 0x00200013)


def read_planes(path: Path, known: dict[Any, DicomPlane] | None = None) -> list[DicomPlane]:
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
            if plane is not None:
                _check(path, plane.head, 1)
                return [plane]
        planes = _read_with_care(path)
        # Elements stored in an unusual way (a position as binary numbers) are only read with care.
        if known is not None and quick and key is not None and planes == [_like(planes[0], path, *quick)]:
            known[key] = planes[0]
    return planes


def _read_with_care(path: Path) -> list[DicomPlane]:
    found, at, start = _header(path)
    if PIXELS not in found:
        raise _without_pixels(path, found)
    if any(word in text(found, "ImageType").split("\\") for word in _SHEETS):
        raise UnsupportedError(
            f"{path.name} is a mosaic, many slices side by side in one picture: convert the series with dcm2niix, "
            "and open the NIfTI file that it makes"
        )
    head = header_of(path, found, at, start)
    frames = integer(found, "NumberOfFrames", 1)
    _check(path, head, frames)
    return [plane_of(found, head, n) for n in range(frames)]


def _signature(found: Elements) -> tuple[bytes | None, ...] | None:
    """Return what slices of a series have in common, as stored; None where a file must be read by itself."""
    if any(tag in found for tag in _SEVERAL) or not found.get(_POSITION) or not found.get(PIXELS):
        return None
    if any(word.encode() in found.get(_IMAGE_TYPE, b"") for word in _SHEETS):
        return None
    return tuple(found.get(tag) for tag in _COMMON)


def _like(plane: DicomPlane, path: Path, found: Elements, at: int) -> DicomPlane | None:
    """Return the plane of a file that differs from a known one only in where it lies and in its numbers.

    None where those are not stored as text, so that the file must be read with care.
    """
    skip = 0 if plane.head.dtype is None else plane.head.at - plane.head.element
    try:
        instance = found.get(_INSTANCE, b"").rstrip(b"\0 ").decode("ascii")
        numbers = tuple(float(found.get(tag, b"").split(b"\\")[0].strip(b"\0 ") or 0) for tag in _ORDER)
        position = vector(found[_POSITION], 3)
    except ValueError:
        return None
    if position is None:
        return None
    turn = (0.0, *numbers[:4], plane.turn[5], numbers[4], 0.0)
    head = replace(plane.head, path=path, instance=instance, at=at + skip, element=at)
    return replace(plane, head=head, position=position, turn=turn)


def _header(path: Path) -> tuple[Any, int, bytes]:
    """Return the wanted elements, the byte at which the element with the pixels starts, and its first 12 bytes."""
    pydicom = _pydicom(path)
    try:
        with path.open("rb") as file:
            forced = path.suffix.lower() in SUFFIXES or is_bare(file.read(_START))
            file.seek(0)
            found = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=_tags(), force=forced)
            at = file.tell()
            start = file.read(12)
            if start[:4] in PIXEL_TAGS:
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

    syntax = syntax_of(found)
    if syntax == pydicom.uid.DeflatedExplicitVRLittleEndian:
        check_size(path, (integer(found, "Rows", 0), integer(found, "Columns", 0)), 2, compressed=True)
        whole = pydicom.dcmread(path)
        if PIXELS in whole:
            found.add_new(PIXELS, "OW", b"")
    return found


def _without_pixels(path: Path, found: Any) -> ScanError:
    if "EncryptedAttributesSequence" in found:
        return ScanError(f"{path.name} is encrypted: decrypt it, or export it again without encryption")
    if "DirectoryRecordSequence" in found:
        return ScanError(f"{path.name} is a list of files, not a scan: open the folder it lies in")
    other = kind_of(path)
    if other and not is_dicom_file(path):  # the free 128 bytes before the mark may look like a TIFF
        return ScanError(f"{path.name} holds {other} data, not DICOM: rename it to the suffix of what it is")
    kind = f" ({text(found, 'Modality')})" if text(found, "Modality") else ""
    return ScanError(f"{path.name} holds no pixels{kind}: choose an image file of the series")


def _check(path: Path, head: DicomHeader, frames: int) -> None:
    import math

    itemsize = 4 if head.dtype is None else head.dtype.itemsize
    check_size(path, (frames, *head.shape), itemsize)
    if head.dtype is not None and head.at + frames * math.prod(head.shape) * itemsize > path.stat().st_size:
        raise damaged(path)


def dicom_files(folder: Path) -> Iterator[Path]:
    """Yield the files under a folder that look like DICOM by their first bytes or suffix, in order of their paths."""
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith((".", "DICOMDIR"))):
        if path.suffix.lower() in SUFFIXES or is_dicom_file(path):
            yield path


def is_dicom_file(path: Path) -> bool:
    """Tell by a file's first bytes whether it is DICOM: the mark after its preamble, or a data set without either."""
    with suppress(OSError), path.open("rb") as file:
        start = file.read(_START)
        return start[128:132] == b"DICM" or is_bare(start)
    return False
