"""The Correct and fine-tune widget: correct a slice, tick it, and the network learns from it."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_unet_tumour.corrections import UNSURE, Store
from napari_unet_tumour.errors import UNetTumourError
from napari_unet_tumour.models import registry
from napari_unet_tumour.widgets.common import panels
from napari_unet_tumour.widgets.common.dock import Panel
from napari_unet_tumour.widgets.common.main_thread import MainThreadQueue, UndockFilter
from napari_unet_tumour.widgets.common.words import slice_label
from napari_unet_tumour.widgets.correct import edit_tools, messages
from napari_unet_tumour.widgets.correct.add_class import AddClassController
from napari_unet_tumour.widgets.correct.buttons import TOOLS
from napari_unet_tumour.widgets.correct.carry_controller import CarryController
from napari_unet_tumour.widgets.correct.case_controller import CaseController
from napari_unet_tumour.widgets.correct.click_controller import ClickController
from napari_unet_tumour.widgets.correct.finetune_controller import UNTOUCHED, FineTuneController
from napari_unet_tumour.widgets.correct.finetune_request import FineTuneRequest, UnknownLabels
from napari_unet_tumour.widgets.correct.inputs import CorrectInputs
from napari_unet_tumour.widgets.correct.keys import CLICK_KEY, NEXT_KEY, OUTLINE_KEY, TICK_KEY, pressed
from napari_unet_tumour.widgets.correct.mask_questions import MaskQuestions
from napari_unet_tumour.widgets.correct.navigator import SliceNavigator
from napari_unet_tumour.widgets.correct.outline_controller import OutlineController
from napari_unet_tumour.widgets.correct.restore import Restore
from napari_unet_tumour.widgets.correct.saved_corrections import SavedCorrections
from napari_unet_tumour.widgets.correct.segment_controller import SegmentController
from napari_unet_tumour.widgets.correct.state import CorrectState, Phase
from napari_unet_tumour.widgets.correct.versions import Versions
from napari_unet_tumour.widgets.correct.view import CorrectView, labels_to_paint
from napari_unet_tumour.widgets.layers import image_source
from napari_unet_tumour.widgets.layers.mask_writer import MaskWriter

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari.viewer
    from napari.layers import Labels

    from napari_unet_tumour.models.registry import ModelEntry
    from napari_unet_tumour.widgets.correct.case_corrections import CaseCorrections

STOPPED = "Stopped, since the layers have changed"


class CorrectWidget(Panel):
    """Dock widget in which a person corrects masks and the network learns from them.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        The viewer that it is docked in.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        panel = self._panel = CorrectView()
        super().__init__(panel.rows(), panel.actions(), "Correct")
        panel.put(self.content, self.actions)
        self.order_tabs()
        state = self.state = CorrectState()
        panel.follow(state)
        self._viewer = viewer
        inbox = self._inbox = MainThreadQueue(self.native)
        put, store = inbox.put, Store(registry.data_dir() / "corrections")
        masks = self._masks = MaskWriter(viewer, inbox)
        choice = self._choice = CorrectInputs(viewer, panel)
        self._kept = SavedCorrections(state, panel, store, inbox)
        self._versions = Versions(state, panel.model, choice, put, self._on_model)
        self._learning = FineTuneController(state, put, masks, store, self._on_accepted)
        self._new_class = AddClassController(viewer, state, panel.new_class, put, self._versions, choice, self.finetune)
        self._questions = MaskQuestions(viewer, state, panel.question, self._on_copied)
        desk = self._desk = CaseController(
            viewer, state, inbox, choice, store, masks, self._on_opened, self._on_closed, self._on_seen,
            self._questions.ask_to_copy,
        )  # fmt: skip
        self._again = SegmentController(viewer, state, put, masks, panel.question, desk.adopt)
        self._tour = SliceNavigator(viewer, state, choice, desk, self._again, self._on_dims)
        self._restoring = Restore(viewer, state, put, desk, self._versions, self._on_seen)
        self._carry = CarryController(state, panel.carry, choice, inbox, masks)
        self._click = ClickController(viewer, state, put, choice, desk, masks)
        self._outline = OutlineController(viewer, state, put, choice, desk, masks, self._click)
        self._trouble = self._stopped = ""
        self._bound: list[str] = []
        self._listen()
        choice.list_images()
        choice.list_masks(anew=True)
        choice.follow()
        panel.start_view.show(choice.image is None)
        desk.open()

    @property
    def session(self) -> CaseCorrections | None:
        """The corrections of the case on screen; None while none is open."""
        return self.state.corrections

    @property
    def running(self) -> bool:
        """Whether the network learns or segments."""
        return self.state.busy

    # ---- what the person does ------------------------------------------------------------------------

    def next_slice(self) -> None:
        """Go to the slice to correct next; asks the network first where it was not asked yet."""
        self._tour.next(ask=not self.running)

    def go(self, number: int) -> None:
        """Bring a slice on screen."""
        self._tour.go(number)

    def tick(self) -> None:
        """Mark the slice on screen as reviewed, or take the mark back."""
        found = self._desk.on_screen()
        if found is None:
            self._complain()
            return
        session, number = found
        self._desk.settle_values()
        reviewed = session.tick(number, self._desk.pixels(session, number))
        if reviewed and self.state.learning:
            self._masks.hide_preview()
        self._on_seen()
        self._desk.watch.poke()
        if self.state.quiet:
            word = messages.ticked(session, number)
            self.state.say(word if reviewed else f"{slice_label(number).capitalize()}: no longer reviewed.")
        self._carry.ticked(session, number)

    def use_tool(self, name: str) -> None:
        """Use one of the tools on the slice on screen."""
        found = self._desk.on_screen()
        if found is None:
            self._complain()
            return
        self._masks.hide_preview()
        self._desk.settle_values()
        try:
            self.state.say(edit_tools.apply(name, self._viewer, *found))
        except UNetTumourError as error:
            self.state.say(str(error), wrong=True)

    def finetune(self) -> None:
        """Let a copy of the network learn from the reviewed slices; what is in the way is said in the status line."""
        session, entry = self.session, self._choice.entry
        if session is None or entry is None:
            self._complain()
            return
        self._again.cancel()
        self._new_class.forget()
        self._desk.settle_values()
        try:
            request = FineTuneRequest.of(session, entry, self._choice, session.case.on_screen(self._viewer))
        except UnknownLabels as error:
            self.state.say(str(error))
            self._new_class.ask(session, entry)
        except UNetTumourError as error:
            self.state.say(str(error), wrong=True)
        else:
            self._choice.remember()
            self._learning.start(request)

    def cancel(self, why: str = "Cancelled") -> None:
        """Stop what runs; model and mask stay as they were."""
        self._learning.stop(f"{why}: {UNTOUCHED}." if self._learning.running else "")
        self._again.cancel()

    def segment(self) -> None:
        """Segment every slice that is not reviewed with the chosen model."""
        session, entry = self.session, self._choice.entry
        if session is None or entry is None:
            self._complain()
        elif self._again.running:
            self._again.cancel()
            self.state.say("Cancelled: finished slices stay.")
        elif not self._learning.running:
            self._desk.settle_values()
            choice = self._choice
            self._again.draw(session, entry, choice.segmenting(), choice.scheduler, beneath=choice.carries)

    def open_report(self) -> None:
        """Open the Lesion report with the chosen mask."""
        mask = self._choice.mask
        if mask is not None:
            self._viewer.layers.selection.active = mask
        panels.open_panel(self._viewer, panels.REPORT)

    def choose_model(self, entry: ModelEntry) -> None:
        """Choose an installed model."""
        self._choice.choose_model(entry.hash)

    # ---- what happens in the window --------------------------------------------------------------

    def _listen(self) -> None:
        panel, layers, learning = self._panel, self._viewer.layers, self._learning
        calls: dict[str, Callable[[], None]] = {
            "next": self.next_slice, "tick": self.tick, "run": self._on_run, "segment": self.segment,
            "restore": self._restoring.restore, "afresh": self._restoring.start_afresh, "measure": self.open_report,
            "click": self._click.toggle, "outline": self._outline.toggle, "best": learning.keep_best,
            "discard": learning.discard, "on": learning.go_on, "accept": learning.accept, "reject": learning.reject,
            **{name: partial(self.use_tool, name) for name in TOOLS},
        }  # fmt: skip
        for name, call in calls.items():
            panel.buttons[name].native.clicked.connect(partial(_called, call))
        panel.strip.clicked.connect(self.go)
        panel.start_view.connect(
            partial(panels.open_scan, self._viewer, self.native, self.state.say),
            partial(panels.open_sample, self._viewer),
        )
        panel.image.changed.connect(self._on_image)
        panel.mask.changed.connect(self._desk.reopen)
        panel.channels.changed.connect(self._desk.reopen)
        panel.paint.changed.connect(self._on_paint)
        panel.paint.native.activated.connect(partial(_called, self._on_paint))  # also what was chosen before
        for event in (layers.events.inserted, layers.events.removed, layers.events.renamed):
            event.connect(self._on_layers)
        layers.selection.events.active.connect(self._on_selection)
        self._viewer.dims.events.current_step.connect(self._on_dims)
        keys = {NEXT_KEY: "next", TICK_KEY: "tick", CLICK_KEY: "click", OUTLINE_KEY: "outline"}
        for key, name in keys.items():
            with suppress(ValueError):  # the person has bound this key: theirs stays
                self._viewer.bind_key(key, pressed(calls[name]))
                self._bound.append(key)
        UndockFilter(self.native, self.close_down)
        self.native.destroyed.connect(self._drop)

    def _on_run(self) -> None:
        if self._learning.running:
            self._learning.ask()
        elif self.state.phase is Phase.ADDING_CLASS:
            self._new_class.refuse()
        else:
            self.finetune()

    def _on_layers(self, event: Any = None) -> None:
        self._desk.drop_answers()
        self._choice.list_images()
        self._panel.start_view.show(self._choice.image is None)
        self._desk.reopen()

    def _on_selection(self, event: Any = None) -> None:
        if self.state.quiet:  # a click on another scan does not throw away what is being learnt
            self._choice.follow()
        self._on_dims()

    def _on_image(self, event: Any = None) -> None:
        self._choice.list_masks(anew=True)
        self._desk.reopen()

    def _on_copied(self, copy: Labels) -> None:
        self._choice.list_masks()
        self._panel.mask.value = copy

    def _on_model(self, entry: ModelEntry) -> None:
        if self.session is not None:
            self.session.use_model(entry.hash)
            self._carry.drop()
        self._choice.offer_labels(labels_to_paint(list(entry.spec.labels), UNSURE))
        self._desk.reopen()

    def _on_paint(self, chosen: Any = None) -> None:
        """Take up the brush with the chosen label; an empty mask is made where there is none."""
        found, mask, value = self._desk.on_screen(), self._choice.mask, self._panel.paint.value
        if self.session is None or (mask is None and found is None):
            self._complain()
        elif value is not None:
            self._click.stop()
            self._desk.settle_values()
            mask = self._desk.mask_of(*found) if mask is None and found is not None else mask
            if mask is not None:
                self._viewer.layers.selection.active = mask
                mask.mode = "paint" if value else "erase"
                mask.selected_label = int(value) or mask.selected_label

    def _on_dims(self, event: Any = None) -> None:
        found = self._desk.on_screen()
        self.state.slice = None if found is None else found[1]
        if found is not None:
            self._click.look()

    def _on_seen(self) -> None:
        """Show what is known of the slices now."""
        session, state = self.session, self.state
        if session is None:
            return
        state.slices = tuple(session.states())
        self._carry.look(session)
        self._on_dims()
        if session.journal.trouble != self._trouble:
            self._trouble = session.journal.trouble
            state.say(self._trouble or "Corrections are on disk again.", wrong=bool(self._trouble))
        elif session.journal.notice and not self.running and state.quiet:
            state.say(session.journal.notice)
            session.journal.notice = ""

    def _complain(self) -> None:
        self.state.say(self._desk.complaint(), wrong=True)

    # ---- the case on screen ------------------------------------------------------------------------

    def _on_opened(self, session: CaseCorrections) -> None:
        self._kept.list(session)
        self._click.begin(session)
        mask = self._choice.mask
        made_with = "" if mask is None else mask.metadata.get(image_source.KEY, {}).get("hash", "")
        self._versions.use(str(made_with))
        if session.as_left:  # e.g. the person has looked at another scan and come back
            self._restoring.go_on()
            return
        self.state.offer = session.offer()
        self.state.say(f"{self._stopped} {messages.welcome(session)}".strip(), wrong=bool(self._stopped))
        for mask in self._desk.in_doubt():
            self._questions.ask_what_255_is(mask)
        self._on_seen()

    def _on_closed(self, why: str, wrong: bool) -> None:
        self._restoring.finish()
        stopped = f"{STOPPED}." if self.running else ""
        self._stopped = "" if wrong else stopped or self._again.take_stop()
        self.cancel(STOPPED)
        self._panel.question.drop()
        self.state.show_result(None)
        self._carry.drop()
        self._outline.drop()
        self._click.drop()
        self._new_class.forget()
        self.state.say(why, wrong)

    def _on_accepted(self, order: FineTuneRequest, data: bytes) -> None:
        self._versions.add(order.entry, data, partial(self._on_version, order))

    def _on_version(self, order: FineTuneRequest, entry: ModelEntry) -> None:
        """Segment what is not reviewed with the version that was just accepted."""
        word = f"{entry.name} is now the default. "
        if self.session is order.session:
            self._again.draw(order.session, entry, order.segmenting, order.scheduler, word, self._choice.carries)
        else:
            self.state.say(word)

    # ---- the end -----------------------------------------------------------------------------------

    def close_down(self) -> None:
        """Let go of the viewer; strokes and ticks are on disk, a fine-tuning that is under way stops."""
        self._desk.close("", wrong=False)
        self._choice.remember()
        layers = self._viewer.layers
        for event in (layers.events.inserted, layers.events.removed, layers.events.renamed):
            event.disconnect(self._on_layers)
        layers.selection.events.active.disconnect(self._on_selection)
        self._viewer.dims.events.current_step.disconnect(self._on_dims)
        for key in self._bound:
            self._viewer.bind_key(key, None)
        self._inbox.close()
        self.native.deleteLater()

    def _drop(self) -> None:
        """Stop the worker's part and write what is not written; touches nothing of Qt, which may be gone."""
        self.state.events.disconnect()
        self._learning.drop()
        self._again.cancel()
        self._desk.watch.flush()


def _called(call: Any, *given: Any) -> None:
    """Drop what a signal or a key hands over."""
    call()
