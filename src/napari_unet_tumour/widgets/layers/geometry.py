"""Where a layer lies <-> the grid of the scan that it was opened from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import napari
import numpy as np
from napari.utils.notifications import show_info
from napari.utils.transforms import Affine

from napari_unet_tumour.errors import OutputError
from napari_unet_tumour.scans import geometry
from napari_unet_tumour.scans.scan import Scan
from napari_unet_tumour.widgets.layers.world import millimetres

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

KEY = "napari-unet-tumour"
_OFF_AXIS = 1e-6


def scan_of(array: NDArray[Any], meta: dict[str, Any]) -> Scan:
    """Return the grid that a layer lies on: the one it was opened with, unless it was moved since."""
    plain, axes = _spatial_part(array.ndim, meta)
    factors = [millimetres(unit) for unit in tuple(meta.get("units") or ())[1 - len(plain) :]]
    known = len(factors) == len(plain) - 1 and None not in factors
    affine = np.diag([*(factor or 1.0 for factor in factors), 1.0]) @ plain if known else plain
    for kept in (*_grids_of(meta.get("metadata", {})), *grids_of_images()):
        if _same_grid(kept, array.shape, affine, meta.get("metadata", {}).get(KEY, {}).get("straight")):
            return kept
    says_nothing = not known and np.array_equal(affine, np.eye(len(affine)))
    return Scan(array, axes, None if says_nothing else affine, "mm" if known else "pixel", str(meta.get("name", "")))


def place(affine: NDArray[np.float64], axes: str) -> dict[str, Any]:
    """Return what napari needs: scale and translate where the axes run straight, else the affine.

    Parameters
    ----------
    affine : numpy.ndarray
        Of the spatial axes, as Scan has it.
    axes : str
        Scan's letters; time and other axes keep step 1.
    """
    kept = axes.replace("c", "")
    full = np.eye(len(kept) + 1)
    at = [*(kept.index(letter) for letter in axes if letter in "zyx"), len(kept)]
    full[np.ix_(at, at)] = affine
    linear = full[:-1, :-1]
    spread = np.abs(linear - np.diag(np.diag(linear)))
    if spread.max(initial=0) > _OFF_AXIS * np.abs(linear).max():
        return {"affine": full}
    return {"scale": tuple(np.diag(linear).tolist()), "translate": tuple(full[:-1, -1].tolist())}


def _spatial_part(ndim: int, meta: dict[str, Any]) -> tuple[NDArray[np.float64], str]:
    """Return the whole transform of a layer along its last (at most three) axes, and their letters."""
    if ndim > 4:
        raise OutputError(f"layer '{meta.get('name', '')}' has {ndim} axes, at most 4 can be written: take a part")
    names = ("scale", "translate", "rotate", "shear")
    inner = Affine(ndim=ndim, **{name: meta[name] for name in names if meta.get(name) is not None})
    whole = np.asarray(inner.affine_matrix, np.float64)
    if meta.get("affine") is not None:
        whole = np.asarray(getattr(meta["affine"], "affine_matrix", meta["affine"]), np.float64) @ whole
    first = max(ndim - 3, 0)
    return whole[first:, first:], "tzyx"[4 - ndim :]


def _same_grid(kept: Scan, shape: tuple[int, ...], affine: NDArray[np.float64], straight: Any = None) -> bool:
    """Tell whether a layer lies on a grid, be it shown where it lies or straightened."""
    if tuple(n for n, letter in zip(kept.array.shape, kept.axes, strict=True) if letter != "c") != shape:
        return False
    known = [kept.world, _straight(kept, kept), *([] if straight is None else [straight])]
    return affine.shape == kept.world.shape and any(
        one.shape == affine.shape and np.allclose(affine, one, atol=1e-4) for one in known
    )


def grids_of_images() -> Iterator[Scan]:
    """Yield the grids of the layers that were opened from files."""
    viewer = napari.current_viewer()
    for layer in [] if viewer is None else viewer.layers:
        if "grid" in layer.metadata.get(KEY, {}):
            yield layer.metadata[KEY]["grid"]


def straighten() -> None:
    """Show oblique scans and their masks as if they lay straight, or back again where they lie.

    napari draws on the slices of a layer only where its axes run along the world's. Saved files do not change: they
    are written where the scan really lies. What runs along the axes of the first scan is moved with it, so that a mask
    on a grid of its own stays in its place.
    """
    viewer = napari.current_viewer()
    changed = 0
    for layer in [] if viewer is None else viewer.layers:
        kept = next(_grids_of(layer.metadata), None)
        if kept is None or geometry.tilt(kept.world) <= 0 or layer.ndim != len(kept.axes.replace("c", "")):
            continue
        now, _ = _spatial_part(layer.ndim, layer.as_layer_data_tuple()[1])
        facts = dict(layer.metadata.get(KEY, {}))
        shown = [_straight(kept, kept), facts.pop("straight", None)]
        if any(one is not None and np.allclose(now, one, atol=1e-4) for one in shown):
            target = kept.world
        else:
            along = next((one for one in grids_of_images() if _parallel(one, kept)), kept)
            target = facts["straight"] = _straight(kept, along)
        layer.metadata = {**layer.metadata, KEY: facts}
        _move(layer, place(target, kept.axes))
        changed += 1
    if not changed:
        show_info("no layer lies oblique: there is nothing to straighten")


def _move(layer: Any, where: dict[str, Any]) -> None:
    plain = {"scale": np.ones(layer.ndim), "translate": np.zeros(layer.ndim), "affine": np.eye(layer.ndim + 1)}
    for name, value in {**plain, **where}.items():
        setattr(layer, name, value)


def _straight(kept: Scan, along: Scan) -> NDArray[np.float64]:
    """Return where a grid is shown when the grid `along` is straightened about its own middle."""
    shape = [along.array.shape[axis] for axis in along.spatial]
    whole = geometry.straightened(along.world, shape) @ np.linalg.inv(along.world) @ kept.world
    return np.asarray(whole, np.float64)


def _parallel(one: Scan, other: Scan) -> bool:
    """Tell whether the axes of two grids run along each other, in any order and direction."""
    if one.world.shape != other.world.shape:
        return False
    here, there = (scan.world[:-1, :-1] / scan.spacing for scan in (one, other))
    return bool(np.allclose(np.abs(here.T @ there).max(axis=0), 1, atol=1e-3))


def _grids_of(metadata: dict[str, Any]) -> Iterator[Scan]:
    """Yield the grid that a layer was opened with, that of the image that its mask was made for."""
    note, viewer = metadata.get(KEY, {}), napari.current_viewer()
    if "grid" in note:
        yield note["grid"]
    for layer in [] if viewer is None else viewer.layers:
        if note.get("image_layer") == str(layer.unique_id) and "grid" in layer.metadata.get(KEY, {}):
            yield layer.metadata[KEY]["grid"]
