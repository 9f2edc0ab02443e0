"""A second network behind a gate: what moving all weights has taught, for scans that look like the corrected ones."""

from __future__ import annotations

import torch
from torch import nn

# Mean Mahalanobis distance (squared, per feature) between a slice's style and the gate's centre, at which the gate is
# half open. Scans of other persons on the same scanner lie at 0.6 to 1.1, phantoms and other kinds above 1.4.
NEAR, STEEP = 1.3, 15.0


class GatedBranch(nn.Module):
    """A moved copy of a network, and gates that tell the scans that it was moved for.

    Parameters
    ----------
    net : LiteUNet
        Without experts and without a second of its own.
    style : int
        Channels of the feature map that tells the style.
    gates : int
        Kinds of scans; a slice is answered by it as far as the widest gate is open.
    """

    def __init__(self, net: nn.Module, style: int, gates: int) -> None:
        super().__init__()
        self.net, self.gates = net, gates
        for name, shape in {
            "gate_weight": (gates, 2 * style), "gate_bias": (gates,), "share": (gates,), "centre": (gates, 2 * style),
        }.items():  # fmt: skip
            self.register_buffer(name, torch.zeros(shape))

    def opened(self, style: torch.Tensor, precision: torch.Tensor) -> torch.Tensor:
        """Return how much of it counts (N,), 0..1.

        Parameters
        ----------
        style : torch.Tensor
            (N, S) standardised styles of slices.
        precision : torch.Tensor
            (S, S) inverse of the training slices' covariance, by which distances are measured.
        """
        logits = style @ self.get_buffer("gate_weight").transpose(0, 1) + self.get_buffer("gate_bias")
        away = style[:, None] - self.get_buffer("centre")
        distance = ((away @ precision) * away).mean(2)
        return (logits.sigmoid() * (STEEP * (NEAR - distance)).sigmoid() * self.get_buffer("share")).amax(1)

    def forward(
        self, x: torch.Tensor, before: torch.Tensor, style: torch.Tensor, precision: torch.Tensor
    ) -> torch.Tensor:
        """Return the logits `before` (N, O, H, W), moved towards its own as far as the gates are open."""
        share = self.opened(style, precision)[:, None, None, None]
        moved: torch.Tensor = self.net(x)
        return before + share * (moved - before)


class WithAndWithoutBranch(nn.Module):
    """A network with a second, whose logits are (N, 2 O, H, W): without the second, then with it."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return both answers to (N, C, H, W)."""
        return torch.cat(self.net.both(x), 1)  # type: ignore[operator]


def has_gated_branch(net: nn.Module) -> bool:
    """Tell whether a network gives two answers."""
    return isinstance(getattr(net, "second", None), GatedBranch)
