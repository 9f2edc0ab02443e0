"""Similarity of a mask and the true mask. An undefined score is NaN, never a substitute number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[Any]
Spacing = Sequence[float] | None
Metric = Callable[[Mask, Mask, Spacing], float]


def counts(mask: Mask, truth: Mask) -> tuple[int, int, int]:
    """Return the number of pixels in both, in the mask and in the truth."""
    found, real = mask != 0, truth != 0
    return int(np.count_nonzero(found & real)), int(np.count_nonzero(found)), int(np.count_nonzero(real))


def dice(mask: Mask, truth: Mask, spacing: Spacing = None) -> float:
    """Return 2 |both| / (|mask| + |truth|), 0..1; 1 where both are empty."""
    both, found, real = counts(mask, truth)
    return 2 * both / (found + real) if found + real else 1.0


def soft_dice(mask: Mask, truth: Mask) -> float:
    """Return the Dice against fractions 0..1, e.g. the mean of several readers' masks; 1 if both are empty."""
    found, share = mask != 0, np.asarray(truth, np.float64)
    whole = float(np.count_nonzero(found)) + float(share.sum())
    return float(2 * share[found].sum() / whole) if whole else 1.0


def iou(mask: Mask, truth: Mask, spacing: Spacing = None) -> float:
    """Return |both| / |either|, 0..1; 1 where both are empty."""
    both, found, real = counts(mask, truth)
    return both / (found + real - both) if found + real else 1.0


def precision(mask: Mask, truth: Mask, spacing: Spacing = None) -> float:
    """Return the fraction of the mask that is in the truth, 0..1; NaN for an empty mask."""
    both, found, _ = counts(mask, truth)
    return both / found if found else float("nan")


def recall(mask: Mask, truth: Mask, spacing: Spacing = None) -> float:
    """Return the fraction of the truth that is in the mask, 0..1; NaN for an empty truth."""
    both, _, real = counts(mask, truth)
    return both / real if real else float("nan")


def accuracy(mask: Mask, truth: Mask, spacing: Spacing = None) -> float:
    """Return the fraction of correct pixels, 0..1."""
    return float(np.mean((mask != 0) == (truth != 0)))


def hd95(mask: Mask, truth: Mask, spacing: Spacing = None) -> float:
    """Return the 95th percentile of the distance between the borders, the larger of both directions.

    In mm if `spacing` (mm per axis) is given, else in pixels; NaN if either mask is empty. Equal to MONAI's
    compute_hausdorff_distance(percentile=95).
    """
    found, real = _cropped(mask != 0, truth != 0)
    if not (found.any() and real.any()):
        return float("nan")
    found, real = _border(found), _border(real)
    there = ndimage.distance_transform_edt(~real, sampling=spacing)[found]
    back = ndimage.distance_transform_edt(~found, sampling=spacing)[real]
    return float(max(np.percentile(there, 95), np.percentile(back, 95)))


def _cropped(found: NDArray[np.bool_], real: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    box = ndimage.find_objects((found | real).view(np.uint8))
    return (found[box[0]], real[box[0]]) if box else (found, real)


def _border(where: NDArray[np.bool_]) -> NDArray[np.bool_]:
    inner: NDArray[np.bool_] = ndimage.binary_erosion(where)
    return where & ~inner


METRICS: dict[str, Metric] = {
    "dice": dice,
    "iou": iou,
    "precision": precision,
    "recall": recall,
    "accuracy": accuracy,
    "hd95": hd95,
}
