"""A fine-tuned copy of a network behind a gate; it is used for scans that look like the corrected ones."""

from __future__ import annotations

import torch
from torch import nn

# Mean Mahalanobis distance (squared, per feature) between a slice's style and the gate's centre, at which the gate is
# half open. Scans of other persons on the same scanner lie at 0.6 to 1.1, phantoms and other kinds above 1.4.
NEAR, STEEP = 1.3, 15.0


class GatedBranch(nn.Module):
    """A fine-tuned copy of a network, and gates that open for the scans that it was fine-tuned for.

    Parameters
    ----------
    net : LiteUNet
        The copy, without experts and without a branch of its own.
    style : int
        Channels of the feature map that the style is computed from.
    gates : int
        Number of gates, one per kind of scan; the most open one counts.
    """

    def __init__(self, net: nn.Module, style: int, gates: int) -> None:
        super().__init__()
        self.net, self.gates = net, gates
        for name, shape in {
            "gate_weight": (gates, 2 * style), "gate_bias": (gates,), "share": (gates,), "centre": (gates, 2 * style),
        }.items():  # fmt: skip
            self.register_buffer(name, torch.zeros(shape))

    def opened(self, style: torch.Tensor, precision: torch.Tensor) -> torch.Tensor:
        """Return the weight of the branch for every slice (N,), 0..1.

        Parameters
        ----------
        style : torch.Tensor
            (N, S) standardised styles of slices.
        precision : torch.Tensor
            (S, S) inverse of the covariance of the training slices' styles.
        """
        logits = style @ self.get_buffer("gate_weight").transpose(0, 1) + self.get_buffer("gate_bias")
        away = style[:, None] - self.get_buffer("centre")
        distance = ((away @ precision) * away).mean(2)
        return (logits.sigmoid() * (STEEP * (NEAR - distance)).sigmoid() * self.get_buffer("share")).amax(1)

    def forward(
        self, x: torch.Tensor, before: torch.Tensor, style: torch.Tensor, precision: torch.Tensor
    ) -> torch.Tensor:
        """Return the base logits `before` (N, O, H, W), blended with the branch as far as the gates are open."""
        share = self.opened(style, precision)[:, None, None, None]
        moved: torch.Tensor = self.net(x)
        return before + share * (moved - before)


class WithAndWithoutBranch(nn.Module):
    """A network with a gated branch, with logits (N, 2 O, H, W): without the branch, then with it."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return both logits for (N, C, H, W)."""
        return torch.cat(self.net.both(x), 1)  # type: ignore[operator]


def has_gated_branch(net: nn.Module) -> bool:
    """Tell whether a network has a gated branch, and so gives two predictions."""
    return isinstance(getattr(net, "second", None), GatedBranch)
