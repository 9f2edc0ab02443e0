"""Corrected slices -> square tensors at the model's working size, and the way back for scores."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F

from napari_unet_tumour.corrections import UNSURE, ReviewedSlice
from napari_unet_tumour.engine.inference.preprocess import STEP, WorkingFrame, resize, to_working_planes
from napari_unet_tumour.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_unet_tumour.models.spec import ModelSpec


@dataclass(frozen=True, eq=False)
class FineTuneSlices:
    """Slices with their truth, all of one square size S.

    Parameters
    ----------
    images : torch.Tensor
        (n, C, S, S) float32, normalised, channels last.
    truth : torch.Tensor
        (n, L, S, S) float32, 0..1, a layer per label.
    known : torch.Tensor
        (n, 1, S, S) float32, 1 where a person has looked; 0 = unsure or outside the slice.
    frames : tuple of Frame
        (n,) the way back to each slice's own grid.
    sources : tuple of Correction
        (n,) where each comes from; empty where nobody corrected anything.
    """

    images: torch.Tensor
    truth: torch.Tensor
    known: torch.Tensor
    frames: tuple[WorkingFrame, ...]
    sources: tuple[ReviewedSlice, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def only(self, n: int) -> FineTuneSlices:
        """Return case `n` alone."""
        part = slice(n, n + 1)
        tensors = self.images[part], self.truth[part], self.known[part]
        return FineTuneSlices(*tensors, self.frames[part], self.sources[part])

    def native(self, n: int, square: torch.Tensor) -> torch.Tensor:
        """Bring (L, S, S) of case `n` back to its slice's own grid (L, H, W)."""
        top, left = ((self.images.shape[-1] - side) // 2 for side in self.frames[n].padded)
        height, width = self.frames[n].padded
        return self.frames[n].back(square[None, :, top : top + height, left : left + width])[0]


def fine_tune_slices(corrections: Sequence[ReviewedSlice], spec: ModelSpec, device: torch.device) -> FineTuneSlices:
    """Prepare corrected slices; raises TrainingError for label values that the model does not know."""
    for one in corrections:
        _check(one, spec)
    pictures, frames = zip(*(_picture(one.image[None], spec) for one in corrections), strict=True)
    layers = [_layers(one.mask, frame, len(spec.labels) - 1) for one, frame in zip(corrections, frames, strict=True)]
    whole = _square(torch.cat(layers), side_of(spec), 0.0)
    return FineTuneSlices(
        _on(torch.cat(pictures), device),
        _on(whole[:, :-1], device),
        _on(whole[:, -1:], device),
        frames,
        tuple(corrections),
    )


def context_of(planes: NDArray[Any], spec: ModelSpec, device: torch.device) -> FineTuneSlices:
    """Prepare planes (n, C, H, W) that nobody corrected; blank ones are left out. Truth is all 0, known inside."""
    made = to_working_planes(planes, spec)
    working = made.working[[n for n, blank in enumerate(made.blank) if not blank]]
    images = _square_image(working, side_of(spec))
    inside = _square(torch.ones(len(working), 1, *made.frame.padded), side_of(spec), 0.0)
    truth = torch.zeros(len(working), len(spec.labels) - 1, *images.shape[2:])
    return FineTuneSlices(_on(images, device), _on(truth, device), _on(inside, device), (made.frame,) * len(working))


def side_of(spec: ModelSpec) -> int:
    """Return the side of the square working image: the model's size, up to a multiple of 32."""
    return math.ceil(spec.size / STEP) * STEP


def _check(one: ReviewedSlice, spec: ModelSpec) -> None:
    where = f"slice {one.slice + 1} (index {one.slice})"
    if one.image.ndim != 3 or one.image.shape[1:] != one.mask.shape:
        raise TrainingError(f"{where}: image {one.image.shape} and mask {one.mask.shape} do not fit: correct it again")
    unknown = sorted(set(np.unique(one.mask).tolist()) - {*range(len(spec.labels)), UNSURE})
    if unknown:
        raise TrainingError(
            f"{where} holds the label {unknown[0]}, the model knows 0 to {len(spec.labels) - 1} "
            f"({', '.join(spec.labels)}): repaint it, or add a class (--add-class NAME, add_classes in Python)"
        )


def _picture(image: NDArray[Any], spec: ModelSpec) -> tuple[torch.Tensor, WorkingFrame]:
    made = to_working_planes(image, spec)
    return _square_image(made.working, side_of(spec)), made.frame


def _layers(mask: NDArray[np.uint8], frame: WorkingFrame, labels: int) -> torch.Tensor:
    """Return (1, L + 1, h, w) in {0, 1}: the labels, then what is known."""
    cover = np.stack([*(mask == value for value in range(1, labels + 1)), mask != UNSURE]).astype(np.float32)
    rows, columns = frame.window
    out = torch.zeros(1, labels + 1, *frame.padded)
    out[..., rows, columns] = (resize(torch.from_numpy(cover)[None], frame.inner) > 0.5).float()
    return out


def _square_image(working: torch.Tensor, side: int) -> torch.Tensor:
    """Pad (n, C, h, w) to the square with each image's own minimum."""
    low = working.amin((2, 3), keepdim=True)
    return _square(working - low, side, 0.0) + low


def _square(working: torch.Tensor, side: int, value: float) -> torch.Tensor:
    top, left = side - working.shape[2], side - working.shape[3]
    return F.pad(working, (left // 2, left - left // 2, top // 2, top - top // 2), value=value)


def _on(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    return tensor.to(device).contiguous(memory_format=torch.channels_last)
