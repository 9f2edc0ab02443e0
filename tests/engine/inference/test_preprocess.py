from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_unet_tumour.engine.inference.preprocess import to_working_planes, working_frame
from napari_unet_tumour.errors import ModelError, ScanError
from napari_unet_tumour.models.spec import ModelSpec

GREY = ModelSpec("grey", "none", size=64)
RAW = ModelSpec("raw", "none", normalisation="divide-by-255", size=64)
COLOUR = ModelSpec("colour", "none", channels=("red", "green", "blue"), normalisation="divide-by-255", size=64)
SIDES = st.integers(1, 4096)


@given(SIDES, SIDES, st.sampled_from([64, 100, 256]))
def test_frame_keeps_the_aspect_and_pads_to_multiples_of_32(height: int, width: int, size: int) -> None:
    frame = working_frame(height, width, size)
    assert max(frame.inner) == size
    for side, inner, padded in zip((height, width), frame.inner, frame.padded, strict=True):
        assert abs(inner - side * size / max(height, width)) <= 0.5 or inner == 1
        assert padded % 32 == 0
        assert inner <= padded < inner + 32
    assert tuple(part.stop - part.start for part in frame.window) == frame.inner


@pytest.mark.parametrize(("height", "width"), [(4096, 4096), (4096, 1), (1, 4096), (1, 1), (511, 513)])
def test_extreme_sizes_go_there_and_back(height: int, width: int) -> None:
    ramp = np.linspace(0, 255, height * width, dtype=np.float32).reshape(1, 1, height, width)
    planes = to_working_planes(ramp, RAW)
    assert planes.working.shape[2:] == planes.frame.padded
    back = planes.frame.back(planes.working)
    assert back.shape == (1, 1, height, width)
    assert abs(float(back.mean()) * 255 - ramp.mean()) < 2


@given(st.sampled_from([(1, 1), (64, 1), (200, 1), (200, 3), (4096, 3), (1, 200), (3, 200)]), st.booleans())
def test_narrow_planes_are_averaged_whole(shape: tuple[int, int], noisy: bool) -> None:
    rng = np.random.default_rng(0)
    raw = (rng.random((1, 1, *shape)) if noisy else np.linspace(0, 1, shape[0] * shape[1]).reshape(1, 1, *shape)) * 255
    working = to_working_planes(raw, RAW)
    rows, columns = working.frame.window
    assert abs(float(working.working[..., rows, columns].mean()) - raw.mean() / 255) < 0.05
    checked = torch.rand(1, 1, *working.frame.padded)
    assert abs(float(working.frame.back(checked).mean() - checked[..., rows, columns].mean())) < 0.05


@given(st.integers(1, 150), st.integers(1, 150))
def test_a_ramp_keeps_its_place(height: int, width: int) -> None:
    """Resizing there and back moves nothing: a linear ramp stays itself away from the borders."""
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    planes = to_working_planes(np.stack([rows, columns])[:, None], RAW)
    back = planes.frame.back(planes.working)[:, 0].numpy() * 255
    coarse = max(1.0, max(height, width) / 64)
    rim = int(np.ceil(2 * coarse))
    inside = np.s_[rim : height - rim, rim : width - rim]
    np.testing.assert_allclose(back[0][inside], rows[inside], atol=0.1 * coarse)
    np.testing.assert_allclose(back[1][inside], columns[inside], atol=0.1 * coarse)


DTYPES = [
    *(np.dtype(order + kind) for order in "<>" for kind in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")),
    *(np.dtype(order + kind) for order in "<>" for kind in ("f2", "f4", "f8")),
    np.dtype("bool"),
    np.dtype("longdouble"),
]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_type_gives_the_same_picture(dtype: np.dtype) -> None:
    picture = np.random.default_rng(0).integers(0, 2, (2, 1, 40, 30))
    expected = to_working_planes(picture.astype(np.float32), GREY).working
    raw = picture.astype(dtype)
    raw.flags.writeable = False
    torch.testing.assert_close(to_working_planes(raw, GREY).working, expected)


@pytest.mark.parametrize("value", [3.40282357e38, -1e300, 1.7e308])
def test_a_constant_beyond_float32_is_a_blank_plane(value: float) -> None:
    for spec in (GREY, RAW):
        made = to_working_planes(np.full((1, 1, 5, 5), value), spec)
        assert not made.working.any()
        assert made.blank == (True,)


@given(st.sampled_from(DTYPES), st.data())
def test_any_value_gives_finite_planes(dtype: np.dtype, data: st.DataObject) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=2, max_dims=2, max_side=9))
    raw = data.draw(hnp.arrays(dtype, (1, 1, *shape)))
    for spec in (GREY, RAW):
        assert to_working_planes(raw, spec).working.isfinite().all()


