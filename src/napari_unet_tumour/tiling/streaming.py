"""Predict a scan of any size in chunks: a few whole planes at a time, or large planes tile by tile.

The network runs in this process, in a worker or on a cluster.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from napari_unet_tumour.postprocess.component_check import has_classifier
from napari_unet_tumour.postprocess.isolated import remove_isolated_components
from napari_unet_tumour.postprocess.lesion_check import remove_unlikely_lesions
from napari_unet_tumour.postprocess.threshold import mask_from_probability, remove_small_objects_blockwise
from napari_unet_tumour.tiling.grid import (
    RAW,
    downsample_streaming,
    intensity_sample,
    is_tiled,
    needs_tiling,
    tile_grid_of,
    upsample_region,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_unet_tumour.base.slicing import Region, SliceLayout
    from napari_unet_tumour.models.spec import ModelSpec
    from napari_unet_tumour.settings import SegmentSettings
    from napari_unet_tumour.tiling.grid import ReadPart, Tile

    Read = Callable[[Sequence[int], Region | None], NDArray[Any]]

# Planes in one chunk.
AT_ONCE = 32


class Predictor(Protocol):
    """Runs a network; predictions are uint8, 0..255 for 0..1."""

    def planes(self, raw: NDArray[Any]) -> NDArray[np.uint8]:
        """Return (n, L, H, W) for whole planes (n, C, H, W)."""

    def block(self, raw: NDArray[Any], sample: NDArray[Any], block: Tile) -> NDArray[np.uint8]:
        """Return (L, h, w) for the region of a tile; see `engine.inference.sliding_window.block_probability`."""


@dataclass(frozen=True, eq=False)
class PredictionChunk:
    """A part of the prediction of a scan.

    Parameters
    ----------
    planes : list of int
        Numbers of the planes.
    region : (slice, slice), optional
        Rows and columns; whole planes when None.
    probability : numpy.ndarray
        (k, L, h, w) uint8.
    done, total : int
        Number of chunks up to this one, and of all.
    """

    planes: list[int]
    region: Region | None
    probability: NDArray[np.uint8]
    done: int
    total: int


def iter_predict_tiles(
    find: Predictor, read: Read, order: Sequence[int], shape: Sequence[int], spec: ModelSpec, settings: SegmentSettings,
    point: tuple[int, int] | None = None,
) -> Iterator[PredictionChunk]:  # fmt: skip
    """Predict planes (C, H, W) tile by tile, the tiles nearest to a (row, column) first."""
    plane = (shape[1], shape[2])
    blocks = tile_grid_of(plane, spec, settings).nearest_first(point)
    prepare = _in_windows if is_tiled(plane, spec, settings) else _as_a_whole
    for m, n in enumerate(order):
        found_in = prepare(find, partial(_read_part, read, n), plane, spec, settings)
        for i, block in enumerate(blocks, start=1):
            found = found_in(block)[None]
            yield PredictionChunk([n], block.region, found, m * len(blocks) + i, len(order) * len(blocks))


def _read_part(read: Read, n: int, region: Region) -> NDArray[Any]:
    part: NDArray[Any] = read([n], region)[0]
    return part


def _in_windows(
    find: Predictor, read: ReadPart, plane: tuple[int, int], spec: ModelSpec, settings: SegmentSettings
) -> Callable[[Tile], NDArray[np.uint8]]:
    sample = intensity_sample(read, plane)
    return lambda block: find.block(read(block.reads), sample, block)


def _as_a_whole(
    find: Predictor, read: ReadPart, plane: tuple[int, int], spec: ModelSpec, settings: SegmentSettings
) -> Callable[[Tile], NDArray[np.uint8]]:
    answer = find.planes(downsample_streaming(read, plane, spec.size, RAW * settings.memory)[None])[0]
    return lambda block: upsample_region(answer, plane, block.region)


def iter_predict(
    find: Predictor, array: Any, layout: SliceLayout, spec: ModelSpec, settings: SegmentSettings,
    order: Sequence[int] | None = None, point: tuple[int, int] | None = None,
) -> Iterator[PredictionChunk]:  # fmt: skip
    """Predict a scan of any size in chunks that fit into the memory that the settings allow.

    Parameters
    ----------
    array : array-like
        Of `layout.shape`; only the current chunk is read.
    order : sequence of int, optional
        The planes to predict, in this order; all by default.
    point : (row, column), optional
        Tiles nearest to this point of a plane come first.
    """
    order = range(layout.planes) if order is None else order
    shape = (layout.channels, *layout.plane_shape)
    if needs_tiling(shape, spec, settings):
        yield from iter_predict_tiles(find, partial(layout.read_planes, array), order, shape, spec, settings, point)
        return
    step = max(1, min(AT_ONCE, RAW * settings.memory // int(np.prod(shape))))
    for first in range(0, len(order), step):
        planes = list(order[first : first + step])
        yield PredictionChunk(
            planes, None, find.planes(layout.read_planes(array, planes)), first + len(planes), len(order)
        )


def write_chunk(mask: Any, layout: SliceLayout, part: PredictionChunk, settings: SegmentSettings) -> int:
    """Write a chunk into a mask; return its number of foreground pixels."""
    # A tile does not show how large a component is, nor the highest probability of the plane.
    now = settings if part.region is None else replace(settings, min_object_size=0, flip_tta=False)
    marked = 0
    for n, found in zip(part.planes, part.probability, strict=True):
        decided = mask_from_probability(found, now)
        marked += int(np.count_nonzero(decided))
        layout.write_plane(mask, n, decided, part.region)
    return marked


def checks_lesions(spec: ModelSpec, settings: SegmentSettings, layout: SliceLayout) -> bool:
    """Tell whether a model's classifier has limited the probability of the planes, for `postprocess.lesion_check`."""
    shape = (layout.channels, *layout.plane_shape)
    return settings.check_components and has_classifier(spec) and not needs_tiling(shape, spec, settings)


def finalise_mask(
    mask: Any,
    layout: SliceLayout,
    spec: ModelSpec,
    settings: SegmentSettings,
    order: Sequence[int],
    probability: Any = None,
) -> None:
    """Remove small, unlikely and isolated components after the last chunk is written: that needs all planes.

    Parameters
    ----------
    probability : array-like, optional
        (planes, L, H, W) uint8; without it no lesion is removed as unlikely.
    """
    if settings.min_object_size > 1 and needs_tiling((layout.channels, *layout.plane_shape), spec, settings):
        for n in order:
            remove_small_objects_blockwise(mask, layout, n, settings.min_object_size)
    if probability is not None and checks_lesions(spec, settings, layout):
        remove_unlikely_lesions(mask, layout, lambda n: np.asarray(probability[n]), settings, order)
    if settings.remove_isolated:
        remove_isolated_components(mask, layout, order)
