"""A small classifier that tells how likely each component of a predicted mask is a tumour.

A network that was trained on few healthy heads marks the pituitary gland, marrow or the brain stem. The features of a
component are its probability, in the slice and in the mirror image, its size and shape, its contrast to its
surroundings and to the other side, and its place in the head. The weights lie in the model file's header. numpy only,
for use with torch and with ONNX Runtime.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage
from skimage.measure import perimeter

from napari_unet_tumour.postprocess.threshold import level_at

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Box = tuple[slice, slice]

# Highest probability that is left in a component that is no tumour: below the threshold of every slice, but it comes
# back if the user lowers the threshold.
LOWERED = 0.18
# Probability from which a pixel belongs to the component nearest to it.
SKIRT = 0.02
# A component with fewer pixels than this fraction of the smallest object is not classified: it is removed later anyway.
ALMOST = 0.7
# How often the components are classified again after some were removed.
ROUNDS = 4
# The ring around a component: its distance in pixels, and its width: fraction of the component's side, lowest, highest.
GAP, WIDTH, NARROW, WIDE = 2, 0.35, 4, 24
# From this value on a factor or a limit is none: the probability has 256 steps.
SURE = 1 - 1 / 512
TOUCHING = np.ones((3, 3))


@dataclass(frozen=True)
class Slice:
    """A slice as the network saw it, and its two predictions.

    Parameters
    ----------
    image : numpy.ndarray
        (H, W) float32, normalised.
    own, mirrored : numpy.ndarray
        (H, W) float32, the probability of the slice and of its mirror image; equal without test-time augmentation.
    two : bool
        Whether the mirror image was predicted too.
    """

    image: NDArray[np.float32]
    own: NDArray[np.float32]
    mirrored: NDArray[np.float32]
    two: bool = True

    @property
    def mean(self) -> NDArray[np.float32]:
        """The mean of the two predictions."""
        return np.asarray((self.own + self.mirrored) / 2, np.float32)


@dataclass(frozen=True)
class Limits:
    """What the classifier makes of a slice's probability.

    Parameters
    ----------
    factor : numpy.ndarray
        (H, W) float32 in 0..1, see `factors`.
    limit : numpy.ndarray
        (H, W) float32 in 0.5..1: 1/2 + likelihood/2 in and closely around each component that stays, 1 elsewhere.
    """

    factor: NDArray[np.float32]
    limit: NDArray[np.float32]


def limits(
    shown: Slice, weights: Mapping[str, Any], threshold: float, smallest: float, *, unlike: bool = False
) -> Limits | None:
    """Return what the classifier makes of a slice's probability, None if nothing changes; parameters as `factors`."""
    factor, pieces, numbers, likely = _judge(shown, weights, threshold, smallest, unlike)
    by_number = np.ones(int(pieces.max()) + 1, np.float32)
    by_number[numbers] = 0.5 + 0.5 / (1 + np.exp(-likely))
    if min(factor.min(), by_number.min()) >= SURE:
        return None
    return Limits(factor, np.asarray(ndimage.minimum_filter(by_number[pieces], size=5)))


def factors(
    shown: Slice, weights: Mapping[str, Any], threshold: float, smallest: float, *, unlike: bool = False
) -> NDArray[np.float32] | None:
    """Return the factor for the probability of every pixel, None if nothing changes.

    Parameters
    ----------
    shown : Slice
        A prediction of one label.
    weights : mapping
        The classifier, see `likelihoods`.
    threshold, smallest : float
        The model's own threshold, and its smallest object in pixels of this grid.
    unlike : bool
        Whether the slice looks unlike the training slices. Predictions are less reliable there, and `cut_unlike` holds.

    Returns
    -------
    numpy.ndarray or None
        (H, W) float32 in 0..1: below 1 only in components that are no tumour and in the pixels nearest to them.
    """
    factor = _judge(shown, weights, threshold, smallest, unlike)[0]
    return factor if factor.min() < 1 else None


