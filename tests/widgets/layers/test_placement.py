"""Mask layers on another place than their image: the world decides, not the array."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_unet_tumour.base.slicing import layout_of
from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.measure import measure
from napari_unet_tumour.widgets.layers import placement
from napari_unet_tumour.widgets.layers.image_source import KEY
from napari_unet_tumour.widgets.layers.labels import image_of, own_mask
from napari_unet_tumour.widgets.layers.world import spacing_of
from napari_unet_tumour.widgets.measure.layers import measured, scan_for

# napari says so of layers whose axes run along others of the world; here nothing is looked at.
pytestmark = pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
SHAPE = (6, 20, 24)
TILT = np.array([[1, 0, 0, 5], [0, 0.8, -0.6, -20], [0, 0.6, 0.8, 7], [0, 0, 0, 1.0]])
MM = {"scale": (5.0, 1.0, 0.5), "units": ["mm"] * 3}


def drawn():
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:3, 4:9, 3:12] = 2
    return mask


def grey():
    return np.random.default_rng(0).normal(100, 10, SHAPE) + 500 * (drawn() > 0)


def viewer_of(image, mask, labels=None):
    viewer = ViewerModel()
    viewer.add_image(grey(), name="scan", **image)
    viewer.add_labels(drawn() if labels is None else labels, name="drawn", **mask)
    return viewer


def report_of(viewer, **options):
    one = measured(viewer.layers["drawn"], viewer.layers["scan"], False, **options)
    labels, note = one.on_grid()
    return one, measure(labels, one.scan, **one.options), note


FLIPPED = {"scale": (5.0, -1.0, 0.5), "translate": (0, 19, 0), "units": ["mm"] * 3}
CROPPED = {"scale": (5.0, 1.0, 0.5), "translate": (5.0, 3.0, 1.0), "units": ["mm"] * 3}
MICRONS = {"scale": (5000.0, 1000.0, 500.0), "units": ["um"] * 3}
ROTATED = {"scale": (5.0, 0.5, 1.0), "rotate": (90, 0, 0), "units": ["mm"] * 3}


@pytest.mark.parametrize(
    ("image", "mask", "labels", "words"),
    [
        (MM, MM, drawn(), ""),
        (MM, MICRONS, drawn(), ""),
        (MICRONS, MM, drawn(), ""),
        (MM, FLIPPED, drawn()[:, ::-1], "rows flipped"),
        (FLIPPED, MM, drawn()[:, ::-1], "rows flipped"),
        (MM, CROPPED, drawn()[1:4, 3:12, 2:16], "filled up"),
        ({**MM, "affine": TILT}, {**CROPPED, "affine": TILT}, drawn()[1:4, 3:12, 2:16], "filled up"),
        ({}, {"translate": (1, 3, 2)}, drawn()[1:4, 3:12, 2:16], "filled up"),
        ({}, {"scale": (1, 1, -1), "translate": (0, 0, 23)}, drawn()[..., ::-1], "columns flipped"),
        (
            MM,
            {"affine": np.array([[0, 5, 0, 0], [1, 0, 0, 0], [0, 0, 0.5, 0], [0, 0, 0, 1]]), "units": ["mm"] * 3},
            drawn().transpose(1, 0, 2),
            "axes reordered",
        ),
    ],
)
def test_the_lesion_report_places_the_mask_where_it_lies(image, mask, labels, words):
    _, plain, _ = report_of(viewer_of(image, image))
    one, moved, note = report_of(viewer_of(image, mask, labels))
    assert moved.lesions[0].brightness == plain.lesions[0].brightness
    assert moved.lesions[0].volume == pytest.approx(plain.lesions[0].volume)
    assert moved.lesions[0].longest == pytest.approx(plain.lesions[0].longest)
    if words:
        assert moved.lesions == plain.lesions
        assert words in note
        assert one.layer.name == "scan"
    else:
        assert note == ""


def test_slices_are_chosen_by_the_masks_axis_and_meant_where_it_lies():
    turned = {"affine": np.array([[0, 5, 0, 0], [1, 0, 0, 0], [0, 0, 0.5, 0], [0, 0, 0, 1]]), "units": ["mm"] * 3}
    _, plain, _ = report_of(viewer_of(MM, MM), slice_axis=1)
    one, moved, _ = report_of(viewer_of(MM, turned, drawn().transpose(1, 0, 2)), slice_axis=0)
    assert one.options["slice_axis"] == 1
    assert moved.lesions == plain.lesions


def test_a_mask_without_a_place_goes_by_pixel_and_that_is_said():
    one, report, note = report_of(viewer_of(MM, {}))
    assert report.units == "mm"
    assert "no common place" in note
    assert one.where is None


@pytest.mark.parametrize(
    ("mask", "labels", "words"),
    [
        ({**MM, "translate": (500, 0, 0)}, drawn(), "'drawn' lies elsewhere than 'scan'"),
        ({**MM, "translate": (25, 0, 0)}, drawn(), None),
        ({}, drawn()[1:], "has other pixels than 'drawn'"),
    ],
)
def test_a_mask_of_another_place_is_refused(mask, labels, words):
    viewer = viewer_of(MM, mask, labels)
    with pytest.raises(ScanError, match=words or "what 'drawn' marks lies outside 'scan'"):
        report_of(viewer)


def test_the_report_chooses_the_image_that_the_mask_lies_on():
    viewer = viewer_of({**MM, "translate": (900, 0, 0)}, CROPPED, drawn()[1:4, 3:12, 2:16])
    assert scan_for(viewer, viewer.layers["drawn"]) is None
    viewer.add_image(grey(), name="under", **MM)
    assert scan_for(viewer, viewer.layers["drawn"]).name == "under"


def test_correct_works_on_a_copy_on_the_image_and_leaves_the_persons_layer():
    viewer = viewer_of(MM, FLIPPED, drawn()[:, ::-1].copy())
    image, mask = viewer.layers["scan"], viewer.layers["drawn"]
    before = mask.data.copy()
    layout = layout_of(SHAPE)
    copy = placement.on_image(viewer, mask, image, layout)
    assert copy is not mask
    np.testing.assert_array_equal(copy.data, drawn())
    np.testing.assert_array_equal(mask.data, before)
    np.testing.assert_allclose(copy.scale, image.scale)
    assert placement.on_image(viewer, mask, image, layout) == copy
    assert placement.on_image(viewer, copy, image, layout) == copy
    assert len(viewer.layers) == 3
    assert image_of(viewer, copy) == image
    assert own_mask(viewer, image) is None  # no run writes into it
    mask.data[0, 0, 0] = 1
    assert placement.on_image(viewer, mask, image, layout) not in (copy, mask)
    assert copy.metadata[KEY]["moved_from"]


def test_an_image_with_channels_lends_its_place():
    viewer = ViewerModel()
    image = viewer.add_image(
        np.stack([grey(), grey()]), name="both", scale=(1, 5, 1, 0.5), units=["pixel", *["mm"] * 3]
    )
    mask = viewer.add_labels(drawn()[:, ::-1].copy(), **FLIPPED)
    copy = placement.on_image(viewer, mask, image, layout_of((2, *SHAPE), "czyx"))
    np.testing.assert_array_equal(copy.data, drawn())
    np.testing.assert_allclose(copy.scale, (5, 1, 0.5))


@pytest.mark.parametrize(
    "place",
    [
        {"scale": (-5, 1, -0.5), "units": ["mm"] * 3},
        {"scale": (5000, 1000, 500), "units": ["um"] * 3},
        {"affine": TILT @ np.diag([5, 1, 0.5, 1]), "units": ["mm"] * 3},
    ],
)
def test_spacing_is_a_length_however_a_layer_lies(place):
    viewer = ViewerModel()
    assert spacing_of(viewer.add_image(grey(), **place)) == pytest.approx((5, 1, 0.5))
