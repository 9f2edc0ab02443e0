"""Fine-tune a model on corrected slices, within a budget of seconds; never worse than its parent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from numpy.typing import NDArray

    from napari_unet_tumour.corrections import Correction
    from napari_unet_tumour.engine.model import Model
    from napari_unet_tumour.settings import FinetuneSettings, Progress


@dataclass(frozen=True, eq=False)
class Tuned:
    """What a fine-tuning has made.

    Parameters
    ----------
    data : bytes
        Content of a model file: the tuned model; b"" where nothing better than the parent was found.
    blend : float
        Share of the tuned weights, 0..1; the rest is the parent's. 0 where data is empty.
    steps : int
        Steps that were taken.
    seconds : float
        Time that they took.
    held_out, reference : list of dict
        A row per slice with the keys scan, slice, before and after; these hold {"dice", "iou", "hd95"},
        None where undefined. Reference rows are of earlier scans and phantom slices: does it forget?
    note : str
        A line for the person, e.g. that nothing could be held out; may be empty.
    """

    data: bytes
    blend: float
    steps: int
    seconds: float
    held_out: list[dict[str, Any]] = field(default_factory=list)
    reference: list[dict[str, Any]] = field(default_factory=list)
    note: str = ""


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
