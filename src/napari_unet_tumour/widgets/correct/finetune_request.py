"""What was asked for at the press of Fine-tune."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_unet_tumour.models.registry import ModelEntry
    from napari_unet_tumour.settings import FinetuneSettings, SegmentSettings
    from napari_unet_tumour.widgets.correct.case_corrections import CaseCorrections


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
