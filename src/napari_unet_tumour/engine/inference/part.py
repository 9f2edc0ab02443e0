"""Answers for a part of the tumour: grey values on the network's grid, for `postprocess.enhancing_part`; no torch."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.postprocess.enhancing_part import (
    GROWTH,
    LEAST_BRIGHT,
    SIDE,
    brightness,
    enhancing,
    has_enhancing_part,
    keep_empty,
    unit_of,
)
from napari_unet_tumour.runtime.preprocess import (
    as_float32,
    bounded,
    coloured,
    frame_lengths,
    resize,
    without_alpha,
)
from napari_unet_tumour.runtime.sliding_window import downsampled, upsampled
from napari_unet_tumour.settings import ENHANCING

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_unet_tumour.models.spec import ModelSpec
    from napari_unet_tumour.settings import SegmentSettings
    from napari_unet_tumour.tiling.grid import Tile

# Of a pixel of a finer grid, how much must be bright.
HALF = 0.5


def shows_part(spec: ModelSpec, settings: SegmentSettings) -> bool:
    """Tell whether settings ask for a part that the network's own answer does not show."""
    return settings.part == ENHANCING and has_enhancing_part(spec)


def has_own_habit(spec: ModelSpec, settings: SegmentSettings) -> bool:
    """Tell whether a model keeps a reader's habit that was learnt on the part that settings ask for."""
    return bool(spec.habit) and settings.part == spec.part


def with_part(
    plane: NDArray[Any], probability: NDArray[np.uint8], spec: ModelSpec, settings: SegmentSettings
) -> NDArray[np.uint8]:
    """Return the probability (1, H, W) uint8 of the part that settings ask for.

    Parameters
    ----------
    plane : numpy.ndarray
        (C, H, W) raw grey values or colours.
    probability : numpy.ndarray
        (1, H, W) uint8, of the whole tumour.
    settings : SegmentSettings
        The part, and whether the mirrored copy was predicted too. The threshold of the model counts, whatever its own
        is, so that the answer does not depend on it.
    """
    if not shows_part(spec, settings) or not probability.any():
        return probability
    grey = coloured(as_float32(without_alpha(plane[None], spec)), spec)
    shape = (grey.shape[2], grey.shape[3])
    unit = unit_of(shape)
    if unit > 1:  # on the network's grid, so that noise of single pixels counts as little as where it was measured
        small = brightness(_means(grey[0, 0], frame_lengths(*shape, SIDE)[0])) > LEAST_BRIGHT
        bright = resize(small[None, None].astype(np.float32), shape)[0, 0] > HALF
    else:
        bright = brightness(grey[0, 0]) > LEAST_BRIGHT
    found = enhancing(probability, bright, unit)
    return keep_empty(found, probability, replace(settings, threshold=spec.threshold))


def _means(values: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return the means (h, w) of values (H, W) over equal areas, without the blur of `resize`."""
    for axis, length in enumerate(shape):
        sums = np.cumsum(values, axis, dtype=np.float64)
        sums = np.concatenate([np.zeros_like(sums.take([0], axis)), sums], axis)
        edges = np.linspace(0, values.shape[axis], length + 1)
        below = np.minimum(edges.astype(np.intp), values.shape[axis] - 1)
        part = (edges - below).reshape((-1, 1) if axis == 0 else (1, -1))
        at_edges = sums.take(below, axis) * (1 - part) + sums.take(below + 1, axis) * part
        values = (np.diff(at_edges, axis=axis) * (length / values.shape[axis])).astype(np.float32)
    return values


def with_part_of_tile(
    raw: NDArray[Any], sample: NDArray[Any], block: Tile, probability: NDArray[np.uint8], factor: int, spec: ModelSpec
) -> NDArray[np.uint8]:
    """Return the enhancing part's probability (1, H, W) uint8 of a tile of `wider`; a unit is a working pixel.

    Parameters
    ----------
    raw : numpy.ndarray
        (C, h, w) raw values of the tile's `reads`.
    sample : numpy.ndarray
        (C, a, b) pixels from all over the plane.
    probability : numpy.ndarray
        (1, H, W) uint8 of the tile's `region`, of the whole tumour.
    factor : int
        Native pixels per working pixel.
    """
    if not probability.any():
        return probability
    here, whole = (downsampled(coloured(bounded(one[None], sample[None]), spec), factor)[0, 0] for one in (raw, sample))
    bright = (brightness(here, whole) > LEAST_BRIGHT)[block.inner].astype(np.float32)
    height, width = probability.shape[1:]
    native = upsampled(bright[None], block.before, factor)[0, :height, :width] > HALF
    return enhancing(probability, native, float(factor))


def wider(block: Tile, factor: int) -> tuple[Tile, tuple[slice, slice]]:
    """Return a tile with so much around it as the part grows by, as far as is read, and where the tile lies in it."""
    room = int(GROWTH)
    regions, inners, places = [], [], []
    for region, reads, inner in zip(block.region, block.reads, block.inner, strict=True):
        length = -(-(reads.stop - reads.start) // factor)
        before, after = min(room, inner.start), min(room, length - inner.stop)
        start, stop = region.start - before * factor, min(region.stop + after * factor, reads.stop)
        regions.append(slice(start, stop))
        inners.append(slice(inner.start - before, inner.stop + after))
        places.append(slice(region.start - start, region.stop - start))
    wide = replace(block, region=(regions[0], regions[1]), inner=(inners[0], inners[1]))
    return wide, (places[0], places[1])
