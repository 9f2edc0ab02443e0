from __future__ import annotations

import numpy as np
import pytest


def bright(pictures: np.ndarray) -> np.ndarray:
    """Stand in for a network: what is like the clicked grey values is lesion, less what is like removed ones."""
    return np.clip(pictures[:, 6] - pictures[:, 7] * (pictures[:, 6] < 0.99), 0, 1)


@pytest.fixture
def discs_plane() -> np.ndarray:
    """(200, 240) uint8: noise, one bright disc of radius 14 at (60, 70) and one, not as bright, of 10 at (140, 180)."""
    rows, columns = np.ogrid[:200, :240]
    plane = np.random.default_rng(0).integers(40, 60, (200, 240))
    plane[np.hypot(rows - 60, columns - 70) <= 14] = 200
    plane[np.hypot(rows - 140, columns - 180) <= 10] = 150
    return plane.astype(np.uint8)


@pytest.fixture
def net():
    return bright
