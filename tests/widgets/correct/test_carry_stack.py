"""What carrying is given of a case: neighbours, spacing, and the network's own answers."""

from types import SimpleNamespace

import numpy as np
import pytest
from napari.layers import Image

from napari_unet_tumour.base.compressed import CompressedArray
from napari_unet_tumour.base.slicing import layout_of, with_slice_distance
from napari_unet_tumour.models.spec import ModelSpec
from napari_unet_tumour.postprocess.threshold import mask_from_probability
from napari_unet_tumour.settings import SegmentSettings
from napari_unet_tumour.widgets.correct import carry_stack
from napari_unet_tumour.widgets.layers.predictions import PlanePrediction, PredictionCache


def part_of(image, layout):
    return SimpleNamespace(image=image, layout=layout)


def test_spacing_is_that_of_the_displayed_axes():
    array = np.zeros((4, 5, 6), np.uint8)
    image = Image(array, scale=(6, 2, 0.5), units=["mm"] * 3)
    flat = with_slice_distance(layout_of(array.shape), 0, (6, 2, 0.5))
    assert carry_stack.spacing(part_of(image, flat)) == pytest.approx((2, 0.5, 6))
    turned = with_slice_distance(layout_of(array.shape, rows=1, columns=0), 2, (6, 2, 0.5))
    assert carry_stack.spacing(part_of(image, turned)) == pytest.approx((2, 6, 0.5))
    micrometres = Image(array, scale=(6000, 2000, 500), units=["um"] * 3)
    assert carry_stack.spacing(part_of(micrometres, flat)) == pytest.approx((2, 0.5, 6))
    assert carry_stack.spacing(part_of(Image(array), with_slice_distance(flat, 0, (1, 1, 1)))) == (None, None, None)
    assert carry_stack.spacing(part_of(Image(array, scale=(6, 2, 0.5)), flat)) == pytest.approx((2, 0.5, 6))
    over_time = part_of(image, layout_of(array.shape))
    assert carry_stack.spacing(over_time)[2] == 0
    assert not carry_stack.stack_of(over_time, 2)
    channels = Image(np.zeros((2, 4, 5, 6)), scale=(1, 6, 2, 0.5), units=["pixel", "mm", "mm", "mm"])
    assert carry_stack.spacing(
        part_of(channels, with_slice_distance(layout_of((2, 4, 5, 6), axes="czyx"), 1, (1, 6, 2, 0.5)))
    ) == pytest.approx((2, 0.5, 6))


def test_time_points_are_stacks_of_their_own():
    layout = with_slice_distance(layout_of((3, 4, 5, 6)), 1, (1, 6, 2, 0.5))
    assert carry_stack.stack_of(part_of(None, layout), 6) == range(4, 8)
    assert not carry_stack.stack_of(part_of(None, layout_of((5, 6))), 0)


def plane(number, value, carried=False):
    """Return a prediction that is `value` everywhere."""
    values = np.full((1, 4, 4), value, np.uint8)
    return PlanePrediction(number, None, CompressedArray(values), CompressedArray(values[0] // 128), carried=carried)


def test_the_networks_own_answer_is_kept_beside_a_carried_one():
    cache, first = PredictionCache(layout_of((3, 4, 4))), plane(1, 200)
    cache.keep(first)
    cache.keep(plane(1, 90, carried=True))
    cache.keep(plane(1, 80, carried=True))
    assert cache.own(1) is first
    assert cache.planes[1].carried
    assert cache.answers == 1
    cache.keep(plane(2, 90, carried=True))
    assert cache.own(2) is None
    cache.keep(newer := plane(1, 10))
    assert cache.own(1) is cache.planes[1] is newer
    assert cache.answers == 2


def test_a_carried_answer_without_a_correction_behind_it_goes_back():
    layout = with_slice_distance(layout_of((3, 4, 4)), 0, (6, 1, 1))
    part = SimpleNamespace(layout=layout, array=np.zeros((3, 4, 4)), first=0)
    spec = ModelSpec("net", "lite-unet")
    own, shown = {1: plane(1, 200)}, {1: plane(1, 0, carried=True), 2: plane(2, 255, carried=True)}
    stack = carry_stack.CarryStack(part, range(3), {}, own, shown, spec, SegmentSettings(), (None, None, None))
    found = stack.answers()
    assert not found.follow
    assert [one.number for one in found.back] == [1, 2]
    assert found.back[0].mask.array().all()
    assert not found.back[1].mask.array().any()


def test_the_faint_rim_of_a_lesion_that_was_left_out_does_not_show():
    """The threshold follows the highest probability: without its lesion a slice's rim would pass it."""
    rows, columns = np.mgrid[:64, :64]
    away = np.hypot(rows - 32, columns - 32)
    probability = np.clip(240 - 14 * away, 0, 255).astype(np.uint8)[None]
    settings = SegmentSettings(threshold=0.5, flip_tta=True, min_object_size=1)
    whole = mask_from_probability(probability, settings)
    stack = SimpleNamespace(_model_settings=lambda plane: settings)
    for shown, expected in ((np.zeros_like(whole), np.zeros_like(probability)), (whole, probability)):
        plane = PlanePrediction(0, None, CompressedArray(probability), CompressedArray(shown), True)
        np.testing.assert_array_equal(carry_stack.CarryStack._shown_lesions(stack, plane), expected)
