"""Files that are whole or not there: written beside, brought to the disk, then renamed."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from napari_unet_tumour.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


@contextmanager
def atomic_path(path: Path, sync: bool = True) -> Iterator[Path]:
    """Give a path to write to; on success it becomes `path`, on any failure nothing is left; raises OSError.

    Parameters
    ----------
    path : Path
        Its folder must be there.
    sync : bool
        Wait until the disk has the content: else a power cut may leave an empty file under the new name.
    """
    part = path.with_name(f".{os.getpid()}-{time.monotonic_ns()}-{path.name}")
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
    """Make the folder if need be and do as `beside`; raises OutputError, which ends in the remedy, for OSError."""
    with _as_output_error(path, remedy):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as part:
            yield part


def write_bytes_atomic(path: Path, data: bytes | memoryview, remedy: str) -> None:
    """Write a file whole or not at all into a folder that is there; raises OutputError as `atomic` does."""
    with _as_output_error(path, remedy), atomic_path(path) as part:
        part.write_bytes(data)


@contextmanager
def _as_output_error(path: Path, remedy: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror or error}): {remedy}") from error


def fsync_dir(folder: Path) -> None:
    """Wait until the disk has the names in a folder, where the system can (Windows cannot)."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove_stale_temp(folder: Path, targets: Sequence[Path]) -> None:
    """Remove what `beside` left of some files of a folder when its process was killed."""
    import psutil  # type: ignore[import-untyped]

    names = {path.name for path in targets if path.parent == folder}
    for part in folder.glob(".*-*-*"):
        process, _, name = part.name[1:].split("-", 2)
        if name in names and process.isdigit() and not psutil.pid_exists(int(process)):
            with suppress(OSError):
                part.unlink()
