"""The enhancing part of a scan: of any type, size and axis, in memory and in tiles."""

from dataclasses import replace

import dask.array
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_unet_tumour.base.slicing import layout_of
from napari_unet_tumour.base.steps import exhaust
from napari_unet_tumour.corrections import ReviewedContext
from napari_unet_tumour.engine.inference.part import with_part
from napari_unet_tumour.engine.inference.segment import iter_segment_planes, segment
from napari_unet_tumour.engine.model import Model
from napari_unet_tumour.errors import ModelError
from napari_unet_tumour.models.spec import ModelSpec
from napari_unet_tumour.postprocess.enhancing_part import brightness
from napari_unet_tumour.settings import ENHANCING, SegmentSettings
from napari_unet_tumour.tiling.grid import intensity_sample

SPEC = ModelSpec("threshold", "none", normalisation="divide-by-255")
WHOLE_PLANE = SegmentSettings(device="cpu", remove_isolated=False)
PART = replace(WHOLE_PLANE, part=ENHANCING)


class Threshold(torch.nn.Module):
    """Sees a tumour in pixels brighter than 100, of 255."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x[:, :1] - 100 / 255) * 400


MODEL = Model(SPEC, Threshold().eval(), "0" * 12)


def drawn(height=256, width=256):
    """Return grey values (H, W) uint8 with a ring of 230 around a core of 110, in tissue of 60 to 90, in air."""
    rows, columns = np.mgrid[:height, :width]
    away = np.hypot(rows - height / 2, columns - width / 3)
    values = 75 + 15 * np.sin(rows / 9.0) * np.cos(columns / 7.0)
    values[abs(columns - width / 2) > width / 3] = 0
    values[away < 28] = 230
    values[away < 14] = 110
    return values.astype(np.uint8)


def rule(plane, whole):
    """Return the part by the rule on masks, as it is written in docs/lab/model.md."""
    disc = np.hypot(*np.mgrid[-2:3, -2:3]) <= 2
    known = plane.astype(float)
    bright = known[known > known.mean()]
    if not bright.size:
        return np.zeros(plane.shape, bool)
    score = (known - np.median(bright)) / max(1.48 * np.median(abs(bright - np.median(bright))), 1e-3 * np.ptp(known))
    return ndimage.binary_dilation(whole, disc) & (score > 0.25)


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 1, 0)])
def test_it_is_the_rule_on_every_axis(order):
    volume = np.stack([drawn(), np.full((256, 256), 7, np.uint8), drawn()[:, ::-1]])
    expected = np.stack([rule(plane, plane > 100) for plane in volume])
    assert expected[0].any()
    assert not expected[1].any()
    array = np.ascontiguousarray(volume.transpose(np.argsort(order)))
    layout = layout_of(array.shape, rows=order[1], columns=order[2])
    found = segment(MODEL, array, layout, PART)
    np.testing.assert_array_equal(found.mask.transpose(order), expected)
    assert found.labels == ("background", "enhancing part")


def test_whole_is_as_before():
    volume = np.stack([drawn(), drawn()[::-1]])
    found = segment(MODEL, volume, layout_of(volume.shape), WHOLE_PLANE)
    np.testing.assert_array_equal(found.mask, volume > 100)
    assert found.labels == ("background", "tumour")


@pytest.mark.parametrize(
    "change",
    [
        lambda plane: plane.astype(np.float64) * 1e4 - 3e5,
        lambda plane: plane.astype(">i2") - 500,
        lambda plane: np.where(np.arange(256) < 4, np.nan, plane),
        lambda plane: np.where(np.arange(256) < 4, np.inf, plane.astype(np.float32)),
        lambda plane: plane.astype(np.float64) * 1e-300,
    ],
    ids=["wide", "int16", "nan", "inf", "tiny"],
)
def test_the_type_of_the_pixels_does_not_matter(change):
    plane = drawn()
    probability = np.where(plane > 100, 255, 0).astype(np.uint8)[None]
    expected = with_part(plane[None], probability, SPEC, PART)
    found = with_part(change(plane)[None], probability, SPEC, PART)
    inside = np.s_[:, :, 8:]  # not where pixels have no value
    assert (found[inside] != expected[inside]).mean() < 0.01
    assert found.any()


def test_colours_are_their_luminance():
    plane = drawn()
    probability = np.where(plane > 100, 255, 0).astype(np.uint8)[None]
    expected = with_part(plane[None], probability, SPEC, PART)
    for count in (3, 4):
        found = with_part(np.stack([plane] * count), probability, SPEC, PART)
        assert (found != expected).mean() < 0.001


@pytest.mark.parametrize("by", [(2, 2), (3, 3), (4, 4)], ids=str)
def test_a_finer_grid_gives_the_same_part(by):
    coarse = drawn()
    fine = np.kron(coarse, np.ones(by, np.uint8))
    small, large = (
        with_part(one[None], np.where(one > 100, 255, 0).astype(np.uint8)[None], SPEC, PART)[0] > 0
        for one in (coarse, fine)
    )
    again = large[by[0] // 2 :: by[0], by[1] // 2 :: by[1]]
    assert 2 * (small & again).sum() / (small.sum() + again.sum()) > 0.97


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40), st.booleans(), st.booleans())
def test_it_is_never_where_the_network_sees_nothing(seed, height, width, flip_tta, blank):
    rng = np.random.default_rng(seed)
    plane = np.full((1, height, width), 3.0) if blank else rng.normal(0, 100, (1, height, width))
    probability = (rng.integers(0, 256, (1, height, width)) * (rng.random((1, height, width)) < 0.1)).astype(np.uint8)
    chosen = replace(PART, flip_tta=flip_tta)
    found = with_part(plane, probability, SPEC, chosen)
    assert found.dtype == np.uint8
    assert found.max() <= probability.max()
    near = ndimage.maximum_filter(probability, (1, 5, 5), mode="constant")
    assert not found[near == 0].any()
    assert not (blank and found.any())
    assert not with_part(plane, 0 * probability, SPEC, chosen).any()


@pytest.mark.parametrize("downsample", [1, 2])
def test_tiles_fit_together(downsample):
    """What a tile's part grows from may lie in the next tile."""
    plane = np.tile(drawn(), (2, 2)).repeat(downsample, 0).repeat(downsample, 1)
    plane[190 * downsample : 200 * downsample] = 240  # along the edge of a tile
    tiled = replace(PART, tiling="tiled", downsample=downsample)
    small = Model(replace(SPEC, size=64), Threshold().eval(), "2" * 12)
    lazy = dask.array.from_array(plane, chunks=(300, 300))
    together, apart = (
        segment(small, one, layout_of(plane.shape), replace(tiled, memory=memory)).mask > 0
        for one, memory in ((plane, 4096), (lazy, 8 * downsample**2))
    )
    assert together.any()
    np.testing.assert_array_equal(apart, together)
    if downsample == 1:
        sample = intensity_sample(lambda region: plane[None][(slice(None), *region)], plane.shape)[0]
        bright = brightness(plane.astype(np.float32), sample.astype(np.float32)) > 0.25
        disc = np.hypot(*np.mgrid[-2:3, -2:3]) <= 2
        np.testing.assert_array_equal(together, ndimage.binary_dilation(plane > 100, disc) & bright)


