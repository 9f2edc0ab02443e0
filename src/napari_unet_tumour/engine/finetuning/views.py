"""Views of the cases for a step: turned, zoomed, mirrored, lit a little differently, around a lesion or whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_unet_tumour.engine.finetuning.cases import FineTuneSlices

View = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def lesion_boxes(cases: FineTuneSlices) -> list[torch.Tensor]:
    """Return, for every case, the places (k, 2) of its foreground as (x, y) in -1..1; k may be 0."""
    side = cases.images.shape[-1]
    found = [(truth.amax(0) * known[0]).nonzero() for truth, known in zip(cases.truth, cases.known, strict=True)]
    return [(places.flip(1).float() + 0.5) / side * 2 - 1 for places in found]


def lesion_crops(
    cases: FineTuneSlices, places: Sequence[torch.Tensor], count: int, side: int, rng: torch.Generator
) -> View:
    """Draw `count` views of `side` pixels near lesions; the cases with a lesion are equally likely."""
    with_lesion = [n for n, where in enumerate(places) if len(where)]
    chosen = [with_lesion[_int(len(with_lesion), rng)] for _ in range(count)]
    centres = torch.stack([places[n][_int(len(places[n]), rng)] for n in chosen])
    reach = side / cases.images.shape[-1]
    return _seen(cases, chosen, side, centres + _between(count, 2, low=-0.5, high=0.5, rng=rng) * reach, rng)


def whole_slices(cases: FineTuneSlices, count: int, rng: torch.Generator) -> View:
    """Draw `count` views of whole slices."""
    chosen = [_int(len(cases), rng) for _ in range(count)]
    return _seen(cases, chosen, cases.images.shape[-1], _between(count, 2, low=-0.1, high=0.1, rng=rng), rng)


def _seen(cases: FineTuneSlices, chosen: Sequence[int], side: int, centres: torch.Tensor, rng: torch.Generator) -> View:
    picked = torch.tensor(chosen)
    images, layers = cases.images[picked], torch.cat([cases.truth, cases.known], 1)[picked]
    grid = _grid(centres, side / images.shape[-1], (len(chosen), 1, side, side), rng)
    low = images.amin((2, 3), keepdim=True)
    image = F.grid_sample(images - low, grid.to(images), align_corners=False) + low
    truth = F.grid_sample(layers, grid.to(layers), align_corners=False)
    return _lit(image, rng).contiguous(memory_format=torch.channels_last), truth[:, :-1], (truth[:, -1:] > 0.5).float()


def _grid(centres: torch.Tensor, scale: float, shape: tuple[int, ...], rng: torch.Generator) -> torch.Tensor:
    n = len(centres)
    angle, zoom = _between(n, low=-0.35, high=0.35, rng=rng), _between(n, low=-0.2, high=0.2, rng=rng).exp() * scale
    across, down = (torch.where(_between(n, rng=rng) < p, -1.0, 1.0) for p in (0.5, 0.15))
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    rows = [torch.stack([cos * across, -sin * down, centres[:, 0].cpu()], 1),
            torch.stack([sin * across, cos * down, centres[:, 1].cpu()], 1)]  # fmt: skip
    return F.affine_grid(torch.stack(rows, 1), list(shape), align_corners=False)


def _lit(image: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Change gain, offset and noise of z-scored images."""
    n = len(image)
    gain, offset, noise = (
        _between(n, low=low, high=high, rng=rng)[:, None, None, None].to(image)
        for low, high in ((-0.15, 0.15), (-0.2, 0.2), (0.0, 0.08))
    )
    return image * gain.exp() + offset + noise * torch.randn(image.shape, generator=rng).to(image)


def _between(*shape: int, low: float = 0.0, high: float = 1.0, rng: torch.Generator) -> torch.Tensor:
    return torch.rand(*shape, generator=rng) * (high - low) + low


def _int(below: int, rng: torch.Generator) -> int:
    return int(torch.randint(below, (1,), generator=rng))
