"""Distillation: trained models whose prediction is a second target beside the reference mask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from napari_unet_tumour.engine import model
from napari_unet_tumour.engine.inference import accelerate
from napari_unet_tumour.errors import ModelError, TrainingError

if TYPE_CHECKING:
    from napari_unet_tumour.models.spec import ModelSpec
    from napari_unet_tumour.settings import TrainSettings

ALIKE = ("channels", "labels", "normalisation")


class Distillation:
    """The teachers of a training.

    Parameters
    ----------
    settings : TrainSettings
        `distill_from` and `distill_weight`.
    spec : ModelSpec
        Description of the network; the teachers must have the same channels, labels and normalisation.
    device : torch.device
        Where they run.

    Raises
    ------
    TrainingError
        A file is not a model, or has other channels, labels or normalisation.
    """

    def __init__(self, settings: TrainSettings, spec: ModelSpec, device: torch.device) -> None:
        names = [name.strip() for name in settings.distill_from.split(",") if name.strip()]
        self._weight = settings.distill_weight
        self._runners = [accelerate.accelerated(_teacher(name, spec), device) for name in names]

    def soften(self, x: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Mix the teachers' mean probability into the target of slices with a label.

        Parameters
        ----------
        x : torch.Tensor
            (N, C, H, W) float32, normalised.
        truth : torch.Tensor
            (N, L, H, W) in {0, 1}.

        Returns
        -------
        torch.Tensor
            (N, L, H, W) in 0..1. Slices without a label are unchanged: it is certain that nothing is there.
        """
        shown = truth.flatten(1).any(1)
        if not self._runners or not shown.any():
            return truth
        # In a twofold prediction the one without the branch comes first.
        taught = [one.probability(x[shown], flip_tta=False)[:, : truth.shape[1]] for one in self._runners]
        soft = truth.clone()
        soft[shown] = torch.lerp(truth[shown], torch.stack(taught).mean(0).to(truth), self._weight)
        return soft


def _teacher(name: str, spec: ModelSpec) -> model.Model:
    try:
        found = model.load(name)
    except ModelError as error:
        raise TrainingError(f"the teacher cannot be used: {error}") from error
    for key in ALIKE:
        theirs, ours = getattr(found.spec, key), getattr(spec, key)
        if theirs != ours:
            raise TrainingError(
                f"the teacher {name} has {key} {theirs!r} and the network has {ours!r}: choose another, or the same"
            )
    return found
