"""The U-Net of the Keras tutorial, as torch modules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Sequence


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
