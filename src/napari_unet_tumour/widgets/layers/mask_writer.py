"""The mask layers and the predictions behind them: writes what a run brings, and follows the threshold slider.

Undo steps. A run makes one step a slice: each slice is an answer of its own, and a person takes back the wrong one.
The threshold is one decision for all slices, so each time it comes to rest all of them change in one step; while the
slider moves, the slice on screen is a preview outside the history. A hundred positions tried cost one step, not a
hundred times the slices, and the person's strokes stay within reach of undo.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from napari_unet_tumour.base.compressed import CompressedArray
from napari_unet_tumour.widgets.common.main_thread import MainThreadQueue, single_shot_timer
from napari_unet_tumour.widgets.common.settings_form import plain
from napari_unet_tumour.widgets.layers import drawn_pixels, image_source, labels, locks
from napari_unet_tumour.widgets.layers.predictions import (
    PREDICTIONS,
    MaskUpdate,
    PlanePrediction,
    PredictionCache,
    update_mask,
)
from napari_unet_tumour.widgets.layers.preview import DrawingHand, Preview

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from napari.components import ViewerModel
    from napari.layers import Image, Labels
    from numpy.typing import NDArray

    from napari_unet_tumour.base.slicing import SliceLayout
    from napari_unet_tumour.settings import SegmentSettings

SETTLE_MS = 250
PREVIEW_PIXELS = 1 << 21

Changes = list[tuple[PlanePrediction, "NDArray[np.uint8]"]]


def corrected(mask: Labels | None, layout: SliceLayout) -> dict[int, NDArray[np.uint8]]:
    """Return copies of what the reviewed planes (H, W) of a mask hold."""
    if mask is None or mask.data.shape != layout.mask_shape:
        return {}
    return {n: labels.pixels(mask, layout, n).astype(np.uint8) for n in drawn_pixels.reviewed_planes(mask, layout)}


class Shown(Enum):
    """What became of a plane that a run has brought."""

    WRITTEN = "written"
    REVIEWED = "reviewed"
    KEPT = "kept"  # a person has drawn it
    FAILED = "failed"  # the layer is gone, or has another shape


class MaskWriter:
    """What one widget has drawn in one viewer.

    Parameters
    ----------
    settled : callable, optional
        Told of a mask layer whose planes follow new settings, and what these have decided.
    """

    def __init__(
        self, viewer: ViewerModel, inbox: MainThreadQueue, settled: Callable[[Labels, MaskUpdate], None] | None = None
    ) -> None:
        self._settled = settled
        self._viewer = viewer
        self._inbox = inbox
        self._drag: Preview | None = None
        self._hand = DrawingHand(viewer, self._on_press)
        self._wanted: tuple[Labels, PredictionCache, SegmentSettings] | None = None
        self._moves = 0
        self._timer = single_shot_timer(inbox, SETTLE_MS, self._settle)

    @property
    def deciding(self) -> bool:
        """Whether a mask layer has yet to follow the last settings."""
        return self._wanted is not None

    def show(
        self,
        mask: Labels,
        layout: SliceLayout,
        plane: PlanePrediction,
        erased: Collection[int] = (),
        beneath: bool = False,
    ) -> Shown:
        """Write a plane that a run has brought as one undoable step, where it takes nothing from a person.

        Parameters
        ----------
        erased : collection of int
            Planes that a person had emptied when the run began.
        beneath : bool
            A plane that shows a carried answer goes on showing it: what is carried follows the new answer soon.
        """
        self._drop_preview()
        if not self._fits(mask, layout):
            return Shown.FAILED
        number, region = plane.number, plane.region
        prediction = PREDICTIONS.get(mask)
        if prediction is None or prediction.layout != layout:
            prediction = PREDICTIONS[mask] = PredictionCache(layout)
        now, new = labels.pixels(mask, layout, number, region), plane.mask.array()
        drawn = number in erased or drawn_pixels.is_drawn(mask, layout, number, region)
        drawn = drawn or drawn_pixels.is_erased(mask, layout, number, region)  # since the run began
        if not now.any():
            prediction.see(number, now)
        if number in drawn_pixels.reviewed_planes(mask, layout):
            prediction.keep(plane)
            prediction.unwritten.add(number)
            return Shown.REVIEWED
        if drawn:
            prediction.keep(plane)
            prediction.unwritten.add(number)
            return Shown.KEPT
        known = prediction.planes.get(number)
        if beneath and known is not None and known.carried and region is None:
            prediction.keep_beneath(plane)
            return Shown.WRITTEN
        prediction.unwritten.discard(number)
        prediction.keep(plane)  # before the pixels change: whoever looks then can tell them from strokes
        self._write(mask, layout, [(plane, self._beside_reviewed(mask, layout, plane, new))])
        return Shown.WRITTEN

    def replace(self, mask: Labels, numbers: Collection[int]) -> int:
        """Put what the network said in place of what a person drew, as the person asked; returns how many slices."""
        prediction = PREDICTIONS.get(mask)
        if prediction is None or not self._fits(mask, prediction.layout):
            return 0
        self._drop_preview()
        layout = prediction.layout
        reviewed = drawn_pixels.reviewed_planes(mask, layout)
        planes = [prediction.planes[n] for n in numbers if n in prediction.unwritten and n not in reviewed]
        prediction.unwritten -= {plane.number for plane in planes}
        aims = [(plane, self._beside_reviewed(mask, layout, plane, plane.mask.array())) for plane in planes]
        self._write(mask, layout, aims)
        return len(planes)

    def _beside_reviewed(
        self, mask: Labels, layout: SliceLayout, plane: PlanePrediction, new: NDArray[np.uint8]
    ) -> NDArray[np.uint8]:
        """Return a new plane with the pixels as they are that were reviewed along another axis."""
        reviewed = drawn_pixels.reviewed_pixels(mask, layout, plane.number, plane.region)
        now = labels.pixels(mask, layout, plane.number, plane.region)
        return new if reviewed is None else np.where(reviewed, now, new)

    def _locked(self, mask: Labels, prediction: PredictionCache) -> frozenset[int]:
        """Return the planes that no setting changes: reviewed, or a person's."""
        return drawn_pixels.reviewed_planes(mask, prediction.layout) | prediction.unwritten

    def show_preview(self, mask: Labels, layout: SliceLayout, number: int, new: NDArray[np.uint8]) -> None:
        """Show another mask (H, W) of a plane outside the undo history, until `hide_preview`; strokes stay on top."""
        if not self._fits(mask, layout) or drawn_pixels.reviewed_pixels(mask, layout, number) is not None:
            return
        if self._hand.draws_on(mask):
            self._lift_preview()
            return
        drag = self._drag
        if drag is None or drag.mask is not mask or drag.plane.number != number:
            self._drop_preview()
            self._hand.listen(True)
            base = labels.pixels(mask, layout, number).copy()
            plane = PlanePrediction(number, None, CompressedArray(new[None]), CompressedArray(new))
            drag = self._drag = Preview(mask, mask.data, layout, plane, base, np.zeros(base.shape, bool), base)
        drag.notice(labels.pixels(mask, layout, number))
        drag.shown = np.where(drag.strokes, drag.base, new)
        labels.preview(mask, layout, number, None, drag.shown)

    def stop_listening(self) -> None:
        """Hear of no stroke any more, as the widget goes; touches nothing of Qt, which may be gone."""
        self._hand.listen(False)

    def hide_preview(self) -> None:
        """Put back what the person had before the preview, with what they have drawn since."""
        self._drop_preview()

    def committed_pixels(self, mask: Labels, layout: SliceLayout, number: int) -> NDArray[np.uint8] | None:
        """Return a copy of what a plane (H, W) holds, whatever is tried on; None while that is in flux. Any thread."""
        before = self._drag
        now = labels.pixels(mask, layout, number).copy()
        drag = self._drag
        if drag is not before:
            return None
        if drag is None or drag.mask is not mask or drag.plane.number != number:
            return now
        if drag.plane.region is not None:
            return None
        shown = drag.shown
        base = np.where(now != shown, now, drag.base)
        return base if drag.shown is shown else None

    def move(self, image: Image, settings: SegmentSettings, at_once: bool = False) -> None:
        """Follow new settings: the slice on screen now, the others when they come to rest."""
        mask = labels.own_mask(self._viewer, image)
        prediction = PREDICTIONS.get(mask) if mask is not None else None
        self._moves += 1
        self._wanted = None
        if mask is None or prediction is None or not self._fits(mask, prediction.layout):
            return
        settings = replace(settings, flip_tta=prediction.flip_tta)  # ticked or not since then, it is what was asked
        self._wanted = (mask, prediction, settings)
        self._preview(mask, prediction, settings)
        self._timer.start(0 if at_once else SETTLE_MS)

    def _preview(self, mask: Labels, prediction: PredictionCache, settings: SegmentSettings) -> None:
        layout = prediction.layout
        number = image_source.plane_on_screen(self._viewer, mask, layout)
        plane = None if number is None else prediction.planes.get(number)
        locked = self._locked(mask, prediction)
        if plane is None or number in locked or np.prod(plane.mask.shape) > PREVIEW_PIXELS:
            return
        if self._hand.draws_on(mask):
            return
        if self._drag is None or self._drag.plane is not plane:
            self._drop_preview()
            self._hand.listen(True)
            base = labels.pixels(mask, layout, plane.number, plane.region).copy()
            strokes = self._strokes(mask, prediction, plane, base)
            self._drag = Preview(mask, mask.data, layout, plane, base, strokes, base)
        drag = self._drag
        drag.notice(labels.pixels(mask, layout, plane.number, plane.region))
        drag.shown = locks.may_become(mask, drag.base, np.where(drag.strokes, drag.base, plane.decided(settings)))
        labels.preview(mask, layout, plane.number, plane.region, drag.shown)

    def _strokes(
        self, mask: Labels, prediction: PredictionCache, plane: PlanePrediction, now: NDArray[np.uint8]
    ) -> NDArray[np.bool_]:
        """Return which pixels (H, W) of a plane are the person's own: drawn, or reviewed along another axis."""
        reviewed = drawn_pixels.reviewed_pixels(mask, prediction.layout, plane.number, plane.region)
        if drawn_pixels.is_erased(mask, prediction.layout, plane.number, plane.region):
            return np.ones(now.shape, bool)
        strokes = prediction.strokes(plane.number, now)
        return strokes if reviewed is None else strokes | reviewed

    def _on_press(self, mask: Labels) -> None:
        """Have the person draw on what the mask holds: a preview goes, a new threshold that is shown is taken up."""
        drag, wanted = self._drag, self._wanted
        if drag is None or drag.mask is not mask:
            return
        self._lift_preview()
        if wanted is not None and wanted[0] is mask and wanted[1].planes.get(drag.plane.number) is drag.plane:
            self._drop_preview()
            new = drag.plane.decided(wanted[2])
            self._follow(mask, wanted[1], [(replace(drag.plane, mask=CompressedArray(new)), new)])

    def _lift_preview(self) -> None:
        """Put back what the previewed plane held, but for pixels that the person has drawn since."""
        drag = self._drag
        # Where the layer has got another array the preview went with the old one.
        if drag is not None and drag.mask.data is drag.array and self._fits(drag.mask, drag.layout):
            at = (drag.mask, drag.layout, drag.plane.number, drag.plane.region)
            drag.notice(labels.pixels(*at))
            drag.shown = drag.base
            labels.preview(*at, drag.base)

    def _drop_preview(self) -> None:
        """Take the preview off for good."""
        self._lift_preview()
        self._drag = None
        self._hand.listen(False)

    def _settle(self) -> None:
        if self._wanted is None:
            return
        mask, prediction, _ = self._wanted
        if not self._fits(mask, prediction.layout):
            self._wanted = None
            return
        previewed = None if self._drag is None else self._drag.plane.number
        args = (self._moves, *self._wanted, mask.data, previewed, self._locked(mask, prediction))
        threading.Thread(target=self._decide, args=args, daemon=True).start()

    def _decide(
        self, move: int, mask: Labels, prediction: PredictionCache, settings: SegmentSettings, shown: NDArray[np.uint8],
        previewed: int | None, reviewed: frozenset[int],
    ) -> None:  # fmt: skip
        """Find the masks that change; on a thread of its own, since a large volume takes a second."""
        decided = update_mask(prediction, shown, settings, previewed, reviewed)
        self._inbox.put(partial(self._apply, move, mask, prediction, settings, decided))

    def _apply(
        self, move: int, mask: Labels, prediction: PredictionCache, settings: SegmentSettings, decided: MaskUpdate
    ) -> None:
        if move != self._moves:
            return
        self._wanted = None
        if not self._fits(mask, prediction.layout):
            return
        self._drop_preview()
        self._follow(mask, prediction, decided.changes)
        labels.amend(mask, settings=plain(settings))
        if self._settled is not None:
            self._settled(mask, decided)

    def _follow(self, mask: Labels, prediction: PredictionCache, changes: Changes) -> None:
        """Write new masks of planes as one undo step, but for what is a person's."""
        aims = []
        locked = self._locked(mask, prediction)
        for plane, new in (change for change in changes if change[0].number not in locked):
            now = labels.pixels(mask, prediction.layout, plane.number, plane.region)
            if prediction.planes[plane.number].probability is plane.probability:
                aims.append((plane, np.where(self._strokes(mask, prediction, plane, now), now, new)))
                prediction.keep(plane)
        self._write(mask, prediction.layout, aims)

    def _fits(self, mask: Labels, layout: SliceLayout) -> bool:
        """Tell whether the layer is still there, with the array that we know; the person may have changed both."""
        return mask in self._viewer.layers and mask.data.shape == layout.mask_shape

    def _write(self, mask: Labels, layout: SliceLayout, aims: Changes) -> None:
        at, values = [], []
        for plane, new in aims:
            now = labels.pixels(mask, layout, plane.number, plane.region)
            new = locks.may_become(mask, now, new)
            changed = now != new
            at.append(labels.where(layout, plane.number, plane.region, changed))
            values.append(new[changed])
            drawn_pixels.note_written(mask, layout, plane.number, plane.region, plane.mask.array())
        if aims:
            together = tuple(np.concatenate(axis) for axis in zip(*at, strict=True))
            labels.write(self._viewer, mask, together, np.concatenate(values))
