"""Whether two scans were measured in one coordinate system, so that one place is one position in both."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_unet_tumour.scans.scan import Scan

# What a NIfTI sform or qform says: "nifti:1" is the scanner's coordinates of a session that is not named, "nifti:2"
# those of another file that is not named; the others are atlases, each one coordinate system for all files.
NIFTI = "nifti:"
ATLASES = (f"{NIFTI}3", f"{NIFTI}4")  # Talairach, MNI 152
SCANNER = f"{NIFTI}1"


class FrameRelation(Enum):
    """How the frames of reference of two scans go together."""

    SAME = "same"
    DIFFERENT = "different"
    UNKNOWN = "unknown"


def nifti_frame(header: Any) -> str:
    """Return the frame of reference that a NIfTI header names, the sform's before the qform's; "" for none."""
    codes = [int(header[name]) for name in ("sform_code", "qform_code")]
    return next((f"{NIFTI}{code}" for code in codes if code > 0), "")


def frame_relation(first: Scan, second: Scan) -> FrameRelation:
    """Tell whether two scans lie in one frame of reference.

    Parameters
    ----------
    first, second : Scan
        Their `frame_of_reference` is compared. Two DICOM series have the same one or not. NIfTI files do not name
        the session that their coordinates are of: unknown, unless they are the same file or lie in atlases.
    """
    if first.source and first.source == second.source:
        return FrameRelation.SAME
    names = first.frame_of_reference, second.frame_of_reference
    if not all(names):
        return FrameRelation.UNKNOWN
    named = [name in ATLASES or not name.startswith(NIFTI) for name in names]
    if all(named):
        return FrameRelation.SAME if names[0] == names[1] else FrameRelation.DIFFERENT
    # The coordinates of a scanner are never those of an atlas.
    apart = SCANNER in names and any(name in ATLASES for name in names)
    return FrameRelation.DIFFERENT if apart else FrameRelation.UNKNOWN
