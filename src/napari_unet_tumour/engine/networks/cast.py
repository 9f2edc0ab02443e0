"""Mixed precision on a CPU: the point in a network from which lower precision is accurate enough."""

from __future__ import annotations

import torch
from torch import nn


class CastTo(nn.Module):
    """Casts features to a lower precision; the layers before it need float32.

    The rounding of bfloat16 in an EfficientNet's early blocks (expanded, clipped at 6) changes the mask (Dice 0.992
    against float32). With only the decoder in bfloat16 it does not (above 0.999), and the decoder does most of the
    work.

    Parameters
    ----------
    behind : str
        Names of the network's modules that come after it.
    """

    def __init__(self, *behind: str) -> None:
        super().__init__()
        self.behind = behind
        self.dtype: torch.dtype | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features as `dtype`, unchanged if that is None."""
        return x if self.dtype is None else x.to(self.dtype)
