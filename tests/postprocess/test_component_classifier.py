"""Components that are no tumour are lowered, with the pixels nearest to them; the others keep their probability."""

import numpy as np
import pytest

from napari_unet_tumour.postprocess.component_classifier import (
    LOWERED,
    Slice,
    factors,
    features_of,
    likelihoods,
    limits,
    pieces_of,
)
from napari_unet_tumour.postprocess.threshold import mask_from_probability
from napari_unet_tumour.settings import SegmentSettings

COUNT = 37
AREA, BRIGHTER = 0, 20


def weights(**given):
    """Return a classifier that looks at one feature: its value, less `at`, is the answer."""
    hidden = np.zeros((COUNT, 2))
    hidden[given["feature"]] = given.get("sign", 1), -given.get("sign", 1)
    net = {"hidden": hidden.tolist(), "hidden_bias": [0, 0], "out": [1, -1], "out_bias": -given["at"]}
    return {"mean": [0] * COUNT, "scale": [1] * COUNT, "networks": [net], "cut": 0.0}


def head(size=128):
    y, x = np.mgrid[:size, :size] - size / 2
    image = np.where(y**2 + (1.2 * x) ** 2 < (0.42 * size) ** 2, 1.0, -2.0).astype(np.float32)
    return image, y, x


@pytest.fixture
def shown():
    """A bright and a dark lump that the network is equally sure of, each with a skirt of low probability."""
    image, y, x = head()
    probability = np.zeros_like(image)
    for at, grey in ((-20, 2.0), (20, 0.2)):
        away = np.hypot(y, x - at)
        image[away < 8] = grey
        probability = np.maximum(probability, np.clip(1 - away / 16, 0, 1).astype(np.float32))
    return Slice(image, probability, probability)


def test_features_are_finite_and_as_many_as_documented(shown):
    pieces, numbers = pieces_of(shown, 0.5, 30)
    found = np.stack(features_of(shown, pieces, numbers))
    assert found.shape == (2, COUNT)
    assert np.isfinite(found).all()
    assert sorted(found[:, BRIGHTER] > 0.5) == [False, True]


def test_the_dark_piece_goes_and_the_bright_one_stays_to_the_bit(shown):
    made = factors(shown, weights(feature=BRIGHTER, at=0.5), 0.5, 30)
    assert (made[:, :60] == 1).all()
    after = shown.mean * made
    assert after[:, 68:].max() == pytest.approx(LOWERED, abs=1e-3)
    settings = SegmentSettings(flip_tta=True, min_object_size=30)
    mask = mask_from_probability((after * 255).astype(np.uint8)[None], settings)
    assert mask[:, :64].any()
    assert not mask[:, 64:].any()


def test_what_appears_when_the_threshold_falls_is_looked_at_too(shown):
    faint = Slice(shown.image, shown.own.copy(), shown.mirrored.copy())
    faint.own[:, :64] *= 0.35  # under the threshold while the other piece is there
    faint.mirrored[:, :64] *= 0.35
    assert len(pieces_of(faint, 0.5, 30)[1]) == 1
    made = factors(faint, weights(feature=AREA, at=100), 0.5, 30)
    mask = mask_from_probability(
        (faint.mean * made * 255).astype(np.uint8)[None], SegmentSettings(flip_tta=True, min_object_size=30)
    )
    assert not mask.any()


def test_nothing_changes_where_all_is_likely_or_nothing_is_found(shown):
    assert factors(shown, weights(feature=AREA, at=-100), 0.5, 30) is None
    empty = Slice(shown.image, np.zeros_like(shown.own), np.zeros_like(shown.own))
    assert factors(empty, weights(feature=AREA, at=100), 0.5, 30) is None


@pytest.mark.parametrize("shape", [(32, 32), (64, 256), (256, 64)])
@pytest.mark.parametrize("grey", [0.0, 1.0])
def test_odd_slices_stay_finite(shape, grey):
    image = np.full(shape, grey, np.float32)
    probability = np.ones(shape, np.float32)
    slice_ = Slice(image, probability, probability, two=False)
    pieces, numbers = pieces_of(slice_, 0.5, 1)
    found = np.stack(features_of(slice_, pieces, numbers))
    assert np.isfinite(found).all()
    assert np.isfinite(likelihoods(found, weights(feature=AREA, at=0))).all()


def test_more_goes_in_a_slice_unlike_the_training_slices(shown):
    strict = {**weights(feature=BRIGHTER, at=0.5), "cut": -9.0, "cut_unlike": 0.0}
    assert factors(shown, strict, 0.5, 30) is None
    assert factors(shown, strict, 0.5, 30, unlike=True) is not None


def test_a_component_that_stays_is_limited_by_its_likelihood(shown):
    made = limits(shown, weights(feature=BRIGHTER, at=0.5), 0.5, 30)
    np.testing.assert_array_equal(made.factor, factors(shown, weights(feature=BRIGHTER, at=0.5), 0.5, 30))
    pieces, numbers = pieces_of(shown, 0.5, 30)
    bright = pieces == pieces[64, 44]
    features = np.stack(features_of(shown, pieces, numbers))[numbers.index(pieces[64, 44])]
    assert made.limit[bright] == pytest.approx(0.5 + 0.5 / (1 + np.exp(0.5 - features[BRIGHTER])), abs=1e-3)
    assert made.limit[64, 80] == 1, "one that goes has no limit"
    sure = weights(feature=AREA, at=-100)
    assert limits(shown, sure, 0.5, 30) is None
