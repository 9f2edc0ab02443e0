"""Masks too large for memory: an array on disk to fill part by part, then a file of the wanted kind."""

from __future__ import annotations

import math
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.errors import OutputError
from napari_unet_tumour.scans import nifti, ome_zarr, pictures

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from napari_unet_tumour.scans.scan import Scan

TILE = 512
KINDS = (".zarr", ".tif", ".tiff", ".nii", ".nii.gz")


@contextmanager
def mask_on_disk(path: Path, scan: Scan, labels: Sequence[str], side: int) -> Iterator[Any]:
    """Give an array for the mask of a scan, uint8 zeros; when it is filled it becomes the file `path`.

    Parameters
    ----------
    path : Path
        .zarr, .tif, .nii or .nii.gz; raises OutputError for any other suffix.
    side : int
        Side of the parts in which it is filled, for the chunks on disk.
    """
    shape = tuple(n for n, letter in zip(scan.array.shape, scan.axes, strict=True) if letter != "c")
    suffix = ".nii.gz" if path.name.lower().endswith(".nii.gz") else path.suffix.lower()
    if suffix not in KINDS:
        raise OutputError(f"{path.name}: the mask is too large for this format, choose --format zarr, tiff or nifti")
    if suffix == ".zarr":
        with ome_zarr.create_zarr(path, scan, shape, np.uint8, labels, side) as array:
            yield array
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(dir=path.parent, prefix=".")
    except OSError as error:
        raise OutputError(f"{path.parent} cannot be written ({error.strerror}): choose another folder") from error
    with folder as name:
        if suffix in (".tif", ".tiff"):
            yield from _through_zarr(path, scan, shape, Path(name), side)
        else:
            yield from _through_map(path, scan, shape, labels, Path(name))


def _through_zarr(path: Path, scan: Scan, shape: tuple[int, ...], folder: Path, side: int) -> Iterator[Any]:
    with ome_zarr.create_zarr(folder / "mask.zarr", scan, shape, np.uint8, (), side) as array:
        yield array
        pictures.write_tiles(path, _tiles(array), shape, scan, TILE)


def _through_map(
    path: Path, scan: Scan, shape: tuple[int, ...], labels: Sequence[str], folder: Path
) -> Iterator[NDArray[np.uint8]]:
    array = np.lib.format.open_memmap(folder / "mask.npy", mode="w+", dtype=np.uint8, shape=shape)
    yield array
    nifti.write_nifti(path, array, scan, labels)


def _tiles(array: Any) -> Iterator[NDArray[np.uint8]]:
    """Yield the tiles of every plane, row by row, each filled up to its full size; a row of tiles is read at once."""
    height, width = array.shape[-2:]
    for n in range(math.prod(array.shape[:-2])):
        at = tuple(int(i) for i in np.unravel_index(n, array.shape[:-2])) if array.ndim > 2 else ()
        for top in range(0, height, TILE):
            strip = np.asarray(array[(*at, slice(top, min(top + TILE, height)))])
            strip = np.pad(strip, ((0, TILE - len(strip)), (0, -width % TILE)))
            yield from (np.ascontiguousarray(strip[:, left : left + TILE]) for left in range(0, width, TILE))
