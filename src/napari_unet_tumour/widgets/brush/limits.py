"""The brush that paints only alike the place where a stroke begins, and the one that stops at edges."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from napari_unet_tumour.drawing.edges import part_at, regions_between_edges
from napari_unet_tumour.drawing.grey_range import GreyRange, range_around

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_unet_tumour.widgets.brush.image_values import Box, ImageValues

# Radius of the disc that a range is taken from, in pixels of the mask.
START_RADIUS = 3
# Room around a brush in which edges are looked for, in pixels of the mask.
MARGIN = 4


class BrushKind(Enum):
    """What a brush paints of the pixels under it."""

    ALL = "All pixels"
    RANGE = "Range"
    EDGES = "Up to edges"


class StrokeLimit:
    """What one stroke may paint of the pixels under the brush; made where the stroke begins.

    Parameters
    ----------
    values : ImageValues
        The image under the mask.
    shape : tuple of int
        Of the mask.
    painted : sequence of int
        The axes of the mask that the brush paints along.
    kind : BrushKind
        RANGE or EDGES.
    width : float
        Half the width of a range, in standard deviations.
    """

    def __init__(
        self, values: ImageValues, shape: tuple[int, ...], painted: Sequence[int], kind: BrushKind, width: float
    ) -> None:
        self._values, self._shape, self._kind, self._width = values, shape, kind, width
        self._painted = painted
        self._range: GreyRange | None = None
        self._block: Box | None = None
        self._block_values: NDArray[np.float32] = np.zeros(0, np.float32)
        self._regions: NDArray[np.int32] = np.zeros(0, np.int32)

    def under(self, box: Box, marked: NDArray[np.bool_], centre: Sequence[int]) -> NDArray[np.bool_]:
        """Return the pixels to paint.

        Parameters
        ----------
        box : tuple of slice
            The brush's box in the mask, one pixel wide along the other axes.
        marked : numpy.ndarray
            The pixels under the brush, of the shape of the box.
        centre : sequence of int
            Middle of the brush, an index of the mask.
        """
        if self._kind is BrushKind.EDGES:
            return self._up_to_edges(box, marked, centre)
        if self._range is None:
            self._range = self._start(box, centre)
        if self._range is None:
            return np.zeros_like(marked)
        self._cover(box)
        return marked & self._range.holds(self._block_values[self._in_block(box)])

    def _start(self, box: Box, centre: Sequence[int]) -> GreyRange | None:
        radius = min([START_RADIUS, *(max(1, (box[axis].stop - box[axis].start) // 2) for axis in self._painted)])
        window = tuple(
            slice(max(at - far, 0), min(at + far + 1, size))
            for at, size, far in zip(centre, self._shape, self._along(radius), strict=True)
        )
        inside = [at - part.start for at, part in zip(centre, window, strict=True)]
        if any(not part.start <= at < part.stop for at, part in zip(centre, window, strict=True)):
            return None
        return range_around(self._values.read(window), inside, radius, self._width)

    def _up_to_edges(self, box: Box, marked: NDArray[np.bool_], centre: Sequence[int]) -> NDArray[np.bool_]:
        if any(not part.start <= at < part.stop for at, part in zip(centre, box, strict=True)):
            return np.zeros_like(marked)
        if self._cover(box):
            plane = self._block_values.reshape([self._block_values.shape[axis] for axis in sorted(self._painted)])
            regions = regions_between_edges(plane)
            self._regions = regions.reshape(self._block_values.shape)
        inside = [at - part.start for at, part in zip(centre, box, strict=True)]
        return part_at(self._regions[self._in_block(box)], marked, inside)

    def _cover(self, box: Box) -> bool:
        """Read the image around a box unless that is done; tells whether it was read anew."""
        if self._block is not None and _within(self._grown(box, 1), self._block):
            return False
        # With more room than this dab needs, so that the next ones need no other.
        self._block = self._grown(box, 2)
        self._block_values = self._values.read(self._block)
        return True

    def _in_block(self, box: Box) -> Box:
        of = self._block or box
        return tuple(slice(part.start - one.start, part.stop - one.start) for part, one in zip(box, of, strict=True))

    def _grown(self, box: Box, times: int) -> Box:
        """Return a box with room around it, along the axes that are painted on."""
        wide = max(box[axis].stop - box[axis].start for axis in self._painted)
        more = MARGIN + (times - 1) * (MARGIN + wide // 4)
        return tuple(
            slice(max(part.start - far, 0), min(part.stop + far, size))
            for part, size, far in zip(box, self._shape, self._along(more), strict=True)
        )

    def _along(self, pixels: int) -> list[int]:
        """Return so many pixels for the axes that are painted along, 0 for the others."""
        return [pixels if axis in self._painted else 0 for axis in range(len(self._shape))]


def _within(box: Box, other: Box) -> bool:
    return all(part.start >= of.start and part.stop <= of.stop for part, of in zip(box, other, strict=True))
