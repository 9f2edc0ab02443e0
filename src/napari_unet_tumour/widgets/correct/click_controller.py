"""Click mode: a click outlines a lesion on the slice on screen, another one mends the outline."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from napari_unet_tumour.errors import ScanError, UNetTumourError
from napari_unet_tumour.widgets.common.background import Background
from napari_unet_tumour.widgets.common.keys import CLICK_KEY, TICK_KEY, pressed
from napari_unet_tumour.widgets.common.main_thread import single_shot_timer
from napari_unet_tumour.widgets.common.words import slice_label
from napari_unet_tumour.widgets.correct.click_answers import ClickAnswers, ClickQuestion, ClickReply
from napari_unet_tumour.widgets.correct.click_known import ClickedSlice
from napari_unet_tumour.widgets.correct.click_markers import ClickMarkers
from napari_unet_tumour.widgets.correct.click_marks import Mark, MarkKind, line
from napari_unet_tumour.widgets.correct.click_mouse import ClickMouse, Gesture
from napari_unet_tumour.widgets.layers import locks
from napari_unet_tumour.widgets.layers.edits import LayerEvents

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels

    from napari_unet_tumour.widgets.common.main_thread import MainThreadQueue
    from napari_unet_tumour.widgets.correct.case import CasePart
    from napari_unet_tumour.widgets.correct.case_controller import CaseController
    from napari_unet_tumour.widgets.correct.case_corrections import CaseCorrections
    from napari_unet_tumour.widgets.correct.click_mode import ClickOrder, SliceClicks
    from napari_unet_tumour.widgets.correct.inputs import CorrectInputs
    from napari_unet_tumour.widgets.correct.state import CorrectState
    from napari_unet_tumour.widgets.layers.mask_writer import MaskWriter

MOST_LABEL = 255
EVENTS = ("paint", "set_data", "labels_update")
# So near to the pointer, in pixels of a slice of 256, a mark is the one that Delete means.
UNDER = 4.0
# An answer mostly comes sooner than this: then its mark and its outline are drawn together.
DRAW_MS = 60


class ClickController:
    """Turns what the mouse does into marks, has them answered, and writes the answers."""

    def __init__(
        self, viewer: ViewerModel, state: CorrectState, inbox: MainThreadQueue, choice: CorrectInputs,
        desk: CaseController, masks: MaskWriter,
    ) -> None:  # fmt: skip
        self._viewer, self._state, self._put, self._choice = viewer, state, inbox.put, choice
        self._desk, self._masks = desk, masks
        self._answers = ClickAnswers()
        self._asking: dict[tuple[str, int, int], Background] = {}
        self._markers = ClickMarkers(viewer)
        self._draw_soon = single_shot_timer(inbox, DRAW_MS, self._markers.draw)
        keys = {"Escape": self.stop, "Backspace": self.remove, "Delete": self.remove}
        self._mouse = ClickMouse(viewer, self._on_gesture, self._on_drag, keys, self.stop)
        self._slices: dict[tuple[str, int, int], tuple[ClickedSlice, SliceClicks]] = {}
        self._mask: Labels | None = None
        self._pixels, self._modes = LayerEvents(self._on_pixels, EVENTS), LayerEvents(self._on_mode, ("mode",))
        self._bound: list[Any] = []
        self._looking = self._writing = False

    @property
    def on(self) -> bool:
        """Whether the mode is on."""
        return self._state.clicking

    # ---- the mode ------------------------------------------------------------------------------------

    def toggle(self) -> None:
        """Begin the mode, or leave it."""
        if self.on:
            self.stop()
        else:
            self.start()

    def start(self) -> None:
        """Begin: mouse clicks are answered from now on; an empty mask is made where there is none."""
        found, entry = self._desk.on_screen(), self._choice.entry
        if found is None or entry is None:
            self._state.say(self._desk.complaint(), wrong=True)
            return
        self._desk.settle_values()
        self._state.clicking = True
        self._mouse.take()
        self.look()
        self._answers.warm(entry, self._choice.scheduler)
        self._state.say(
            "Click a lesion: left adds, right removes, a drag is a box. Delete takes a click back, Esc ends."
        )

    def stop(self) -> None:
        """Leave the mode: what was clicked stays, its markers go until the mode is on again."""
        if not self.on:
            return
        self._state.clicking = False
        self._mouse.release()
        self._watch(None)
        self._markers.close()

    def begin(self, session: CaseCorrections) -> None:
        """Have the mode's key work over the images of a case too, where napari has one of its own."""
        for part in session.case.parts:
            with suppress(ValueError):  # the person has bound this key: theirs stays
                part.image.bind_key(CLICK_KEY, pressed(self.toggle))
                self._bound.append(part.image)

    def drop(self) -> None:
        """Leave the mode and forget all marks: the case is another one now."""
        self.stop()
        self._slices.clear()
        for asking in self._asking.values():
            asking.cancel()
        self._asking.clear()
        while self._bound:
            self._bound.pop().bind_key(CLICK_KEY, None)

    def look(self) -> None:
        """Take up the mask on screen and show its marks; call it when the slice or the layers are others."""
        if self.on and not self._looking:
            self.look_at(self._desk.on_screen())

    def look_at(self, found: tuple[CaseCorrections, int] | None) -> None:
        """Take up the mask of a slice that is known to be on screen, see `look`."""
        if found is None or not self.on or self._looking:
            return
        session, number = found
        self._looking = True  # a new mask layer, and another layer that is selected, lead here again
        try:
            mask = self._desk.mask_of(session, number)
            if mask is not self._mask:
                self._take_up(mask)
                self._show(session.case.where(number)[0])
        finally:
            self._looking = False

    def _take_up(self, mask: Labels) -> None:
        self._watch(mask)
        self._mouse.take_keys(mask)
        if mask.selected_label == 0:
            mask.selected_label = self._choice.label
        self._viewer.layers.selection.active = mask
        mask.mode = "pan_zoom"

    def _watch(self, mask: Labels | None) -> None:
        """Hear of undo and redo on a mask, and of a brush taken up."""
        self._mask = mask
        for events in (self._pixels, self._modes):
            events.follow([] if mask is None else [mask])

    def _on_mode(self, event: Any) -> None:
        if self._mask is not None and str(self._mask.mode) != "pan_zoom":
            self.stop()

    def _on_pixels(self, event: Any = None) -> None:
        """Take marks along with undo and redo."""
        found = self._desk.on_screen() if self.on and not self._writing else None
        if found is None:
            return
        part, plane = found[0].case.where(found[1])
        here = [one for one in self._slices.values() if one[0].part is part and one[0].plane == plane]
        moved = [clicks.follow(of.now()) for of, clicks in here if part.whole]
        if any(moved):
            self._show(part)

    def _show(self, part: CasePart, more: tuple[tuple[ClickedSlice, Mark], ...] = (), draw: bool = True) -> None:
        """Show the marks of a part; without `draw` on the canvas with the answer, or soon where none comes."""
        shown = [(of, mark) for of, clicks in self._slices.values() if of.part is part for mark in clicks.marks]
        if self.on and part.mask is not None:
            self._markers.show([*shown, *more], part.mask, draw)
            if not draw:
                self._draw_soon.start()

    # ---- what the person does ------------------------------------------------------------------------

    def _on_drag(self, gesture: Gesture) -> None:
        """Show the box or the scribble that is being drawn."""
        try:
            of, mark = self._marked(gesture)
        except UNetTumourError:
            return
        self._show(of.part, ((of, mark),))

    def _on_gesture(self, gesture: Gesture) -> None:
        """Have one more mark answered; what is in the way is said in a line."""
        self._masks.hide_preview()
        self._desk.settle_values()
        try:
            of, mark = self._marked(gesture)
            self._check_free(of, mark)
            clicks, held = self._clicks_on(of)
            order = clicks.add(held, mark, gesture.apart)
        except UNetTumourError as error:
            self._state.say(str(error), wrong=True)
            self.look()
            return
        self._ask(of, clicks, order)
        self._show(of.part, draw=False)

    def remove(self) -> None:
        """Take the mark under the pointer back, else the last one of the slice."""
        self._masks.hide_preview()
        try:
            of = self._slice()
            of.check_free()
            clicks, mark = self._mark_to_remove(of)
            of = next(one for one, own in self._slices.values() if own is clicks)
            order = clicks.remove(of.held(self._choice.segmenting()), mark)
        except UNetTumourError as error:
            self._state.say(str(error), wrong=True)
            return
        if order.own:
            self._ask(of, clicks, order)
            self._show(of.part, draw=False)
        else:
            self._background(of).cancel()
            self._on_reply(of, clicks, order, ClickReply(None))

    def clicked(self) -> tuple[ClickedSlice, tuple[Mark, ...]]:
        """Return the slice on screen and its marks for the selected label.

        Raises ScanError where nothing was clicked, or the label is locked.
        """
        of = self._slice()
        if of.part.mask is not None:
            locks.check_label(of.part.mask, of.label)
        found = self._slices.get(of.key)
        marks = () if found is None else found[1].marks
        if not marks:
            raise ScanError(f"no lesion was clicked on this slice: press Click ({CLICK_KEY}) and click it first")
        return of, marks

    def _mark_to_remove(self, of: ClickedSlice) -> tuple[SliceClicks, Mark]:
        here = [clicks for one, clicks in self._slices.values() if one.part is of.part and one.plane == of.plane]
        every = [(clicks, mark) for clicks in here for mark in clicks.marks]
        if not every:
            raise ScanError("There is no click on this slice to take back")
        pixel = of.pixel_at(self._viewer, self._viewer.cursor.position)
        reach = UNDER * max(of.part.layout.plane_shape) / 256
        under = [] if pixel is None else [one for one in every if one[1].away(*pixel) <= reach]
        own = self._slices.get(of.key)
        last = [one for one in every if own is not None and one[0] is own[1]] or every
        return min(under, key=lambda one: one[1].away(*(pixel or (0, 0)))) if under else last[-1]

    def _slice(self) -> ClickedSlice:
        """Return the slice on screen and the selected label; ScanError where there is none to click."""
        found = self._desk.on_screen()
        if found is None:
            raise ScanError(self._desk.complaint())
        session, number = found
        mask, (part, plane) = self._desk.mask_of(session, number), session.case.where(number)
        label = int(mask.selected_label)
        if not 1 <= label <= MOST_LABEL:
            raise ScanError(f"the label {label} cannot be clicked: choose one of 1 to {MOST_LABEL} under Paint")
        return ClickedSlice(part, plane, label)

    def _marked(self, gesture: Gesture) -> tuple[ClickedSlice, Mark]:
        """Return the slice and the mark that a gesture means, its lesion still unknown."""
        of = self._slice()
        pixels = [of.pixel_at(self._viewer, position) for position in gesture.path]
        first, last = pixels[0], pixels[-1]
        known = [pixel for pixel in pixels if pixel is not None]
        if first is None:
            raise ScanError(f"that is outside the image '{of.part.image.name}': click on it")
        if gesture.dragged and self._choice.hints:
            steps = [pixel for pair in pairwise(known) for pixel in line(*pair)]
            return of, Mark(MarkKind.SCRIBBLE, tuple(dict.fromkeys(steps or known)), gesture.sign)
        if gesture.dragged and gesture.sign > 0:
            return of, Mark(MarkKind.BOX, (first, last or known[-1]), 1)
        return of, Mark(MarkKind.CLICK, (first,), gesture.sign)

    def _check_free(self, of: ClickedSlice, mark: Mark) -> None:
        """Raise ScanError where a click lies on another label, which stays, or on what is locked."""
        of.check_free()
        for pixel in mark.seeds:
            value = int(of.part.pixels(of.plane)[pixel])
            if value not in (0, of.label):
                raise ScanError(f"here is label {value}, which stays: choose it under Paint, or erase it first")

    def _clicks_on(self, of: ClickedSlice) -> tuple[SliceClicks, Any]:
        held = of.held(self._choice.segmenting())
        if of.key not in self._slices:
            self._slices[of.key] = (of, of.begin(held))
        return self._slices[of.key][1], held

    # ---- the answer ----------------------------------------------------------------------------------

    def _ask(self, of: ClickedSlice, clicks: SliceClicks, order: ClickOrder) -> None:
        entry = self._choice.entry
        if entry is None:
            return
        busy = "The network is learning" if self._state.learning else ""
        question = ClickQuestion(entry, self._choice.scheduler, of.read, order.clicks, order.known, busy)
        self._background(of).start(
            partial(self._answers.reply, question), partial(self._on_reply, of, clicks, order), self._state.say,
            self._state.say,
        )  # fmt: skip

    def _background(self, of: ClickedSlice) -> Background:
        """Return what answers the clicks of a slice: the newest alone, since it has those before it too."""
        return self._asking.setdefault(of.key, Background(self._put, lambda: self._state.generation))

    def _on_reply(self, of: ClickedSlice, clicks: SliceClicks, order: ClickOrder, reply: ClickReply) -> None:
        """Write an answer."""
        if reply.answer is None and order.own:
            clicks.pending = None
            self._state.say(reply.note, wrong=True)
            self._show(of.part)
            return
        self._masks.hide_preview()
        try:
            new = clicks.settle(order, of.now(), reply.answer, of.locked())
        except UNetTumourError as error:
            self._state.say(str(error), wrong=True)
            return
        self._writing = True
        try:
            of.write(self._viewer, new)
        finally:
            self._writing = False
        self._show(of.part)
        self._desk.watch.poke()
        self._state.say(" ".join(filter(None, (reply.note, self._told(of, clicks, int((new == of.label).sum()))))))

    def _told(self, of: ClickedSlice, clicks: SliceClicks, pixels: int) -> str:
        count = len(clicks.marks)
        name = slice_label(of.part.first + of.plane).capitalize()
        marks = f"{count} click{'s' * (count != 1)}"
        return f"{name}: {marks}, {pixels} pixels. {TICK_KEY} when it is right; undo takes the last click back."
