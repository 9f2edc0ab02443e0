"""Networks by name: those of MONAI, and the tutorial's U-Net.

Every network takes (N, in_channels, H, W) with sides that are multiples of 32 and returns raw
logits (N, out_channels, H, W). MONAI is imported when its first network is built.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WIDTHS = (16, 32, 64, 128, 256)


def build(name: str, in_channels: int, out_channels: int, **arguments: Any) -> nn.Module:
    """Build a network; KeyError for an unknown name, TypeError or ValueError for wrong arguments."""
    with warnings.catch_warnings():
        # MONAI warns about optional packages while it is imported.
        warnings.simplefilter("ignore")
        return NETWORKS[name](in_channels=in_channels, out_channels=out_channels, **arguments)


def dynunet(
    in_channels: int,
    out_channels: int,
    filters: Sequence[int] = (16, 32, 64, 128, 192, 256),
    norm_name: str = "batch",
    **arguments: Any,
) -> nn.Module:
    """Return MONAI's DynUNet (the architecture of nnU-Net), one level per entry of `filters`."""
    from monai.networks.nets.dynunet import DynUNet

    levels = len(filters)
    net: nn.Module = DynUNet(
        spatial_dims=2,
        in_channels=in_channels,
        out_channels=out_channels,
        kernel_size=[3] * levels,
        strides=[1] + [2] * (levels - 1),
        upsample_kernel_size=[2] * (levels - 1),
        filters=list(filters),
        norm_name=norm_name,
        **arguments,
    )
    return net


def basic_unet(in_channels: int, out_channels: int, **arguments: Any) -> nn.Module:
    """Return MONAI's BasicUNet with its defaults."""
    from monai.networks.nets.basic_unet import BasicUNet

    net: nn.Module = BasicUNet(spatial_dims=2, in_channels=in_channels, out_channels=out_channels, **arguments)
    return net


def unet(
    in_channels: int,
    out_channels: int,
    channels: Sequence[int] = WIDTHS,
    num_res_units: int = 2,
    norm: str = "batch",
    **arguments: Any,
) -> nn.Module:
    """Return MONAI's residual UNet."""
    from monai.networks.nets.unet import UNet

    net: nn.Module = UNet(
        spatial_dims=2,
        in_channels=in_channels,
        out_channels=out_channels,
        channels=list(channels),
        strides=[2] * (len(channels) - 1),
        num_res_units=num_res_units,
        norm=norm,
        **arguments,
    )
    return net


def attention_unet(
    in_channels: int, out_channels: int, channels: Sequence[int] = WIDTHS, **arguments: Any
) -> nn.Module:
    """Return MONAI's AttentionUnet."""
    from monai.networks.nets.attentionunet import AttentionUnet

    net: nn.Module = AttentionUnet(
        spatial_dims=2,
        in_channels=in_channels,
        out_channels=out_channels,
        channels=list(channels),
        strides=[2] * (len(channels) - 1),
        **arguments,
    )
    return net


def segresnet(in_channels: int, out_channels: int, init_filters: int = 16, **arguments: Any) -> nn.Module:
    """Return MONAI's SegResNet."""
    from monai.networks.nets.segresnet import SegResNet

    net: nn.Module = SegResNet(
        spatial_dims=2, in_channels=in_channels, out_channels=out_channels, init_filters=init_filters, **arguments
    )
    return net


def flexible_unet(
    in_channels: int, out_channels: int, backbone: str = "efficientnet-b0", **arguments: Any
) -> nn.Module:
    """Return MONAI's FlexibleUNet; never downloads weights."""
    from monai.networks.nets.flexible_unet import FlexibleUNet

    net: nn.Module = FlexibleUNet(
        spatial_dims=2,
        in_channels=in_channels,
        out_channels=out_channels,
        backbone=backbone,
        **{"pretrained": False, **arguments},
    )
    return net


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


def unet_plus_plus(in_channels: int, out_channels: int, **arguments: Any) -> nn.Module:
    """Return MONAI's BasicUNetPlusPlus, without its extra outputs."""
    from monai.networks.nets.basic_unetplusplus import BasicUNetPlusPlus

    return _OnlyOutput(
        BasicUNetPlusPlus(spatial_dims=2, in_channels=in_channels, out_channels=out_channels, **arguments)
    )


class _OnlyOutput(nn.Module):
    """Unpacks the single output of a network that returns a list."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.net(x)[-1]
        return logits


def tutorial_unet(in_channels: int, out_channels: int, filters: Sequence[int] = (64, 128, 256, 512, 1024)) -> nn.Module:
    """Return the Keras tutorial's U-Net: 31,043,521 trainable parameters for 3 channels in, 1 out."""
    return TutorialUNet(in_channels, out_channels, filters)


class TutorialUNet(nn.Module):
    """The U-Net of the Keras tutorial: four encoder blocks, a bridge and four decoder blocks."""

    def __init__(self, in_channels: int, out_channels: int, filters: Sequence[int]) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(
            _twice(a, b) for a, b in zip([in_channels, *filters[:-2]], filters[:-1], strict=True)
        )
        self.bridge = _twice(filters[-2], filters[-1])
        pairs = list(zip(filters[1:], filters[:-1], strict=True))[::-1]
        self.ups = nn.ModuleList(ConvTranspose2x2(deep, width, 2, stride=2) for deep, width in pairs)
        self.decoders = nn.ModuleList(_twice(2 * width, width) for _, width in pairs)
        self.head = nn.Conv2d(filters[0], out_channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (N, out_channels, H, W)."""
        skips = []
        for encoder in self.encoders:
            x = encoder(x)
            skips.append(x)
            x = nn.functional.max_pool2d(x, 2)
        x = self.bridge(x)
        for up, decoder in zip(self.ups, self.decoders, strict=True):
            x = decoder(torch.cat([up(x), skips.pop()], dim=1))
        logits: torch.Tensor = self.head(x)
        return logits


class ConvTranspose2x2(nn.ConvTranspose2d):
    """A 2 x 2 transposed convolution with stride 2, as one matrix product.

    Its windows do not overlap, so the result is the same; oneDNN's weight gradient takes five times as long.
    """

    def forward(self, x: torch.Tensor, output_size: list[int] | None = None) -> torch.Tensor:
        """Return (N, out, 2 H, 2 W)."""
        assert output_size is None
        n, inputs, high, wide = x.shape
        outputs = self.out_channels
        weight = self.weight.permute(2, 3, 1, 0).reshape(4 * outputs, inputs)
        bias = None if self.bias is None else self.bias.repeat(4)
        squares = nn.functional.linear(x.permute(0, 2, 3, 1), weight, bias).view(n, high, wide, 2, 2, outputs)
        rows = squares.permute(0, 1, 3, 2, 4, 5).reshape(n, 2 * high, 2 * wide, outputs)
        return rows.permute(0, 3, 1, 2)


def _twice(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (inputs, outputs):
        # Keras's defaults: its momentum of 0.99 is torch's 0.01.
        norm = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01)
        layers += [nn.Conv2d(width, outputs, 3, padding=1), norm, nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


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
