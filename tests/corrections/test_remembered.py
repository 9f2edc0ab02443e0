"""What a fine-tuned model's file keeps of the corrections that it has learnt from."""

import json

import numpy as np
import pytest

from napari_unet_tumour.base.slicing import layout_of
from napari_unet_tumour.corrections import UNSURE, ReviewedSlice, remembered
from napari_unet_tumour.corrections.remembered import recall, remember
from napari_unet_tumour.corrections.stack import stack_range, stacks_of

RNG = np.random.default_rng(0)
PLANES = RNG.integers(0, 999, (8, 1, 20, 24)).astype(np.int16)
PLANES[0] = PLANES[7] = 0
MASK = np.zeros((20, 24), np.uint8)
MASK[5:9, 6:12], MASK[0, 0] = 1, UNSURE


def layout(distance=1.0):
    from dataclasses import replace

    return replace(layout_of((8, 20, 24)), slice_distance=distance)


def stacks(planes=PLANES, reviewed=(3,), distance=1.0, scan="scan"):
    return stacks_of(scan, layout(distance), (1.0, 1.0, 6.0), reviewed, lambda some: planes[some])


def corrections(*numbers, scan="scan"):
    return [ReviewedSlice(scan, n, PLANES[n], MASK) for n in numbers]


def test_the_corrected_slices_are_known_again_in_any_order_and_byte_order():
    kept = json.loads(json.dumps(remember(stacks(), corrections(3))))
    order = [5, 3, 2, 4, 0]
    (found,) = recall(kept, PLANES[order].astype(">i2"))
    assert found.places == {5: 0, 3: 1, 2: 2, 4: 3}  # blank slices look alike
    assert [*found.masks] == [3]
    assert np.array_equal(found.masks[3], MASK)
    assert found.stack.spacing == (1.0, 1.0, 6.0)
    assert np.array_equal(found.stack[3], PLANES[3])
    assert len(found.stack) == 8


def test_other_planes_and_planes_without_the_corrected_ones_are_not_known():
    kept = remember(stacks(), corrections(3))
    assert recall(kept, PLANES + 1) == []
    assert recall(kept, PLANES[4:6]) == []
    assert recall(kept, PLANES.astype(np.float32)) == []
    assert recall([], PLANES) == []


def test_no_image_is_kept():
    text = json.dumps(remember(stacks(), corrections(3)))
    assert len(text) < 1000


def test_a_scan_that_is_corrected_anew_takes_its_own_place_and_the_oldest_goes_first(monkeypatch):
    first = remember(stacks(), corrections(3))
    again = remember(stacks(reviewed=(3, 4)), corrections(3, 4), first)
    assert len(again) == 1
    assert [*again[0]["masks"]] == ["3", "4"]
    both = remember(stacks(PLANES + 1, scan="other"), corrections(3, scan="other"), first)
    assert len(both) == 2
    monkeypatch.setattr(remembered, "MOST", len(json.dumps(both)) - 1)
    assert remember(stacks(PLANES + 1, scan="other"), corrections(3, scan="other"), first) == both[1:]


def test_flat_images_and_scans_without_corrections_keep_nothing():
    assert stacks(distance=0.0) == []
    assert remember(stacks(), corrections(3, scan="another")) == []


@pytest.mark.parametrize("mask", [np.zeros((3, 3), np.uint8), np.zeros((200, 200), np.uint8)])
def test_a_mask_of_another_shape_is_left_out(mask):
    kept = remember(stacks(), corrections(3))
    kept[0]["masks"]["3"] = remembered._packed(mask)
    assert recall(kept, PLANES) == []


def test_only_slices_within_reach_are_read_whole():
    (found,) = stacks(reviewed=(3,))
    assert [*found.planes] == [1, 2, 3, 4, 5]
    assert [*found.checksums] == [*range(8)]
    assert stack_range(layout_of((8, 20, 24)), 3) == range(0)
