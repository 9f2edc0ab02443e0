"""How a reader outlines a lesion that the network has found: learnt from corrected slices, used on scans like these.

A linear rule on a few numbers per pixel (`postprocess.outline_features`) is added to the network's log odds, within and
close around the components of the network's own mask. So it moves outlines, and never gives a slice without a mask
one. It is fitted by least squares: what a scan contributes is a matrix and a vector, which the model file keeps, so
that later scans add to it. Scans that look like the training slices, not like the corrected ones, keep the network's
own outlines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.base.labels import UNSURE
from napari_unet_tumour.postprocess.outline_features import OutlinePixels, outline_pixels
from napari_unet_tumour.scans.training_match import features_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_unet_tumour.models.spec import ModelSpec
    from napari_unet_tumour.settings import SegmentSettings

    Values = NDArray[np.float64]
    # Raw grey values (C, H, W), the network's probability (1, H, W) uint8, and the corrected mask (H, W).
    Corrected = tuple[NDArray[Any], NDArray[np.uint8], NDArray[Any]]

# The log odds that a corrected pixel should have, and the pull of the rule's numbers towards 0.
TARGET, RIDGE = 2.5, 1.0
# How much the log odds of the reader's outlines count where a correction is carried (`CarryWeights.network`).
SAY = 0.5
# From this place on, between the training slices (0) and the corrected ones (1), a slice counts as like the latter.
ALIKE = 0.7
# From so many scans on the rule counts everywhere, where they differ from the training slices by chance alone: where
# less than this share of the difference is more than that.
ENOUGH, LEAST_SURE = 4, 0.3
# The model file keeps what so many scans, the latest, have contributed.
MOST_SCANS = 32


@dataclass(frozen=True, eq=False)
class Lesson:
    """What a corrected slice says of how the reader outlines.

    Parameters
    ----------
    matrix, vector : numpy.ndarray
        (F, F) and (F,): what it adds to the least squares.
    pixels : OutlinePixels
        What it was found on.
    """

    matrix: Values
    vector: Values
    pixels: OutlinePixels


def can_learn(spec: ModelSpec) -> bool:
    """Tell whether a model can keep a reader's habit: with one label there is one outline."""
    return len(spec.labels) == 2


def contribution(
    scan: str,
    corrected: Iterable[Corrected],
    near: Iterable[NDArray[Any]],
    spec: ModelSpec,
    settings: SegmentSettings,
) -> dict[str, Any] | None:
    """Return what a scan's corrected slices say of the reader's habit, as plain numbers; None where that is nothing.

    Parameters
    ----------
    scan : str
        Its content id; what the same scan contributes later takes its place.
    corrected : iterable of tuple
        By slice: raw grey values (C, H, W), the network's own probability (1, H, W) uint8, the mask (H, W), where
        `UNSURE` pixels say nothing.
    near : iterable of numpy.ndarray
        (C, H, W) raw grey values of slices of the scan: they tell what scans the habit is for.
    spec : ModelSpec
        The model's description.
    settings : SegmentSettings
        With which the network's mask is made.
    """
    found = [lesson_of(*one, spec, settings) for one in corrected]
    lessons = [one for one in found if one is not None]
    if not lessons:
        return None
    matrix, vector = np.sum([one.matrix for one in lessons], 0), np.sum([one.vector for one in lessons], 0)
    looks = [look for plane in near if (look := _look(plane, spec)) is not None]
    look = np.mean(looks, 0) if looks else np.zeros(0)
    return {"scan": scan, "matrix": _numbers(matrix), "vector": _numbers(vector), "look": _numbers(look)}


def lesson_of(
    plane: NDArray[Any], probability: NDArray[np.uint8], mask: NDArray[Any], spec: ModelSpec, settings: SegmentSettings
) -> Lesson | None:
    """Return what one corrected slice says; the arguments are those of `contribution`.

    None where no lesion is drawn around the network's components that is as large as the network's own have to be.
    """
    pixels = outline_pixels(plane, probability, settings) if len(plane) == spec.in_channels else None
    if pixels is None:
        return None
    truth = mask[pixels.where]
    known = truth != UNSURE
    drawn = truth[known] != 0
    if np.count_nonzero(drawn) < max(1, settings.min_object_size):
        return None
    features = pixels.features[known]
    wanted = np.where(drawn, TARGET, -TARGET) - pixels.logit[known]
    return Lesson(features.T @ features / len(features), features.T @ wanted / len(features), pixels)


def rule_of(matrix: Values, vector: Values) -> Values:
    """Return the rule (F,) that the sums of lessons or of scans' contributions give."""
    return np.asarray(np.linalg.solve(matrix + RIDGE * np.eye(len(vector)), vector))


