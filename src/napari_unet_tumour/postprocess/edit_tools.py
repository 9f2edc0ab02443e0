"""Edit a drawn mask: smooth, remove specks, fill holes, fill between two slices, snap to the edges of the image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_unet_tumour.base.labels import UNSURE
from napari_unet_tumour.corrections.carry import CarryWeights, carry
from napari_unet_tumour.corrections.signed_distance import Outline, distance_between

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    Mask = NDArray[np.uint8]

SMOOTH_PX = 1.5
SPECK_SHARE = 0.1
BAND_PX = 4


def smooth(mask: Mask) -> Mask:
    """Smooth the outline of every label; returns a new mask (H, W) uint8. Unsure pixels stay."""
    labels = _labels(mask)
    if not labels:
        return mask.copy()
    parts = [mask == 0, *(mask == label for label in labels)]
    soft = np.stack([ndimage.gaussian_filter(part.astype(np.float32), SMOOTH_PX) for part in parts])
    new = np.array([0, *labels], np.uint8)[soft.argmax(0)]
    return np.where(mask == UNSURE, mask, new)


def remove_specks(mask: Mask) -> Mask:
    """Remove components smaller than a tenth of their label's largest component."""
    new = mask.copy()
    for label in _labels(mask):
        pieces, _ = ndimage.label(mask == label, structure=np.ones((3, 3)))
        sizes = np.bincount(pieces.ravel())
        sizes[0] = sizes[1:].max()
        new[(sizes < SPECK_SHARE * sizes[0])[pieces]] = 0
    return new


def fill_holes(mask: Mask) -> Mask:
    """Fill the holes of every label with that label."""
    new = mask.copy()
    for label in _labels(mask):
        new[ndimage.binary_fill_holes(mask == label) & (mask == 0)] = label
    return new


def interpolate_slices(first: Mask, last: Mask, count: int, images: Sequence[NDArray[Any]] = ()) -> list[Mask]:
    """Return the `count` masks between two slices, from signed distances shifted from one centre to the other.

    A label that only one of the two masks has is left out.

    Parameters
    ----------
    first, last : numpy.ndarray
        (H, W) uint8 masks of the two slices.
    images : sequence of numpy.ndarray, optional
        (H, W) or (C, H, W) grey values of the count + 2 slices from the first to the last. With them the outlines
        follow pixels that are as bright as the drawn lesions (`corrections.carry`), except in blank slices.
    """
    labels = sorted(set(_labels(first)) & set(_labels(last)))
    if len(images) and labels:
        plain = interpolate_slices(first, last, count)
        return [found if found.any() else plain[n] for n, found in enumerate(_carried(first, last, labels, images))]
    outlines = {label: (Outline(first == label), Outline(last == label)) for label in labels}
    return [_blend(first.shape, outlines, step / (count + 1)) for step in range(1, count + 1)]


def _carried(first: Mask, last: Mask, labels: Sequence[int], images: Sequence[NDArray[Any]]) -> list[Mask]:
    ends = {0: first, len(images) - 1: last}
    drawn = {n: np.where(np.isin(mask, [*labels, UNSURE]), mask, 0).astype(np.uint8) for n, mask in ends.items()}
    everywhere = CarryWeights(reach=float("inf"))
    answers = carry(images, drawn, {}, labels=max(labels), weights=everywhere).probability
    empty = np.zeros((max(labels), *first.shape), np.uint8)
    found = [answers.get(n, empty) for n in range(1, len(images) - 1)]
    return [np.where(one.sum(0) >= 128, 1 + one.argmax(0), 0).astype(np.uint8) for one in found]


def _blend(shape: Sequence[int], outlines: dict[int, tuple[Outline, Outline]], part: float) -> Mask:
    new, deepest = np.zeros(shape, np.uint8), np.zeros(shape)
    for label, (first, last) in outlines.items():
        distance = distance_between(first, last, part)
        new[distance > deepest] = label
        deepest = np.maximum(deepest, distance)
    return new


def snap_to_edges(mask: Mask, image: NDArray[Any]) -> Mask:
    """Move the outline of every label to nearby edges of the image, by watershed on the gradient.

    Parameters
    ----------
    mask : numpy.ndarray
        (H, W) uint8.
    image : numpy.ndarray
        (H, W) grey values, any real type.

    Returns
    -------
    numpy.ndarray
        (H, W) uint8; unsure pixels, and pixels more than 4 pixels from an outline, stay.
    """
    new = mask.copy()
    for label, box in _boxes(mask):
        region = mask[box] == label
        found = _flood(region, np.asarray(image[box], np.float64))
        free = (mask[box] == 0) | (mask[box] == label)
        new[box][free] = np.where(found, label, 0)[free]
    return new


def _boxes(mask: Mask) -> Iterator[tuple[int, tuple[slice, slice]]]:
    for label in _labels(mask):
        rows, columns = np.nonzero(mask == label)
        around = 2 * BAND_PX
        yield (
            label,
            (
                slice(max(0, rows.min() - around), rows.max() + around + 1),
                slice(max(0, columns.min() - around), columns.max() + around + 1),
            ),
        )


def _flood(region: NDArray[np.bool_], image: NDArray[np.float64]) -> NDArray[np.bool_]:
    from skimage.segmentation import watershed

    depth, away = ndimage.distance_transform_edt(region), ndimage.distance_transform_edt(~region)
    seeds = np.where(away > BAND_PX, 2, 0)
    seeds[depth > min(BAND_PX, 0.6 * depth.max())] = 1
    edges = ndimage.gaussian_gradient_magnitude(image, 1.0)
    found: NDArray[np.bool_] = watershed(edges, seeds) == 1  # type: ignore[no-untyped-call]
    return found


def _labels(mask: Mask) -> list[int]:
    return [int(label) for label in np.unique(mask) if label not in (0, UNSURE)]
