from __future__ import annotations

import numpy as np

from napari_unet_tumour.clicks.answer import INSIDE, Click, Known, answer
from napari_unet_tumour.clicks.grey_values import guess


def test_a_disc_is_found_by_one_click(discs_plane) -> None:
    rows, columns = np.ogrid[:200, :240]
    truth = np.hypot(rows - 60, columns - 70) <= 14
    mask = answer(guess, discs_plane, [Click(60, 70)]) >= INSIDE
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.9


def test_what_is_removed_goes(discs_plane) -> None:
    rows, columns = np.ogrid[:200, :240]
    both = (np.hypot(rows - 60, columns - 70) <= 14) | (np.hypot(rows - 60, columns - 100) <= 8)
    base = np.where(both, 230, 5).astype(np.uint8)
    mask = answer(guess, discs_plane, [Click(60, 100, -1)], Known(base=base)) >= INSIDE
    assert mask[60, 70]
    assert not mask[60, 100]
    assert mask[both].mean() < 1


def test_answers_are_probabilities() -> None:
    pictures = np.random.default_rng(0).normal(size=(2, 8, 64, 64)).astype(np.float32)
    found = guess(pictures)
    assert found.shape == (2, 64, 64)
    assert found.min() >= 0
    assert found.max() <= 1
