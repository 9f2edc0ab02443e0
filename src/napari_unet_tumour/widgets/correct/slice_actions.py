"""What a person does with the slice on screen: the review mark, the tools, the brush."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_unet_tumour.errors import UNetTumourError
from napari_unet_tumour.widgets.common.words import slice_label
from napari_unet_tumour.widgets.correct import edit_tools, messages

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel

    from napari_unet_tumour.widgets.correct.carry_controller import CarryController
    from napari_unet_tumour.widgets.correct.case_controller import CaseController
    from napari_unet_tumour.widgets.correct.case_corrections import CaseCorrections
    from napari_unet_tumour.widgets.correct.inputs import CorrectInputs
    from napari_unet_tumour.widgets.correct.navigator import SliceNavigator
    from napari_unet_tumour.widgets.correct.state import CorrectState
    from napari_unet_tumour.widgets.layers.mask_writer import MaskWriter


class SliceActions:
    """Marks and changes the slice on screen.

    Parameters
    ----------
    seen : callable
        Called when what is known of the slices has changed.
    """

    def __init__(
        self, viewer: ViewerModel, state: CorrectState, choice: CorrectInputs, desk: CaseController, masks: MaskWriter,
        carry: CarryController, tour: SliceNavigator, seen: Callable[[], None],
    ) -> None:  # fmt: skip
        self._viewer, self._state, self._choice, self._desk = viewer, state, choice, desk
        self._masks, self._carry, self._tour, self._seen = masks, carry, tour, seen

    def tick(self) -> None:
        """Mark the slice as reviewed, or take the mark back."""
        found = self._on_screen()
        if found is not None:
            self._tick(*found)
            self._carry.ticked(*found)

    def tick_and_next(self) -> None:
        """Mark the slice as reviewed, if it is not, and go to the slice to correct next."""
        found = self._on_screen()
        if found is None:
            return
        ticked = not found[0].is_reviewed(found[1])
        if ticked:
            self._tick(*found)
        self._tour.next(f"{slice_label(found[1]).capitalize()}: reviewed. " if ticked else "")
        if ticked:  # now that what it adds to is said
            self._carry.ticked(*found)

    def use_tool(self, name: str) -> None:
        """Use one of the tools."""
        found = self._on_screen()
        if found is None:
            return
        self._masks.hide_preview()
        self._desk.settle_values()
        try:
            self._state.say(edit_tools.apply(name, self._viewer, *found))
        except UNetTumourError as error:
            self._state.say(str(error), wrong=True)

    def paint(self, value: Any) -> None:
        """Take up the brush with a label, 0 for the eraser; an empty mask is made where there is none."""
        found, mask = self._desk.on_screen(), self._choice.mask
        if self._state.corrections is None or (mask is None and found is None):
            self._desk.complain()
            return
        self._desk.settle_values()
        mask = self._desk.mask_of(*found) if mask is None and found is not None else mask
        if mask is not None:
            self._viewer.layers.selection.active = mask
            mask.mode = "paint" if value else "erase"
            mask.selected_label = int(value) or mask.selected_label

    def _on_screen(self) -> tuple[CaseCorrections, int] | None:
        """Return the session and the slice on screen; where there is none, say why."""
        found = self._desk.on_screen()
        if found is None:
            self._desk.complain()
        return found

    def _tick(self, session: CaseCorrections, number: int) -> None:
        self._desk.settle_values()
        reviewed = session.tick(number, self._desk.pixels(session, number))
        if reviewed and self._state.learning:
            self._masks.hide_preview()
        self._seen()
        self._desk.watch.poke()
        if self._state.quiet:
            word = messages.ticked(session, number)
            self._state.say(word if reviewed else f"{slice_label(number).capitalize()}: no longer reviewed.")
