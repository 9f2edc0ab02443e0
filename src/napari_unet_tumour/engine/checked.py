"""Pieces that a model's classifier takes for no tumour, in the answer on the scan's own grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_unet_tumour.component_classifier import Slice, factors
from napari_unet_tumour.models.training_match import is_unlike

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from napari_unet_tumour.engine.inference.preprocess import Answer, WorkingPlanes
    from napari_unet_tumour.engine.model import Model
    from napari_unet_tumour.models.spec import ModelSpec


def has_classifier(model: Model) -> bool:
    """Tell whether a model's pieces are looked at: it has one label, and no expert has learnt others from a person."""
    spec = model.spec
    return bool(spec.components) and len(spec.labels) == 2 and not spec.arguments.get("experts")


def checked(planes: WorkingPlanes, own: torch.Tensor, mirrored: torch.Tensor | None, spec: ModelSpec) -> Answer:
    """Begin to bring an answer back to the scan's grid, with pieces that are no tumour lowered; see `Planes.back`.

    Of a network with a second only the first answer is lowered: what a person's corrections have taught stays.

    Parameters
    ----------
    own, mirrored : torch.Tensor
        (N, L, h, w) float32, the probability of the slices and of their mirrored copies.
    """
    answer = planes.back(own if mirrored is None else (own + mirrored) / 2)

    def lowered() -> NDArray[np.uint8]:
        found = answer()
        frame = planes.frame
        scale = frame.inner[0] * frame.inner[1] / (frame.native[0] * frame.native[1])
        for n, one in enumerate(found):
            if not one[0].any():
                continue
            first = own[n, 0].float().cpu().numpy()
            second = first if mirrored is None else mirrored[n, 0].float().cpu().numpy()
            seen = planes.working[n].float().cpu().numpy()
            shown = Slice(seen.mean(0), first, second, mirrored is not None)
            unlike = bool(spec.typical) and is_unlike(seen[(slice(None), *frame.window)], spec.typical)
            made = factors(shown, spec.components, spec.threshold, spec.min_object_size * scale, unlike=unlike)
            if made is not None:
                one[0] = np.rint(one[0] * _native(made[frame.window], frame.native))
        return found

    return lowered


def _native(values: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    rows, columns = ((np.arange(n) * 2 + 1) * m // (2 * n) for n, m in zip(shape, values.shape, strict=True))
    return values[np.ix_(rows, columns)]
