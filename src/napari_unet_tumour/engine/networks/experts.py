"""Experts: linear classifiers on a network's features, fitted to corrected slices, each gated by the style of a scan.

The network's weights do not change. An expert adds to the logits a weighted sum of the decoder's finest features and
of the image. Its gate takes the style of a slice (mean and standard deviation of the encoder's features) and opens for
scans like the corrected ones, so that predictions of other scans do not change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Sequence

REACH = 6.0
BLUR = 5


class ExpertHead(nn.Module):
    """Adds the output of experts to the logits.

    Parameters
    ----------
    features : sequence of int
        Channels of every feature map, coarse to fine; the last one is the image, used twice: unchanged and blurred.
    scales : sequence of int
        Downsampling factor of each map, e.g. (4, 2, 1, 1).
    style : int
        Channels of the feature map that the style is computed from.
    outputs : int
        Logit channels.
    experts : int
        Number of experts, may be 0.
    """

    def __init__(self, features: Sequence[int], scales: Sequence[int], style: int, outputs: int, experts: int) -> None:
        super().__init__()
        self.features, self.scales, self.experts = (*features, features[-1]), (*scales, scales[-1]), experts
        count = sum(self.features)
        for name, shape in {
            "mean": (count,), "scale": (count,), "style_mean": (2 * style,), "style_scale": (2 * style,),
            "style_precision": (2 * style, 2 * style), "weight": (experts, outputs, count), "bias": (experts, outputs),
            "gate_weight": (experts, 2 * style), "gate_bias": (experts,),
        }.items():  # fmt: skip
            self.register_buffer(name, torch.zeros(shape))

    @property
    def has_reference_statistics(self) -> bool:
        """Whether the statistics of the training slices are known; no expert can be fitted without them."""
        return bool(self.get_buffer("scale").any())

    def forward(self, maps: Sequence[torch.Tensor], style: torch.Tensor) -> torch.Tensor:
        """Return the tensor to add to the logits (N, outputs, H, W); `maps` as in the constructor, image last."""
        opened = self.opened(self.style_of(style))
        weight = torch.einsum("nk,kof->nof", opened, self.get_buffer("weight"))
        added, start = torch.einsum("nk,ko->no", opened, self.get_buffer("bias"))[..., None, None], 0
        for number, seen in enumerate(self.maps(maps)):
            stop = start + self.features[number]
            part = torch.einsum("nchw,noc->nohw", self.standard(seen, start, stop), weight[:, :, start:stop])
            added = added + _enlarged(part, self.scales[number])
            start = stop
        return added

    def flat(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the features (N, F, H, W) of the experts at full size."""
        parts, start = [], 0
        for number, seen in enumerate(self.maps(maps)):
            stop = start + self.features[number]
            parts.append(_enlarged(self.standard(seen, start, stop), self.scales[number]))
            start = stop
        return torch.cat(parts, 1)

    def maps(self, maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return the maps and the blurred image."""
        return [*maps, F.avg_pool2d(maps[-1], BLUR, 1, BLUR // 2)]

    def standard(self, seen: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        """Standardise features by the statistics of the training slices, clipped to +-`REACH`."""
        mean, scale = (self.get_buffer(name)[start:stop, None, None] for name in ("mean", "scale"))
        return ((seen - mean) / scale.clamp(min=1e-6)).clamp(-REACH, REACH)

    def style_of(self, seen: torch.Tensor) -> torch.Tensor:
        """Return the style (N, 2 C) of a feature map (N, C, h, w): mean and standard deviation, standardised."""
        mean = seen.mean((2, 3))
        spread = (seen - mean[..., None, None]).square().mean((2, 3)).sqrt()
        raw = torch.cat([mean, spread], 1)
        return (raw - self.get_buffer("style_mean")) / self.get_buffer("style_scale").clamp(min=1e-6)

    def opened(self, style: torch.Tensor) -> torch.Tensor:
        """Return how far each expert's gate is open (N, experts), 0..1."""
        return (style @ self.get_buffer("gate_weight").transpose(0, 1) + self.get_buffer("gate_bias")).sigmoid()


def _enlarged(part: torch.Tensor, scale: int) -> torch.Tensor:
    if scale == 1:
        return part
    return F.interpolate(part, scale_factor=float(scale), mode="bilinear", align_corners=False)
