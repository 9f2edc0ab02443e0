"""What one fine-tuning works on: its slices on the working grid, its model, its clock."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.engine.finetuning import scoring
from napari_unet_tumour.engine.finetuning.cases import FineTuneSlices, context_of, fine_tune_slices
from napari_unet_tumour.engine.finetuning.data import FineTuneData
from napari_unet_tumour.engine.inference.accelerate import pick_device
from napari_unet_tumour.errors import TrainingError
from napari_unet_tumour.postprocess.enhancing_part import check_part

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_unet_tumour.corrections import ReviewedSlice
    from napari_unet_tumour.corrections.stack import ScanStack
    from napari_unet_tumour.engine.finetuning.hyperparameters import HyperParameters
    from napari_unet_tumour.engine.model import Model
    from napari_unet_tumour.settings import FinetuneSettings

# Most slices of the same scan, and of earlier ones, that are looked at.
MOST_CONTEXT, MOST_REPLAY = 24, 24


@dataclass(eq=False)
class Estimate:
    """How long a fine-tuning takes on this computer.

    Parameters
    ----------
    steps : int
        How many it will take; 0 while that is not known.
    seconds : float
        All of it, from the beginning; 0 while that is not known.
    begin, pace : float
        After how many seconds the first step began, and how many a step takes; 0 while that is not known.
    """

    steps: int = 0
    seconds: float = 0.0
    begin: float = 0.0
    pace: float = 0.0


@dataclass(frozen=True, eq=False)
class FineTuneContext:
    """All that one fine-tuning works on.

    Parameters
    ----------
    model : Model
        The parent; stays as it is.
    settings : FinetuneSettings
        Its budget.
    lesson : Lesson
        What is learnt from, and how.
    held_out, reference, watch : Cases or None
        Slices that are only scored, those that must not be forgotten, and the one on screen.
    begin : float
        When it began, as `time.monotonic` tells.
    estimate : Estimate
        How long it takes, once the first steps have told.
    stacks : sequence of ScanStack
        Neighbours of the corrected slices, where they are known.
    habit : dict
        How the reader outlines, for the new model file (`ModelSpec.habit`); filled once it is known.
    watched : numpy.ndarray, optional
        (C, H, W) raw grey values of the one on screen.
    before : dict
        The parent's scores by the `id` of the slices, so that they are computed once.
    """

    model: Model
    settings: FinetuneSettings
    lesson: FineTuneData
    held_out: FineTuneSlices | None
    reference: FineTuneSlices | None
    watch: FineTuneSlices | None
    begin: float
    stacks: Sequence[ScanStack] = ()
    estimate: Estimate = field(default_factory=Estimate)
    habit: dict[str, Any] = field(default_factory=dict)
    watched: NDArray[Any] | None = None
    before: dict[int, scoring.Scores] = field(default_factory=dict)

    @property
    def spent(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.begin

    def left(self) -> float:
        """Seconds of the budget that are left."""
        return self.settings.seconds - self.spent

    def past(self, share: float) -> bool:
        """Tell whether more than this share of the budget is spent."""
        return self.left() < (1 - share) * self.settings.seconds


def prepare_context(
    model: Model,
    corrections: Sequence[ReviewedSlice],
    settings: FinetuneSettings,
    context: NDArray[Any] | None,
    replay: Sequence[ReviewedSlice],
    watch: NDArray[Any] | None,
    recipe: HyperParameters,
) -> FineTuneContext:
    """Bring everything to the working grid and the device; see `iter_finetune` for the arguments."""
    model = _of_part(model, settings.part)
    spec, device, begin = model.spec, pick_device(settings.device), time.monotonic()
    learn = [one for one in corrections if not one.held_out]
    if not learn:
        raise TrainingError("no slice to learn from: tick a corrected slice as reviewed")

    def cases(some: Sequence[ReviewedSlice]) -> FineTuneSlices | None:
        return fine_tune_slices(some, spec, device) if some else None

    def planes(some: NDArray[Any] | None) -> FineTuneSlices | None:
        return (
            None if some is None or not len(some) else context_of(np.stack(_spread(some, MOST_CONTEXT)), spec, device)
        )

    reference = [one for one in replay if one.held_out] or _spread(replay, 6)
    reference += list(scoring.phantom_slices()) if scoring.fits_phantom(spec) else []
    lesson = FineTuneData(
        cases=fine_tune_slices(learn, spec, device),
        context=planes(context),
        replay=cases(_spread([one for one in replay if not one.held_out], MOST_REPLAY)),
        recipe=recipe,
        device=device,
        seed=settings.seed,
    )
    held_out = cases([one for one in corrections if one.held_out])
    stacks = [*{id(one.stack): one.stack for one in learn if one.stack is not None}.values()]
    return FineTuneContext(
        model, settings, lesson, held_out, cases(reference), planes(watch), begin, stacks,
        watched=None if watch is None else watch[0],
    )  # fmt: skip


def _of_part(model: Model, part: str) -> Model:
    """Return a model that shows the part of the tumour that the masks show; what it learnt of another is forgotten."""
    if part in ("model", model.spec.part):
        return model
    check_part(model.spec, part)
    return replace(model, spec=replace(model.spec, part=part, habit={}, corrected=[]))


def _spread(some: Any, most: int) -> list[Any]:
    """Return at most so many, evenly spread."""
    if len(some) <= most:
        return list(some)
    return [some[int(n)] for n in np.linspace(0, len(some) - 1, most).round()]
