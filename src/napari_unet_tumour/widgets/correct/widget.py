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
from napari_unet_tumour.widgets.correct.carry_controller import CarryController
from napari_unet_tumour.widgets.correct.case_controller import CaseController
from napari_unet_tumour.widgets.correct.click_controller import ClickController
from napari_unet_tumour.widgets.correct.finetune_controller import FineTuneController, UnknownLabels, check
from napari_unet_tumour.widgets.correct.finetune_request import FineTuneRequest
from napari_unet_tumour.widgets.correct.inputs import CorrectInputs
from napari_unet_tumour.widgets.correct.keys import CLICK_KEY, NEXT_KEY, OUTLINE_KEY, TICK_KEY, pressed
from napari_unet_tumour.widgets.correct.navigator import SliceNavigator
from napari_unet_tumour.widgets.correct.outline_controller import OutlineController
from napari_unet_tumour.widgets.correct.restore import Restore
from napari_unet_tumour.widgets.correct.saved_corrections import SavedCorrections
from napari_unet_tumour.widgets.correct.segment_controller import SegmentController
from napari_unet_tumour.widgets.correct.versions import Versions
from napari_unet_tumour.widgets.correct.view import CorrectView, labels_to_paint
from napari_unet_tumour.widgets.layers import image_source, label_values, labels
from napari_unet_tumour.widgets.layers.mask_writer import MaskWriter

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Labels

    from napari_unet_tumour.models.registry import ModelEntry
    from napari_unet_tumour.widgets.correct.case_corrections import CaseCorrections


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
        self._viewer = viewer
        inbox = self._inbox = MainThreadQueue(self.native)
        store = Store(registry.data_dir() / "corrections")
        self._masks = MaskWriter(viewer, inbox)
        self._choice = CorrectInputs(viewer, panel)
        self._kept = SavedCorrections(panel, store, inbox)
        self._versions = Versions(panel, self._choice, inbox, self._on_model)
        self._learning = FineTuneController(panel, inbox, self._masks, store, self._on_accepted)
        self._new_class = AddClassController(viewer, panel, inbox, self._versions, self._choice, self.finetune)
        self._desk = CaseController(
            viewer, inbox, self._choice, store, self._masks, self._on_opened, self._on_closed, self._on_seen,
            self._on_lazy,
        )  # fmt: skip
        self._again = SegmentController(
            viewer, inbox, self._masks, panel.question, panel.say, self._desk.adopt, self._on_seen
        )
        self._tour = SliceNavigator(viewer, panel, self._choice, self._desk, self._again, self._is_quiet, self._on_dims)
        self._restoring = Restore(viewer, panel, inbox, self._desk, self._versions, self._on_seen)
        self._carry = CarryController(panel, self._choice, inbox, self._masks, lambda: self.running, self._is_quiet)
        self._click = ClickController(viewer, panel, inbox, self._choice, self._desk, self._masks, self._why_busy)
        self._outline = OutlineController(
            viewer, panel, inbox, self._choice, self._desk, self._masks, self._click, lambda: self.running
        )
        self._trouble = self._stopped = ""
        self._bound: list[str] = []
        self._listen()
        self._choice.list_images()
        self._choice.list_masks(anew=True)
        self._choice.follow()
        panel.start_view.show(self._choice.image is None)
        self._desk.open()

    @property
    def session(self) -> CaseCorrections | None:
        """The corrections of the case on screen; None while none is open."""
        return self._desk.session

    @property
    def running(self) -> bool:
        """Whether the network learns or segments."""
        return self._learning.running or self._again.running

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
        if reviewed and self._learning.running:
            self._masks.hide_preview()
        self._on_seen()
        self._desk.watch.poke()
        if self._is_quiet():
            word = messages.ticked(session, number)
            self._panel.say(word if reviewed else f"{slice_label(number).capitalize()}: no longer reviewed.")
        self._carry.ticked(session, number)

    def click(self) -> None:
        """Begin Click mode, or leave it."""
        self._click.toggle()

    def outline(self) -> None:
        """Follow the lesions clicked on the slice on screen to its neighbours; again: cancel."""
        self._outline.toggle()

    def use_tool(self, name: str) -> None:
        """Use one of the tools on the slice on screen."""
        found = self._desk.on_screen()
        if found is None:
            self._complain()
            return
        self._masks.hide_preview()
        self._desk.settle_values()
        try:
            self._panel.say(edit_tools.apply(name, self._viewer, *found))
        except UNetTumourError as error:
            self._panel.say(str(error), wrong=True)

    def finetune(self) -> None:
        """Let a copy of the network learn from the reviewed slices; what is in the way is said in the status line."""
        session, entry, choice = self.session, self._choice.entry, self._choice
        if session is None or entry is None:
            self._complain()
            return
        self._again.cancel()
        self._new_class.forget()
        self._desk.settle_values()
        reviewed = session.reviewed()
        masks = session.masks(reviewed)
        try:
            session.check()
            note = check(masks, [n for n in reviewed if not session.is_held_out(n)], entry, UNSURE)
        except UNetTumourError as error:
            self._panel.say(str(error), wrong=not isinstance(error, UnknownLabels))
            if isinstance(error, UnknownLabels):
                self._new_class.ask(session, entry)
            return
        shown = session.case.on_screen(self._viewer)
        order = FineTuneRequest(
            session, entry, choice.settings, choice.segmenting(), masks, shown, choice.scheduler, note,
            bool(self._panel.carry.value),
        )  # fmt: skip
        choice.remember()
        self._learning.start(order)

    def cancel(self, why: str = "Cancelled") -> None:
        """Stop what runs; model and mask stay as they were."""
        if self._learning.running:
            self._learning.stop(f"{why}: model and mask are as they were.")
        self._again.cancel()

    def segment(self) -> None:
        """Segment every slice that is not reviewed with the chosen model."""
        session, entry = self.session, self._choice.entry
        if session is None or entry is None:
            self._complain()
        elif self._again.running:
            self._again.cancel()
            self._panel.say("Cancelled: finished slices stay.")
        elif not self._learning.running:
            self._desk.settle_values()
            follow = bool(self._panel.carry.value)
            self._again.draw(session, entry, self._choice.segmenting(), self._choice.scheduler, beneath=follow)

    def restore(self) -> None:
        """Bring back what an earlier session left: masks, ticks, hold-out and model."""
        self._restoring.restore()

    def start_afresh(self) -> None:
        """Begin anew; a copy of the earlier corrections is kept."""
        self._restoring.start_afresh()

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
        panel, layers = self._panel, self._viewer.layers
        for button, call in (
            (panel.next, self.next_slice), (panel.tick, self.tick), (panel.run, self._on_run),
            (panel.segment, self.segment), (panel.restore, self.restore), (panel.afresh, self.start_afresh),
            (panel.measure, self.open_report), (panel.click, self.click), (panel.outline, self.outline),
            *((button, partial(self.use_tool, name)) for name, button in panel.tools.items()),
        ):  # fmt: skip
            button.native.clicked.connect(partial(_called, call))
        panel.strip.clicked.connect(self.go)
        panel.start_view.connect(
            partial(panels.open_scan, self._viewer, self.native, panel.say), partial(panels.open_sample, self._viewer)
        )
        panel.image.changed.connect(self._on_image)
        panel.mask.changed.connect(self._desk.reopen)
        panel.channels.changed.connect(self._desk.reopen)
        panel.paint.changed.connect(self._on_paint)
        panel.paint.native.activated.connect(partial(_called, self._on_paint_again))  # also what was chosen before
        for event in (layers.events.inserted, layers.events.removed, layers.events.renamed):
            event.connect(self._on_layers)
        layers.selection.events.active.connect(self._on_selection)
        self._viewer.dims.events.current_step.connect(self._on_dims)
        for key, call in (
            (NEXT_KEY, self.next_slice), (TICK_KEY, self.tick), (CLICK_KEY, self.click), (OUTLINE_KEY, self.outline),
        ):  # fmt: skip
            with suppress(ValueError):  # the person has bound this key: theirs stays
                self._viewer.bind_key(key, pressed(call))
                self._bound.append(key)
        UndockFilter(self.native, self.close_down)
        self.native.destroyed.connect(self._drop)

    def _on_run(self) -> None:
        if self._learning.running:
            self._learning.ask()
        else:
            self.finetune()

    def _on_layers(self, event: Any = None) -> None:
        self._choice.list_images()
        self._panel.start_view.show(self._choice.image is None)
        self._desk.reopen()

    def _on_selection(self, event: Any = None) -> None:
        if self._is_quiet():  # a click on another scan does not throw away what is being learnt
            self._choice.follow()
        self._on_dims()

    def _on_image(self, event: Any = None) -> None:
        self._choice.list_masks(anew=True)
        self._desk.reopen()

    def _on_model(self, entry: ModelEntry) -> None:
        if self.session is not None:
            self.session.use_model(entry.hash)
            self._carry.drop()
        self._choice.offer_labels(labels_to_paint(list(entry.spec.labels), UNSURE))
        self._desk.reopen()

    def _on_paint_again(self) -> None:
        self._on_paint(self._panel.paint.value)

    def _on_paint(self, value: Any) -> None:
        """Take up the brush with the chosen label; an empty mask is made where there is none."""
        found, mask = self._desk.on_screen(), self._choice.mask
        if self.session is None or (mask is None and found is None):
            self._complain()
        elif value is not None:
            self._click.stop()
            self._desk.settle_values()
            if mask is None and found is not None:
                mask = self._desk.mask_of(*found)
            if mask is None:
                return
            self._viewer.layers.selection.active = mask
            mask.mode = "paint" if value else "erase"
            if value:
                mask.selected_label = int(value)

    def _on_dims(self, event: Any = None) -> None:
        found = self._desk.on_screen()
        self._panel.strip.mark(None if found is None else found[1])
        if found is not None:
            session, number = found
            self._panel.tell_place(messages.place(session, number), session.is_reviewed(number))
            self._click.look()
        elif self.session is not None:
            self._panel.tell_place("No slice of this scan is on screen.", False)

    def _on_seen(self) -> None:
        """Show what is known of the slices now."""
        session = self.session
        if session is None:
            return
        self._panel.strip.fill(session.states())
        self._carry.look(session)
        self._on_dims()
        if session.journal.trouble != self._trouble:
            self._trouble = session.journal.trouble
            self._panel.say(self._trouble or "Corrections are on disk again.", wrong=bool(self._trouble))
        elif session.journal.notice and not self.running and self._is_quiet():
            self._panel.say(session.journal.notice)
            session.journal.notice = ""

    def _complain(self) -> None:
        self._panel.say(self._desk.complaint(), wrong=True)

    def _why_busy(self) -> str:
        return "The network is learning" if self._learning.running else ""

    def _is_quiet(self) -> bool:
        """Tell whether the status line is free: it is not while it is about a fine-tuning."""
        return not self._learning.running and self._learning.judged is None

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
        self._panel.ask_to_restore(session.offer())
        self._panel.say(f"{self._stopped} {messages.welcome(session)}".strip(), wrong=bool(self._stopped))
        self._ask_what_255_is()
        self._on_seen()

    def _ask_what_255_is(self) -> None:
        """Ask where 255 may be one of several labels; until they answer it is unsure, and the layer stays as it is."""
        for mask in self._desk.in_doubt():
            unsure = ("Unsure", "These pixels are not learnt from.", partial(labels.show_unsure, mask, UNSURE))
            label = ("A label", "It gets the next free number.", partial(self._on_label, mask))
            self._panel.question.ask(
                f"What is the value {UNSURE} in '{mask.name}', beside its labels?", [unsure, label]
            )

    def _on_label(self, mask: Labels) -> None:
        self._panel.say(f"The value {UNSURE} is now label {label_values.as_label(mask)} in '{mask.name}'.")

    def _on_closed(self, why: str, wrong: bool) -> None:
        self._restoring.finish()
        stopped = "Stopped, since the layers have changed." if self.running else ""
        self._stopped = "" if wrong else stopped or self._again.take_stop()
        self.cancel("Stopped, since the layers have changed")
        self._panel.question.drop()
        self._learning.forget()
        self._carry.drop()
        self._outline.drop()
        self._click.drop()
        self._new_class.forget()
        self._panel.ask_to_restore("")
        self._panel.strip.fill([])
        self._panel.tell_place("", False)
        self._panel.say(why, wrong)

    def _on_lazy(self, mask: Labels) -> None:
        """Offer a copy that can be drawn on."""
        copy = ("Copy", "A new layer with the same pixels, in memory.", partial(self._copy_into_memory, mask))
        self._panel.question.ask(f"Copy the mask '{mask.name}' into memory?", [copy])

    def _copy_into_memory(self, mask: Labels) -> None:
        try:
            copy = labels.copy_into_memory(self._viewer, mask)
        except Exception as error:  # noqa: BLE001 - a lazy layer may raise anything when it is read
            said = str(error).partition("\n")[0] or type(error).__name__
            self._panel.say(f"the mask '{mask.name}' cannot be read ({said}): check its file", wrong=True)
            return
        self._choice.list_masks()
        self._panel.mask.value = copy

    def _on_accepted(self, order: FineTuneRequest, data: bytes) -> None:
        self._versions.add(order.entry, data, partial(self._on_version, order))

    def _on_version(self, order: FineTuneRequest, entry: ModelEntry) -> None:
        """Segment what is not reviewed with the version that was just accepted."""
        word = f"{entry.name} is now the default. "
        if self.session is order.session:
            follow = bool(self._panel.carry.value)
            self._again.draw(order.session, entry, order.segmenting, order.scheduler, word, follow)
        else:
            self._panel.say(word)

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
        self._learning.drop()
        self._again.cancel()
        self._desk.watch.flush()


def _called(call: Any, *given: Any) -> None:
    """Drop what a signal or a key hands over."""
    call()
