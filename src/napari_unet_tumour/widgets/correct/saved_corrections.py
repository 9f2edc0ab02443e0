"""The corrections of earlier scans: listed, and deleted after a second click."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from napari_unet_tumour.errors import UNetTumourError
from napari_unet_tumour.widgets.common.main_thread import single_shot_timer
from napari_unet_tumour.widgets.segment.progress import slices

if TYPE_CHECKING:
    from napari_unet_tumour.corrections import Record, Store
    from napari_unet_tumour.widgets.common.main_thread import MainThreadQueue
    from napari_unet_tumour.widgets.correct.case_corrections import CaseCorrections
    from napari_unet_tumour.widgets.correct.state import CorrectState
    from napari_unet_tumour.widgets.correct.view import CorrectView

DELETE, SURE = "Delete", "Sure?"
CALM_MS = 4000


class SavedCorrections:
    """Lists what is on disk apart from the case on screen."""

    def __init__(self, state: CorrectState, panel: CorrectView, store: Store, inbox: MainThreadQueue) -> None:
        self._state, self._panel, self._store = state, panel, store
        self._found: list[tuple[str, str]] = []
        panel.kept.choices = lambda picker: self._found
        self._calm = single_shot_timer(inbox, CALM_MS, self._forget)
        panel.keeping.visible = False
        panel.delete.native.clicked.connect(self._on_delete)

    def list(self, session: CaseCorrections) -> None:
        """Show what can be deleted; nothing is shown where there is nothing."""
        found = [one for one in self._store.records() if one.scan not in session.records]
        self._found = [(_summary_of(one), one.scan) for one in found]
        self._panel.kept.reset_choices()
        self._panel.keeping.visible = bool(found)

    def _on_delete(self) -> None:
        if self._panel.delete.text == DELETE:
            self._panel.delete.text = SURE
            self._calm.start()
            return
        self._forget()
        scan = self._panel.kept.value
        try:
            self._store.delete(str(scan))
        except UNetTumourError as error:
            self._state.say(str(error), wrong=True)
            return
        self._state.say("Deleted for good: the network no longer learns from them.")
        if self._state.corrections is not None:
            self.list(self._state.corrections)

    def _forget(self) -> None:
        self._panel.delete.text = DELETE


def _summary_of(record: Record) -> str:
    when = time.strftime("%d %b %Y %H:%M", time.localtime(record.changed))
    return f"{when}: {slices(len(record.reviewed))} of {' × '.join(map(str, record.shape))}"
