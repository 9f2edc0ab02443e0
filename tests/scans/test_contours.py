from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_unet_tumour.scans.contours import filled, polygons_of


@pytest.mark.parametrize("blur", [0.0, 1.0, 3.0])
def test_any_mask_comes_back_exactly(blur):
    random = np.random.default_rng(3)
    for _ in range(20):
        mask = gaussian_filter(random.normal(size=(40, 30)), blur) > 0
        np.testing.assert_array_equal(filled(mask.shape, polygons_of(mask)), mask)


def test_a_hole_is_part_of_its_polygon_and_an_island_in_it_is_another():
    mask = np.zeros((40, 40), bool)
    mask[5:30, 5:30] = True
    mask[10:20, 10:20] = False
    mask[13:16, 13:16] = True
    assert len(polygons_of(mask)) == 2
    np.testing.assert_array_equal(filled(mask.shape, polygons_of(mask)), mask)


def test_holes_as_contours_of_their_own_are_holes_too():
    outer = np.array([[4.5, 4.5], [4.5, 20.5], [20.5, 20.5], [20.5, 4.5]])
    inner = np.array([[9.5, 9.5], [9.5, 14.5], [14.5, 14.5], [14.5, 9.5]])
    found = filled((30, 30), [outer, inner])
    assert found.sum() == 16 * 16 - 25
    assert not found[10:15, 10:15].any()
