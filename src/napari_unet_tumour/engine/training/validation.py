"""Score a network on the working grid while it is trained: loss, Dice, IoU, precision, recall, accuracy."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import torch

from napari_unet_tumour.engine.training.batches import layers, to_batch

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from torch import nn

    from napari_unet_tumour.engine.training.losses import Loss
    from napari_unet_tumour.models.spec import ModelSpec

BATCH = 8
RATES = ("dice", "iou", "precision", "recall", "accuracy")


@torch.no_grad()
def validate(
    net: nn.Module, images: torch.Tensor, masks: torch.Tensor, spec: ModelSpec, loss: Loss, precision: torch.dtype
) -> dict[str, float]:
    """Score a network in eval mode.

    Parameters
    ----------
    images, masks : torch.Tensor
        (n, C, S, S) grey values and (n, S, S) label values, on the CPU; n > 0.

    Returns
    -------
    dict
        "loss" and the means of `rates` over the slices where each is defined.
    """
    device, labels = next(net.parameters()).device, len(spec.labels) - 1
    total, found = 0.0, []
    for start in range(0, len(images), BATCH):
        x = to_batch(images[start : start + BATCH].to(device), spec)
        y = layers(masks[start : start + BATCH].to(device), labels)
        with autocast(device, precision):
            logits = net(x)
        total += float(loss(logits.float(), y)) * len(x)
        found.append(rates(label_of(logits.float()), y))
    means = torch.cat(found).nanmean(0).tolist()
    return {"loss": total / len(images), **dict(zip(RATES, means, strict=True))}


def rates(found: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Score label values against the truth, slice by slice.

    Parameters
    ----------
    found : torch.Tensor
        (N, H, W) label values.
    truth : torch.Tensor
        (N, L, H, W) in {0, 1}.

    Returns
    -------
    torch.Tensor
        (N, 5) Dice, IoU, precision, recall and accuracy, 0..1. The first four are means over the
        labels that the slice's truth has, NaN if it has none; precision is 0 if nothing was predicted.
    """
    there = layers(found.to(torch.uint8), truth.shape[1])
    hit, here, real = ((t).sum((2, 3), dtype=torch.float64) for t in (there * truth, there, truth))
    right = (there == truth).all(1).double().mean((1, 2))
    known = torch.where(real > 0, 1.0, torch.nan)
    parts = [2 * hit / (here + real), hit / (here + real - hit), hit / here.clamp(min=1), hit / real]
    return torch.stack([*((part * known).nanmean(1) for part in parts), right], 1)


def label_of(logits: torch.Tensor, threshold: float = 0.5) -> torch.Tensor:
    """Return label values (N, H, W) for logits (N, 1, H, W) of one label, or (N, 1 + L, H, W) of several."""
    if logits.shape[1] == 1:
        return (logits[:, 0].sigmoid() >= threshold).to(torch.uint8)
    return logits.argmax(1).to(torch.uint8)


def autocast(device: torch.device, precision: torch.dtype) -> AbstractContextManager[object]:
    """Return a context for lower precision; does nothing for float32."""
    return nullcontext() if precision == torch.float32 else torch.autocast(device.type, precision)
