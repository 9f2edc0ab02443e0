from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_unet_tumour.engine.metrics.overlap import METRICS

EMPTY = np.zeros((6, 6), np.uint8)
BOX = EMPTY.copy()
BOX[1:4, 1:4] = 1
MASKS = hnp.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def test_known_values() -> None:
    shifted = np.roll(BOX, 1, axis=1) * 3
    scores = {name: metric(shifted, BOX) for name, metric in METRICS.items()}
    assert scores == pytest.approx(
        {
            "dice": 2 / 3,
            "iou": 0.5,
            "precision": 2 / 3,
            "recall": 2 / 3,
            "accuracy": 30 / 36,
            "hd95": 1.0,
        }
    )


def test_empty_masks_give_nan_where_a_score_is_undefined() -> None:
    undefined = {
        "both": {name for name, metric in METRICS.items() if math.isnan(metric(EMPTY, EMPTY))},
        "mask": {name for name, metric in METRICS.items() if math.isnan(metric(EMPTY, BOX))},
        "truth": {name for name, metric in METRICS.items() if math.isnan(metric(BOX, EMPTY))},
    }
    assert undefined == {
        "both": {"precision", "recall", "hd95"},
        "mask": {"precision", "hd95"},
        "truth": {"recall", "hd95"},
    }
    assert METRICS["dice"](EMPTY, EMPTY) == 1
    assert METRICS["dice"](EMPTY, BOX) == METRICS["dice"](BOX, EMPTY) == 0


@given(MASKS)
def test_identical_masks_score_best(mask: np.ndarray) -> None:
    if mask.any():
        assert METRICS["dice"](mask, mask) == METRICS["iou"](mask, mask) == METRICS["accuracy"](mask, mask) == 1
        assert METRICS["hd95"](mask, mask) == 0


def test_distance_follows_the_spacing() -> None:
    far = np.roll(BOX, 2, axis=0)
    assert METRICS["hd95"](far, BOX, (0.5, 3.0)) == pytest.approx(1.0)


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
@given(st.integers(0, 10_000), st.sampled_from([(20, 24), (8, 12, 10)]))
def test_hd95_is_monais(seed: int, shape: tuple[int, ...]) -> None:
    metrics = pytest.importorskip("monai.metrics")
    rng = np.random.default_rng(seed)
    # Apart from the border of the image, where MONAI looks at the padded crop.
    masks = np.zeros((2, *shape), bool)
    masks[(slice(None), *(slice(1, -1),) * len(shape))] = rng.random((2, *(n - 2 for n in shape))) > 0.8
    spacing = tuple(rng.uniform(0.3, 4, len(shape)).tolist())
    theirs = metrics.compute_hausdorff_distance(
        *(torch.from_numpy(mask)[None, None] for mask in masks), include_background=True, percentile=95, spacing=spacing
    )
    assert METRICS["hd95"](masks[0], masks[1], spacing) == pytest.approx(float(theirs), rel=1e-4)