def test_a_model_without_it_says_so():
    grey = Model(replace(SPEC, channels=("grey",)), Threshold().eval(), "1" * 12)
    with pytest.raises(ModelError, match="cannot show the enhancing part"):
        segment(grey, drawn()[None], layout_of((1, 256, 256)), PART)


def test_what_was_learnt_of_one_part_is_not_for_the_other(monkeypatch):
    """The habit and the corrected slices that a model file keeps show the part that it was fine-tuned on."""
    monkeypatch.setattr(
        "napari_unet_tumour.postprocess.outline_habit.with_habit",
        lambda plane, probability, spec, settings: np.full_like(probability, 255),
    )
    asked = []
    monkeypatch.setattr(
        "napari_unet_tumour.engine.inference.segment._recalled", lambda spec, planes: asked.append(spec.part)
    )
    planes = drawn()[None, None]
    for part in ("whole", ENHANCING):
        spec = replace(SPEC, part=part, habit={"weights": [0.0]}, corrected=[{}])
        model = Model(spec, Threshold().eval(), f"{part:0<12}"[:12])
        for chosen in (WHOLE_PLANE, PART):
            found = exhaust(iter_segment_planes(model, planes, chosen, ReviewedContext()))
            assert bool(found.min() == 255) is (chosen.part == part)
    assert asked == ["whole", ENHANCING]
