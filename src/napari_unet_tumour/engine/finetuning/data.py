"""What a fine-tuning learns from, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from napari_unet_tumour.engine.finetuning.cases import FineTuneSlices
    from napari_unet_tumour.engine.finetuning.hyperparameters import HyperParameters


@dataclass(frozen=True, eq=False)
class FineTuneData:
    """All that every way of learning takes beside the parent network.

    Parameters
    ----------
    cases : Cases
        Corrected slices to learn from.
    context, replay : Cases or None
        Uncorrected slices of the same scan, and corrected ones of earlier scans.
    recipe : Recipe
        What a step is made of, and what counts how much.
    device : torch.device
        Where the tensors lie.
    seed : int
        Start of all chance.
    """

    cases: FineTuneSlices
    context: FineTuneSlices | None
    replay: FineTuneSlices | None
    recipe: HyperParameters
    device: torch.device
    seed: int = 0
