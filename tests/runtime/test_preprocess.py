"""Preprocessing and its inverse in numpy equal those in torch, which training uses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from napari_unet_tumour.engine.inference import preprocess as in_torch
from napari_unet_tumour.errors import ModelError, ScanError
from napari_unet_tumour.models.spec import ModelSpec
from napari_unet_tumour.runtime import preprocess

GREY = ModelSpec("grey", "none")
COLOUR = ModelSpec("colour", "none", channels=("red", "green", "blue"), size=64, normalisation="divide-by-255")
SHAPES = [(256, 256), (512, 512), (240, 155), (300, 7), (1, 90), (90, 1), (17, 23), (1000, 640), (512, 333)]


def noise(shape: tuple[int, ...], dtype: str) -> np.ndarray[Any, Any]:
    made: np.ndarray[Any, Any] = (np.random.default_rng(0).random(shape) ** 3 * 3000).astype(dtype)
    made[..., : shape[-2] // 4, :] = 0
    return made


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("channels", "spec", "dtype"), [(1, GREY, "u2"), (3, GREY, "f4"), (3, COLOUR, "f8")])
def test_a_working_image_is_the_one_of_torch(shape, channels, spec, dtype):
    raw = noise((2, channels, *shape), dtype)
    ours, theirs = preprocess.as_planes(raw, spec), in_torch.to_working_planes(raw, spec)
    assert (ours.frame.native, ours.frame.inner, ours.frame.padded) == (
        theirs.frame.native, theirs.frame.inner, theirs.frame.padded
    )  # fmt: skip
    assert ours.working.dtype == np.float32
    np.testing.assert_allclose(ours.working, theirs.working.numpy(), atol=5e-4)
    assert ours.varied.tolist() == theirs.varied.tolist()


@pytest.mark.parametrize("shape", SHAPES)
def test_an_answer_comes_back_as_in_torch(shape):
    made = preprocess.as_planes(noise((1, 1, *shape), "f4"), GREY)
    answer = np.random.default_rng(1).random((1, 2, *made.frame.padded), np.float32)
    theirs = in_torch.to_working_planes(noise((1, 1, *shape), "f4"), GREY).back(torch.from_numpy(answer))()
    difference = abs(made.back(answer[0]).astype(int) - theirs[0])
    assert difference.max() <= 1
    assert difference.mean() < 0.01


@pytest.mark.parametrize("value", [0.0, 7.0, -3e38, np.nan, np.inf])
def test_a_constant_plane_is_blank(value):
    raw = np.full((1, 1, 40, 40), value)
    made = preprocess.as_planes(raw, GREY)
    assert not made.varied.any()
    assert np.isfinite(made.working).all()


@pytest.mark.parametrize("scale", [1e-300, 1e-20, 1.0, 1e30, 1e300])
def test_gaps_and_any_unit_give_what_torch_gives(scale):
    raw = noise((1, 1, 64, 48), "f8") * scale
    raw[0, 0, 5, 5], raw[0, 0, 6, 6], raw[0, 0, 7, 7] = np.nan, np.inf, -np.inf
    ours, theirs = preprocess.as_planes(raw, GREY), in_torch.to_working_planes(raw, GREY)
    np.testing.assert_allclose(ours.working, theirs.working.numpy(), atol=5e-4)


def test_what_is_no_picture_is_refused():
    with pytest.raises(ScanError, match="complex"):
        preprocess.as_planes(np.zeros((1, 1, 8, 8), complex), GREY)
    with pytest.raises(ModelError, match="needs 1 channel"):
        preprocess.as_planes(np.zeros((1, 2, 8, 8)), GREY)
