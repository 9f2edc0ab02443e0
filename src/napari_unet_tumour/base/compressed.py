"""Arrays that are compressed in memory."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class CompressedArray:
    """A compressed array: probabilities and masks are mostly zero and shrink to a hundredth."""

    def __init__(self, array: NDArray[np.uint8]) -> None:
        self.shape = array.shape
        self._bytes = zlib.compress(np.ascontiguousarray(array).tobytes(), 1)

    def array(self) -> NDArray[np.uint8]:
        """Return the array, read-only."""
        return np.frombuffer(zlib.decompress(self._bytes), np.uint8).reshape(self.shape)
