"""A U-Net with an EfficientNet-Lite encoder: MobileNetV2's blocks, no squeeze-and-excitation, ReLU6.

The encoder is MONAI's EfficientNet, built for the Lite variants (M. Tan and Q. Le 2019; Lite: Google
2020), so that its published ImageNet weights fit. Every normalisation is BatchNorm after a convolution
and folds into it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from monai.networks.nets.efficientnet import EfficientNet
from torch import nn
from torch.nn import functional as F

from napari_unet_tumour.engine.networks.cast import CastTo
from napari_unet_tumour.engine.networks.experts import ExpertHead
from napari_unet_tumour.engine.networks.gated_branch import GatedBranch

if TYPE_CHECKING:
    from collections.abc import Sequence

# Kernel, stride and expansion of the seven stages, and by variant their blocks and widths.
STAGES = ((3, 1, 1), (3, 2, 6), (5, 2, 6), (3, 2, 6), (5, 1, 6), (5, 2, 6), (3, 1, 6))
ENCODERS = {
    "lite0": ((1, 2, 2, 3, 3, 4, 1), (16, 24, 40, 80, 112, 192, 320)),
    "lite1": ((1, 3, 3, 4, 4, 5, 1), (16, 24, 40, 80, 112, 192, 320)),
    "lite2": ((1, 3, 3, 4, 4, 5, 1), (16, 24, 48, 88, 120, 208, 352)),
}
STEM = 32
# Downsampling factors of the decoder levels that the experts use.
FINEST = (4, 2, 1)


class LiteUNet(nn.Module):
    """U-Net with five levels; the finest decoder level has no skip. The map at 1/16 gives the style of a scan.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the image and of the logits.
    decoder : sequence of int
        Filters of the five decoder levels, from coarse to fine.
    drop_connect : float
        Probability that training skips a residual block, growing with depth up to this, 0..1.
    experts : int, optional
        Number of experts (see `experts.ExpertHead`); None for a network without.
    gates : int, optional
        Number of gates of its branch (see `gated_branch.GatedBranch`); None for a network without. Needs experts.
    encoder : str
        Variant of the encoder: "lite0", "lite1" (deeper) or "lite2" (deeper and wider).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        decoder: Sequence[int],
        drop_connect: float,
        experts: int | None = None,
        gates: int | None = None,
        encoder: str = "lite0",
    ) -> None:
        super().__init__()
        self.encoder = LiteEncoder(in_channels, drop_connect, encoder)
        first, second, third, _, style, _, deepest = ENCODERS[encoder][1]
        skips = (style, third, second, first, 0)
        if len(decoder) != len(skips):
            raise ValueError(f"decoder has {len(decoder)} levels, {len(skips)} are needed")
        self.narrow = CastTo("decoder", "head")
        below = (deepest, *decoder[:-1])
        self.decoder = nn.ModuleList(_twice(a + b, c) for a, b, c in zip(below, skips, decoder, strict=True))
        self.head = nn.Conv2d(decoder[-1], out_channels, 3, padding=1)
        seen, scales = (*decoder[-len(FINEST) :], in_channels), (*FINEST, 1)
        self.corrector = None if experts is None else ExpertHead(seen, scales, style, out_channels, experts)
        self.style = style
        plain = (in_channels, out_channels, decoder, drop_connect, None, None, encoder)
        self.second = None if gates is None else GatedBranch(LiteUNet(*plain), style, gates)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (N, out_channels, H, W) for (N, in_channels, H, W) with sides that are multiples of 32."""
        return self.both(x)[-1]

    def both(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the logits without the gated branch and, if there is one, with it."""
        maps, style = self.features(x)
        own = self.logits_of(maps, style)
        if self.second is None or self.corrector is None:
            return (own,)
        precision = self.corrector.get_buffer("style_precision")
        return own, self.second(x, own, self.corrector.style_of(style), precision)

    def logits_of(self, maps: list[torch.Tensor], style: torch.Tensor) -> torch.Tensor:
        """Return the logits for the result of `features`."""
        logits: torch.Tensor = self.head(maps[-2])
        if self.corrector is not None and self.corrector.experts:
            logits = logits + self.corrector(maps, style)
        return logits

    def features(self, x: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Return the finest decoder levels and the image, coarse to fine, and the map that gives the style."""
        *skips, y = self.encoder(x)
        style, levels = skips[-1], []
        y, *skips = [self.narrow(features) for features in (y, *skips)]
        for level in self.decoder:
            y = F.interpolate(y, scale_factor=2.0, mode="nearest")
            y = level(torch.cat([y, skips.pop()], 1) if skips else y)
            levels.append(y)
        return [*levels[-len(FINEST) :], x], style


class LiteEncoder(EfficientNet):
    """A Lite variant of MONAI's EfficientNet that returns its five feature maps instead of classes."""

    def __init__(self, in_channels: int, drop_connect: float, variant: str) -> None:
        if variant not in ENCODERS:
            raise ValueError(f"no encoder is called {variant!r}: choose {', '.join(ENCODERS)}")
        super().__init__(_blocks(*ENCODERS[variant]), 2, in_channels, 1, image_size=256, drop_connect_rate=drop_connect)
        for classifier in ("_conv_head", "_conv_head_padding", "_bn1", "_avg_pooling", "_dropout", "_fc"):
            delattr(self, classifier)
        for module in self.modules():
            if hasattr(module, "_swish"):
                module._swish = nn.ReLU6(inplace=True)
            depthwise = getattr(module, "_depthwise_conv", None)
            if isinstance(depthwise, nn.Conv2d):
                module._depthwise_conv = DepthwiseConv2d.like(depthwise)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return features at 1/2, 1/4, 1/8, 1/16 and 1/32 of (N, in_channels, H, W)."""
        x = self._swish(self._bn0(self._conv_stem(self._conv_stem_padding(x))))
        features = []
        for number, stage in enumerate(self._blocks, 1):
            x = stage(x)
            if number in self.extract_stacks:
                features.append(x)
        return features


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution that is trained in float32 on a CPU: the backward pass in bfloat16 takes far longer."""

    @classmethod
    def like(cls, other: nn.Conv2d) -> DepthwiseConv2d:
        """Make one with the arguments and weights of another."""
        sizes = {"kernel_size": other.kernel_size, "stride": other.stride, "padding": other.padding}
        made = cls(other.in_channels, other.out_channels, **sizes, groups=other.groups, bias=other.bias is not None)  # type: ignore[arg-type]
        made.weight, made.bias = other.weight, other.bias
        return made

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (N, C, h, w) for (N, C, H, W)."""
        learning = torch.is_grad_enabled() and x.device.type == "cpu" and torch.is_autocast_enabled("cpu")
        if not learning:
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float())


def _blocks(repeats: Sequence[int], widths: Sequence[int]) -> list[str]:
    """Describe the stages as MONAI's EfficientNet reads them."""
    rows = zip(repeats, STAGES, (STEM, *widths), widths, strict=False)
    return [f"r{many}_k{k}_s{s}{s}_e{e}_i{below}_o{width}" for many, (k, s, e), below, width in rows]


def _twice(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (inputs, outputs):
        layers += [nn.Conv2d(width, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
