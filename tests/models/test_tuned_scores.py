"""What a fine-tuned version's file says of its fine-tuning."""

import numpy as np
import pytest
from safetensors.numpy import load, save

from napari_unet_tumour.errors import ModelError
from napari_unet_tumour.models.spec import KEY, ModelSpec, spec_of, with_scores
from napari_unet_tumour.models.tuned_scores import in_words, tuned_scores


def row(scan, before, after, far=(None, None)):
    return {
        "scan": scan,
        "slice": 1,
        "before": {"dice": before, "iou": 0.5, "hd95": far[0]},
        "after": {"dice": after, "iou": 0.5, "hd95": far[1]},
    }


ROWS = [row("a", 0.5, 0.75, (10.0, 4.0)), row("b", 0.75, 1.0, (None, 6.0))]


def test_scores_are_the_means_of_the_scored_slices_in_mm_where_every_scan_has_a_pixel_size():
    found = tuned_scores(ROWS, learnt=3, scans=2, pixel_mm={"a": 0.5, "b": 2.0})
    assert found == {
        "learnt_slices": 3, "learnt_scans": 2, "scored_slices": 2, "dice_before": 0.625, "dice": 0.875,
        "hd95_mm_before": 5.0, "hd95_mm": 7.0,
    }  # fmt: skip
    in_pixels = tuned_scores(ROWS, 3, 2, {"a": 0.5})
    assert (in_pixels["hd95_px_before"], in_pixels["hd95_px"]) == (10.0, 5.0)
    assert "hd95_mm" not in in_pixels


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        ({}, ""),
        ({"dice_mean": 0.8}, ""),
        (tuned_scores([], 1, 1), "Fine-tuned on 1 slice that you corrected; no slice was kept for scoring"),
        (
            tuned_scores(ROWS, 3, 2, {"a": 0.5, "b": 2.0}),
            "Fine-tuned on 3 slices of 2 scans that you corrected. On 2 slices kept for scoring: "
            "Dice 0.62 → 0.88, HD95 5.0 → 7.0 mm",
        ),
        (
            tuned_scores([row("a", 0.5, 0.75)], 2, 1, {"a": 1.0}),
            "Fine-tuned on 2 slices that you corrected. On 1 slice kept for scoring: Dice 0.50 → 0.75",
        ),
    ],
)
def test_scores_in_words(scores, words):
    assert in_words(ModelSpec("tuned", "dynunet", scores=scores)) == words


@pytest.mark.parametrize("name", ["a", "longer", "a name that moves the weights"])
def test_scores_are_put_into_a_file_and_its_weights_stay(name):
    spec = ModelSpec(name, "dynunet", parent="0123456789ab", scores={"old": 1.0})
    weights = {"w": np.arange(7, dtype=np.float16), "x": np.ones((2, 3), np.float32)}
    data = save(weights, {KEY: spec.to_json(), "other": "stays"})
    found = with_scores(data, {"dice": 0.5})
    assert spec_of(found, "it").scores == {"dice": 0.5}
    assert spec_of(found, "it").parent == "0123456789ab"
    assert all(np.array_equal(load(found)[key], value) for key, value in weights.items())
    assert with_scores(found, {"old": 1.0}) == with_scores(data, {"old": 1.0})
    with pytest.raises(ModelError, match="not a model file"):
        with_scores(b"nothing", {})
