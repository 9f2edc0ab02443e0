import doctest
import importlib

import numpy as np
import pytest

from napari_unet_tumour import api, errors, load_model, scans, segment
from napari_unet_tumour.models import registry
from napari_unet_tumour.scans.scan import Scan
from napari_unet_tumour.settings import SegmentSettings

# The package's `segment` is the function of that name.
segmenting = importlib.import_module("napari_unet_tumour.api.segment")


def test_segments_an_array_a_scan_and_a_file_alike(bright, blob, tmp_path):
    path = scans.write_mask(tmp_path / "blob.tif", blob, Scan(blob, "yx"))
    for image in (blob, Scan(blob, "yx"), path, str(path)):
        found = segment(image, bright)
        np.testing.assert_array_equal(found.mask, blob > 127)
        assert found.labels == ("background", "tumour")
        assert found.probability.shape == (1, 1, 64, 64)


def test_a_loaded_model_can_be_used_again_and_again(bright, blob):
    model = load_model(bright)
    assert model.spec.name == "bright"
    np.testing.assert_array_equal(segment(blob.T, model).mask, blob.T > 127)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_every_axis_of_a_volume_can_be_sliced(bright, blob, axis):
    volume = np.zeros((64, 64, 64), np.uint8)
    volume[20:30] = blob
    found = segment(volume, bright, axis=axis)
    np.testing.assert_array_equal(found.mask, volume > 127)


def test_channels_go_and_time_stays(bright, blob):
    colours = np.repeat(blob[..., None], 3, -1)
    assert segment(colours, bright).mask.shape == (64, 64)
    series = np.stack([blob, blob])[:, None]
    found = segment(series, bright, axes="tzyx", axis=1)
    np.testing.assert_array_equal(found.mask, series > 127)


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((64, 64), "yx"),
        ((5, 64, 64), "zyx"),
        ((64, 64, 3), "yxc"),
        ((64, 4, 4), "zyx"),
        ((2, 5, 64, 64), "tzyx"),
        ((5, 64, 64, 4), "zyxc"),
    ],
)
def test_guesses_the_axes_of_an_array(shape, axes):
    assert segmenting._scan_of(np.zeros(shape, np.uint8), None).axes == axes


def test_settings_replace_the_models_own(bright, blob):
    image = blob.copy()
    image[60, 60] = 255
    assert segment(image, bright).mask[60, 60] == 1
    assert segment(image, bright, SegmentSettings(min_object_size=4)).mask[60, 60] == 0
    assert segment(image, bright, SegmentSettings(keep_largest=True)).mask[60, 60] == 0


def test_keeping_the_largest_piece_counts_in_three_dimensions(bright, blob):
    volume = np.stack([blob, blob, np.roll(blob, 30, 0)])
    found = segment(volume, bright, SegmentSettings(keep_largest=True))
    assert found.mask.any((1, 2)).tolist() == [True, True, False]


def test_progress_is_reported_and_its_listener_can_stop_the_work(bright, blob):
    ticks = []
    segment(np.stack([blob] * 3), bright, on_tick=ticks.append)
    assert (ticks[-1].done, ticks[-1].total) == (3, 3)

    def stop(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        segment(blob, bright, on_tick=stop)


@pytest.mark.parametrize(
    ("spacing", "expected"),
    [((5, 1, 1), 0), ((1, 5, 1), 1), ((1, 1, 5), 2), ((1, 1.1, 1), 0), ((1, 1, 1), 0), ((2, 2, 1), 0)],
)
def test_the_slice_axis_is_the_one_with_clearly_the_largest_spacing(spacing, expected):
    scan = Scan(np.zeros((2, 3, 4)), "zyx", affine=np.diag([*spacing, 1.0]), units="mm")
    assert api.slice_axis(scan) == expected
    timed = Scan(np.zeros((9, 2, 3, 4)), "tzyx", affine=np.diag([*spacing, 1.0]), units="mm")
    assert api.slice_axis(timed) == expected + 1
    shown = [n for n in range(1, 4) if n != expected + 1]
    assert [api.layout_for(timed).rows, api.layout_for(timed).columns] == shown


def test_a_plane_has_no_slice_axis():
    assert api.slice_axis(Scan(np.zeros((3, 4)), "yx")) is None
    assert api.layout_for(Scan(np.zeros((7, 3, 4)), "tyx")).planes == 7


@pytest.mark.parametrize(
    ("axes", "axis", "words"),
    [("yx", 0, "single plane"), ("zyx", 3, "choose one of 0, 1, 2"), ("tzyx", 0, "choose one of 1, 2, 3")],
)
def test_an_axis_that_cannot_be_sliced_is_refused(axes, axis, words):
    with pytest.raises(errors.ScanError, match=words):
        api.layout_for(Scan(np.zeros([4] * len(axes)), axes, name="head"), axis)


@pytest.mark.parametrize("image", [np.zeros(5), np.zeros((0, 5)), np.zeros((2,) * 5), np.zeros((4, 4), complex)])
def test_an_array_that_is_no_scan_is_refused_in_words(bright, image):
    with pytest.raises(errors.ScanError):
        segment(image, bright)


def test_missing_file_and_missing_model_are_named(bright, blob, tmp_path):
    with pytest.raises(errors.ScanError, match=r"gone\.png does not exist"):
        segment(tmp_path / "gone.png", bright)
    with pytest.raises(errors.ModelError, match="no model is called 'nope'"):
        segment(blob, "nope")


def test_the_example_in_the_documentation_runs():
    if not registry.entries():
        pytest.skip("no model ships yet")
    results = doctest.DocTestRunner(verbose=False)
    (example,) = [one for one in doctest.DocTestFinder().find(segmenting.segment, "segment") if one.examples]
    results.run(example)
    assert (results.failures, results.tries > 3) == (0, True)
