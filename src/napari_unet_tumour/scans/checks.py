"""Look before reading: what every reader shares."""

from __future__ import annotations

import math
import warnings
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from napari_unet_tumour.errors import DamagedError, ScanError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

# Deflate cannot shrink data by more than about 1032 : 1, so a bigger claim is cut or made up.
_DEFLATE_LIMIT = 1100

_MAGIC = (
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"II*\x00", "TIFF"),
    (0, b"MM\x00*", "TIFF"),
    (0, b"II+\x00", "TIFF"),
    (0, b"MM\x00+", "TIFF"),
    (0, b"\x1f\x8b", "gzip"),
    (128, b"DICM", "DICOM"),
    (344, b"n+1\x00", "NIfTI"),
    (4, b"n+2\x00", "NIfTI"),
    (0, b"\x89HDF\r\n\x1a\n", "HDF5"),
    (512, b"\x89HDF\r\n\x1a\n", "HDF5"),
    (0, b"NRRD", "NRRD"),
    (0, b"MATLAB 5.0", "MATLAB 5"),
    (0, b"PK\x03\x04", "ZIP"),
    (0, b"%PDF", "PDF"),
    (0, b"GIF8", "GIF"),
    (0, b"BM", "BMP"),
)


def kind_of(path: Path) -> str:
    """Name the format that the first bytes of a file show, or ""; raises ScanError when it cannot be read."""
    try:
        with path.open("rb") as file:
            start = file.read(1024)
    except OSError as error:
        raise unreadable(path, error) from error
    if not start:
        raise ScanError(f"{path.name} is empty: get the file again")
    return next((kind for at, magic, kind in _MAGIC if start[at : at + len(magic)] == magic), "")


def expect(path: Path, *kinds: str) -> None:
    """Raise ScanError unless the file's first bytes show one of `kinds`."""
    found = kind_of(path)
    if found and found not in kinds:
        raise ScanError(f"{path.name} holds {found} data, not {kinds[0]}: rename it to the suffix of what it is")
    if not found:
        raise ScanError(f"{path.name} is not a {kinds[0]} file, or its start is damaged: get the file again")


def unreadable(path: Path, error: OSError) -> ScanError:
    """Turn an OSError on reading into words."""
    if isinstance(error, FileNotFoundError):
        return ScanError(f"{path.name} does not exist in {path.parent}: check the path")
    return ScanError(f"{path.name} cannot be read ({error.strerror or error}): check the path and permissions")


def damaged(path: Path) -> DamagedError:
    """Return the error for a file that starts well and cannot be decoded."""
    return DamagedError(f"{path.name} is cut or damaged: get the file again")


@contextmanager
def decoding(path: Path) -> Iterator[None]:
    """Turn whatever a foreign decoder raises or warns of on a bad file into one ScanError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ScanError:
        raise
    except MemoryError as error:
        raise ScanError(f"{path.name} does not fit into memory: crop it, or close other programs") from error
    except Exception as error:
        raise damaged(path) from error


def check_size(path: Path, shape: Sequence[int], itemsize: int, *, compressed: bool = False, held: bool = True) -> None:
    """Raise ScanError for a 0-pixel axis, or for more data than the file or this machine can hold.

    Parameters
    ----------
    path : Path
        The file that claims the shape; its length bounds what can be in it when `compressed` by deflate.
    shape, itemsize
        The array that would be made; `itemsize` in bytes.
    compressed : bool
        Whether the pixels are deflated.
    held : bool
        Whether the array must fit into memory.
    """
    if not shape or min(shape) < 1:
        raise ScanError(f"{path.name} has an axis without pixels {_by(shape)}: choose another file")
    size = math.prod(int(n) for n in shape) * itemsize
    if held and size > memory_limit():
        raise ScanError(
            f"{path.name} claims {_by(shape)} pixels ({size / 2**30:,.1f} GiB), more than this machine can hold: "
            "crop it or get the file again"
        )
    if compressed and path.is_file() and size > _DEFLATE_LIMIT * (path.stat().st_size + 1):
        raise damaged(path)


@cache
def memory_limit() -> int:
    """Return how many bytes one scan may take: 60 % of the machine's memory."""
    import psutil  # type: ignore[import-untyped]

    return int(0.6 * psutil.virtual_memory().total)


def _by(shape: Sequence[int]) -> str:
    return "(" + " x ".join(str(n) for n in shape) + ")"
