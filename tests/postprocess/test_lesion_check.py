"""Lesions whose slices together are unlikely go; likely ones, drawn ones and what one slice alone shows stay."""

from dataclasses import replace

import numpy as np
import pytest

from napari_unet_tumour.base.slicing import layout_of, with_slice_distance
from napari_unet_tumour.postprocess.lesion_check import remove_unlikely_lesions
from napari_unet_tumour.settings import SegmentSettings

SHAPE = (8, 48, 48)
SETTINGS = SegmentSettings(flip_tta=True, min_object_size=1)


def layout(shape=SHAPE, distance=1.0, axis=0):
    return with_slice_distance(layout_of(shape), axis, {0: distance, 1: 1.0, 2: 1.0})


def lesion(peaks, at=(10, 10), size=6, shift=0):
    """Return the probability (planes, 1, H, W) of a lesion with these highest probabilities by plane."""
    found = np.zeros((SHAPE[0], 1, *SHAPE[1:]), np.uint8)
    for n, peak in enumerate(peaks):
        row, column = at[0], at[1] + shift * n
        found[n, 0, row : row + size, column : column + size] = round(255 * peak)
    return found


def check(probability, where=None, settings=SETTINGS, **more):
    """Return how many lesions were removed, and on which planes the mask shows anything."""
    mask = (probability[:, 0] >= 100).astype(np.uint8)
    count = remove_unlikely_lesions(mask, where or layout(), lambda n: probability[n], settings, **more)
    return count, np.flatnonzero(mask.any((1, 2))).tolist()


def test_a_lesion_that_is_unlikely_on_average_goes_from_all_its_slices():
    assert check(lesion([0, 0.55, 0.8, 0.6])) == (1, [])
    assert check(lesion([0, 0.55, 0.98, 0.9])) == (0, [1, 2, 3])


def test_another_lesion_on_the_same_slices_stays_to_the_pixel():
    both = np.maximum(lesion([0, 0.6, 0.6]), lesion([0, 1, 1, 1], at=(30, 30)))
    mask = (both[:, 0] >= 100).astype(np.uint8)
    assert remove_unlikely_lesions(mask, layout(), lambda n: both[n], SETTINGS) == 1
    np.testing.assert_array_equal(mask, lesion([0, 1, 1, 1], at=(30, 30))[:, 0] > 0)


def test_what_one_slice_alone_shows_is_not_judged_here():
    assert check(lesion([0, 0, 0.5])) == (0, [2])


@pytest.mark.parametrize(("distance", "count"), [(1.0, 0), (8.0, 1)])
def test_thick_slices_may_show_a_lesion_a_slice_distance_further(distance, count):
    assert check(lesion([0, 0.6, 0.6], shift=12), layout(distance=distance))[0] == count


def test_a_lower_threshold_asks_for_less():
    faint = lesion([0, 0.5, 0.5, 0.5])
    assert check(faint)[0] == 1
    assert check(faint, settings=replace(SETTINGS, threshold=0.3))[0] == 0
    assert check(faint, settings=replace(SETTINGS, threshold=0.7))[0] == 1


def test_a_lesion_that_reaches_into_what_a_person_drew_stays():
    assert check(lesion([0, 0.6, 0.6, 0.6]), fixed={3}) == (0, [1, 2, 3])
    assert check(lesion([0, 0.6, 0.6, 0.6]), fixed={6}) == (1, [])


def test_planes_that_were_not_segmented_are_not_asked():
    assert check(lesion([0, 0.6, 0.6, 0, 0.6, 0.6]), planes=[1, 2]) == (1, [4, 5])


def test_time_points_are_no_neighbours():
    shape = (2, 4, *SHAPE[1:])
    found = lesion([0, 0, 0, 0.6, 0.6])
    mask = (found[:, 0] >= 100).astype(np.uint8).reshape(shape)
    where = with_slice_distance(layout_of(shape, "tzyx"), 1, {1: 1.0, 2: 1.0, 3: 1.0})
    assert remove_unlikely_lesions(mask, where, lambda n: found[n], SETTINGS) == 0
    assert mask.any()


def test_a_stack_of_unrelated_pictures_and_one_without_a_distance_stay():
    pictures = np.zeros((SHAPE[0], 1, *SHAPE[1:]), np.uint8)
    for n in range(6):
        pictures[n, 0, 6 * n : 6 * n + 4, 40 - 6 * n : 44 - 6 * n] = 150
    pictures[6, 0, 30:34, 10:14] = pictures[7, 0, 30:34, 10:14] = 150
    assert check(pictures)[0] == 0
    assert check(lesion([0, 0.6, 0.6]), layout_of(SHAPE))[0] == 0


def test_branches_that_meet_in_a_later_slice_are_one_lesion():
    forked = np.maximum(lesion([0, 0.95, 0.95], at=(10, 4)), lesion([0, 0.55, 0.55], at=(10, 24)))
    forked[3, 0, 10:16, 4:30] = 255
    assert check(forked)[0] == 0
    forked[3, 0] = 0
    assert check(forked)[0] == 1
