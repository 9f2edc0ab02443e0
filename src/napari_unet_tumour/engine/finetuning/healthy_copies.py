"""A corrected slice as it would be without its lesion: what a healthy place looks like in this very scan.

Its mirrored place, on the same or a similar slice, fills the lesion's; the truth is empty. Tumour slices alone say
little about what is no tumour.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_unet_tumour.engine.lesion_removal import remove_lesion, thumb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_unet_tumour.engine.finetuning.cases import FineTuneSlices

# What the parent thinks a tumour with this probability is no healthy donor.
MAYBE = 0.1
# Grey levels of 255 by which a pixel is another than it was.
HIDDEN = 8


def healthy_copies(
    one: FineTuneSlices, others: FineTuneSlices | None, likely: torch.Tensor | None, added: Sequence[int] = ()
) -> FineTuneSlices | None:
    """Return a corrected slice as it would be without its lesion.

    Parameters
    ----------
    one, others : Cases
        The slice, and others of the same scan.
    likely : torch.Tensor
        (n, L, S, S) float32, the parent's probability on `others`.
    added : sequence of int
        Layers of the truth that stay: classes that were added, which no one has looked for on the other slices.

    Returns
    -------
    Cases or None
        With a truth that is empty but for added classes; None where there is no lesion, or no slice is healthy at
        the mirrored place.
    """
    layers = [n for n in range(one.truth.shape[1]) if n not in added]
    lesion = (one.truth[0, layers].amax(0) > 0.5).cpu().numpy()
    if not lesion.any():
        return None
    grey, ill = _grey(one.images[0]), [(one.truth[0].amax(0) > 0.5).cpu().numpy()]
    greys = [grey]
    if others is not None and likely is not None:
        greys += [_grey(image) for image in others.images]
        ill += [*(likely.amax(1) > MAYBE).cpu().numpy()]
    donors, thumbs = np.stack(greys)[..., ::-1], np.stack([thumb(other[:, ::-1]) for other in greys])
    made = remove_lesion(grey, lesion, donors, thumbs, np.stack(ill)[..., ::-1], np.ones(len(donors), bool))
    return None if made is None else _without(one, made, grey, layers)


def _without(
    one: FineTuneSlices, made: NDArray[np.uint8], grey: NDArray[np.uint8], layers: list[int]
) -> FineTuneSlices:
    """Return the case with the new greys; what they hide of the labels that stay is not known."""
    truth = one.truth.clone()
    truth[:, layers] = 0
    hidden = torch.from_numpy(np.abs(made.astype(int) - grey) > HIDDEN).to(truth.device) & (
        truth.amax(1, keepdim=True) > 0
    )
    return replace(one, images=_image(made, one), truth=truth.masked_fill(hidden, 0), known=one.known * ~hidden)


def _grey(image: torch.Tensor) -> NDArray[np.uint8]:
    """Return 8-bit greys (S, S) of an image (C, S, S)."""
    low, span = _range(image)
    return ((image.mean(0) - low) / span * 255).round().byte().cpu().numpy()


def _image(grey: NDArray[np.uint8], like: FineTuneSlices) -> torch.Tensor:
    """Return (1, C, S, S) of 8-bit greys in the units of a case; all channels get the same."""
    low, span = _range(like.images[0])
    image = torch.from_numpy(grey.astype(np.float32)).to(low) / 255 * span + low
    return image.expand_as(like.images).contiguous(memory_format=torch.channels_last)


def _range(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    mean = image.mean(0)
    return mean.min(), (mean.max() - mean.min()).clamp(min=1e-6)
