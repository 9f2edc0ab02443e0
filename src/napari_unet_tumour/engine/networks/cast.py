"""The place in a network from which fewer bits will do."""

from __future__ import annotations

import torch
from torch import nn


class CastTo(nn.Module):
    """Where a network goes on in fewer bits: what is before it would lose too much by them.

    An EfficientNet's early blocks, expanded and cut at 6, carry bfloat16's rounding through to the mask (Dice 0.992
    against float32); a decoder alone in bfloat16 does not (above 0.999), and has most of the work.

    Parameters
    ----------
    behind : str
        Names of the network's parts that take what this gives.
    """

    def __init__(self, *behind: str) -> None:
        super().__init__()
        self.behind = behind
        self.dtype: torch.dtype | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features as `dtype`, as they are where that is None."""
        return x if self.dtype is None else x.to(self.dtype)
