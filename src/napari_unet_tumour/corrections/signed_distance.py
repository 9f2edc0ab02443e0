"""The outline of a drawn region as signed distance, and outlines between two slices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class Outline:
    """A region of a plane.

    Parameters
    ----------
    region : numpy.ndarray
        (H, W) bool, at least one pixel.
    pixel : sequence of float
        Height and width of a pixel, in the unit that distances are wanted in.

    Attributes
    ----------
    distance : numpy.ndarray
        (H, W) float64, distance to the outline, positive inside.
    centre : numpy.ndarray
        (2,) centre of mass in pixels.
    """

    def __init__(self, region: NDArray[np.bool_], pixel: Sequence[float] = (1.0, 1.0)) -> None:
        inside, outside = (ndimage.distance_transform_edt(part, sampling=pixel) for part in (region, ~region))
        self.distance: NDArray[np.float64] = inside - outside
        self.centre = np.array(ndimage.center_of_mass(region))

    def moved(self, centre: NDArray[Any]) -> NDArray[np.float64]:
        """Return the distance to the outline moved to another centre."""
        found: NDArray[np.float64] = ndimage.shift(self.distance, centre - self.centre, order=1, mode="nearest")
        return found


def distance_between(first: Outline, last: Outline, part: float) -> NDArray[np.float64]:
    """Return the signed distance (H, W) of the outline at `part` (0..1) of the way from one slice to another.

    Both outlines are moved to the centre that lies so far along, then averaged: a lesion that runs obliquely through
    the slices keeps its size.
    """
    centre = (1 - part) * first.centre + part * last.centre
    return (1 - part) * first.moved(centre) + part * last.moved(centre)
