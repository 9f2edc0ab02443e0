"""Make a tumour-free twin of every training slice.

Every slice of the Cheng set shows a tumour, so a network trained on them alone paints
something on healthy slices too. Here the tumour is replaced by the same place of the most
similar slice of another person that is healthy there, with its grey values fitted to the ring
around the hole and a soft seam. The twin's truth is empty.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage as ndi


def twin(
    image: np.ndarray,
    mask: np.ndarray,
    pool: np.ndarray,
    thumbs: np.ndarray,
    pool_masks: np.ndarray,
    allowed: np.ndarray,
) -> np.ndarray | None:
    """Return `image` with its lesion replaced, or None where no donor fits.

    image, mask: (H, W) uint8; pool, pool_masks: (N, H, W) uint8; thumbs: (N, h, w) float32 of
    `pool`, each with zero mean and unit variance; allowed: (N,) bool, donors of other persons.
    """
    hole = ndi.binary_dilation(mask > 0, iterations=7)
    step = image.shape[0] // thumbs.shape[1]
    keep = ~hole[::step, ::step]
    small = thumb(image)
    distance = ((thumbs - small) ** 2 * keep).mean(axis=(1, 2))
    distance[~allowed] = np.inf
    for donor in np.argsort(distance)[:60]:
        if not np.isfinite(distance[donor]):
            return None
        if (pool_masks[donor] > 0)[hole].any():
            continue
        return _transplant(image, pool[donor], hole)
    return None


def thumb(image: np.ndarray, size: int = 32) -> np.ndarray:
    """Return a (size, size) float32 thumbnail with zero mean and unit variance."""
    step = image.shape[0] // size
    small = ndi.uniform_filter(image.astype(np.float32), step)[::step, ::step]
    return np.asarray((small - small.mean()) / (small.std() + 1e-6), np.float32)


def _transplant(image: np.ndarray, donor: np.ndarray, hole: np.ndarray) -> np.ndarray:
    ring = ndi.binary_dilation(hole, iterations=8) & ~hole
    a, b = image[ring].astype(np.float32), donor[ring].astype(np.float32)
    gain = np.clip((a.std() + 4) / (b.std() + 4), 0.5, 2.0)
    filled = (donor.astype(np.float32) - b.mean()) * gain + a.mean()
    soft = np.clip(ndi.gaussian_filter(ndi.binary_dilation(hole, iterations=2).astype(np.float32), 3), 0, 1)
    return np.clip(image * (1 - soft) + filled * soft, 0, 255).astype(np.uint8)
