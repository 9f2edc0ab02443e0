"""The batches of a training: which slices are in a step, and its tensors; reproducible from seed and step number."""

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
    """The images that batches are drawn from, at the working size.

    Parameters
    ----------
    images : torch.Tensor
        (n, C, S, S) uint8 or float32.
    masks : torch.Tensor
        (n, S, S) uint8 label values.
    lesion_free, negatives : torch.Tensor
        (k, C, S, S) lesion-free copies, and other images without a tumour; k may be 0.
    hosts : TransplantHosts, optional
        Tumour-free slices for CarveMix.
    readers : Readers, optional
        The masks of two readers, if there is a second one.
    """

    images: torch.Tensor
    masks: torch.Tensor
    lesion_free: torch.Tensor
    negatives: torch.Tensor
    hosts: TransplantHosts | None = None
    readers: Readers | None = None


@dataclass(frozen=True)
class EpochPlan:
    """One epoch of a training.

    Parameters
    ----------
    number : int
        Counted from 0.
    side : int
        Side of the images in pixels.
    batch, lesion_free, negatives : int
        Images in a step, and how many of them are lesion-free copies and negatives.
    steps : int
        Number of steps.
    first : int
        Number of its first step in the whole training.
    """

    number: int
    side: int
    batch: int
    lesion_free: int
    negatives: int
    steps: int
    first: int


def epoch_plans(settings: TrainSettings, count: int, has_lesion_free: bool, has_negatives: bool) -> list[EpochPlan]:
    """Plan all epochs over `count` training images; every image is seen once per epoch."""
    plans: list[EpochPlan] = []
    for side, batch, epochs in settings.progressive_stages or ((settings.size, settings.batch, settings.epochs),):
        lesion_free = _part(settings.lesion_removed_fraction, batch) if has_lesion_free else 0
        negatives = _part(settings.negative_share, batch) if has_negatives else 0
        steps = -(-count // max(1, batch - lesion_free - negatives))
        for _ in range(epochs):
            first = plans[-1].first + plans[-1].steps if plans else 0
            plans.append(EpochPlan(len(plans), side, batch, lesion_free, negatives, steps, first))
    return plans


def order_of(
    plan: EpochPlan, count: int, seed: int, shown: NDArray[np.float32] | None = None
) -> list[NDArray[np.int64]]:
    """Return the image numbers of every step of an epoch, shuffled, in steps of nearly equal size.

    Parameters
    ----------
    shown : numpy.ndarray, optional
        (count,) probability of every image to be in the epoch, 0..1; all are by default.
    """
    rng = np.random.default_rng((seed, plan.number))
    shuffled = rng.permutation(count)
    if shown is not None:
        drawn = shuffled[rng.random(count) < shown[shuffled]]
        shuffled = drawn if len(drawn) >= plan.steps else shuffled
    return np.array_split(shuffled, plan.steps)


def batch_of(
    pools: SamplePools,
    plan: EpochPlan,
    chosen: NDArray[np.int64],
    settings: TrainSettings,
    spec: ModelSpec,
    chance: int,
    device: torch.device,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the images (N, C, side, side) float32 of a step, normalised, and the target (N, L, side, side).

    The target is 0 or 1, or between them if there are two readers.
    """
    rng = torch.Generator(device).manual_seed((settings.seed * STRIDE + chance) % 2**63)
    images = torch.from_numpy(chosen)
    shown = _transplanted(pools, images, settings.carvemix_fraction, rng)
    parts = [shown, _pick(pools.lesion_free, plan.lesion_free, rng), _pick(pools.negatives, plan.negatives, rng)]
    channels = max(part.shape[1] for part in parts)
    x = torch.cat([part.expand(-1, channels, -1, -1).to(device).float() for part in parts if len(part)])
    y = torch.zeros(len(x), len(spec.labels) - 1, *x.shape[2:], device=device)
    soft = pools.readers is not None
    if pools.readers is not None:
        y[: len(images)] = pools.readers.mean[images][:, None].to(device).float() / 255
    else:
        y[: len(images)] = layers(pools.masks[images].to(device), len(spec.labels) - 1)
    if settings.augment:
        x, y = augment(x, y, plan.side, rng, settings.weak_augment_prob, settings.random_contrast, soft)
    else:
        x, y = _resized(x, y, plan.side, soft)
    return to_batch(x, spec), y


def to_batch(images: torch.Tensor, spec: ModelSpec) -> torch.Tensor:
    """Normalise images (N, C, H, W); a grey image is repeated over the model's channels."""
    ready = NORMALISATIONS[spec.normalisation](images.float().expand(-1, spec.in_channels, -1, -1))
    return ready.contiguous(memory_format=torch.channels_last)


def layers(masks: torch.Tensor, labels: int) -> torch.Tensor:
    """Return label values (N, H, W) as (N, L, H, W) float32 in {0, 1}, one layer per label."""
    numbers = torch.arange(1, labels + 1, device=masks.device, dtype=masks.dtype)
    return (masks[:, None] == numbers[:, None, None]).float()


def _part(share: float, batch: int) -> int:
    return min(max(1, round(share * batch)), batch // 2) if share > 0 else 0


def _pick(pool: torch.Tensor, count: int, rng: torch.Generator) -> torch.Tensor:
    if not count:
        return pool[:0]
    return pool[torch.randint(len(pool), (count,), generator=rng, device=rng.device).to(pool.device)]


def _transplanted(pools: SamplePools, images: torch.Tensor, fraction: float, rng: torch.Generator) -> torch.Tensor:
    """Return the images (n, C, S, S), a fraction of them with their tumour in another head."""
    shown = pools.images[images]
    if pools.hosts is None or not fraction:
        return shown
    draws = torch.rand(len(images), generator=rng, device=rng.device).tolist()
    chance = np.random.default_rng(int(torch.randint(2**31, (1,), generator=rng, device=rng.device)))
    moved = [n for n, draw in enumerate(draws) if draw < fraction]
    for n, grey in zip(moved, grey_of(shown[moved]), strict=True):
        changed = pools.hosts.transplant(grey, pools.masks[images[n]].numpy() > 0, chance)
        if changed is not None:
            shown[n] = torch.from_numpy(changed)
    return shown


def _resized(x: torch.Tensor, y: torch.Tensor, side: int, soft: bool) -> tuple[torch.Tensor, torch.Tensor]:
    if x.shape[-1] == side:
        return x, y
    x, y = (F.interpolate(t, (side, side), mode="bilinear", align_corners=False, antialias=True) for t in (x, y))
    return x, y if soft else (y > 0.5).float()
