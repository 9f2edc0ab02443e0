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

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

KEY = "napari-unet-tumour"
_OFF_AXIS = 1e-6
_TO_MM = {"millimeter": 1.0, "mm": 1.0, "micrometer": 1e-3, "centimeter": 10.0, "meter": 1e3}


def scan_of(array: NDArray[Any], meta: dict[str, Any]) -> Scan:
    """Return the grid that a layer lies on: the one it was opened with, unless it was moved since."""
    affine, axes = _spatial_part(array.ndim, meta)
    for kept in (*_grids_of(meta.get("metadata", {})), *grids_of_images()):
        if _same_grid(kept, array.shape, affine):
            return kept
    unit = str(tuple(meta.get("units") or ("pixel",))[-1])
    factor = _TO_MM.get(unit)
    known = None if factor is None and np.array_equal(affine, np.eye(len(affine))) else affine
    if known is not None and factor not in (None, 1.0):
        known = np.diag([*[factor or 1.0] * (len(affine) - 1), 1.0]) @ affine
    return Scan(array, axes, known, "pixel" if factor is None else "mm", str(meta.get("name", "")))


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


def _same_grid(kept: Scan, shape: tuple[int, ...], affine: NDArray[np.float64]) -> bool:
    """Tell whether a layer lies on a grid, be it shown where it lies or straightened."""
    if tuple(n for n, letter in zip(kept.array.shape, kept.axes, strict=True) if letter != "c") != shape:
        return False
    return affine.shape == kept.world.shape and any(
        np.allclose(affine, one, atol=1e-4) for one in (kept.world, _straight(kept))
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
    are written where the scan really lies.
    """
    viewer = napari.current_viewer()
    changed = 0
    for layer in [] if viewer is None else viewer.layers:
        kept = next(_grids_of(layer.metadata), None)
        if kept is None or geometry.tilt(kept.world) <= 0 or layer.ndim != len(kept.axes.replace("c", "")):
            continue
        now, _ = _spatial_part(layer.ndim, layer.as_layer_data_tuple()[1])
        straight = _straight(kept)
        target = kept.world if np.allclose(now, straight, atol=1e-4) else straight
        _move(layer, place(target, kept.axes))
        changed += 1
    if not changed:
        show_info("no layer lies oblique: there is nothing to straighten")


def _move(layer: Any, where: dict[str, Any]) -> None:
    plain = {"scale": np.ones(layer.ndim), "translate": np.zeros(layer.ndim), "affine": np.eye(layer.ndim + 1)}
    for name, value in {**plain, **where}.items():
        setattr(layer, name, value)


def _straight(kept: Scan) -> NDArray[np.float64]:
    shape = [kept.array.shape[axis] for axis in kept.spatial]
    return geometry.straightened(kept.world, shape)


def _grids_of(metadata: dict[str, Any]) -> Iterator[Scan]:
    """Yield the grid that a layer was opened with, that of the image that its mask was made for."""
    note, viewer = metadata.get(KEY, {}), napari.current_viewer()
    if "grid" in note:
        yield note["grid"]
    for layer in [] if viewer is None else viewer.layers:
        if note.get("image_layer") == str(layer.unique_id) and "grid" in layer.metadata.get(KEY, {}):
            yield layer.metadata[KEY]["grid"]
