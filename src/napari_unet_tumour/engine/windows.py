"""Windows over a large plane: each through the network, blended by Gaussian weights."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F

from napari_unet_tumour.engine.normalise import as_in
from napari_unet_tumour.engine.planes import STEP, bounded, coloured
from napari_unet_tumour.tiling import starts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from napari_unet_tumour.engine.fast import Runner
    from napari_unet_tumour.engine.room import Room
    from napari_unet_tumour.spec import ModelSpec
    from napari_unet_tumour.tiling import Block

    Probability = Callable[[torch.Tensor], torch.Tensor]


def blend(probability: Probability, working: torch.Tensor, window: int, batch: int) -> torch.Tensor:
    """Run a network over windows of an image and blend them.

    Parameters
    ----------
    probability : callable
        (n, C, h, w) -> (n, L, h, w), both float32.
    working : torch.Tensor
        (C, H, W) float32, normalised.
    window : int
        Side of a window, a multiple of 32; an axis that is shorter is padded by its last value.
    batch : int
        Windows at once.

    Returns
    -------
    torch.Tensor
        (L, H, W) float32; 0 where a window holds a single value.
    """
    height, width = working.shape[1:]
    sides = [min(window, -(-length // STEP) * STEP) for length in (height, width)]
    padded = F.pad(working[None], (0, max(0, sides[1] - width), 0, max(0, sides[0] - height)), mode="replicate")[0]
    weight = _importance(*sides).to(working.device)
    total = padded.new_zeros(padded.shape[1:])
    found: torch.Tensor | None = None
    for places, some in _batches(padded, sides, batch):
        answers = probability(some) * weight
        answers *= (some.amax((1, 2, 3)) > some.amin((1, 2, 3)))[:, None, None, None]
        if found is None:
            found = padded.new_zeros((answers.shape[1], *padded.shape[1:]))
        for (rows, columns), answer in zip(places, answers, strict=True):
            found[:, rows, columns] += answer
            total[rows, columns] += weight
    assert found is not None
    return found.div_(total)[:, :height, :width]


def _batches(
    padded: torch.Tensor, sides: list[int], batch: int
) -> Iterator[tuple[list[tuple[slice, slice]], torch.Tensor]]:
    rows, columns = (starts(length, side) for length, side in zip(padded.shape[1:], sides, strict=True))
    places = [(slice(y, y + sides[0]), slice(x, x + sides[1])) for y in rows for x in columns]
    for first in range(0, len(places), batch):
        chosen = places[first : first + batch]
        yield chosen, torch.stack([padded[:, y, x] for y, x in chosen])


@lru_cache(maxsize=4)
def _importance(height: int, width: int) -> torch.Tensor:
    from monai.data.utils import compute_importance_map

    found: torch.Tensor = compute_importance_map((height, width), mode="gaussian", sigma_scale=0.125)
    return found.float()


@torch.inference_mode()
def block_probability(
    run: Runner, spec: ModelSpec, raw: NDArray[Any], sample: NDArray[Any], block: Block, shrink: int, room: Room,
    flips: bool,
) -> NDArray[np.uint8]:  # fmt: skip
    """Find the probability in one block of a plane.

    Parameters
    ----------
    raw : numpy.ndarray
        (C, h, w): the block's `reads`.
    sample : numpy.ndarray
        (C, a, b): pixels from all over the plane, which tell how bright it is.
    shrink : int
        Native pixels a working pixel.

    Returns
    -------
    numpy.ndarray
        (L, H, W) uint8 of the block's `region`, 0..255 for 0..1.
    """
    shape = tuple(part.stop - part.start for part in block.region)
    here = coloured(bounded(raw[None], sample[None]), spec)
    if not bool(here.amax() > here.amin()):
        return np.zeros((len(spec.labels) - 1, *shape), np.uint8)
    whole = coloured(bounded(sample[None], sample[None]), spec)
    normal = as_in(spec.normalisation, whole if bool(whole.amax() > whole.amin()) else here)
    working = normal(_shrunk(here.to(run.device), shrink))[0]
    window = min(spec.size, room.window or spec.size)
    found = blend(lambda some: run.probability(some, flips), working, window, room.batch)
    native = _grown(found[:, block.inner[0], block.inner[1]], block.before, shrink)[:, : shape[0], : shape[1]]
    return native.mul_(255).round_().clamp_(0, 255).byte().cpu().numpy()


def _shrunk(values: torch.Tensor, shrink: int) -> torch.Tensor:
    """Return means of squares of pixels; those at the far edges may be incomplete."""
    return values if shrink == 1 else F.avg_pool2d(values, shrink, ceil_mode=True, count_include_pad=False)


def _grown(found: torch.Tensor, before: tuple[int, int], shrink: int) -> torch.Tensor:
    """Undo `_shrunk`, between pixel centres by straight lines."""
    if shrink == 1:
        return found
    grown = F.interpolate(found[None], scale_factor=shrink, mode="bilinear", align_corners=False)[0]
    return grown[:, before[0] * shrink :, before[1] * shrink :]
