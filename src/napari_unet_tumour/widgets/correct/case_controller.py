"""Opens the case of the chosen layers, keeps it while they stay the same, and watches it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from napari_unet_tumour.corrections import UNSURE
from napari_unet_tumour.errors import ModelError, ScanError, UNetTumourError
from napari_unet_tumour.postprocess.enhancing_part import label_names
from napari_unet_tumour.widgets.common.background import Background
from napari_unet_tumour.widgets.common.main_thread import MainThreadQueue, single_shot_timer
from napari_unet_tumour.widgets.common.words import unreadable
from napari_unet_tumour.widgets.correct import messages
from napari_unet_tumour.widgets.correct.case import CorrectionCase, LazyMaskError, case_of
from napari_unet_tumour.widgets.correct.case_corrections import CaseCorrections
from napari_unet_tumour.widgets.correct.change_watcher import ChangeWatcher
from napari_unet_tumour.widgets.correct.state import Phase
from napari_unet_tumour.widgets.layers import image_source, label_values
from napari_unet_tumour.widgets.layers import labels as labels_layer
from napari_unet_tumour.widgets.layers.edits import LayerEvents
from napari_unet_tumour.widgets.layers.scan_match import doubt

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from napari.components import ViewerModel
    from napari.layers import Labels, Layer
    from numpy.typing import NDArray

    from napari_unet_tumour.corrections import Store
    from napari_unet_tumour.models.registry import ModelEntry
    from napari_unet_tumour.widgets.common.background import Task
    from napari_unet_tumour.widgets.common.question import Question
    from napari_unet_tumour.widgets.correct.case import CasePart
    from napari_unet_tumour.widgets.correct.inputs import CorrectInputs
    from napari_unet_tumour.widgets.correct.state import CorrectState
    from napari_unet_tumour.widgets.layers.mask_writer import MaskWriter

REOPEN_MS = 60


class CaseController:
    """The case that is worked on.

    Parameters
    ----------
    opened : callable
        Called on the GUI thread when the state has got a case.
    closed : callable
        Called before a case is let go, and with what is in the way of the next one; True for an error.
    seen : callable
        Called after every look at the masks.
    """

    def __init__(
        self, viewer: ViewerModel, state: CorrectState, inbox: MainThreadQueue, choice: CorrectInputs, store: Store,
        masks: MaskWriter, question: Question, opened: Callable[[CaseCorrections], None],
        closed: Callable[[str, bool], None], seen: Callable[[], None],
    ) -> None:  # fmt: skip
        self._viewer, self._state, self._choice, self._store, self._masks = viewer, state, choice, store, masks
        self._question, self._opened, self._closed, self._seen = question, opened, closed, seen
        self.watch, self._images = ChangeWatcher(viewer, inbox, seen), LayerEvents(self.reopen, ("data",))
        self._background = Background(inbox.put, lambda: state.generation, state.switch)
        self._opening: CorrectionCase | None = None
        self._timer = single_shot_timer(inbox, REOPEN_MS, self.open)

    @property
    def session(self) -> CaseCorrections | None:
        """What is corrected of the open case."""
        return self._state.corrections

    def on_screen(self) -> tuple[CaseCorrections, int] | None:
        """Return the session and the slice that the viewer shows; None where there is none, or its layers have gone."""
        session = self.session
        if session is None or not session.case.is_in(self._viewer):
            return None
        number = session.case.on_screen(self._viewer)
        return None if number is None else (session, number)

    def reopen(self, event: Any = None) -> None:
        """Open soon: several changes of the layers in a row are one."""
        self._timer.start()

    def open(self) -> None:
        """Open the case of the chosen layers, unless it is the one that is open."""
        self._choice.list_masks()
        try:
            case = self._case()
        except UNetTumourError as error:
            self.close(str(error))
            if isinstance(error, LazyMaskError):
                copy = ("Copy", "A new layer with the same pixels, in memory.", partial(self._copy, error.mask))
                self._question.ask(f"Copy the mask '{error.mask.name}' into memory?", [copy])
            return
        if self.session is not None and _same(case, self.session.case):
            self._take_masks(case, self.session)
        elif self._opening is None or not _same(case, self._opening):
            self.close("Looking at the scan…", wrong=False)
            self._opening, layers = case, [*self._viewer.layers]
            self._background.start(
                partial(self._new_session, case, layers, self._choice.entry),
                self._on_session,
                self._on_failed,
                kind=Phase.OPENING,
            )

    def close(self, why: str, wrong: bool = True) -> None:
        """Let go of the case; what is not written yet is written."""
        self._closed(why, wrong)
        self._opening = None
        self._background.cancel()
        self._state.close()
        self.watch.follow(None)
        self._images.follow([])

    def drop_answers(self) -> None:
        """Drop what is under way where layers of the case have gone: it is closed a moment later."""
        if self.session is not None and not self.session.case.is_in(self._viewer):
            self._state.generation += 1

    def complaint(self) -> str:
        """Return why there is nothing to work on."""
        if self._opening is not None:
            return "Still looking at the scan: try again in a moment"
        try:
            self._case()
        except UNetTumourError as error:
            return str(error)
        if self.session is None or not self.session.case.is_in(self._viewer):  # what was in the way is no longer
            self.reopen()
            return "Looking at the scan: try again in a moment"
        image = self._choice.image
        if image is None:
            return image_source.not_on_screen("")
        layout = self.session.case.parts[0].layout
        if set(image_source.shown_axes(self._viewer, image)) != {layout.rows, layout.columns}:
            return f"no slice of layer '{image.name}' is on screen, the axes are rolled: click one in the strip"
        return image_source.not_on_screen(image.name)

    def complain(self) -> None:
        """Say why there is nothing to work on."""
        self._state.say(self.complaint(), wrong=True)

    def settle_values(self) -> None:
        """Make masks of 0 and 255 ones of label 1, before anything is written into them or read as the truth."""
        for part in [] if self.session is None else self.session.case.parts:
            if part.mask is not None and part.whole:
                label_values.settle(part.mask)

    def ask_what_255_is(self, mask: Labels) -> None:
        """Ask where 255 may be one of several labels; until they answer it is unsure, and the layer stays as it is."""
        unsure = ("Unsure", "These pixels are not learnt from.", partial(labels_layer.show_unsure, mask, UNSURE))
        label = ("A label", "It gets the next free number.", partial(self._make_255_a_label, mask))
        self._question.ask(f"What is the value {UNSURE} in '{mask.name}', beside its labels?", [unsure, label])

    def _make_255_a_label(self, mask: Labels) -> None:
        self._state.say(f"The value {UNSURE} is now label {label_values.as_label(mask)} in '{mask.name}'.")

    def _copy(self, mask: Labels) -> None:
        """Work on a copy of a mask that cannot be drawn on."""
        try:
            copy = labels_layer.copy_into_memory(self._viewer, mask)
        except Exception as error:  # noqa: BLE001 - a lazy layer may raise anything when it is read
            self._state.say(unreadable(error, f"the mask '{mask.name}'"), wrong=True)
        else:
            self._choice.list_masks()
            self._choice.show_mask(copy)

    def adopt(self, part: CasePart, mask: Labels) -> None:
        """Take up a mask that was made for a part that had none."""
        labels_layer.show_unsure(mask, UNSURE)
        if self.session is not None:
            self.session.adopt_mask(part, mask)
            self.watch.follow(self.session)

    def mask_of(self, session: CaseCorrections, number: int) -> Labels:
        """Return the mask layer of a slice; one is made where there is none."""
        part = session.case.where(number)[0]
        if part.mask is not None:
            return part.mask
        entry, choice = self._choice.entry, self._choice
        labels = ("background", "tumour") if entry is None else label_names(entry.spec, choice.segmenting().part)
        mask = labels_layer.add_mask(self._viewer, part.image, part.layout, labels)
        labels_layer.describe(mask, part.image, labels=list(labels))
        self.adopt(part, mask)
        return mask

    def pixels(self, session: CaseCorrections, number: int) -> NDArray[np.uint8]:
        """Return what a slice holds, whatever is tried on; a slice without a mask layer gets one."""
        part, plane = session.case.where(number)
        held = self._masks.committed_pixels(self.mask_of(session, number), part.layout, plane)
        return session.masks([number])[number] if held is None else held

    def _case(self) -> CorrectionCase:
        if self._choice.entry is None:
            self._choice.list_models()  # one may have been imported meanwhile
        image, entry = self._choice.image, self._choice.entry
        if image is None:
            raise ScanError("There is no image layer: open a scan, or drag one into the window")
        if entry is None:
            raise ModelError("There is no model: import one with 'napari-unet-tumour models import'")
        source = self._choice.source(image, entry.spec)
        case = case_of(self._viewer, image, self._choice.mask, entry.spec, source)
        # The copy of a mask that lay on another grid is the one to show as chosen.
        self._choice.show_mask(next(part.mask for part in case.parts if part.image is image))
        return case

    def _new_session(
        self, case: CorrectionCase, layers: list[Layer], entry: ModelEntry | None, task: Task
    ) -> CaseCorrections:
        session = CaseCorrections(case, self._store, self._masks.committed_pixels, layers)
        session.journal.look()
        session.as_left = bool(session.kept) and session.is_as_left()
        part = case.parts[0]
        if entry is not None and part.mask is None:  # the next step is to segment it
            session.doubt = doubt(part.image, part.array, part.layout, entry.spec)
        return session

    def _on_failed(self, why: str) -> None:
        self._opening = None
        self._closed(f"{why[0].upper()}{why[1:]}", True)

    def _on_session(self, session: CaseCorrections) -> None:
        self._opening = None
        self._state.open(session)
        self._images.follow(part.image for part in session.case.parts)
        self.watch.follow(session)
        self._opened(session)
        for mask in session.case.masks():
            if not session.as_left and label_values.values_of(mask) is label_values.Values.IN_DOUBT:
                self.ask_what_255_is(mask)

    def _take_masks(self, case: CorrectionCase, session: CaseCorrections) -> None:
        """Take up masks that were made since, e.g. by the Segment widget."""
        for new, part in zip(case.parts, session.case.parts, strict=True):
            if part.mask is None and new.mask is not None:
                self.adopt(part, new.mask)
                if self._state.phase is Phase.READY:  # not that there is no mask yet
                    self._state.say(messages.welcome(session))
        self._seen()


def _same(one: CorrectionCase, other: CorrectionCase) -> bool:
    """Tell whether two cases are of the same images, with no mask exchanged for another."""
    if len(one.parts) != len(other.parts):
        return False
    return all(
        a.image is b.image
        and a.data is b.data
        and (a.array is b.array or a.image.rgb)
        and a.layout == b.layout
        and (b.mask is None or a.mask is b.mask)
        for a, b in zip(one.parts, other.parts, strict=True)
    )
