"""Which slices of a volume need no mirror image: certainly empty ones between certainly empty ones.

The mirror image finds a few tumours that the slice itself does not show (docs/speed.md), but none between two slices
that show nothing either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Future

    import numpy as np
    from numpy.typing import NDArray

    Prediction = Future[NDArray[np.float32]]

# A slice is certainly empty where the probability stays below this everywhere.
CERTAIN = 0.02


class EmptySlices:
    """Knows which slices are certainly empty, as far as they have been predicted.

    Slices are named by their number in the volume; neighbours are one apart.
    """

    def __init__(self) -> None:
        self._found: dict[int, bool | Prediction] = {}
        self._coming: set[int] = set()

    def expect(self, numbers: Iterable[int]) -> None:
        """Say which slices will be predicted."""
        self._coming.update(numbers)

    def add(self, number: int, prediction: Prediction | None) -> None:
        """Say what a slice shows: a prediction (L, h, w) of 0..1 that has begun, or None for a blank slice."""
        self._found[number] = True if prediction is None else prediction

    def is_open(self, number: int) -> bool:
        """Tell whether both neighbours are predicted too, so that `between` may come out true later."""
        return {number - 1, number + 1} <= self._coming

    def between(self, number: int) -> bool:
        """Tell whether a slice and both neighbours are certainly empty; waits for predictions that have begun."""
        return all(map(self._is_empty, (number, number - 1, number + 1)))

    def _is_empty(self, number: int) -> bool:
        found = self._found.get(number, False)
        if not isinstance(found, bool):
            found = self._found[number] = bool(found.result().max() < CERTAIN)
        return found
