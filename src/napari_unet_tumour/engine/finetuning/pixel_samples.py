"""Which pixels of a slice an expert is fitted to, and what they should become."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F

# Logits from which a background pixel is worth a closer look.
HOT = -2.0


@dataclass(frozen=True, eq=False)
class PixelSamples:
    """Pixels to fit to.

    Parameters
    ----------
    seen : torch.Tensor
        (n, F + 1) float32 features and a column for the bias, times how far the gate is open.
    before : torch.Tensor
        (n, O) float32, the parent's logits.
    target : torch.Tensor
        (n, O) float32 probabilities of the logit channels, 0..1.
    weight : torch.Tensor
        (n,) float32, how many pixels each stands for, times what its slice counts.
    case : torch.Tensor
        (n,) int64 number of the corrected slice; -1 for other slices.
    slice : torch.Tensor
        (n,) int64 number among all slices that were looked at.
    """

    seen: torch.Tensor
    before: torch.Tensor
    target: torch.Tensor
    weight: torch.Tensor
    case: torch.Tensor
    slice: torch.Tensor

    def parts(self) -> tuple[torch.Tensor, ...]:
        """Return its tensors, in order."""
        return self.seen, self.before, self.target, self.weight, self.case, self.slice


def select_pixels(
    truth: torch.Tensor, known: torch.Tensor, logits: torch.Tensor, most: tuple[int, int], rng: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw pixels of a slice, more of them near tumour, true or predicted.

    Parameters
    ----------
    truth : torch.Tensor
        (1, L, H, W) float32 in 0..1.
    known : torch.Tensor
        (1, 1, H, W) float32, 0 where nobody has decided.
    logits : torch.Tensor
        (1, O, H, W) float32, the parent's.
    most : tuple of int
        At most how many near tumour, and how many elsewhere.
    rng : torch.Generator
        The same state draws the same pixels.

    Returns
    -------
    tuple of torch.Tensor
        (k,) int64 places in the flattened slice, and (k,) float32 how many pixels each stands for.
    """
    hot = logits > HOT if logits.shape[1] == 1 else logits[:, 1:].amax(1, keepdim=True) > logits[:, :1] + HOT
    interesting = (truth.amax(1, keepdim=True) > 0.5) | hot
    near = (F.max_pool2d(interesting.float(), 9, 1, 4) * known).flatten() > 0
    parts = [near.nonzero()[:, 0], (~near & (known.flatten() > 0)).nonzero()[:, 0]]
    places, stands = [], []
    for part, limit in zip(parts, most, strict=True):
        taken = part[torch.randperm(len(part), generator=rng)[:limit].to(part.device)]
        places.append(taken)
        stands.append(torch.full((len(taken),), len(part) / max(len(taken), 1), device=part.device))
    return torch.cat(places), torch.cat(stands)


def target_of(truth: torch.Tensor, outputs: int) -> torch.Tensor:
    """Return what the `outputs` answers of pixels (k, L) should be, (k, O) float32 in {0, 1}."""
    hard = (truth > 0.5).float()
    return hard if outputs == 1 else torch.cat([1 - hard.amax(1, keepdim=True), hard], 1)


def as_it_is(logits: torch.Tensor) -> torch.Tensor:
    """Return the probabilities of all answers of pixels (k, O), the background's too where it is one."""
    return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(1)
