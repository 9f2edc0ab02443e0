"""OME-Zarr and plain zarr arrays <-> Scan; the pixels stay on disk."""

from __future__ import annotations

import math
import re
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.base.atomic_write import temporary
from napari_unet_tumour.errors import OutputError, ScanError
from napari_unet_tumour.scans.checks import damaged
from napari_unet_tumour.scans.ome_zarr_metadata import axes_of, has_scale, images_in, multiscale, place_of
from napari_unet_tumour.scans.scan import Scan

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_unet_tumour.scans.scan import Scan as AnyScan

_CHUNK = 768


def find_images(path: Path) -> list[str]:
    """List the images in a zarr by their paths in it; "" is the array or image that the path itself is.

    Raises
    ------
    ScanError
        It is no zarr, or holds no image that is known here.
    """
    import zarr

    node = _opened(path)
    return images_in(path, node) if isinstance(node, zarr.Group) else [""]


def read_zarr(path: Path, image: str | None = None) -> Scan:
    """Open a zarr array, or the largest level of an OME-Zarr image (0.1 to 0.5); nothing is read yet.

    Axes of length 1 other than rows and columns are dropped; those of space come in the order z, y, x.

    Parameters
    ----------
    path : Path
        The array, the image, or a group of images in the bioformats2raw layout.
    image : str, optional
        Which image, as `find_images` lists them; needed where there are several.

    Raises
    ------
    ScanError
        It is no zarr, holds no image that is known here, or several.
    """
    import dask.array as da

    if image is None:
        found = find_images(path)
        if len(found) > 1:
            names = "; ".join(f"{n}: {one}" for n, one in enumerate(found))
            raise ScanError(f"{path.name} holds {len(found)} images ({names}): choose one by its number (--series N)")
        image = found[0]
    node, letters, steps, starts, units = _placed(path, image)
    keep = [i for i, letter in enumerate(letters) if letter in "yx" or node.shape[i] > 1]
    array: Any = node
    if len(keep) < node.ndim:
        first = tuple(slice(None) if i in keep else 0 for i in range(node.ndim))
        array = da.from_zarr(node)[first]  # type: ignore[no-untyped-call]
    space = sorted((i for i in keep if letters[i] in "zyx"), key=lambda i: "zyx".index(letters[i]))
    turned = iter(space)
    order = [next(turned) if letters[i] in "zyx" else i for i in keep]
    if order != keep:
        array = da.asarray(array).transpose([keep.index(i) for i in order])  # type: ignore[no-untyped-call]
    axes = "".join(letters[i] for i in order)
    affine = None
    if units == "mm":
        affine = np.diag([*(steps[i] for i in space), 1.0])
        affine[:-1, -1] = [starts[i] for i in space]
    # Without a translation only the spacing is known, not the place.
    extra = {"spacing_only": not any(starts)}
    return Scan(array, axes, affine, units, _name(path, image), str(path), extra=extra)


def _opened(path: Path) -> Any:
    import zarr

    try:
        return zarr.open(str(path), mode="r")
    except Exception as error:
        raise ScanError(f"{path.name} is no zarr array or OME-Zarr image: check the path") from error


def _placed(path: Path, image: str) -> tuple[Any, str, list[float], list[float], str]:
    """Return the array of an image, a letter, a step and a start per axis, and "mm" or "pixel"."""
    import zarr

    node = _opened(path / image if image else path)
    if not isinstance(node, zarr.Group):
        if not 2 <= node.ndim <= 4:
            raise ScanError(f"{path.name} has {node.ndim} axes without names: only 2 to 4 can be opened")
        return node, "tzyx"[-node.ndim :], [1.0] * node.ndim, [0.0] * node.ndim, "pixel"
    about = multiscale(node)
    try:
        array: Any = node[about["datasets"][0]["path"]]
        letters, factors = axes_of(path, about, array.shape)
        steps, starts = place_of(path, about, len(letters))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise damaged(path) from error
    known = has_scale(about) and all(f for letter, f in zip(letters, factors, strict=True) if letter in "zyx")
    to_mm = np.array([factor or 1.0 for factor in factors]) if known else np.ones(len(letters))
    return array, letters, [*(steps * to_mm)], [*(starts * to_mm)], "mm" if known else "pixel"


def _name(path: Path, image: str) -> str:
    """Return the name of the outermost zarr, and the path of the image inside it."""
    outer = next((one for one in reversed([path, *path.parents]) if one.suffix.lower() == ".zarr"), path)
    inside = [*path.relative_to(outer).parts, *([image] if image else [])]
    name = re.sub(r"(\.ome)?\.zarr$", "", outer.name, flags=re.IGNORECASE)
    return " ".join([name, *inside])


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
