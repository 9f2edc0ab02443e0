"""How unsure the network is of the slices of a case, and so which one is most worth correcting; knows no Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_unet_tumour.corrections import ranking

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_unet_tumour.widgets.correct.case import CasePart


class Uncertainty:
    """What the network has said of each of `count` slices."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._pixels: dict[int, float] = {}
        self._areas: dict[int, float] = {}
        self._marks: dict[int, int] = {}

    def __contains__(self, number: int) -> bool:
        return number in self._pixels

    def __getitem__(self, number: int) -> float:
        """Return about how many pixels of a slice may be wrong, 0 where the network was not asked."""
        return self._pixels.get(number, 0.0)

    @property
    def complete(self) -> bool:
        """Whether the network has been asked about every slice."""
        return len(self._pixels) >= self._count

    def note(self, number: int, probability: NDArray[np.uint8], mark: int = 0) -> None:
        """Take a slice's probability (L, H, W) uint8; `mark` tells one prediction from the next."""
        self._marks[number] = mark
        self._pixels[number] = float(ranking.expected_error_pixels(probability[None])[0])
        self._areas[number] = float(ranking.foreground_areas(probability[None])[0])

    def see(self, number: int, part: CasePart, plane: int) -> None:
        """Take what the mask layer of a part was last painted from, where that is new."""
        known = None if part.cache is None else part.cache.planes.get(plane)
        if known is not None and self._marks.get(number, 0) != id(known.probability):
            self.note(number, known.probability.array(), id(known.probability))

    def order(self, done: Sequence[int]) -> list[int]:
        """Return the slices that are not done, the one most worth correcting first."""
        pixels = np.array([self[n] for n in range(self._count)])
        areas = np.array([self._areas.get(n, 0.0) for n in range(self._count)])
        return ranking.rank_by_score(areas, pixels, done)
