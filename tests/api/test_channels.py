"""Several sequences of one patient from Python: a small two-channel model that sees tumour where FLAIR is bright."""

import numpy as np
import pytest
import torch

from napari_unet_tumour import errors, scans, segment
from napari_unet_tumour.engine import model
from napari_unet_tumour.models import registry
from napari_unet_tumour.models.spec import ModelSpec
from napari_unet_tumour.scans.scan import Scan


@pytest.fixture
def two(bright):
    spec = ModelSpec("two", "brightness", normalisation="divide-by-255", size=64, channels=("T1", "FLAIR"))
    weights = {"0.weight": torch.tensor([0.0, 200.0]).reshape(1, 2, 1, 1), "0.bias": torch.tensor([-100.0])}
    model.save(registry.user_models_dir() / "two.safetensors", spec, weights)
    return "two"


def test_files_scans_and_arrays_are_taken_by_name(two, blob, tmp_path):
    path = scans.write_mask(tmp_path / "flair.tif", blob, Scan(blob, "yx"))
    dark = np.zeros_like(blob)
    for flair in (blob, Scan(blob, "yx"), path, str(path)):
        np.testing.assert_array_equal(segment({"t1": dark, "FLAIR": flair}, two).mask, blob > 127)
    np.testing.assert_array_equal(segment({"FLAIR": dark, "T1": blob}, two).mask, 0 * blob)


def test_the_first_one_gives_the_grid(two, blob):
    places = np.diag([5.0, 1, 1, 1])
    flair = Scan(np.stack([blob] * 4), "zyx", places, "mm", "flair")
    shifted = places.copy()
    shifted[:3, 3] = 5, 12, 30
    t1 = Scan(np.zeros((2, 20, 30), np.uint8), "zyx", shifted, "mm", "t1")
    found = segment({"T1": t1, "FLAIR": flair}, two).mask
    expected = np.stack([blob[12:32, 30:60] > 127] * 2)
    assert found.shape == expected.shape
    # The network works on 64 pixels, so an edge may fall on the other side of a pixel.
    assert (found != expected).mean() < 0.05
    assert segment({"FLAIR": flair, "T1": flair}, two, axis=1).mask.shape == (4, 64, 64)


def test_a_fourth_axis_of_just_so_many_is_the_channels(two, blob):
    film = Scan(np.stack([np.zeros((3, 64, 64), np.uint8), np.stack([blob] * 3)]), "tzyx", np.eye(4), "mm")
    np.testing.assert_array_equal(segment(film, two).mask, film.array[1] > 127)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"T1": 0}, r"needs 2 channels \(T1, FLAIR\), nothing is given for FLAIR"),
        ({"T1": 0, "T9": 0, "FLAIR": 0}, "has no channel 'T9'"),
        ({"T1": 0, "t1": 0, "FLAIR": 0}, "given twice"),
    ],
)
def test_what_does_not_fit_the_model_is_named(two, blob, given, words):
    with pytest.raises(errors.ModelError, match=words):
        segment(dict.fromkeys(given, blob), two)
