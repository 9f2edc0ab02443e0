from __future__ import annotations

import numpy as np

from napari_unet_tumour.clicks.person import inmost, largest_piece, next_click, shaken


def disc(row: int, column: int, radius: float) -> np.ndarray:
    rows, columns = np.ogrid[:100, :120]
    return np.hypot(rows - row, columns - column) <= radius


def test_the_click_goes_to_the_middle_of_the_largest_error() -> None:
    rng = np.random.default_rng(0)
    truth = disc(30, 40, 12) | disc(70, 90, 5)
    assert next_click(np.zeros_like(truth), truth, rng, 0.0) == (30, 40, 1)
    assert next_click(disc(30, 40, 12), truth, rng, 0.0) == (70, 90, 1)
    assert next_click(truth | disc(80, 20, 9), truth, rng, 0.0) == (80, 20, -1)
    assert next_click(truth, truth, rng, 0.0) is None


def test_the_hand_misses_by_so_many_pixels_at_most() -> None:
    rng = np.random.default_rng(0)
    away = [np.hypot(*(np.array(shaken((50, 50), (100, 120), rng, 3.0)) - 50)) for _ in range(500)]
    assert 0 < np.mean(away) < 3
    assert max(away) <= 3 + np.sqrt(0.5)
    assert all(0 <= r < 100 and 0 <= c < 120 for r, c in (shaken((0, 119), (100, 120), rng, 9.0) for _ in range(50)))


def test_the_inmost_pixel_lies_in_the_mask_also_at_the_edge() -> None:
    mask = np.zeros((40, 40), bool)
    mask[0:9, 10:30] = True
    row, column = inmost(mask)
    assert row == 4
    assert mask[row, column]
    ring = disc(50, 60, 20) & ~disc(50, 60, 15)
    assert ring[inmost(ring)]


def test_largest_piece() -> None:
    both = disc(20, 20, 5) | disc(60, 60, 9)
    found = largest_piece(both)
    assert found is not None
    assert (found == disc(60, 60, 9)).all()
    assert largest_piece(np.zeros((5, 5), bool)) is None
