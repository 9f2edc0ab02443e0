"""The marks that a person makes on a slice: clicks, boxes and scribbles; knows no Qt and no napari."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from napari_unet_tumour.clicks.answer import Click, Known

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Flags = NDArray[np.bool_]
    Pixel = tuple[int, int]


class MarkKind(Enum):
    """How a mark was made."""

    CLICK = "click"
    BOX = "box"
    SCRIBBLE = "scribble"


@dataclass(frozen=True)
class Mark:
    """A click, a box or a scribble on a slice.

    Parameters
    ----------
    pixels : tuple of (row, column)
        One of a click, two opposite corners of a box, all of a scribble.
    sign : int
        +1: the lesion is here; -1: it is not.
    lesion : int
        Number of the lesion that it is about.
    """

    kind: MarkKind
    pixels: tuple[Pixel, ...]
    sign: int = 1
    lesion: int = 0

    @property
    def seeds(self) -> tuple[Pixel, ...]:
        """The pixels that lie in the lesion, or out of it, for sure; none of a box."""
        return () if self.kind is MarkKind.BOX else self.pixels

    @property
    def box(self) -> tuple[slice, slice]:
        """Rows and columns that it covers."""
        rows, columns = zip(*self.pixels, strict=True)
        return slice(min(rows), max(rows) + 1), slice(min(columns), max(columns) + 1)

    def away(self, row: int, column: int) -> float:
        """Return its distance from a pixel."""
        if self.kind is MarkKind.BOX:
            down, across = (
                max(part.start - at, at - part.stop + 1, 0) for part, at in zip(self.box, (row, column), strict=True)
            )
            return float(np.hypot(down, across))
        return min(float(np.hypot(r - row, c - column)) for r, c in self.pixels)


def line(start: Pixel, end: Pixel) -> list[Pixel]:
    """Return the pixels from one to another, both included."""
    steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
    rows, columns = (np.rint(np.linspace(a, b, steps + 1)).astype(int) for a, b in zip(start, end, strict=True))
    return list(zip(rows.tolist(), columns.tolist(), strict=True))


def clicks_of(marks: Sequence[Mark], shape: tuple[int, ...]) -> tuple[list[Click], Known]:
    """Return marks as the engine takes them: the clicks, and boxes and scribbles."""
    clicks = [Click(*mark.pixels[0], mark.sign) for mark in marks if mark.kind is MarkKind.CLICK]
    region, scribble = np.zeros(shape, bool), np.zeros(shape, np.int8)
    for mark in marks:
        if mark.kind is MarkKind.BOX:
            region[mark.box] = True
        elif mark.kind is MarkKind.SCRIBBLE:
            scribble[tuple(np.transpose(mark.pixels))] = mark.sign
    return clicks, Known(region=region if region.any() else None, scribble=scribble if scribble.any() else None)


def flags(mark: Mark, shape: tuple[int, ...]) -> Flags:
    """Return the pixels (H, W) of a mark, all those within a box."""
    found = np.zeros(shape, bool)
    found[mark.box if mark.kind is MarkKind.BOX else tuple(np.transpose(mark.pixels))] = True
    return found
