"""Brings back what an earlier session left of a scan, or begins anew."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from napari_unet_tumour.errors import UNetTumourError
from napari_unet_tumour.widgets.common.background import Background
from napari_unet_tumour.widgets.correct.state import Phase
from napari_unet_tumour.widgets.layers import drawn_pixels
from napari_unet_tumour.widgets.segment.progress import slices

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel
    from numpy.typing import NDArray

    from napari_unet_tumour.widgets.common.background import Put
    from napari_unet_tumour.widgets.correct.case_controller import CaseController
    from napari_unet_tumour.widgets.correct.case_corrections import CaseCorrections
    from napari_unet_tumour.widgets.correct.state import CorrectState
    from napari_unet_tumour.widgets.correct.versions import Versions


class Restore:
    """What follows the buttons Restore and Start over.

    Parameters
    ----------
    seen : callable
        Called when what is known of the slices has changed.
    """

    def __init__(
        self, viewer: ViewerModel, state: CorrectState, put: Put, desk: CaseController, versions: Versions,
        seen: Callable[[], None],
    ) -> None:  # fmt: skip
        self._viewer, self._state, self._put, self._desk, self._versions = viewer, state, put, desk, versions
        self._seen = seen
        self._background = Background(put, lambda: state.generation, state.switch)
        self._under_way: CaseCorrections | None = None
        self._left: dict[int, NDArray[np.uint8]] = {}

    def restore(self) -> None:
        """Bring back masks, reviewed slices and model; the masks are read on a thread, so that the window lives."""
        session = self._state.corrections
        if session is None or self._background.running:
            return
        self._state.say("Restoring: reading the saved masks…")
        self._background.start(
            lambda task: session.to_restore(), partial(self._on_read, session), self._on_failed, kind=Phase.RESTORING
        )

    def restore_at_once(self, session: CaseCorrections) -> None:
        """Bring all back before anything else happens, e.g. where the masks on screen show it already."""
        try:
            masks = session.to_restore()
        except UNetTumourError as error:
            self._on_failed(str(error))
        else:
            self._on_read(session, masks)

    def _on_failed(self, why: str) -> None:
        self._state.say(why, wrong=True)

    def _on_read(self, session: CaseCorrections, masks: dict[int, NDArray[np.uint8]]) -> None:
        masks = {n: mask for n, mask in masks.items() if not session.is_edited(n)}  # drawn on while they were read
        session.journal.pause()
        self._under_way, self._left = session, dict(masks)
        self._state.switch(None, Phase.RESTORING)
        replaced = 0
        for done, (number, mask) in enumerate(masks.items()):
            layer, (part, plane) = self._desk.mask_of(session, number), session.case.where(number)
            now = part.pixels(plane)
            replaced += bool(drawn_pixels.is_drawn(layer, part.layout, plane) and not np.array_equal(now, mask))
            session.journal.restored(number, mask)
            if not session.was_a_persons(number):
                drawn_pixels.note_written(layer, part.layout, plane, None, mask)
            self._put(partial(self._write, session, number, f"{done + 1} of {slices(len(masks))}"))
        model = next((one.model for one in session.kept.values() if one.model), "")
        session.take_up()
        self._versions.use(model)
        self._state.offer = ""
        said = f"Restored: {len(session.reviewed())} reviewed, masks of {slices(len(masks))}."
        more = f" They take the place of {slices(replaced)} drawn otherwise: undo brings these back."
        self._put(partial(self._on_restored, session, said + (more if replaced else "")))

    def start_afresh(self) -> None:
        """Begin anew; a copy of the earlier corrections is kept."""
        session = self._state.corrections
        if session is None:
            return
        try:
            session.journal.start_afresh()
        except UNetTumourError as error:
            self._state.say(str(error), wrong=True)
            return
        self._state.offer = ""
        self._state.say("Started over. A copy of the earlier corrections is kept on disk.")
        self._desk.watch.poke()

    def finish(self) -> None:
        """Restore at once what is not restored yet: a case is closed only then, so that all is written down."""
        if self._background.running and self._state.corrections is not None:
            self._background.cancel()
            self.restore_at_once(self._state.corrections)
        session = self._under_way
        if session is not None:
            for number in list(self._left):
                self._write(session, number, "")
            self._end(session)

    def _write(self, session: CaseCorrections, number: int, done: str) -> None:
        mask = self._left.pop(number, None) if session is self._under_way else None
        if mask is not None:
            session.case.write(self._viewer, {number: mask})
            if done:
                self._state.say(f"Restoring: {done}.")

    def _end(self, session: CaseCorrections) -> None:
        self._under_way = None
        self._state.switch(Phase.RESTORING, None)
        session.journal.pause(False)

    def _on_restored(self, session: CaseCorrections, said: str) -> None:
        if session is self._under_way:
            self._end(session)
            self._state.say(said)
            self._seen()
            self._desk.watch.poke()
