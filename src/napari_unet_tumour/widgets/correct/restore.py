"""Brings back what an earlier session left of a scan, or begins anew."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from napari_unet_tumour.errors import UNetTumourError
from napari_unet_tumour.widgets.layers import drawn_pixels
from napari_unet_tumour.widgets.segment.progress import slices

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel
    from numpy.typing import NDArray

    from napari_unet_tumour.widgets.common.main_thread import MainThreadQueue
    from napari_unet_tumour.widgets.correct.case_controller import CaseController
    from napari_unet_tumour.widgets.correct.case_corrections import CaseCorrections
    from napari_unet_tumour.widgets.correct.versions import Versions
    from napari_unet_tumour.widgets.correct.view import CorrectView


class Restore:
    """What follows the buttons Restore and Start over.

    Parameters
    ----------
    seen : callable
        Called when what is known of the slices has changed.
    """

    def __init__(
        self, viewer: ViewerModel, panel: CorrectView, inbox: MainThreadQueue, desk: CaseController, versions: Versions,
        seen: Callable[[], None],
    ) -> None:  # fmt: skip
        self._viewer, self._panel, self._inbox, self._desk, self._versions = viewer, panel, inbox, desk, versions
        self._seen = seen
        self._reading: CaseCorrections | None = None
        self._under_way: CaseCorrections | None = None
        self._left: dict[int, NDArray[np.uint8]] = {}

    def go_on(self) -> None:
        """Go on where the masks on screen are what the earlier session left: at once, since nothing changes."""
        session = self._desk.session
        if session is not None:
            self._reading = session
            self._on_read(session, _saved_masks(session))

    def restore(self) -> None:
        """Bring back masks, reviewed slices and model; the masks are read on a thread, so that the window lives."""
        session = self._desk.session
        if session is None or session is self._reading:
            return
        self._reading = session
        self._panel.say("Restoring: reading the saved masks…")
        threading.Thread(target=self._read, args=(session,), daemon=True).start()

    def _read(self, session: CaseCorrections) -> None:
        self._inbox.put(partial(self._on_read, session, _saved_masks(session)))

    def _on_read(self, session: CaseCorrections, masks: dict[int, NDArray[np.uint8]] | str) -> None:
        if session is not self._desk.session or session is not self._reading:
            return
        self._reading = None
        if isinstance(masks, str):
            self._panel.say(masks, wrong=True)
            return
        masks = {n: mask for n, mask in masks.items() if not session.is_edited(n)}  # drawn on while they were read
        session.journal.pause()
        self._under_way, self._left = session, dict(masks)
        replaced = 0
        for done, (number, mask) in enumerate(masks.items()):
            layer, (part, plane) = self._desk.mask_of(session, number), session.case.where(number)
            now = part.pixels(plane)
            replaced += bool(drawn_pixels.is_drawn(layer, part.layout, plane) and not np.array_equal(now, mask))
            session.journal.restored(number, mask)
            if not session.was_a_persons(number):
                drawn_pixels.note_written(layer, part.layout, plane, None, mask)
            self._inbox.put(partial(self._write, session, number, f"{done + 1} of {slices(len(masks))}"))
        model = next((one.model for one in session.kept.values() if one.model), "")
        session.take_up()
        self._versions.use(model)
        self._panel.ask_to_restore("")
        said = f"Restored: {len(session.reviewed())} reviewed, masks of {slices(len(masks))}."
        more = f" They take the place of {slices(replaced)} drawn otherwise: undo brings these back."
        self._inbox.put(partial(self._on_restored, session, said + (more if replaced else "")))

    def start_afresh(self) -> None:
        """Begin anew; a copy of the earlier corrections is kept."""
        session = self._desk.session
        if session is None:
            return
        try:
            session.journal.start_afresh()
        except UNetTumourError as error:
            self._panel.say(str(error), wrong=True)
            return
        self._panel.ask_to_restore("")
        self._panel.say("Started over. A copy of the earlier corrections is kept on disk.")
        self._desk.watch.poke()

    def finish(self) -> None:
        """Restore at once what is not restored yet: a case is closed only then, so that all is written down."""
        if self._reading is not None:
            self._on_read(self._reading, _saved_masks(self._reading))
        session = self._under_way
        if session is not None:
            for number in list(self._left):
                self._write(session, number, "")
            self._go_on(session)

    def _write(self, session: CaseCorrections, number: int, done: str) -> None:
        mask = self._left.pop(number, None) if session is self._under_way else None
        if mask is not None:
            session.case.write(self._viewer, {number: mask})
            if done:
                self._panel.say(f"Restoring: {done}.")

    def _go_on(self, session: CaseCorrections) -> None:
        self._under_way = None
        session.journal.pause(False)

    def _on_restored(self, session: CaseCorrections, said: str) -> None:
        if session is self._under_way:
            self._go_on(session)
            self._panel.say(said)
            self._seen()
            self._desk.watch.poke()


def _saved_masks(session: CaseCorrections) -> dict[int, NDArray[np.uint8]] | str:
    """Return the masks to bring back by slice, or the line that says why they cannot be read."""
    try:
        return session.to_restore()
    except UNetTumourError as error:
        return str(error)
