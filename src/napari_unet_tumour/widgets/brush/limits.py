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
    RANGE = "Grey range"
    EDGES = "Up to edges"


class StrokeLimit:
    """What one stroke may paint of the pixels under the brush; made where the stroke begins.

    Parameters
    ----------
    values : ImageValues
        The image under the mask.
    shape : tuple of int
        Of the mask.
    kind : BrushKind
        RANGE or EDGES.
    width : float
        Half the width of a range, in standard deviations.
    """

    def __init__(self, values: ImageValues, shape: tuple[int, ...], kind: BrushKind, width: float) -> None:
        self._values, self._shape, self._kind, self._width = values, shape, kind, width
        self._range: GreyRange | None = None
        self._block: Box | None = None
        self._regions: NDArray[np.int32] = np.zeros(0, np.int32)

    def under(self, box: Box, marked: NDArray[np.bool_], centre: Sequence[int]) -> NDArray[np.bool_]:
        """Return the pixels to paint.

        Parameters
        ----------
        box : tuple of slice
            The brush's box in the mask; axes along which nothing is painted have the length 1.
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
        return marked & self._range.holds(self._values.read(box))

    def _start(self, box: Box, centre: Sequence[int]) -> GreyRange | None:
        flat = [part.stop - part.start == 1 for part in box]
        radius = max([1, *(min(START_RADIUS, (part.stop - part.start) // 2) for part in box)])
        window = tuple(
            slice(max(at - far, 0), min(at + far + 1, size))
            for at, size, far in zip(centre, self._shape, (0 if one else radius for one in flat), strict=True)
        )
        inside = [at - part.start for at, part in zip(centre, window, strict=True)]
        if any(not part.start <= at < part.stop for at, part in zip(centre, window, strict=True)):
            return None
        return range_around(self._values.read(window), inside, radius, self._width)

    def _up_to_edges(self, box: Box, marked: NDArray[np.bool_], centre: Sequence[int]) -> NDArray[np.bool_]:
        if any(not part.start <= at < part.stop for at, part in zip(centre, box, strict=True)):
            return np.zeros_like(marked)
        needed = self._grown(box, 1)
        if self._block is None or not _within(needed, self._block):
            # With more room than this dab needs, so that the next ones need no other.
            self._block = self._grown(box, 2)
            self._regions = regions_between_edges(np.squeeze(self._values.read(self._block)))
            self._regions = self._regions.reshape([part.stop - part.start for part in self._block])
        here = tuple(
            slice(part.start - of.start, part.stop - of.start) for part, of in zip(box, self._block, strict=True)
        )
        inside = [at - part.start for at, part in zip(centre, box, strict=True)]
        return part_at(self._regions[here], marked, inside)

    def _grown(self, box: Box, times: int) -> Box:
        """Return a box with room around it, along the axes that are painted on."""
        grown = []
        for part, size in zip(box, self._shape, strict=True):
            wide = part.stop - part.start
            more = 0 if wide == 1 else MARGIN + (times - 1) * (MARGIN + wide // 4)
            grown.append(slice(max(part.start - more, 0), min(part.stop + more, size)))
        return tuple(grown)


def _within(box: Box, other: Box) -> bool:
    return all(part.start >= of.start and part.stop <= of.stop for part, of in zip(box, other, strict=True))
