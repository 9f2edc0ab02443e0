"""Headers of a source series, repaired so that an object can be derived from it: text decoded, bad values left empty.

An anonymiser may have removed elements that must be there (though they may be empty), or filled in what the standard
does not allow. A derived object has to be valid by itself, so each value is taken over, repaired or left empty.
"""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections import Counter
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_unet_tumour.scans.dicom.header import DicomPlane

UTF8 = "ISO_IR 192"
# Of the patient and the study. The first row must be there, empty where it is not known (type 2).
REQUIRED = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
    "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
_OPTIONAL = (
    "StudyDescription", "PatientAge", "PatientSize", "PatientWeight", "PatientComments", "PositionReferenceIndicator",
    "IssuerOfPatientID", "PatientIdentityRemoved", "DeidentificationMethod", "LossyImageCompression",
)  # fmt: skip
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
_SEX = {"f": "F", "w": "F", "female": "F", "woman": "F", "m": "M", "male": "M", "man": "M", "o": "O", "other": "O"}
_CODES = {"PatientIdentityRemoved": ("YES", "NO"), "LossyImageCompression": ("00", "01")}
# Where a value that is too long would be another value if it were cut.
_LONGEST = {"SH": 16, "LO": 64, "LT": 10240, "PN": 64}


def read_headers(path: Path, planes: Sequence[DicomPlane]) -> dict[Path, Any]:
    """Read the header of every file of a series, and repair it.

    Parameters
    ----------
    path : Path
        What is to be written: named in errors.
    planes : sequence of Plane
        Of one series.

    Returns
    -------
    dict of Path to pydicom.Dataset
        With UTF-8 text and every element of patient and study that a derived object needs. A file of several frames
        keeps its other elements; a file of one has the place of its plane.

    Raises
    ------
    OutputError
        A file is gone, or lacks an identifier that cannot be made up.
    """
    held = Counter(plane.head.path for plane in planes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {file: _repaired(path, file, several=count > 1) for file, count in held.items()}


def slice_distance(planes: Sequence[DicomPlane]) -> float:
    """Return the distance of neighbouring planes in mm, of a single one its thickness, else 1."""
    first = planes[0]
    if first.orientation is not None and all(plane.position is not None for plane in planes):
        normal = np.cross(first.orientation[:3], first.orientation[3:])
        gaps = np.diff(np.sort([np.dot(normal, plane.position or ()) for plane in planes]))
        gaps = gaps[gaps > 1e-3]
        if gaps.size:
            return float(np.median(gaps))
    return first.head.thickness or 1.0


def text_of(found: Any, keyword: str) -> str:
    """Return the text of an element as its character set says, "" where there is none or it cannot be read.

    Without a known character set UTF-8 is tried first: that is what wrong exports hold.
    """
    with suppress(Exception):
        raw = found.get_item(keyword)
        content = getattr(raw, "value", None)
        if isinstance(content, bytes) and any(byte > 127 for byte in content) and not _has_character_set(found):
            with suppress(UnicodeDecodeError):
                return content.decode("utf-8").strip("\0 ")
        value = found[keyword].value
        if type(value).__name__ == "MultiValue":
            return "\\".join(str(one) for one in value)
        return "" if value is None else str(value).strip("\0 ")
    return ""


def printable(text: str, longest: int = 64) -> str:
    """Return text that an element of one value can hold: no backslash, no control characters, not too long.

    Its length is counted in bytes of UTF-8, as some checkers do, although the standard counts characters.
    """
    text = unicodedata.normalize("NFC", text).replace("\\", "/")
    plain = "".join(" " if unicodedata.category(one).startswith("C") else one for one in text)
    short = re.sub(r"\s+", " ", plain).strip().encode()[:longest]
    return short.decode(errors="ignore").strip()


def repaired(keyword: str, text: str) -> str:
    """Return a value that the standard allows for an element, "" where the text gives none."""
    from pydicom.datadict import dictionary_VR

    kind = dictionary_VR(keyword)
    if keyword == "PatientSex":
        return _SEX.get(text.casefold(), "")
    if keyword in _CODES:
        return text.upper() if text.upper() in _CODES[keyword] else ""
    if kind in ("DA", "TM", "AS", "DS"):
        return {"DA": _date, "TM": _time, "AS": _age, "DS": _number}[kind](text)
    if kind == "PN":
        groups = [printable(part, 1000) for part in text.split("=")[:3]]
        groups = ["^".join(group.split("^")[:5]) for group in groups]
        return "=".join(groups) if all(len(group) <= _LONGEST["PN"] for group in groups) else ""
    clean = printable(text, 10**6)
    known = len(clean) <= _LONGEST.get(kind, 64) and ("\\" not in text or keyword.endswith("Description"))
    return clean if known else ""


def _has_character_set(found: Any) -> bool:
    from pydicom.charset import python_encoding

    value = found.get("SpecificCharacterSet")
    words = [value] if isinstance(value, str) else list(value or [])
    return any(words) and all(word in python_encoding for word in words)


def _repaired(path: Path, file: Path, *, several: bool) -> Any:
    """Return the header of one file; `several` where it holds several frames."""
    import pydicom
    from pydicom.uid import generate_uid

    try:
        found = pydicom.dcmread(file, stop_before_pixels=True, force=True)
    except OSError as error:
        raise OutputError(
            f"{path.name}: a file of the source series is gone: put it back, or choose .nii.gz"
        ) from error
    made = _without_text(found) if several else pydicom.Dataset()
    made.SpecificCharacterSet = UTF8
    _take_identity(path, file, found, made)
    made.FrameOfReferenceUID = text_of(found, "FrameOfReferenceUID") or generate_uid(
        entropy_srcs=[made.SeriesInstanceUID, "frame of reference"]
    )
    made.Modality = printable(text_of(found, "Modality"), 16) or "OT"
    made.SeriesNumber = _whole(text_of(found, "SeriesNumber"))
    thickness = _number(text_of(found, "SliceThickness"))
    if thickness and float(thickness) > 0 and not several:
        made.SliceThickness = thickness
    return made


def of_plane(header: Any, plane: DicomPlane, first: DicomPlane, distance: float) -> Any:
    """Return the header of one plane as if it lay in a file of its own; `distance` of its slices in mm."""
    import pydicom

    made = pydicom.Dataset()
    kept = (*REQUIRED, *_OPTIONAL, *_UIDS, "SpecificCharacterSet", "FrameOfReferenceUID", "Modality", "SeriesNumber")
    for keyword in (*kept, "SliceThickness"):
        if header.get(keyword) is not None:
            setattr(made, keyword, header.get(keyword))
    made.Rows, made.Columns = plane.head.shape[:2]
    if plane.position is not None and first.orientation is not None:
        # One orientation for all: scanners let it jitter in the last digit.
        made.ImageOrientationPatient = [_decimal(value) for value in first.orientation]
        made.ImagePositionPatient = [_decimal(value) for value in plane.position]
    made.PixelSpacing = [_decimal(value) for value in first.spacing or (1.0, 1.0)]
    if "SliceThickness" not in made:
        made.SliceThickness = _decimal(distance)
    return made


def _take_identity(path: Path, file: Path, found: Any, made: Any) -> None:
    for keyword in (*REQUIRED, *_OPTIONAL):
        value = repaired(keyword, text_of(found, keyword))
        if value or keyword in REQUIRED:
            setattr(made, keyword, value)
    if made.get("PatientIdentityRemoved") == "YES" and not made.get("DeidentificationMethod"):
        made.DeidentificationMethod = "not said"
    meta = getattr(found, "file_meta", {})
    spare = {"SOPInstanceUID": "MediaStorageSOPInstanceUID", "SOPClassUID": "MediaStorageSOPClassUID"}
    for keyword in _UIDS:
        value = text_of(found, keyword) or str(meta.get(spare.get(keyword, ""), "") or "")
        if not value:
            raise OutputError(
                f"{path.name}: {file.name} of the source series has no {keyword}, which a DICOM object has to refer "
                "to: choose --format nifti, or .nii.gz in napari"
            )
        setattr(made, keyword, value)


def _without_text(found: Any) -> Any:
    """Return a multi-frame header without what is repaired by itself."""
    import pydicom

    gone = {pydicom.tag.Tag(keyword) for keyword in (*REQUIRED, *_OPTIONAL)}
    made = pydicom.Dataset()
    # A header iterates over its elements, not its tags; an element that cannot be decoded must not stop the others.
    for tag in sorted(found.keys()):
        # Patient and study: taken over one by one. Nested text keeps its bytes and would be wrong in UTF-8.
        if tag not in gone and tag.group not in (0x0010, 0x0032, 0x0040) and not tag.is_private:
            with suppress(Exception):
                made[tag] = found[tag]
    return made


def _decimal(value: float) -> str:
    """Return a number as a decimal string of at most 16 characters."""
    from pydicom.valuerep import format_number_as_ds

    return format_number_as_ds(float(value) + 0.0)


def _whole(text: str) -> int:
    with suppress(ValueError, OverflowError):
        return min(abs(int(float(text))), 2**30)
    return 0


def _number(text: str) -> str:
    with suppress(ValueError, OverflowError):
        value = float(text)
        return _decimal(value) if np.isfinite(value) else ""
    return ""


def _date(text: str) -> str:
    match = re.fullmatch(r"(\d{4})\D?(\d{2})\D?(\d{2})(?:\D.*)?", text)
    with suppress(ValueError):
        return datetime.strptime("".join(match.groups()), "%Y%m%d").strftime("%Y%m%d") if match else ""
    return ""


def _time(text: str) -> str:
    match = re.fullmatch(r"(\d{2}):?(\d{2})?:?(\d{2})?(?:\.(\d{1,6})\d*)?", text)
    if match is None or int(match[1]) > 23 or int(match[2] or 0) > 59 or int(match[3] or 0) > 59:
        return ""
    return "".join(part or "" for part in match.groups()[:3]) + (f".{match[4]}" if match[3] and match[4] else "")


def _age(text: str) -> str:
    match = re.fullmatch(r"(\d{1,3})\s*([DWMY])", text.upper())
    return f"{int(match[1]):03d}{match[2]}" if match else ""
