"""Outline in 3D: a clicked lesion is followed to the neighbouring slices, in the worker."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from napari_unet_tumour.errors import ScanError, UNetTumourError
from napari_unet_tumour.widgets.common.background import Background
from napari_unet_tumour.widgets.common.words import slice_label
from napari_unet_tumour.widgets.correct import carry_stack
from napari_unet_tumour.widgets.correct.click_known import ClickedSlice
from napari_unet_tumour.widgets.correct.outline_stack import OutlinedSlices, OutlineStack
from napari_unet_tumour.widgets.segment.progress import slices
from napari_unet_tumour.widgets.segment.run import model_for

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_unet_tumour.models.registry import ModelEntry
    from napari_unet_tumour.settings import Progress
    from napari_unet_tumour.widgets.common.background import Put, Task
    from napari_unet_tumour.widgets.correct.case_controller import CaseController
    from napari_unet_tumour.widgets.correct.click_controller import ClickController
    from napari_unet_tumour.widgets.correct.inputs import CorrectInputs
    from napari_unet_tumour.widgets.correct.state import CorrectState
    from napari_unet_tumour.widgets.layers.mask_writer import MaskWriter

AGAIN = "Press Outline in 3D again to cancel."


class OutlineController:
    """Runs one outline at a time."""

    def __init__(
        self, viewer: ViewerModel, state: CorrectState, put: Put, choice: CorrectInputs,
        desk: CaseController, masks: MaskWriter, clicks: ClickController,
    ) -> None:  # fmt: skip
        self._viewer, self._state, self._choice = viewer, state, choice
        self._desk, self._masks, self._clicks = desk, masks, clicks
        self._background = Background(put, lambda: state.generation)
        self._outlined = OutlinedSlices()
        self._written = 0
        self._note = ""

    @property
    def running(self) -> bool:
        """Whether an outline is under way."""
        return self._background.running

    def toggle(self) -> None:
        """Outline the lesions that were clicked on the slice on screen, or cancel the outline that is under way."""
        if self.running:
            self.cancel()
            self._state.say(f"Cancelled: {slices(self._written)} outlined; undo takes them back one by one.")
            return
        try:
            self._start()
        except UNetTumourError as error:
            self._state.say(str(error), wrong=True)

    def cancel(self) -> None:
        """Stop; finished slices stay."""
        self._background.cancel()

    def drop(self) -> None:
        """Stop and forget what was outlined: the case is another one now."""
        self.cancel()
        self._outlined = OutlinedSlices()

    def _start(self) -> None:
        if self._state.busy:
            raise ScanError("The network is busy: wait until it is done, or cancel it, then outline in 3D")
        self._masks.hide_preview()
        of, marks = self._clicks.clicked()
        entry, session = self._choice.entry, self._state.corrections
        if entry is None or session is None:
            raise ScanError(self._desk.complaint())
        settings = self._choice.segmenting()
        stack = OutlineStack.freeze(session, of, marks, settings, self._outlined)
        self._written = 0
        self._note = "" if entry.spec.clicks else f"The model {entry.name} takes no clicks: grey values answer. "
        self._state.say(f"{self._note}Outlining in 3D… {AGAIN}")
        self._background.start(
            partial(_ask, stack, entry, self._choice.scheduler or None), lambda result: self._on_end(stack, ""),
            partial(self._on_end, stack), partial(self._on_progress, stack),
        )  # fmt: skip

    def _on_progress(self, stack: OutlineStack, progress: Progress) -> None:
        """Write one slice as one undo step, unless it was drawn or reviewed meanwhile."""
        found = stack.changed(progress.values["plane"], progress.values["answer"])
        if found is None:
            return
        plane, new = found
        of = ClickedSlice(stack.of.part, plane, stack.of.label)
        try:
            now, locked = of.now(), of.locked()
        except UNetTumourError as error:
            self._on_end(stack, str(error))
            return
        if not self._is_free(of, stack.of):
            return
        new = new if locked is None else np.where(locked, now, new)
        self._outlined.note(stack.of, plane, stack.start[plane], new)
        if of.write(self._viewer, new):
            self._written += 1
            self._desk.watch.poke()
            self._state.say(f"{self._note}Outlining in 3D: {slices(self._written)}. {AGAIN}")

    def _is_free(self, of: ClickedSlice, clicked: ClickedSlice) -> bool:
        session = self._state.corrections
        if session is None or session.is_reviewed(of.part.first + of.plane):
            return False
        return carry_stack.is_free(session, of.part, of.plane) or self._outlined.before(of, clicked) is not None

    def _on_end(self, stack: OutlineStack, error: str) -> None:
        self.cancel()
        beside = f"beside {slice_label(stack.of.part.first + stack.of.plane)}"
        if error:
            done = f" ({slices(self._written)} outlined)" if self._written else ""
            self._state.say(f"{error}{done}", wrong=True)
        elif self._written:
            told = f"{slices(self._written)} outlined {beside}; undo takes them back one by one."
            self._state.say(f"{self._note}{told} Slices that you drew or reviewed stay.")
        else:
            self._state.say(f"{self._note}No slice {beside} has changed: the lesion ends there, or they are yours.")


def _ask(stack: OutlineStack, entry: ModelEntry, scheduler: str | None, task: Task) -> None:
    """Read the slices and ask the worker; it reports a slice at a time."""
    model, planes = model_for(entry, scheduler), stack.read()
    start = stack.of.plane - stack.planes.start
    asked = (model, planes, start, (), stack.bases, stack.known, carry_stack.spacing(stack.of.part), stack.corrected)
    task.ask("outline", *asked, scheduler=scheduler, reports=True)
