"""What is known of a slice before it is clicked: its mask, the network's answer, a person's strokes; knows no Qt."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_tumour.clicks.answer import INSIDE, relevelled
from napari_unet_tumour.errors import ScanError
from napari_unet_tumour.postprocess.threshold import effective_threshold
from napari_unet_tumour.widgets.correct.click_mode import Held, SliceClicks, as_values
from napari_unet_tumour.widgets.layers import drawn_pixels, labels, locks
from napari_unet_tumour.widgets.layers.image_source import index_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.components import ViewerModel
    from numpy.typing import NDArray

    from napari_unet_tumour.settings import SegmentSettings
    from napari_unet_tumour.widgets.correct.case import CasePart
    from napari_unet_tumour.widgets.layers.predictions import PlanePrediction


@dataclass(frozen=True, eq=False)
class ClickedSlice:
    """A slice that is clicked, and the label that the clicks draw.

    Parameters
    ----------
    plane : int
        Its number in the part.
    """

    part: CasePart
    plane: int
    label: int

    @property
    def key(self) -> tuple[str, int, int]:
        """What tells it from other slices of the case and from other labels."""
        return self.part.scan, self.plane, self.label

    def held(self, settings: SegmentSettings) -> Held:
        """Return what the slice holds; ScanError where its mask cannot be clicked."""
        mask, layout = self.part.mask, self.part.layout
        now = self.now()
        assert mask is not None
        return Held(now, drawn_pixels.written(mask, layout, self.plane).copy(), self.base(settings))

    def read(self) -> NDArray[Any]:
        """Return the grey values (C, H, W); any thread, since a lazy layer may take long."""
        taken: NDArray[Any] = self.part.layout.read_planes(self.part.array, [self.plane])[0]
        return taken

    def now(self) -> NDArray[np.uint8]:
        """Return a copy (H, W) of the mask; ScanError where it cannot be clicked."""
        mask, pixels = self.part.mask, self.part.pixels(self.plane)
        if mask is None or not self.part.whole:
            raise ScanError(f"the mask of '{self.part.image.name}' no longer fits it: choose another under Mask")
        if pixels.min(initial=0) < 0 or pixels.max(initial=0) > 255:
            raise ScanError(f"the mask '{mask.name}' has labels above 255 or below 0: clicks need labels of 1 to 255")
        return pixels.astype(np.uint8)

    def base(self, settings: SegmentSettings) -> NDArray[np.uint8] | None:
        """Return the network's own answer for the label, inside from 128 on; None where it said nothing of it."""
        cache = self.part.cache
        own = None if cache is None else cache.own(self.plane)
        return None if own is None else base_of(own, self.label, self.part.layout.plane_shape, settings)

    def begin(self, held: Held) -> SliceClicks:
        """Return the marks of a slice that was not clicked before."""
        cache = self.part.cache
        theirs = held.now != held.written
        if cache is not None and cache.has_shown(self.plane, held.now):
            theirs[...] = False
        reviewed = self.locked()
        return SliceClicks(self.label, held, theirs if reviewed is None else theirs & ~reviewed)

    def check_free(self) -> None:
        """Raise ScanError where the slice is reviewed or the label locked."""
        if self.part.mask is not None:
            locks.check_label(self.part.mask, self.label)
            locks.check_slice(self.part.mask, self.part.layout, self.plane)

    def locked(self) -> NDArray[np.bool_] | None:
        """Return the pixels (H, W) that were reviewed along another axis, None where there are none."""
        mask, layout = self.part.mask, self.part.layout
        if mask is None or self.plane in drawn_pixels.reviewed_planes(mask, layout):
            return None
        return drawn_pixels.reviewed_pixels(mask, layout, self.plane)

    def pixel_at(self, viewer: ViewerModel, position: Sequence[float]) -> tuple[int, int] | None:
        """Return row and column at a position in the viewer's world; None outside the image."""
        rows, columns = self._axes
        at = np.floor(index_at(viewer, self.part.mask, position) + 0.5)
        row, column = at[rows], at[columns]
        height, width = self.part.layout.plane_shape
        if not (0 <= row < height and 0 <= column < width):
            return None
        return int(row), int(column)

    def index(self, row: float, column: float) -> list[float]:
        """Return a pixel of the slice as an index of the mask layer."""
        found = [0.0 if isinstance(at, slice) else float(at) for at in self._at]
        rows, columns = self._axes
        found[rows], found[columns] = float(row), float(column)
        return found

    @cached_property
    def _at(self) -> tuple[int | slice, ...]:
        """The slice as an index of the mask; found once, since all marks are placed anew at every click."""
        return self.part.layout.index(self.plane)

    @cached_property
    def _axes(self) -> tuple[int, int]:
        """Which axes of the mask are rows and columns."""
        shown = [axis for axis, at in enumerate(self._at) if isinstance(at, slice)]
        return (shown[0], shown[1]) if self.part.layout.rows < self.part.layout.columns else (shown[1], shown[0])

    def write(self, viewer: ViewerModel, new: NDArray[np.uint8]) -> bool:
        """Set the slice as one undo step; True where anything changed."""
        mask, layout = self.part.mask, self.part.layout
        if mask is None or not self.part.whole:
            return False
        changed = self.part.pixels(self.plane) != new
        return labels.write(viewer, mask, labels.where(layout, self.plane, None, changed), new[changed])


def base_of(
    own: PlanePrediction, label: int, shape: tuple[int, int], settings: SegmentSettings
) -> NDArray[np.uint8] | None:
    """Return the network's answer (H, W) to a plane for a label, inside from 128 on exactly where its mask has it."""
    probability, mask = own.probability.array(), own.mask.array()
    if not 1 <= label <= len(probability):
        return None
    asked = replace(settings, flip_tta=own.flip_tta)
    level = effective_threshold(probability.sum(0, dtype=np.uint32), asked)
    values = relevelled(probability[label - 1], level, INSIDE)
    return own.on_plane(as_values(mask == label, values), shape)
