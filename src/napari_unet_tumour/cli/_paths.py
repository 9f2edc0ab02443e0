"""Input files and output names. Nothing but our own results is overwritten, and that is checked before any work."""

from __future__ import annotations

import glob
import hashlib
import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from napari_unet_tumour import scans
from napari_unet_tumour.api.pairs import scans_in, stem
from napari_unet_tumour.api.result_index import ResultIndex, name_key
from napari_unet_tumour.base.atomic_write import shortened, write_bytes_atomic
from napari_unet_tumour.errors import OutputError, ScanError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

SUFFIXES = {
    "nifti": ".nii.gz", "png": ".png", "tiff": ".tif", "dicom-seg": ".dcm", "dicom-labelmap": ".labelmap.dcm",
    "rtstruct": ".rtstruct.dcm", "zarr": ".zarr",
}  # fmt: skip
DICOM = (".dcm", ".dicom", ".ima", ".labelmap.dcm", ".rtstruct.dcm")
OURS = ("_mask", "_probability")


def expand(words: Sequence[str]) -> list[Path]:
    """Return the scans that files, folders and patterns stand for, each once.

    A folder stands for all scans directly in it, without the results of earlier runs. Its DICOM files are one scan,
    the folder itself; so is a folder without any known suffix.
    """
    found: dict[Path, Path] = {}
    for word in words:
        for path in _expand(word):
            real = path.resolve()
            found[real] = min(found.get(real, path), path)  # of several links to a scan the same one in any order
    return list(found.values())


def targets(
    paths: Sequence[Path], out: Path, suffix: Callable[[Path], str], owners: Mapping[str, str] | None = None
) -> dict[Path, Path]:
    """Choose a different file in `out` for the mask of every scan: STEM_mask.ext.

    The names do not depend on the order of the scans. Scans with equal names are prefixed with the names of their
    folders, as many as needed; equal names in one folder get their own suffix.

    Parameters
    ----------
    paths : sequence of pathlib.Path
        The scans.
    out : pathlib.Path
        The folder.
    suffix : callable
        Scan -> suffix of its mask.
    owners : mapping, optional
        Name of an existing result in `out` -> real path of its scan. A scan keeps its name, and no other scan gets it.
    """
    owners = owners or {}
    limit = _longest_name(out)
    chosen = {path: name for path in paths if (name := _earlier(path, suffix(path), owners))}
    taken = {name_key(name) for name in owners}
    left = [_Name(path, suffix(path), limit) for path in paths if path not in chosen]
    while clashing := _clashing(left, taken):
        # First collect all rivals, then change the names: otherwise the order of the scans would matter.
        rivals = [[other for other in clashing if other is not one and other.key == one.key] for one in clashing]
        for one, others in zip(clashing, rivals, strict=True):
            one.lengthen(others)
    chosen |= {name.path: name.text for name in left}
    return {path: out / chosen[path] for path in paths}


class _Name:
    """The name of a scan's mask; it is lengthened until it is unique."""

    def __init__(self, path: Path, ending: str, limit: int) -> None:
        self.path = path
        self._ending, self._limit = ending, limit
        where = Path(os.path.abspath(path))
        self._words, self._folders = [stem(where) or "scan"], list(where.parts[1:-1])
        self._suffix = scans.suffix_of(where).strip(".").replace(".", "-") if where.is_file() else ""
        self._hashed = False

    @property
    def text(self) -> str:
        start = "_".join(self._words)
        if self._hashed:
            start += "_" + hashlib.blake2b(os.path.abspath(self.path).encode(), digest_size=4).hexdigest()
        return shortened(start, f"_mask{self._ending}", self._limit)

    @property
    def key(self) -> str:
        return name_key(self.text)

    def lengthen(self, rivals: Sequence[_Name]) -> None:
        together = any(one.path.resolve().parent == self.path.resolve().parent for one in rivals)
        if together and self._suffix:
            self._words, self._suffix = [*self._words, self._suffix], ""
        elif self._folders:
            self._words.insert(0, self._folders.pop())
        else:
            self._hashed = True


def _clashing(names: Sequence[_Name], taken: AbstractSet[str]) -> list[_Name]:
    count = Counter(name.key for name in names)
    return [name for name in names if count[name.key] > 1 or name.key in taken]


def _earlier(path: Path, ending: str, owners: Mapping[str, str]) -> str:
    """Return the name of an earlier mask of a scan with this ending, or ""."""
    here = os.path.realpath(path)
    ours = sorted(name for name, scan in owners.items() if scan == here and name.endswith(f"_mask{ending}"))
    return ours[0] if ours else ""


def _longest_name(folder: Path) -> int:
    try:
        return min(os.pathconf(folder, "PC_NAME_MAX"), 255)
    except (AttributeError, OSError, ValueError):
        return 255


def suffix_for(wanted: str | None) -> Callable[[Path], str]:
    """Return the function scan -> suffix of its mask; without a wanted format it follows the scan's own format."""
    return scans.suffix_of_mask if wanted is None else lambda path: SUFFIXES[wanted]


def ready_folder(text: str | Path) -> Path:
    """Create a folder if needed and check that it is writable; raises OutputError."""
    folder = Path(text).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix="."):
            return folder
    except OSError as error:
        raise OutputError(f"{folder} cannot be written ({error.strerror}): choose another --out") from error


def ready_file(text: str | None) -> Path | None:
    """Check that a file can be written, before any work; raises OutputError."""
    if text is None:
        return None
    path = Path(text).expanduser()
    if path.is_dir():
        raise OutputError(f"{path} is a folder: give the name of a file")
    ready_folder(path.parent)
    return path


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all; raises OutputError."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; raises OutputError."""
    write_bytes_atomic(path, data, "choose another file")


def _expand(word: str) -> list[Path]:
    path = Path(word).expanduser()
    if path.name in ("", ".."):
        path = Path(os.path.abspath(path))  # "." has no name to derive that of its mask from
    if path.is_dir() and scans.suffix_of(path) != ".zarr":
        return _in_folder(path)
    if not path.exists() and glob.has_magic(word):
        fitting = sorted(Path(one) for one in glob.glob(str(path), recursive=True))
        if not fitting:
            raise ScanError(f"no file fits '{word}': check the pattern")
        return fitting
    return [path]


def _in_folder(folder: Path) -> list[Path]:
    """Return the scans that a folder stands for; its DICOM files are one scan, the folder itself."""
    try:
        files = scans_in(folder)
    except ScanError:
        return [folder]
    results = ResultIndex(folder).owners().keys()
    plain = [path for path in files if scans.suffix_of(path) not in DICOM and path.name not in results]
    scan = any(scans.suffix_of(path) in DICOM and path.name not in results for path in files)
    return _without_ours(plain) + ([folder] if scan or not plain else [])


def _without_ours(paths: list[Path]) -> list[Path]:
    stems = {stem(path) for path in paths}
    return [path for path in paths if not any(stem(path).endswith(o) and stem(path)[: -len(o)] in stems for o in OURS)]