def habit_of(contributions: Sequence[Mapping[str, Any]], spec: ModelSpec) -> dict[str, Any]:
    """Return the habit that scans together tell of, for `ModelSpec.habit`; {} of none.

    Of several contributions of one scan the last counts.
    """
    latest = {one["scan"]: dict(one) for one in contributions}
    kept = [*latest.values()][-MOST_SCANS:]
    if not kept:
        return {}
    matrix, vector = (np.sum([one[name] for one in kept], 0) for name in ("matrix", "vector"))
    weights = rule_of(matrix, vector)
    looks = [one["look"] for one in kept if one["look"]]
    direction = _direction(np.array(looks), spec) if looks and spec.typical else np.zeros(0)
    return {"weights": _numbers(weights), "direction": _numbers(direction), "scans": kept}


def with_habit(
    plane: NDArray[Any], probability: NDArray[np.uint8], spec: ModelSpec, settings: SegmentSettings
) -> NDArray[np.uint8]:
    """Return the probability (1, H, W) uint8 of a slice with its outlines as the reader would draw them.

    Parameters
    ----------
    plane : numpy.ndarray
        (C, H, W) raw grey values.
    probability : numpy.ndarray
        (1, H, W) uint8, the network's answer.
    spec : ModelSpec
        The model's description, with the habit; without one, or for a slice that it is not for, the answer stays.
    settings : SegmentSettings
        With which the slice is segmented; the threshold of the model counts, whatever its own is.
    """
    if not _applies(plane, spec):
        return probability
    found = outline_pixels(plane, probability, settings)
    return probability if found is None else outlined(found, probability, np.asarray(spec.habit["weights"]), settings)


def outlined(
    found: OutlinePixels, probability: NDArray[np.uint8], rule: Values, settings: SegmentSettings
) -> NDArray[np.uint8]:
    """Return the probability (1, H, W) uint8 of a slice whose pixels are described, with a rule (F,) applied."""
    logit = found.logit + found.features @ rule
    for number in np.unique(found.component):
        own = found.component == number
        if np.count_nonzero(logit[own] >= 0) < max(1, settings.min_object_size):
            logit[own] = found.logit[own]  # no lesion disappears
    return _as_probability(probability, found, logit, settings)


def _as_probability(
    before: NDArray[np.uint8], found: OutlinePixels, logit: Values, settings: SegmentSettings
) -> NDArray[np.uint8]:
    """Return log odds as a probability whose surest pixel is 1, so that the threshold is the settings' own."""
    level = max(1, round(settings.threshold * 255))
    share = 1 / (1 + np.exp(-logit))
    above = level + (255 - level) * (share - 0.5) / max(float(share.max()) - 0.5, 1e-6)
    made = np.where(logit >= 0, above, 2 * share * (level - 1))
    new = np.minimum(before, level - 1).astype(np.uint8)
    new[0][found.where] = np.round(made).clip(0, 255)
    return new


def _applies(plane: NDArray[Any], spec: ModelSpec) -> bool:
    """Tell whether a slice looks like those that the habit was learnt from."""
    if not spec.habit or not can_learn(spec) or len(plane) != spec.in_channels:
        return False
    direction = np.asarray(spec.habit["direction"])
    if not direction.size:
        return True
    look = _look(plane, spec)
    return look is not None and float(look @ direction) >= ALIKE


def _look(plane: NDArray[Any], spec: ModelSpec) -> Values | None:
    """Return what a slice looks like, less the training slices' mean and in their standard deviations."""
    if not spec.typical:
        return None
    found = features_of(plane)
    return None if found is None else (found - np.asarray(spec.typical["mean"])) / np.asarray(spec.typical["scale"])


def _direction(looks: Values, spec: ModelSpec) -> Values:
    """Return the discriminant: 0 for the mean training slice, 1 for the mean of the scans' looks (n, F).

    It is empty where enough scans differ from the training slices by chance alone: then the habit is for all.
    """
    precision, centre = np.asarray(spec.typical["precision"]), looks.mean(0)
    apart = float(centre @ precision @ centre)
    if len(looks) >= ENOUGH:
        chance = float(np.trace(precision @ np.cov(looks.T))) / len(looks)
        if chance > (1 - LEAST_SURE) * apart:
            return np.zeros(0)
    return np.asarray(precision @ centre / max(apart, 1e-9))


def _numbers(values: NDArray[Any]) -> Any:
    """Return numbers as JSON keeps them, six digits each."""
    return np.vectorize(lambda one: float(f"{one:.6g}"), otypes=[object])(values).tolist() if values.size else []
