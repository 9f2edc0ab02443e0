"""Intensity normalisation: grey values of any scan to the range of the training images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable


TAIL = 0.005


def robust_zscore(planes: torch.Tensor) -> torch.Tensor:
    """Scale every plane so that its brighter part has zero mean and unit variance.

    The lowest and highest half per cent are clipped first. The brighter part is what lies above the plane's mean, so
    that the fraction of dark background (cropped or padded scans) hardly matters.

    Parameters
    ----------
    planes : torch.Tensor
        (N, C, H, W) float32, finite, in any unit.

    Returns
    -------
    torch.Tensor
        (N, C, H, W) float32, z-scored per plane and channel; a constant plane becomes zeros.
    """
    return _apply(planes, *_range(planes))


def _range(planes: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return low, high, mean and scale, (N, C, 1, 1) each."""
    thin = planes[..., ::2, ::2].flatten(2)
    low, high = (_quantile(thin, share)[..., None, None] for share in (TAIL, 1 - TAIL))
    clipped = planes.clamp(low, high)
    bright = clipped > clipped.mean(dim=(2, 3), keepdim=True)
    count = bright.sum(dim=(2, 3), keepdim=True).clamp(min=1)
    mean = (clipped * bright).sum(dim=(2, 3), keepdim=True) / count
    spread = (((clipped - mean) * bright).square().sum(dim=(2, 3), keepdim=True) / count).sqrt()
    # Only a constant slice needs an epsilon. float32's smallest normal number leaves every intensity unit unchanged.
    least = torch.finfo(planes.dtype).tiny
    return low, high, mean, torch.maximum(spread, 1e-3 * (high - low)).clamp(min=least)


def _quantile(values: torch.Tensor, share: float) -> torch.Tensor:
    """Return exactly `torch.quantile(values, share, dim=2)`, but sort only the tail."""
    most = values.shape[2] - 1
    rank = torch.tensor(share) * most
    below, above = int(rank.floor()), int(rank.ceil())
    upper = below > most / 2
    tail = values.topk(most + 1 - below if upper else above + 1, dim=2, largest=upper).values
    first, second = (tail[..., most - n if upper else n] for n in (below, above))
    return torch.lerp(first, second, (rank - rank.floor()).to(values))


def _apply(
    planes: torch.Tensor, low: torch.Tensor, high: torch.Tensor, mean: torch.Tensor, scale: torch.Tensor
) -> torch.Tensor:
    return torch.where(high > low, (planes.clamp(low, high) - mean) / scale, 0.0)


def divide_by_255(planes: torch.Tensor) -> torch.Tensor:
    """Divide 8-bit grey values by 255, as the Keras tutorial does; (N, C, H, W) float32."""
    return planes / 255.0


NORMALISATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "robust-zscore": robust_zscore,
    "divide-by-255": divide_by_255,
}


def as_in(name: str, sample: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the normalisation of a whole plane, to be applied to parts of it.

    Parameters
    ----------
    name : str
        Key of NORMALISATIONS.
    sample : torch.Tensor
        (1, C, h, w) float32, finite: pixels from all over the plane.

    Returns
    -------
    callable
        (N, C, h, w) float32 -> the same shape, normalised.
    """
    if NORMALISATIONS[name] is not robust_zscore:
        return NORMALISATIONS[name]
    found = _range(sample)
    return lambda part: _apply(part, *found)
