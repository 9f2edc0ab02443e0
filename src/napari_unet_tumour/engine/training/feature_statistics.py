"""Statistics of the training slices for experts, computed once after training; no slice can be reconstructed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from napari_unet_tumour.engine import networks
from napari_unet_tumour.engine.networks.lite_unet import LiteUNet
from napari_unet_tumour.engine.training.learner import precision_of
from napari_unet_tumour.engine.training.validation import autocast
from napari_unet_tumour.settings import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from torch import nn

    from napari_unet_tumour.models.spec import ModelSpec

BATCH, THIN = 8, 4
# Shrinkage of the style's covariance towards the identity, against overfitting to few slices.
SHRINK = 0.15
# Relative error of a style from half precision; smaller differences are not significant.
ROUNDING = 0.02

State = dict[str, torch.Tensor]


def can_use_experts(net: nn.Module) -> bool:
    """Tell whether experts can be fitted to a network."""
    return isinstance(net, LiteUNet) and net.corrector is not None and net.corrector.has_reference_statistics


@torch.inference_mode()
def iter_feature_statistics(
    spec: ModelSpec, state: State, images: Callable[[int, int], torch.Tensor], count: int
) -> Generator[Progress, None, tuple[ModelSpec, State]]:
    """Add an expert head without experts to a lite-unet, with the statistics of the training slices.

    Parameters
    ----------
    spec, state : ModelSpec and dict
        The trained model; its network is lite-unet.
    images : callable
        (start, stop) -> (n, C, S, S) float32, normalised training slices.
    count : int
        Number of training slices.

    Returns
    -------
    tuple of ModelSpec and dict
        The same model with the expert head; its predictions do not change.
    """
    spec = replace(spec, arguments={**spec.arguments, "experts": 0})
    net = networks.build(spec.network, spec.in_channels, spec.out_channels, **spec.arguments)
    net.load_state_dict(state, strict=False)
    assert isinstance(net, LiteUNet)
    assert net.corrector is not None
    net.eval()
    corrector, device = net.corrector, torch.device("cpu")
    for name in ("scale", "style_scale"):
        corrector.get_buffer(name).fill_(1.0)
    sums, styles = [], []
    for start in range(0, count, BATCH):
        with autocast(device, precision_of("auto", device)):
            maps, style = net.features(images(start, min(start + BATCH, count)))
        thin = [seen.float()[..., ::THIN, ::THIN] for seen in corrector.maps(maps)]
        sums.append(torch.stack([torch.cat([(t**power).mean((0, 2, 3)) for t in thin]) for power in (1, 2)]))
        styles.append(corrector.style_of(style.float()))
        yield Progress(min(start + BATCH, count), count, "computing statistics of the training slices")
    _store(corrector, torch.stack(sums).mean(0), torch.cat(styles))
    return spec, {name: value.clone() for name, value in net.state_dict().items()}


def _store(corrector: nn.Module, moments: torch.Tensor, styles: torch.Tensor) -> None:
    mean, square = moments
    style_mean = styles.mean(0)
    style_scale = (styles.var(0) + (ROUNDING * style_mean).square()).sqrt() + 1e-4
    standard = (styles - style_mean) / style_scale
    covariance = (1 - SHRINK) * torch.cov(standard.T) + SHRINK * torch.eye(styles.shape[1])
    for name, value in {
        "mean": mean, "scale": (square - mean.square()).clamp(min=0).sqrt() + 1e-3, "style_mean": style_mean,
        "style_scale": style_scale, "style_precision": torch.linalg.inv(covariance),
    }.items():  # fmt: skip
        corrector.get_buffer(name).copy_(value)