def _judge(
    shown: Slice, weights: Mapping[str, Any], threshold: float, smallest: float, unlike: bool
) -> tuple[NDArray[np.float32], NDArray[np.int32], list[int], NDArray[np.float64]]:
    """Return the factors, and of what is left the components, their numbers and how likely they are."""
    cut = weights.get("cut_unlike", weights["cut"]) if unlike else weights["cut"]
    made = np.ones(shown.image.shape, np.float32)
    # Without the component of highest probability the effective threshold falls, and others appear.
    for _ in range(ROUNDS):
        left = Slice(shown.image, shown.own * made, shown.mirrored * made, shown.two)
        pieces, numbers = pieces_of(left, threshold, smallest)
        if not numbers:
            break
        likely = likelihoods(np.stack(features_of(left, pieces, numbers)), weights)
        wrong = [number for number, value in zip(numbers, likely, strict=True) if value < cut]
        if not wrong:
            return made, pieces, numbers, likely
        nearest = ndimage.distance_transform_edt(pieces == 0, return_distances=False, return_indices=True)
        owner = np.where(left.mean >= SKIRT, pieces[tuple(nearest)], 0)
        for number in wrong:
            made[owner == number] *= LOWERED / max(float(left.mean[pieces == number].max()), LOWERED)
    return made, np.zeros(made.shape, np.int32), [], np.zeros(0)


def pieces_of(shown: Slice, threshold: float, smallest: float) -> tuple[NDArray[np.int32], list[int]]:
    """Return the components of a slice's mask, numbered, and the numbers of those that are large enough to classify."""
    level = level_at(float(shown.mean.max(initial=0)), threshold, raised=shown.two)
    pieces, _ = ndimage.label(shown.mean >= level, TOUCHING)
    sizes = np.bincount(pieces.ravel())
    numbers = [number for number in range(1, len(sizes)) if sizes[number] >= max(1, ALMOST * smallest)]
    return np.where(np.isin(pieces, numbers), pieces, 0), numbers


def likelihoods(features: NDArray[np.float32], weights: Mapping[str, Any]) -> NDArray[np.float64]:
    """Return how likely components are tumours.

    Parameters
    ----------
    features : numpy.ndarray
        (n, F) of `features_of`.
    weights : mapping
        "mean" and "scale" (F,), and "networks": an ensemble of small networks, each with "hidden" (F, K), "hidden_bias"
        (K,), "out" (K,) and "out_bias". "cut": the mean logit below which a component is no tumour; "cut_unlike": the
        same for slices that look unlike the training slices.

    Returns
    -------
    numpy.ndarray
        (n,) logits.
    """
    x = np.clip((features - np.asarray(weights["mean"])) / np.asarray(weights["scale"]), -6, 6)
    answers = []
    for net in weights["networks"]:
        hidden = np.maximum(x @ np.asarray(net["hidden"]) + np.asarray(net["hidden_bias"]), 0)
        answers.append(hidden @ np.asarray(net["out"]) + net["out_bias"])
    return np.asarray(np.mean(answers, axis=0))


def features_of(shown: Slice, pieces: NDArray[np.int32], numbers: Sequence[int]) -> list[NDArray[np.float32]]:
    """Return the 37 features of each component.

    Parameters
    ----------
    pieces : numpy.ndarray
        (H, W) number of the component, 0 elsewhere.
    numbers : sequence of int
        The components to describe.
    """
    head = _Head(shown.image)
    whole = {
        "count": float(len(numbers)),
        "pixels": float(np.isin(pieces, numbers).sum()),
        "highest": float(shown.mean.max()),
    }
    boxes = ndimage.find_objects(pieces)
    return [_features(shown, pieces, number, boxes[number - 1], head, whole) for number in numbers]


