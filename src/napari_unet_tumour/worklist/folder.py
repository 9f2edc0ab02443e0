"""Which scans lie in a folder and below it, by their names alone: no pixel is read."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_unet_tumour import scans
from napari_unet_tumour.base.labels import MASK_NAMES
from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.scans.dicom.files import SUFFIXES, is_dicom_file

if TYPE_CHECKING:
    from collections.abc import Iterator

DEEPEST = 8
_MASK_FOLDERS = re.compile(r"masks?|segs?|segmentations?|labels?|labels(?:Tr|Ts)|truth", re.IGNORECASE)


@dataclass(frozen=True)
class FoundCase:
    """A scan in a folder.

    Parameters
    ----------
    key : str
        Its path below the folder, with "/" on every system; "." for the folder itself.
    path : pathlib.Path
        Its file; of DICOM the folder of its slices.
    """

    key: str
    path: Path


def find_cases(folder: str | Path) -> list[FoundCase]:
    """Find the scans in a folder and below it, sorted by path.

    Each file of a known suffix is a case, but for masks (by the names of the file or of its folder). The DICOM files of
    one folder are one case, the folder. What is hidden is left out, and so is a folder below that cannot be read.

    Raises
    ------
    ScanError
        The folder cannot be read, or holds no scan.
    """
    root = Path(folder).expanduser()
    try:
        os.scandir(root).close()
    except OSError as error:
        raise ScanError(f"{root} cannot be read as a folder ({error.strerror}): check the path") from error
    found = [FoundCase(path.relative_to(root).as_posix(), path) for path in _cases(root, set(), 0)]
    if not found:
        known = ", ".join(scans.READERS)
        raise ScanError(f"{root} holds no scan ({known}), nor does a folder in it: choose another folder")
    return sorted(found, key=lambda case: case.key)


def _cases(folder: Path, seen: set[str], depth: int) -> Iterator[Path]:
    real = os.path.realpath(folder)
    if real in seen or depth > DEEPEST:
        return
    seen.add(real)
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError:
        return
    files = []
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir() and _MASK_FOLDERS.fullmatch(entry.name):
            continue
        if entry.is_dir() and scans.suffix_of(entry.name) != ".zarr":
            yield from _cases(folder / entry.name, seen, depth + 1)
        elif not MASK_NAMES.search(entry.name):
            files.append(folder / entry.name)
    yield from (path for path in files if _is_case(path))
    if _has_dicom(files):
        yield folder


def _is_case(path: Path) -> bool:
    suffix = scans.suffix_of(path)
    return suffix in scans.READERS and suffix not in SUFFIXES and not suffix.endswith(".dcm")


def _has_dicom(files: list[Path]) -> bool:
    """Whether DICOM files are among these; of those without a known suffix the first few say it."""
    if any(scans.suffix_of(path) in SUFFIXES for path in files):
        return True
    unknown = [path for path in files if scans.suffix_of(path) not in scans.READERS]
    return any(is_dicom_file(path) for path in unknown[:3])
