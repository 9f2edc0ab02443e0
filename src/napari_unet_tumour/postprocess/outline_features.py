"""The components of a network's answer to a slice, and what their pixels look like in a few numbers.

All lengths are in units of a 256th of the slice's longer side, so that they are the same for any resolution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_unet_tumour.corrections import grey_values
from napari_unet_tumour.postprocess.threshold import effective_threshold, mask_from_probability

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_unet_tumour.settings import SegmentSettings

    Values = NDArray[np.float64]

SIDE = 256
# Pixels up to so far outside a component are looked at; grey values around it are those within the second distance.
MARGIN, AROUND = 8.0, 5.0
# Grey values are compared with themselves, blurred with these standard deviations.
BLURS = (2.0, 5.0)
# Log odds beyond this say no more.
SUREST = 6.0
# A component's grey values spread at least so far, and differ at least so far from those around it.
LEAST = 0.3
CONNECTED = np.ones((3, 3))


@dataclass(frozen=True, eq=False)
class OutlinePixels:
    """The pixels of a slice's components and of their surroundings.

    Parameters
    ----------
    where : numpy.ndarray
        (H, W) bool, the pixels that are described.
    component : numpy.ndarray
        (n,) the number of the component that each belongs to or lies nearest to, from 1.
    logit : numpy.ndarray
        (n,) the network's log odds, 0 at the threshold.
    features : numpy.ndarray
        (n, 4 + 5 C): 1, the log odds, the signed distance to the outline in two ways, and five grey values per channel.
    """

    where: NDArray[np.bool_]
    component: NDArray[np.int32]
    logit: Values
    features: Values


def outline_pixels(
    plane: NDArray[Any], probability: NDArray[np.uint8], settings: SegmentSettings
) -> OutlinePixels | None:
    """Describe the pixels of a slice's components.

    Parameters
    ----------
    plane : numpy.ndarray
        (C, H, W) raw grey values of any real type.
    probability : numpy.ndarray
        (1, H, W) uint8, 0..255 for 0..1.
    settings : SegmentSettings
        What decides which pixels are foreground.

    Returns
    -------
    OutlinePixels or None
        None where no pixel is foreground, or the slice is blank in a channel.
    """
    mask = mask_from_probability(probability, settings) > 0
    unit = max(mask.shape) / SIDE
    if not mask.any():
        return None
    box = _box(mask, unit)
    grey = [grey_values.scaled(channel, box, (1 / unit, 1 / unit)) for channel in plane]
    if any(one is None for one in grey):
        return None
    inside = mask[box]
    outside, nearest = ndimage.distance_transform_edt(~inside, return_indices=True)
    pieces = ndimage.label(inside, CONNECTED)[0][tuple(nearest)]
    near = outside <= MARGIN * unit
    distance = np.where(inside, ndimage.distance_transform_edt(inside) - 0.5, 0.5 - outside) / unit
    logit = _logit(probability[0][box], effective_threshold(probability[0], settings))
    columns = [np.ones_like(logit), logit, distance.clip(-MARGIN, 12.0) / 4, _relative(distance, pieces, inside)]
    for one in grey:
        columns += _grey_columns(np.asarray(one, np.float64), pieces, inside, outside, unit)
    where = np.zeros(mask.shape, bool)
    where[box] = near
    return OutlinePixels(where, pieces[near], logit[near], np.stack([one[near] for one in columns], 1))


def _box(mask: NDArray[np.bool_], unit: float) -> tuple[slice, slice]:
    """Return the rows and columns of the foreground, with room for what is looked at around it."""
    room = int(np.ceil((MARGIN + 4 * max(BLURS)) * unit))
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return tuple(slice(max(0, int(some[0]) - room), int(some[-1]) + 1 + room) for some in (rows, columns))  # type: ignore[return-value]


def _logit(probability: NDArray[np.uint8], level: int) -> Values:
    """Return the log odds, 0 at the threshold."""
    share, half = (probability + 0.5) / 256, (level + 0.5) / 256
    return np.asarray(np.clip(np.log(share / (1 - share)) - np.log(half / (1 - half)), -SUREST, SUREST))


def _relative(distance: Values, pieces: NDArray[np.int32], inside: NDArray[np.bool_]) -> Values:
    """Return the signed distance relative to the deepest pixel of the component, -1..1."""
    deepest = np.maximum(_by_piece(np.max, distance, pieces, inside), 1.0)
    return np.asarray((distance / deepest[pieces]).clip(-1, 1))


def _grey_columns(
    grey: Values, pieces: NDArray[np.int32], inside: NDArray[np.bool_], outside: Values, unit: float
) -> list[Values]:
    """Return how bright pixels are: within their component, on the slice's scale, and against what is around them."""
    ring = ~inside & (outside <= AROUND * unit)
    middle = _by_piece(np.median, grey, pieces, inside)
    spread = _by_piece(lambda some: np.subtract(*np.percentile(some, (90, 10))), grey, pieces, inside)
    around = _by_piece(np.median, grey, pieces, ring, middle - 1)
    spread = np.maximum(spread, LEAST)[pieces]
    contrast = np.maximum(middle - around, LEAST)[pieces]
    fine, coarse = (ndimage.gaussian_filter(grey, blur * unit) for blur in BLURS)
    return [
        ((grey - middle[pieces]) / spread).clip(-3, 3),
        grey.clip(grey_values.LOWEST, grey_values.HIGHEST) / 2,
        ((grey - around[pieces]) / contrast).clip(-2, 3),
        ((grey - fine) / spread).clip(-2, 2),
        ((fine - coarse) / spread).clip(-2, 2),
    ]


def _by_piece(
    summary: Any, values: Values, pieces: NDArray[np.int32], where: NDArray[np.bool_], missing: Values | None = None
) -> Values:
    """Return a summary of the values of every component, by its number; `missing` where it has none there."""
    found = np.zeros(int(pieces.max()) + 1) if missing is None else missing.copy()
    for number in range(1, len(found)):
        some = values[where & (pieces == number)]
        if some.size:
            found[number] = summary(some)
    return found
