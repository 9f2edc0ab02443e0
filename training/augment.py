"""Augmentation of a whole batch on tensors: geometry first, then grey values."""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F


def augment(
    image: torch.Tensor, mask: torch.Tensor, size: int, rng: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return image and mask, each (N, 1, size, size) float32, seen as another scanner might show them.

    image: (N, 1, H, W) float32 in 0..1; mask: (N, 1, H, W) float32 in {0, 1}.
    """
    grid = _geometry(len(image), size, rng)
    image = F.grid_sample(image, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    mask = F.grid_sample(mask, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return _greys(image, rng), (mask > 0.5).float()


def _rand(n: int, low: float, high: float, rng: torch.Generator) -> torch.Tensor:
    return torch.rand(n, generator=rng) * (high - low) + low


def _chance(n: int, p: float, rng: torch.Generator) -> torch.Tensor:
    return torch.rand(n, generator=rng) < p


def _geometry(n: int, size: int, rng: torch.Generator) -> torch.Tensor:
    angle = torch.where(_chance(n, 0.25, rng), _rand(n, -math.pi, math.pi, rng), _rand(n, -0.3, 0.3, rng))
    angle += torch.where(_chance(n, 0.3, rng), torch.randint(4, (n,), generator=rng) * (math.pi / 2), 0.0)
    zoom = torch.exp(_rand(n, -0.4, 0.4, rng))
    aspect = torch.exp(_rand(n, -0.15, 0.15, rng))
    flip_x = torch.where(_chance(n, 0.5, rng), -1.0, 1.0)
    flip_y = torch.where(_chance(n, 0.3, rng), -1.0, 1.0)
    cos, sin = torch.cos(angle), torch.sin(angle)
    theta = torch.stack(
        [
            torch.stack([cos * zoom * aspect * flip_x, -sin * zoom * flip_y, _rand(n, -0.2, 0.2, rng)], 1),
            torch.stack([sin * zoom * aspect * flip_x, cos * zoom * flip_y, _rand(n, -0.2, 0.2, rng)], 1),
        ],
        1,
    )
    grid = F.affine_grid(theta, [n, 1, size, size], align_corners=False)
    coarse = torch.randn(n, 2, 8, 8, generator=rng) * 0.035 * _chance(n, 0.4, rng)[:, None, None, None]
    bend = F.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=False)
    return grid + bend.permute(0, 2, 3, 1)


def _greys(x: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    n, size = len(x), x.shape[-1]

    def where(p: float, changed: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return torch.where(_chance(n, p, rng)[:, None, None, None], changed, x)

    def per(low: float, high: float) -> torch.Tensor:
        return _rand(n, low, high, rng)[:, None, None, None]

    top = x.amax(dim=(2, 3), keepdim=True).clamp(min=1e-3)
    x = x / top
    x = where(0.5, x.clamp(min=1e-6) ** torch.exp(per(-0.6, 0.6)), x)
    bump = per(-0.35, 0.35)
    x = where(0.3, (x + bump * torch.sin(math.pi * x)).clamp(0, 1), x)
    field = F.interpolate(
        torch.randn(n, 1, 4, 4, generator=rng) * 0.3, size=(size, size), mode="bicubic", align_corners=False
    )
    x = where(0.4, x * torch.exp(field), x)
    x = where(0.2, 1 - (1 - x).clamp(min=1e-6) ** torch.exp(per(-0.5, 0.5)), x)
    soft = F.avg_pool2d(F.avg_pool2d(x, 3, 1, 1), 3, 1, 1)
    x = where(0.2, soft, x)
    low = F.interpolate(
        F.interpolate(x, scale_factor=0.5, mode="area"), size=(size, size), mode="bilinear", align_corners=False
    )
    x = where(0.15, low, x)
    x = where(0.1, x + 0.7 * (x - soft), x)
    noise = torch.randn(x.shape, generator=rng) * per(0.0, 0.08)
    x = where(0.3, x + noise, x)
    return where(0.15, x + per(0.0, 0.3), x)
