"""Data augmentation of a batch on tensors: geometry first, then grey values."""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

from napari_unet_tumour.engine.training.random_contrast import random_contrast

# Strength of the geometric changes of weakly augmented images, relative to the others.
WEAK = 0.3


def augment(
    image: torch.Tensor,
    mask: torch.Tensor,
    size: int,
    rng: torch.Generator,
    weak: float = 0.0,
    contrast: float = 0.0,
    soft: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Augment images and masks as if taken by another scanner or in another pose.

    Parameters
    ----------
    image : torch.Tensor
        (N, C, H, W) float32, any grey values; the range of each image is kept.
    mask : torch.Tensor
        (N, L, H, W) float32 in {0, 1}, or in 0..1 if `soft`; a layer per label.
    size : int
        Side of the result in pixels.
    rng : torch.Generator
        On the device of the tensors; the same state gives the same result.
    weak : float
        Probability of weak augmentation: mirroring, small rotation, scaling and shift, no change of grey values.
    contrast : float
        Probability of a random contrast, see `random_contrast`.
    soft : bool
        Keep mask values between 0 and 1, as in the mean of several readers.

    Returns
    -------
    tuple of torch.Tensor
        (N, C, size, size) float32 and (N, L, size, size) float32 in {0, 1}, or in 0..1 if `soft`.
    """
    low, high = image.amin((1, 2, 3), keepdim=True), image.amax((1, 2, 3), keepdim=True)
    span = (high - low).clamp(min=1e-6)
    is_weak = _chance(len(image), weak, rng) if weak else torch.zeros(len(image), dtype=torch.bool, device=rng.device)
    grid = _geometry(is_weak, size, rng)
    seen = F.grid_sample((image - low) / span, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    truth = F.grid_sample(mask, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    seen = torch.where(is_weak[:, None, None, None], seen, _greys(seen, rng))
    if contrast:
        redrawn = _chance(len(image), contrast, rng)[:, None, None, None]
        seen = torch.where(redrawn, random_contrast(seen.clamp(0, 1), truth, rng), seen)
    return seen * span + low, truth if soft else (truth > 0.5).float()


def _rand(n: int, low: float, high: float, rng: torch.Generator) -> torch.Tensor:
    return torch.rand(n, generator=rng, device=rng.device) * (high - low) + low


def _chance(n: int, p: float, rng: torch.Generator) -> torch.Tensor:
    return torch.rand(n, generator=rng, device=rng.device) < p


def _noise(*shape: int, rng: torch.Generator) -> torch.Tensor:
    return torch.randn(*shape, generator=rng, device=rng.device)


def _geometry(is_weak: torch.Tensor, size: int, rng: torch.Generator) -> torch.Tensor:
    """Return a sampling grid (n, size, size, 2): rotation, scaling, mirroring, shift and elastic deformation."""
    n, much = len(is_weak), torch.where(is_weak, WEAK, 1.0)
    angle = torch.where(_chance(n, 0.12, rng), _rand(n, -math.pi, math.pi, rng), _rand(n, -0.3, 0.3, rng))
    quarter = torch.randint(4, (n,), generator=rng, device=rng.device) * (math.pi / 2)
    angle = (angle + torch.where(_chance(n, 0.15, rng), quarter, 0.0)) * much
    zoom, aspect = torch.exp(_rand(n, -0.3, 0.3, rng) * much), torch.exp(_rand(n, -0.15, 0.15, rng) * much)
    flip_x = torch.where(_chance(n, 0.5, rng), -1.0, 1.0)
    flip_y = torch.where(_chance(n, 0.15, rng), -1.0, 1.0)
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    across = torch.stack([cos * aspect * flip_x, -sin * flip_y, _rand(n, -0.2, 0.2, rng) * much], 1)
    down = torch.stack([sin * aspect * flip_x, cos * flip_y, _rand(n, -0.2, 0.2, rng) * much], 1)
    grid = F.affine_grid(torch.stack([across, down], 1), [n, 1, size, size], align_corners=False)
    bent = _chance(n, 0.4, rng) * much
    coarse = _noise(n, 2, 8, 8, rng=rng) * 0.035 * bent[:, None, None, None]
    bend = F.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=False)
    return grid + bend.permute(0, 2, 3, 1)


def _greys(x: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Change contrast, brightness, bias field, sharpness and noise of (N, C, S, S) in 0..1."""
    n, size = len(x), x.shape[-1]

    def where(p: float, changed: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return torch.where(_chance(n, p, rng)[:, None, None, None], changed, x)

    def per(low: float, high: float) -> torch.Tensor:
        return _rand(n, low, high, rng)[:, None, None, None]

    x = x / x.amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-3)
    x = where(0.5, x.clamp(min=1e-6) ** torch.exp(per(-0.6, 0.6)), x)
    x = where(0.3, (x + per(-0.35, 0.35) * torch.sin(math.pi * x)).clamp(0, 1), x)
    bias = F.interpolate(_noise(n, 1, 4, 4, rng=rng) * 0.3, size=(size, size), mode="bicubic", align_corners=False)
    x = where(0.4, x * torch.exp(bias), x)
    x = where(0.2, 1 - (1 - x).clamp(min=1e-6) ** torch.exp(per(-0.5, 0.5)), x)
    soft = F.avg_pool2d(F.avg_pool2d(x, 3, 1, 1), 3, 1, 1)
    x = where(0.2, soft, x)
    coarse = F.interpolate(x, scale_factor=0.5, mode="area")
    x = where(0.15, F.interpolate(coarse, size=(size, size), mode="bilinear", align_corners=False), x)
    x = where(0.1, x + 0.7 * (x - soft), x)
    x = where(0.3, x + _noise(*x.shape, rng=rng) * per(0.0, 0.08), x)
    return where(0.15, x + per(0.0, 0.3), x)
