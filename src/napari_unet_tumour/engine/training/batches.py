"""Which slices make a step, and the step's tensors; the same for the same seed and step, wherever a run resumes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from napari_unet_tumour.engine.lesion_removal import grey_of
from napari_unet_tumour.engine.normalisation import NORMALISATIONS
from napari_unet_tumour.engine.training.augment import augment

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_unet_tumour.engine.training.lesion_transplant import TransplantHosts
    from napari_unet_tumour.engine.training.readers import Readers
    from napari_unet_tumour.models.spec import ModelSpec
    from napari_unet_tumour.settings import TrainSettings

STRIDE = 1_000_003


@dataclass(frozen=True, eq=False)
class SamplePools:
    """What batches are drawn from, at the working size.

    Parameters
    ----------
    images : torch.Tensor
        (n, C, S, S) uint8 or float32.
    masks : torch.Tensor
        (n, S, S) uint8 label values.
    twins, negatives : torch.Tensor
        (k, C, S, S) images without any tumour; k may be 0.
    hosts : Hosts, optional
        Where grafts put their tumours.
    readers : Readers, optional
        What two readers have drawn, where there is a second one.
    """

    images: torch.Tensor
    masks: torch.Tensor
    twins: torch.Tensor
    negatives: torch.Tensor
    hosts: TransplantHosts | None = None
    readers: Readers | None = None


@dataclass(frozen=True)
class EpochPlan:
    """One pass over the training images.

    Parameters
    ----------
    number : int
        Counted from 0.
    side : int
        Side of the images in pixels.
    batch, twins, negatives : int
        Images in a step, and how many of them are twins and negatives.
    steps : int
        Steps of this pass.
    first : int
        Number of its first step in the whole training.
    """

    number: int
    side: int
    batch: int
    twins: int
    negatives: int
    steps: int
    first: int


def epoch_plans(settings: TrainSettings, count: int, has_twins: bool, has_negatives: bool) -> list[EpochPlan]:
    """Plan all passes over `count` training images; every image is seen once in each."""
    laps: list[EpochPlan] = []
    for side, batch, epochs in settings.progressive_stages or ((settings.size, settings.batch, settings.epochs),):
        twins = _part(settings.lesion_removed_fraction, batch) if has_twins else 0
        negatives = _part(settings.negative_share, batch) if has_negatives else 0
        steps = -(-count // max(1, batch - twins - negatives))
        for _ in range(epochs):
            first = laps[-1].first + laps[-1].steps if laps else 0
            laps.append(EpochPlan(len(laps), side, batch, twins, negatives, steps, first))
    return laps


def order_of(
    lap: EpochPlan, count: int, seed: int, shown: NDArray[np.float32] | None = None
) -> list[NDArray[np.int64]]:
    """Return the numbers of the images of every step of a pass, shuffled, in steps of nearly equal size.

    Parameters
    ----------
    shown : numpy.ndarray, optional
        (count,) chance of every image to be seen in a pass, 0..1; all are seen by default.
    """
    rng = np.random.default_rng((seed, lap.number))
    shuffled = rng.permutation(count)
    if shown is not None:
        drawn = shuffled[rng.random(count) < shown[shuffled]]
        shuffled = drawn if len(drawn) >= lap.steps else shuffled
    return np.array_split(shuffled, lap.steps)


def batch_of(
    pools: SamplePools,
    lap: EpochPlan,
    chosen: NDArray[np.int64],
    settings: TrainSettings,
    spec: ModelSpec,
    chance: int,
    device: torch.device,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Make a step's images (N, C, side, side) float32, normalised, and truth (N, L, side, side).

    The truth is 0 or 1, or lies between them where two readers have drawn.
    """
    rng = torch.Generator(device).manual_seed((settings.seed * STRIDE + chance) % 2**63)
    images = torch.from_numpy(chosen)
    shown = _grafted(pools, images, settings.carvemix_fraction, rng)
    parts = [shown, _pick(pools.twins, lap.twins, rng), _pick(pools.negatives, lap.negatives, rng)]
    channels = max(part.shape[1] for part in parts)
    x = torch.cat([part.expand(-1, channels, -1, -1).to(device).float() for part in parts if len(part)])
    y = torch.zeros(len(x), len(spec.labels) - 1, *x.shape[2:], device=device)
    soft = pools.readers is not None
    if pools.readers is not None:
        y[: len(images)] = pools.readers.mean[images][:, None].to(device).float() / 255
    else:
        y[: len(images)] = layers(pools.masks[images].to(device), len(spec.labels) - 1)
    if settings.augment:
        x, y = augment(x, y, lap.side, rng, settings.weak_augment_prob, settings.random_contrast, soft)
    else:
        x, y = _resized(x, y, lap.side, soft)
    return to_batch(x, spec), y


def to_batch(images: torch.Tensor, spec: ModelSpec) -> torch.Tensor:
    """Normalise grey values (N, C, H, W), a grey image repeated over the model's channels."""
    ready = NORMALISATIONS[spec.normalisation](images.float().expand(-1, spec.in_channels, -1, -1))
    return ready.contiguous(memory_format=torch.channels_last)


def layers(masks: torch.Tensor, labels: int) -> torch.Tensor:
    """Turn label values (N, H, W) into (N, L, H, W) float32 in {0, 1}, a layer per label."""
    numbers = torch.arange(1, labels + 1, device=masks.device, dtype=masks.dtype)
    return (masks[:, None] == numbers[:, None, None]).float()


def _part(share: float, batch: int) -> int:
    return min(max(1, round(share * batch)), batch // 2) if share > 0 else 0


def _pick(pool: torch.Tensor, count: int, rng: torch.Generator) -> torch.Tensor:
    if not count:
        return pool[:0]
    return pool[torch.randint(len(pool), (count,), generator=rng, device=rng.device).to(pool.device)]


def _grafted(pools: SamplePools, images: torch.Tensor, share: float, rng: torch.Generator) -> torch.Tensor:
    """Return the images (n, C, S, S), a share of them with their tumour in another head."""
    shown = pools.images[images]
    if pools.hosts is None or not share:
        return shown
    draws = torch.rand(len(images), generator=rng, device=rng.device).tolist()
    chance = np.random.default_rng(int(torch.randint(2**31, (1,), generator=rng, device=rng.device)))
    moved = [n for n, draw in enumerate(draws) if draw < share]
    for n, grey in zip(moved, grey_of(shown[moved]), strict=True):
        graft = pools.hosts.graft(grey, pools.masks[images[n]].numpy() > 0, chance)
        if graft is not None:
            shown[n] = torch.from_numpy(graft)
    return shown


def _resized(x: torch.Tensor, y: torch.Tensor, side: int, soft: bool) -> tuple[torch.Tensor, torch.Tensor]:
    if x.shape[-1] == side:
        return x, y
    x, y = (F.interpolate(t, (side, side), mode="bilinear", align_corners=False, antialias=True) for t in (x, y))
    return x, y if soft else (y > 0.5).float()
