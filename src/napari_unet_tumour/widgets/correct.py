"""The Correct and fine-tune widget: correct a slice, tick it, and the network learns from it."""

from __future__ import annotations

import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from magicgui.widgets import Container, Widget

from napari_unet_tumour import jobs, shelf
from napari_unet_tumour.corrections import UNSURE, Store
from napari_unet_tumour.errors import ModelError, ScanError, UNetTumourError
from napari_unet_tumour.widgets import _layers, _tools
from napari_unet_tumour.widgets._case import Case, case_of
from napari_unet_tumour.widgets._correct_choice import CorrectChoice
from napari_unet_tumour.widgets._correct_panel import NEXT_KEY, TICK_KEY, WIDTH, CorrectPanel, labels_to_paint
from napari_unet_tumour.widgets._forms import SHELF
from napari_unet_tumour.widgets._gui import Inbox, OnLeave, later
from napari_unet_tumour.widgets._kept import Kept
from napari_unet_tumour.widgets._learning import Learning, check
from napari_unet_tumour.widgets._masks import Masks
from napari_unet_tumour.widgets._resegment import Resegment
from napari_unet_tumour.widgets._session import Session
from napari_unet_tumour.widgets._tune import Order
from napari_unet_tumour.widgets._watch import Watch

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Labels
    from numpy.typing import NDArray

    from napari_unet_tumour.shelf import Entry
    from napari_unet_tumour.widgets._case import Part

REOPEN_MS = 60


