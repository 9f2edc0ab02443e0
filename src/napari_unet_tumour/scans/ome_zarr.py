"""OME-Zarr and plain zarr arrays <-> Scan; the pixels stay on disk."""

from __future__ import annotations

import math
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.base.atomic_write import temporary
from napari_unet_tumour.errors import OutputError, ScanError
from napari_unet_tumour.scans.checks import damaged
from napari_unet_tumour.scans.scan import Scan

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_unet_tumour.scans.scan import Scan as AnyScan

_TO_MM = {"nanometer": 1e-6, "micrometer": 1e-3, "millimeter": 1.0, "centimeter": 10.0, "meter": 1e3}
_CHUNK = 768


def read_zarr(path: Path) -> Scan:
    """Open a zarr array, or the largest image of an OME-Zarr group (0.4 and 0.5); nothing is read yet.

    Axes of length 1 other than rows and columns are dropped.

    Raises
    ------
    ScanError
        It is no zarr, or holds no image that is known here.
    """
    import dask.array as da
    import zarr

    try:
        node = zarr.open(str(path), mode="r")
    except Exception as error:
        raise ScanError(f"{path.name} is no zarr array or OME-Zarr image: check the path") from error
    about: dict[str, Any] = {}
    if isinstance(node, zarr.Group):
        about = _image(path, dict(node.attrs))
        node = _level(path, node, about)
    letters, steps, units = _axes(path, node, about)
    keep = [i for i, letter in enumerate(letters) if letter in "yx" or node.shape[i] > 1]
    array: Any = node
    if len(keep) < node.ndim:
        first = tuple(slice(None) if i in keep else 0 for i in range(node.ndim))
        array = da.from_zarr(node)[first]  # type: ignore[no-untyped-call]
    axes = "".join(letters[i] for i in keep)
    space = [steps[i] for i in keep if letters[i] in "zyx"]
    affine = np.diag([*space, 1.0]) if units == "mm" else None
    name = path.name.removesuffix(".zarr").removesuffix(".ome")
    return Scan(array, axes, affine, units if affine is not None else "pixel", name, str(path))


def _image(path: Path, attributes: dict[str, Any]) -> dict[str, Any]:
    found = attributes.get("ome", attributes).get("multiscales") or []
    if not found:
        raise ScanError(f"{path.name} is a zarr group without an OME-Zarr image: name the array in it")
    return dict(found[0])


def _level(path: Path, group: Any, about: dict[str, Any]) -> Any:
    try:
        return group[about["datasets"][0]["path"]]
    except (KeyError, IndexError, TypeError) as error:
        raise damaged(path) from error


def _axes(path: Path, array: Any, about: dict[str, Any]) -> tuple[str, list[float], str]:
    """Return a letter and a step an axis, and "mm" or "pixel"."""
    if not about:
        if not 2 <= array.ndim <= 4:
            raise ScanError(f"{path.name} has {array.ndim} axes without names: only 2 to 4 can be opened")
        return "tzyx"[-array.ndim :], [1.0] * array.ndim, "pixel"
    try:
        axes = [one if isinstance(one, dict) else {"name": one} for one in about["axes"]]
        letters = "".join(str(one["name"]).lower() for one in axes)
        scale = about["datasets"][0].get("coordinateTransformations", [{}])[0].get("scale", [1.0] * len(axes))
        factors = [_TO_MM.get(str(one.get("unit", "")), 0.0) for one in axes]
    except (KeyError, IndexError, TypeError) as error:
        raise damaged(path) from error
    if len(letters) != array.ndim or set(letters) - set("tczyx") or len(set(letters)) != len(letters):
        raise ScanError(f"{path.name} has axes {letters!r} of {array.shape}: at most t, c, z, y and x can be opened")
    known = all(factors[i] for i, letter in enumerate(letters) if letter in "zyx")
    steps = [float(s) * (f if known and f else 1.0) for s, f in zip(scale, factors, strict=True)]
    return letters, steps, "mm" if known else "pixel"


def write_zarr(path: Path, mask: NDArray[Any], scan: AnyScan, labels: Sequence[str] = ()) -> None:
    """Write an array on the scan's grid as an OME-Zarr 0.5 image of one level."""
    with create_zarr(path, scan, mask.shape, mask.dtype, labels) as array:
        array[...] = mask


@contextmanager
def create_zarr(
    path: Path, scan: AnyScan, shape: Sequence[int], dtype: Any, labels: Sequence[str] = (), side: int = _CHUNK
) -> Iterator[Any]:
    """Give a zarr array to fill; on success it becomes the OME-Zarr image `path`, on any failure nothing is left.

    Parameters
    ----------
    side : int
        Side of a chunk along rows and columns; one plane along any other axis.

    Raises
    ------
    OutputError
        The folder or disk does not take it.
    """
    beside = temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield _new(beside, scan, shape, dtype, labels, side)
        if path.exists():
            shutil.rmtree(path)
        beside.replace(path)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written ({error.strerror or error}): choose another folder or free some space"
        ) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _new(place: Path, scan: AnyScan, shape: Sequence[int], dtype: Any, labels: Sequence[str], side: int) -> Any:
    import zarr

    axes = scan.axes.replace("c", "")
    chunks = chunks_of(shape, axes, side)
    group = zarr.create_group(str(place), zarr_format=3)
    group.attrs["ome"] = {"version": "0.5", "multiscales": [_metadata(scan, axes)]}
    group.attrs["labels"] = list(labels)
    return group.create_array("0", shape=tuple(shape), dtype=dtype, chunks=chunks, dimension_names=list(axes))


def chunks_of(shape: Sequence[int], axes: str, side: int = _CHUNK) -> tuple[int, ...]:
    """Return chunks of one plane, or of `side` along a long one."""
    return tuple(min(side, n) if letter in "yx" else 1 for n, letter in zip(shape, axes, strict=True))


def _metadata(scan: AnyScan, axes: str) -> dict[str, Any]:
    steps = dict(zip((a for a in scan.axes if a in "zyx"), scan.spacing, strict=True))
    unit = {"unit": "millimeter"} if scan.units == "mm" else {}
    named = [{"name": a, "type": "time"} if a == "t" else {"name": a, "type": "space", **unit} for a in axes]
    scale = [steps.get(a, 1.0) for a in axes]
    assert all(math.isfinite(step) for step in scale)
    place = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": scale}]}]
    return {"name": scan.name, "axes": named, "datasets": place}
