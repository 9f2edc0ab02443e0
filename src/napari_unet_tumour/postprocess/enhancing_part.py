"""The enhancing part of a tumour: what of the network's answer, and close around it, is bright.

The network outlines the whole tumour; some readers outline what takes up contrast medium, without necrosis. The rule:
the mask grown by 2 pixels, and of that the pixels that are brighter than the brighter part of the slice. Lengths are
in units of a 256th of the slice's longer side, the grid on which the network sees it, so the rule does not depend on
the resolution. The two numbers were chosen on scans of four patients, see docs/lab/model.md.

It is applied to the probability, not to a mask: growing a mask is the same as giving each pixel the highest
probability around it, for every threshold. So the threshold can change later, and all that follows in a mask's making
(the smallest object, neighbouring slices, carrying, a reader's habit) stays as it is.

numpy only: the worker starts without scipy and scikit-image.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.errors import ModelError
from napari_unet_tumour.postprocess.threshold import MIN_THRESHOLD_SCALE, effective_threshold
from napari_unet_tumour.scans.mr_sequences import sequence_of
from napari_unet_tumour.settings import ENHANCING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_unet_tumour.models.spec import ModelSpec
    from napari_unet_tumour.settings import SegmentSettings

    Values = NDArray[np.float32]

SIDE = 256
# Units by which the mask grows, and how bright a pixel must be, see `brightness`.
GROWTH, LEAST_BRIGHT = 2.0, 0.25
# Standard deviations of a normal distribution per median deviation.
PER_DEVIATION = 1.48
NAME = "enhancing part"


def has_enhancing_part(spec: ModelSpec) -> bool:
    """Tell whether a model can show the enhancing part: one channel, contrast-enhanced T1, and one label."""
    return len(spec.labels) == 2 and len(spec.channels) == 1 and sequence_of(spec.channels[0]) == "T1ce"


def check_part(spec: ModelSpec, part: str) -> None:
    """Raise ModelError if a model cannot show a part of the tumour."""
    if part == ENHANCING and not has_enhancing_part(spec):
        raise ModelError(
            f"model {spec.name} cannot show the enhancing part: that needs a model of contrast-enhanced T1 with one "
            "label; leave the part out, or choose another model"
        )


def label_names(spec: ModelSpec, part: str) -> tuple[str, ...]:
    """Return the names of the labels of a mask that shows a part of the tumour, background first."""
    return (spec.labels[0], NAME) if part == ENHANCING and has_enhancing_part(spec) else tuple(spec.labels)


def unit_of(shape: Sequence[int]) -> float:
    """Return how many pixels of a slice (H, W) make one unit."""
    return max(shape) / SIDE


def brightness(values: Values, sample: Values | None = None) -> Values:
    """Return grey values less the median of the slice's brighter part, over the spread of that part.

    Parameters
    ----------
    values : numpy.ndarray
        (H, W) float32, finite.
    sample : numpy.ndarray, optional
        Grey values from all over the slice; `values` by default. Its brighter part lies above its mean; the spread is
        1.48 median deviations.

    Returns
    -------
    numpy.ndarray
        (H, W) float32, 0 in a constant slice.
    """
    known = np.asarray(values if sample is None else sample, np.float64)
    low, high = float(known.min()), float(known.max())
    bright = known[known > known.mean()]
    if not bright.size or not high > low:
        return np.zeros(values.shape, np.float32)
    middle = float(np.median(bright))
    # Where half of the brighter part has one value, a thousandth of the range stands for the spread.
    spread = max(PER_DEVIATION * float(np.median(abs(bright - middle))), 1e-3 * (high - low))
    return np.asarray((values - middle) / spread, np.float32)


def enhancing(probability: NDArray[np.uint8], bright: NDArray[np.bool_], unit: float) -> NDArray[np.uint8]:
    """Return the probability of the enhancing part.

    Parameters
    ----------
    probability : numpy.ndarray
        (1, H, W) uint8, of the whole tumour.
    bright : numpy.ndarray
        (H, W) bool, the pixels whose `brightness` is above `LEAST_BRIGHT`.
    unit : float
        Pixels per unit, see `unit_of`.

    Returns
    -------
    numpy.ndarray
        (1, H, W) uint8: the highest probability within `GROWTH` units where a pixel is bright, 0 elsewhere.
    """
    found = np.zeros_like(probability)
    rows, columns = (np.flatnonzero(probability[0].any(axis)) for axis in (1, 0))
    if rows.size:
        room = int(GROWTH * unit)
        box = tuple(slice(max(0, int(one[0]) - room), int(one[-1]) + 1 + room) for one in (rows, columns))
        found[0][box] = np.where(bright[box], highest_around(probability[0][box], GROWTH * unit), 0)
    return found


def highest_around(values: NDArray[Any], radius: float) -> NDArray[Any]:
    """Return the highest value (H, W) within a distance of every pixel; beyond the edge there is nothing."""
    reach = int(radius)
    found = values.copy()
    for down in range(-reach, reach + 1):
        wide = _highest_beside(values, int(math.sqrt(radius**2 - down**2)))
        here, there = _overlap(down, len(values))
        np.maximum(found[here], wide[there], out=found[here])
    return found


def keep_empty(part: NDArray[np.uint8], whole: NDArray[np.uint8], settings: SegmentSettings) -> NDArray[np.uint8]:
    """Return the part's probability so that its mask stays within the grown mask of the whole tumour.

    With the mirrored copy the threshold follows the highest probability of the slice, see `effective_threshold`. Where
    a slice's surest pixel does not enhance, the threshold would fall, and show what the mask of the whole tumour does
    not. So what lay below the threshold becomes lower than any threshold that the settings can lead to.

    Parameters
    ----------
    part, whole : numpy.ndarray
        (1, H, W) uint8.
    settings : SegmentSettings
        Threshold and mirrored copy.
    """
    level = effective_threshold(whole[0], settings)
    if effective_threshold(part[0], settings) >= level:
        return part
    lowest = max(1, round(settings.threshold * MIN_THRESHOLD_SCALE * 255))
    return np.where(part >= level, part, np.minimum(part, lowest - 1)).astype(np.uint8)


def _highest_beside(values: NDArray[Any], reach: int) -> NDArray[Any]:
    """Return the highest value of up to so many columns to either side."""
    found, covered = values.copy(), 0
    while covered < reach:
        step = min(max(1, covered), reach - covered)
        before = found.copy()
        for across in (-step, step):
            here, there = _overlap(across, values.shape[1])
            np.maximum(found[:, here], before[:, there], out=found[:, here])
        covered += step
    return found


def _overlap(by: int, length: int) -> tuple[slice, slice]:
    """Return the places of an axis that have a place `by` further on, and those places."""
    low, high = max(0, -by), max(0, length - max(0, by))
    return slice(low, max(low, high)), slice(low + by, max(low, high) + by)