class CorrectWidget(Container[Widget]):
    """Dock widget in which a person corrects masks and the network learns from them.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        The viewer that it is docked in.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self._panel = CorrectPanel()
        super().__init__(widgets=self._panel.rows(), labels=False)
        self._panel.put(self)
        self.native.setMinimumWidth(WIDTH)
        self._viewer = viewer
        self._inbox = Inbox(self.native)
        self._store = Store(shelf.home() / "corrections")
        self._masks = Masks(viewer, self._inbox)
        self._choice = CorrectChoice(viewer, self._panel)
        self._kept = Kept(self._panel, self._store, self._inbox)
        self._watch = Watch(viewer, self._inbox, self._on_seen)
        self._learning = Learning(self._panel, self._inbox, self._masks, self._store, self._on_accept)
        self._again = Resegment(viewer, self._inbox, self._masks, self._panel.say, self._on_drawn)
        self._session: Session | None = None
        self._opening: Case | None = None
        self._trouble = ""
        self._bound: list[str] = []
        self._reopener = later(self._inbox, REOPEN_MS, self._open)
        self._listen()
        self._choice.list_images()
        self._choice.list_masks(anew=True)
        self._choice.follow()
        self._open()

    @property
    def session(self) -> Session | None:
        """The corrections of the case on screen; None while none is open."""
        return self._session

    @property
    def running(self) -> bool:
        """Whether the network learns or segments."""
        return self._learning.running or self._again.running

    # ---- what the person does ------------------------------------------------------------------------

    def next_slice(self) -> None:
        """Go to the slice most worth correcting; asks the network first where it was not asked yet."""
        session, entry = self._session, self._choice.entry
        if session is None:
            self._complain()
        elif not session.weighed and entry is not None and not self.running:
            scheduler = self._choice.scheduler
            self._again.weigh(session, entry, self._choice.segmenting(), scheduler, self._go_next)
        else:
            self._go_next()

    def _go_next(self) -> None:
        session = self._session
        order = [] if session is None else session.order()
        shown = None if session is None else session.case.on_screen(self._viewer)
        if session is None or not order:
            self._panel.say("Every slice is reviewed: press Fine-tune.")
            return
        number = next((n for n in order if n != shown), order[0])
        self.go(number)
        if not self._learning.running:
            self._panel.say(f"Slice {number}: {_why(session, number)} Correct it, then press {TICK_KEY}.")

    def go(self, number: int) -> None:
        """Bring a slice on screen."""
        if self._session is not None and number < len(self._session.case):
            self._session.case.go(self._viewer, number)
            self._on_dims()

    def tick(self) -> None:
        """Mark the slice on screen as reviewed, or take the mark back."""
        session = self._session
        number = None if session is None else session.case.on_screen(self._viewer)
        if session is None or number is None:
            self._complain()
            return
        part, plane = session.case.where(number)
        held = None if part.mask is None else self._masks.held(part.mask, part.layout, plane)
        reviewed = session.tick(number, np.zeros(part.layout.plane_shape, np.uint8) if held is None else held)
        if reviewed and self._learning.running:
            self._masks.take_off()
        self._on_seen()
        self._watch.poke()
        if not self._learning.running and self._learning.judged is None:
            self._panel.say(_ticked(session, number) if reviewed else f"Slice {number}: no longer reviewed.")

    def use_tool(self, name: str) -> None:
        """Use one of the tools on the slice on screen."""
        session = self._session
        number = None if session is None else session.case.on_screen(self._viewer)
        if session is None or number is None:
            self._complain()
            return
        try:
            said = _tools.apply(name, self._viewer, session, number)
        except UNetTumourError as error:
            self._panel.say(str(error), wrong=True)
        else:
            self._panel.say(said)

    def finetune(self) -> None:
        """Let a copy of the network learn from the reviewed slices; what is in the way is said in the status line."""
        session, entry = self._session, self._choice.entry
        if session is None or entry is None:
            self._complain()
            return
        self._again.cancel()
        reviewed = session.reviewed()
        masks = session.masks(reviewed)
        try:
            _check_masks(session)
            note = check(masks, [n for n in reviewed if not session.is_held_out(n)], entry, UNSURE)
        except UNetTumourError as error:
            self._panel.say(str(error), wrong=True)
            return
        shown = session.case.on_screen(self._viewer)
        choice = self._choice
        order = Order(session, entry, choice.settings, choice.segmenting(), masks, shown, choice.scheduler, note)
        self._choice.remember()
        self._learning.start(order)

    def cancel(self, why: str = "Cancelled") -> None:
        """Stop what runs; model and mask stay as they were."""
        if self._learning.running:
            self._learning.stop(f"{why}: model and mask are as they were.")
        self._again.cancel()

    def segment(self) -> None:
        """Segment every slice that is not reviewed with the chosen model."""
        session, entry = self._session, self._choice.entry
        if session is None or entry is None:
            self._complain()
        elif self._again.running:
            self._again.cancel()
            self._panel.say("Cancelled: finished slices stay.")
        elif not self._learning.running:
            self._again.draw(session, entry, self._choice.segmenting(), self._choice.scheduler)

    def restore(self) -> None:
        """Bring back what an earlier session left: masks, ticks, hold-out and model."""
        session = self._session
        if session is None:
            return
        masks = session.to_restore()
        for number, mask in masks.items():
            part = session.case.where(number)[0]
            if part.mask is None:
                self._on_drawn(part, self._new_mask(part))
            session.restored(number, mask)
            self._inbox.put(partial(self._write, session, number, mask))
        model = next((one.model for one in session.kept.values() if one.model), "")
        session.take_up()
        self._use_model(model)
        self._panel.ask_to_restore("")
        self._panel.say(f"Restored: {len(session.reviewed())} reviewed, masks of {len(masks)} slices.")
        self._inbox.put(self._on_seen)
        self._watch.poke()

    def _write(self, session: Session, number: int, mask: NDArray[np.uint8]) -> None:
        session.case.write(self._viewer, {number: mask})

    def start_afresh(self) -> None:
        """Begin anew; a copy of the earlier corrections is kept."""
        if self._session is None:
            return
        try:
            self._session.start_afresh()
        except UNetTumourError as error:
            self._panel.say(str(error), wrong=True)
            return
        self._panel.ask_to_restore("")
        self._panel.say("Begun anew. A copy of the earlier corrections is kept on disk.")
        self._watch.poke()

    # ---- what happens in the window --------------------------------------------------------------

    def _listen(self) -> None:
        panel, layers = self._panel, self._viewer.layers
        for button, call in (
            (panel.next, self.next_slice), (panel.tick, self.tick), (panel.run, self._on_run),
            (panel.segment, self.segment), (panel.restore, self.restore), (panel.afresh, self.start_afresh),
            *((button, partial(self.use_tool, name)) for name, button in panel.tools.items()),
        ):  # fmt: skip
            button.native.clicked.connect(partial(_called, call))
        panel.strip.clicked.connect(self.go)
        panel.image.changed.connect(self._on_image)
        panel.mask.changed.connect(self._reopen)
        panel.model.changed.connect(self._on_model)
        panel.paint.changed.connect(self._on_paint)
        for event in (layers.events.inserted, layers.events.removed, layers.events.renamed):
            event.connect(self._on_layers)
        layers.selection.events.active.connect(self._on_selection)
        self._viewer.dims.events.current_step.connect(self._on_dims)
        for key, call in ((NEXT_KEY, self.next_slice), (TICK_KEY, self.tick)):
            with suppress(ValueError):  # the person has bound this key: theirs stays
                self._viewer.bind_key(key, partial(_called, call))
                self._bound.append(key)
        OnLeave(self.native, self.close_down)
        self.native.destroyed.connect(self._drop)

    def _on_run(self) -> None:
        if self._learning.running:
            self._learning.ask()
        else:
            self.finetune()

    def _on_layers(self, event: Any = None) -> None:
        self._choice.list_images()
        self._reopen()

    def _on_selection(self, event: Any = None) -> None:
        self._choice.follow()
        self._on_dims()

    def _on_image(self, event: Any = None) -> None:
        self._choice.list_masks(anew=True)
        self._reopen()

    def _on_data(self, event: Any = None) -> None:
        """Open the case anew when a layer got other pixels."""
        self._reopen()

    def _on_model(self, entry: Entry | None) -> None:
        """Roll back, or forward: what the person chooses is the default for the next scan."""
        if entry is not None:
            self._prepare(entry)
            default = shelf.entries()[:1]
            if default and default[0].hash != entry.hash:
                self._make_default(entry)

    def _use_model(self, mark: str) -> None:
        """Choose the model that a mask was made with; the default stays."""
        with self._panel.model.changed.blocked():
            self._choice.choose_model(mark)
        if self._choice.entry is not None:
            self._prepare(self._choice.entry)

    def _prepare(self, entry: Entry) -> None:
        self._panel.model.tooltip = _lineage(entry)
        jobs.warm(str(entry.path), scheduler=self._choice.scheduler or None)
        if self._session is not None:
            self._session.use_model(entry.hash)
        self._offer_labels()
        self._reopen()

    def _make_default(self, entry: Entry) -> None:
        if entry not in shelf.entries():
            return
        try:
            shelf.choose(entry)
        except UNetTumourError as error:
            self._panel.say(str(error), wrong=True)
            return
        SHELF.chosen.emit(entry)
        self._choice.list_models(entry)
        if not self._learning.running:
            self._panel.say(f"{entry.name} is now the default. Press Segment to redo the slices not reviewed.")

    def _on_paint(self, value: Any) -> None:
        mask = self._choice.mask
        if mask is not None and value is not None and self._session is not None:
            self._viewer.layers.selection.active = mask
            mask.mode = "paint" if value else "erase"
            if value:
                mask.selected_label = int(value)

    def _on_dims(self, event: Any = None) -> None:
        session = self._session
        number = None if session is None else session.case.on_screen(self._viewer)
        self._panel.strip.mark(number)
        if session is not None and number is not None:
            self._panel.tell_place(_place(session, number), session.is_reviewed(number))

    # ---- the case on screen ------------------------------------------------------------------------

    def _reopen(self, event: Any = None) -> None:
        self._reopener.start()

    def _open(self) -> None:
        """Open the case of the chosen layers, unless it is the one that is open."""
        self._choice.list_masks()
        try:
            case = self._case()
        except UNetTumourError as error:
            self._close(str(error))
            return
        if self._session is not None and _same(case, self._session.case):
            self._take_masks(case, self._session)
            return
        if self._opening is not None and _same(case, self._opening):
            return
        self._close("Looking at the scan…", wrong=False)
        self._opening = case
        threading.Thread(target=self._read, args=(case,), daemon=True).start()

    def _case(self) -> Case:
        image, entry = self._choice.image, self._choice.entry
        if image is None:
            raise ScanError("There is no image layer: open a scan, or drag one into the window")
        if entry is None:
            raise ModelError("There is no model: import one with 'napari-unet-tumour models import'")
        return case_of(self._viewer, image, self._choice.mask, entry.spec)

    def _read(self, case: Case) -> None:
        try:
            session: Session | str = self._new_session(case)
        except Exception as error:  # noqa: BLE001 - a lazy layer may raise anything when it is read
            said = str(error).partition("\n")[0] or type(error).__name__
            session = f"The scan cannot be read ({said}): check its file"
        self._inbox.put(partial(self._on_session, case, session))

    def _new_session(self, case: Case) -> Session:
        session = Session(case, self._store, self._masks.held)
        session.look()
        return session

    def _on_session(self, case: Case, session: Session | str) -> None:
        if case is not self._opening:
            return
        self._opening = None
        if isinstance(session, str):
            self._panel.say(session, wrong=True)
            return
        self._session = session
        for part in case.parts:
            part.image.events.data.connect(self._on_data)
        self._kept.list(session)
        mask = self._choice.mask
        made_with = "" if mask is None else mask.metadata.get(_layers.KEY, {}).get("hash", "")
        self._use_model(str(made_with))
        self._watch.follow(session)
        self._panel.ask_to_restore(session.offer())
        self._panel.say(_welcome(session))
        self._on_seen()

    def _take_masks(self, case: Case, session: Session) -> None:
        """Take up masks that were made since, e.g. by the Segment widget."""
        for new, part in zip(case.parts, session.case.parts, strict=True):
            if part.mask is None and new.mask is not None:
                session.adopt_mask(part, new.mask)
                self._watch.follow(session)
        self._on_seen()

    def _close(self, why: str, wrong: bool = True) -> None:
        session, self._session, self._opening = self._session, None, None
        self.cancel("Stopped, since the layers have changed")
        self._learning.forget()
        self._watch.follow(None)
        for part in [] if session is None else session.case.parts:
            part.image.events.data.disconnect(self._on_data)
        self._panel.ask_to_restore("")
        self._panel.strip.fill([])
        self._panel.tell_place("", False)
        self._panel.say(why, wrong)

    def _complain(self) -> None:
        """Say why there is nothing to work on."""
        if self._opening is not None:
            self._panel.say("Still looking at the scan: try again in a moment.")
            return
        try:
            self._case()
        except UNetTumourError as error:
            self._panel.say(str(error), wrong=True)
        else:
            self._panel.say("The slices are not on screen: show the scan in 2D, then try again", wrong=True)

    def _offer_labels(self) -> None:
        entry = self._choice.entry
        if entry is not None:
            self._choice.offer_labels(labels_to_paint(list(entry.spec.labels), UNSURE))

    def _new_mask(self, part: Part) -> Labels:
        entry = self._choice.entry
        labels = ("background", "tumour") if entry is None else entry.spec.labels
        mask = _layers.add_mask(self._viewer, part.image, part.layout, labels)
        _layers.describe(mask, part.image, labels=list(labels))
        return mask

    def _on_drawn(self, part: Part, mask: Labels) -> None:
        _layers.show_unsure(mask, UNSURE)
        if self._session is not None:
            self._session.adopt_mask(part, mask)
            self._watch.follow(self._session)

    def _on_seen(self) -> None:
        """Show what is known of the slices now."""
        session = self._session
        if session is None:
            return
        self._panel.strip.fill(session.states())
        self._on_dims()
        if session.trouble != self._trouble:
            self._trouble = session.trouble
            self._panel.say(self._trouble or "Corrections are on disk again.", wrong=bool(self._trouble))

    # ---- a new version -----------------------------------------------------------------------------

    def _on_accept(self, order: Order, tuned: Any) -> None:
        self._panel.say("Putting the new version on the shelf…")
        threading.Thread(target=self._keep_version, args=(order, tuned.data), daemon=True).start()

    def _keep_version(self, order: Order, data: bytes) -> None:
        """Write the new version; on a thread, since a model has megabytes."""
        try:
            entry: Entry | str = shelf.add_version(data, order.entry)
        except UNetTumourError as error:
            entry = str(error)
        self._inbox.put(partial(self._on_version, order, entry))

    def _on_version(self, order: Order, entry: Entry | str) -> None:
        if isinstance(entry, str):
            self._panel.say(entry, wrong=True)
            return
        self._choice.list_models(entry)
        self._make_default(entry)
        session = self._session
        if session is order.session:
            session.use_model(entry.hash)
            word = f"{entry.name} is now the default. "
            self._again.draw(session, entry, order.segmenting, order.scheduler, word)

    # ---- the end -----------------------------------------------------------------------------------

    def close_down(self) -> None:
        """Let go of the viewer; strokes and ticks are on disk, a fine-tuning that is under way stops."""
        self._close("")
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
        self._watch.flush()


def _called(call: Any, *given: Any) -> None:
    """Drop what a signal or a key hands over."""
    call()


def _check_masks(session: Session) -> None:
    for part in session.case.parts:
        if part.mask is not None and not part.whole:
            raise ScanError(f"the mask '{part.mask.name}' has another shape than its image: choose another")


def _same(one: Case, other: Case) -> bool:
    """Tell whether two cases are of the same images, with no mask exchanged for another."""
    if len(one.parts) != len(other.parts):
        return False
    return all(
        a.image is b.image and a.array is b.array and a.layout == b.layout and (b.mask is None or a.mask is b.mask)
        for a, b in zip(one.parts, other.parts, strict=True)
    )


def _place(session: Session, number: int) -> str:
    reviewed = session.reviewed()
    held = sum(session.is_held_out(n) for n in reviewed)
    state = session.states()[number].name or "nothing yet"
    counts = f"{len(reviewed)} reviewed" + (f", {held} of them held out" if held else "")
    return f"Slice {number} of {len(session.case)}: {state}. {counts}."


def _ticked(session: Session, number: int) -> str:
    if session.is_held_out(number):
        return f"Slice {number} reviewed and held out: it scores the network, which never learns from it."
    return f"Slice {number} reviewed: the network may learn from it."


def _why(session: Session, number: int) -> str:
    unsure = session.states()[number].unsure
    return f"about {unsure:.0f} pixels may be wrong." if unsure >= 1 else "not reviewed yet."


def _welcome(session: Session) -> str:
    if session.kept:
        return "This scan was corrected before: restore that, or go on."
    if not any(part.mask is not None for part in session.case.parts):
        return "There is no mask yet: press Segment."
    return f"Correct a slice with the brush, then press {TICK_KEY}. {NEXT_KEY} finds the slice most worth it."


def _lineage(entry: Entry) -> str:
    line = " ← ".join(one.name for one in shelf.lineage(entry))
    return f"{line}\n{entry.spec.description}"
