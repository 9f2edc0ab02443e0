"""Which files come in, and where the results go: nothing is overwritten that is not ours, refused before any work."""

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
from napari_unet_tumour.api.result_index import Written, name_key
from napari_unet_tumour.base.atomic_write import shortened, write_bytes_atomic
from napari_unet_tumour.errors import OutputError, ScanError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

SUFFIXES = {
    "nifti": ".nii.gz", "png": ".png", "tiff": ".tif", "dicom-seg": ".dcm", "dicom-labelmap": ".labelmap.dcm",
    "rtstruct": ".rtstruct.dcm", "zarr": ".zarr",
}  # fmt: skip
SAME = {".png": ".png", ".jpg": ".png", ".jpeg": ".png", ".tif": ".tif", ".tiff": ".tif", ".zarr": ".zarr"}
DICOM = (".dcm", ".dicom", ".ima", ".labelmap.dcm", ".rtstruct.dcm")
OURS = ("_mask", "_probability")


def expand(words: Sequence[str]) -> list[Path]:
    """Turn files, folders and patterns into files, each once.

    A folder stands for all scans right in it, without the results of an earlier run; the DICOM files in
    it are one scan, the folder itself, and so is a folder where no suffix is known.
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
    """Choose a file in `out` for the mask of every scan, all different: STEM_mask.ext.

    The names do not depend on the order of the scans. Scans of equal names get those of their folders in front, as
    many as tell them apart; equal names in one folder get their own suffix.

    Parameters
    ----------
    paths : sequence of pathlib.Path
        The scans.
    out : pathlib.Path
        The folder.
    suffix : callable
        Scan -> suffix of its mask.
    owners : mapping, optional
        The real path of the scan by the name of a result that lies in `out` already: a scan keeps the name that it
        has, and none gets that of another's.
    """
    owners = owners or {}
    limit = _longest_name(out)
    chosen = {path: name for path in paths if (name := _earlier(path, suffix(path), owners))}
    taken = {name_key(name) for name in owners}
    left = [_Name(path, suffix(path), limit) for path in paths if path not in chosen]
    while clashing := _clashing(left, taken):
        # First all rivals, then all names: else the order of the scans would matter.
        rivals = [[other for other in clashing if other is not one and other.key == one.key] for one in clashing]
        for one, others in zip(clashing, rivals, strict=True):
            one.lengthen(others)
    chosen |= {name.path: name.text for name in left}
    return {path: out / chosen[path] for path in paths}


class _Name:
    """The name of a scan's mask, made longer until no other one has it."""

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
    """Return the name that a scan's mask of this kind has already, or ""."""
    here = os.path.realpath(path)
    ours = sorted(name for name, scan in owners.items() if scan == here and name.endswith(f"_mask{ending}"))
    return ours[0] if ours else ""


def _longest_name(folder: Path) -> int:
    try:
        return min(os.pathconf(folder, "PC_NAME_MAX"), 255)
    except (AttributeError, OSError, ValueError):
        return 255


def suffix_for(wanted: str | None) -> Callable[[Path], str]:
    """Return the function scan -> suffix of its mask; the kind of the scan itself when no format is asked for."""
    if wanted is not None and SUFFIXES[wanted] not in scans.WRITERS:
        raise OutputError(f"{wanted} needs a writer that this version does not have: choose --format nifti")

    def suffix(path: Path) -> str:
        if wanted is not None:
            return SUFFIXES[wanted]
        kind = scans.suffix_of(path)
        return SAME.get(kind, ".nii.gz")

    return suffix


def ready_folder(text: str | Path) -> Path:
    """Make a folder if need be and prove that it can be written; raises OutputError."""
    folder = Path(text).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix="."):
            return folder
    except OSError as error:
        raise OutputError(f"{folder} cannot be written ({error.strerror}): choose another --out") from error


def ready_file(text: str | None) -> Path | None:
    """Prove that a file can be written, before any work; raises OutputError."""
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
        path = Path(os.path.abspath(path))  # "." has no name that its mask could have
    if path.is_dir() and scans.suffix_of(path) != ".zarr":
        return _in_folder(path)
    if not path.exists() and glob.has_magic(word):
        fitting = sorted(Path(one) for one in glob.glob(str(path), recursive=True))
        if not fitting:
            raise ScanError(f"no file fits '{word}': check the pattern")
        return fitting
    return [path]


def _in_folder(folder: Path) -> list[Path]:
    """Return what a folder stands for; DICOM files in it are one scan, the folder itself."""
    try:
        files = scans_in(folder)
    except ScanError:
        return [folder]
    results = Written(folder).owners().keys()
    plain = [path for path in files if scans.suffix_of(path) not in DICOM and path.name not in results]
    scan = any(scans.suffix_of(path) in DICOM and path.name not in results for path in files)
    return _without_ours(plain) + ([folder] if scan or not plain else [])


def _without_ours(paths: list[Path]) -> list[Path]:
    stems = {stem(path) for path in paths}
    return [path for path in paths if not any(stem(path).endswith(o) and stem(path)[: -len(o)] in stems for o in OURS)]
