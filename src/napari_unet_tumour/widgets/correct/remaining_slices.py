"""Segment slices of a case, part after part; knows no Qt and no napari."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from napari_unet_tumour.postprocess.enhancing_part import label_names
from napari_unet_tumour.widgets.common.settings_form import plain
from napari_unet_tumour.widgets.layers.image_source import ImageSource
from napari_unet_tumour.widgets.segment.progress import slices
from napari_unet_tumour.widgets.segment.run import RunEnded, SegmentRun

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from napari_unet_tumour.models.registry import ModelEntry
    from napari_unet_tumour.settings import SegmentSettings
    from napari_unet_tumour.widgets.correct.case import CasePart, CorrectionCase
    from napari_unet_tumour.widgets.layers.predictions import PlanePrediction


class RemainingSlices:
    """A run over some slices of a case.

    Parameters
    ----------
    case, entry, settings, scheduler
        What is segmented, and with what.
    numbers : sequence of int
        Slices of the case, the ones nearest to `focus` first.
    tell : callable
        Called on background threads with itself, a part and a `Plane`; last and once with None and `RunEnded`.
    corrected : dict of int to numpy.ndarray
        (H, W) uint8 of the slices of the case that are reviewed.
    """

    def __init__(
        self,
        case: CorrectionCase,
        entry: ModelEntry,
        settings: SegmentSettings,
        numbers: Sequence[int],
        focus: int,
        scheduler: str,
        tell: Callable[[RemainingSlices, CasePart | None, PlanePrediction | RunEnded], None],
        corrected: dict[int, NDArray[np.uint8]],
    ) -> None:
        self.entry, self.settings, self.total, self.done = entry, settings, len(numbers), 0
        self._tell, self._scheduler = tell, scheduler
        self._left = _by_part(case, numbers, focus)
        self._case, self._corrected = case, corrected
        self._run: SegmentRun | None = None
        self._stopped = False

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the labels that the run draws, background first."""
        return label_names(self.entry.spec, self.settings.part)

    def facts(self) -> dict[str, Any]:
        """Return what a mask's metadata says about the run."""
        entry = self.entry
        return {"model": entry.name, "hash": entry.hash, "labels": list(self.names), "settings": plain(self.settings)}

    def start(self) -> None:
        """Begin, or go on with the next part."""
        if not self._left or self._stopped:
            self._tell(self, None, RunEnded(cancelled=self._stopped))
            return
        part, planes, plane = self._left.pop(0)
        source = ImageSource(part.image.name, part.array, part.layout, plane)
        known = {n - part.first: mask for n, mask in self._corrected.items() if self._case.where(n)[0] is part}
        hear = partial(self._hear, part)
        self._run = SegmentRun(source, self.entry, self.settings, planes, self._scheduler, hear, known)
        self._run.start()

    def cancel(self) -> None:
        """Stop soon."""
        self._stopped = True
        if self._run is not None:
            self._run.cancel()

    def progress_text(self) -> str:
        """Return how far it is, e.g. "9 of 24 slices"."""
        return f"{self.done} of {slices(self.total)}"

    def _hear(self, part: CasePart, run: SegmentRun, news: PlanePrediction | RunEnded) -> None:
        if not isinstance(news, RunEnded):
            self._tell(self, part, news)
        elif news.error is not None or news.cancelled:
            self._left.clear()
            self._tell(self, None, news)
        else:
            self.start()


def _by_part(case: CorrectionCase, numbers: Sequence[int], focus: int) -> list[tuple[CasePart, list[int], int]]:
    found = []
    for part in case.parts:
        planes = [plane for one, plane in map(case.where, numbers) if one is part]
        if planes:
            near = min(max(focus - part.first, 0), part.layout.planes - 1)
            found.append((part, planes, near))
    return sorted(found, key=lambda one: abs(one[0].first - focus) if one[0].first > focus else 0)
