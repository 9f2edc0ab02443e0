"""The Correct and fine-tune widget: correct a slice, tick it, and the network learns from it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from napari_unet_tumour.corrections import UNSURE, Store
from napari_unet_tumour.models import registry
from napari_unet_tumour.widgets.common import panels
from napari_unet_tumour.widgets.common.dock import Panel
from napari_unet_tumour.widgets.common.keys import (
    CLICK_KEY,
    NEXT_KEY,
    OUTLINE_KEY,
    REVIEWED_NEXT_KEY,
    TICK_KEY,
    bind_keys,
    pressed,
)
from napari_unet_tumour.widgets.common.main_thread import MainThreadQueue, UndockFilter
from napari_unet_tumour.widgets.correct import messages
from napari_unet_tumour.widgets.correct.buttons import TOOLS
from napari_unet_tumour.widgets.correct.carry_controller import CarryController
from napari_unet_tumour.widgets.correct.case_controller import CaseController
from napari_unet_tumour.widgets.correct.click_controller import ClickController
from napari_unet_tumour.widgets.correct.inputs import CorrectInputs
from napari_unet_tumour.widgets.correct.navigator import SliceNavigator
from napari_unet_tumour.widgets.correct.network_actions import NetworkActions
from napari_unet_tumour.widgets.correct.outline_controller import OutlineController
from napari_unet_tumour.widgets.correct.restore import Restore
from napari_unet_tumour.widgets.correct.saved_corrections import SavedCorrections
from napari_unet_tumour.widgets.correct.slice_actions import SliceActions
from napari_unet_tumour.widgets.correct.state import CorrectState
from napari_unet_tumour.widgets.correct.versions import Versions
from napari_unet_tumour.widgets.correct.view import CorrectView, labels_to_paint
from napari_unet_tumour.widgets.layers import image_source
from napari_unet_tumour.widgets.layers.edits import list_events
from napari_unet_tumour.widgets.layers.mask_writer import MaskWriter

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari.viewer

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
        desk = self._desk = CaseController(
            viewer, state, inbox, choice, store, masks, panel.question, self._on_opened, self._on_closed,
            self._on_seen,
        )  # fmt: skip
        self._network = NetworkActions(viewer, state, put, panel, choice, desk, masks, self._versions, store)
        self._tour = SliceNavigator(viewer, state, choice, desk, self._network.again, self._on_dims)
        self._restoring = Restore(viewer, state, put, desk, self._versions, self._on_seen)
        self._carry = CarryController(state, panel.carry, choice, inbox, masks)
        self._slice = SliceActions(viewer, state, choice, desk, masks, self._carry, self._tour, self._on_seen)
        self._click = ClickController(viewer, state, inbox, choice, desk, masks)
        self._outline = OutlineController(viewer, state, put, choice, desk, masks, self._click)
        self._trouble = self._stopped = ""
        self._bound: list[str] = []
        panel.brush.begin(viewer, self.native, self._on_refused)
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

    def go(self, number: int) -> None:
        """Bring a slice on screen."""
        self._tour.go(number)

    def cancel(self) -> None:
        """Stop what runs; model and mask stay as they were."""
        self._network.cancel()

    def open_report(self) -> None:
        """Measure the chosen mask in the Lesion report."""
        self._report().measure()

    def save_all(self) -> None:
        """Measure the chosen mask, and save it with its table and report beside the scan."""
        self._report().save_all()

    def _report(self) -> Any:
        """Open the Lesion report with the chosen mask."""
        mask = self._choice.mask
        if mask is not None:
            self._viewer.layers.selection.active = mask
        return panels.open_panel(self._viewer, panels.REPORT)

    def choose_model(self, entry: ModelEntry) -> None:
        """Choose an installed model."""
        self._choice.choose_model(entry.hash)

    # ---- what happens in the window --------------------------------------------------------------

    def _listen(self) -> None:
        panel, layers, network = self._panel, self._viewer.layers, self._network
        calls: dict[str, Callable[[], None]] = {
            "next": self._tour.next, "tick": self._slice.tick, "run": network.run, "segment": network.segment,
            "restore": self._restoring.restore, "afresh": self._restoring.start_afresh, "measure": self.open_report,
            "save": self.save_all, "click": self._click.toggle, "outline": self._outline.toggle,
            "best": network.learning.keep_best, "discard": network.learning.discard, "on": network.learning.go_on,
            "accept": network.learning.accept, "reject": network.learning.reject,
            **{name: partial(self._slice.use_tool, name) for name in TOOLS},
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
        panel.paint.native.activated.connect(lambda at: self._on_paint(panel.paint.value))  # what was chosen, too
        for event in list_events(self._viewer):
            event.connect(self._on_layers)
        layers.selection.events.active.connect(self._on_selection)
        self._viewer.dims.events.current_step.connect(self._on_dims)
        keys = (
            (NEXT_KEY, self._tour.next), (TICK_KEY, self._slice.tick), (REVIEWED_NEXT_KEY, self._slice.tick_and_next),
            (CLICK_KEY, self._click.toggle), (OUTLINE_KEY, self._outline.toggle),
        )  # fmt: skip
        self._bound = bind_keys(self._viewer, ((key, pressed(call)) for key, call in keys))
        self.state.events.result.connect(self._on_result)
        UndockFilter(self.native, self.close_down)
        self.native.destroyed.connect(self._drop)

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

    def _on_model(self, entry: ModelEntry) -> None:
        if self.session is not None:
            self.session.use_model(entry.hash, self._choice.segmenting().part)
            self._carry.drop()
        self._choice.offer_labels(labels_to_paint(list(entry.spec.labels), UNSURE))
        self._desk.reopen()

    def _on_paint(self, chosen: Any) -> None:
        if chosen is not None:
            self._click.stop()
            self._slice.paint(chosen)

    def _on_dims(self, event: Any = None) -> None:
        found = self._desk.on_screen()
        self.state.slice = None if found is None else found[1]
        if found is not None:
            self._click.look_at(found)
            self._panel.brush.look_again()

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

    def _on_result(self, result: object) -> None:
        """Bring scores and pictures into view."""
        if result is not None:
            self.reveal(self._panel.table.native)

    def _on_refused(self, why: str) -> None:
        if self.state.quiet:
            self.state.say(why, wrong=True)

    # ---- the case on screen ------------------------------------------------------------------------

    def _on_opened(self, session: CaseCorrections) -> None:
        self._kept.list(session)
        self._click.begin(session)
        mask = self._choice.mask
        made_with = "" if mask is None else mask.metadata.get(image_source.KEY, {}).get("hash", "")
        self._versions.use(str(made_with))
        if session.as_left:  # e.g. the person has looked at another scan and come back
            self._restoring.restore_at_once(session)
            return
        self.state.offer = session.offer()
        self.state.say(f"{self._stopped} {messages.welcome(session)}".strip(), wrong=bool(self._stopped))
        self._on_seen()

    def _on_closed(self, why: str, wrong: bool) -> None:
        self._restoring.finish()
        stopped = f"{STOPPED}." if self.running else ""
        self._stopped = "" if wrong else stopped or self._network.again.take_stop()
        self._network.cancel(STOPPED)
        self._panel.question.drop()
        self.state.show_result(None)
        self._carry.drop()
        self._outline.drop()
        self._click.drop()
        self._network.new_class.forget()
        self.state.say(why, wrong)

    # ---- the end -----------------------------------------------------------------------------------

    def close_down(self) -> None:
        """Let go of the viewer; strokes and ticks are on disk, a fine-tuning that is under way stops."""
        self._desk.close("", wrong=False)
        self._choice.remember()
        layers = self._viewer.layers
        for event in list_events(self._viewer):
            event.disconnect(self._on_layers)
        layers.selection.events.active.disconnect(self._on_selection)
        self._viewer.dims.events.current_step.disconnect(self._on_dims)
        for key in self._bound:
            self._viewer.bind_key(key, None)
        self._panel.brush.end()
        self._inbox.close()
        self.native.deleteLater()

    def _drop(self) -> None:
        """Stop the worker's part and write what is not written; touches nothing of Qt, which may be gone."""
        self.state.events.disconnect()
        self._network.learning.drop()
        self._network.again.cancel()
        self._masks.stop_listening()
        self._desk.watch.flush()


def _called(call: Any, *given: Any) -> None:
    """Drop what a signal or a key hands over."""
    call()
