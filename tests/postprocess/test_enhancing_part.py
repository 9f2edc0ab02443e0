"""The enhancing part of a probability: the same as the rule on masks, for every threshold."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from napari_unet_tumour.errors import ModelError
from napari_unet_tumour.models.spec import ModelSpec, with_labels
from napari_unet_tumour.postprocess import enhancing_part
from napari_unet_tumour.postprocess.threshold import mask_from_probability
from napari_unet_tumour.settings import ENHANCING, WHOLE, SegmentSettings

SPEC = ModelSpec("small", "none")
SHAPES = st.tuples(st.integers(1, 24), st.integers(1, 24))
PLANES = SHAPES.flatmap(
    lambda shape: arrays(np.uint8, (1, *shape), elements=st.sampled_from([0, 3, 90, 128, 200, 255]))
)


def disc(radius):
    """Return the pixels within a distance of the middle one."""
    reach = int(radius)
    return np.hypot(*np.mgrid[-reach : reach + 1, -reach : reach + 1]) <= radius


def grown(mask, radius):
    return ndimage.binary_dilation(mask, disc(radius)) if mask.any() else mask


@given(PLANES, st.floats(0, 9))
def test_the_highest_value_around_is_that_of_a_filter(plane, radius):
    expected = ndimage.maximum_filter(plane[0], footprint=disc(radius), mode="constant", cval=0)
    np.testing.assert_array_equal(enhancing_part.highest_around(plane[0], radius), expected)


@settings(max_examples=50)
@given(st.data(), st.sampled_from([0.25, 0.5, 1.0, 2.0, 3.3]))
def test_it_is_the_grown_masks_bright_pixels_at_every_threshold(data, unit):
    plane = data.draw(PLANES)
    bright = data.draw(arrays(bool, plane.shape[1:]))
    found = enhancing_part.enhancing(plane, bright, unit)
    for level in (1, 90, 128, 201, 255):
        expected = grown(plane[0] >= level, 2 * unit) & bright
        np.testing.assert_array_equal(found[0] >= level, expected)


@settings(max_examples=200)
@given(st.data(), st.booleans(), st.sampled_from([0.1, 0.5, 0.9]))
def test_no_pixel_is_far_from_the_mask_of_the_whole(data, flip_tta, threshold):
    plane = data.draw(PLANES)
    bright = data.draw(arrays(bool, plane.shape[1:]))
    chosen = SegmentSettings(threshold=threshold, flip_tta=flip_tta)
    part = enhancing_part.keep_empty(enhancing_part.enhancing(plane, bright, 1.0), plane, chosen)
    mask, whole = (mask_from_probability(one, chosen) > 0 for one in (part, plane))
    np.testing.assert_array_equal(mask, grown(whole, 2) & bright)


def test_brightness_is_a_z_score_of_the_brighter_part():
    values = np.random.default_rng(0).gamma(2.0, 100, (40, 50)).astype(np.float32)
    bright = values[values > values.mean()].astype(float)
    spread = 1.48 * np.median(abs(bright - np.median(bright)))
    expected = (values - np.median(bright)) / spread
    np.testing.assert_allclose(enhancing_part.brightness(values), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(enhancing_part.brightness(values[:3], values), expected[:3], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, -7.0, 1e30])
def test_a_blank_slice_has_no_bright_pixel(value):
    assert not enhancing_part.brightness(np.full((5, 6), value, np.float32)).any()


def test_two_grey_values_are_dark_and_bright():
    values = np.zeros((8, 8), np.float32)
    values[2:6, 2:6] = 100
    values[3, 3] = 101
    found = enhancing_part.brightness(values)
    assert (found > enhancing_part.LEAST_BRIGHT).sum() == 1
    assert np.isfinite(found).all()


@pytest.mark.parametrize(
    ("channels", "labels", "offered"),
    [
        (("T1ce",), ("background", "tumour"), True),
        (("t1gd",), ("background", "lesion"), True),
        (("T1",), ("background", "tumour"), False),
        (("grey",), ("background", "tumour"), False),
        (("FLAIR",), ("background", "tumour"), False),
        (("T1ce", "FLAIR"), ("background", "tumour"), False),
        (("T1ce",), ("background", "edge", "core"), False),
        (("red", "green", "blue"), ("background", "tumour"), False),
    ],
    ids=str,
)
def test_which_models_have_it(channels, labels, offered):
    spec = replace(SPEC, channels=channels, labels=labels)
    assert enhancing_part.has_enhancing_part(spec) is offered
    enhancing_part.check_part(spec, WHOLE)
    assert enhancing_part.label_names(spec, WHOLE) == labels
    assert enhancing_part.label_names(spec, ENHANCING) == (("background", "enhancing part") if offered else labels)
    if not offered:
        with pytest.raises(ModelError, match=r"model small cannot show the enhancing part: .* leave the part out"):
            enhancing_part.check_part(spec, ENHANCING)


def test_a_model_with_another_class_shows_the_whole():
    assert with_labels(replace(SPEC, part=ENHANCING), ["oedema"], "").part == WHOLE


def test_it_needs_neither_scipy_nor_scikit_image_nor_torch():
    code = (
        "import sys, napari_unet_tumour.engine.inference.part; "
        "print({'scipy', 'skimage', 'torch'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")
