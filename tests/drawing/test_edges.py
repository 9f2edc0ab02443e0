"""Regions between edges, on images whose edges are known."""

import numpy as np
import pytest
from scipy import ndimage

from napari_unet_tumour.drawing.edges import part_at, regions_between_edges

NOISE = 10.0


def disc(shape, centre, radius):
    away = np.stack(np.indices(shape)).T - np.array(centre)
    return radius >= np.linalg.norm(away, axis=-1).T


def scan(shape, inside, contrast, seed=0):
    sharp = np.where(inside, contrast, 0.0)
    return ndimage.gaussian_filter(sharp, 0.7) + np.random.default_rng(seed).normal(0, NOISE, shape)


def dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("times", [5, -5, 20])
def test_the_part_under_the_brush_ends_at_the_edge(seed, times):
    lesion = disc((48, 48), (24, 30), 10)
    regions = regions_between_edges(scan((48, 48), lesion, times * NOISE, seed))
    brush = disc((48, 48), (24, 30), 15)
    assert dice(part_at(regions, brush, (24, 30)), lesion) > 0.95
    outside = part_at(regions, disc((48, 48), (24, 12), 12), (24, 12))
    assert (outside & lesion).sum() < 0.03 * outside.sum()
    assert dice(outside, disc((48, 48), (24, 12), 12) & ~lesion) > 0.95


@pytest.mark.parametrize("seed", range(5))
def test_noise_and_slow_changes_are_no_edges(seed):
    slow = np.add.outer(np.arange(48.0), np.arange(48.0))
    values = slow + np.random.default_rng(seed).normal(0, NOISE, (48, 48))
    for one in (values, slow, np.full((48, 48), 7.0), ndimage.gaussian_filter(values, 1.0)):
        assert (regions_between_edges(one) == 1).all()


def test_three_tissues_have_two_edges():
    values = np.zeros((40, 60))
    values[:, 20:40], values[:, 40:] = 40, 200
    found = regions_between_edges(ndimage.gaussian_filter(values, 0.7))
    assert [len(np.unique(found[:, part])) for part in (slice(0, 20), slice(21, 40), slice(41, 60))] == [1, 1, 1]
    assert len(np.unique(found)) == 3


def test_a_ball_ends_at_its_edge_too_and_nothing_lies_outside_the_image():
    ball = disc((20, 24, 24), (10, 12, 12), 7)
    values = scan(ball.shape, ball, 8 * NOISE)
    values[:2] = np.nan
    regions = regions_between_edges(values)
    assert not regions[:2].any()
    found = part_at(regions, np.ones_like(ball), (10, 12, 12))
    assert dice(found, ball) > 0.9
    assert not part_at(regions, np.ones_like(ball), (0, 12, 12)).any()
    assert not regions_between_edges(np.full((3, 3), np.nan)).any()


def test_only_pixels_that_hang_together_with_the_middle():
    regions = np.ones((9, 9), np.int32)
    brush = np.zeros((9, 9), bool)
    brush[2:5, 2:5] = brush[7, 7] = True
    assert part_at(regions, brush, (3, 3)).sum() == 9
    assert not part_at(regions, brush, (0, 0)).any()
