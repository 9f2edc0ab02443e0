"""Models whose answer a new network learns beside the truth (distillation)."""

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
    """Trained models that say how sure one may be.

    Parameters
    ----------
    settings : TrainSettings
        `teachers` and `teach_share`.
    spec : ModelSpec
        What the learning network takes and answers; the teachers must take and answer the same.
    device : torch.device
        Where they run.

    Raises
    ------
    TrainingError
        A file is no model, or takes or answers something else.
    """

    def __init__(self, settings: TrainSettings, spec: ModelSpec, device: torch.device) -> None:
        names = [name.strip() for name in settings.distill_from.split(",") if name.strip()]
        self._share = settings.distill_weight
        self._runners = [accelerate.accelerated(_teacher(name, spec), device) for name in names]

    def soften(self, x: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Mix the teachers' mean probability into the truth of the slices that show something.

        Parameters
        ----------
        x : torch.Tensor
            (N, C, H, W) float32, normalised.
        truth : torch.Tensor
            (N, L, H, W) in {0, 1}.

        Returns
        -------
        torch.Tensor
            (N, L, H, W) in 0..1. Slices without a label stay as they are: that nothing is there is known for sure.
        """
        shown = truth.flatten(1).any(1)
        if not self._runners or not shown.any():
            return truth
        # A twofold teacher's plain answer comes first.
        said = [one.probability(x[shown], flip_tta=False)[:, : truth.shape[1]] for one in self._runners]
        soft = truth.clone()
        soft[shown] = torch.lerp(truth[shown], torch.stack(said).mean(0).to(truth), self._share)
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
