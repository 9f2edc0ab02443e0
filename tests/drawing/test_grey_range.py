"""Ranges of grey values, against numpy's own mean and standard deviation."""

import numpy as np
import pytest

from napari_unet_tumour.drawing.grey_range import range_around

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(9, 9), (7, 9, 9)])
def test_the_range_is_mean_and_deviation_of_the_disc(shape):
    values = RANDOM.normal(100, 10, shape).astype(np.float32)
    centre = [size // 2 for size in shape]
    far = np.linalg.norm(np.stack(np.indices(shape)).T - centre, axis=-1).T
    inside = values[far <= 3]
    found = range_around(values, centre, 3, 1.5)
    assert found.low == pytest.approx(inside.mean() - 1.5 * inside.std(), rel=1e-4)
    assert found.high == pytest.approx(inside.mean() + 1.5 * inside.std(), rel=1e-4)


def test_equal_values_make_a_range_that_holds_them():
    values = np.full((5, 5), -0.1, np.float32)
    values[0, 0] = 0.2
    found = range_around(values, (2, 2), 1, 2.0)
    assert found.holds(values).sum() == 24


def test_what_lies_outside_the_image_is_neither_counted_nor_painted():
    values = np.full((7, 7), 5.0)
    values[:, :3] = np.nan
    found = range_around(values, (3, 3), 3, 2.0)
    assert np.array_equal(found.holds(values), np.isfinite(values))
    assert range_around(values, (3, 1), 3, 2.0) is None
