from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_unet_tumour.clicks.picture import CHANNELS, around, discs, draw, grey_of, likeness, robust, robust_range

GREY = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)


def test_grey_values_are_those_of_the_engine() -> None:
    import torch

    from napari_unet_tumour.engine.normalisation import robust_zscore

    # Both take their quantiles from a part of the pixels: noise would differ, a scan with structure does not.
    plane = ndimage.gaussian_filter(np.random.default_rng(0).gamma(2.0, 300, (256, 256)), 6).astype(np.float32)
    theirs = robust_zscore(torch.from_numpy(plane)[None, None])[0, 0].numpy()
    np.testing.assert_allclose(robust(plane), theirs, atol=0.02)


@pytest.mark.parametrize("unit", [1e-12, 1.0, 1e12])
def test_the_unit_of_a_scan_does_not_matter(unit: float) -> None:
    plane = np.random.default_rng(0).gamma(2.0, 300, (100, 80))
    np.testing.assert_allclose(robust(plane * unit), robust(plane), rtol=1e-4, atol=1e-4)


def test_gaps_become_the_lowest_value_and_a_flat_plane_zeros() -> None:
    plane = np.random.default_rng(0).random((50, 60))
    gaps = plane.copy()
    gaps[10:20, 10:20] = np.nan
    gaps[0, 0] = np.inf
    found = robust(gaps)
    assert np.isfinite(found).all()
    assert (found[10:20, 10:20] == found.min()).all()
    for flat in (np.zeros((9, 9)), np.full((9, 9), 7), np.full((9, 9), np.nan)):
        assert not robust(flat).any()


def test_another_slice_on_the_range_of_this_one() -> None:
    plane = np.random.default_rng(0).random((64, 64)) * 100
    scale = robust_range(plane)
    np.testing.assert_allclose(scale.of(plane[:, ::-1]), robust(plane)[:, ::-1])


def test_colours_become_their_luminance_and_channels_the_first() -> None:
    plane = np.random.default_rng(0).integers(0, 255, (3, 5, 6)).astype(np.uint8)
    np.testing.assert_allclose(grey_of(plane, colours=True), 0.299 * plane[0] + 0.587 * plane[1] + 0.114 * plane[2])
    assert (grey_of(plane) == plane[0]).all()


def test_a_disc_is_highest_at_its_click_and_ends() -> None:
    found = discs([(20.0, 30.0), (20.4, 33.0)], (64, 64))
    assert found[20, 30] == found.max() == 1
    assert found[20, 45] == 0
    assert discs([(-30.0, 5.0), (70.0, 100.0)], (64, 64)).max() == 0
    assert discs([(-1.0, 5.0)], (64, 64)).max() > 0


def test_likeness_is_high_for_the_values_that_were_given() -> None:
    values = np.linspace(-3, 3, 64 * 64, dtype=np.float32).reshape(64, 64)
    found = likeness(values, np.full(9, 1.0, np.float32))
    assert abs(values.ravel()[found.argmax()] - 1) < 0.1
    assert found.max() == pytest.approx(1, abs=0.05)
    assert found[0, 0] < 0.01
    assert not likeness(values, np.zeros(0, np.float32)).any()


def test_values_around_clicks_at_the_edge() -> None:
    assert len(around(GREY, [(0, 0)])) == 4
    assert len(around(GREY, [(30, 30), (63, 63)])) == 13
    assert len(around(GREY, [(-9, -9)])) == 0
    assert len(around(GREY, [])) == 0


def test_what_is_not_given_is_zero() -> None:
    picture = draw(GREY)
    assert picture.shape == (len(CHANNELS), 64, 64)
    assert picture[0].any()
    assert not picture[1:].any()


def test_every_part_has_its_channel() -> None:
    half = np.full((64, 64), 0.25, np.float32)
    picture = draw(GREY, [(10, 10)], [(50, 50)], half, np.ones((64, 64), np.float32), half)
    for n, name in enumerate(CHANNELS):
        assert picture[n].any(), name
    assert (picture[1] == -0.5).all()
    assert (picture[5] == -0.5).all()
    for disc, place in ((picture[2], 10), (picture[3], 50)):
        assert disc[place, place] == disc.max() == 1
        np.testing.assert_allclose(ndimage.center_of_mass(disc), place, atol=1e-4)
