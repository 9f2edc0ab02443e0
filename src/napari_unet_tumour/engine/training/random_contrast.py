"""Random contrast, so that a network does not depend on the contrast of one scanner.

After SynthSeg (B. Billot et al., Medical Image Analysis 2023), which fills label maps with random grey values. Here
the grey values of the image are mapped by a random curve (mostly monotonic), with a bias field, lower resolution along
one axis, noise, a smaller field of view and a removed skull.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

# Knots of a grey value curve.
KNOTS = 6
# Probabilities: of a curve that is not monotonic, and of each other change.
FREE_MAP, BIAS, COARSE, NOISE, CUT, STRIPPED = 0.25, 0.7, 0.4, 0.5, 0.3, 0.2
# Head or air: threshold as a fraction of the maximum. Depth of skull and scalp as a fraction of the image's side.
HEAD, SKULL = 0.08, (0.03, 0.07)


def random_contrast(image: torch.Tensor, truth: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Change the contrast of images at random.

    Parameters
    ----------
    image : torch.Tensor
        (N, C, S, S) float32 in 0..1.
    truth : torch.Tensor
        (N, L, S, S) float32 in 0..1; a tumour is never removed with the skull or cut off by the field of view.
    rng : torch.Generator
        On the tensors' device.

    Returns
    -------
    torch.Tensor
        (N, C, S, S) float32, finite, about 0..1.
    """
    n = len(image)
    tumour = truth.amax(1, keepdim=True) > 0
    x = torch.where(_chance(n, STRIPPED, rng), _without_skull(image, tumour, rng), image)
    x = _mapped(x, rng)
    x = torch.where(_chance(n, BIAS, rng), x * _field(n, image.shape[-1], rng), x)
    x = torch.where(_chance(n, COARSE, rng), _coarser(x, rng), x)
    x = torch.where(_chance(n, NOISE, rng), x + _uniform(n, 0.0, 0.1, rng) * _normal(x.shape, rng), x)
    return torch.where(_chance(n, CUT, rng) & ~_in_view(tumour, image, rng), 0.0, x)


def grey_maps(n: int, rng: torch.Generator) -> torch.Tensor:
    """Return the values of `n` grey value curves at `KNOTS` evenly spaced points: (n, KNOTS) in 0..1, 0 for air.

    Three of four are monotonic.
    """
    steps = torch.rand(n, KNOTS - 1, generator=rng, device=rng.device) + 0.05
    rising = torch.cumsum(steps, 1) / steps.sum(1, keepdim=True)
    free = torch.rand(n, KNOTS - 1, generator=rng, device=rng.device)
    free = free / free.amax(1, keepdim=True).clamp(min=1e-3)
    values = torch.where(_chance(n, FREE_MAP, rng).flatten(1), free, rising)
    return torch.cat([values.new_zeros(n, 1), values], 1)


def _mapped(x: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    values = grey_maps(len(x), rng)
    place = x.clamp(0, 1) * (KNOTS - 1)
    below = place.floor().clamp(max=KNOTS - 2)
    at = below.long().flatten(1)
    low, high = (values.gather(1, at + more).view_as(x) for more in (0, 1))
    return torch.lerp(low, high, place - below)


def _field(n: int, size: int, rng: torch.Generator) -> torch.Tensor:
    coarse = _normal((n, 1, 4, 4), rng) * 0.35
    return F.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=False).exp()


def _coarser(x: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Return the images with two to five times lower resolution along one axis, as in a reformatted scan."""
    factor = 2 + 3 * float(torch.rand(1, generator=rng, device=rng.device))
    across = float(torch.rand(1, generator=rng, device=rng.device)) < 0.5
    size = x.shape[-1]
    few = max(1, round(size / factor))
    small = F.interpolate(x, size=(size, few) if across else (few, size), mode="area")
    return F.interpolate(small, size=(size, size), mode="bilinear", align_corners=False)


def _without_skull(x: torch.Tensor, tumour: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Remove the outermost part of the head, but not the surroundings of a tumour."""
    size = x.shape[-1]
    low, high = SKULL
    depth = max(1, round(size * (low + (high - low) * float(torch.rand(1, generator=rng, device=rng.device)))))
    head = (x.amax(1, keepdim=True) > HEAD).float()
    wide = 2 * max(1, size // 24) + 1
    closed = -F.max_pool2d(-F.max_pool2d(head, wide, 1, wide // 2), wide, 1, wide // 2)
    inner = -F.max_pool2d(-closed, 2 * depth + 1, 1, depth)
    near = F.max_pool2d(tumour.float(), 2 * (size // 32) + 1, 1, size // 32)
    return x * torch.maximum(inner, near)


def _in_view(tumour: torch.Tensor, image: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Return a smaller field of view (N, 1, S, S) bool that contains the whole tumour."""
    n, size = len(image), image.shape[-1]
    place = torch.arange(size, device=image.device) / size
    seen = torch.ones(n, 1, size, size, dtype=torch.bool, device=image.device)
    for axis in (2, 3):
        first, last = _uniform(n, 0.0, 0.3, rng), _uniform(n, 0.7, 1.0, rng)
        line = place.view(1, 1, -1, 1) if axis == 2 else place.view(1, 1, 1, -1)
        seen = seen & (line >= first) & (line <= last)
    return seen | tumour


def _chance(n: int, p: float, rng: torch.Generator) -> torch.Tensor:
    return (torch.rand(n, generator=rng, device=rng.device) < p)[:, None, None, None]


def _uniform(n: int, low: float, high: float, rng: torch.Generator) -> torch.Tensor:
    return (torch.rand(n, generator=rng, device=rng.device) * (high - low) + low)[:, None, None, None]


def _normal(shape: tuple[int, ...] | torch.Size, rng: torch.Generator) -> torch.Tensor:
    return torch.randn(tuple(shape), generator=rng, device=rng.device)
