"""Lesions that are unlikely over all their slices are left out in the viewer too; a person's slices keep theirs."""

from dataclasses import replace

import numpy as np
import pytest

from napari_unet_tumour.base.compressed import CompressedArray
from napari_unet_tumour.base.slicing import layout_of, with_slice_distance
from napari_unet_tumour.settings import SegmentSettings
from napari_unet_tumour.widgets.layers.predictions import PlanePrediction, decide

SHAPE = (5, 32, 32)
LAYOUT = with_slice_distance(layout_of(SHAPE), 0, {0: 1.0, 1: 1.0, 2: 1.0})
SETTINGS = SegmentSettings(flip_tta=True, min_object_size=1, remove_isolated=False)


def plane(number, peak, **more):
    probability = np.zeros((1, *SHAPE[1:]), np.uint8)
    probability[0, 8:16, 8:16] = round(255 * peak)
    empty = np.zeros(SHAPE[1:], np.uint8)
    given = {"flip_tta": True, "limited": True} | more
    return PlanePrediction(number, None, CompressedArray(probability), CompressedArray(empty), **given)


@pytest.mark.parametrize(
    ("changed", "settings", "drawn", "shown"),
    [
        ({}, SETTINGS, (), []),
        ({"limited": False}, SETTINGS, (), [1, 2, 3]),
        ({"carried": True, "limited": False}, SETTINGS, (), [1, 2, 3]),
        ({}, replace(SETTINGS, check_components=False), (), [1, 2, 3]),
        ({}, replace(SETTINGS, threshold=0.3), (), [1, 2, 3]),
        ({}, SETTINGS, (3,), [1, 2, 3]),
    ],
)
def test_an_unlikely_lesion_goes_unless_it_is_a_persons(changed, settings, drawn, shown):
    peaks = [0, 0.6, 0.6, 0.6, 0]
    planes = [plane(n, peak, **(changed if n == 3 else {})) for n, peak in enumerate(peaks)]
    outline = np.zeros(SHAPE[1:], np.uint8)
    outline[8:16, 8:16] = 1
    masks, isolated, unlikely = decide(planes, LAYOUT, settings, dict.fromkeys(drawn, outline))
    assert [n for n, mask in enumerate(masks) if mask.any()] == shown
    assert (isolated, unlikely) == (0, int(not shown))


def test_a_likely_lesion_stays_to_the_pixel():
    planes = [plane(n, peak) for n, peak in enumerate([0, 0.9, 0.9, 0.55, 0])]
    masks, _, unlikely = decide(planes, LAYOUT, SETTINGS, {})
    assert unlikely == 0
    for mask, one in zip(masks, planes, strict=True):
        np.testing.assert_array_equal(mask, one.decided(SETTINGS))
