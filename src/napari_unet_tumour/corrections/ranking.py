"""Which slice is most worth a person's next correction, from the network's own probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# A slice this many planes from a reviewed one counts in full.
SPACING = 6.0
NEIGHBOURS = (0.25, 0.5, 0.25)
HALF = 128


def expected_error_pixels(probability: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return how unsure the network is of every slice.

    Parameters
    ----------
    probability : numpy.ndarray
        (N, L, H, W) uint8, 0..255 for 0..1, a layer per label.

    Returns
    -------
    numpy.ndarray
        (N,) float64, expected number of wrong pixels: the sum of min(p, 1 - p) of the foreground.
    """
    wrong = np.minimum(np.arange(256), 255 - np.arange(256)) / 255
    return np.array([wrong[np.minimum(plane.sum(0, dtype=np.uint16), 255)].sum() for plane in probability])


def foreground_areas(probability: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return how many pixels of every slice (N,) are more likely foreground than not; see `expected_error_pixels`."""
    return np.array([(plane.sum(0, dtype=np.uint16) >= HALF).sum() for plane in probability], float)


def rank_slices(probability: NDArray[np.uint8], reviewed: Sequence[int] = ()) -> list[int]:
    """Return the slices not reviewed, the one most worth correcting first.

    Parameters
    ----------
    probability : numpy.ndarray
        (N, L, H, W) uint8, 0..255 for 0..1.
    reviewed : sequence of int
        Slices that need no more work.
    """
    return rank_by_score(foreground_areas(probability), expected_error_pixels(probability), reviewed)


def rank_by_score(area: NDArray[np.float64], unsure: NDArray[np.float64], reviewed: Sequence[int] = ()) -> list[int]:
    """Return the same as `order` where `areas` and `expected_error_pixels` (N,) of the slices are known already.

    A slice is worth the predicted foreground and the expected number of wrong pixels of itself and its neighbours (an
    example from the middle of a lesion teaches most, and what shows in one slice alone is often none), less where a
    neighbour is reviewed.
    """
    worth = np.convolve(np.pad(area + unsure, 1), NEIGHBOURS, "valid")
    for n in reviewed:
        away = abs(np.arange(len(worth)) - n)
        worth = worth * np.minimum(1.0, away / SPACING)
    done = set(reviewed)
    return [int(n) for n in np.argsort(-worth, kind="stable") if int(n) not in done]
