"""Fine-tune a model on corrected slices, within a budget of seconds; never worse than its parent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from numpy.typing import NDArray

    from napari_unet_tumour.corrections import Correction, Tuned
    from napari_unet_tumour.engine.model import Model
    from napari_unet_tumour.settings import FinetuneSettings, Progress


def iter_finetune(
    model: Model,
    corrections: Sequence[Correction],
    settings: FinetuneSettings,
    context: NDArray[Any] | None = None,
    replay: Sequence[Correction] = (),
    watch: NDArray[Any] | None = None,
) -> Generator[Progress, None, Tuned]:
    """Fine-tune a copy of a model.

    Parameters
    ----------
    model : Model
        The parent; stays as it is.
    corrections : sequence of Correction
        Reviewed slices; those that are `held_out` are only scored.
    context : numpy.ndarray, optional
        (N, C, H, W) raw planes of the same scan that nobody reviewed.
    replay : sequence of Correction
        Reviewed slices of earlier scans, so that they are not forgotten.
    watch : numpy.ndarray, optional
        (1, C, H, W) raw plane on screen; ticks carry its new probability.

    Yields
    ------
    Progress
        `done` of `total` are tenths of seconds of the budget. Values hold "step", "loss",
        "seconds_left" and now and then "score" (0..1, held-out Dice where there is one), "probability"
        (L, H, W) uint8 of the watched plane and "best" (a `Tuned` that is worth keeping if the person
        cancels now).

    Raises
    ------
    TrainingError
        Nothing to learn from, or labels that the model does not know.
    """
    raise NotImplementedError
