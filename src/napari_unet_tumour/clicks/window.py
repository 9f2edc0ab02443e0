"""A square part of a plane as the click network sees it, and the way back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Side of the network's picture in pixels.
SIDE = 64
# Lengths that do not depend on a plane's resolution are in units of its longest side over this.
UNITS = 256


@dataclass(frozen=True)
class Window:
    """A square of a plane; its corner and side are in the plane's pixels and may lie between them, or outside.

    Parameters
    ----------
    top, left : float
        Upper left corner; pixel n covers n to n + 1.
    side : float
        Length of its sides, above 0.
    """

    top: float
    left: float
    side: float

    @property
    def step(self) -> float:
        """Pixels of the plane per pixel of the network."""
        return self.side / SIDE

    def inside(self, row: float, column: float) -> tuple[float, float]:
        """Return where the middle of a plane's pixel lies in the network's picture (row, column), as an index."""
        return (row + 0.5 - self.top) / self.step - 0.5, (column + 0.5 - self.left) / self.step - 0.5

    def covers(self, row: float, column: float) -> bool:
        """Tell whether the middle of a plane's pixel lies in it."""
        return 0 <= row + 0.5 - self.top < self.side and 0 <= column + 0.5 - self.left < self.side

    def region(self, shape: tuple[int, ...]) -> tuple[slice, slice]:
        """Return the rows and columns of a plane whose middles it covers; empty where it lies outside."""
        return _covered(self.top, self.side, shape[0]), _covered(self.left, self.side, shape[1])

    def take(self, plane: NDArray[Any], fill: float = 0.0) -> NDArray[np.float32]:
        """Return the part of a plane (H, W) as (SIDE, SIDE) float32, antialiased; `fill` stands outside the plane."""
        middles = (np.arange(SIDE, dtype=np.float64) + 0.5) * self.step
        rows, across = _weights(middles + self.top, self.step, plane.shape[0])
        columns, down = _weights(middles + self.left, self.step, plane.shape[1])
        part = np.asarray(plane[rows, columns], np.float32)
        there = np.outer(across.sum(1), down.sum(1))
        found = across @ part @ down.T + (1 - there) * np.float32(fill)
        return np.asarray(found, np.float32)

    def put(self, picture: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return the network's picture (SIDE, SIDE) on the pixels of `region`."""
        parts = []
        for along, start in zip(self.region(shape), (self.top, self.left), strict=True):
            middles = (np.arange(along.start, along.stop) + 0.5 - start) / self.step
            which, weights = _weights(middles, 1 / self.step, SIDE, edges=True)
            parts.append((which, weights))
        (rows, across), (columns, down) = parts
        return np.asarray(across @ picture[rows, columns] @ down.T, np.float32)


def side_for(extent: float) -> float:
    """Return the side of the window around a lesion of an extent, both in `UNITS`."""
    return 1.4 * extent + 16


def _covered(start: float, side: float, length: int) -> slice:
    first, last = (int(np.clip(np.ceil(end - 0.5), 0, length)) for end in (start, start + side))
    return slice(first, max(first, last))


def _weights(
    middles: NDArray[np.floating[Any]], step: float, length: int, edges: bool = False
) -> tuple[slice, NDArray[np.float32]]:
    """Return the pixels of a line that count and their weights (len(middles), pixels): triangles as wide as a step.

    The weights of a place sum to 1; beyond the ends to 0, or to 1 with `edges`.
    """
    if not len(middles):
        return slice(0, 0), np.zeros((0, 0), np.float32)
    reach = max(1.0, step)
    first = int(np.clip(np.floor(middles[0] - reach), 0, length - 1))
    last = int(np.clip(np.ceil(middles[-1] + reach), first + 1, length))
    pixels = np.arange(first, last) + 0.5
    wanted = np.clip(middles, pixels[0], pixels[-1]) if edges else middles
    weights = np.clip(1 - abs(wanted[:, None] - pixels) / reach, 0, None)
    inside = ((middles >= 0) & (middles <= length)) | edges
    # At the ends half a triangle lies outside: what is left of it counts whole.
    weights *= (inside / np.maximum(weights.sum(1), 1e-6))[:, None]
    return slice(first, last), weights.astype(np.float32)
