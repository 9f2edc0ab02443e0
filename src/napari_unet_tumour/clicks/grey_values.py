"""Answers clicks without a network: by grey values and distances around them, for models that take no clicks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from skimage.graph import MCP_Geometric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Grey = NDArray[np.float32]
    Mask = NDArray[np.bool_]


# How usual among a lesion's grey values one is that may be its own.
LIKE = 0.3


@dataclass(frozen=True)
class Reach:
    """How a click spreads; found on training slices.

    Parameters
    ----------
    smooth : float
        Blur of the grey values, in pixels of the picture.
    step : float
        Cost of a pixel on the way from a click, beside the difference of its grey value from the click's (z-scores).
    add, remove : float
        Costs at which a click that adds, or removes, has lost two thirds of its say.
    bar : float
        Say of a click that a pixel needs where nothing was marked before.
    weight : float
        Say of the answer before where it marks something.
    """

    smooth: float = 1.5
    step: float = 0.04
    add: float = 1.7
    remove: float = 0.66
    bar: float = 0.21
    weight: float = 1.0


def guess(pictures: Grey, reach: Reach | None = None) -> Grey:
    """Return the probability (N, S, S) of pictures (N, 8, S, S), see `picture.draw`; float32, 0..1."""
    return np.stack([_guess(one, reach or Reach()) for one in pictures])


def _guess(picture: Grey, reach: Reach) -> Grey:
    grey, base, add, remove, region, before, like, unlike = picture
    smooth = ndimage.gaussian_filter(2 * grey, reach.smooth)
    inside, outside = add > 0.95, remove > 0.95
    if not inside.any() and region.any():
        depth = ndimage.distance_transform_edt(region > 0.5)
        inside = depth > 0.6 * depth.max()
        if like.any():  # of the slice before: where nothing is like it the lesion has ended
            inside &= (like > LIKE) & (like > unlike)
    say = _say(smooth, inside, reach.step, reach.add) - _say(smooth, outside, reach.step, reach.remove)
    marked = before if before.any() else base
    # What is marked speaks for itself; what is not marked says as little as where nothing is known.
    say = say + np.where(marked > 0, reach.weight * np.clip(marked, 0, 1), -reach.bar)
    if region.any() and not (marked > 0).any():
        say = np.where(ndimage.binary_dilation(region > 0.5, iterations=4), say, say - 1)
    return np.asarray(1 / (1 + np.exp(-6 * say)), np.float32)


def _say(grey: Grey, seeds: Mask, step: float, far: float) -> Grey:
    """Return how much clicks have to say at every pixel, 1 at them; less across other grey values and far away."""
    if not seeds.any():
        return np.zeros_like(grey)
    usual = float(np.median(grey[seeds]))
    costs = MCP_Geometric(step + abs(grey - usual)).find_costs(np.argwhere(seeds))[0]
    return np.asarray(np.exp(-costs / far), np.float32)
