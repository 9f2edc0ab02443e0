"""Where layers lie in the viewer's world, and a mask layer put onto the grid of an image layer."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.notifications import show_info

from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.scans.placement import GridMap, NoOverlapError, OutsideError, Placed, move_labels, to_grid
from napari_unet_tumour.widgets.layers import labels as mask_layer
from napari_unet_tumour.widgets.layers.image_source import KEY
from napari_unet_tumour.widgets.layers.world import millimetres, pixels_of, scaled, world_of

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Labels
    from numpy.typing import NDArray

    from napari_unet_tumour.base.slicing import SliceLayout


class OtherShapeError(ScanError):
    """A mask has another shape than an image, and no place of its own by which it could be put there."""


def grid_map(mask: Labels, image: Image, channel: int | None = None) -> GridMap | None:
    """Find how a mask layer lies on an image layer, by scale, translate, rotate, shear, affine and units of both.

    Parameters
    ----------
    channel : int, optional
        The image layer's axis that the mask does not have.

    Returns
    -------
    GridMap or None
        None where one layer is in millimetres and the other, in pixels, was never given a place: the two can
        only be taken voxel by voxel, and have the same shape.

    Raises
    ------
    ScanError
        They do not overlap, have other axes, or other shapes and no common place; names the layers.
    """
    kept = [axis for axis in range(image.ndim) if axis != channel]
    shape = tuple(int(pixels_of(image).shape[axis]) for axis in kept)
    source = tuple(int(n) for n in pixels_of(mask).shape)
    mute = _is_mute(mask) or _is_mute(image)
    apart = len(kept) != mask.ndim or (mute and not _same_units(mask, image, kept))
    if shape != source and (apart or _is_mute(mask)):
        raise OtherShapeError(
            f"layer '{image.name}' has other pixels than '{mask.name}' ({_by(shape)} and {_by(source)}): "
            "choose the mask's scan, or none"
        )
    if apart:
        return None
    here, there = _in_one_world(mask, image, kept)
    try:
        return to_grid(source, here, shape, there)
    except NoOverlapError as error:
        raise ScanError(
            f"layer '{mask.name}' lies elsewhere than '{image.name}', they do not overlap: choose the mask of this scan"
        ) from error


def moved(labels: Any, where: GridMap, mask: str, image: str) -> Placed:
    """Put a mask layer's labels onto an image's grid; raises ScanError, which names the layers, where nothing is left.

    Parameters
    ----------
    labels : array
        The pixels of the mask layer.
    where : GridMap
        From `grid_map`.
    mask, image : str
        Names of the two layers.
    """
    try:
        return move_labels(labels, where)
    except OutsideError as error:
        raise ScanError(f"what '{mask}' marks lies outside '{image}': choose the mask of this scan") from error


def on_image(viewer: ViewerModel, mask: Labels, image: Image, layout: SliceLayout) -> Labels:
    """Return the mask where it lies on the image pixel by pixel, else a copy of it that does, beside it.

    The copy is a new layer, made once: the person's own layer stays as it is. A message says what was done.

    Raises
    ------
    ScanError
        The two do not overlap, or have other shapes and no common place.
    """
    channel = None if image.ndim == len(layout.mask_shape) else layout.channel
    where = grid_map(mask, image, channel)
    if where is None or where.is_same:
        return mask
    mark = f"{mask.unique_id} {zlib.crc32(np.ascontiguousarray(pixels_of(mask)).data)} {where.to_mask.tolist()}"
    for layer in viewer.layers:
        if layer.metadata.get(KEY, {}).get("moved_from") == mark and layer.data.shape == layout.mask_shape:
            return layer
    placed = moved(pixels_of(mask), where, mask.name, image.name)
    copy = mask_layer.copy_on(mask, image, layout, placed.array)
    mask_layer.amend(copy, moved_from=mark)
    viewer.add_layer(copy)
    show_info(f"'{copy.name}' is a copy of '{mask.name}'. {placed.note}")
    return copy


def overlaps(mask: Labels, image: Image, channel: int | None = None) -> bool:
    """Tell whether a mask layer can be put onto an image layer."""
    try:
        grid_map(mask, image, channel)
    except ScanError:
        return False
    return True


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in shape)


def _is_mute(layer: Any) -> bool:
    """Whether a layer says nothing of where it lies: in pixels, and never moved or scaled."""
    return not any(millimetres(unit) for unit in layer.units) and np.array_equal(
        world_of(layer), np.eye(layer.ndim + 1)
    )


def _same_units(mask: Labels, image: Image, kept: list[int]) -> bool:
    """Whether the units of both layers are lengths along the same axes."""
    theirs = [millimetres(image.units[axis]) is None for axis in kept]
    return [millimetres(unit) is None for unit in mask.units] == theirs


def _in_one_world(mask: Labels, image: Image, kept: list[int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return index -> world of both layers in the same units: mm, or the plain numbers where the units do not match.

    So does napari: layers whose units cannot be converted are shown by their numbers.
    """
    convert = _same_units(mask, image, kept)
    matrices = [scaled(one, [millimetres(u) if convert else None for u in one.units]) for one in (mask, image)]
    at = [*kept, image.ndim]
    return matrices[0], matrices[1][np.ix_(at, at)]
