"""Limiting the probability of doubtful components never changes the mask at the model's own threshold."""

import numpy as np
import pytest

from napari_unet_tumour.postprocess.component_check import _limited
from napari_unet_tumour.postprocess.threshold import mask_from_probability
from napari_unet_tumour.settings import SegmentSettings


@pytest.mark.parametrize("raised", [True, False])
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.65])
def test_the_mask_is_the_same_to_the_pixel_and_the_limit_holds(raised, threshold):
    rng = np.random.default_rng(3)
    settings = SegmentSettings(threshold=threshold, flip_tta=raised, min_object_size=1)
    for top in (255, 254, 200, 128, 127, 100, 60, 1, 0):
        values = np.rint(rng.random((40, 40)) * top).astype(np.float32)
        limit = np.where(np.arange(40) < 20, 255 * rng.uniform(0.66, 1), 255).astype(np.float32)
        limit = np.broadcast_to(limit, values.shape)
        found = _limited(values, limit, threshold, raised)
        before, after = (mask_from_probability(one.astype(np.uint8)[None], settings) for one in (values, found))
        np.testing.assert_array_equal(after, before)
        assert (found <= np.rint(limit)).all()
        assert (found <= values + 1).all()
