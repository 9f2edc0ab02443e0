"""CarveMix: paste the tumour of a slice into the head of another person.

In a training set every tumour is seen in one head only. Here the tumour, with a margin, replaces healthy tissue in a
similar tumour-free slice. Grey values are matched to a ring around it and the transition is soft, as in a lesion-free
copy, so that the transition does not reveal a tumour. After CarveMix (X. Zhang et al., MICCAI 2021), which takes any
second slice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

from napari_unet_tumour.engine.lesion_removal import THUMB, grey_of, thumb, transplant

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    Grey = NDArray[np.uint8]

# Margin around the tumour in pixels, and the number of most similar hosts that are drawn from.
MARGIN, ALIKE = 5, 150
# Pixels darker than this fraction of the brightest are air; so much of the tumour must not lie in air.
AIR, INSIDE = 0.08, 0.95
# How many hosts are tried for a tumour.
TRIED = 8


class TransplantHosts:
    """Tumour-free slices that tumours are pasted into.

    Parameters
    ----------
    images : torch.Tensor
        (k, C, S, S) uint8 or float32.
    """

    def __init__(self, images: torch.Tensor) -> None:
        self.grey = grey_of(images)
        self._thumbs = np.stack([thumb(image) for image in self.grey]).reshape(len(images), -1)
        self._length = (self._thumbs**2).sum(1)

    def transplant(self, image: Grey, lesion: NDArray[np.bool_], rng: np.random.Generator) -> Grey | None:
        """Return a host with the lesion (H, W) of `image` (H, W), or None if it fits none of the hosts tried."""
        hole = ndi.binary_dilation(lesion, iterations=MARGIN)
        for host in rng.permutation(self._alike(image))[:TRIED]:
            seen = self.grey[host][lesion]
            if (seen > AIR * self.grey[host].max()).mean() >= INSIDE:
                return transplant(self.grey[host], image, hole)
        return None

    def _alike(self, image: Grey) -> NDArray[np.int64]:
        distance = self._length - 2 * self._thumbs @ thumb(image, THUMB).ravel()
        most = min(ALIKE, len(distance))
        return np.argpartition(distance, most - 1)[:most]
