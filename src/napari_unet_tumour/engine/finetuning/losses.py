"""What fine-tuning makes small: errors on the pixels that a person has looked at, and drift from the parent."""

from __future__ import annotations

import torch
from torch.nn import functional as F

SMOOTH_SLICE, SMOOTH_BATCH = 50.0, 1.0


def partial(logits: torch.Tensor, truth: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Return cross-entropy + Dice loss over the known pixels only, a scalar.

    Parameters
    ----------
    logits : torch.Tensor
        (N, 1, H, W) for one label, (N, 1 + L, H, W) for several.
    truth : torch.Tensor
        (N, L, H, W), 0..1; more than 0.5 is foreground.
    known : torch.Tensor
        (N, 1, H, W) in {0, 1}.
    """
    hard = (truth > 0.5).float()
    if logits.shape[1] == 1:
        wrong, sure = F.binary_cross_entropy_with_logits(logits, hard, reduction="none"), logits.sigmoid()
    else:
        index = (hard * torch.arange(1, hard.shape[1] + 1, device=hard.device)[:, None, None]).amax(1).long()
        wrong, sure = F.cross_entropy(logits, index, reduction="none")[:, None], logits.softmax(1)[:, 1:]
    entropy = (wrong * known).sum() / known.sum().clamp(min=1)
    return entropy + _dice(sure * known, hard * known)


def likeness(logits: torch.Tensor, before: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy against the parent's probabilities (N, L, H, W) over the known pixels, a scalar."""
    if logits.shape[1] == 1:
        wrong = F.binary_cross_entropy_with_logits(logits, before.clamp(0, 1), reduction="none")
    else:
        target = torch.cat([(1 - before.sum(1, keepdim=True)).clamp(min=0), before], 1)
        wrong = -(target * logits.log_softmax(1)).sum(1, keepdim=True)
    return (wrong * known).sum() / known.sum().clamp(min=1)


def _dice(sure: torch.Tensor, hard: torch.Tensor) -> torch.Tensor:
    """Return the mean of the slices' and the batch's soft Dice loss; labels that are nowhere count little."""
    both, size = sure * hard, sure + hard
    slices = 1 - (2 * both.sum((2, 3)) + SMOOTH_SLICE) / (size.sum((2, 3)) + SMOOTH_SLICE)
    batch = 1 - (2 * both.sum((0, 2, 3)) + SMOOTH_BATCH) / (size.sum((0, 2, 3)) + SMOOTH_BATCH)
    return (slices.mean() + batch.mean()) / 2
