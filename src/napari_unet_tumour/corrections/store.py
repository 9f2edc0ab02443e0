"""The corrections on disk: one folder per scan, one small file per slice, each written beside and then renamed.

A process that dies, or a power cut, at any moment leaves whole files: the last ones, or those before.
"""

from __future__ import annotations

import io
import shutil
import time
import zipfile
import zlib
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from napari_unet_tumour.base.atomic_write import atomic_path, fsync_dir
from napari_unet_tumour.corrections.holdout import HELD_OUT
from napari_unet_tumour.corrections.record import Record, record_from_json
from napari_unet_tumour.corrections.reviewed import ReviewedSlice
from napari_unet_tumour.errors import OutputError
from napari_unet_tumour.settings import WHOLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

ABOUT = "record.json"
MOST_REPLAYED = 64
LOCK_S = 5.0


class Store:
    """The corrections in a folder.

    Parameters
    ----------
    root : pathlib.Path
        It may not exist yet; `models.registry.data_dir() / "corrections"` for the person's own.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextmanager
    def locked(self, scan: str) -> Iterator[None]:
        """Keep other windows, and other programs, from writing a scan's corrections meanwhile; raises OutputError."""
        lock = self._lock(scan, FileLock)
        try:
            try:
                lock.acquire()
            except NotImplementedError:  # a file system without locks, as some network drives are
                lock = self._lock(scan, SoftFileLock)
                lock.acquire()
        except Timeout as error:
            raise OutputError(
                "Corrections are not on disk (another window is writing them): wait, they are saved soon"
            ) from error
        except OSError as error:
            raise OutputError(_unsaved(error)) from error
        try:
            yield
        finally:
            lock.release()

    def _lock(self, scan: str, kind: type[BaseFileLock]) -> BaseFileLock:
        with suppress(OSError):  # acquiring it says what is wrong with a file in the folder's place
            self.root.mkdir(parents=True, exist_ok=True)
        return kind(self.root / f".{scan}.lock", timeout=LOCK_S)

    def load(self, scan: str) -> Record | None:
        """Return what is known of a scan; None where nothing, or nothing readable, is there."""
        try:
            return record_from_json((self.root / scan / ABOUT).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def save(self, record: Record) -> None:
        """Write a record; raises OutputError when the disk is full or the folder cannot be written."""
        record.changed = time.time()
        self._write(record.scan, ABOUT, record.to_json().encode())

    def save_mask(self, scan: str, plane: int, mask: NDArray[np.uint8], sync: bool = True) -> None:
        """Write the mask (H, W) uint8 of a slice; `sync` as in `base.atomic_write.atomic_path`; raises OutputError."""
        self._write(scan, _name("mask", plane), _npz_bytes(mask), sync)

    def save_image(self, scan: str, plane: int, image: NDArray[Any]) -> None:
        """Write the raw grey values (C, H, W) of a slice, once; raises OutputError."""
        name = _name("image", plane)
        if not (self.root / scan / name).exists():
            self._write(scan, name, _npz_bytes(image))

    def has_mask(self, scan: str, plane: int) -> bool:
        """Tell whether the mask of a slice is there."""
        return (self.root / scan / _name("mask", plane)).exists()

    def has_image(self, scan: str, plane: int) -> bool:
        """Tell whether the image of a slice is there."""
        return (self.root / scan / _name("image", plane)).exists()

    def keep_beside(self, scan: str, plane: int, mask: NDArray[Any]) -> None:
        """Write a mask that another window made of a slice beside this window's; raises OutputError."""
        self._write(scan, f"other-{plane:05d}-{zlib.crc32(mask.tobytes()):08x}.npz", _npz_bytes(mask))

    def settle(self, scan: str) -> None:
        """Wait until the disk knows all files of a scan by name: then a power cut costs none of them."""
        fsync_dir(self.root / scan)
        fsync_dir(self.root)

    def mask(self, scan: str, plane: int) -> NDArray[np.uint8] | None:
        """Return the mask (H, W) uint8 of a slice, None where none was written."""
        return self._read(scan, _name("mask", plane))

    def masks(self, scan: str) -> dict[int, NDArray[np.uint8]]:
        """Return the masks (H, W) uint8 of all slices that have one."""
        found = {n: self.mask(scan, n) for n in self._planes(scan)}
        return {n: mask for n, mask in found.items() if mask is not None}

    def records(self) -> list[Record]:
        """Return what is known of every scan with reviewed slices, the newest first."""
        return [one for one in self.every() if one.reviewed]

    def every(self) -> list[Record]:
        """Return what is known of every scan, reviewed or not, the newest first: a slice has its role for good."""
        names = [path.parent.name for path in self.root.glob(f"*/{ABOUT}")]
        found = [record for name in names if (record := self.load(name)) is not None and record.scan == name]
        return sorted(found, key=lambda one: -one.changed)

    def delete(self, scan: str) -> None:
        """Delete a scan's corrections for good; raises OutputError."""
        # Another layer with the same pixels has a folder of its own, with a number behind a dash.
        for folder in (self.root / scan, *self.root.glob(f"{scan}.*")):
            try:
                if folder.is_dir():
                    shutil.rmtree(folder)
            except OSError as error:
                raise OutputError(
                    f"{folder} cannot be removed ({error.strerror}): close what has it open, and try again"
                ) from error

    def set_aside(self, scan: str) -> None:
        """Keep a copy of a scan's corrections as they are, before they are begun anew; raises OutputError."""
        folder = self.root / scan
        try:
            if folder.is_dir():
                shutil.copytree(folder, self.root / f"{scan}.{time.time_ns()}")
        except (OSError, shutil.Error) as error:
            raise OutputError(_unsaved(error)) from error

    def clear(self, scan: str) -> None:
        """Remove the masks of a scan that is begun anew; its record stays, since roles are for good."""
        for path in (self.root / scan).glob("mask-*.npz"):
            with suppress(OSError):
                path.unlink()

    def corrections(self, scan: str) -> list[ReviewedSlice]:
        """Return the reviewed slices of a scan."""
        record = self.load(scan)
        return [] if record is None else list(filter(None, (self._correction(record, n) for n in record.reviewed)))

    def replay(self, but: Sequence[str] = (), part: str = WHOLE) -> list[ReviewedSlice]:
        """Return reviewed slices of the newest scans, at most `MOST_REPLAYED`, apart from those named.

        Only scans whose masks show this part of the tumour count.
        """
        found: list[ReviewedSlice] = []
        for record in self.records():
            if record.scan not in but and record.part == part and len(found) < MOST_REPLAYED:
                found += self.corrections(record.scan)
        return found[:MOST_REPLAYED]

    def _correction(self, record: Record, plane: int) -> ReviewedSlice | None:
        image, mask = self._read(record.scan, _name("image", plane)), self.mask(record.scan, plane)
        if image is None or mask is None or image.shape[1:] != mask.shape:
            return None
        return ReviewedSlice(record.scan, plane, image, mask, record.roles.get(plane) == HELD_OUT, record.person)

    def _planes(self, scan: str) -> list[int]:
        return sorted(int(path.stem.rpartition("-")[2]) for path in (self.root / scan).glob("mask-*.npz"))

    def _read(self, scan: str, name: str) -> NDArray[Any] | None:
        try:
            data = io.BytesIO((self.root / scan / name).read_bytes())
            with np.load(data, allow_pickle=False) as found:
                array: NDArray[Any] = found["a"]
                return array
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None

    def _write(self, scan: str, name: str, data: bytes, sync: bool = True) -> None:
        target = self.root / scan / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(target, sync) as part:
                part.write_bytes(data)
        except OSError as error:
            raise OutputError(_unsaved(error)) from error


def _name(what: str, plane: int) -> str:
    return f"{what}-{plane:05d}.npz"


def _npz_bytes(array: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, a=array)
    return file.getvalue()


def _unsaved(error: OSError | shutil.Error) -> str:
    why = getattr(error, "strerror", None) or "the folder cannot be copied"
    return f"Corrections are not on disk ({why}): free some space; painting goes on and is saved as soon as it can be"
