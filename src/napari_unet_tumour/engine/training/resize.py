"""Resize slices to the square working grid of training, with the aspect ratio kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

if TYPE_CHECKING:
    from numpy.typing import NDArray


def image(plane: NDArray[Any], size: int) -> NDArray[Any]:
    """Resize an image (C, H, W) to (C, size, size): uint8 stays uint8, other types become float32.

    The longer side fills the square (antialiased when downsampling); the rest is padded with the
    plane's minimum, as in `inference.preprocess`.
    """
    if plane.dtype == np.uint8 and plane.shape[1:] == (size, size):
        return plane
    grey = torch.from_numpy(np.ascontiguousarray(plane, np.float32))
    square = _padded(_resized(grey[None], size)[0], size, float(grey.min())).numpy()
    return np.asarray(np.rint(square), np.uint8) if plane.dtype == np.uint8 else square


def mask(plane: NDArray[Any], size: int) -> NDArray[Any]:
    """Resize label values (H, W) to (size, size): a pixel gets the label that covers more than half of it."""
    if plane.shape == (size, size):
        return plane
    out = np.zeros((size, size), plane.dtype)
    for value in np.unique(plane[plane != 0]):
        cover = torch.from_numpy(np.ascontiguousarray(plane == value, np.float32))
        out[_padded(_resized(cover[None, None], size)[0, 0], size, 0.0).numpy() > 0.5] = value
    return out


def _resized(planes: torch.Tensor, size: int) -> torch.Tensor:
    height, width = planes.shape[-2:]
    scale = size / max(height, width)
    shape = [max(1, round(height * scale)), max(1, round(width * scale))]
    return functional.interpolate(planes, shape, mode="bilinear", align_corners=False, antialias=True)


def _padded(planes: torch.Tensor, size: int, value: float) -> torch.Tensor:
    down, right = size - planes.shape[-2], size - planes.shape[-1]
    return functional.pad(planes, [right // 2, right - right // 2, down // 2, down - down // 2], value=value)
