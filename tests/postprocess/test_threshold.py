from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from napari_unet_tumour.postprocess.threshold import (
    MIN_THRESHOLD_SCALE,
    effective_threshold,
    keep_largest_component,
    mask_from_probability,
)
from napari_unet_tumour.settings import SegmentSettings


def test_threshold_counts_inclusive() -> None:
    probability = np.array([[[0, 127, 128, 255]]], np.uint8)
    np.testing.assert_array_equal(mask_from_probability(probability, SegmentSettings(threshold=0.5)), [[0, 0, 1, 1]])
    np.testing.assert_array_equal(mask_from_probability(probability, SegmentSettings(threshold=0.4)), [[0, 1, 1, 1]])


def test_zero_probability_is_never_foreground() -> None:
    assert not mask_from_probability(np.zeros((2, 3, 3), np.uint8), SegmentSettings(threshold=0.0)).any()


def test_labels_together_reach_the_threshold_and_the_likeliest_wins() -> None:
    probability = np.array([[[100, 200, 10]], [[120, 55, 20]]], np.uint8)
    np.testing.assert_array_equal(mask_from_probability(probability, SegmentSettings()), [[2, 1, 0]])


def test_where_two_copies_agree_on_nothing_the_surest_pixel_counts() -> None:
    settings = SegmentSettings(flip_tta=True)
    half = np.array([[[127, 64, 63, 0]]], np.uint8)
    np.testing.assert_array_equal(mask_from_probability(half, settings), [[1, 1, 0, 0]])
    assert not mask_from_probability(half, SegmentSettings()).any()
    sure = np.array([[[255, 127, 128, 0]]], np.uint8)
    np.testing.assert_array_equal(mask_from_probability(sure, settings), mask_from_probability(sure, SegmentSettings()))
    faint = np.array([[[50, 0]], [[0, 50]]], np.uint8)  # below 0.2: no copy is sure
    assert not mask_from_probability(faint, settings).any()
    assert mask_from_probability(faint + np.uint8(2), settings).all()  # together 54 of 255


@given(st.integers(0, 255), st.floats(0.02, 0.98))
def test_the_level_never_rises_and_never_falls_below_its_share(highest: int, threshold: float) -> None:
    together = np.array([[highest, 0]], np.uint32)
    plain, lowered = (
        effective_threshold(together, SegmentSettings(threshold=threshold, flip_tta=flip_tta))
        for flip_tta in (False, True)
    )
    assert max(1, int(MIN_THRESHOLD_SCALE * threshold * 255)) <= lowered <= plain


@given(st.integers(0, 12))
def test_small_pieces_go_by_slice_and_label(smallest: int) -> None:
    probability = np.zeros((2, 8, 8), np.uint8)
    probability[0, :3, :3] = 255
    probability[0, 6, 6] = probability[0, 7, 7] = 255
    probability[1, :3, 3:5] = 255
    mask = mask_from_probability(probability, SegmentSettings(min_object_size=smallest))
    assert (mask[0, 0] == 1) == (smallest <= 9)
    assert (mask[0, 3] == 2) == (smallest <= 6)
    # Touching at a corner counts as one piece.
    assert (mask[7, 7] == 1) == (smallest <= 2)


def test_the_largest_component_of_each_label_stays_in_any_number_of_axes() -> None:
    mask = np.zeros((3, 6, 6), np.uint8)
    mask[0, 0, 0] = mask[1, 1, 1] = mask[2, 2, 2] = 1
    mask[0, 5, 4:] = 1
    mask[2, 5, 5] = 2
    before = mask.copy()
    kept = keep_largest_component(mask)
    np.testing.assert_array_equal(mask, before)
    assert kept[0, 0, 0] == kept[1, 1, 1] == kept[2, 2, 2] == 1
    assert not kept[0, 5].any()
    assert kept[2, 5, 5] == 2
    assert not keep_largest_component(np.zeros((2, 2), np.uint8)).any()
