"""Networks by name: those of MONAI, and the tutorial's U-Net.

Every network takes (N, in_channels, H, W) with sides that are multiples of 32 and returns raw
logits (N, out_channels, H, W). MONAI is imported when its first network is built.
"""

from __future__ import annotations

import importlib
import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from napari_unet_tumour.engine.networks.tutorial_unet import TutorialUNet

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WIDTHS = (16, 32, 64, 128, 256)


def build(name: str, in_channels: int, out_channels: int, **arguments: Any) -> nn.Module:
    """Build a network; KeyError for an unknown name, TypeError or ValueError for wrong arguments."""
    with warnings.catch_warnings():
        # MONAI warns about optional packages while it is imported.
        warnings.simplefilter("ignore")
        return NETWORKS[name](in_channels=in_channels, out_channels=out_channels, **arguments)


def _monai(module: str, kind: str, **arguments: Any) -> nn.Module:
    """Build a 2D network of `monai.networks.nets`."""
    net: nn.Module = getattr(importlib.import_module(f"monai.networks.nets.{module}"), kind)(
        spatial_dims=2, **arguments
    )
    return net


def dynunet(
    filters: Sequence[int] = (16, 32, 64, 128, 192, 256), norm_name: str = "batch", **arguments: Any
) -> nn.Module:
    """Return MONAI's DynUNet (the architecture of nnU-Net), one level per entry of `filters`."""
    levels = len(filters)
    shape = {"kernel_size": [3] * levels, "strides": [1] + [2] * (levels - 1)}
    up = {"upsample_kernel_size": [2] * (levels - 1)}
    return _monai("dynunet", "DynUNet", filters=list(filters), norm_name=norm_name, **shape, **up, **arguments)


def basic_unet(**arguments: Any) -> nn.Module:
    """Return MONAI's BasicUNet with its defaults."""
    return _monai("basic_unet", "BasicUNet", **arguments)


def unet(channels: Sequence[int] = WIDTHS, num_res_units: int = 2, norm: str = "batch", **arguments: Any) -> nn.Module:
    """Return MONAI's residual UNet."""
    strides = [2] * (len(channels) - 1)
    more = {"num_res_units": num_res_units, "norm": norm, **arguments}
    return _monai("unet", "UNet", channels=list(channels), strides=strides, **more)


def attention_unet(channels: Sequence[int] = WIDTHS, **arguments: Any) -> nn.Module:
    """Return MONAI's AttentionUnet."""
    strides = [2] * (len(channels) - 1)
    return _monai("attentionunet", "AttentionUnet", channels=list(channels), strides=strides, **arguments)


def segresnet(init_filters: int = 16, **arguments: Any) -> nn.Module:
    """Return MONAI's SegResNet."""
    return _monai("segresnet", "SegResNet", init_filters=init_filters, **arguments)


def flexible_unet(backbone: str = "efficientnet-b0", pretrained: bool = False, **arguments: Any) -> nn.Module:
    """Return MONAI's FlexibleUNet; by default without downloading weights."""
    return _monai("flexible_unet", "FlexibleUNet", backbone=backbone, pretrained=pretrained, **arguments)


def unet_plus_plus(**arguments: Any) -> nn.Module:
    """Return MONAI's BasicUNetPlusPlus, without its extra outputs."""
    return _OnlyOutput(_monai("basic_unetplusplus", "BasicUNetPlusPlus", **arguments))


class _OnlyOutput(torch.nn.Module):
    """Unpacks the single output of a network that returns a list."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.net(x)[-1]
        return logits


def lite_unet(
    in_channels: int,
    out_channels: int,
    decoder: Sequence[int] = (128, 64, 48, 32, 16),
    drop_connect: float = 0.1,
    experts: int | None = None,
    gates: int | None = None,
    encoder: str = "lite0",
) -> nn.Module:
    """Return a U-Net with an EfficientNet-Lite encoder; `decoder` gives its filters from coarse to fine."""
    from napari_unet_tumour.engine.networks.lite_unet import LiteUNet

    return LiteUNet(in_channels, out_channels, tuple(decoder), drop_connect, experts, gates, encoder)


def tutorial_unet(in_channels: int, out_channels: int, filters: Sequence[int] = (64, 128, 256, 512, 1024)) -> nn.Module:
    """Return the Keras tutorial's U-Net: 31,043,521 trainable parameters for 3 channels in, 1 out."""
    return TutorialUNet(in_channels, out_channels, filters)


NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "dynunet": dynunet,
    "basic-unet": basic_unet,
    "unet": unet,
    "attention-unet": attention_unet,
    "segresnet": segresnet,
    "flexible-unet": flexible_unet,
    "lite-unet": lite_unet,
    "unet-plus-plus": unet_plus_plus,
    "tutorial-unet": tutorial_unet,
}
