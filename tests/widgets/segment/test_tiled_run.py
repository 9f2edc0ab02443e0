"""Images too large for memory: their masks lie on disk and fill part by part."""

import dask.array as da
import numpy as np
import pytest
import zarr

from napari_unet_tumour.widgets.segment import tiled_run
from shared_window import make_napari_viewer, window_of_file  # noqa: F401 - these tests share a window


@pytest.fixture
def small_limits(monkeypatch):
    """What is large is a matter of a few pixels."""
    monkeypatch.setattr(tiled_run, "PLANE", 1000 * 1000)


@pytest.fixture
def slide():
    image = np.full((1500, 1100), 30, np.uint8)
    image[200:300, 150:400] = 230
    image[1300:1400, 900:1000] = 230
    return image


def test_a_large_image_gets_a_mask_on_disk_that_can_be_painted(opened, small_limits, slide):
    w = opened(lambda viewer: viewer.add_image(da.from_array(slide, chunks=(512, 512)), name="slide", scale=(2, 2)))
    mask = w.run()
    assert "parts" not in w.status, w.status
    assert isinstance(mask.data, zarr.Array)
    assert mask.name == "slide mask"
    assert tuple(mask.scale) == (2, 2)
    np.testing.assert_array_equal(mask.data[:] > 0, slide > 127)
    mask.data_setitem((np.array([5]), np.array([6])), 1)
    assert mask.data[5, 6] == 1
    assert str(mask.data.store).count(str(tiled_run.os.getpid()))


def test_a_pyramid_of_an_image_gives_a_pyramid_of_a_mask(opened, small_limits, slide):
    levels = [slide, slide[::2, ::2], slide[::4, ::4]]
    w = opened(lambda viewer: viewer.add_image(levels, name="slide", multiscale=True))
    mask = w.run()
    assert mask.multiscale
    for found, image in zip(mask.data, levels, strict=True):
        assert found.shape == image.shape
        assert ((found[:] > 0) == (image > 127)).mean() > 0.99


def test_a_long_stack_is_written_slice_by_slice_the_shown_one_first(opened, scan, monkeypatch):
    stack = scan(40, 64, 64)
    monkeypatch.setattr(tiled_run, "is_large", lambda *given: True)
    monkeypatch.setattr("napari_unet_tumour.widgets.segment.widget.is_large", lambda *given: True)
    told = []
    monkeypatch.setattr(tiled_run, "TileWritten", lambda *given: told.append(given[0]) or _written(*given))
    w = opened(lambda viewer: viewer.add_image(da.from_array(stack, chunks=(1, 64, 64)), name="stack"))
    w.viewer.dims.set_current_step(0, 30)
    mask = w.run()
    assert told[:3] == [30, 29, 31]
    np.testing.assert_array_equal(mask.data[:] > 0, stack > 127)


_written = tiled_run.TileWritten


def test_cancel_keeps_the_parts_that_are_done(opened, small_limits, slide, qtbot):
    image = np.tile(slide, (3, 3))
    w = opened(lambda viewer: viewer.add_image(image, name="slide"))
    w.panel.form["memory"].value = 128
    w.click(w.panel.run)
    w.wait(lambda: w.panel.bar.value >= 1)
    w.click(w.panel.run)
    w.wait(lambda: not w.widget.running)
    assert w.status.startswith("Cancelled") or "in " in w.status


def test_a_middling_image_in_windows_keeps_its_live_threshold(opened, slide):
    w = opened(lambda viewer: viewer.add_image(slide, name="slide"))
    mask = w.run()
    assert isinstance(mask.data, np.ndarray)
    np.testing.assert_array_equal(mask.data > 0, slide > 127)


def test_levels_show_the_pixels_that_lie_in_them():
    fine = np.arange(101 * 67, dtype=np.uint8).reshape(101, 67)
    levels = [zarr.zeros(shape, dtype="u1") for shape in ((101, 67), (51, 34), (25, 17))]
    pyramid = tiled_run.Pyramid(levels)
    for top in range(0, 101, 30):
        for left in range(0, 67, 25):
            where = (slice(top, min(top + 30, 101)), slice(left, min(left + 25, 67)))
            pyramid[where] = fine[where]
    np.testing.assert_array_equal(levels[0][:], fine)
    for level in levels[1:]:
        rows, columns = (
            ((np.arange(n) + 0.5) * whole / n).astype(int) for n, whole in zip(level.shape, fine.shape, strict=True)
        )
        np.testing.assert_array_equal(level[:], fine[np.ix_(rows, columns)])
