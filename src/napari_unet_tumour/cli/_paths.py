"""Which files come in, and where the results go: nothing is overwritten that is not ours, refused before any work."""

from __future__ import annotations

import glob
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from napari_unet_tumour import scans
from napari_unet_tumour.api.pairs import scans_in, stem
from napari_unet_tumour.base.atomic_write import write_bytes_atomic
from napari_unet_tumour.errors import OutputError, ScanError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SUFFIXES = {"nifti": ".nii.gz", "png": ".png", "tiff": ".tif", "dicom-seg": ".dcm", "zarr": ".zarr"}
SAME = {".png": ".png", ".jpg": ".png", ".jpeg": ".png", ".tif": ".tif", ".tiff": ".tif", ".zarr": ".zarr"}
DICOM = (".dcm", ".dicom", ".ima")
OURS = ("_mask", "_probability")


def expand(words: Sequence[str]) -> list[Path]:
    """Turn files, folders and patterns into files, each once.

    A folder stands for all scans right in it, without the results of an earlier run; the DICOM files in
    it are one scan, the folder itself, and so is a folder where no suffix is known.
    """
    found: dict[Path, Path] = {}
    for word in words:
        for path in _expand(word):
            found.setdefault(path.resolve(), path)
    return list(found.values())


def targets(paths: Sequence[Path], out: Path, suffix: Callable[[Path], str]) -> dict[Path, Path]:
    """Choose a file in `out` for the mask of every scan, all different: STEM_mask.ext.

    Equal stems get the name of their folder in front, and a number where that does not help.
    """
    plain = [(stem(path), suffix(path)) for path in paths]
    chosen: dict[Path, Path] = {}
    taken: set[str] = set()
    for path, (name, ending) in zip(paths, plain, strict=True):
        if plain.count((name, ending)) > 1:
            name = f"{path.resolve().parent.name}_{name}"
        numbers = ("", *(f"_{n}" for n in range(2, len(paths) + 2)))
        tries = (f"{name}{number}_mask{ending}" for number in numbers)
        free = next(one for one in tries if one.casefold() not in taken)
        taken.add(free.casefold())
        chosen[path] = out / free
    return chosen


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
    plain = [path for path in files if scans.suffix_of(path) not in DICOM]
    return _without_ours(plain) + ([folder] if len(plain) < len(files) else [])


def _without_ours(paths: list[Path]) -> list[Path]:
    stems = {stem(path) for path in paths}
    return [path for path in paths if not any(stem(path).endswith(o) and stem(path)[: -len(o)] in stems for o in OURS)]
