"""The window at opening shows the pixels, whatever the header says."""

import numpy as np
import pytest

from napari_unet_tumour.look.grey_window import (
    AUTOMATIC,
    CT,
    WHOLE,
    Window,
    automatic,
    is_hounsfield,
    is_visible,
    opening,
    presets,
    sample,
)


def mr(scale=1.0, seed=0):
    """Half background, then tissue, and one spike."""
    rng = np.random.default_rng(seed)
    values = np.concatenate([np.zeros(5000), rng.normal(400, 80, 5000).clip(50)])
    values[-1] = 60_000
    return values * scale


def ct(seed=0):
    rng = np.random.default_rng(seed)
    return np.concatenate([np.full(4000, -1024.0), rng.normal(35, 12, 5000), rng.normal(900, 200, 1000)])


def clipped(window, values):
    bright = values[values > values.min()]
    return np.mean(bright >= window.high), np.mean(bright <= window.low)


@pytest.mark.parametrize(
    "header", [None, (40, 80), (400, 1), (30_000, 60_000), (2e9, 4e9), (-500, 200), (100, -5), (100, 0)]
)
@pytest.mark.parametrize("scale", [1e-3, 1, 1e4])
def test_an_mr_is_never_saturated_whatever_the_header_says(header, scale):
    values = mr(scale)
    window = opening(values, "MR", header)
    white, black = clipped(window, values)
    assert white <= 0.05
    assert black <= 0.5
    assert window.width <= 4 * automatic(values).width


def test_a_header_that_fits_is_taken():
    assert opening(mr(), "MR", (400, 700)) == Window(50, 750)
    assert opening(ct(), "CT", (40, 80)) == Window(0, 80)


def test_a_ct_opens_with_soft_tissue_and_offers_the_usual_windows():
    assert is_hounsfield(ct(), "CT")
    assert is_hounsfield(ct(), "")
    assert not is_hounsfield(mr(), "")
    assert not is_hounsfield(ct(), "MR")
    assert opening(ct(), "CT", (5000, 100)) == Window.of(40, 400)
    assert presets(ct(), "CT")["Brain"] == Window(0, 80)
    assert set(CT) < set(presets(ct(), ""))
    assert opening(np.arange(210.0), "CT", (50, 100)) == Window(0, 100), "half of a CT may be white on purpose"
    # A CT whose values are shifted, as some programs leave them, is no Hounsfield.
    assert "Brain" not in presets(ct() + 1024, "CT")
    assert opening(ct() + 1024, "CT") == automatic(ct() + 1024)


def test_presets_of_an_mr_are_percentiles_of_the_scan():
    small, large = presets(mr(1), "MR"), presets(mr(10), "MR")
    assert list(small) == [AUTOMATIC, "Soft contrast", "Strong contrast", "Bright lesions", WHOLE]
    assert all(one.low < one.high for one in small.values())
    for name, window in small.items():
        assert (large[name].low, large[name].high) == pytest.approx((window.low * 10, window.high * 10))


@pytest.mark.parametrize("values", [[], [7.0], [7.0, 7.0], [0.0, 1.0]])
def test_odd_values_have_a_window_too(values):
    array = np.array(values)
    window = opening(array, "MR", (40, 80))
    assert window.low < window.high
    assert all(one.low < one.high for one in presets(array).values())
    assert not is_visible(Window(0, 1), array[:1])


def test_a_sample_is_finite_and_small():
    array = np.full((300, 300, 10), np.nan)
    array[0, 0, 0], array[::4, 0, 0] = np.inf, 5
    assert set(sample(array).tolist()) == {5.0}
    assert sample(np.ones((1000, 1000))).size <= 128**2


def test_a_window_is_remembered_relative_to_the_automatic_one():
    one, other = automatic(mr(1)), automatic(mr(20))
    chosen = Window(200, 600)
    again = other.part(chosen.relative_to(one))
    assert (again.low, again.high) == pytest.approx((4000, 12_000))
    assert (chosen.level, chosen.width) == (400, 400)