@given(st.floats(1e-300, 1e300), st.floats(-1e9, 1e9))
@example(6.76e-12, 0.0)
def test_any_scale_of_float64_is_seen(scale: float, offset: float) -> None:
    picture = np.random.default_rng(0).random((1, 1, 64, 64))
    planes = to_working_planes((picture + offset / scale if abs(offset / scale) < 1e6 else picture) * scale, GREY)
    expected = to_working_planes(picture, GREY).working
    assert float((planes.working - expected).abs().max()) < 0.02


def test_gaps_become_the_planes_own_extremes() -> None:
    raw = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4) + 10
    raw[0, 0, 1, 1], raw[0, 0, 2, 2], raw[0, 0, 3, 0] = np.nan, np.inf, -np.inf
    before = raw.copy()
    filled = raw.copy()
    filled[0, 0, 1, 1], filled[0, 0, 2, 2], filled[0, 0, 3, 0] = 10, 25, 10
    torch.testing.assert_close(to_working_planes(raw, RAW).working, to_working_planes(filled, RAW).working)
    np.testing.assert_array_equal(raw, before)


def test_blank_planes_are_marked() -> None:
    raw = np.zeros((5, 1, 33, 57), np.float32)
    raw[1] = 100.3
    raw[2] = np.nan
    raw[3, 0, 5:20, 5:20] = 7
    raw[4] = np.nan
    raw[4, 0, 0, 0] = 3
    planes = to_working_planes(raw, GREY)
    assert planes.blank == (True, True, True, False, True)
    assert planes.working.isfinite().all()


@pytest.mark.parametrize("dtype", ["complex64", "object", "U3", "datetime64[s]"])
def test_what_is_no_number_is_refused(dtype: str) -> None:
    with pytest.raises(ScanError, match=r"first$"):
        to_working_planes(np.zeros((1, 1, 4, 4)).astype(dtype), GREY)


def test_colours_fit_grey_and_colour_models() -> None:
    rgba = np.random.default_rng(0).integers(0, 256, (1, 4, 64, 64), np.uint8)
    rgb = rgba[:, :3]
    luminance = (rgb * np.array([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdims=True).astype(np.float32)
    for colours in (rgb, rgba):
        torch.testing.assert_close(to_working_planes(colours, RAW).working, to_working_planes(luminance, RAW).working)
        torch.testing.assert_close(to_working_planes(colours, COLOUR).working, torch.from_numpy(rgb / np.float32(255)))
    grey = to_working_planes(rgb[:, :1], COLOUR).working
    assert grey.shape[1] == 3
    torch.testing.assert_close(grey[:, 0], grey[:, 2])
    four = ModelSpec("four", "none", channels=("T1", "T1ce", "T2", "FLAIR"), size=64)
    assert to_working_planes(rgba, four).working.shape[1] == 4


@pytest.mark.parametrize(("given", "spec"), [(2, GREY), (5, GREY), (2, COLOUR), (5, COLOUR)])
def test_other_channels_are_refused_with_both_numbers(given: int, spec: ModelSpec) -> None:
    with pytest.raises(ModelError, match=f"needs {spec.in_channels} channel.* the scan has {given}") as caught:
        to_working_planes(np.zeros((1, given, 8, 8)), spec)
    assert all(name in str(caught.value) for name in spec.channels)
    with pytest.raises(ModelError, match=r"T1, T2"):
        to_working_planes(np.zeros((1, 1, 8, 8)), ModelSpec("two", "none", channels=("T1", "T2")))


def test_a_plane_does_not_depend_on_its_company() -> None:
    raw = np.random.default_rng(0).random((7, 1, 90, 70))
    together = to_working_planes(raw, GREY).working
    for n in range(7):
        assert torch.equal(to_working_planes(raw[n : n + 1], GREY).working[0], together[n])
