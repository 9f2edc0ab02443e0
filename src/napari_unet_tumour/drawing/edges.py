"""Regions of an image between its edges: watershed on the gradient, from minima that stand out from the noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# Width of the smoothing in pixels: that of the sharpest edge of a scan.
SMOOTH_PX = 1.0
# A ridge is an edge where it is so many times higher than the gradient of most pixels, which is noise,
NOISE_FACTOR = 2.0
# and such a part of the highest ridge nearby.
LEAST_PART = 0.05


def regions_between_edges(values: NDArray[np.floating]) -> NDArray[np.int32]:
    """Divide a window of an image at its edges.

    Parameters
    ----------
    values : numpy.ndarray
        Grey values (any number of axes); NaN stands outside the image.

    Returns
    -------
    numpy.ndarray
        int32 of the same shape: a number from 1 on per region, 0 outside the image.
    """
    from skimage.morphology import local_minima, reconstruction
    from skimage.segmentation import watershed

    outside = ~np.isfinite(values)
    if outside.all():
        return np.zeros(values.shape, np.int32)
    known = np.where(outside, np.median(values[~outside]), values).astype(np.float64)
    gradient = ndimage.gaussian_gradient_magnitude(known, SMOOTH_PX)
    depth = max(NOISE_FACTOR * float(np.median(gradient)), LEAST_PART * float(gradient.max()))
    # Minima that are shallower than `depth` are filled up: what divides them is noise.
    filled = reconstruction(gradient + depth, gradient, method="erosion")  # type: ignore[no-untyped-call]
    minima = local_minima(filled)  # type: ignore[no-untyped-call]
    if not minima.any():  # it is the same everywhere
        return np.where(outside, 0, 1).astype(np.int32)
    seeds, _ = ndimage.label(minima, np.ones((3,) * values.ndim))
    return np.asarray(watershed(gradient, seeds, mask=~outside), np.int32)  # type: ignore[no-untyped-call]


def part_at(regions: NDArray[np.int32], marked: NDArray[np.bool_], centre: Sequence[int]) -> NDArray[np.bool_]:
    """Return the marked pixels that are connected with the centre within its region; none where it has no region.

    Parameters
    ----------
    regions : numpy.ndarray
        From `regions_between_edges`.
    marked : numpy.ndarray
        Pixels under the brush, of the same shape.
    centre : sequence of int
        Index of the middle of the brush.
    """
    at = tuple(centre)
    if not regions[at]:
        return np.zeros_like(marked)
    pieces, _ = ndimage.label(marked & (regions == regions[at]))
    return np.asarray(pieces == pieces[at]) if pieces[at] else np.zeros_like(marked)