class _Head:
    """Where the head is in an image, and how its grey values are distributed."""

    def __init__(self, image: NDArray[np.float32]) -> None:
        low, high = np.quantile(image, (0.02, 0.98))
        inside = ndimage.binary_opening(image > low + 0.15 * (high - low), iterations=2)
        self.inside = ndimage.binary_fill_holes(inside) if inside.any() else np.ones(image.shape, bool)
        rows, columns = np.flatnonzero(self.inside.any(1)), np.flatnonzero(self.inside.any(0))
        self.top, self.left = int(rows[0]), int(columns[0])
        self.height, self.width = int(rows[-1]) + 1 - self.top, int(columns[-1]) + 1 - self.left
        depth = ndimage.distance_transform_edt(np.pad(self.inside, 1))[1:-1, 1:-1]
        self.deepest = float(depth.max())
        self.depth = depth / self.deepest
        self.greys = np.sort(image[self.inside])

    def rank(self, grey: float) -> float:
        """Return the fraction of the head that is darker."""
        return float(np.searchsorted(self.greys, grey)) / len(self.greys)


def _features(
    shown: Slice, pieces: NDArray[np.int32], number: int, box: Box, head: _Head, whole: Mapping[str, float]
) -> NDArray[np.float32]:
    near = _grown(box, pieces.shape)
    piece, image = pieces[near] == number, shown.image[near]
    ring = _ring(piece, pieces[near] > 0, head.inside[near])
    area = float(piece.sum())
    rows, columns = np.nonzero(piece)
    rows, columns = rows + near[0].start, columns + near[1].start
    other = np.clip(2 * head.left + head.width - 1 - columns, 0, shown.image.shape[1] - 1)
    mean, own, mirrored = (one[near][piece] for one in (shown.mean, shown.own, shown.mirrored))
    inner, outer, across = image[piece], image[ring], shown.image[rows, other]
    outer = outer if outer.size else inner
    height, width = float(np.ptp(rows)) + 1, float(np.ptp(columns)) + 1
    found = [
        np.log(area), mean.max(), mean.mean(), own.mean(), mirrored.mean(), min(own.max(), mirrored.max()),
        (mean > 0.8).mean(), (mean > 0.9).mean(), np.abs(own - mirrored).mean(),
        shown.mean[near][ring].mean() if ring.any() else 0.0,
        _perimeter(piece) ** 2 / (4 * np.pi * area), whole["count"], area / whole["pixels"], whole["highest"],
        area / head.inside.sum(), head.inside.mean(),
        inner.mean(), inner.std(), outer.mean(), outer.std(), inner.mean() - outer.mean(),
        (inner.mean() - outer.mean()) / (outer.std() + 0.1), *np.quantile(inner, (0.1, 0.9)),
        head.rank(float(inner.mean())), head.rank(float(outer.mean())), inner.mean() - across.mean(), across.std(),
        (rows.mean() - head.top) / head.height, abs((columns.mean() - head.left) / head.width - 0.5),
        head.depth[near][piece].mean(), head.depth[near][piece].min(), head.deepest / max(pieces.shape),
        (~head.inside[near])[piece].mean(), np.log(height / width), area / (height * width),
        min(height, width) / max(pieces.shape),
    ]  # fmt: skip
    return np.asarray(found, np.float32)


def _perimeter(piece: NDArray[np.bool_]) -> float:
    length: float = perimeter(np.pad(piece, 1))  # type: ignore[no-untyped-call]
    return length


def _grown(box: Box, shape: tuple[int, ...]) -> Box:
    """Return the rows and columns of a component and of the ring around it."""
    reach = GAP + WIDE + 1
    rows, columns = (slice(max(0, at.start - reach), min(n, at.stop + reach)) for at, n in zip(box, shape, strict=True))
    return rows, columns


def _ring(piece: NDArray[np.bool_], any_piece: NDArray[np.bool_], inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    distance = ndimage.distance_transform_edt(~piece)
    width = min(max(NARROW, WIDTH * float(np.sqrt(piece.sum()))), WIDE)
    return np.asarray((distance > GAP) & (distance <= GAP + width) & inside & ~any_piece)
