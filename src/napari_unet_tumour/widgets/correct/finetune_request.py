"""What was asked for at the press of Fine-tune."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_unet_tumour.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_unet_tumour.models.registry import ModelEntry
    from napari_unet_tumour.settings import FinetuneSettings, SegmentSettings
    from napari_unet_tumour.widgets.correct.case_corrections import CaseCorrections

NONE_HELD = "No slice is kept for scoring yet: the third reviewed slice with tumour is the first."


class UnknownLabels(TrainingError):
    """The masks have labels that the model does not know."""


@dataclass(frozen=True, eq=False)
class FineTuneRequest:
    """What was asked for at the press of Fine-tune.

    Parameters
    ----------
    masks : dict of int to numpy.ndarray
        Copies (H, W) uint8 of the reviewed slices' masks.
    shown : int, optional
        The slice on screen.
    note : str
        What the person should know, "" where nothing.
    carry : bool
        Whether corrected slices are carried to their neighbours.
    """

    session: CaseCorrections
    entry: ModelEntry
    settings: FinetuneSettings
    segmenting: SegmentSettings
    masks: dict[int, NDArray[np.uint8]]
    shown: int | None
    scheduler: str = ""
    note: str = ""
    carry: bool = True


def check(masks: dict[int, NDArray[np.uint8]], trained: Sequence[int], entry: ModelEntry, unsure: int) -> str:
    """Return what the person should know before a fine-tuning, "" where nothing.

    Parameters
    ----------
    masks : dict of int to numpy.ndarray
        (H, W) of the reviewed slices.
    trained : sequence of int
        Those of them that are not held out.

    Raises
    ------
    TrainingError
        Nothing to learn from; `UnknownLabels` for labels that the model does not know.
    """
    if not masks:
        raise TrainingError("No slice is reviewed yet: correct a slice and press R")
    if not trained:
        raise TrainingError("All reviewed slices are kept for scoring: review one more slice")
    found = {int(value) for mask in masks.values() for value in np.unique(mask)} - {unsure}
    unknown = sorted(found - set(range(len(entry.spec.labels))))
    if unknown:
        known = ", ".join(f"{n} = {name}" for n, name in enumerate(entry.spec.labels) if n)
        raise UnknownLabels(
            f"the mask has label {', '.join(map(str, unknown))}, model '{entry.name}' knows only {known}: "
            "paint with these, or add a class"
        )
    if found == {0}:
        return "No reviewed slice has any tumour: the network learns only what is none."
    return NONE_HELD if len(trained) == len(masks) else ""
