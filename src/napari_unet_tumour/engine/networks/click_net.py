"""The click network: a small U-Net on a square window around a lesion."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from napari_unet_tumour.clicks.picture import CHANNELS

if TYPE_CHECKING:
    from collections.abc import Sequence

# From the finest level to the coarsest.
WIDTHS = (16, 24, 32, 48, 64)


class ClickNet(nn.Module):
    """U-Net of plain convolutions; the finest level, the most expensive one, has few of them.

    Parameters
    ----------
    widths : sequence of int
        Filters, from the finest level to the coarsest.
    in_channels : int
        Channels of the picture.
    """

    def __init__(self, widths: Sequence[int] = WIDTHS, in_channels: int = len(CHANNELS)) -> None:
        super().__init__()
        self.first = _layer(in_channels, widths[0])
        self.down = nn.ModuleList(
            nn.Sequential(_layer(a, b, stride=2), _layer(b, b)) for a, b in itertools.pairwise(widths)
        )
        pairs = list(itertools.pairwise(widths))[::-1]
        self.side = nn.ModuleList(_layer(deep, fine, kernel=1) for fine, deep in pairs)
        self.up = nn.ModuleList(_layer(2 * fine, fine) for fine, _ in pairs)
        self.more = nn.ModuleList(
            _layer(fine, fine) if n < len(pairs) - 1 else nn.Identity() for n, (fine, _) in enumerate(pairs)
        )
        self.head = nn.Conv2d(widths[0], 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (N, 1, S, S) for pictures (N, channels, S, S); S is a multiple of 16."""
        x = self.first(x)
        skips = [x]
        for down in self.down:
            x = down(x)
            skips.append(x)
        skips.pop()
        for side, up, more in zip(self.side, self.up, self.more, strict=True):
            x = F.interpolate(side(x), scale_factor=2.0, mode="bilinear", align_corners=False)
            x = more(up(torch.cat([x, skips.pop()], 1)))
        logits: torch.Tensor = self.head(x)
        return logits


def _layer(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
