"""Grafts: a slice's tumour shown in the head of another person.

A training set of a hundred persons shows each tumour in one head only. In a graft the tumour, with a
margin of its own surroundings, takes the place of healthy tissue in a tumour-free slice that looks
alike; grey values are fitted to the ring around it and the seam is soft, as in a twin, so that a seam
tells nothing. After CarveMix (X. Zhang et al., MICCAI 2021), which takes any second slice.
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

# Pixels around the tumour that go with it, and how many of the hosts that look most alike may be drawn.
MARGIN, ALIKE = 5, 150
# A host's pixel under this share of its brightest is air; most of the tumour must not lie there.
AIR, INSIDE = 0.08, 0.95
TRIED = 8


class TransplantHosts:
    """Tumour-free slices that take tumours in.

    Parameters
    ----------
    images : torch.Tensor
        (k, C, S, S) uint8 or float32.
    """

    def __init__(self, images: torch.Tensor) -> None:
        self.grey = grey_of(images)
        self._thumbs = np.stack([thumb(image) for image in self.grey]).reshape(len(images), -1)
        self._length = (self._thumbs**2).sum(1)

    def graft(self, image: Grey, lesion: NDArray[np.bool_], rng: np.random.Generator) -> Grey | None:
        """Return a host with the lesion (H, W) of `image` (H, W), or None where it fits none of those tried."""
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
