"""Split a large plane: overlapping windows for the network, and tiles of several windows that fit into memory.

Lengths are in pixels of the plane (native) or in working pixels, which are `downsample` times as large.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_unet_tumour.models.spec import ModelSpec
    from napari_unet_tumour.settings import SegmentSettings

    # Region of a plane -> its values (C, h, w).
    ReadPart = Callable[["Region"], NDArray[Any]]

Region = tuple[slice, slice]

# A plane with sides up to this is resized to the network's working size as a whole: the network knows whole heads.
WHOLE = 1024
# Distance of neighbouring windows as a fraction of their side: they share a quarter.
STEP = 3 / 4
# Tiles are multiples of RUN windows, so tile borders coincide with chunk borders on disk.
RUN = 4
# Peak memory per working pixel of a tile in bytes, without what `downsample` adds.
BYTES = 48
# The intensity sample of a plane: number of regions along each axis, and their side.
SAMPLE = (16, 64)
# Raw values that are read at once, per MB of memory that the settings allow.
RAW = (1 << 20) // 32


@dataclass(frozen=True)
class Tile:
    """A part of a plane that is predicted at once.

    Parameters
    ----------
    region : (slice, slice)
        Rows and columns of the plane that the tile predicts; tiles touch and do not overlap.
    reads : (slice, slice)
        Rows and columns that must be read for that: all windows that overlap `region`.
    inner : (slice, slice)
        Where `region` lies in the working image of `reads`; with downsampling, one working pixel more on each side
        where there is one.
    before : tuple of int
        Working pixels of `inner` before `region` begins, 0 or 1 per axis.
    """

    region: Region
    reads: Region
    inner: Region
    before: tuple[int, int]


@dataclass(frozen=True)
class TileGrid:
    """The windows and tiles of a plane.

    Parameters
    ----------
    shape : tuple of int
        (H, W) of the plane.
    size : int
        Side of a window in working pixels, a multiple of 32.
    downsample : int
        Native pixels per working pixel, along each axis.
    side : int
        Side of a tile in working pixels, a multiple of the windows' step.
    """

    shape: tuple[int, int]
    size: int
    downsample: int
    side: int

    @property
    def working(self) -> tuple[int, int]:
        """(h, w) of the whole plane in working pixels."""
        return -(-self.shape[0] // self.downsample), -(-self.shape[1] // self.downsample)

    @property
    def step(self) -> int:
        """Distance between windows in working pixels."""
        return step_of(self.size)

    @property
    def grid(self) -> tuple[int, int]:
        """Number of tiles along rows and columns."""
        return tuple(-(-length // self.side) for length in self.working)  # type: ignore[return-value]

    @property
    def chunk(self) -> int:
        """Chunk side on disk in native pixels; every tile but the last along an axis holds whole chunks."""
        return self.step * RUN * self.downsample

    def block(self, row: int, column: int) -> Tile:
        """Return the tile at a position of the grid."""
        down, across = self._along(0, row), self._along(1, column)
        return Tile((down[0], across[0]), (down[1], across[1]), (down[2], across[2]), (down[3], across[3]))

    def nearest_first(self, point: tuple[int, int] | None = None) -> list[Tile]:
        """Return all tiles, those nearest to a native (row, column) first; row by row when None."""
        blocks = [self.block(row, column) for row in range(self.grid[0]) for column in range(self.grid[1])]
        if point is not None:
            blocks.sort(key=lambda one: _distance(one.region, point))
        return blocks

    def _along(self, axis: int, number: int) -> tuple[slice, slice, slice, int]:
        length, whole = self.working[axis], self.shape[axis]
        start, stop = number * self.side, min((number + 1) * self.side, length)
        margin = 1 if self.downsample > 1 else 0
        low, high = max(0, start - margin), min(length, stop + margin)
        first, last = _reach(low, high, length, self.size, self.step)
        region = slice(start * self.downsample, min(stop * self.downsample, whole))
        reads = slice(first * self.downsample, min(last * self.downsample, whole))
        return region, reads, slice(low - first, high - first), start - low


def _reach(low: int, high: int, length: int, window: int, step: int) -> tuple[int, int]:
    """Return start and stop of the windows that overlap [low, high) of an axis."""
    if length <= window:
        return 0, length
    last = length - window
    first = min(max(0, (low - window) // step + 1) * step, last)
    return first, length if last < high else (high - 1) // step * step + window


def step_of(window: int) -> int:
    """Return the distance between windows of this side."""
    return max(1, int(window * STEP))


def window_starts(length: int, window: int, step: int | None = None) -> list[int]:
    """Return where windows begin along an axis; the last one ends with the axis and may overlap more."""
    step = step or step_of(window)
    return [0] if length <= window else [*range(0, length - window, step), length - window]


def is_tiled(shape: tuple[int, int], spec: ModelSpec, settings: SegmentSettings) -> bool:
    """Tell whether a plane (H, W) is segmented in windows rather than resized as a whole."""
    if settings.tiling == "auto":
        return max(shape) > max(WHOLE, 4 * spec.size)
    return settings.tiling == "tiled"


def needs_tiling(shape: Sequence[int], spec: ModelSpec, settings: SegmentSettings) -> bool:
    """Tell whether a plane (C, H, W) is processed in tiles: in windows, or because it does not fit into memory."""
    return is_tiled((shape[1], shape[2]), spec, settings) or math.prod(shape) > RAW * settings.memory


def tile_grid_of(shape: tuple[int, int], spec: ModelSpec, settings: SegmentSettings) -> TileGrid:
    """Choose tiles that fit into half of the memory that the settings allow.

    Parameters
    ----------
    shape : tuple of int
        (H, W) of a plane in pixels.
    """
    downsample, run = max(1, settings.downsample), step_of(spec.size) * RUN
    # 8 bytes per native pixel, for every channel as stored and every label of the prediction.
    each = BYTES * spec.in_channels + downsample**2 * 8 * (spec.in_channels + len(spec.labels) - 1)
    widest = math.isqrt(settings.memory * (1 << 20) // 2 // each)
    return TileGrid(shape, spec.size, downsample, max(1, (widest - spec.size) // run) * run)


def sample_regions(shape: tuple[int, int]) -> list[Region]:
    """Return regions spread evenly over a plane, at most 2^20 pixels together, to estimate its range of values."""
    rows, columns = (_spread(length) for length in shape)
    return [(row, column) for row in rows for column in columns]


def intensity_sample(read: ReadPart, shape: tuple[int, int]) -> NDArray[Any]:
    """Return (C, a, b): pixels from all over a plane (H, W), to estimate its range of values."""
    regions = sample_regions(shape)
    rows = sorted({region[0].start for region in regions})
    strips = [[read(region) for region in regions if region[0].start == row] for row in rows]
    return np.concatenate([np.concatenate(strip, axis=2) for strip in strips], axis=1)


def downsample_streaming(read: ReadPart, shape: tuple[int, int], size: int, most: int) -> NDArray[np.float32]:
    """Downsample a plane while it is read, by means over square blocks of pixels.

    Parameters
    ----------
    size : int
        The longest side of the result is at least twice this.
    most : int
        Number of pixels to read at once.

    Returns
    -------
    numpy.ndarray
        (C, h, w) float32; the blocks at the far edges may be incomplete.
    """
    by = max(1, max(shape) // (2 * size))
    step = max(1, most // (shape[1] * by)) * by
    strips = []
    for top in range(0, shape[0], step):
        raw = read((slice(top, min(top + step, shape[0])), slice(0, shape[1])))
        down = np.add.reduceat(raw, range(0, raw.shape[1], by), axis=1, dtype=np.float64)
        sums = np.add.reduceat(down, range(0, raw.shape[2], by), axis=2)
        counts = np.outer(*(np.diff([*range(0, length, by), length]) for length in raw.shape[1:]))
        strips.append((sums / counts).astype(np.float32))
    return np.concatenate(strips, axis=1)


def upsample_region(found: NDArray[np.uint8], shape: tuple[int, int], region: Region) -> NDArray[np.uint8]:
    """Return a region of a plane (H, W), upsampled bilinearly from (L, h, w)."""
    sizes = zip(found.shape[1:], shape, region, strict=True)
    down, across = (_weights(old, new, part) for old, new, part in sizes)
    return np.round(down @ found.astype(np.float32) @ across.T).astype(np.uint8)


def _weights(old: int, new: int, part: slice) -> NDArray[np.float32]:
    places = np.clip((np.arange(part.start, part.stop) + 0.5) * (old / new) - 0.5, 0, old - 1)
    below = places.astype(int)
    rows = np.arange(len(places))
    weights = np.zeros((len(places), old), np.float32)
    weights[rows, below] = 1 - (places - below)
    weights[rows, np.minimum(below + 1, old - 1)] += places - below
    return weights


def _spread(length: int) -> list[slice]:
    count, side = SAMPLE
    if length <= count * side:
        return [slice(0, length)]
    gap = (length - side) / (count - 1)
    return [slice(round(i * gap), round(i * gap) + side) for i in range(count)]


def _distance(region: Region, point: tuple[int, int]) -> float:
    away = [max(part.start - at, at - part.stop + 1, 0) for part, at in zip(region, point, strict=True)]
    return math.hypot(*away)
