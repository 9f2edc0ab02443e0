"""Sliding windows over a large plane, blended with Gaussian weights, in torch."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F

from napari_unet_tumour.engine.inference.preprocess import STEP, coloured
from napari_unet_tumour.engine.normalisation import as_in
from napari_unet_tumour.runtime.preprocess import bounded
from napari_unet_tumour.tiling.grid import window_starts

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_unet_tumour.engine.inference.accelerate import Runner
    from napari_unet_tumour.engine.inference.memory import BatchLimits
    from napari_unet_tumour.models.spec import ModelSpec
    from napari_unet_tumour.settings import SegmentSettings
    from napari_unet_tumour.tiling.grid import Tile

    Probability = Callable[[torch.Tensor], torch.Tensor]


def blend(
    probability: Probability, working: torch.Tensor, window: int, batch: int, empty: float | None = None
) -> torch.Tensor:
    """Run a network over windows of an image and blend them.

    Parameters
    ----------
    probability : callable
        (n, C, h, w) -> (n, L, h, w), both float32.
    working : torch.Tensor
        (C, H, W) float32, normalised.
    window : int
        Side of a window, a multiple of 32; a shorter axis is padded with its last value.
    batch : int
        Number of windows at once.
    empty : float, optional
        Windows with only this value are skipped; their prediction is 0.

    Returns
    -------
    torch.Tensor
        (L, H, W) float32.
    """
    height, width = working.shape[1:]
    sides = [min(window, -(-length // STEP) * STEP) for length in (height, width)]
    padded = F.pad(working[None], (0, max(0, sides[1] - width), 0, max(0, sides[0] - height)), mode="replicate")[0]
    weight = _importance(*sides).to(working.device)
    places, shown = _places(padded, sides, empty)
    total = padded.new_zeros(padded.shape[1:])
    for rows, columns in places:
        total[rows, columns] += weight
    found = padded.new_zeros((1, *padded.shape[1:]))
    for first in range(0, len(shown), batch):
        some = shown[first : first + batch]
        predicted = probability(torch.stack([padded[:, y, x] for y, x in some])) * weight
        if len(found) != predicted.shape[1]:
            found = padded.new_zeros((predicted.shape[1], *padded.shape[1:]))
        for (rows, columns), one in zip(some, predicted, strict=True):
            found[:, rows, columns] += one
    return found.div_(total)[:, :height, :width]


def _places(
    padded: torch.Tensor, sides: list[int], empty: float | None
) -> tuple[list[tuple[slice, slice]], list[tuple[slice, slice]]]:
    """Return the positions of all windows, and of those that are not empty."""
    rows, columns = (window_starts(length, side) for length, side in zip(padded.shape[1:], sides, strict=True))
    places = [(slice(y, y + sides[0]), slice(x, x + sides[1])) for y in rows for x in columns]
    if empty is None:
        return places, places
    full = (padded != empty).any(0)
    return places, [one for one in places if bool(full[one].any())]


@lru_cache(maxsize=4)
def _importance(height: int, width: int) -> torch.Tensor:
    """Return the weights of a window; equal to MONAI's, whose import takes seconds."""
    down, across = (
        torch.exp(-((torch.arange(n) - (n - 1) / 2) ** 2) / (2 * (0.125 * n) ** 2)) for n in (height, width)
    )
    return torch.outer(down, across).clamp_(min=1e-3)


@torch.inference_mode()
def block_probability(
    run: Runner, spec: ModelSpec, raw: NDArray[Any], sample: NDArray[Any], block: Tile, limits: BatchLimits,
    settings: SegmentSettings,
) -> NDArray[np.uint8]:  # fmt: skip
    """Predict one tile of a plane.

    Parameters
    ----------
    raw : numpy.ndarray
        (C, h, w): the tile's `reads`.
    sample : numpy.ndarray
        (C, a, b): pixels from all over the plane, for its normalisation.

    Returns
    -------
    numpy.ndarray
        (L, H, W) uint8 of the tile's `region`, 0..255 for 0..1; (2 L, H, W) for a twofold network.
    """
    shape, factor = tuple(part.stop - part.start for part in block.region), max(1, settings.downsample)
    here, whole = (coloured(torch.from_numpy(bounded(one[None], sample[None])), spec) for one in (raw, sample))
    if not bool(here.amax() > here.amin()) and bool(here.amax() <= whole.amin()):
        return np.zeros(((len(spec.labels) - 1) * (1 + run.twofold), *shape), np.uint8)
    normal = as_in(spec.normalisation, whole if bool(whole.amax() > whole.amin()) else here)
    working = normal(_downsampled(here.to(run.device), factor))[0]
    # Windows with only the plane's darkest value are background: most of a slide, and the air around a head.
    empty = float(normal(whole.amin().expand(1, spec.in_channels, 1, 1).to(run.device)).amax())
    window = min(spec.size, limits.window or spec.size)
    found = blend(partial(run.probability, flip_tta=settings.flip_tta), working, window, limits.batch, empty)
    found = found if len(found) > 1 else found.expand((len(spec.labels) - 1) * (1 + run.twofold), -1, -1)
    native = _upsampled(found[:, block.inner[0], block.inner[1]], block.before, factor)[:, : shape[0], : shape[1]]
    return native.mul_(255).round_().clamp_(0, 255).byte().cpu().numpy()


def _downsampled(values: torch.Tensor, factor: int) -> torch.Tensor:
    """Return means over square blocks of pixels; those at the far edges may be incomplete."""
    return values if factor == 1 else F.avg_pool2d(values, factor, ceil_mode=True, count_include_pad=False)


def _upsampled(found: torch.Tensor, before: tuple[int, int], factor: int) -> torch.Tensor:
    """Invert `_downsampled` by bilinear interpolation."""
    if factor == 1:
        return found
    larger = F.interpolate(found[None], scale_factor=factor, mode="bilinear", align_corners=False)[0]
    return larger[:, before[0] * factor :, before[1] * factor :]
