"""Loss functions by name, from MONAI and torch, and their sums.

The truth is 0 or 1, or between them with two readers or with distillation.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from napari_unet_tumour.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable

    Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

# Smoothing of the Dice loss: per slice a few wrong pixels are tolerated, over the batch all count.
SMOOTH_SLICE, SMOOTH_BATCH = 50.0, 1.0


def bce(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of logits (N, 1, H, W) against truth (N, 1, H, W) in 0..1; a scalar."""
    return F.binary_cross_entropy_with_logits(logits, truth)


def ce(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Categorical cross-entropy of logits (N, 1 + L, H, W) against truth (N, L, H, W) in 0..1; a scalar."""
    return F.cross_entropy(logits, _with_background(truth))


def dice(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Mean of the Dice loss of every slice and of the whole batch, over the labels; a scalar in 0..1.

    One channel uses a sigmoid, 1 + L channels a softmax without background. In a slice with tumour only the labels
    present are averaged, otherwise an empty prediction would score well on the absent ones.
    """
    several = logits.shape[1] > 1
    target = _with_background(truth) if several else truth
    slices, batch = (_monai_dice(several, whole)(logits, target) for whole in (False, True))
    return ((slices.flatten(1) * _counted(truth, several)).sum(1).mean() + batch.mean()) / 2


def _counted(truth: torch.Tensor, several: bool) -> torch.Tensor:
    """Return the weights (N, L) of each slice's labels, with a sum of 1."""
    there = truth.amax((2, 3)) if several else truth.new_ones(truth.shape[:2])
    there = torch.where(there.sum(1, keepdim=True) > 0, there, 1.0)
    return there / there.sum(1, keepdim=True)


def bce_dice(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Sum of `bce` and `dice`."""
    return bce(logits, truth) + dice(logits, truth)


def ce_dice(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Sum of `ce` and `dice`."""
    return ce(logits, truth) + dice(logits, truth)


LOSSES: dict[str, Loss] = {"bce": bce, "dice": dice, "bce-dice": bce_dice, "ce": ce, "ce-dice": ce_dice}


def loss_for(name: str, labels: int) -> Loss:
    """Return a loss by name for `labels` labels without background; raises TrainingError if it does not fit."""
    if name == "auto":
        name = "bce-dice" if labels == 1 else "ce-dice"
    if name.startswith("bce") and labels > 1:
        raise TrainingError(
            f"the loss {name} is for one label and the masks hold {labels}: choose --loss ce or ce-dice"
        )
    if name.startswith("ce") and labels == 1:
        raise TrainingError(
            f"the loss {name} is for several labels and the masks hold one: choose --loss bce or bce-dice"
        )
    return LOSSES[name]


def _with_background(truth: torch.Tensor) -> torch.Tensor:
    return torch.cat([1 - truth.sum(1, keepdim=True), truth], 1)


def _monai_dice(several: bool, batch: bool) -> Loss:
    with warnings.catch_warnings():
        # MONAI warns about optional packages while it is imported.
        warnings.simplefilter("ignore")
        from monai.losses.dice import DiceLoss
    smooth = SMOOTH_BATCH if batch else SMOOTH_SLICE
    loss: Loss = DiceLoss(
        include_background=not several,
        sigmoid=not several,
        softmax=several,
        batch=batch,
        reduction="none",
        smooth_nr=smooth,
        smooth_dr=smooth,
    )
    return loss
