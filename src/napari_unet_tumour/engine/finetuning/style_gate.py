"""When what was learnt counts: a discriminant between the style of the corrected scan and the training slices'."""

from __future__ import annotations

import torch

# Steepness of a gate; squared distance below which two kinds of scans look alike; how much of a distance must be
# more than chance; logit of a gate that is always open; fewest slices that tell what a scan looks like.
SLOPE, FAR, LEAST_SURE, OPEN, ENOUGH = 12.0, 9.0, 0.3, 20.0, 8


def gate_for(styles: torch.Tensor, precision: torch.Tensor, threshold: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weight and bias of a gate that opens for slices like these, not for the training's.

    Fisher's linear discriminant between both; always open where the slices are few or look too much alike. What
    they differ by chance is taken off: along the discriminant a new slice of this kind is expected at `sure`, a
    training slice at 0.

    Parameters
    ----------
    styles : torch.Tensor
        (n, S) float32, standardised: the training slices have mean 0.
    precision : torch.Tensor
        (S, S) float32, inverse of the training slices' covariance.
    threshold : float
        Where the gate is half open; 0 = midway, 0.5 = the middle of these slices.
    """
    centre = styles.mean(0)
    if len(styles) < ENOUGH:
        return torch.zeros_like(centre), centre.new_tensor(OPEN)
    usual, within = torch.linalg.inv(precision), torch.cov(styles.T)
    direction = torch.linalg.solve(usual + within, centre)
    apart = centre @ direction
    chance = torch.linalg.solve(usual + within, within).trace() / len(styles)
    sure = 1 - chance / apart.clamp(min=1e-6)
    if sure < LEAST_SURE or apart - chance < FAR:
        return torch.zeros_like(centre), centre.new_tensor(OPEN)
    slope = SLOPE / sure
    return slope * direction / apart, -slope * sure * (0.5 + threshold)
