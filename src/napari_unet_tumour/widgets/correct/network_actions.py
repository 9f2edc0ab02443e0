"""What the buttons Segment and Fine-tune lead to, and what follows an accepted model."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from napari_unet_tumour.corrections import UNSURE
from napari_unet_tumour.errors import UNetTumourError
from napari_unet_tumour.widgets.correct.add_class import AddClassController
from napari_unet_tumour.widgets.correct.finetune_controller import UNTOUCHED, FineTuneController
from napari_unet_tumour.widgets.correct.finetune_request import FineTuneRequest, UnknownLabels, check
from napari_unet_tumour.widgets.correct.segment_controller import SegmentController
from napari_unet_tumour.widgets.correct.state import Phase

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_unet_tumour.corrections import Store
    from napari_unet_tumour.models.registry import ModelEntry
    from napari_unet_tumour.widgets.common.background import Put
    from napari_unet_tumour.widgets.correct.case_controller import CaseController
    from napari_unet_tumour.widgets.correct.case_corrections import CaseCorrections
    from napari_unet_tumour.widgets.correct.inputs import CorrectInputs
    from napari_unet_tumour.widgets.correct.state import CorrectState
    from napari_unet_tumour.widgets.correct.versions import Versions
    from napari_unet_tumour.widgets.correct.view import CorrectView
    from napari_unet_tumour.widgets.layers.mask_writer import MaskWriter


class NetworkActions:
    """Has the network segment and learn; the parts that do it do not know each other.

    Attributes
    ----------
    learning, again, new_class
        Fine-tuning, segmenting, and the question about a new class.
    """

    def __init__(
        self, viewer: ViewerModel, state: CorrectState, put: Put, panel: CorrectView, choice: CorrectInputs,
        desk: CaseController, masks: MaskWriter, versions: Versions, store: Store,
    ) -> None:  # fmt: skip
        self._viewer, self._state, self._choice, self._desk, self._versions = viewer, state, choice, desk, versions
        self._panel = panel
        self.learning = FineTuneController(state, put, masks, store, self._on_accepted, self._offer_longer)
        self.again = SegmentController(viewer, state, put, masks, panel.question, desk.adopt)
        for event in (state.events.slices, state.events.phase, state.events.clicking):
            event.connect(self._estimate)
        self.new_class = AddClassController(viewer, state, panel.new_class, put, versions, choice, self.finetune)

    def run(self) -> None:
        """Begin to learn, or stop what that button began."""
        if self.learning.running:
            self.learning.ask()
        elif self._state.phase is Phase.ADDING_CLASS:
            self.new_class.refuse()
        else:
            self.finetune()

    def finetune(self) -> None:
        """Let a copy of the network learn from the reviewed slices; what is in the way is said in the status line."""
        session, entry = self._state.corrections, self._choice.entry
        if session is None or entry is None:
            self._desk.complain()
            return
        self.again.cancel()
        self.new_class.forget()
        self._desk.settle_values()
        try:
            request = self._request(session, entry)
        except UnknownLabels as error:
            self._state.say(str(error))
            self.new_class.ask(session, entry)
        except UNetTumourError as error:
            self._state.say(str(error), wrong=True)
        else:
            self._choice.remember()
            self.learning.start(request)

    def _request(self, session: CaseCorrections, entry: ModelEntry) -> FineTuneRequest:
        """Return what the person asks for now; raises as `check` does, and ScanError for a mask of another shape."""
        reviewed, choice = session.reviewed(), self._choice
        masks = session.masks(reviewed)
        session.check()
        note = check(masks, [n for n in reviewed if not session.is_held_out(n)], entry, UNSURE)
        shown, segmenting = session.case.on_screen(self._viewer), choice.segmenting()
        session.use_model(entry.hash, segmenting.part)
        settings = replace(choice.settings, part=segmenting.part)
        return FineTuneRequest(
            session, entry, settings, segmenting, masks, shown, choice.scheduler, note, choice.carries
        )

    def _estimate(self, change: object = None) -> None:
        """Show how long a fine-tuning takes; it is measured once, while the network has nothing else to do."""
        session, entry, state = self._state.corrections, self._choice.entry, self._state
        if session is None or entry is None or state.busy or state.clicking:
            self.learning.stop_measuring()
        else:
            measure = state.phase is Phase.READY and bool(session.reviewed())
            self.learning.estimate(entry, self._choice.settings, self._choice.scheduler, measure)

    def cancel(self, why: str = "Cancelled") -> None:
        """Stop what runs; model and mask stay as they were."""
        self.learning.stop(f"{why}: {UNTOUCHED}." if self.learning.running else "")
        self.again.cancel()

    def segment(self) -> None:
        """Segment every slice that is not reviewed with the chosen model."""
        session, entry = self._state.corrections, self._choice.entry
        if session is None or entry is None:
            self._desk.complain()
        elif self.again.running:
            self.again.cancel()
            self._state.say("Cancelled: finished slices stay.")
        elif not self.learning.running:
            self._desk.settle_values()
            choice = self._choice
            self.again.draw(session, entry, choice.segmenting(), choice.scheduler, beneath=choice.carries)

    def _offer_longer(self, seconds: float) -> None:
        """Offer the time in which all is learnt, where it was too short; until they answer the result waits."""
        wait = ("As it is", "Decide on what was learnt in the time that there was.", lambda: None)
        seconds = min(self._panel.seconds.max, seconds)
        again = (
            f"Learn for {seconds:.0f} s",
            "Set this learning time, and learn anew.",
            partial(self._learn_for, seconds),
        )
        self._panel.question.ask("Learn again, with the time that it needs?", [wait, again])

    def _learn_for(self, seconds: float) -> None:
        self._panel.seconds.value = seconds
        self.finetune()

    def _on_accepted(self, order: FineTuneRequest, data: bytes) -> None:
        self._versions.add(order.entry, data, partial(self._on_version, order))

    def _on_version(self, order: FineTuneRequest, entry: ModelEntry) -> None:
        """Segment what is not reviewed with the version that was just accepted."""
        word = f"{entry.name} is now the default. "
        if self._state.corrections is order.session:
            self.again.draw(order.session, entry, order.segmenting, order.scheduler, word, self._choice.carries)
        else:
            self._state.say(word)
