"""Lesion-free copies: training slices with the lesion replaced by healthy tissue of another person.

A network that is trained on tumour slices only also marks something on healthy slices. In a lesion-free copy, the
lesion is replaced by the same region of the most similar slice of another person that is healthy there, with grey
values matched to a ring around the lesion and a soft transition. Its true mask is empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import ndimage as ndi

from napari_unet_tumour.base.parallel import in_parallel
from napari_unet_tumour.settings import Progress

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from numpy.typing import NDArray

    Grey = NDArray[np.uint8]

THUMB = 32
TRIED = 60
AROUND, RING, SEAM = 7, 8, 3


def iter_lesion_removed(
    images: torch.Tensor, masks: torch.Tensor, persons: Sequence[str]
) -> Generator[Progress, None, torch.Tensor]:
    """Make a lesion-free copy of every slice for which a donor is found.

    Parameters
    ----------
    images : torch.Tensor
        (n, C, S, S) uint8 or float32; the copies have one channel.
    masks : torch.Tensor
        (n, S, S) uint8, 0 where healthy.
    persons : sequence of str
        (n,) person of each slice; donors are other persons, or any other slices if all are "".

    Returns
    -------
    torch.Tensor
        (k, 1, S, S) uint8, k <= n.
    """
    grey, lesion = grey_of(images), masks.numpy() > 0
    thumbs = np.stack([thumb(image) for image in grey])
    who = np.array([person or str(n) for n, person in enumerate(persons)])
    made: list[Grey] = []
    work = in_parallel(
        lambda n: remove_lesion(grey[n], lesion[n], grey, thumbs, lesion, who != who[n]), range(len(grey))
    )
    for done, found in enumerate(work, 1):
        made += [] if found is None else [found]
        if done % 50 == 0 or done == len(grey):
            yield Progress(done, len(grey), "removing lesions")
    size = images.shape[-1]
    return torch.from_numpy(np.stack(made)[:, None] if made else np.empty((0, 1, size, size), np.uint8))


def remove_lesion(
    image: Grey,
    lesion: NDArray[np.bool_],
    pool: Grey,
    thumbs: NDArray[np.float32],
    lesions: NDArray[np.bool_],
    allowed: NDArray[np.bool_],
) -> Grey | None:
    """Return `image` (H, W) with its lesion replaced, or None if no slice of the pool (N, H, W) is a suitable donor."""
    hole = ndi.binary_dilation(lesion, iterations=AROUND)
    step = image.shape[0] // thumbs.shape[1]
    distance = ((thumbs - thumb(image)) ** 2 * ~hole[::step, ::step]).mean(axis=(1, 2))
    distance[~allowed] = np.inf
    for donor in np.argsort(distance)[:TRIED]:
        if np.isfinite(distance[donor]) and not lesions[donor][hole].any():
            return transplant(image, pool[donor], hole)
    return None


def thumb(image: NDArray[Any], size: int = THUMB) -> NDArray[np.float32]:
    """Return a (size, size) float32 thumbnail with zero mean and unit variance."""
    step = image.shape[0] // size
    small = ndi.uniform_filter(image.astype(np.float32), step)[::step, ::step]
    return np.asarray((small - small.mean()) / (small.std() + 1e-6), np.float32)


def grey_of(images: torch.Tensor) -> Grey:
    """Return images (N, C, S, S) as one channel (N, S, S) uint8; each float image is scaled to 0..255."""
    if images.dtype == torch.uint8:
        return images[:, 0].numpy() if images.shape[1] == 1 else images.float().mean(1).byte().numpy()
    mean = images.mean(1)
    low, high = mean.amin((1, 2), keepdim=True), mean.amax((1, 2), keepdim=True)
    return ((mean - low) / (high - low).clamp(min=1e-12) * 255).byte().numpy()


def transplant(image: Grey, donor: Grey, hole: NDArray[np.bool_]) -> Grey:
    """Return `image` (H, W) with the donor's tissue in the hole, with grey values matched to the ring around it."""
    ring = ndi.binary_dilation(hole, iterations=RING) & ~hole
    a, b = image[ring].astype(np.float32), donor[ring].astype(np.float32)
    gain = np.clip((a.std() + 4) / (b.std() + 4), 0.5, 2.0) if ring.any() else 1.0
    filled = (donor.astype(np.float32) - b.mean()) * gain + a.mean() if ring.any() else donor.astype(np.float32)
    soft = ndi.gaussian_filter(ndi.binary_dilation(hole, iterations=2).astype(np.float32), SEAM)
    return np.asarray(np.clip(image * (1 - soft) + filled * soft, 0, 255), np.uint8)
