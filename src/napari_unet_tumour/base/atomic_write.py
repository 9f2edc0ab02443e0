"""Write files whole or not at all: to a temporary name, synced to the disk, then renamed."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from napari_unet_tumour.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Longest name in bytes that is kept in a temporary one: file systems take 255, and a process number and a time precede.
_LONGEST = 200


def temporary(path: Path) -> Path:
    """Return a temporary path in the same folder, with the same suffix."""
    return path.with_name(f".{os.getpid()}-{time.monotonic_ns()}-{_short(path.name)}")


@contextmanager
def atomic_path(path: Path, sync: bool = True) -> Iterator[Path]:
    """Yield a temporary path; on success it becomes `path`, on failure it is removed. Raises OSError.

    Parameters
    ----------
    path : Path
        Its folder must exist.
    sync : bool
        Wait until the disk has the content. Without, a power cut may leave an empty file under the new name.
    """
    part = temporary(path)
    try:
        yield part
        if sync:
            with part.open("rb+") as file:
                os.fsync(file.fileno())
        part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


@contextmanager
def atomic(path: Path, remedy: str = "choose another folder or free some space") -> Iterator[Path]:
    """Create the folder if needed, then as `atomic_path`; an OSError becomes an OutputError that ends in `remedy`."""
    with _as_output_error(path, remedy):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as part:
            yield part


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder; on success it becomes `path`, on failure it is removed.

    Raises
    ------
    OutputError
        `path` is a file or a folder that is not empty, or cannot be written.
    """
    remedy = "choose another folder or free some space"
    if path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise OutputError(f"{path} is in use: give the name of a new folder")
    part = temporary(path)
    with _as_output_error(path, remedy):
        part.mkdir(parents=True)
    try:
        yield part
        with _as_output_error(path, remedy):
            if path.is_dir():
                path.rmdir()  # Windows renames onto no folder, not even an empty one
            part.rename(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_bytes_atomic(path: Path, data: bytes | memoryview, remedy: str) -> None:
    """Write a file whole or not at all into an existing folder; raises OutputError as `atomic` does."""
    with _as_output_error(path, remedy), atomic_path(path) as part:
        part.write_bytes(data)


@contextmanager
def _as_output_error(path: Path, remedy: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror or error}): {remedy}") from error


def fsync_dir(folder: Path) -> None:
    """Wait until the disk has the names in a folder, where the system supports it (Windows does not)."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove_stale_temp(folder: Path, targets: Sequence[Path]) -> None:
    """Remove temporary files of `targets` whose process was killed."""
    import psutil  # type: ignore[import-untyped]

    names = {_short(path.name) for path in targets if path.parent == folder}
    for part in folder.glob(".*-*-*"):
        process, _, name = part.name[1:].split("-", 2)
        if name in names and process.isdigit() and not psutil.pid_exists(int(process)):
            with suppress(OSError):
                part.unlink()


def shortened(start: str, ending: str, most: int = 255) -> str:
    """Return `start` + `ending` as a file name of at most `most` bytes; a long start is cut, and its hash added.

    Parameters
    ----------
    start, ending : str
        The ending is never cut.
    most : int
        Limit of the file system.
    """
    if len((start + ending).encode()) <= most:
        return start + ending
    mark = "-" + hashlib.blake2b(start.encode(), digest_size=4).hexdigest()
    room = max(most - len((mark + ending).encode()), 1)
    return start.encode()[:room].decode(errors="ignore") + mark + ending


def _short(name: str) -> str:
    """Return the name that is part of the temporary one; a long name is replaced by its hash."""
    if len(name.encode()) <= _LONGEST:
        return name
    # Writers choose the format by the suffix; ".nii.gz" is two suffixes.
    suffix = "".join(Path(name).suffixes[-2:])[-24:]
    return hashlib.blake2b(name.encode(), digest_size=8).hexdigest() + suffix
