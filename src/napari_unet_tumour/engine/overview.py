"""A plane too large for memory, segmented as a whole: shrunk while it is read, its answer enlarged part by part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

from napari_unet_tumour.engine.planes import as_planes, bounded

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from napari_unet_tumour.engine.fast import Runner
    from napari_unet_tumour.layout import Region
    from napari_unet_tumour.spec import ModelSpec

    ReadPart = Callable[[Region], NDArray[Any]]


@torch.inference_mode()
def whole_probability(
    run: Runner, spec: ModelSpec, read: ReadPart, sample: NDArray[Any], shape: tuple[int, int], flips: bool, most: int
) -> torch.Tensor:
    """Find the probability in a whole plane at the network's own resolution.

    Parameters
    ----------
    read : callable
        Region of the plane -> (C, h, w).
    sample : numpy.ndarray
        (C, a, b): pixels from all over the plane.
    shape : tuple of int
        (H, W) of the plane.
    most : int
        Values to read at once.

    Returns
    -------
    torch.Tensor
        (L, h, w) float32 on the CPU, over the plane's area; zeros for a blank plane.
    """
    planes = as_planes(_thinned(read, sample, shape, max(1, max(shape) // (2 * spec.size)), most), spec, run.device)
    rows, columns = planes.frame.window
    found = run.probability(planes.working, flips)[0, :, rows, columns].cpu()
    return found.zero_() if planes.blank[0] else found


def enlarged(found: torch.Tensor, shape: tuple[int, int], region: Region) -> NDArray[np.uint8]:
    """Return a region of (L, h, w) float32 enlarged to a plane (H, W), as uint8 (0..255 for 0..1)."""
    down, across = (_weights(old, new, part) for old, new, part in zip(found.shape[1:], shape, region, strict=True))
    part = down @ found @ across.T
    return part.mul_(255).round_().clamp_(0, 255).byte().numpy()


def _thinned(read: ReadPart, sample: NDArray[Any], shape: tuple[int, int], by: int, most: int) -> NDArray[np.float32]:
    """Return means of squares of pixels, (1, C, h, w), reading a strip of rows at a time."""
    step = max(1, most // (shape[1] * by)) * by
    strips = []
    for top in range(0, shape[0], step):
        raw = read((slice(top, min(top + step, shape[0])), slice(0, shape[1])))
        values = bounded(raw[None], sample[None])
        strips.append(F.avg_pool2d(values, by, ceil_mode=True, count_include_pad=False))
    return torch.cat(strips, dim=2).numpy()


def _weights(old: int, new: int, part: slice) -> torch.Tensor:
    """Return (part, old) weights of linear interpolation between pixel centres, as `interpolate` has them."""
    places = ((torch.arange(part.start, part.stop) + 0.5) * (old / new) - 0.5).clamp_(0, old - 1)
    below = places.floor().long()
    above = (below + 1).clamp_(max=old - 1)
    share = (places - below)[:, None]
    weights = torch.zeros(len(places), old)
    weights.scatter_add_(1, below[:, None], 1 - share)
    return weights.scatter_add_(1, above[:, None], share)
