"""Leads from one slice that is worth correcting to the next."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from napari_unet_tumour.widgets.common.keys import TICK_KEY
from napari_unet_tumour.widgets.common.words import slice_label
from napari_unet_tumour.widgets.correct import messages

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel

    from napari_unet_tumour.widgets.correct.case_controller import CaseController
    from napari_unet_tumour.widgets.correct.inputs import CorrectInputs
    from napari_unet_tumour.widgets.correct.segment_controller import SegmentController
    from napari_unet_tumour.widgets.correct.state import CorrectState


class SliceNavigator:
    """What follows the button Next slice.

    Parameters
    ----------
    moved : callable
        Called when another slice is on screen.
    """

    def __init__(
        self, viewer: ViewerModel, state: CorrectState, choice: CorrectInputs, desk: CaseController,
        again: SegmentController, moved: Callable[[], None],
    ) -> None:  # fmt: skip
        self._viewer, self._state, self._choice, self._desk, self._again = viewer, state, choice, desk, again
        self._moved = moved

    def next(self, first_word: str = "") -> None:
        """Go to the slice to correct next; asks the network first, if it is free, where it was not asked yet."""
        go_next = partial(self._go_next, first_word)
        session, entry = self._state.corrections, self._choice.entry
        if session is None:
            self._desk.complain()
        elif not self._state.busy and not session.unsure.complete and entry is not None:
            self._again.estimate_uncertainty(session, entry, self._choice.segmenting(), self._choice.scheduler, go_next)
        else:
            go_next()

    def go(self, number: int) -> None:
        """Bring a slice on screen."""
        session = self._state.corrections
        if session is not None and number < len(session.case):
            session.case.go(self._viewer, number)
            self._moved()
            if session.case.on_screen(self._viewer) != number:
                self._state.say(messages.out_of_reach(session, number), wrong=True)

    def _go_next(self, first_word: str) -> None:
        session, found = self._state.corrections, self._desk.on_screen()
        order = [] if session is None else session.order()
        if session is None or not order:
            self._state.say(f"{first_word}Every slice is reviewed: press Fine-tune.")
            return
        shown = None if found is None else found[1]
        number = next((n for n in order if n != shown), order[0])
        self.go(number)
        if self._state.quiet:
            why = messages.why(session, number)
            self._state.say(f"{first_word}{slice_label(number).capitalize()}: {why} Correct it, then press {TICK_KEY}.")
